"""Network: how requests are sent and how they end. The only module that knows httpx.

No redirect is followed and no proxy is used unless one is named: the token goes to the named origins alone. What comes
back is cut to a size, freed of the token, and never trusted to be JSON. No server can keep a request waiting beyond its time,
however it drips.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from wkpipe.errors import ServerError, UsageError, WkpipeError, one_line
from wkpipe.server.policy import Policy
from wkpipe.server.token import Token

MOST_ANSWER_BYTES = 10 << 20
MOST_TEXT = 600
GRACE_SECONDS = 1.0
"""So long after its time, or somewhat later, a request is cut off that is not over by itself."""
_TEXT = re.compile(r"text/|application/(json|xml|xhtml)", re.IGNORECASE)
_MARKUP = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)


class NoAnswer(Exception):
    """An attempt broke off: connection refused or lost, or a time-out. `was_sent`: the server may have got the request."""

    def __init__(self, why: str, was_sent: bool) -> None:
        super().__init__(why)
        self.was_sent = was_sent


class Stopped(Exception):
    """This process stops; what a thread was waiting for is of no interest any more."""


@dataclass(frozen=True)
class Answer:
    """An answer: status, body (without the token), what Retry-After asks for, the origin that Location points to.

    Where `is_raw`, the body is data as they came, not a text; `missing` is what the server says of boxes that it has no voxels for.
    """

    status: int
    body: bytes = b""
    retry_after: str | None = None
    location: str | None = None
    is_raw: bool = False
    missing: str | None = None

    @property
    def is_ok(self) -> bool:
        return self.status in (200, 201)

    def json(self) -> Any:
        """Return the body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def __str__(self) -> str:
        """Return what the server says, in one line."""
        if 300 <= self.status < 400:
            return f"{self.status}, a redirect to {self.location or 'nowhere'}, which is not followed"
        text = _reason(self.json()) or _MARKUP.sub(" ", self.body[: 4 * MOST_TEXT].decode(errors="replace"))
        text = one_line(" ".join(text.split()), MOST_TEXT)
        return f"{self.status}: {text}" if text else f"{self.status}"


def _reason(content: Any) -> str:
    """Return the reason in an error's JSON: the texts of its messages, or whatever it is."""
    if isinstance(content, dict) and isinstance(content.get("messages"), list):
        parts = [str(part.get("error") or part.get("warning") or "") for part in content["messages"] if isinstance(part, dict)]
        return "; ".join(part for part in parts if part)
    return json.dumps(content) if isinstance(content, dict | list) and content else ""


class Network:
    """All connections of one transfer: how they are made and how they end. Thread-safe."""

    def __init__(self, token: Token, policy: Policy, ca_file: Path | None = None, proxy: str | None = None) -> None:
        self.token = token
        self.policy = policy
        self.proxy = proxy
        self.on_trouble: Callable[[str], None] = lambda _: None
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._lines: list[_Line] = []
        self._free: list[_Line] = []
        self._trust = _trust(ca_file)
        _check_proxy(proxy)

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()
        for line in self._lines:
            line.client.close()

    def abort(self) -> None:
        """Wake up all threads that wait for a server or for time to pass; they raise `Stopped`."""
        self._stop.set()
        with self._lock:
            for line in self._lines:
                line.cut()

    def check(self) -> None:
        """Raise `Stopped` if the process stops."""
        if self._stop.is_set():
            raise Stopped

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        if self._stop.wait(seconds):
            raise Stopped

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: Any,
        is_open: bool,
        idle: float,
        deadline: float,
        raw_bytes: int | None = None,
    ) -> Answer:
        """Send one request, with the token unless `is_open`, and read its answer.

        `content` is bytes, or an iterator whose length `headers` tell. With `raw_bytes`, an answer that is no text is raw: all of
        it up to one byte more than so many.

        Raises:
            NoAnswer: there was none in time.
        """
        self.check()
        times = httpx.Timeout(connect=self.policy.connect, read=idle, write=min(idle, self.policy.idle), pool=None)
        try:
            with self._line(deadline) as line:
                request = line.client.build_request(
                    method, url, headers=headers, content=content, timeout=times, extensions={"trace": line.watch}
                )
                response = line.client.send(request, stream=True, auth=None if is_open else self._sign)
                try:
                    return self._answer(response, deadline, raw_bytes)
                finally:
                    response.close()
        except WkpipeError:  # of the body's maker
            raise
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.UnsupportedProtocol) as error:
            self.check()
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                what = _said(error, self.token, "its certificate is not trusted")
                raise ServerError(
                    f"{url.partition('?')[0]}: {what}; if it is the right server, give its authority's with --ca-file"
                ) from None
            if "WRONG_VERSION_NUMBER" in str(error):
                raise ServerError(f"{url.partition('?')[0]}: what answers there is not encrypted; check address and port") from None
            way = "no connection" if self.proxy is None else "no connection through the proxy"
            raise NoAnswer(_said(error, self.token, way), was_sent=False) from None
        except (httpx.TimeoutException, TimeoutError):
            self.check()
            raise NoAnswer("no answer in time", was_sent=True) from None
        except (httpx.HTTPError, httpx.StreamError, ValueError) as error:  # ValueError: of TLS, on a connection that was shut down
            self.check()
            if time.monotonic() > deadline:
                raise NoAnswer("no answer in time", was_sent=True) from None
            raise NoAnswer(_said(error, self.token, "the connection broke off"), was_sent=True) from None

    @contextlib.contextmanager
    def _line(self, deadline: float) -> Iterator[_Line]:
        """Have a line of one's own, which is cut when the time is over: httpx limits each wait, not their sum."""
        with self._lock:
            if not self._lines:
                threading.Thread(target=self._keep_time, name="wkpipe-server-time", daemon=True).start()
            if self._free:
                line = self._free.pop()
            else:
                line = _Line(self._trust, self.proxy, self.check)
                self._lines.append(line)
            line.deadline = deadline
        try:
            yield line
        finally:
            with self._lock:
                line.deadline = math.inf
                self._free.append(line)

    def _keep_time(self) -> None:
        while not self._stop.wait(GRACE_SECONDS):
            now = time.monotonic()
            with self._lock:
                for line in self._lines:
                    if line.deadline + GRACE_SECONDS < now:
                        line.cut()

    def _answer(self, response: httpx.Response, deadline: float, raw_bytes: int | None) -> Answer:
        is_raw = raw_bytes is not None and response.status_code == 200 and not _TEXT.match(response.headers.get("content-type", ""))
        most = raw_bytes + 1 if raw_bytes is not None and is_raw else MOST_ANSWER_BYTES
        body = bytearray()
        for piece in response.iter_raw():
            body += piece
            if len(body) > most or time.monotonic() > deadline:
                break
        location, content = response.headers.get("location"), bytes(body[:most])
        return Answer(
            response.status_code,
            content if is_raw else self.token.redacted(content),
            response.headers.get("retry-after"),
            None if location is None else _origin_of(self.token.redacted(location.encode()).decode()),
            is_raw,
            response.headers.get("missing-buckets"),
        )

    def _sign(self, request: httpx.Request) -> httpx.Request:
        """Put the token into a request at the last moment: no variable of ours holds it, so not even a dump of them would show it."""
        request.headers["X-Auth-Token"] = self.token.reveal()
        return request


class _Line:
    """A client that holds one connection at most, and knows its socket. `check` is called when there is a new one."""

    def __init__(self, trust: Any, proxy: str | None, check: Callable[[], None]) -> None:
        self.client = httpx.Client(
            verify=trust,
            trust_env=False,
            follow_redirects=False,
            proxy=proxy,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
            headers={"User-Agent": "wkpipe", "Accept-Encoding": "identity"},
        )
        self.deadline = math.inf
        self._socket: socket.socket | None = None
        self._check = check

    def watch(self, event: str, details: Mapping[str, Any]) -> None:
        """Note the socket of a new connection, as httpx tells of it."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            found = details["return_value"].get_extra_info("socket")
            if isinstance(found, socket.socket):
                self._socket = found
                self._check()

    def cut(self) -> None:
        """End the connection; whoever waits at it is woken up."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # That of the base class: the one of TLS would go on in the clear.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def is_address(url: str) -> bool:
    try:
        return bool(httpx.URL(url).host)
    except (httpx.InvalidURL, UnicodeError):
        return False


def _said(error: Exception, token: Token, otherwise: str) -> str:
    text = token.redacted(one_line(error, 200).encode()).decode(errors="replace")
    return f"{otherwise} ({text})" if text else otherwise


def _origin_of(location: str) -> str:
    try:
        parts = urlsplit(location)
        return one_line(f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}", 200) if parts.hostname else "itself"
    except ValueError:
        return "an address that is none"


def _trust(ca_file: Path | None) -> Any:
    context = httpx.create_ssl_context(trust_env=False)
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=str(ca_file))
        except (OSError, ValueError) as error:
            raise UsageError(f"{ca_file}: {error}; expected a file with certificates (PEM)") from None
    return context


def _check_proxy(proxy: str | None) -> None:
    if proxy is not None and (not proxy.startswith(("http://", "https://")) or not is_address(proxy)):
        raise UsageError("the proxy's address is none; expected one like http://proxy.example.org:3128")

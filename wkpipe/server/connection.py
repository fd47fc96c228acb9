"""Connection: requests to one server, in single attempts or with patience. The only module that knows httpx.

No redirect is followed and no proxy is used unless one is named: the token goes to the named origins alone. What comes
back is cut to a size, freed of the token, and never trusted to be JSON.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from wkpipe.errors import ServerError, UsageError, WkpipeError, one_line
from wkpipe.server.policy import TRIED_AGAIN, Policy
from wkpipe.server.token import Token

MOST_ANSWER_BYTES = 10 << 20
MOST_TEXT = 600
_TEXT = re.compile(r"text/|application/(json|xml|xhtml)", re.IGNORECASE)
_MARKUP = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)


class NoAnswer(Exception):
    """An attempt broke off: connection refused or lost, or a time-out. `was_sent`: the server may have got the request."""

    def __init__(self, why: str, was_sent: bool) -> None:
        super().__init__(why)
        self.was_sent = was_sent


class Stopped(Exception):
    """This process stops; what a thread was waiting for is of no interest any more."""


class Body(Protocol):
    """The body of a request that is made while it is sent."""

    content_type: str
    size: int

    def pieces(self) -> Iterator[bytes]:
        """Yield `size` bytes in pieces of some hundred kB."""


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

    def __init__(self, token: Token, policy: Policy, connections: int, ca_file: Path | None = None, proxy: str | None = None) -> None:
        self.token = token
        self.policy = policy
        self.proxy = proxy
        self.on_trouble: Callable[[str], None] = lambda _: None
        self._stop = threading.Event()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._client = httpx.Client(
            verify=_trust(ca_file),
            trust_env=False,
            follow_redirects=False,
            proxy=_checked_proxy(proxy),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            headers={"User-Agent": "wkpipe", "Accept-Encoding": "identity"},
        )

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()
        self._client.close()

    def abort(self) -> None:
        """Wake up all threads that wait for a server or for time to pass; they raise `Stopped`."""
        self._stop.set()
        with self._lock:
            for each in list(self._sockets):
                with contextlib.suppress(OSError):
                    # That of the base class: the one of TLS would go on in the clear.
                    socket.socket.shutdown(each, socket.SHUT_RDWR)

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
        request = self._client.build_request(
            method, url, headers=headers, content=content, timeout=times, extensions={"trace": self._watch}
        )
        try:
            response = self._client.send(request, stream=True, auth=None if is_open else self._sign)
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
            raise NoAnswer(_said(error, self.token, "the connection broke off"), was_sent=True) from None

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

    def _watch(self, event: str, details: Mapping[str, Any]) -> None:
        """Note the sockets, to be able to wake up who waits at one."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            found = details["return_value"].get_extra_info("socket")
            if isinstance(found, socket.socket):
                with self._lock:
                    self._sockets.add(found)
                self.check()


class Connection:
    """Requests to one server at `base`, an URL without a slash at its end."""

    def __init__(self, network: Network, base: str) -> None:
        self.network = network
        self.base = base
        if not _is_address(base):
            raise ServerError(f"{one_line(base, 200)} is no address that requests can be sent to")
        if network.proxy is not None and network.proxy.startswith("http:") and base.startswith("http:"):
            raise UsageError(f"{base}: the token would go unencrypted through the proxy; use https, or no proxy")

    def attempt(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json_body: Any = None,
        body: Body | None = None,
        is_open: bool = False,
        seconds: float | None = None,
        raw_bytes: int | None = None,
    ) -> Answer:
        """Send one request, once. `path` is percent-encoded. `is_open`: without the token. `seconds` to wait for the answer.

        `raw_bytes`: how long the answer is to be, which is data (`Answer.is_raw`).

        Raises:
            NoAnswer: there was none in time.
        """
        policy = self.network.policy
        headers: dict[str, str] = {}
        content: Any = None
        size = raw_bytes or 0
        if body is not None:
            headers |= {"Content-Type": body.content_type, "Content-Length": str(body.size)}
            size = body.size
        elif json_body is not None:
            content = json.dumps(json_body).encode()
            headers["Content-Type"] = "application/json"
        elif method == "POST":
            headers["Content-Length"] = "0"
        deadline = time.monotonic() + (seconds or policy.total(size))
        if body is not None:
            content = _until(body.pieces(), deadline)
        url = self.base + path + (f"?{httpx.QueryParams(dict(query))}" if query else "")
        return self.network.request(method, url, headers, content, is_open, seconds or policy.idle, deadline, raw_bytes)

    def ask(self, what: str, method: str, path: str, **more: Any) -> Answer:
        """Send one request that may be repeated, until there is an answer that will not change.

        Raises:
            ServerError: the server does not answer well for too long, or refuses the token; `what` was to be done.
        """
        patience = Patience(self.network)
        while True:
            try:
                answer = self.attempt(method, path, **more)
            except NoAnswer as broken:
                patience.wait(f"{what}: {self.base}: {broken}")
                continue
            if answer.status not in TRIED_AGAIN:
                if answer.status == 401 or 300 <= answer.status < 400:
                    raise self.refusal(what, answer)
                return answer
            patience.wait(f"{what}: {self.base} answers {answer}", answer.retry_after)

    def refusal(self, what: str, answer: Answer) -> ServerError:
        """Return the error for an answer that is final."""
        if answer.status in (401, 403):
            mend = "check the token (a new one is on the server under /account/token) and what its user may do, then run the same again"
        elif 300 <= answer.status < 400:
            mend = "give the address that is meant"
        else:
            mend = "nothing is tried again"
        return ServerError(f"{what}: {self.base} answers {answer}; {mend}")


class Patience:
    """Pauses between attempts, until `without_progress` after the first failure since the last success. Many threads may share one."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._failing_since: float | None = None
        self._attempts = 0

    def progressed(self) -> None:
        """Note that something has been achieved."""
        self._failing_since = None
        self._attempts = 0

    def wait(self, why: str, retry_after: str | None = None, attempt: int | None = None) -> None:
        """Pause after a failure.

        Raises:
            ServerError: there was no progress for too long; tells `why`.
        """
        policy, now = self._network.policy, time.monotonic()
        since = self._failing_since = self._failing_since or now
        pause = policy.pause(self._attempts if attempt is None else attempt, retry_after)
        self._attempts += 1
        idle = now - since
        if idle + pause > policy.without_progress:
            raise ServerError(f"{why}; no progress for {idle:.0f} s; run the same command again later, it goes on from there")
        if idle + pause >= policy.tell:
            self._network.on_trouble(f"{why}; trying again in {pause:.0f} s")
        self._network.wait(pause)


def _is_address(url: str) -> bool:
    try:
        return bool(httpx.URL(url).host)
    except (httpx.InvalidURL, UnicodeError):
        return False


def _until(pieces: Iterator[bytes], deadline: float) -> Iterator[bytes]:
    for piece in pieces:
        if time.monotonic() > deadline:
            raise TimeoutError
        yield piece


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


def _checked_proxy(proxy: str | None) -> str | None:
    if proxy is not None and (not proxy.startswith(("http://", "https://")) or not _is_address(proxy)):
        raise UsageError("the proxy's address is none; expected one like http://proxy.example.org:3128")
    return proxy

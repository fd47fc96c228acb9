"""Network: send requests and end them in time. Only this module, `line` and `broken` use httpx.

No redirect is followed and no proxy is used unless one is named: the token goes to the named origins alone. Answers
are cut to a size and never trusted to be JSON; an `Answer` shows no token. No server can keep a request waiting beyond its
time, however slowly it sends.
"""

from __future__ import annotations

import contextlib
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from wkpipe.errors import ServerError, UsageError, WkpipeError, one_line
from wkpipe.server.http.answer import Answer, place_of
from wkpipe.server.http.broken import BROKEN, NoAnswer, meaning_of
from wkpipe.server.http.line import HEADERS, Line, is_address, is_this_machine, trusted
from wkpipe.server.http.policy import Policy
from wkpipe.server.http.token import Token

MOST_ANSWER_BYTES = 10 << 20
GRACE_SECONDS = 1.0
"""A request that has not ended this long after its time, or somewhat later, is cut off."""
_TEXT = re.compile(r"text/|application/(json|xml|xhtml)", re.IGNORECASE)


class Stopped(Exception):
    """The process stops, so that a thread need not wait any longer."""


class Network:
    """All connections of one transfer. Thread-safe."""

    def __init__(
        self, token: Token, policy: Policy, ca_file: Path | None = None, proxy: str | None = None, allow_http: bool = False
    ) -> None:
        self.token = token
        self.policy = policy
        self.proxy = proxy
        self.on_trouble: Callable[[str], None] = lambda _: None
        self.allow_http = allow_http
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._lines: list[Line] = []
        self._free: list[Line] = []
        self._reached: set[str] = set()
        self._trust = trusted(ca_file)
        _check_proxy(proxy)

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()
        for line in self._lines:
            line.transport.close()

    def abort(self) -> None:
        """Wake up all threads that wait for a server or in `wait`; they raise `Stopped`."""
        self._stop.set()
        with self._lock:
            for line in self._lines:
                line.cut()

    def check(self) -> None:
        """Raise `Stopped` if the process stops."""
        if self._stop.is_set():
            raise Stopped

    def wait(self, seconds: float) -> None:
        """Wait, unless the process stops."""
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
        """Send one request, with the token unless `is_open`, and return its answer.

        `content` is bytes, or an iterator whose length is in `headers`. With `raw_bytes`, an answer that is not a text is raw, and
        is read up to one byte more than that.

        Raises:
            NoAnswer: there was no answer in time.
        """
        self.check()
        times = httpx.Timeout(connect=self.policy.connect, read=idle, write=min(idle, self.policy.idle), pool=None)
        try:
            with self._line(url, deadline) as line:
                request = httpx.Request(
                    method,
                    url,
                    headers={**HEADERS, **headers},
                    content=content,
                    extensions={"timeout": times.as_dict(), "trace": line.watch},
                )
                if not is_open:
                    self._sign(request)
                response = line.transport.handle_request(request)
                try:
                    return self._answer(response, url, deadline, raw_bytes)
                finally:
                    response.close()
        except WkpipeError:  # of the body, or of a new connection
            raise
        except TimeoutError:  # of the body, which could not be read fast enough
            self.check()
            raise NoAnswer("no answer in time", was_sent=True) from None
        except BROKEN as error:
            self.check()
            found = meaning_of(error, _origin(url), self.proxy, self._was_reached(url), self.token)
            if isinstance(found, NoAnswer) and found.was_sent and time.monotonic() > deadline:
                found = NoAnswer("no answer in time", was_sent=True)
            raise found from None

    def shown(self, value: object, most: int) -> str:
        """Return a value from a server as one line of at most `most` characters, without the token."""
        return one_line(self.token.cleaned(str(value)), most)

    def _was_reached(self, url: str) -> bool:
        return self.policy.was_reached or _origin(url) in self._reached

    @contextlib.contextmanager
    def _line(self, url: str, deadline: float) -> Iterator[Line]:
        """Open a line for one request, which is cut at the deadline: httpx limits each wait, not their sum."""
        with self._lock:
            if not self._lines:
                threading.Thread(target=self._keep_time, name="wkpipe-server-time", daemon=True).start()
            if self._free:
                line = self._free.pop()
            else:
                line = Line(self._trust, self.proxy, self._connected)
                self._lines.append(line)
            line.deadline = deadline
            line.is_clear = url.startswith("http:") and not self.allow_http
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

    def _connected(self, line: Line, connection: socket.socket) -> None:
        """Check a new connection before anything is sent. A name that meant this machine may mean another one by now."""
        self.check()
        if line.is_clear and not is_this_machine(connection):
            raise ServerError(
                "the connection is not encrypted and leads to another machine: the token is not sent there",
                fix="use https:// (or pass --allow-http)",
            )

    def _answer(self, response: httpx.Response, url: str, deadline: float, raw_bytes: int | None) -> Answer:
        headers = response.headers
        is_coded = headers.get("content-encoding", "").strip().lower() not in ("", "identity")
        is_data = response.status_code == 200 and not is_coded and not _TEXT.match(headers.get("content-type", ""))
        most = MOST_ANSWER_BYTES if raw_bytes is None or not is_data else raw_bytes + 1
        body, is_cut = bytearray(), False
        for piece in response.iter_raw():
            body += piece
            if is_cut := len(body) > most or time.monotonic() > deadline:
                break
        location = headers.get("location")
        self._reached.add(_origin(url))
        return Answer(
            response.status_code,
            self.token,
            bytes(body[:most]),
            headers.get("retry-after"),
            None if location is None else place_of(location, url, self.token),
            raw_bytes is not None and is_data,
            headers.get("missing-buckets"),
            is_cut,
            is_coded,
        )

    def _sign(self, request: httpx.Request) -> None:
        """Put the token into a request at the last moment: no variable contains it, so not even a dump of them would show it."""
        request.headers["X-Auth-Token"] = self.token.reveal()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _check_proxy(proxy: str | None) -> None:
    if proxy is not None and (not proxy.startswith(("http://", "https://")) or not is_address(proxy)):
        raise UsageError("the proxy address is not valid", expected="one like http://proxy.example.org:3128")

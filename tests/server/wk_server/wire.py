"""HTTP/1.1 on a socket: requests with streamed bodies, answers, and hanging up.

One thread serves one connection. Bodies pass through one buffer per connection, so that a request of any size takes 1 MiB.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

BUFFER_BYTES = 1 << 20
REASONS = {
    200: "OK",
    204: "No Content",
    307: "Temporary Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
}


class HangUp(Exception):
    """The connection ends here, without an answer."""


class BadRequest(Exception):
    """The request is not one that an HTTP server can read."""


class Stream:
    """The bytes that arrive on a connection, in one buffer."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._view = memoryview(bytearray(BUFFER_BYTES))
        self._buffer: bytearray = self._view.obj  # type: ignore[assignment]
        self.start = self.end = 0

    def fill(self) -> None:
        """Wait for more bytes; raise HangUp if the other side has closed."""
        if self.start == self.end:
            self.start = self.end = 0
        elif self.end == BUFFER_BYTES:
            if self.start == 0:
                raise BadRequest("a line or a head is too long")
            kept = bytes(self._view[self.start : self.end])
            self._view[: len(kept)] = kept
            self.start, self.end = 0, len(kept)
        count = self.connection.recv_into(self._view[self.end :])
        if count == 0:
            raise HangUp
        self.end += count

    def find(self, needle: bytes, limit: int) -> int:
        return self._buffer.find(needle, self.start, limit)

    def take(self, stop: int) -> memoryview:
        """Consume up to a position; the returned view is valid until the next call."""
        piece = self._view[self.start : stop]
        self.start = stop
        return piece

    def head(self) -> bytes | None:
        """Return a request's head, or None if the connection has ended between two requests."""
        while (stop := self.find(b"\r\n\r\n", self.end)) < 0:
            at_start = self.start == self.end
            try:
                self.fill()
            except HangUp:
                if at_start:
                    return None
                raise
        head = bytes(self.take(stop))
        self.start += 4
        return head


class Body:
    """A request's body, which is read once, piece by piece."""

    def __init__(self, stream: Stream, length: int) -> None:
        self._stream = stream
        self.length = length
        self.left = length

    def _available(self) -> int:
        return min(self._stream.end - self._stream.start, self.left)

    def _take(self, count: int) -> memoryview:
        self.left -= count
        return self._stream.take(self._stream.start + count)

    def pieces(self, most: int | None = None) -> Iterator[memoryview]:
        """Yield the rest of the body, or `most` bytes of it."""
        end = 0 if most is None else max(0, self.left - most)
        while self.left > end:
            if not self._available():
                self._stream.fill()
            yield self._take(min(self._available(), self.left - end))

    def until(self, mark: bytes) -> Iterator[memoryview]:
        """Yield the bytes before a mark and consume the mark; raise BadRequest if it does not come."""
        while True:
            stream, available = self._stream, self._available()
            found = stream.find(mark, stream.start + available)
            if found >= 0:
                piece = self._take(found - stream.start)
                yield piece
                self._take(len(mark))
                return
            if available == self.left:
                raise BadRequest(f"the body ends before {mark[:4]!r}…")
            if available >= len(mark):
                yield self._take(available - len(mark) + 1)
            stream.fill()

    def read(self) -> bytes:
        return b"".join(map(bytes, self.pieces()))

    def drain(self) -> None:
        for _ in self.pieces():
            pass


@dataclass
class Request:
    method: str
    path: str  # as it was sent, still percent-encoded
    query: dict[str, list[str]]
    headers: dict[str, str]  # names in lower case
    body: Body
    connection: socket.socket
    target: str
    _content: bytes | None = None

    def content(self) -> bytes:
        """Return the whole body, which is kept."""
        if self._content is None:
            self._content = self.body.read()
        return self._content

    def peer_is_gone(self) -> bool:
        return is_closed(self.connection)


def is_closed(connection: socket.socket) -> bool:
    """True if the other side has closed a connection, even if bytes that it sent before are not read yet."""
    if connection.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None  # send only this many bytes of the body, then hang up
    close: bool = False  # hang up afterwards, even if the request was not read to its end

    @classmethod
    def json(cls, value: Any, status: int = 200) -> Answer:
        return cls(status, json.dumps(value).encode(), "application/json")

    @classmethod
    def error(cls, status: int, text: str) -> Answer:
        """Return an error in the form of WEBKNOSSOS."""
        return cls.json({"messages": [{"error": text}]}, status)

    def send(self, connection: socket.socket, head_only: bool, keep: bool) -> None:
        lines = [f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Status')}"]
        if self.status != 204:
            lines += [f"Content-Type: {self.content_type}", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if not keep:
            lines.append("Connection: close")
        body = b"" if head_only or self.status == 204 else self.body[: self.cut]
        connection.sendall("\r\n".join([*lines, "\r\n"]).encode() + body)


class Listener:
    """One origin: a port on 127.0.0.1 and a function that answers requests."""

    def __init__(self, answer: Callable[[Request], Answer], port: int = 0) -> None:
        self._answer = answer
        self.port = port
        self._socket: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", self.port), backlog=256)
        self.port = self._socket.getsockname()[1]
        self._run(self._accept, self._socket)

    def stop(self) -> None:
        """Close the port and all connections, whatever they are doing."""
        if self._socket is None:
            return
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._socket = None
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            if thread.ident is not None:  # a connection may arrive at this moment
                thread.join(10)

    def _run(self, target: Callable[[socket.socket], None], connection: socket.socket) -> None:
        def run() -> None:
            try:
                target(connection)
            finally:
                self._threads.discard(thread)

        thread = threading.Thread(target=run, daemon=True)
        self._threads.add(thread)
        thread.start()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.add(connection)
            self._run(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        stream = Stream(connection)
        try:
            while self._socket is not None and self._serve_one(stream):
                pass
        except (OSError, HangUp):
            pass
        except BadRequest as error:
            with contextlib.suppress(OSError):
                Answer.error(400, str(error)).send(connection, False, False)
        finally:
            self._connections.discard(connection)
            connection.close()

    def _serve_one(self, stream: Stream) -> bool:
        """Answer one request; return True if the connection stays open."""
        head = stream.head()
        if head is None:
            return False
        request = _parse(head, stream)
        if request.headers.get("expect", "").lower() == "100-continue":
            stream.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        answer = self._answer(request)
        keep = not answer.close and answer.cut is None and request.headers.get("connection", "").lower() != "close"
        if not answer.close:
            request.body.drain()
        answer.send(stream.connection, request.method == "HEAD", keep)
        return keep


def _parse(head: bytes, stream: Stream) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")
    try:
        method, target, _ = first.split(" ")
        headers = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        length = int(headers.get("content-length", "0"))
    except ValueError:
        raise BadRequest("the head cannot be read") from None
    if "transfer-encoding" in headers:
        raise BadRequest("no transfer codings here: a request has a Content-Length")
    parts = urlsplit(target)
    query = parse_qs(parts.query, keep_blank_values=True)
    return Request(method, parts.path, query, headers, Body(stream, length), stream.connection, target)

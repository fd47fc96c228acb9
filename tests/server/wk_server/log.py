"""The requests to the server, in the form of the recorded traffic, and the rules that the client broke."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.server.wk_server.multipart import Multipart
from tests.server.wk_server.wire import Request, is_closed


@dataclass
class Entry:
    """One request. `status` is the answer's, or None if the connection was closed without one."""

    number: int
    seconds: float  # since the server's start
    origin: str  # "wk", "datastore" or "foreign"
    route: str
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]  # names in lower case; the token's value as it came
    json: Any = None
    multipart: dict[str, Any] | None = None  # text fields, and `file`: filename, content_type, length
    order: list[str] = field(default_factory=list)  # of the form's fields
    subject: str = ""
    status: int | None = None
    performed: bool = False
    fault: str = ""
    in_flight: int = 0  # requests under way at its start, itself included

    def facts(self) -> dict[str, Any]:
        """Return it as plain values, without the token."""
        return vars(self) | {"headers": {k: "***" if k == "x-auth-token" else v for k, v in self.headers.items()}}


class Log:
    """All requests, and all problems: rules that the client broke."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._chunks: dict[str, list[Request]] = {}
        self._under_way = 0
        self.entries: list[Entry] = []
        self.problems: list[str] = []
        self.chunks_in_flight = 0
        self.most_chunks_in_flight = 0
        self.chunk_bytes = 0  # bytes of files that arrived, even if they were not kept

    def problem(self, text: str) -> None:
        with self._lock:
            self.problems.append(text)

    @contextmanager
    def entry(self, origin: str, route: str, request: Request) -> Iterator[Entry]:
        with self._lock:
            self._under_way += 1
            seconds = time.monotonic() - self._started
            entry = Entry(len(self.entries), seconds, origin, route, request.method, request.path, request.query, request.headers)
            entry.in_flight = self._under_way
            self.entries.append(entry)
        entry.subject = request.target
        try:
            yield entry
        finally:
            with self._lock:
                self._under_way -= 1

    @contextmanager
    def chunk(self, entry: Entry, request: Request, form: Multipart) -> Iterator[None]:
        """Count a chunk as under way; the same chunk twice is a problem, unless the client has given up the earlier attempt."""
        name = f"{form.fields.get('resumableIdentifier', '')}#{form.fields.get('resumableChunkNumber', '')}"
        entry.subject, entry.order = name, form.order
        with self._lock:
            others = self._chunks.setdefault(name, [])
            if any(not is_closed(other.connection) for other in others):
                self.problems.append(f"chunk {name} is sent twice at the same time")
            others.append(request)
            self.chunks_in_flight += 1
            self.most_chunks_in_flight = max(self.most_chunks_in_flight, self.chunks_in_flight)
        try:
            yield
        finally:
            entry.multipart = {**form.fields, **({"file": form.file} if form.file else {})}
            with self._lock:
                self.chunk_bytes += int(form.file["length"]) if form.file else 0
                self.chunks_in_flight -= 1
                others.remove(request)
                if not others:
                    self._chunks.pop(name, None)

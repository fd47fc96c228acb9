"""Faults: failures of requests, and the requests that they affect."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from typing import Any


@dataclass
class Fault:
    """A failure of requests of one route.

    Which requests: those of `route` (a name of `routes.py`, or "*") whose subject contains `where`; the first `skip` of them succeed, the
    next `count` (None: all) fail. The subject is `upload id/path#number` of a chunk, and path and query of other requests.

    Which failure: at most one of `status`, `close`, `close_at`, `stall`, `redirect`. Without `performed`, the request is not done; with
    it, the request is done first and its answer is lost or replaced. With `meanwhile`, it is done while the answer is under way, as behind
    a proxy that gives up waiting. `content_type`, `body`, `truncate` and `cut` spoil the answer: that of a request that was done, or that
    with `status`.
    """

    route: str
    where: str = ""
    skip: int = 0
    count: int | None = 1

    delay: float = 0.0  # seconds before anything else
    status: int | None = None
    headers: dict[str, str] | None = None  # of the answer with `status`
    early: bool = False  # answer with `status` without reading the body, and close
    close: bool = False  # close the connection
    close_at: int | None = None  # close after this many bytes of the body
    stall: float | None = None  # read and answer nothing for at most these seconds (the server's end and the client's closing end it too)
    redirect: str | None = None  # 307 to this URL; "" means the same path at the foreign origin
    performed: bool = False
    meanwhile: bool = False  # not for chunks
    content_type: str | None = None
    body: str | bytes | None = None  # another body
    truncate: bool = False  # half the body, as a complete answer
    cut: bool = False  # half the body, then the connection closes

    @property
    def replaces_answer(self) -> bool:
        return self.close or any(value is not None for value in (self.status, self.close_at, self.stall, self.redirect))


class Faults:
    """The planned faults, in the order in which they were added; each request gets at most one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._random: tuple[random.Random, float, list[dict[str, Any]], tuple[str, ...]] | None = None
        self.happened: list[tuple[Fault, str]] = []

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def at_random(self, probability: float, seed: int, kinds: list[dict[str, Any]], routes: tuple[str, ...]) -> None:
        """Give each request of the routes one of the kinds (arguments of Fault) with a probability; zero ends it."""
        with self._lock:
            self._random = (random.Random(seed), probability, kinds, routes) if probability else None

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()
            self._random = None

    def pick(self, route: str, subject: str) -> Fault | None:
        with self._lock:
            fault = self._picked(route, subject)
            if fault is not None:
                self.happened.append((fault, subject))
            return fault

    def _picked(self, route: str, subject: str) -> Fault | None:
        for fault in self._faults:
            if fault.route not in (route, "*") or fault.where not in subject:
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            if fault.count is None:
                return fault
            if fault.count:
                fault.count -= 1
                return fault
        if self._random is not None:
            generator, probability, kinds, routes = self._random
            if (route in routes or "*" in routes) and generator.random() < probability:
                return Fault(route, **generator.choice(kinds))
        return None


# Failures of uploads in real life; seconds are short, so that hundreds of uploads take minutes.
COMMON_KINDS: list[dict[str, Any]] = [
    {"close": True},
    {"close_at": 1000},
    {"close": True, "performed": True},
    {"stall": 30.0},
    {"stall": 30.0, "performed": True},
    {"status": 429, "headers": {"Retry-After": "0"}},
    {"status": 429},
    {"status": 500},
    {"status": 502},
    {"status": 503},
    {"status": 503, "performed": True},
    {"status": 504, "performed": True},
]

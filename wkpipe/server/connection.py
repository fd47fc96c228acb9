"""Connection: requests to one server, in single attempts or with patience."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

from wkpipe.errors import ServerError, UsageError, one_line
from wkpipe.server.answer import Answer
from wkpipe.server.broken import NoAnswer
from wkpipe.server.hiding import has_echo
from wkpipe.server.line import is_address
from wkpipe.server.network import Network
from wkpipe.server.policy import TRIED_AGAIN


class Body(Protocol):
    """The body of a request that is made while it is sent."""

    content_type: str
    size: int

    def pieces(self) -> Iterator[bytes]:
        """Yield `size` bytes in pieces of some hundred kB."""


class Connection:
    """Requests to one server at `base`, an URL without a slash at its end."""

    def __init__(self, network: Network, base: str) -> None:
        self.network = network
        self.base = base
        if not is_address(base):
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
        url = self.base + path + (f"?{urlencode(query)}" if query else "")
        return self.network.request(method, url, headers, content, is_open, seconds or policy.idle, deadline, raw_bytes)

    def ask(self, what: str, method: str, path: str, *, patience: Patience | None = None, **more: Any) -> Answer:
        """Send one request that may be repeated, until there is an answer that will not change. `patience` may go on from before.

        Raises:
            ServerError: the server does not answer well for too long, or refuses the token; `what` was to be done.
        """
        patience = patience or Patience(self.network)
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

    def used(self, what: str, content: Any) -> Any:
        """Return what a server has said and is used, and maybe stored: names, ids, addresses.

        Raises:
            ServerError: the token is in it.
        """
        if has_echo(content):
            raise ServerError(f"{what}: {self.base} answers with the token as a part of its data; nothing of it is used or stored")
        return content

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


def _until(pieces: Iterator[bytes], deadline: float) -> Iterator[bytes]:
    for piece in pieces:
        if time.monotonic() > deadline:
            raise TimeoutError
        yield piece

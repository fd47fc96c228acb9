"""Connection: send requests to one server, once or until it answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

from wkpipe.errors import ServerError, UsageError, one_line
from wkpipe.server.http.answer import Answer
from wkpipe.server.http.broken import NoAnswer
from wkpipe.server.http.hiding import has_echo
from wkpipe.server.http.line import is_address
from wkpipe.server.http.network import Network
from wkpipe.server.http.policy import TRIED_AGAIN


class Body(Protocol):
    """The body of a request, made while it is sent."""

    content_type: str
    size: int

    def pieces(self) -> Iterator[bytes]:
        """Yield `size` bytes in pieces of some hundred kB."""


class Connection:
    """Requests to one server at `base`, a URL without a slash at its end."""

    def __init__(self, network: Network, base: str) -> None:
        self.network = network
        self.base = base
        if not is_address(base):
            raise ServerError(f"{one_line(base, 200)} is not an address that requests can be sent to")
        if network.proxy is not None and network.proxy.startswith("http:") and base.startswith("http:"):
            raise UsageError("the token would be sent unencrypted through the proxy", where=base, fix="use https, or no proxy")

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
        """Send one request, once, and return the answer.

        `path` is percent-encoded. `is_open`: without the token. `seconds`: how long to wait for the answer. `raw_bytes`: the
        expected size of an answer that is data (`Answer.is_raw`).

        Raises:
            NoAnswer: there was no answer in time.
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
        """Send a request, repeatedly if needed, and return the answer that is final; `patience` continues an earlier one.

        Raises:
            ServerError: the server fails for too long, or refuses the token; the error names `what` was attempted.
        """
        patience = patience or Patience(self.network)
        while True:
            try:
                answer = self.attempt(method, path, **more)
            except NoAnswer as broken:
                patience.wait(ServerError(str(broken), where=f"{what}: {self.base}"))
                continue
            if answer.status not in TRIED_AGAIN:
                if answer.status == 401 or 300 <= answer.status < 400:
                    raise self.refusal(what, answer)
                return answer
            patience.wait(ServerError(f"{self.base} answers {answer}", where=what), answer.retry_after)

    def used(self, what: str, content: Any) -> Any:
        """Return content of a server's answer that is used and maybe stored: names, ids, addresses.

        Raises:
            ServerError: it contains the token.
        """
        if has_echo(content):
            raise ServerError(f"{self.base} answers with data that contain the token, so they are neither used nor stored", where=what)
        return content

    def refusal(self, what: str, answer: Answer) -> ServerError:
        """Return the error for an answer that is final."""
        found = f"{self.base} answers {answer}"
        if answer.status in (401, 403):
            fix = "check the token (a new one is on the server under /account/token) and its user's rights, then run the same again"
        elif 300 <= answer.status < 400:
            fix = "give the right address"
        else:
            return ServerError(f"{found}, which is final", where=what)
        return ServerError(found, where=what, fix=fix)


class Patience:
    """Pauses between attempts, until `without_progress` after the first failure since the last success. Threads may share it."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._failing_since: float | None = None
        self._attempts = 0

    def progressed(self) -> None:
        """Note a success."""
        self._failing_since = None
        self._attempts = 0

    def wait(self, why: ServerError, retry_after: str | None = None, attempt: int | None = None) -> None:
        """Pause after a failure.

        Raises:
            ServerError: there was no progress for too long, because of `why`.
        """
        policy, now = self._network.policy, time.monotonic()
        since = self._failing_since = self._failing_since or now
        pause = policy.pause(self._attempts if attempt is None else attempt, retry_after)
        self._attempts += 1
        idle = now - since
        if idle + pause > policy.without_progress:
            what = f"{why.what} (no progress for {idle:.0f} s)"
            raise why.but(what=what, fix="run the same command again later: it resumes")
        if idle + pause >= policy.notify:
            self._network.on_trouble(f"{why}; trying again in {pause:.0f} s")
        self._network.wait(pause)


def _until(pieces: Iterator[bytes], deadline: float) -> Iterator[bytes]:
    for piece in pieces:
        if time.monotonic() > deadline:
            raise TimeoutError
        yield piece

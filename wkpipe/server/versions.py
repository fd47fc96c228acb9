"""Versions of a server's interface, and the routes of uploads in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wkpipe.errors import ServerError

if TYPE_CHECKING:
    from wkpipe.server.http.connection import Connection

OLDEST, NEWEST = 13, 16
"""The versions that wkpipe supports. Those up to `LAST_LEGACY` have other upload routes."""

LAST_LEGACY = 13
_NEWEST_OF_DATASTORES = 15
_MOST = 1_000_000


@dataclass(frozen=True)
class Versions:
    """The version that both sides support."""

    api: int

    @property
    def data(self) -> int:
        """The version in the routes of datastores."""
        return min(self.api, _NEWEST_OF_DATASTORES)

    @property
    def is_legacy(self) -> bool:
        return self.api <= LAST_LEGACY

    def wk(self, path: str) -> str:
        """Return a path on the server itself."""
        return f"/api/v{self.api}/{path}"

    @property
    def chunk(self) -> str:
        """The path to send chunks to, and to ask for them."""
        return "/data/datasets" if self.is_legacy else f"/data/v{self.data}/datasets/upload/dataset"

    def upload(self, action: str) -> str:
        """Return the path on a datastore for ``reserveUpload``, ``finishUpload`` or ``cancelUpload``."""
        if self.is_legacy:
            return f"/data/datasets/{action}" if action == "cancelUpload" else f"/data/v{self.data}/datasets/{action}"
        return f"{self.chunk}/{action}"


def negotiate(server: Connection) -> Versions:
    """Ask a server for its versions and return the newest that both sides support.

    Raises:
        ServerError: it does not name its versions, or there is none in common.
    """
    what = "asking for the server's version"
    answer = server.ask(what, "GET", "/api/buildinfo", is_open=True)
    content = answer.json()
    try:
        versioning = content["httpApiVersioning"]
        oldest, newest = int(versioning["oldestSupportedApiVersion"]), int(versioning["currentApiVersion"])
        if not 0 <= oldest <= _MOST or not 0 <= newest <= _MOST:
            raise ValueError(newest)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise ServerError(
            f"{server.base} answers {answer.status} without versions, unlike present WEBKNOSSOS servers",
            where=what,
            fix="check the address",
        ) from None
    best = min(newest, NEWEST)
    if not answer.is_ok or best < max(oldest, OLDEST):
        side = "older" if newest < OLDEST else "newer"
        raise ServerError(
            f"{server.base} supports the versions {oldest} to {newest} of its interface, wkpipe {OLDEST} to {NEWEST}: "
            f"the server is {side} than this wkpipe supports"
        )
    return Versions(best)

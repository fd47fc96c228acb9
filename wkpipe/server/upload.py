"""Upload a dataset to a WEBKNOSSOS server, resumably: the same request goes on where an earlier one stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wkpipe.geometry import Mag
from wkpipe.server.policy import Policy
from wkpipe.server.token import Token

DEFAULT_URL = "https://webknossos.org"
DEFAULT_CHUNK_BYTES = 32 << 20
DEFAULT_JOBS = 5


@dataclass(frozen=True)
class UploadRequest:
    """What is to be uploaded, and whereto.

    dataset: its directory. state: its state directory (`Locations.state`). url: of the server. name: of the new dataset;
    None = the one in its properties. folder: path of names, with or without that of the root folder; None = the root.
    datastore: name or URL of one of the server's; None = the first that takes uploads. layers: their names; () = all.
    finest_mag, coarsest_mag: only mags between these, inclusive. chunk_bytes: of one request. jobs: requests at once.
    allow_http: send the token unencrypted to a server that is not this machine. ca_file: certificates to trust besides the
    usual ones. proxy: URL of a proxy; None = none, whatever the environment says. again: forget an earlier upload.
    """

    dataset: Path
    state: Path
    url: str = DEFAULT_URL
    name: str | None = None
    folder: str | None = None
    datastore: str | None = None
    layers: Sequence[str] = ()
    finest_mag: Mag | None = None
    coarsest_mag: Mag | None = None
    chunk_bytes: int = DEFAULT_CHUNK_BYTES
    jobs: int = DEFAULT_JOBS
    allow_http: bool = False
    ca_file: Path | None = None
    proxy: str | None = None
    again: bool = False


class Progress:
    """Is told how an upload goes; this one keeps silent. Calls come from one thread at a time."""

    def notice(self, text: str) -> None:
        """Something the user should know."""

    def doing(self, text: str) -> None:
        """What is being done now, such as ``sending`` or ``the server is finishing``."""

    def moved(self, done: int, total: int) -> None:
        """`done` of `total` bytes are on the server or on their way."""


@dataclass(frozen=True)
class Uploaded:
    """A dataset on a server: its id there, and where it is looked at. `was_there`: an earlier run had uploaded it."""

    dataset_id: str
    url: str
    was_there: bool = False


@dataclass(frozen=True)
class UploadStatus:
    """How far an upload is, as its journal has it. state: ``sending``, ``finishing``, ``done``, or ``failed``."""

    name: str
    url: str
    upload_id: str
    state: str
    files: int
    bytes_done: int
    bytes_total: int
    dataset_url: str | None = None
    why: str | None = None


def upload(request: UploadRequest, token: Token, progress: Progress | None = None, policy: Policy | None = None) -> Uploaded:
    """Upload a dataset, or go on with it, and return what the server made of it.

    Raises:
        UsageError: the URL, or another part of the request, can not be.
        InputRefused: the dataset can not be uploaded as it is, or differs from what an earlier run has begun to upload.
        IntegrityError: its files are not those in the ledger, or change while they are sent.
        ServerError: the server refuses or fails. What it has already stays; the same request goes on.
        TryAgain: another process is at the same upload.
        Interrupted, KeyboardInterrupt: as a signal handler raised it; the same request goes on.
    """
    raise NotImplementedError


def status(request: UploadRequest) -> UploadStatus | None:
    """Return how far an upload is; None where it has not begun."""
    raise NotImplementedError


def statuses(state: Path) -> list[UploadStatus]:
    """Return all uploads that a state directory knows of."""
    raise NotImplementedError


def cancel(request: UploadRequest, token: Token, policy: Policy | None = None) -> UploadStatus:
    """Give up an unfinished upload: the server deletes what it has of it, and its journal goes.

    Raises:
        InputRefused: there is none.
        ServerError: the server refuses; the journal stays.
    """
    raise NotImplementedError

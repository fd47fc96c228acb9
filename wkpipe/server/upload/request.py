"""UploadRequest: the dataset to upload and its target; and the results and states of uploads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wkpipe.errors import MetadataError, UsageError
from wkpipe.geometry import Mag
from wkpipe.server.http.address import server_address
from wkpipe.server.http.token import Token
from wkpipe.server.upload.journal import FILE_NAME, Journal
from wkpipe.server.upload.limits import DEFAULT_CHUNK_BYTES, DEFAULT_JOBS, DEFAULT_URL, MOST_CHUNK_BYTES, MOST_JOBS
from wkpipe.server.wk_api import check_name, page_of
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.locations import STATE_NAME, Locations
from wkpipe.stored.places import place_at
from wkpipe.stored.uploads import upload_directory

if TYPE_CHECKING:
    from wkpipe.server.http.network import Network
    from wkpipe.server.http.policy import Policy


@dataclass(frozen=True)
class UploadRequest:
    """A dataset to upload and its target.

    dataset: its directory. state: its state directory (`Locations.state`). url: of the server. name: of the new dataset;
    None = the one in its properties. folder: path of names, with or without that of the root folder; None = the root.
    datastore: name or URL of one of the server's; None = the first that accepts uploads. layers: their names; () = all.
    finest_mag, coarsest_mag: only mags between these, inclusive. chunk_bytes: of one request. jobs: requests at once.
    allow_http: send the token unencrypted to a server that is not this machine. ca_file: certificates to trust in addition
    to the usual ones. proxy: URL of a proxy; None = none, whatever the environment says. again: forget an earlier upload.
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


@dataclass(frozen=True)
class Uploaded:
    """A dataset on a server: its id there and its page. `was_there`: an earlier run uploaded it."""

    dataset_id: str
    url: str
    was_there: bool = False


@dataclass(frozen=True)
class UploadStatus:
    """The state of an upload by its journal: ``sending``, ``finishing``, ``done``, or ``failed``; and how far it is."""

    name: str
    url: str
    upload_id: str
    state: str
    files: int
    bytes_done: int
    bytes_total: int
    dataset_url: str | None = None
    why: str | None = None


@dataclass(frozen=True)
class UploadTarget:
    """The checked target of a request; `directory` is that of its journal."""

    url: str
    name: str
    directory: Path
    request: UploadRequest

    @classmethod
    def of(cls, request: UploadRequest) -> UploadTarget:
        """Check a request and return its target.

        Raises:
            UsageError, InputRefused: a part of it is not valid.
        """
        if not 1 <= request.chunk_bytes <= MOST_CHUNK_BYTES:
            raise UsageError(f"chunks of {request.chunk_bytes} bytes are not possible", expected=f"1 to {MOST_CHUNK_BYTES}")
        if not 1 <= request.jobs <= MOST_JOBS:
            raise UsageError(f"{request.jobs} requests at once are not possible", expected=f"1 to {MOST_JOBS}")
        url = server_address(request.url, request.allow_http)
        name = request.name if request.name is not None else opened(request).properties.name
        check_name(name)
        mags = [None if mag is None else mag.to_list() for mag in (request.finest_mag, request.coarsest_mag)]
        root = place_at(request.dataset).real()
        key = json.dumps([root, url, name, request.folder, request.datastore, sorted(set(request.layers)), mags])
        directory = upload_directory(request.state, hashlib.sha256(key.encode()).hexdigest()[:16])
        return cls(url, name, directory, request)

    def journal(self) -> Journal | None:
        """Open the journal that an earlier run left of this upload; None if there is none.

        Raises:
            MetadataError: it is damaged, or belongs to another upload: a journal comes with its dataset, from anywhere.
        """
        found = Journal.load(place_at(self.directory))
        if found is not None and (found.head.url, found.head.name) != (self.url, self.name):
            raise MetadataError("this is the journal of another upload", where=self.directory / FILE_NAME, fix="upload again with --again")
        return found

    def network(self, token: Token, policy: Policy | None) -> Network:
        from wkpipe.server.http.network import Network  # planning alone does not need HTTP
        from wkpipe.server.http.policy import Policy

        request = self.request
        return Network(token, policy or Policy(), request.ca_file, request.proxy, request.allow_http)


def opened(request: UploadRequest) -> StoredDataset:
    """Open the dataset of a request.

    Raises:
        UnreadableInput, MetadataError: as `StoredDataset.open`.
    """
    found = StoredDataset.open(request.dataset)
    root = found.locations.dataset
    own, inside = Locations(root, request.state), Locations(root, root / STATE_NAME)
    # A read-only dataset may have its ledger in another state directory than the upload's.
    chosen = inside if inside.has_state and not own.ledgers.is_directory() else own
    chosen.check_readable()
    return StoredDataset(chosen, found.properties)


def status_of(journal: Journal) -> UploadStatus:
    events, head = journal.events, journal.head
    state = "done" if events.dataset_id else "failed" if events.dead else "finishing" if events.finish else "sending"
    page = None if events.dataset_id is None else page_of(head.url, events.dataset_id)
    return UploadStatus(head.name, head.url, head.upload_id, state, len(journal.files), journal.done, journal.total, page, events.dead)

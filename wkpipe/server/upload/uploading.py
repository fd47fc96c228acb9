"""Upload a dataset to a WEBKNOSSOS server, resumably: the same request resumes an earlier one that stopped."""

from __future__ import annotations

from pathlib import Path

from wkpipe.errors import InputRefused
from wkpipe.server.http.policy import Policy
from wkpipe.server.http.token import Token
from wkpipe.server.progress import Progress
from wkpipe.server.upload.journal import Journal, UploadLock
from wkpipe.server.upload.request import (
    Uploaded,
    UploadRequest,
    UploadStatus,
    UploadTarget,
    opened,
    status_of,
)
from wkpipe.server.upload.selection import DatasetPart, FilesToSend, select
from wkpipe.server.upload.session import UploadSession, cancel_on_server, check_beforehand, difference_of
from wkpipe.server.wk_api import page_of
from wkpipe.stored.places import place_at
from wkpipe.stored.uploads import uploads_directory

__all__ = [
    "Progress",
    "UploadRequest",
    "UploadStatus",
    "Uploaded",
    "cancel",
    "check_server",
    "difference",
    "select_files",
    "status",
    "statuses",
    "upload",
    "uploaded_before",
    "where_to",
]


def upload(request: UploadRequest, token: Token, progress: Progress | None = None, policy: Policy | None = None) -> Uploaded:
    """Upload a dataset, or resume its upload, and return the dataset on the server.

    Raises:
        UsageError: the URL, or another part of the request, is not valid.
        InputRefused: the dataset cannot be uploaded as it is, or differs from the one that an earlier run began to upload.
        IntegrityError: its files differ from the ledger, or change while they are sent.
        ServerError: the server refuses or fails. The server keeps what it has; the same request resumes.
        TryAgain: another process is working on the same upload.
        Interrupted, KeyboardInterrupt: a signal handler raised it; the same request resumes.
    """
    selection, target = select_files(request), UploadTarget.of(request)
    with UploadLock(target.directory), target.network(token, policy) as network:
        run = UploadSession(request, target, selection, network, progress or Progress())
        try:
            return run.uploaded()
        finally:
            run.close()


def select_files(request: UploadRequest) -> FilesToSend:
    """Return the files that an upload sends. No server is asked, nothing is written.

    Raises:
        InputRefused, IntegrityError: as `upload`.
    """
    part = DatasetPart(tuple(request.layers), request.finest_mag, request.coarsest_mag)
    return select(opened(request), part)


def where_to(request: UploadRequest) -> str:
    """Return the address of the server that a request goes to.

    Raises:
        UsageError, InputRefused: a part of the request is not valid.
    """
    return UploadTarget.of(request).url


def check_server(request: UploadRequest, token: Token, policy: Policy | None = None) -> None:
    """Check with the server, before there is a dataset, that it accepts the token, the name, the folder and the datastore.

    Raises:
        InputRefused, ServerError: as `upload`, which checks again.
    """
    with UploadTarget.of(request).network(token, policy) as network:
        check_beforehand(request, UploadTarget.of(request), network)


def difference(request: UploadRequest) -> str | None:
    """Return how the files differ from those that an earlier run uploaded, or began to upload; None if they do not.

    Raises:
        InputRefused, IntegrityError: as `upload`.
    """
    journal = UploadTarget.of(request).journal()
    return None if journal is None else difference_of(journal.files, select_files(request).files)


def uploaded_before(request: UploadRequest) -> Uploaded | None:
    """Return the dataset that an earlier run uploaded from the same files; None if there is none. No server is asked.

    Raises:
        InputRefused, IntegrityError: as `upload`.
    """
    journal = UploadTarget.of(request).journal()
    if journal is None or journal.events.dataset_id is None or not journal.events.is_usable or difference(request) is not None:
        return None
    return Uploaded(journal.events.dataset_id, page_of(journal.head.url, journal.events.dataset_id), was_there=True)


def status(request: UploadRequest) -> UploadStatus | None:
    """Return the state of an upload; None if it has not begun."""
    journal = UploadTarget.of(request).journal()
    return None if journal is None else status_of(journal)


def statuses(state: Path) -> list[UploadStatus]:
    """Return the states of all uploads in a state directory."""
    place = place_at(uploads_directory(state))
    found = [Journal.load(place.child(name)) for name in sorted(place.names())]
    return [status_of(journal) for journal in found if journal is not None]


def cancel(request: UploadRequest, token: Token, policy: Policy | None = None) -> UploadStatus:
    """Cancel an unfinished upload: the server deletes everything that it has of it, and the journal is removed.

    Raises:
        InputRefused: there is none.
        ServerError: the server refuses; the journal stays.
    """
    target = UploadTarget.of(request)
    with UploadLock(target.directory):
        journal = target.journal()
        if journal is None or journal.events.dataset_id is not None:
            what = "no upload" if journal is None else "no unfinished upload (delete a finished one on the server)"
            raise InputRefused(f"there is {what} of {target.name} to {target.url}", where=request.dataset)
        with target.network(token, policy) as network:
            cancel_on_server(journal, network, request.allow_http)
        journal.remove()
        return status_of(journal)

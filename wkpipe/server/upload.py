"""Upload a dataset to a WEBKNOSSOS server, resumably: the same request goes on where an earlier one stopped."""

from __future__ import annotations

from pathlib import Path

from wkpipe.errors import InputRefused
from wkpipe.server.journal import FILE_NAME, Journal, UploadLock
from wkpipe.server.policy import Policy
from wkpipe.server.progress import Progress
from wkpipe.server.request import (
    DEFAULT_CHUNK_BYTES,
    DEFAULT_JOBS,
    DEFAULT_URL,
    Target,
    Uploaded,
    UploadRequest,
    UploadStatus,
    opened,
    status_of,
)
from wkpipe.server.selection import Part, Selection, select
from wkpipe.server.session import UploadSession, cancel_on_server, check_beforehand, difference_of
from wkpipe.server.token import Token
from wkpipe.server.wk_api import page_of
from wkpipe.stored.locations import uploads_directory

__all__ = [
    "DEFAULT_CHUNK_BYTES",
    "DEFAULT_JOBS",
    "DEFAULT_URL",
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
    """Upload a dataset, or go on with it, and return what the server made of it.

    Raises:
        UsageError: the URL, or another part of the request, can not be.
        InputRefused: the dataset can not be uploaded as it is, or differs from what an earlier run has begun to upload.
        IntegrityError: its files are not those in the ledger, or change while they are sent.
        ServerError: the server refuses or fails. What it has already stays; the same request goes on.
        TryAgain: another process is at the same upload.
        Interrupted, KeyboardInterrupt: as a signal handler raised it; the same request goes on.
    """
    selection, target = select_files(request), Target.of(request)
    with UploadLock(target.directory), target.network(token, policy) as network:
        run = UploadSession(request, target, selection, network, progress or Progress())
        try:
            return run.uploaded()
        finally:
            run.close()


def select_files(request: UploadRequest) -> Selection:
    """Return the files that are or would be sent. Nothing is asked of the server, nothing is written.

    Raises:
        InputRefused, IntegrityError: as `upload`.
    """
    part = Part(tuple(request.layers), request.finest_mag, request.coarsest_mag)
    return select(opened(request), part)


def where_to(request: UploadRequest) -> str:
    """Return the address of the server that a request goes to.

    Raises:
        UsageError, InputRefused: a part of the request can not be.
    """
    return Target.of(request).url


def check_server(request: UploadRequest, token: Token, policy: Policy | None = None) -> None:
    """Ask the server what can be asked before there is a dataset: whether it takes the token, the name, the folder, the datastore.

    Raises:
        InputRefused, ServerError: as `upload`, which asks again.
    """
    with Target.of(request).network(token, policy) as network:
        check_beforehand(request, Target.of(request), network)


def difference(request: UploadRequest) -> str | None:
    """Return how the files differ from those that an earlier run has uploaded, or begun to; None where they do not.

    Raises:
        InputRefused, IntegrityError: as `upload`.
    """
    journal = Target.of(request).journal()
    return None if journal is None else difference_of(journal.files, select_files(request).files)


def uploaded_before(request: UploadRequest) -> Uploaded | None:
    """Return what an earlier run has made on the server of the same files; None where there is nothing. No server is asked.

    Raises:
        InputRefused, IntegrityError: as `upload`.
    """
    journal = Target.of(request).journal()
    if journal is None or journal.events.dataset_id is None or not journal.events.is_usable or difference(request) is not None:
        return None
    return Uploaded(journal.events.dataset_id, page_of(journal.head.url, journal.events.dataset_id), was_there=True)


def status(request: UploadRequest) -> UploadStatus | None:
    """Return how far an upload is; None where it has not begun."""
    journal = Target.of(request).journal()
    return None if journal is None else status_of(journal)


def statuses(state: Path) -> list[UploadStatus]:
    """Return all uploads that a state directory knows of."""
    directories = sorted(path.parent for path in uploads_directory(state).glob(f"*/{FILE_NAME}"))
    return [status_of(journal) for journal in map(Journal.load, directories) if journal is not None]


def cancel(request: UploadRequest, token: Token, policy: Policy | None = None) -> UploadStatus:
    """Give up an unfinished upload: the server deletes what it has of it, and its journal goes.

    Raises:
        InputRefused: there is none.
        ServerError: the server refuses; the journal stays.
    """
    target = Target.of(request)
    with UploadLock(target.directory):
        journal = target.journal()
        if journal is None or journal.events.dataset_id is not None:
            what = "no upload" if journal is None else "no unfinished upload (what is done is deleted on the server)"
            raise InputRefused(f"{request.dataset}: there is {what} of {target.name} to {target.url}")
        with target.network(token, policy) as network:
            cancel_on_server(journal, network, request.allow_http)
        journal.remove()
        return status_of(journal)

"""UploadSession: one run of one upload, from the first question to the dataset that can be viewed."""

from __future__ import annotations

import datetime as dt
import itertools
import time
import uuid
from urllib.parse import urlsplit

from wkpipe.errors import InputRefused, MetadataError, ServerError
from wkpipe.server.http.connection import Connection
from wkpipe.server.http.network import Network
from wkpipe.server.progress import OneAtATime, Progress
from wkpipe.server.upload.chunk_reader import changed
from wkpipe.server.upload.datastore import Datastore
from wkpipe.server.upload.finish import Finish
from wkpipe.server.upload.journal import Head, Journal, remove_journal
from wkpipe.server.upload.request import Uploaded, UploadRequest, UploadTarget
from wkpipe.server.upload.selection import FilesToSend
from wkpipe.server.upload.source_file import SourceFile
from wkpipe.server.upload.transfer import Transfer, UploadLost
from wkpipe.server.versions import Versions, negotiate
from wkpipe.server.wk_api import User, WkApi
from wkpipe.stored.places import place_at

_MOVED = "; the unfinished upload is on the former datastore: if its address has changed, pass --again to upload again"


class UploadSession:
    """One run of one upload."""

    def __init__(self, request: UploadRequest, target: UploadTarget, selection: FilesToSend, network: Network, progress: Progress) -> None:
        self._request = request
        self._target = target
        self._selection = selection
        self._network = network
        self._progress = OneAtATime(progress)
        network.on_trouble = self._progress.trouble
        self._journal: Journal | None = None

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def uploaded(self) -> Uploaded:
        """Upload, or resume an upload, and return the dataset on the server."""
        for text in self._selection.notices:
            self._progress.notice(text)
        journal = self._found()
        wk_connection = Connection(self._network, self._target.url)
        versions = negotiate(wk_connection)
        wk = WkApi(wk_connection, versions)
        if journal is not None and journal.events.dataset_id is not None:
            if wk.dataset(journal.events.dataset_id).exists:
                was_usable = journal.events.is_usable
                return self._usable(wk, journal, journal.events.dataset_id, was_usable)
            self._progress.notice(f"the uploaded dataset {journal.events.dataset_id} is gone from the server: uploading again")
            journal.remove()
            journal = None
        if journal is not None:
            self._progress.notice(f"resuming the upload of {journal.head.name}: {journal.done} of {journal.total} bytes are on the server")
        for _ in range(2):
            datastore, journal = self._begun(wk, versions, journal)
            self._journal = journal
            transfer = Transfer(self._selection.place, journal, datastore, self._request.jobs, self._progress.moved)
            finish = Finish(journal, datastore, wk, transfer, self._progress)
            dataset_id = self._looked_up(transfer, finish)
            if dataset_id is not None:
                return self._usable(wk, journal, dataset_id)
            if not journal.events.is_reserved:  # the server does not know it any more
                journal.remove()
                journal = None
                continue
            try:
                self._progress.doing("sending")
                transfer.send_all()
            except UploadLost:
                journal.remove()
                raise ServerError(
                    f"{self._target.url} does not know this upload any more: somebody has cancelled it",
                    fix="run the same command again: it starts a new upload",
                ) from None
            self._check_unchanged()
            return self._usable(wk, journal, finish.run())
        raise ServerError(f"{self._target.url} forgets uploads at once", fix="inform its administrator")

    # -- begin --------------------------------------------------------------------------------------------------

    def _found(self) -> Journal | None:
        """Return the journal of an earlier run, if the same files are to be sent.

        Raises:
            InputRefused: the files differ.
            ServerError: the earlier upload has failed for good.
        """
        if self._request.again:
            self._forget()
            return None
        journal = self._target.journal()
        if journal is None:
            return None
        difference = difference_of(journal.files, self._selection.files)
        if difference is not None:
            what = "was already uploaded" if journal.events.dataset_id else "is partly uploaded"
            raise InputRefused(
                f"{self._request.dataset} {what} as {journal.head.name}, with other files ({difference})",
                fix="pass --again to upload it again",
            )
        if journal.events.dead is not None:
            raise ServerError(f"the last try failed: {journal.events.dead}", fix="fix the cause, then upload again with --again")
        journal.files = self._selection.files  # the same files, with the content of the properties
        return journal

    def _forget(self) -> None:
        try:
            journal = self._target.journal()
        except MetadataError:
            remove_journal(place_at(self._target.directory))
            return
        if journal is None:
            return
        if journal.events.dataset_id is None:
            try:
                cancel_on_server(journal, self._network, self._request.allow_http)
            except ServerError as error:
                self._progress.notice(f"the earlier, unfinished upload stays on the server: {error}")
        journal.remove()

    def _begun(self, wk: WkApi, versions: Versions, journal: Journal | None) -> tuple[Datastore, Journal]:
        """Begin an upload on the server, or check that an unfinished one may be resumed."""
        request, base = self._request, self._target
        if journal is not None:
            address = wk.datastore(journal.head.datastore, request.allow_http, _MOVED)
            datastore = Datastore(Connection(self._network, address), versions, journal.head)
            if not journal.events.is_reserved:
                self._reserve(wk, datastore, journal)
            return datastore, journal
        self._progress.doing("asking the server")
        folder_id = None if request.folder is None else wk.folder_id(request.folder)
        address = wk.datastore(request.datastore, request.allow_http)
        wk.check_new_name(base.name)
        user = wk.user()
        before = wk.own_datasets(user, base.name, folder_id)
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H-%M-%S")
        upload_id = f"{now}__{uuid.uuid4()}"
        known = None if before is None else tuple(sorted(before))
        head = Head(upload_id, base.url, address, versions.api, user.organization, user.user_id, base.name, folder_id, known)
        journal = self._journal = Journal.create(place_at(base.directory), head, self._selection.files, request.chunk_bytes)
        datastore = Datastore(Connection(self._network, address), versions, head)
        if urlsplit(address).hostname != urlsplit(base.url).hostname:
            self._progress.notice(f"the files go to the datastore {address}")
        self._reserve(wk, datastore, journal)
        return datastore, journal

    def _reserve(self, wk: WkApi, datastore: Datastore, journal: Journal) -> None:
        answer = datastore.ask_reserve(journal.files)
        if not answer.is_ok:
            journal.remove()
            raise datastore.connection.refusal(f"reserving the upload of {journal.head.name}", answer)
        head = journal.head
        now = wk.own_datasets(User(head.user_id, head.organization), head.name, head.folder_id)
        new = frozenset[str]() if now is None or head.before is None else now - frozenset(head.before)
        journal.note(is_reserved=True, expected_id=next(iter(new)) if len(new) == 1 else None)

    def _looked_up(self, transfer: Transfer, finish: Finish) -> str | None:
        """Find out which chunks of an earlier run the server has; return the dataset's id if the upload is done.

        If the server does not know the upload, it counts as not reserved.
        """
        journal = self._journal
        assert journal is not None, "was begun"
        if journal.events.finish:
            return finish.outcome()
        probe = next(journal.accepted(), None)
        doubtful = journal.in_doubt()
        if probe is None and not doubtful:
            return None
        try:
            if probe is not None and not transfer.ask_for([probe]):
                self._progress.notice("the server has lost chunks: asking for each of them")
                transfer.ask_for(list(journal.accepted()))
            transfer.ask_for(doubtful)
        except UploadLost:
            expected = journal.events.expected_id
            if expected is not None and finish.is_usable(expected):
                journal.note(dataset_id=expected)
                return expected
            self._progress.notice("the server does not know the unfinished upload any more: uploading again")
            journal.events.is_reserved = False
        return None

    # -- end ----------------------------------------------------------------------------------------------------

    def _check_unchanged(self) -> None:
        place = self._selection.place
        for file in self._selection.files:
            difference = file.differs_in(place)
            if difference is not None:
                raise changed(place.path(file.path), difference)

    def _usable(self, wk: WkApi, journal: Journal, dataset_id: str, was_there: bool = False) -> Uploaded:
        """Wait until the server reports that the dataset can be viewed, and return it.

        Raises:
            ServerError: the dataset does not become usable.
        """
        page = wk.page(dataset_id)
        begin, patience = time.monotonic(), self._network.policy
        for attempt in itertools.count():
            state = wk.dataset(dataset_id)
            if state.is_usable:
                if not journal.events.is_usable:
                    journal.note(dataset_id=dataset_id, is_usable=True, finish=0)
                return Uploaded(dataset_id, page, was_there)
            if time.monotonic() - begin > patience.usable or not state.exists:
                raise ServerError(
                    f"{page} was uploaded, but the server reports that it is not usable: {state.why}",
                    fix="look at that page, or ask the server's administrator",
                )
            self._network.wait(patience.pause(attempt))
        raise AssertionError("the loop does not end")


def check_beforehand(request: UploadRequest, target: UploadTarget, network: Network) -> None:
    """Check with the server all that needs no dataset yet; `UploadSession` checks it again.

    Raises:
        InputRefused, ServerError: the server does not accept the token, the name, the folder or the datastore.
    """
    connection = Connection(network, target.url)
    wk = WkApi(connection, negotiate(connection))
    wk.user()
    if request.folder is not None:
        wk.folder_id(request.folder)
    wk.datastore(request.datastore, request.allow_http)
    wk.check_new_name(target.name)


def difference_of(before: tuple[SourceFile, ...], now: tuple[SourceFile, ...]) -> str | None:
    """Return how files to send differ from those of an earlier run; None if they do not."""
    old, new = ({file.path: (file.size, file.stamp) for file in files} for files in (before, now))
    if old == new:
        return None
    for path, (size, _) in old.items():
        if path not in new:
            return f"{path} is gone"
        if new[path] != old[path]:
            return f"{path} has changed" + (f", to {new[path][0]} bytes from {size}" if new[path][0] != size else "")
    return f"{next(path for path in new if path not in old)} is new"


def cancel_on_server(journal: Journal, network: Network, allow_http: bool) -> None:
    """Have the server delete everything that it has of an upload.

    Raises:
        ServerError: it refuses.
    """
    if journal.events.dead is not None or not journal.events.is_reserved:
        return
    wk = Connection(network, journal.head.url)
    versions = negotiate(wk)
    address = WkApi(wk, versions).datastore(journal.head.datastore, allow_http)
    datastore = Datastore(Connection(network, address), versions, journal.head)
    answer = datastore.ask_cancel()
    if not answer.is_ok and not (answer.status == 400 and datastore.ask_has(journal.files[0].path, 1) is None):
        raise datastore.connection.refusal("cancelling the upload", answer)

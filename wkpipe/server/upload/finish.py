"""Finish: have the server make a dataset of the files, and find out the outcome if its answer is lost.

A server finishes an upload once; asked again, it does not know the upload any more. So nothing is repeated before the server
was asked for the state, and only a dataset that can be viewed is a success.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

from wkpipe.errors import ServerError
from wkpipe.server.http.answer import Answer
from wkpipe.server.http.background import in_background
from wkpipe.server.http.broken import NoAnswer
from wkpipe.server.http.connection import Patience
from wkpipe.server.http.policy import TRIED_AGAIN
from wkpipe.server.progress import Progress
from wkpipe.server.upload.datastore import Datastore
from wkpipe.server.upload.journal import Journal
from wkpipe.server.upload.transfer import Transfer, UploadLost
from wkpipe.server.wk_api import DATASET_ID, User, WkApi

_MOST_REQUESTS = 2
"""How often a run requests the finish if it cannot know that the server received the request."""


class Finish:
    """The end of one upload."""

    def __init__(self, journal: Journal, datastore: Datastore, wk: WkApi, transfer: Transfer, progress: Progress) -> None:
        self._journal = journal
        self._datastore = datastore
        self._wk = wk
        self._transfer = transfer
        self._progress = progress
        self._network = datastore.connection.network

    def run(self) -> str:
        """Finish an upload whose chunks are all on the server, and return the dataset's id.

        Raises:
            ServerError: the server refuses, or the outcome cannot be found out.
        """
        journal = self._journal
        is_resent = False
        for requests in itertools.count(1):
            self._transfer.settle()
            asked_before = journal.events.finish
            journal.note(finish=asked_before + 1)
            answer = self._ask(asked_before)
            dataset_id = _dataset_id(answer)
            if dataset_id is not None:
                break
            if answer is not None and answer.status == 400:
                if is_resent or not self._resend_missing(answer):
                    raise self._dead(f"finishing the upload: {self._datastore.connection.base} answers {answer}")
                is_resent = True
                journal.note(finish=0)
                continue
            if answer is not None and not answer.is_ok and answer.status not in TRIED_AGAIN:
                journal.note(finish=asked_before)
                raise self._datastore.connection.refusal("finishing the upload", answer)
            dataset_id = self.outcome()
            if dataset_id is not None:
                break
            if requests >= _MOST_REQUESTS:
                raise ServerError(
                    f"{self._datastore.connection.base} answers {answer or 'nothing'}, and does not finish it",
                    where="finishing the upload",
                    fix="all files are on the server: run the same command again later",
                )
        assert dataset_id is not None, "the loop ends with one"
        journal.note(dataset_id=dataset_id, finish=0)
        return dataset_id

    def _ask(self, asked_before: int) -> Answer | None:
        """Send the request and return the answer; None if it may have arrived and there was no answer."""
        begin = time.monotonic()
        patience = Patience(self._network)
        found: list[Answer | None] = []

        def ask() -> None:
            while not found:
                try:
                    found.append(self._datastore.finish(self._network.policy.finish))
                except NoAnswer as broken:
                    if broken.was_sent:
                        found.append(None)
                    else:
                        self._journal.note(finish=asked_before)
                        where = f"finishing the upload: {self._datastore.connection.base}"
                        patience.wait(ServerError(str(broken), where=where))
                        self._journal.note(finish=asked_before + 1)

        def tick() -> None:
            seconds = int(time.monotonic() - begin)
            self._progress.doing(f"the server makes a dataset of the files, for {seconds} s")

        self._progress.doing("the server makes a dataset of the files")
        in_background(self._network, [ask], tick)
        return found[0]

    # -- the outcome --------------------------------------------------------------------------------------------

    def outcome(self) -> str | None:
        """Return the id of the dataset that an unanswered request has made; None if the server has not started on it.

        Raises:
            ServerError: the server has given up the upload, or the outcome cannot be found out.
        """
        policy = self._network.policy
        self._progress.doing("asking the server for the outcome of the upload")
        begin = time.monotonic()
        for pause in self._pauses():
            if self._is_known():
                if time.monotonic() - begin >= policy.verify_stuck:
                    return None
            else:
                dataset_id = self._made()
                if dataset_id is not None:
                    return dataset_id
            if time.monotonic() - begin >= policy.verify:
                break
            self._network.wait(pause)
        raise ServerError(
            f"{self._wk.connection.base} does not report the outcome of the upload of {self._journal.head.name}",
            fix=f"look at {self._wk.connection.base}/dashboard, and run the same command again: it asks again",
        )

    def _is_known(self) -> bool:
        """True if the server still has the upload and has not finished it."""
        return self._datastore.ask_has(self._journal.files[0].path, 1) is not None

    def _made(self) -> str | None:
        """Return the id of the dataset made from an upload that the server does not know any more; None if there is none (yet)."""
        expected = self._journal.events.expected_id
        if expected is not None:
            state = self._wk.dataset(expected)
            if not state.exists:
                raise self._dead("the server has given up the upload and deleted its dataset: it cannot read the files as a dataset")
            return expected if state.is_usable else None
        usable = [each for each in self.new_datasets() if self._wk.dataset(each).is_usable]
        return usable[0] if len(usable) == 1 else None

    def new_datasets(self) -> frozenset[str]:
        """Return the ids of the user's datasets of this name that did not exist when the upload began."""
        head = self._journal.head
        now = self._wk.own_datasets(User(head.user_id, head.organization), head.name, head.folder_id)
        return frozenset() if now is None or head.before is None else now - frozenset(head.before)

    def is_usable(self, dataset_id: str) -> bool:
        """True if a dataset can be viewed."""
        return self._wk.dataset(dataset_id).is_usable

    def _pauses(self) -> Iterator[float]:
        pauses = self._network.policy.verify_pauses
        yield from pauses
        yield from itertools.repeat(pauses[-1])

    # -- refusals -----------------------------------------------------------------------------------------------

    def _resend_missing(self, answer: Answer) -> bool:
        """Send the chunks again that the server lacks after a refusal; return True if there were any.

        Raises:
            ServerError: the server does not know the upload any more.
        """
        try:
            if self._transfer.ask_for(list(self._journal.accepted())):
                return False
            self._progress.notice("the server lacks chunks that it had accepted; they are sent again")
            self._transfer.send_all()
        except UploadLost:
            raise self._dead(f"finishing the upload: {self._datastore.connection.base} answers {answer}") from None
        return True

    def _dead(self, why: str) -> ServerError:
        self._journal.note(dead=why, finish=0)
        return ServerError(f"{why}: this upload cannot be resumed", fix="fix the cause, then upload again with --again")


def _dataset_id(answer: Answer | None) -> str | None:
    """Return the dataset's id in an answer; None if there is none."""
    content = answer.json() if answer is not None and answer.is_ok else None
    if isinstance(content, dict):
        for key in ("datasetId", "newDatasetId"):
            if isinstance(content.get(key), str) and DATASET_ID.fullmatch(content[key]):
                return str(content[key])
    return None

"""Finish: have the server make a dataset of the files, and find out what became of it when the answer is lost.

A server finishes an upload once; asked again it does not know the upload any more. So nothing is repeated before the server
was asked how things stand, and success is what answers as a dataset that can be looked at.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

from wkpipe.errors import ServerError
from wkpipe.server.answer import Answer
from wkpipe.server.background import in_background
from wkpipe.server.broken import NoAnswer
from wkpipe.server.connection import Patience
from wkpipe.server.datastore import Datastore
from wkpipe.server.journal import Journal
from wkpipe.server.policy import TRIED_AGAIN
from wkpipe.server.progress import Progress
from wkpipe.server.transfer import Transfer, UploadLost
from wkpipe.server.wk_api import DATASET_ID, User, WkApi

_MOST_REQUESTS = 2
"""How often a run asks to finish, when it can not know whether the server has heard it."""


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
        """Finish an upload of which the server has all chunks, and return the dataset's id.

        Raises:
            ServerError: the server refuses, or it can not be found out what it did.
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
                    f"finishing the upload: {self._datastore.connection.base} answers {answer or 'nothing'}, and does not finish it; all "
                    "files are there, run the same command again later"
                )
        assert dataset_id is not None, "the loop ends with one"
        journal.note(dataset_id=dataset_id, finish=0)
        return dataset_id

    def _ask(self, asked_before: int) -> Answer | None:
        """Send the request; None where it may have arrived and there was no answer."""
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
                        patience.wait(f"finishing the upload: {self._datastore.connection.base}: {broken}")
                        self._journal.note(finish=asked_before + 1)

        def tick() -> None:
            seconds = int(time.monotonic() - begin)
            self._progress.doing(f"the server makes a dataset of the files, for {seconds} s")

        self._progress.doing("the server makes a dataset of the files")
        in_background(self._network, [ask], tick)
        return found[0]

    # -- what became of it --------------------------------------------------------------------------------------

    def outcome(self) -> str | None:
        """Return the id of the dataset that an unanswered request has made; None where the server has not begun with it.

        Raises:
            ServerError: the server has given the upload up, or what it did can not be found out.
        """
        policy = self._network.policy
        self._progress.doing("asking the server what became of the upload")
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
            f"{self._wk.connection.base} does not say what became of the upload of {self._journal.head.name}; look at "
            f"{self._wk.connection.base}/dashboard, and run the same command again: it asks once more"
        )

    def _is_known(self) -> bool:
        """Tell whether the server still has the upload as one that is not finished."""
        return self._datastore.ask_has(self._journal.files[0].path, 1) is not None

    def _made(self) -> str | None:
        """Return the id of the dataset that was made of an upload which the server does not know any more; None if not (yet)."""
        expected = self._journal.events.expected_id
        if expected is not None:
            state = self._wk.dataset(expected)
            if not state.exists:
                raise self._dead("the server has given up the upload and deleted its dataset: the files are no dataset that it can read")
            return expected if state.is_usable else None
        usable = [each for each in self.new_datasets() if self._wk.dataset(each).is_usable]
        return usable[0] if len(usable) == 1 else None

    def new_datasets(self) -> frozenset[str]:
        """Return the ids of the user's datasets of this name that were not there when the upload began."""
        head = self._journal.head
        now = self._wk.own_datasets(User(head.user_id, head.organization), head.name, head.folder_id)
        return frozenset() if now is None or head.before is None else now - frozenset(head.before)

    def is_usable(self, dataset_id: str) -> bool:
        """Tell whether a dataset can be looked at."""
        return self._wk.dataset(dataset_id).is_usable

    def _pauses(self) -> Iterator[float]:
        pauses = self._network.policy.verify_pauses
        yield from pauses
        yield from itertools.repeat(pauses[-1])

    # -- refusals -----------------------------------------------------------------------------------------------

    def _resend_missing(self, answer: Answer) -> bool:
        """After a refusal: send again what the server lacks; return whether it lacked something.

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
        return ServerError(f"{why}; this upload can not go on; when the cause is mended, upload anew with --again")


def _dataset_id(answer: Answer | None) -> str | None:
    """Return the id in an answer; None where there is none."""
    content = answer.json() if answer is not None and answer.is_ok else None
    if isinstance(content, dict):
        for key in ("datasetId", "newDatasetId"):
            if isinstance(content.get(key), str) and DATASET_ID.fullmatch(content[key]):
                return str(content[key])
    return None

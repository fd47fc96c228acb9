"""Upload: the last task of a run sends the finished dataset to a server."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from wkpipe.plan.plan import Plan
from wkpipe.plan.task import UPLOAD
from wkpipe.server.progress import Progress
from wkpipe.server.request import Uploaded
from wkpipe.server.token import Token
from wkpipe.steps.token_handover import token_handed_over
from wkpipe.storage import disk
from wkpipe.storage.seal import Seal

STATE_FILE = "upload.json"
WRITE_SECONDS = 0.5


def upload_dataset(plan: Plan, run: Path, seal: Seal) -> Uploaded:
    """Upload the dataset of a plan, with the token that the main process of the run keeps.

    Raises:
        ServerError: there is no token, or the server refuses or fails.
        WkpipeError: see `wkpipe.server.upload.upload`.
    """
    from wkpipe.server.policy import Policy  # other jobs need none of what this loads
    from wkpipe.server.upload import difference, upload

    assert plan.upload is not None
    request, note = plan.upload, _Note(run / STATE_FILE)
    if not request.again and (changed := difference(request)) is not None:
        # The dataset on the server stays as it is. What the workflow is asked for is one like that on this side.
        note.notice(f"an earlier run has uploaded other files ({changed}): uploading anew")
        request = replace(request, again=True)
    # Where there were other tasks, the main process has asked the server before them (`check_beforehand`).
    return upload(request, token_handed_over(run, seal), note, Policy(was_reached=bool(plan.of_rule(UPLOAD)[0].inputs)))


def check_beforehand(plan: Plan, token: Token) -> None:
    """Have the server refuse now what it would refuse when the dataset is finished, hours later.

    Raises:
        InputRefused, ServerError: it does, or does not answer.
    """
    from wkpipe.server.policy import Policy
    from wkpipe.server.upload import check_server

    assert plan.upload is not None
    check_server(plan.upload, token, Policy.brief())


@dataclass
class UploadState:
    """What an upload does just now, for whoever watches: `done` of `total` bytes are on the server or on their way.

    `notices` are what its user should know.
    """

    doing: str = "preparing the upload"
    done: int = 0
    total: int = 0
    notices: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, run: Path) -> UploadState | None:
        """Return what the upload of a run has noted last; None where it has not begun."""
        with contextlib.suppress(OSError, ValueError, TypeError):  # not there, or being written just now
            return cls(**json.loads((run / STATE_FILE).read_text()))
        return None


class _Note(Progress):
    """Notes the state of an upload in a file of the run; notices go to the job's log too."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = UploadState()
        self._last = 0.0
        self._write()

    def notice(self, text: str) -> None:
        print(text, flush=True)
        self._state.notices.append(text)
        self._write()

    def trouble(self, text: str) -> None:
        self.notice(text)

    def doing(self, text: str) -> None:
        self._state.doing = text
        self._write()

    def moved(self, done: int, total: int) -> None:
        self._state.done, self._state.total = done, total
        if done == total or time.monotonic() - self._last >= WRITE_SECONDS:
            self._write()

    def _write(self) -> None:
        self._last = time.monotonic()
        disk.note(self._path, json.dumps(asdict(self._state)))

"""Upload: send the finished dataset to a server, as the last task of a run."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wkpipe.plan.cut.task import UPLOAD
from wkpipe.plan.plan import Plan
from wkpipe.server.http.token import Token
from wkpipe.server.progress import Progress
from wkpipe.storage.notes import note_values
from wkpipe.stored.places import place_at

if TYPE_CHECKING:
    from wkpipe.server.upload.request import Uploaded

STATE_FILE = "upload.json"
WRITE_SECONDS = 0.5


def upload_dataset(plan: Plan, run: Path, token: Token) -> Uploaded:
    """Upload the dataset of a plan, with the token of the run's main process.

    Raises:
        ServerError: there is no token, or the server refuses or fails.
        WkpipeError: see `wkpipe.server.upload.uploading.upload`.
    """
    from wkpipe.server.http.policy import Policy  # other jobs do not need what this imports
    from wkpipe.server.upload.uploading import difference, upload

    assert plan.upload is not None
    request, note = plan.upload, _Note(run)
    if not request.again and (changed := difference(request)) is not None:
        # The dataset on the server stays as it is; the workflow needs one that is like the local dataset.
        note.notice(f"an earlier run has uploaded other files ({changed}): uploading again")
        request = replace(request, again=True)
    # If there were other tasks, the main process asked the server before them (`check_beforehand`).
    return upload(request, token, note, Policy(was_reached=bool(plan.of_rule(UPLOAD)[0].inputs)))


def check_beforehand(plan: Plan, token: Token) -> None:
    """Ask the server now whether it would refuse the finished dataset, hours later.

    Raises:
        InputRefused, ServerError: it would, or does not answer.
    """
    from wkpipe.server.http.policy import Policy
    from wkpipe.server.upload.uploading import check_server

    assert plan.upload is not None
    check_server(plan.upload, token, Policy.brief())


@dataclass
class UploadState:
    """The progress of an upload: `done` of `total` bytes are on the server or on their way.

    `notices` are for the user.
    """

    doing: str = "preparing the upload"
    done: int = 0
    total: int = 0
    notices: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, run: Path) -> UploadState | None:
        """Return the last state of a run's upload; None if it has not begun."""
        values = note_values(place_at(run), STATE_FILE)
        return cls(**values) if values else None


class _Note(Progress):
    """Write the state of an upload to a file of the run; notices go to the job's log too."""

    def __init__(self, run: Path) -> None:
        self._place = place_at(run)
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
        self._place.note(STATE_FILE, json.dumps(asdict(self._state)))

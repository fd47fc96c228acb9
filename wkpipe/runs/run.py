"""The frame of a run: take the lease, prepare the dataset, store the plan for the jobs; or run it without a workflow.

A run has a directory below ``runs/`` of the state: the plan, the markers of finished tasks (Snakemake's file targets;
they prove nothing), the errors of failed tasks, the logs. The main process makes a new one for every run and removes
those of older runs. All that jobs trust (plan, epoch, place of the token) is sealed: see `wkpipe.storage.seal`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from wkpipe.errors import UnreadableImages, WkpipeError
from wkpipe.plan.cut.task import UPLOAD, Task
from wkpipe.plan.plan import Plan
from wkpipe.runs.job_note import job_note
from wkpipe.runs.permission import check_permitted
from wkpipe.runs.prepare import prepare, remove_leftovers
from wkpipe.runs.token_handover import PLACE_FILE, kept_in_memory
from wkpipe.server.http.token import Token
from wkpipe.steps.swap import forget_done
from wkpipe.steps.task import run_task
from wkpipe.steps.upload import check_beforehand
from wkpipe.steps.work import Server
from wkpipe.storage.lease import Epoch
from wkpipe.storage.scratch import Scratch
from wkpipe.storage.seal import Seal
from wkpipe.storage.side_by_side import do_all
from wkpipe.stored.lease import DatasetLease, Lookout

if TYPE_CHECKING:  # slow to import, and needed by uploads only
    from wkpipe.server.upload.request import Uploaded

EPOCH_FILE = "epoch.json"


class Run:
    """A run of a plan: created with the plan, `begun` when the first job may start.

    Its creation writes nothing, so a dry run needs no cleaning up.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.locations = plan.locations
        self.seal = Seal.new()
        self._place = self.locations.runs.child(self.seal.run)
        self.directory = self._place.path()  # Snakemake works there

    def marker(self, task: Task) -> Path:
        """Return the file target of a task."""
        return self.directory / task.marker

    @contextlib.contextmanager
    def begun(self, break_lock: bool = False, token: Token | None = None) -> Iterator[Epoch]:
        """Hold the lease and prepare everything for the jobs, which run in the block. `token` is for an upload or a download.

        Raises:
            InputRefused, ServerError: the server of the upload refuses the token, the name or the folder.
            TryAgain: another run works on the dataset, or did since the plan was made.
            NotWritable: the dataset or the state cannot be written; nothing was changed.
        """
        check_permitted(self.plan)
        if token is not None and self.plan.upload is not None and len(self.plan.tasks) > 1:  # an upload alone finds out soon enough
            check_beforehand(self.plan, token)
        with DatasetLease(self.locations, break_lock) as lease:
            Lookout(self.locations, self.plan.epoch, self.plan.working, break_lock).check_lease(lease)
            remove_leftovers(self.locations, lease.epoch)
            scratch = self.locations.scratch(lease.epoch)
            prepare(self.plan, self.locations, lease.epoch)
            files = self.plan.files() | {EPOCH_FILE: json.dumps(lease.epoch.to_json()).encode()}
            do_all([partial(self._store, name, data, scratch) for name, data in files.items()])
            try:
                with contextlib.ExitStack() as kept:
                    if token is not None:
                        place = kept.enter_context(kept_in_memory(token))
                        self._store(PLACE_FILE, place.encode(), scratch)
                    yield lease.epoch
            finally:
                with contextlib.suppress(WkpipeError):
                    forget_done(self.locations, lease.epoch)
                for used in (scratch, self.locations.data_scratch(lease.epoch)):
                    with contextlib.suppress(WkpipeError):  # the next run removes the rest
                        used.remove()

    def _store(self, name: str, content: bytes, scratch: Scratch) -> None:
        """Write a file for the jobs; after a crash of this host it is worthless, as is all that is in the run's directory."""
        self._place.writing(scratch).put(name, self.seal.sealed(name, content), lasting=False)


def units_made(run: Run) -> int:
    """Return how many units the jobs of a run have made, by their notes."""
    return sum(count for task in run.plan.tasks if type(count := job_note(run.directory, task.name).get("units")) is int)


def uploaded_by(run: Run) -> Uploaded | None:
    """Return what a run has uploaded, from the task's marker; None if it had nothing to upload."""
    from wkpipe.server.upload.request import Uploaded

    for task in run.plan.of_rule(UPLOAD):
        return Uploaded(**json.loads(run.marker(task).read_bytes()))
    return None


def run_here(
    plan: Plan,
    on_task: Callable[[Task], None] = lambda _: None,
    server: Server | None = None,
    notify: Callable[[str], None] = lambda _: None,
    first: Callable[[Epoch], None] = lambda _: None,
) -> int:
    """Do all tasks of a plan in this process, one after the other, as the library does; the bytes are the same.

    Return how many units were made.

    `server` is for a download; `notify` gets the notices for the user; `first` is called before the first task, under the lease.

    Raises:
        UnreadableImages: images cannot be read; the tasks that do not need them are done.
        WkpipeError: as the first task that fails for another reason.
    """
    made = 0
    if plan.is_empty:
        return made
    failed: dict[str, UnreadableImages] = {}
    with Run(plan).begun() as epoch:
        first(epoch)
        for task in plan.tasks:
            if cause := next((failed[name] for name in task.inputs if name in failed), None):
                failed[task.name] = cause
                continue
            try:
                made += run_task(plan, task, epoch, server=server, notify=notify)
            except UnreadableImages as error:
                failed[task.name] = error
                continue
            except WkpipeError as error:
                raise epoch.cause_of(error) from error
            on_task(task)
    if failed:
        raise next(iter(failed.values()))
    return made

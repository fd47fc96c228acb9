"""Do one task of a stored plan, as a job does."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from wkpipe.errors import ProcessKilled, WkpipeError
from wkpipe.plan.cut.task import UPLOAD, Task
from wkpipe.plan.origins.from_server import FromServer
from wkpipe.plan.plan import Plan, load_plan, run_file
from wkpipe.runs.job_note import JobNote, add_notice, forget_error, note_error, this_process
from wkpipe.runs.job_result import leave_result, mark_done
from wkpipe.runs.progress_note import ProgressNote
from wkpipe.runs.run import EPOCH_FILE
from wkpipe.runs.token_handover import token_handed_over
from wkpipe.steps.task import run_task
from wkpipe.steps.upload import upload_dataset
from wkpipe.steps.work import Server
from wkpipe.storage.claim import Claim, Superseded
from wkpipe.storage.lease import Epoch
from wkpipe.storage.process import limit_reached
from wkpipe.storage.seal import Seal
from wkpipe.stored.places import place_at

CLAIMS: Final = "claims"
"""The directory that names, for each task of a run, the process that does it."""

Doing = Callable[[Plan, Task, Epoch], bytes]


def place_of(directory: Path, seal: Seal) -> Path:
    """Return wkpipe's directory in the dataset that a stored run works on.

    Raises:
        UsageError: its seal is not the run's.
    """
    return _stored_epoch(directory, seal).locks.path().parent


def run_stored_task(
    directory: Path, name: str, seal: Seal, others: Mapping[str, Doing] = MappingProxyType({}), with_marker: bool = True
) -> None:
    """Do a task of a stored plan, as a job does: leave a marker, or a record of the error.

    `others` do the tasks of rules that packages above this one own; each returns the content of the task's marker. A job of a cluster
    runs without `with_marker`: it leaves its result in the state, and its executor makes the marker.

    Raises:
        UsageError: the plan's seal is not the run's.
        WkpipeError: as the task.
    """
    plan = load_plan(directory, seal, name)
    epoch = _stored_epoch(directory, seal)
    if not with_marker:  # a cluster may start a job more than once
        place = place_at(directory).child(CLAIMS).writing(plan.locations.scratch(epoch))
        epoch = replace(epoch, claim=Claim.taken(place, name, this_process()))
    note = JobNote(directory, name)
    task = plan.tasks[0]
    forget_error(directory, name)
    try:
        result, made = b"", 0
        if task.rule in others:
            result = others[task.rule](plan, task, epoch)
        elif task.rule == UPLOAD:
            result = json.dumps(asdict(upload_dataset(plan, directory, token_handed_over(directory, seal)))).encode()
        else:
            progress = ProgressNote(directory, name)
            notify = functools.partial(add_notice, directory)
            server = None
            if task.rule == FromServer.kind:
                server = Server(token_handed_over(directory, seal), notify)
            made = run_task(plan, task, epoch, progress.add, fork=True, server=server, notify=notify)
            progress.write()
        note.end(made)
        if with_marker:
            mark_done(directory / task.marker, result)
        else:
            leave_result(directory, name, result, plan.locations.scratch(epoch))
    except WkpipeError as found:
        error = epoch.cause_of(found)
        if not isinstance(error, Superseded):  # the other process reports
            note_error(directory, name, error.exit_code, str(error), is_final=not isinstance(error, ProcessKilled))
        raise error from found
    except Exception as defect:
        if (reason := limit_reached(defect)) is not None:
            note_error(directory, name, ProcessKilled.exit_code, reason, is_final=False)
            raise
        note_error(directory, name, WkpipeError.exit_code, f"a defect of wkpipe: {type(defect).__name__}: {defect}; please report it")
        raise


def _stored_epoch(directory: Path, seal: Seal) -> Epoch:
    content = run_file(directory, EPOCH_FILE)
    return Epoch.from_json(json.loads(seal.opened(EPOCH_FILE, content)), place_at)

"""Run one task of a stored plan: make its units one after the other, and record each when it is committed."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from wkpipe.formats.base import StoredArray
from wkpipe.formats.waiting import read_each
from wkpipe.plan.cut.task import PROVE, PUBLISH, Range, Task
from wkpipe.plan.mag_plan import planned_array
from wkpipe.plan.origins.from_mag import FromMag
from wkpipe.plan.plan import Plan
from wkpipe.steps.prove import prove_task
from wkpipe.steps.publish import publish_layers
from wkpipe.steps.registry import step_of
from wkpipe.steps.work import Server, Shared, Work
from wkpipe.storage.commits import Commits
from wkpipe.storage.lease import Epoch
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.record import with_token_of_same_voxels
from wkpipe.stored.identity import recorded_identity

AHEAD: Final = 8
"""Arrays that are opened at once if that takes time, as on a file server."""


def run_task(
    plan: Plan,
    task: Task,
    epoch: Epoch,
    on_voxels: Callable[[int], None] = lambda _: None,
    fork: bool = False,
    server: Server | None = None,
    notify: Callable[[str], None] = lambda _: None,
) -> int:
    """Do a task and return the number of units it made; proven units are left as they are.

    `on_voxels` is called with the number of voxels made since its last call.

    With `fork`, the task's threads are processes if that is faster; only for processes that exist for this task alone. `server`
    is for downloads, `notify` gets notes for the user.

    Raises:
        TryAgain: another run has taken over the dataset.
        WkpipeError: see the steps.
    """
    _allow_many_files()
    if task.rule == PUBLISH:
        publish_layers(plan, task.layers, plan.locations, epoch)
        return 0
    if task.rule == PROVE:
        prove_task(plan, task, epoch, notify)
        return 0
    with Commits() as commits:
        scratches = plan.locations.scratch(epoch), plan.locations.data_scratch(epoch).postponing(commits.keep)
        shared = Shared(commits, *scratches)
        ranges = zip(task.ranges, (*task.ranges[1:], None), _targets(plan, task.ranges), strict=True)
        return sum(
            _make(_work(plan, task, each, following, target, epoch, shared, on_voxels, fork, server, notify), mag_id)
            for each, following, (target, mag_id) in ranges
        )


def _targets(plan: Plan, ranges: Sequence[Range]) -> Iterator[tuple[StoredArray, str]]:
    """Yield the array that each range is written to, with the identity of its mag."""

    def opened(each: Range) -> tuple[StoredArray, str]:
        identity = recorded_identity(plan.locations, each.layer, each.mag)
        return planned_array(plan.mag_plan(each.layer, each.mag), plan.locations), "" if identity is None else identity.mag

    return read_each(opened, ranges, AHEAD)


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _work(
    plan: Plan,
    task: Task,
    mag_range: Range,
    following: Range | None,
    target: StoredArray,
    epoch: Epoch,
    shared: Shared,
    on_voxels: Callable[[int], None],
    fork: bool,
    server: Server | None,
    notify: Callable[[str], None],
) -> Work:
    locations = plan.locations
    mag_plan = plan.mag_plan(mag_range.layer, mag_range.mag)
    return Work(
        plan=plan,
        task=task,
        range=mag_range,
        following=following,
        layer=plan.layer(mag_range.layer),
        mag_plan=mag_plan,
        target=target,
        ledger=Ledger.load(locations.ledger(mag_range.layer, mag_range.mag), only=mag_range.units),
        locations=locations,
        epoch=epoch,
        shared=shared,
        on_voxels=on_voxels,
        fork=fork,
        server=server,
        notify=notify,
    )


def _make(work: Work, mag_id: str) -> int:
    """Make the units with the step of the mag's origin, record each with the mag's identity, and return their number."""
    mag_range, origin = work.range, work.mag_plan.origin
    _commit_what_is_read(work)
    made = 0
    with work.records(mag_range.mag, work.task.name) as writer:
        for record in step_of(origin.kind)(work, origin):
            made_as = replace(record, encoder=record.encoder or work.target.encoder, mag=mag_id)
            writer.add(with_token_of_same_voxels(made_as, work.ledger.get(record.unit)))
            made += 1
    return made


def _commit_what_is_read(work: Work) -> None:
    """Commit the units of earlier ranges that still wait, unless this range surely does not read them from the disk."""
    plan, commits, sampled = work.mag_plan, work.shared.commits, work.shared.handover
    if isinstance(plan.origin, FromMag):
        is_in_memory = sampled is not None and sampled[0] == plan and sampled[1].is_complete
        if is_in_memory or not commits.noted(work.locations.ledger(plan.layer, plan.origin.mag)):
            return
    commits.flush()

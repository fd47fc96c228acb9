"""The meaning of Slurm's states and reasons, and the texts that it writes into the logs of jobs."""

from __future__ import annotations

import re
from typing import Final

from wkpipe.cluster.backend import Cause, Outlook, Phase, Seen

_RUNNING: Final = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"})
_PENDING: Final = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"})
_WITH_REASON: Final = frozenset({"PENDING", "REQUEUE_HOLD", "SPECIAL_EXIT"})

_CAUSES: Final = {
    "OUT_OF_MEMORY": Cause.MEMORY,
    "TIMEOUT": Cause.TIME,
    "NODE_FAIL": Cause.NODE,
    "BOOT_FAIL": Cause.NODE,
    "PREEMPTED": Cause.PREEMPTED,
    "DEADLINE": Cause.DEADLINE,
    "LAUNCH_FAILED": Cause.NODE,
    "CANCELLED": Cause.CANCELLED,
}

LOG_CAUSES: Final = (
    (re.compile(r"DUE TO TIME LIMIT"), Cause.TIME),
    (re.compile(r"DUE TO NODE FAILURE"), Cause.NODE),
    (re.compile(r"DUE TO PREEMPTION"), Cause.PREEMPTED),
    (re.compile(r"CANCELLED AT (?!.*DUE TO JOB REQUEUE)"), Cause.CANCELLED),
)
"""Texts that slurmstepd writes into a job's log, and the causes that they name."""

_NEVER: Final = re.compile(
    r"BadConstraints|Invalid(Account|QOS)|Partition(Node|Time)Limit|(Account|QOS)NotAllowed|\w*NeverSatisfied|QOSMin\w*NotSatisfied"
    r"|(Assoc|QOS)Max(\w*PerJob\w*|Wall\w*|MemoryPerJob)"
)
"""Reasons of pending jobs that will never start."""

_USUAL: Final = re.compile(r"None|Priority|Resources|BeginTime|Prolog|Cleaning|\(null\)|")
_HELD: Final = re.compile(r"launch failed requeued held|JobHoldMaxRequeue", re.IGNORECASE)


def phase_of(state: str) -> Phase:
    """Return the phase of a job in a state.

    >>> phase_of("RUNNING"), phase_of("COMPLETED"), phase_of("TIMEOUT")
    (<Phase.RUNNING: 'running'>, <Phase.DONE: 'done'>, <Phase.FAILED: 'failed'>)
    """
    if state in _RUNNING:
        return Phase.RUNNING
    if state in _PENDING:
        return Phase.PENDING
    return Phase.DONE if state == "COMPLETED" else Phase.FAILED


def cause_in(state: str) -> Cause | None:
    """Return why a job ended in a state; None if the state does not say."""
    return _CAUSES.get(state)


def seen(id_: str, state: str, reason: str, name: str) -> Seen:
    """Return the job that a line of squeue describes."""
    why = reason if state in _WITH_REASON else ""
    return Seen(id_, name, phase_of(state), state, cause_in(state), why, _outlook(why))


def _outlook(reason: str) -> Outlook:
    if _HELD.search(reason):
        return Outlook.HELD
    if _NEVER.match(reason):
        return Outlook.NEVER
    return Outlook.USUAL if _USUAL.fullmatch(reason) else Outlook.ODD

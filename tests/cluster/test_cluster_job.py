"""Why a job ended, inferred from Slurm's lines in its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from wkpipe.cluster.backend import Cause, Phase, Request
from wkpipe.cluster.job import ClusterJob, cause_of
from wkpipe.cluster.records import TaskRecords
from wkpipe.cluster.slurm.states import LOG_CAUSES
from wkpipe.runs.job_note import JobNote

LINE = "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-01-02T03:04:05{why} ***\n"


@pytest.mark.parametrize(
    "why, cause",
    [
        ("", Cause.CANCELLED),
        (" DUE TO TIME LIMIT", Cause.TIME),
        (" DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS", Cause.NODE),
        (" DUE TO PREEMPTION", Cause.PREEMPTED),
        (" DUE TO JOB REQUEUE", Cause.UNKNOWN),
    ],
)
def test_who_cancels_a_job_is_in_its_log(why: str, cause: Cause, tmp_path: Path) -> None:
    """Only a job that a person cancels stays cancelled: a requeued job that then fails is tried again."""
    log = tmp_path / "log"
    log.write_text(LINE.format(why=why))
    (tmp_path / "jobs").mkdir()
    JobNote(tmp_path, "em-1")
    records = TaskRecords(tmp_path, "em-1", tmp_path / "convert" / "em-1.done")
    job = ClusterJob("em-1", "", log, records, 100, Request(1, 100, 10), phase=Phase.FAILED, state="FAILED")
    assert cause_of(job, LOG_CAUSES)[0] is cause

"""Why a job ended, by what Slurm wrote into its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from wkpipe.run.cluster_job import Cause, ClusterJob, TaskRecords, cause_of
from wkpipe.steps.job_note import JobNote

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
    """Only what a person cancels stays cancelled: a requeued job that then fails is to be tried again."""
    log = tmp_path / "log"
    log.write_text(LINE.format(why=why))
    (tmp_path / "jobs").mkdir()
    JobNote(tmp_path, "em-1")
    job = ClusterJob("em-1", "", log, TaskRecords(tmp_path, "convert", "em-1"), 1, 100, 100, 10, state="FAILED")
    assert cause_of(job)[0] is cause

"""Slurm's environment variables about the job that a process belongs to."""

from __future__ import annotations

import contextlib
import os

from wkpipe.runs.job_note import JOB_ID_VARIABLE


def cores_of_this_job() -> int | None:
    """Return the number of cores of the Slurm job that this process belongs to; None if Slurm does not say."""
    with contextlib.suppress(ValueError):
        return max(1, int(os.environ.get("SLURM_CPUS_PER_TASK", "")))
    return None


def with_job_id(script: str) -> str:
    """Return a script that sets wkpipe's variable for the job's id."""
    first, _, rest = script.partition("\n")
    return f'{first}\nexport {JOB_ID_VARIABLE}="$SLURM_JOB_ID"\n{rest}'

"""The result of a task: the last file that its job writes; its content may be a report.

A job that Snakemake runs on its own host leaves the result as Snakemake's marker. A job of a cluster leaves it in the state,
and the executor makes the marker from it on the host where Snakemake waits. So Snakemake and the jobs need no common
file system. Neither proves anything: the ledger has the finished units.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from wkpipe.errors import WkpipeError
from wkpipe.storage import disk
from wkpipe.storage.scratch import Scratch
from wkpipe.stored.places import place_at

RESULTS: Final = "results"

MOST_BYTES: Final = 1 << 30
"""More bytes than any report has."""


def has_result(run: Path, task: str, fresh: bool = False) -> bool:
    """True if a task's job has left its result; `fresh` bypasses the cache of a network file system."""
    with contextlib.suppress(WkpipeError):  # a disk that does not answer
        return place_at(run).child(RESULTS).facts(task, fresh) is not None
    return False


def job_result(run: Path, task: str) -> bytes:
    """Return the result of a finished job.

    Raises:
        UnreadableInput: it cannot be read.
    """
    return place_at(run).child(RESULTS).content(task, MOST_BYTES) or b""


def leave_result(run: Path, task: str, result: bytes, scratch: Scratch) -> None:
    """Write the result of a task into the state, as a whole file.

    Raises:
        NotWritable: the disk refuses it.
    """
    place_at(run).child(RESULTS).writing(scratch).put(task, result)


def mark_done(path: Path, result: bytes) -> None:
    """Write Snakemake's marker of a task; because its name exists before its content, Snakemake must hear of the end of the job.

    Raises:
        NotWritable: the disk refuses it.
    """
    disk.make_directory(path.parent)
    disk.overwrite(path, result)

"""Stages: files that are committed together, and in order, with few waits for the disk.

Each step of the commit protocol (`wkpipe.storage.commit`) is done for all files of a stage, with one wait for all their syncs. No file
gets its name before the names of all earlier stages are durable: so a record follows the shards that it proves, and the properties
follow the records. The content of a stage is synced together with the names of the stage before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, cast, runtime_checkable

from wkpipe.storage.barrier import Barrier


class Committed(Protocol):
    """What can be committed alone, wherever it is stored."""

    def commit(self) -> Any:
        """Make it durable and visible."""


@runtime_checkable
class Unnamed(Protocol):
    """Files with temporary names that are committed as a part of a stage; the methods are called in this order."""

    @property
    def fence(self) -> Callable[[], None]:
        """Raises an error if the files may no longer get their names."""

    def settle(self, barrier: Barrier) -> None:
        """Make the directories of the final names, and add all that must be durable before the rename to a barrier."""

    def close(self) -> None:
        """Close the files: network file systems report some errors only here."""

    def appear(self, barrier: Barrier) -> None:
        """Give the files their names, and add the directories of these to a barrier."""


def commit_in_order(stages: Iterable[Sequence[Committed]]) -> None:
    """Make files durable and visible, stage by stage; a stage is requested when those before it have their names.

    For n stages of files of a disk, it waits n + 1 times. What is stored elsewhere commits itself, in its turn.

    Raises:
        NotWritable: a file is refused; names it. Nothing of later stages is visible.
    """
    barrier = Barrier()
    for stage in stages:
        files, others = _by_kind(stage)
        for file in files:
            file.settle(barrier)
        barrier.wait()
        for file in files:
            file.close()
        for fence in {file.fence: None for file in files}:
            fence()
        for file in files:
            file.appear(barrier)
        for other in others:
            other.commit()
    barrier.wait()


def _by_kind(stage: Sequence[Committed]) -> tuple[list[Unnamed], list[Committed]]:
    """Return the files of a stage, and what commits itself. Each class is asked once: that takes as long as to create a file."""
    unnamed = {kind for kind, each in {type(each): each for each in stage}.items() if isinstance(each, Unnamed)}
    files = [cast("Unnamed", each) for each in stage if type(each) in unnamed]
    return files, [each for each in stage if type(each) not in unnamed]

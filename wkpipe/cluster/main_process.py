"""wkpipe's main process in the cluster: what the command on a user's host asks for, and what a cluster does for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class MainProcess:
    """A command of wkpipe that is to run in the cluster.

    `arguments` are its whole command line. `read` and `written` are its paths in the cluster, by the names of their options; the command
    works on `target`. `variables` are its environment. With `is_dry`, it changes nothing, so that it may run beside others.
    """

    arguments: tuple[str, ...]
    target: Path
    read: Mapping[str, Path]
    written: Mapping[str, Path]
    variables: Mapping[str, str]
    is_dry: bool = False


class MainRun(Protocol):
    """A main process in the cluster, as the command on the user's host sees it. `place` says where it is, for the user."""

    @property
    def place(self) -> str: ...

    def start(self, say: Callable[[str], None]) -> None:
        """Start it, or attach to it if the same command runs already.

        Raises:
            UsageError: it cannot run.
            TryAgain: another command works on the dataset in the cluster, or the cluster does not answer.
        """

    def follow(self, show: Callable[[bytes], None], say: Callable[[str], None]) -> int:
        """Show its output until its end, and return its exit code.

        Raises:
            UsageError: it can never start.
            WkpipeError: the cluster has ended it too often, or somebody has deleted it.
        """

    def cancel(self, show: Callable[[bytes], None], say: Callable[[str], None]) -> None:
        """End it with its jobs, and show the rest of its output."""

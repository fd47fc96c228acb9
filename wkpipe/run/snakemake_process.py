"""``python -m wkpipe.run.snakemake_process STRATEGY ARGUMENT…``: Snakemake, without what a strategy has no use for.

Snakemake imports all executor plugins that are installed, wanted or not. That of Slurm imports pandas, and asks the
cluster's controller for its settings meanwhile: where that is away, every start of Snakemake takes ten seconds longer.
Here only the plugins of the strategy are found.

Snakemake also leaves timers behind, by which it looks again whether jobs may start. When all is done there is nothing to
look for, but Python waits for them, a second, before the process may end. They are cancelled.
"""

from __future__ import annotations

import pkgutil
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

EXECUTOR_PREFIX = "snakemake_executor_plugin_"
EXECUTORS = {"slurm": "wkpipe_slurm"}
"""Executor plugins of strategies that have another one than Snakemake's own local executor."""

_find_modules = pkgutil.iter_modules


def hide_executor_plugins(strategy: str) -> None:
    """Have Snakemake find no executor plugins but those of a strategy (and those that come with Snakemake itself)."""
    wanted = EXECUTOR_PREFIX + EXECUTORS.get(strategy, strategy)

    def find(*arguments: Any, **options: Any) -> Iterator[pkgutil.ModuleInfo]:
        for module in _find_modules(*arguments, **options):
            if module.name == wanted or not module.name.startswith(EXECUTOR_PREFIX):
                yield module

    pkgutil.iter_modules = find


def cancel_timers() -> None:
    """Cancel the timers that are still waiting, so that the process may end."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()


def main(strategy: str, arguments: Sequence[str]) -> None:
    """Run Snakemake; it ends by `SystemExit`."""
    hide_executor_plugins(strategy)
    from snakemake.cli import main as run_snakemake

    try:
        run_snakemake(list(arguments))
    finally:
        cancel_timers()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

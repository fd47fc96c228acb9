"""``python -m wkpipe.run.snakemake_process STRATEGY ARGUMENT…``: Snakemake with only the plugins that a strategy needs.

Snakemake imports all installed executor plugins, needed or not. One of them imports pandas and asks its cluster's
controller for settings: if that is away, every start of Snakemake takes ten seconds longer. Here Snakemake
finds only the plugins of the strategy.

Snakemake also leaves timers behind, with which it checks again if jobs may start. When all is done they are useless, but Python
waits a second for them before the process can end. They are cancelled.
"""

from __future__ import annotations

import pkgutil
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from wkpipe.cluster.strategies import cluster_of
from wkpipe.run.own_processes import uncollected

EXECUTOR_PREFIX = "snakemake_executor_plugin_"

_find_modules = pkgutil.iter_modules


def hide_executor_plugins(strategy: str) -> None:
    """Hide all executor plugins from Snakemake but those of a strategy and Snakemake's own."""
    cluster = cluster_of(strategy)
    wanted = EXECUTOR_PREFIX + (strategy if cluster is None else cluster.executor).replace("-", "_")

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


def load(strategy: str) -> None:
    """Import Snakemake with the plugins of a strategy."""
    hide_executor_plugins(strategy)
    with uncollected():
        import snakemake.cli  # noqa: F401


def main(strategy: str, arguments: Sequence[str]) -> None:
    """Run Snakemake; it ends by `SystemExit`."""
    load(strategy)
    from snakemake.cli import main as run_snakemake

    sys.argv = [__file__, *arguments]
    try:
        run_snakemake(list(arguments))
    finally:
        cancel_timers()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

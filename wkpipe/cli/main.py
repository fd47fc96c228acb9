"""Entry of the command line: jobs go straight to their step, people to the commands."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from wkpipe.cli.streams import make_forgiving


def main() -> None:
    """Run the command line; errors are one line and the exit code of their kind."""
    make_forgiving()
    # numpy's linear algebra, which nothing here uses, would start a thread for every core; where it cannot, it raises SIGINT.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    arguments = sys.argv[1:]
    if arguments[:1] == ["step"]:
        # Jobs start by the thousand: they load nothing that only people need.
        from wkpipe.cli.step import step

        sys.exit(step(arguments[1:]))
    sys.exit(_command(arguments))


def _command(arguments: list[str]) -> int:
    """Run a command. SIGTERM and SIGHUP are like Ctrl-C from the start: while modules are loaded, and in the midst of planning."""
    signals = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in signals:
        signal.signal(number, _stop)
    try:
        from wkpipe.cli.app import run_app

        return run_app(arguments)
    except KeyboardInterrupt:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        print("wkpipe: stopped", file=sys.stderr)
        return 130


def _stop(*_: object) -> NoReturn:
    # No `Interrupted`, which is an `Exception`: nobody who copes with errors may take it for one.
    raise KeyboardInterrupt

"""The entry point of the command line: it starts the step of a job, or the command of a user."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from wkpipe.cli.streams import make_forgiving
from wkpipe.run.own_processes import uncollected


def main() -> None:
    """Run the command line; an error is one line and the exit code of its class."""
    make_forgiving()
    # numpy's linear algebra, which wkpipe does not use, would start a thread for every core; if it cannot, it raises SIGINT.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    arguments = sys.argv[1:]
    if arguments[:1] == ["step"]:
        # Thousands of jobs start: they load nothing that only users need.
        from wkpipe.cli.step import step

        sys.exit(step(arguments[1:]))
    sys.exit(_command(arguments))


def _command(arguments: list[str]) -> int:
    """Run a command. SIGTERM and SIGHUP act like Ctrl-C from the start, while modules are loaded and while the run is planned."""
    signals = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in signals:
        signal.signal(number, _stop)
    try:
        with uncollected():
            from wkpipe.cli.app import run_app

        return run_app(arguments)
    except KeyboardInterrupt:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        print("wkpipe: stopped", file=sys.stderr)
        return 130


def _stop(*_: object) -> NoReturn:
    # Not `Interrupted`, which is an `Exception`: code that handles errors must not catch it.
    raise KeyboardInterrupt

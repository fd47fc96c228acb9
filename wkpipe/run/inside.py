"""Run wkpipe's main process in the cluster, and follow it from here: Ctrl-C cancels it, unless it is to go on."""

from __future__ import annotations

import sys
from collections.abc import Callable

from wkpipe.cluster.main_process import MainRun
from wkpipe.errors import Interrupted
from wkpipe.run.execute import STOPPED
from wkpipe.run.interrupt import interruptible, undisturbed

LEFT = "stopped following; the run goes on in the cluster, the same command attaches to it"


def run_inside(run: MainRun, leave: bool, say: Callable[[str], None]) -> int:
    """Start a main process in the cluster, or attach to it; show its output, and return its exit code.

    Raises:
        WkpipeError: it could not run to its end.
        Interrupted: Ctrl-C or SIGTERM; with `leave`, the process goes on in the cluster.
    """
    output = _Output()
    with interruptible(LEFT if leave else STOPPED):
        try:
            run.start(say)
            return run.follow(output.show, say)
        except Interrupted:
            with undisturbed():
                if not leave:
                    say(f"ending the run in the cluster: {run.place}")
                    run.cancel(output.show, say)
            raise
        finally:
            output.close()


class _Output:
    """The output of the main process: its notes and errors go to stderr, everything else to stdout."""

    def __init__(self) -> None:
        self._rest = b""

    def show(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._print(line)

    def close(self) -> None:
        if self._rest:
            self._print(self._rest)

    @staticmethod
    def _print(line: bytes) -> None:
        print(line.decode(errors="replace"), file=sys.stderr if line.startswith(b"wkpipe: ") else sys.stdout, flush=True)

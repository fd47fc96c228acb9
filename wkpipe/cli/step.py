"""``wkpipe step RUN TASK``: what the jobs of the workflow call."""

from __future__ import annotations

import signal
import sys
import traceback
from pathlib import Path

from wkpipe.errors import WkpipeError

USAGE = 2


def step(arguments: list[str]) -> int:
    """Do one task of a stored plan and return the exit code."""
    if len(arguments) != 2:
        print("wkpipe: usage: wkpipe step RUN TASK (the workflow's jobs call this)", file=sys.stderr)
        return USAGE
    # How batch systems, Snakemake and closed terminals end a job: let the temporary files go with it.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda received, _: sys.exit(128 + received))
    from wkpipe.steps.allocator import keep_freed_memory
    from wkpipe.steps.run import run_stored_task
    from wkpipe.storage.process import limit_reached
    from wkpipe.storage.seal import Seal

    keep_freed_memory()
    try:
        directory = Path(arguments[0]).absolute()
        run_stored_task(directory, arguments[1], Seal.of_environment(directory))
    except WkpipeError as error:
        print(f"wkpipe: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        if (reason := limit_reached(error)) is not None:
            print(f"wkpipe: {reason}", file=sys.stderr)
        else:  # a defect of wkpipe: the log of the job keeps the traceback
            traceback.print_exc()
        return WkpipeError.exit_code
    return 0

"""``wkpipe step RUN TASK``: what the jobs of the workflow call."""

from __future__ import annotations

import os
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
    # SIGTERM is how batch systems and Snakemake end a job: let the temporary files go with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # numpy's linear algebra, which nothing here uses, would start a thread for every core.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from wkpipe.steps.allocator import keep_freed_memory
    from wkpipe.steps.run import run_stored_task
    from wkpipe.storage.seal import Seal

    keep_freed_memory()
    try:
        directory = Path(arguments[0]).absolute()
        run_stored_task(directory, arguments[1], Seal.of_environment(directory))
    except WkpipeError as error:
        print(f"wkpipe: {error}", file=sys.stderr)
        return error.exit_code
    except MemoryError:
        print("wkpipe: out of memory; give the job more, or fewer threads", file=sys.stderr)
        return 1
    except Exception:  # a defect of wkpipe: the log of the job keeps the traceback
        traceback.print_exc()
        return 1
    return 0

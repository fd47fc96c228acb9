"""Publish the layers of one task; an error is one line in the log and the exit code of its kind."""

import sys
from pathlib import Path

from wkpipe.errors import WkpipeError
from wkpipe.steps.run import run_stored_task

with open(snakemake.log[0], "w") as log:  # noqa: F821, PTH123
    try:
        run_stored_task(Path(snakemake.params.run), snakemake.wildcards.task)  # noqa: F821
    except WkpipeError as error:
        print(f"wkpipe: {error}", file=log)
        sys.exit(error.exit_code)

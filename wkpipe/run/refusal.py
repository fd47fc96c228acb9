"""The Snakefile's output for the user: lines on standard error, and the one line with which it ends the process."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import NoReturn

from wkpipe.errors import UsageError, WkpipeError


def say(text: str) -> None:
    """Print a line for the user."""
    with contextlib.suppress(OSError):  # nobody reads it
        print(f"wkpipe: {text}", file=sys.stderr)
        sys.stderr.flush()


def say_error(error: WkpipeError) -> None:
    """Print the line of an error, with a traceback if the user wants to debug."""
    hint = "; all keys are in config/config.yaml" if isinstance(error, UsageError) else ""
    if "--debug" in sys.argv or os.environ.get("WKPIPE_DEBUG"):
        with contextlib.suppress(OSError):
            traceback.print_exception(error)
    say(f"{error}{hint}")


def refuse(error: WkpipeError) -> NoReturn:
    """End the process with one line and the exit code of the error."""
    say_error(error)
    sys.exit(error.exit_code)

"""Entry of the command line: jobs go straight to their step, people to the commands."""

from __future__ import annotations

import os
import sys

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
    from wkpipe.cli.app import run_app

    sys.exit(run_app(arguments))

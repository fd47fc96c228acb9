"""``python -m tests.slurm.cluster [--accounting] [--nodes N] COMMAND…``: run a command with a cluster that lives as long as the command."""

from __future__ import annotations

import argparse
import subprocess
import sys

from tests.slurm.cluster.cluster import running
from tests.slurm.cluster.packages import Unavailable


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.slurm.cluster", description="Run a command with its own Slurm.")
    parser.add_argument("--accounting", action="store_true", help="with slurmdbd and MariaDB")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    try:
        with running(arguments.nodes, arguments.accounting) as cluster:
            print(f"export SLURM_CONF={cluster.conf}", flush=True)
            return subprocess.run(arguments.command or ["sh"], env=cluster.environment, check=False).returncode
    except Unavailable as reason:
        print(reason, file=sys.stderr)
        return 77


if __name__ == "__main__":
    sys.exit(main())

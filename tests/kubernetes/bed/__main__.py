"""``python -m tests.kubernetes.bed [--image FILE] [COMMAND…]``: run a command with a cluster that lives as long as the command."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tests.kubernetes.bed.cluster import Cluster
from tests.kubernetes.bed.host import Unavailable
from tests.kubernetes.bed.parts import build_parts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kubernetes.bed", description="Run a command with its own Kubernetes.")
    parser.add_argument("--image", type=Path, action="append", default=[], help="an image archive for pods")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    try:
        cluster = Cluster.started(build_parts(), arguments.image)
    except Unavailable as reason:
        print(f"no Kubernetes can run here: {reason}", file=sys.stderr)
        return 77
    try:
        print(f"export KUBECONFIG={cluster.kubeconfig}", flush=True)
        with cluster.network():
            return subprocess.run(arguments.command or ["sh"], env=cluster.environment, check=False).returncode
    finally:
        cluster.close()


if __name__ == "__main__":
    sys.exit(main())

"""Run wkpipe on the cluster: its options for a test's namespace and volume, and what became of its jobs."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.cluster.cluster_helpers import job_events, newest_file
from tests.kubernetes.kubernetes_helpers import CLAIM, SUBMITTER, Space
from tests.workflow.workflow_helpers import WKPIPE


def requested(space: Space, shared: Path, **more: Any) -> dict[str, Any]:
    """Return what jobs request in a namespace that shares a directory."""
    own = {"namespace": space.namespace, "image": space.access.image, "volume": f"pvc:{CLAIM}:{shared}"}
    return own | {key.replace("_", "-"): value for key, value in more.items()}


def on_kubernetes(space: Space, shared: Path, **more: Any) -> list[str]:
    """Return the options with which the jobs of a command of root run on the cluster; `more` are keys of --job-resources."""
    asked = requested(space, shared, run_as_user=SUBMITTER, **more)
    return ["--distribution-strategy", "kubernetes", "--job-resources", json.dumps(asked)]


def command(*arguments: object) -> list[str]:
    """Return a command of wkpipe whose files the user of the pods may change: the tests run as root, and pods may not."""
    return ["bash", "-c", 'umask 0; exec "$@"', "wkpipe", *WKPIPE, *map(str, arguments)]


def run_here(space: Space, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of wkpipe to its end."""
    return subprocess.run(
        command(*arguments), env=space.access.environment | environment, capture_output=True, text=True, timeout=300, check=False
    )


def let_the_pods_in(directory: Path) -> None:
    """Let the user of the pods change what root has made: give it a directory and all below it."""
    for path in (directory, *directory.rglob("*")):
        os.chown(path, SUBMITTER, SUBMITTER, follow_symlinks=False)


def events(dataset: Path) -> list[dict[str, Any]]:
    """Return the events of the jobs of a dataset's newest run."""
    return job_events(dataset, "kubernetes")


def calls(dataset: Path) -> dict[str, int]:
    """Return how often the newest run called the cluster, by call."""
    found: dict[str, int] = json.loads(newest_file(dataset, "kubernetes.json").read_text())["calls"]
    return found

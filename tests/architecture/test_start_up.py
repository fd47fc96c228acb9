"""The lowest modules must be quick to import, because every task of every job imports them; and a run imports only what it needs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"tensorstore", "zarr", "snakemake", "pydantic", "networkx"}

LIGHT = ["wkpipe", "wkpipe.errors", "wkpipe.geometry", "wkpipe.runs.stored_task", "wkpipe.steps.from_mag", "wkpipe.steps.from_images"]
"""The last three are what a job consists of: its processes have none of what only planning needs."""

OTHER_RUNS = {"wkpipe.images.discover", "wkpipe.images.stack", "wkpipe.server.upload.request", "wkpipe.server.download.remote"}
"""What only conversions, uploads and downloads need."""


def imported_with(*modules: str) -> set[str]:
    """Return the modules that a new process has when it has imported these."""
    code = f"import json, sys, {', '.join(modules)}; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout))


@pytest.mark.parametrize("module", LIGHT)
def test_light_module_imports_nothing_heavy(module: str) -> None:
    assert not HEAVY & {name.partition(".")[0] for name in imported_with(module)}


@pytest.mark.parametrize("modules", [("wkpipe.plan.build",), ("wkpipe.runs.stored_task", "wkpipe.steps.task", "wkpipe.steps.from_mag")])
def test_a_downsampling_imports_nothing_of_other_runs(modules: tuple[str, ...]) -> None:
    assert not OTHER_RUNS & imported_with(*modules)


def test_the_main_process_of_a_local_run_imports_nothing_for_servers() -> None:
    """The interface to a server takes a tenth of a second to import, and the executor of a cluster even longer."""
    imported = imported_with("wkpipe.cli.downsample", "wkpipe.plan.build", "wkpipe.run.execute")
    assert "wkpipe.server.upload.request" not in imported
    assert not {"httpx", "pandas", "snakemake"} & {name.partition(".")[0] for name in imported}

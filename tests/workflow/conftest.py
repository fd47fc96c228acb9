from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.workflow.workflow_helpers import SHARDS, convert_command, write_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of slices that make a few dozen small shards."""
    return write_stack(tmp_path_factory.mktemp("images") / "stack", (100, 150, 170))


@pytest.fixture(scope="session")
def undisturbed(stack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset that one undisturbed `wkpipe convert` makes of the stack."""
    target = tmp_path_factory.mktemp("undisturbed") / "dataset"
    subprocess.run(convert_command(stack, target, *SHARDS), check=True, capture_output=True)
    return target

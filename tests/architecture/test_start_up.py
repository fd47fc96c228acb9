"""What is imported at the bottom of the house must be light: every task of every job starts with it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"tensorstore", "zarr", "snakemake", "pydantic"}


@pytest.mark.parametrize("module", ["wkpipe", "wkpipe.errors", "wkpipe.geometry"])
def test_light_module_imports_nothing_heavy(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(json.loads(result.stdout))

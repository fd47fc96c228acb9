"""One script opens the same dataset with both libraries, in turn."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.reference.workshop import SCRIPTS


@pytest.mark.reference
def test_both_libraries_work_on_one_dataset(reference_python: Path, root: Path, tmp_path: Path) -> None:
    """wkpipe and what it needs are behind the reference's own packages on the path."""
    code = f"import sys; sys.path += {[str(root), sysconfig.get_path('purelib')]}; sys.argv = ['', {str(tmp_path / 'd')!r}];"
    code += f"exec(open({str(SCRIPTS / 'both_libraries.py')!r}).read())"
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "WK_TOKEN")}
    result = subprocess.run([reference_python, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stdout + result.stderr[-3000:]
    assert json.loads(result.stdout.splitlines()[-1]) == {
        "voxels": [1, 2, 3],
        "mags": ["1", "2-2-1"],
        "layers": ["em", "cells"],
        "errors": 1,
    }


@pytest.mark.reference
@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("name", ["pyramid", "label", "slices", "copies", "upsampling", "array"])
def test_a_script_runs_with_the_import_changed_alone(reference_python: Path, root: Path, tmp_path: Path, name: str) -> None:
    """Scripts may use cluster_tools, so wkpipe is added behind the reference's packages."""
    theirs, ours = SCRIPTS / f"{name}_script.py", tmp_path / "script.py"
    ours.write_text(theirs.read_text(encoding="utf-8").replace("import webknossos as wk", "import wkpipe as wk"), encoding="utf-8")
    added = f"import sys; sys.path += {[str(root), sysconfig.get_path('purelib')]}"
    (tmp_path / "sitecustomize.py").write_text(added, encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "WK_TOKEN")}
    shown = []
    for script, values in ((theirs, {}), (ours, {"PYTHONPATH": str(tmp_path)})):
        command = [reference_python, script, tmp_path / f"dataset{len(shown)}"]
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment | values)
        assert result.returncode == 0, result.stdout + result.stderr[-3000:]
        shown.append([line for line in result.stdout.splitlines() if line.startswith("=")])  # without the bars of progress
    assert shown[0] == shown[1]
    assert shown[0]

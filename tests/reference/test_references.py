"""Datasets that refer to data elsewhere, and agglomerates: both libraries write the same, and each reads the other's."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.reference.workshop import SCRIPTS


@pytest.mark.reference
@pytest.mark.parametrize("name", ["references_script.py", "agglomerates_script.py"])
def test_both_libraries_make_and_read_the_same(name: str, reference_python: Path, root: Path, tmp_path: Path) -> None:
    theirs, ours = SCRIPTS / name, tmp_path / "script.py"
    ours.write_text(theirs.read_text(encoding="utf-8").replace("import webknossos as wk", "import wkpipe as wk"), encoding="utf-8")
    added = f"import sys; sys.path += {[str(root), sysconfig.get_path('purelib')]}"
    (tmp_path / "sitecustomize.py").write_text(added, encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "WK_TOKEN")}

    def run(script: Path, *arguments: str) -> list[str]:
        path = {"PYTHONPATH": str(tmp_path)} if script == ours else {}
        command = [reference_python, script, *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment | path)
        assert result.returncode == 0, result.stdout + result.stderr[-3000:]
        return [line for line in result.stdout.splitlines() if line.startswith("=")]

    expected = run(theirs, f"{tmp_path}/theirs")
    assert expected
    assert run(ours, f"{tmp_path}/ours") == expected
    assert run(theirs, f"{tmp_path}/ours", "read") == expected
    assert run(ours, f"{tmp_path}/theirs", "read") == expected

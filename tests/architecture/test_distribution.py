"""The wheel and the source distribution contain the workflow."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

WORKFLOW = ("Snakefile", "workflow", "config", "profiles")


def _build(kind: str, source: Path, target: Path) -> Path:
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(target), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = target.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return path


def _contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.slow
def test_wheel_carries_the_workflow_and_the_sdist_builds_the_same_wheel(root: Path, tmp_path: Path) -> None:
    wheel = _contents(_build("wheel", root, tmp_path / "wheel"))
    files = [path for name in WORKFLOW for path in [root / name, *(root / name).rglob("*")] if path.is_file()]
    expected = {f"wkpipe/_workflow/{path.relative_to(root).as_posix()}" for path in files if "__pycache__" not in path.parts}
    assert expected | {"wkpipe/py.typed"} <= set(wheel)
    assert all(any(name.startswith(f"wkpipe/_workflow/{part}") for name in wheel) for part in WORKFLOW)

    sdist = _build("sdist", root, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert _contents(_build("wheel", unpacked, tmp_path / "again")) == wheel

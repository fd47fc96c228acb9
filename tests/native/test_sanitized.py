"""Hostile frames and any shapes, in an engine built with sanitizers: no access outside of buffers, no undefined behaviour."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wkpipe.native import build, library

SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
CASES = 400


def sanitizer(name: str) -> str:
    """Return the run-time library of a sanitizer, or skip the test."""
    command = build.compiler()
    if command is None:
        pytest.skip("there is no C compiler")
    found = subprocess.check_output([*command, f"-print-file-name={name}"], text=True).strip()
    if not Path(found).is_absolute():
        pytest.skip(f"the C compiler has no {name}")
    return found


@pytest.mark.slow
@pytest.mark.torture
def test_any_cube_under_sanitizers(engine: library.Library, root: Path, tmp_path: Path) -> None:
    preload = sanitizer("libasan.so")
    path = build.build(Path(library.__file__).parent, tmp_path, *SANITIZERS)
    scale = int(os.environ.get("WKPIPE_TORTURE_SCALE", "1"))
    script = root / "tests" / "native" / "scripts" / "any_cubes.py"
    environment = os.environ | {"LD_PRELOAD": preload, "ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc", "PYTHONPATH": str(root)}
    command = [sys.executable, str(script), str(path), str(CASES * scale)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{CASES * scale} cubes" in done.stdout

"""The benchmark runs, and leaves its table, numbers and chart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.contenders import REFERENCE_VARIABLE, WORKLOADS
from bench.volumes import draw

OURS = "wkpipe --jobs 2"
THEIRS = ("webknossos --jobs 1", "webknossos --jobs 2")
REFERENCE_WORKLOADS = ("downsample-color-zarr3", "downsample-seg-wkw")


def _bench(root: Path, out: Path, *workloads: str, python: Path | None = None) -> dict[str, Any]:
    environment = {key: value for key, value in os.environ.items() if key != REFERENCE_VARIABLE}
    if python:
        environment[REFERENCE_VARIABLE] = str(python)
    command = [sys.executable, str(root / "bench" / "run.py"), "--size", "tiny", "--runs", "1", "--out", str(out)]
    for workload in workloads:
        command += ["--only", workload]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=out.parent)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (out / "results.md").read_text(encoding="utf-8") == result.stdout.removesuffix("\n")
    assert (out / "results.png").stat().st_size > 0
    found: dict[str, Any] = json.loads((out / "results.json").read_text(encoding="utf-8"))
    return found


def _assert_two_equal_runs(found: dict[str, Any], workload: str, contender: str) -> dict[str, str]:
    runs = [r for r in found["results"] if (r["workload"], r["contender"]) == (workload, contender)]
    assert [run["error"] for run in runs] == [None, None]
    memory, timed = (run["measurement"] for run in runs)
    assert memory["peak_memory"] > 10**7
    assert timed["wall_s"] > timed["sync_s"]
    assert timed["cpu_s"] > 0.1
    first, second = (run["hashes"] for run in runs)
    assert first == second
    assert len(set(first.values())) == len(first) >= 3
    hashes: dict[str, str] = first
    return hashes


def test_one_workload_without_the_reference(root: Path, tmp_path: Path) -> None:
    found = _bench(root, tmp_path / "out", "downsample-seg-wkw")
    _assert_two_equal_runs(found, "downsample-seg-wkw", OURS)
    ours, *theirs = found["rows"]
    assert ours["medians"]["wall_s"] > 0
    assert ours["voxels"].startswith("equal")
    assert [row["error"] for row in theirs] == [f"not run: {REFERENCE_VARIABLE} is not set"] * 2
    text = (tmp_path / "out" / "results.md").read_text(encoding="utf-8")
    assert all(name in text for name in ("downsample-seg-wkw", OURS, *THEIRS, f"{REFERENCE_VARIABLE} is not set"))


@pytest.mark.slow
def test_all_workloads_without_the_reference(root: Path, tmp_path: Path) -> None:
    found = _bench(root, tmp_path / "out")
    hashes = {workload.name: _assert_two_equal_runs(found, workload.name, OURS) for workload in WORKLOADS}
    assert hashes["downsample-color-zarr3"] == hashes["downsample-color-wkw"] == hashes["convert-color-zarr3"]
    assert hashes["downsample-seg-zarr3"] == hashes["downsample-seg-wkw"]


@pytest.mark.reference
@pytest.mark.timeout(1200)
def test_beside_the_reference(root: Path, tmp_path: Path, reference_python: Path) -> None:
    found = _bench(root, tmp_path / "out", *REFERENCE_WORKLOADS, python=reference_python)
    assert found["reader"] == "webknossos"
    for workload in REFERENCE_WORKLOADS:
        hashes = [_assert_two_equal_runs(found, workload, contender) for contender in (OURS, *THEIRS)]
        assert hashes[0] == hashes[1] == hashes[2]
        _, *theirs = (row for row in found["rows"] if row["workload"] == workload)
        assert sum(row["is_better"] for row in theirs) == 1
        assert all(row["ratios"]["wall_s"] > 0 for row in theirs)


def test_slices_are_textured_and_go_on_from_slice_to_slice() -> None:
    shape = (128, 96, 4)
    color, seg, below = draw("color", shape, 0), draw("seg", shape, 0), draw("seg", shape, 1)
    assert (color.shape, color.dtype, seg.dtype) == ((96, 128), np.uint8, np.uint32)
    assert color.std() > 10
    assert len(np.unique(seg)) > 5
    assert (seg == below).mean() > 0.5
    assert (draw("color", shape, 0) == color).all()

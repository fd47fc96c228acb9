"""The benchmark runs, and writes its table, numbers and chart."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.contenders import COMPILER, PEER_VARIABLE, REFERENCE_VARIABLE, contenders
from bench.volumes import REAL_LABELS, draw
from bench.workloads import WORKLOADS, choose
from tests.material import LABELS

OURS, LEVEL_3, SLOW = "wkpipe --jobs 2", "wkpipe --jobs 2, level 3", "wkpipe --jobs 2, 10 ms"
THEIRS = ("webknossos --jobs 1", "webknossos --jobs 2")
REFERENCE_WORKLOADS = ("downsample-u16", "alone-seg-wkw")
LABELS_WORKLOAD = "downsample-labels"


def _bench(
    root: Path, out: Path, *workloads: str, python: Path | None = None, data: Path | None = None, add: bool = False
) -> dict[str, Any]:
    """Run the benchmark; tensorstore's Python is this one, because wkpipe needs tensorstore too."""
    environment = {key: value for key, value in os.environ.items() if key != REFERENCE_VARIABLE} | {PEER_VARIABLE: sys.executable}
    if python:
        environment[REFERENCE_VARIABLE] = str(python)
    command = [sys.executable, str(root / "bench" / "run.py"), "--size", "tiny", "--runs", "1", "--out", str(out)]
    command += ["--data", str(data or out.parent), *(["--add"] if add else [])]
    for workload in workloads:
        command += ["--only", workload]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=out.parent)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (out / "results.md").read_text(encoding="utf-8") == result.stdout.removesuffix("\n")
    assert (out / "results.png").stat().st_size > 0
    found: dict[str, Any] = json.loads((out / "results.json").read_text(encoding="utf-8"))
    return found


def _runs(found: dict[str, Any], workload: str, contender: str) -> list[dict[str, Any]]:
    runs = [r for r in found["results"] if (r["workload"], r["contender"]) == (workload, contender)]
    assert [run["error"] for run in runs] == [None] * len(runs)
    assert runs
    return runs


def _assert_measured(found: dict[str, Any], workload: str, contender: str) -> dict[str, str]:
    """Check the runs of a contender that makes mags; return the hashes of its voxels."""
    runs = _runs(found, workload, contender)
    if not workload.startswith("alone-"):
        memory, *runs = runs
        assert memory["measurement"]["peak_memory"] > 10**7
        assert memory["hashes"] == runs[0]["hashes"]
    (timed,) = (run["measurement"] for run in runs)
    assert timed["peak_memory"] is None
    assert timed["wall_s"] > timed["sync_s"]
    assert timed["cpu_s"] > 0
    hashes: dict[str, str] = runs[0]["hashes"]
    assert len(set(hashes.values())) == len(hashes) >= 2
    return hashes


@pytest.mark.sampled(every=3)
def test_one_workload_without_the_reference(root: Path, tmp_path: Path) -> None:
    found = _bench(root, tmp_path / "out", "downsample-u16", LABELS_WORKLOAD)
    _assert_measured(found, "downsample-u16", OURS)
    assert LABELS_WORKLOAD in found["skipped"]
    ours, *theirs, peer = found["rows"]
    assert ours["medians"]["wall_s"] > 0
    assert ours["mb_per_s"] == pytest.approx(128 * 128 * 32 * 2 / 1e6 / ours["medians"]["wall_s"])
    assert ours["voxels"].startswith("equal")
    assert [row["error"] for row in theirs] == [f"not run: {REFERENCE_VARIABLE} is not set"] * 2
    assert (peer["contender"], peer["error"], peer["voxels"]) == ("tensorstore", None, "not compared")
    text = (tmp_path / "out" / "results.md").read_text(encoding="utf-8")
    assert all(
        name in text for name in ("downsample-u16", OURS, *THEIRS, f"{REFERENCE_VARIABLE} is not set", f"left out: {LABELS_WORKLOAD}")
    )


TOGETHER = {
    "downsample": ("downsample-zarr3", "downsample-wkw", "downsample-zarr2", "downsample-isotropic"),
    "alone": ("downsample-zarr3", "alone-color-zarr3", "alone-seg-zarr3", "alone-color-wkw", "alone-seg-wkw"),
    "big": ("downsample-big-color", "downsample-big-seg", "alone-big-color", "alone-big-seg"),
    "types": ("downsample-u16", "downsample-u64", "downsample-labels", "convert"),
}
"""All workloads, in groups whose voxels are compared."""


def test_each_workload_is_in_a_group() -> None:
    assert {name for names in TOGETHER.values() for name in names} == {workload.name for workload in WORKLOADS}


@pytest.mark.slow
@pytest.mark.sampled(every=3)
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("group", TOGETHER)
def test_all_workloads_without_the_reference(group: str, root: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    shutil.copy(LABELS, tmp_path / "data" / REAL_LABELS)
    found = _bench(root, tmp_path / "out", *TOGETHER[group], data=tmp_path / "data")
    assert found["skipped"] == {}
    hashes = {name: _assert_measured(found, name, OURS) for name in TOGETHER[group]}
    if group == "downsample":
        assert hashes["downsample-zarr3"] == hashes["downsample-wkw"] == hashes["downsample-zarr2"]
        assert hashes["downsample-zarr3"] != hashes["downsample-isotropic"]
    for kind in ("color", "seg"):
        if group == "alone":
            alone = {mag: voxels for mag, voxels in hashes["downsample-zarr3"].items() if mag.startswith(kind)}
            assert hashes[f"alone-{kind}-zarr3"] == hashes[f"alone-{kind}-wkw"] == alone
        if group == "big":
            assert hashes[f"alone-big-{kind}"] == hashes[f"downsample-big-{kind}"]
    for workload in choose([*TOGETHER[group]], None):
        if workload.has_level_3:
            assert _assert_measured(found, workload.name, LEVEL_3) == hashes[workload.name]
        if workload.is_alone and shutil.which(COMPILER):
            (limit,) = _runs(found, workload.name, "limit")
            assert limit["facts"]["decode_s"] > 0
            assert limit["facts"]["encode_s"] > 0
        if workload.is_alone and not workload.is_big:
            (slow,) = _runs(found, workload.name, SLOW)
            assert slow["facts"]["delayed_calls"] > 0
            assert slow["hashes"] == hashes[workload.name]


@pytest.mark.reference
@pytest.mark.sampled(every=4)
@pytest.mark.timeout(1200)
def test_beside_the_reference(root: Path, tmp_path: Path, reference_python: Path) -> None:
    found = _bench(root, tmp_path / "out", *REFERENCE_WORKLOADS, python=reference_python)
    for workload in REFERENCE_WORKLOADS:
        hashes = [_assert_measured(found, workload, contender) for contender in (OURS, *THEIRS)]
        assert hashes[0] == hashes[1] == hashes[2]
        theirs = [row for row in found["rows"] if row["workload"] == workload and row["role"] == "reference"]
        assert sum(row["is_better"] for row in theirs) == 1
        assert all(row["ratios"]["wall_s"] > 0 for row in theirs)


def test_workloads_are_chosen_by_name_and_by_group() -> None:
    assert choose(None, None) == choose(None, ["default"]) == list(WORKLOADS)
    assert {workload.group for workload in choose(None, ["big"])} == {"big"}
    assert [workload.name for workload in choose(["convert"], None)] == ["convert"]
    assert [workload.name for workload in choose(["convert"], ["quick"])] == [
        w.name for w in WORKLOADS if w.is_quick or w.name == "convert"
    ]


def test_who_takes_part_in_what() -> None:
    group = {contender.name: contender for contender in contenders(None, None)}
    takes_part = {workload.name: {name for name, contender in group.items() if contender.takes_part(workload)} for workload in WORKLOADS}
    assert all({OURS, *THEIRS} <= names for names in takes_part.values())
    assert {workload for workload, names in takes_part.items() if "limit" in names} == {w.name for w in WORKLOADS if w.is_alone}
    assert not any("tensorstore" in takes_part[name] for name in ("convert", "downsample-wkw", "downsample-zarr2", "alone-seg-wkw"))
    assert takes_part["alone-seg-zarr3"] == {*group}
    assert {workload for workload, names in takes_part.items() if SLOW in names} == {w.name for w in WORKLOADS if w.is_alone}


def test_slices_are_textured_and_go_on_from_slice_to_slice() -> None:
    shape = (128, 96, 4)
    color, seg, below = draw("color", shape, 0), draw("seg", shape, 0), draw("seg", shape, 1)
    assert (color.shape, color.dtype, seg.dtype) == ((96, 128), np.uint8, np.uint32)
    assert color.std() > 10
    assert len(np.unique(seg)) > 5
    assert (seg == below).mean() > 0.5
    assert (draw("color", shape, 0) == color).all()


def test_other_types_show_the_same() -> None:
    shape = (128, 96, 4)
    deep, large = draw("u16", shape, 0), draw("u64", shape, 0)
    assert (deep.dtype, large.dtype) == (np.uint16, np.uint64)
    assert abs(deep / 16.0 - draw("color", shape, 0))[deep < 255 * 16].max() <= 0.5 + 1 / 16
    assert len(np.unique(large)) == len(np.unique(draw("seg", shape, 0)))
    assert large.max() > 2**32


def test_levels_are_measured_and_what_is_not_there_is_named(root: Path, tmp_path: Path) -> None:
    images = tmp_path / "data" / "temca2" / "1"
    images.mkdir(parents=True)
    for z in range(2):
        Image.fromarray(draw("color", (64, 64, 2), z)).save(images / f"{z}.jpg")
    command = [sys.executable, str(root / "bench" / "levels.py"), "--data", str(tmp_path / "data"), "--edge", "64", "--rounds", "1"]
    subprocess.run([*command, "--out", str(tmp_path)], check=True, capture_output=True)
    found = json.loads((tmp_path / "levels.json").read_text(encoding="utf-8"))
    assert {one["volume"] for one in found["levels"]} >= {"real EM images", "drawn color", "drawn seg, mag 2-2-1"}
    assert [reason.split(":")[0] for reason in found["left_out"]] == ["real labels, mag 1", "real labels, mag 2"]
    ratios = {(one["volume"], one["level"]): one["ratio"] for one in found["levels"]}
    assert ratios["drawn seg", 5] > ratios["drawn seg", 1] > 5
    assert "| drawn seg" in (tmp_path / "levels.md").read_text(encoding="utf-8")

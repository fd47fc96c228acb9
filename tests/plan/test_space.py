"""Disk space: estimates compared with what runs really write, refusals and warnings; why units are pending."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.steps.helpers import SIZING, Layer, noise, plan_of, run, shards, tree, write_dataset
from wkpipe.dataset import Dataset
from wkpipe.errors import InputRefused
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.sampled import Need
from wkpipe.plan.cost.space import RECORD_BYTES, RESERVE, TIGHT
from wkpipe.plan.plan import Plan
from wkpipe.plan.state.reasons import Reason, reason_lines
from wkpipe.plan.table import plan_table

VALUES: dict[str, Any] = {"chunk_shape": 32, "shard_shape": 64}
IMAGES: dict[str, Any] = {"voxel_size": (1, 1, 1), **VALUES}


def volume(kind: str) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(3)
    if kind == "noise":
        return rng.integers(1, 256, (1, 128, 128, 128), "uint8")
    if kind == "half empty":
        data = rng.integers(1, 256, (1, 128, 128, 128), "uint8")
        data[:, 64:] = 0
        return data
    places = np.indices((128, 128, 128), dtype="float32")
    nearest, labels = np.full((128, 128, 128), np.inf, "float32"), np.zeros((1, 128, 128, 128), "uint16")
    for label, seed in enumerate(rng.integers(0, 128, (60, 3)), 1):
        distance = sum((axis - at) ** 2 for axis, at in zip(places, seed, strict=True))
        labels[0][distance < nearest] = label
        nearest = np.minimum(nearest, distance)
    return labels


def planned(root: Path, free: int | None, **values: Any) -> Plan:
    return make_plan(load_config({"target": root, **values}, "test"), SIZING, lambda _: free)


def need_of(plan: Plan) -> Need:
    assert plan.space is not None
    return plan.space


def written(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
@pytest.mark.parametrize("kind", ["noise", "half empty", "labels"])
def test_downsampling_takes_about_what_was_expected(tmp_path: Path, kind: str, data_format: str) -> None:
    root = tmp_path / "d"
    category = "segmentation" if kind == "labels" else "color"
    shard = (32, 32, 32) if data_format == "zarr" else (64, 64, 64)
    write_dataset(root, Layer(volume(kind), data_format=data_format, chunk=(32, 32, 32), shard=shard, category=category))
    values = {"chunk_shape": 32, "shard_shape": shard}
    need = need_of(plan_of(root, **values))
    before = written(root / "layer")
    run(root, **values)
    took = written(root / "layer") - before
    assert need.least <= took <= 2 * need.expected, need
    assert need.expected <= 2 * took, need


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("data_format", ["zarr3", "wkw"])
def test_converting_takes_about_what_was_sampled(tmp_path: Path, data_format: str, compression: str | None) -> None:
    images, root = tmp_path / "images", tmp_path / "d"
    images.mkdir()
    for z, plane in enumerate(volume("noise")[0][:70]):
        tifffile.imwrite(images / f"{z:03}.tif", plane, compression=compression, rowsperstrip=9)
    values = {"source": images, "data_format": data_format, **IMAGES}
    need = need_of(plan_of(root, **values))
    run(root, **values)
    took = written(root)
    assert need.least <= took <= 1.5 * need.expected, need
    assert need.expected <= 2.5 * took, need  # WKW: includes the chunks that wait for their turn
    assert need_of(plan_of(root, **values)) == Need()


def test_whole_planes_that_are_too_large_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    from wkpipe.images import ImageStack

    (tmp_path / "images").mkdir()
    Image.fromarray(np.arange(256 * 256, dtype="uint32").astype("uint8").reshape(256, 256)).save(tmp_path / "images" / "0.png")
    values = {"source": tmp_path / "images", "downsample": False, "category": "color", **IMAGES}
    assert need_of(plan_of(tmp_path / "d", **values)).least > 100
    monkeypatch.setattr("wkpipe.plan.cost.sampled.SAMPLE_BYTES", 256 * 256 - 1)
    monkeypatch.setattr(ImageStack, "read", None)
    need = need_of(plan_of(tmp_path / "d", **values))
    assert need.least == 16 * RECORD_BYTES
    assert 256 * 256 / 2 < need.expected < 256 * 256


def test_few_slices_prove_no_more_than_they_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If slices are alike, whole chunks take hardly more than those of a single slice."""
    (tmp_path / "images").mkdir()
    for z in range(32):
        tifffile.imwrite(tmp_path / "images" / f"{z:02}.tif", volume("noise")[0, 0], compression="zlib", rowsperstrip=128)
    values = {"source": tmp_path / "images", "downsample": False, **IMAGES}
    monkeypatch.setattr("wkpipe.plan.cost.sampled.SAMPLE_BYTES", 2 * 128 * 128)
    need = need_of(plan_of(tmp_path / "d", **values))
    run(tmp_path / "d", **values)
    assert 0 < need.least <= written(tmp_path / "d") < need.expected / 4


def test_refused_warned_or_ignored(tmp_path: Path) -> None:
    root = tmp_path / "d"
    write_dataset(root, Layer(volume("noise"), chunk=(32, 32, 32), shard=(64, 64, 64)))
    before = tree(root)
    need = need_of(planned(root, 1 << 40, **VALUES))
    too_small = int(need.least / (1 - RESERVE)) - 2
    with pytest.raises(InputRefused, match=r"free some space, choose another target, or pass --ignore-disk-space") as refused:
        planned(root, too_small, **VALUES)
    assert "\n" not in str(refused.value)
    assert str(root) in str(refused.value)
    assert refused.value.exit_code == 3
    assert planned(root, too_small, ignore_disk_space=True, **VALUES).units_to_do
    assert not [note for note in planned(root, None, **VALUES).notes if "full" in note]  # it is not known
    tight = int(need.expected / TIGHT / (1 - RESERVE))
    for free in (too_small + 4, tight - 4):
        assert [note for note in planned(root, free, **VALUES).notes if "it may become full" in note], free
    assert not [note for note in planned(root, tight + 4, **VALUES).notes if "full" in note]
    assert f"about {need.expected / 1000:.3g} kB on disk" in plan_table(planned(root, tight + 4, **VALUES))
    assert tree(root) == before


def test_what_is_replaced_needs_no_more_room(tmp_path: Path) -> None:
    root = tmp_path / "d"
    write_dataset(root, Layer(volume("noise"), chunk=(32, 32, 32), shard=(64, 64, 64)))
    run(root, **VALUES)
    assert need_of(planned(root, 0, **VALUES)) == Need()  # a run with nothing to do is not refused
    shards(root)[0].write_bytes(shards(root)[1].read_bytes())
    need = need_of(planned(root, 1 << 40, **VALUES))
    assert need.least < 2000
    assert 64**3 / 2 < need.expected < 64**3 * 2  # the new one is beside the old one while it is made


def test_the_state_on_another_disk(tmp_path: Path, elsewhere: Path) -> None:
    root, state = tmp_path / "d", elsewhere / "states"
    write_dataset(root, Layer(volume("noise"), chunk=(32, 32, 32), shard=(64, 64, 64)))
    config = load_config({"target": root, "state_dir": state, **VALUES}, "test")
    with pytest.raises(InputRefused, match=str(state)):
        make_plan(config, SIZING, lambda place: 1000 if place.path().is_relative_to(state) else 1 << 40)


def test_a_small_disk(tmp_path: Path) -> None:
    """On a real small disk, planning refuses the run; after the fix, the same command does it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], capture_output=True, text=True, check=False)
    if mount.returncode != 0:
        pytest.skip(f"mount: {mount.stderr.strip()}")
    try:
        root = disk / "d"
        write_dataset(root, Layer(volume("noise"), chunk=(32, 32, 32), shard=(64, 64, 64)))
        (disk / "ballast").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - (100 << 10)))
        with pytest.raises(InputRefused, match=r"the disk has 1.* kB free"):
            plan_of(root, **VALUES)
        (disk / "ballast").unlink()
        run(root, **VALUES)
        assert plan_of(root, **VALUES).is_empty
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


# -- reasons --------------------------------------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A dataset of 4 x 4 x 4 shards with its coarser mags."""
    write_dataset(tmp_path / "d", Layer(noise((1, 64, 64, 64), "uint8", 2) | np.uint8(1), chunk=(8, 8, 8), shard=(16, 16, 16)))
    plan = plan_of(tmp_path / "d", chunk_shape=8, shard_shape=16)
    assert {str(found) for found in plan.reasons} == {"8 new", "1 new"}
    assert reason_lines(plan.reasons) == []
    run(tmp_path / "d", chunk_shape=8, shard_shape=16)
    return tmp_path / "d"


def reasons_in(root: Path, **values: Any) -> tuple[dict[str, dict[Reason, int]], list[str]]:
    plan = plan_of(root, chunk_shape=8, shard_shape=16, **values)
    return {str(found.mag): dict(found.counts) for found in plan.reasons}, reason_lines(plan.reasons)


UP = ("2", "4", "8", "16")


@pytest.mark.parametrize("way", ["library", "another tool"])
def test_a_part_of_the_finest_mag_was_rewritten(made: Path, way: str) -> None:
    assert reasons_in(made) == ({}, [])
    if way == "library":
        data = np.full((1, 3, 3, 3), 77, "uint8")
        Dataset.open(made).get_layer("layer").get_mag("1").write(data, absolute_offset=(50, 20, 2), allow_unaligned=True)
    else:
        shard = made / "layer" / "1" / "c" / "0" / "3" / "1" / "0"
        assert shard in shards(made)
        shutil.copyfile(made / "layer" / "1" / "c" / "0" / "0" / "1" / "0", shard)
    counts, lines = reasons_in(made)
    why = Reason.SOURCE if way == "library" else Reason.UNPROVEN_SOURCE
    assert counts == {mag: {why: 1} for mag in UP if mag in counts}
    assert "2" in counts
    assert "4" in counts
    causes = (" (mag 1: 0.3.1.0)", " (mag 2: 0.1.0.0)") if way == "library" else ("", "")
    assert lines[0] == f"layer layer, mag 2: storage shard 0.1.0.0: {why}{causes[0]}"
    assert lines[1] == f"layer layer, mag 4: storage shard 0.0.0.0: {why}{causes[1]}"
    table = plan_table(plan_of(made, chunk_shape=8, shard_shape=16))
    assert f"1 {why}" in table
    assert table.splitlines()[-len(lines) :] == lines


def test_other_reasons(made: Path) -> None:
    gone, other = shards(made, mag="2")[:2]
    content = gone.read_bytes()
    gone.unlink()
    other.write_bytes(content + b"more")
    counts, lines = reasons_in(made)
    assert counts["2"] == {Reason.GONE: 1, Reason.UNPROVEN: 1}
    assert lines[0].endswith(": file gone")
    counts, lines = reasons_in(made, overwrite_existing=True)
    assert counts["2"] == {Reason.OVERWRITE: 8}
    assert "8 storage shards from 0.0.0.0 to 0.1.1.1: overwritten" in lines[0]


def test_there_are_few_lines_however_many_changed(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d", Layer(noise((1, 128, 64, 64), "uint8", 2) | np.uint8(1), chunk=(8, 8, 8), shard=(32, 32, 32)))
    values: dict[str, Any] = {"chunk_shape": 4, "shard_shape": 8, "coarsest_mag": "2"}
    run(tmp_path / "d", **values)
    for shard in shards(tmp_path / "d", mag="2")[::3]:
        shard.unlink()
    plan = plan_of(tmp_path / "d", **values)
    ranges = plan.reasons[0].range_count
    assert ranges > 25
    lines = reason_lines(plan.reasons)
    assert len(lines) == 21
    assert lines[-1] == f"… and {ranges - 20} more ranges"

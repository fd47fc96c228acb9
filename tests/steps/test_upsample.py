"""Upsampling compared with numpy.repeat: boxes, types, factors, formats, shapes, axes, threads; and what a changed source does."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.steps.helpers import (
    Array,
    Layer,
    check_pyramid,
    data_files,
    mag_box,
    mags_of,
    noise,
    plan_of,
    run,
    shards,
    stored_voxels,
    write_dataset,
    write_region,
)
from wkpipe.errors import AlreadyExists, DamagedShard, ForeignMag, InputRefused
from wkpipe.geometry import Mag, Vec3Int
from wkpipe.plan.build import make_upsampling_plan
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.cut.task import PUBLISH
from wkpipe.plan.origins.from_coarser import FromCoarser
from wkpipe.plan.plan import Plan
from wkpipe.plan.request import Storing
from wkpipe.plan.wishes.upsampling import UpsamplingRequest
from wkpipe.runs.run import run_here
from wkpipe.sampling import SamplingMode
from wkpipe.storage.scratch import Scratch
from wkpipe.stored.dataset import StoredDataset

DTYPES = ["uint8", "int16", "uint32", "uint64", "int64", "float32"]
SMALL: dict[str, Any] = {"data_format": "zarr3", "chunk": (8, 8, 8), "shard": (16, 16, 16)}


def upsampling(root: Path, layer: Layer, sizing: Sizing | None = None, compress: bool = True, **values: Any) -> Plan:
    """Plan to upsample a layer's mag, to mags with the same shapes of chunks and storage shards."""
    storing = Storing(Vec3Int(layer.chunk), None if layer.shard is None else Vec3Int(layer.shard), compress)
    request = UpsamplingRequest(root, layer.name, layer.mag, **{"finest_mag": Mag(1), "storing": storing, **values})
    return make_upsampling_plan(request, sizing or Sizing.local(1))


def check_repeated(root: Path, layer: Layer, note: str = "") -> None:
    """Compare every finer mag with the repeated voxels of the layer's mag."""
    order = [*(i for i, axis in enumerate(layer.axes) if axis not in "xyz"), *(layer.axes.index(axis) for axis in "xyz")]
    finer = [Mag(mag) for mag in mags_of(root) if Mag(mag) != layer.mag]
    assert finer, note
    for mag in finer:
        want: Array = layer.data.transpose(order)
        for axis, (own, fine) in enumerate(zip(layer.mag, mag, strict=True), -3):
            want = np.repeat(want, own // fine, axis)
        start = [a * (own // fine) for a, own, fine in zip(layer.topleft, layer.mag, mag, strict=True)]
        first, end = mag_box(layer, mag)
        index = tuple(slice(a - s, b - s) for a, b, s in zip(first, end, start, strict=True))
        want = want[(..., *index)].transpose(np.argsort(order))
        got, outside = stored_voxels(root, layer, mag)
        assert got.dtype == want.dtype, note
        np.testing.assert_array_equal(got, want, err_msg=f"mag {mag}; {note}")
        assert not outside.any(), f"mag {mag}: voxels outside the box; {note}"


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    data_format = draw(st.sampled_from(["zarr3", "zarr", "wkw"]))
    powers = st.sampled_from([4, 8, 16])
    chunk = (draw(powers),) * 3 if data_format == "wkw" else tuple(draw(powers) for _ in range(3))
    times = draw(st.sampled_from([1, 2, 4]))
    channels = draw(st.sampled_from([1, 1, 3]))
    axes: tuple[str, ...] = ("c", "x", "y", "z")
    others = {"c": channels}
    if data_format != "wkw" and draw(st.booleans()):
        axes, others["t"] = ("t", "c", "x", "y", "z"), 2
    size = tuple(draw(st.one_of(st.just(1), st.integers(2, 14))) for _ in range(3))
    mag = Mag(draw(st.sampled_from([(2, 2, 1), (2, 2, 2), (4, 4, 1), (4, 1, 2), (8, 2, 1), (4, 4, 4), (1, 16, 1)])))
    return {
        "layer": {
            "data_format": data_format,
            "chunk": chunk,
            "shard": None if data_format == "zarr" else tuple(c * times for c in chunk),
            "axes": axes,
            "topleft": tuple(draw(st.integers(0, 9)) for _ in range(3)),
            "mag": mag,
            "cut": tuple(draw(st.integers(0, m - 1)) for m in mag),
            "category": draw(st.sampled_from(["color", "segmentation"])),
        },
        "shape": tuple(others[axis] if axis in others else size["xyz".index(axis)] for axis in axes),
        "dtype": draw(st.sampled_from(DTYPES)),
        "mode": draw(st.sampled_from(list(SamplingMode))),
        "voxel_size": draw(st.sampled_from([(1, 1, 1), (1, 1, 4), (4, 1, 1), (5, 7, 11)])),
        "threads": draw(st.sampled_from([1, 3])),
        "compress": draw(st.booleans()),
        "seed": draw(st.integers(0, 10**6)),
    }


@pytest.mark.filterwarnings("ignore:chunk shape")
@settings(max_examples=15)
@given(case=cases())
def test_any_layer_is_repeated(temporary: Path, case: dict[str, Any]) -> None:
    values = case["layer"]
    if case["dtype"].startswith("float") or case["dtype"] in ("uint64", "int64"):
        values = {**values, "category": "color" if case["dtype"].startswith("float") else "segmentation"}
    layer = Layer(noise(case["shape"], case["dtype"], case["seed"]), **values)
    with tempfile.TemporaryDirectory(dir=temporary) as directory:
        root = Path(directory) / "dataset"
        write_dataset(root, layer, voxel_size=case["voxel_size"])
        keeps_z = case["mode"] is SamplingMode.CONSTANT_Z or layer.box.size_xyz.z == 1
        finest = Mag((1, 1, layer.mag.z)) if keeps_z else Mag(1)
        try:
            plan = upsampling(root, layer, Sizing.local(case["threads"]), mode=case["mode"], compress=case["compress"])
        except InputRefused:  # this ladder cannot be made; one step always can
            plan = upsampling(root, layer, Sizing.local(case["threads"]), finest_mag=_one_step(layer.mag), compress=case["compress"])
            finest = _one_step(layer.mag)
        run_here(plan)
        assert Mag(mags_of(root)[-1]) == finest, case
        check_repeated(root, layer, str(case))


def _one_step(mag: Mag) -> Mag:
    return Mag([max(1, edge // 2) if edge == mag.max_dim else edge for edge in mag])


@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
@pytest.mark.parametrize("from_mag, finest, voxel_size", [("4-1-4", "1", (1, 4, 1)), ("8", "1", (5, 7, 11)), ("16-16-2", "1", (1, 1, 8))])
def test_large_factors_fill_whole_blocks(tmp_path: Path, data_format: str, from_mag: str, finest: str, voxel_size: tuple[int, ...]) -> None:
    shard = None if data_format == "zarr" else (16, 16, 16)
    layer = Layer(noise((2, 9, 7, 5), "uint16", 3), (3, 1, 2), data_format=data_format, shard=shard, mag=Mag(from_mag), cut=(1, 0, 1))
    write_dataset(tmp_path / "d", layer, voxel_size=voxel_size)
    plan = upsampling(tmp_path / "d", layer, finest_mag=Mag(finest))
    run_here(plan)
    check_repeated(tmp_path / "d", layer)
    if from_mag == "8":
        repeats = [plan.origin.repeats(plan.mag) for plan in plan.layers[0].mags if isinstance(plan.origin, FromCoarser)]
        assert max(max(each) for each in repeats) >= 4, "the ladder skips a step"


def test_bytes_do_not_depend_on_threads_and_tasks(tmp_path: Path) -> None:
    layer = Layer(noise((1, 40, 36, 20), "uint32", 4), (2, 0, 1), mag=Mag("2-2-1"), chunk=(32, 32, 32), shard=(64, 64, 64))
    found = []
    for number, sizing in enumerate([Sizing.local(1), Sizing.local(3), Sizing(2, 0.0, 0.001)]):
        root = tmp_path / str(number) / "d"
        root.parent.mkdir()
        write_dataset(root, layer)
        plan = upsampling(root, layer, sizing)
        run_here(plan)
        found.append({name: content for name, content in data_files(root).items() if name != "layer/1/zarr.json"})  # it has a random id
        assert {task.rule for task in plan.tasks} == {"upsample", PUBLISH}
    assert found[0] == found[1] == found[2]
    assert len(found[0]) > 4


def test_what_is_interrupted_is_resumed(tmp_path: Path) -> None:
    layer = Layer(noise((1, 20, 20, 20), "uint8", 5), mag=Mag(2))
    write_dataset(tmp_path / "d", layer)
    plan = upsampling(tmp_path / "d", layer, Sizing(1, 0.0, 0.0001))
    tasks = [task for task in plan.tasks if task.rule != PUBLISH]
    assert len(tasks) > 3
    stopped = Plan(**{**vars(plan), "tasks": tuple(tasks[:2])})
    made = run_here(stopped)
    assert mags_of(tmp_path / "d") == ["2"], "a mag is visible only when it is whole"
    again = upsampling(tmp_path / "d", layer)
    assert again.units_to_do == plan.units_to_do - made
    run_here(again)
    check_repeated(tmp_path / "d", layer)


# -- sources that change --------------------------------------------------------------------------------------------


@pytest.fixture
def pyramid(tmp_path: Path) -> tuple[Path, Layer]:
    """A dataset with mag 4, finer mags upsampled from it, and a coarser one downsampled from it."""
    layer = Layer(noise((1, 20, 18, 10), "uint8", 6, few=False), mag=Mag(4), data_format="zarr3")
    root = tmp_path / "d"
    write_dataset(root, layer)
    run_here(upsampling(root, layer))
    run(root, coarsest_mag="8", chunk_shape=8, shard_shape=16)
    assert mags_of(root) == ["4", "2", "1", "8"]
    assert plan_of(root, coarsest_mag="8").is_empty
    return root, layer


def write_source(root: Path, layer: Layer) -> None:
    dataset = StoredDataset.open(root)
    entry = dataset.layer("layer")
    write_region(dataset.open_mag(entry, entry.mag(layer.mag)), layer.data, (0, 0, 0, 0), Scratch(root / "scratch"))


def test_a_changed_source_makes_all_above_it_pending(pyramid: tuple[Path, Layer]) -> None:
    root, layer = pyramid
    layer.data[0, 17:, :16, :] += 1
    write_source(root, layer)
    before = {path: path.stat().st_ino for mag in ("2", "1") for path in shards(root, mag=mag)}
    run(root, coarsest_mag="8")
    made = {path.relative_to(root / "layer") for path, inode in before.items() if path.stat().st_ino != inode}
    # Storage shards of 16 voxels: what is from x = 16 on in mag 4, and before y = 16, is from 32 on in mag 2, and from 64 on in mag 1.
    assert {path.parts[:4] for path in made} == {("2", "c", "0", "2"), ("1", "c", "0", "4")}
    assert plan_of(root, coarsest_mag="8").is_empty
    check_pyramid(root, layer, "median", [Mag(8)])
    check_repeated_finer(root, layer)


def check_repeated_finer(root: Path, layer: Layer) -> None:
    for mag, factor in (("2", 2), ("1", 4)):
        got, _ = stored_voxels(root, layer, Mag(mag))
        np.testing.assert_array_equal(got, layer.data.repeat(factor, 1).repeat(factor, 2).repeat(factor, 3))


def test_a_lost_shard_is_made_again(pyramid: tuple[Path, Layer]) -> None:
    root, layer = pyramid
    shards(root, mag="1")[3].unlink()
    plan = run(root, coarsest_mag="8")
    assert plan.units_to_do == 1
    check_repeated_finer(root, layer)


def test_a_damaged_source_is_not_used(pyramid: tuple[Path, Layer]) -> None:
    root, _ = pyramid
    source = shards(root, mag="4")[0]
    status = source.stat()
    content = bytearray(source.read_bytes())
    content[20] ^= 255
    source.write_bytes(content)
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    shards(root, mag="2")[0].unlink()
    with pytest.raises(DamagedShard):
        run(root, coarsest_mag="8")


def test_written_by_another_tool_is_refused(pyramid: tuple[Path, Layer]) -> None:
    root, _ = pyramid
    shard = shards(root, mag="1")[0]
    shard.write_bytes(shards(root, mag="1")[1].read_bytes())
    with pytest.raises(ForeignMag):
        run(root, coarsest_mag="8")


def test_overwriting_does_not_replace_the_source_of_upsampled_mags(pyramid: tuple[Path, Layer]) -> None:
    root, _ = pyramid
    before = data_files(root)
    with pytest.raises(InputRefused, match="mag 2 is not overwritten because mag 1 was upsampled from it; delete mag 1 first"):
        plan_of(root, overwrite_existing=True)
    assert data_files(root) == before


def test_other_files_in_the_place_are_refused(tmp_path: Path) -> None:
    layer = Layer(noise((1, 8, 8, 8), "uint8"), mag=Mag(2))
    write_dataset(tmp_path / "d", layer)
    (tmp_path / "d" / "layer" / "1").mkdir()
    (tmp_path / "d" / "layer" / "1" / "mine.txt").touch()
    with pytest.raises(AlreadyExists, match=r"layer/1 exists but is not a mag of layer layer"):
        upsampling(tmp_path / "d", layer)

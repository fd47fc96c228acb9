"""Downsampling compared with whole-layer arithmetic in numpy: boxes, types, modes, factors, formats, shapes, axes, absent shards."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.steps.helpers import Layer, check_pyramid, noise, plan_of, remove_tree, run, write_dataset
from wkpipe.geometry import Mag
from wkpipe.plan.cost.resources import Sizing

MODES = ["median", "mode", "max", "min", "nearest", "bilinear", "bicubic"]
POINT_MODES = MODES[4:]
DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32"]
SMALL = ["uint8", "int8", "uint16", "int16"]
MAG_1 = Mag(1)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """A layer, the options for its coarser mags, and a seed for its data."""
    data_format = draw(st.sampled_from(["zarr3", "zarr3-unsharded", "zarr", "wkw"]))
    mode = draw(st.sampled_from(MODES))
    dtype = draw(st.sampled_from(SMALL if mode in POINT_MODES else DTYPES))
    powers = st.sampled_from([4, 8, 16])
    chunk = (draw(powers),) * 3 if data_format == "wkw" else tuple(draw(powers) for _ in range(3))
    shard: tuple[int, ...] | None
    if data_format == "wkw":
        shard = (chunk[0] * draw(st.sampled_from([1, 2, 4])),) * 3
    elif data_format == "zarr3":
        shard = tuple(c * draw(st.sampled_from([1, 2, 4])) for c in chunk)
    else:
        shard = None
    channels = draw(st.sampled_from([1, 1, 3]))
    others = {"c": channels}
    axes: tuple[str, ...] = ("c", "x", "y", "z")
    if data_format != "wkw" and draw(st.booleans()):
        others["t"] = draw(st.integers(1, 3))
        axes = draw(st.sampled_from([("t", "c", "x", "y", "z"), ("t", "x", "y", "z")])) if channels == 1 else ("t", "c", "x", "y", "z")
    big = 1 if dtype.endswith("64") or dtype.startswith("float") else 2
    size = tuple(draw(st.one_of(st.just(1), st.integers(2, 12 * big), st.integers(2, 33))) for _ in range(3))
    return {
        "data_format": data_format.removesuffix("-unsharded"),
        "mode": mode,
        "dtype": dtype,
        "chunk": chunk,
        "shard": shard,
        "axes": axes,
        "shape": tuple(others[axis] if axis in others else size["xyz".index(axis)] for axis in axes),
        "topleft": tuple(draw(st.integers(0, 40)) for _ in range(3)),
        "voxel_size": draw(st.sampled_from([(1, 1, 1), (1, 1, 4), (4, 1, 1), (1, 3, 9)])),
        "sampling_mode": draw(st.sampled_from(["anisotropic", "isotropic", "constant_z"])),
        "mag": Mag(draw(st.sampled_from([(1, 1, 1), (1, 1, 1), (2, 2, 1), (1, 2, 1)]))),
        "cut": draw(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))),
        "category": "color" if mode != "mode" or dtype.startswith("float") or "16" in dtype else "segmentation",
        "few": draw(st.booleans()),
        "threads": draw(st.sampled_from([1, 1, 3])),
        "seed": draw(st.integers(0, 10**6)),
    }


@given(case=cases())
def test_any_layer_is_what_the_oracle_says(temporary: Path, case: dict[str, Any]) -> None:
    cut = tuple(min(c, m - 1) for c, m in zip(case["cut"], case["mag"].to_tuple(), strict=True))
    layer = Layer(
        noise(case["shape"], case["dtype"], case["seed"], case["few"]),
        case["topleft"],
        case["axes"],
        case["data_format"],
        case["chunk"],
        case["shard"],
        case["category"],
        case["mag"],
        cut=cut,
    )
    with tempfile.TemporaryDirectory(dir=temporary) as directory:
        root = Path(directory) / "dataset"
        write_dataset(root, layer, voxel_size=case["voxel_size"])
        coarsest = Mag([m * 4 for m in case["mag"].to_tuple()])
        values = {"chunk_shape": case["chunk"], "shard_shape": case["shard"], "sampling_mode": case["sampling_mode"]}
        if case["sampling_mode"] == "isotropic":
            values["coarsest_mag"] = str(coarsest)
        run(root, Sizing.local(case["threads"]), interpolation_mode=case["mode"], trust_empty=True, **values)
        check_pyramid(root, layer, case["mode"], note=str(case))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("mag, data_format", [("4-1-1", "zarr3"), ("1-1-4", "zarr"), ("1-4-2", "wkw")])
def test_large_factors(tmp_path: Path, mag: str, data_format: str, mode: str) -> None:
    """Steps that do not coarsen the coarsest axis are left out, so a mag may be eight times as coarse as the one before."""
    shard = None if data_format == "zarr" else (16, 16, 16)
    layer = Layer(noise((2, 53, 41, 39), "int16", 2, few=False), (7, 2, 5), data_format=data_format, shard=shard, mag=Mag(mag))
    write_dataset(tmp_path / "d", layer)
    plan = run(tmp_path / "d", interpolation_mode=mode, coarsest_mag="16", chunk_shape=8, shard_shape=shard)
    assert max(plan.layers[0].mags[0].factors) == 8
    check_pyramid(tmp_path / "d", layer, mode)


def test_a_chunk_of_one_voxel_edge_in_unsharded_units_is_quick(tmp_path: Path) -> None:
    """A unit of unsharded formats spans 1024³ voxels, which are millions of such chunks: only those in the box may cost time."""
    layer = Layer(noise((1, 9, 7, 5), "uint8"), (2, 3, 1), data_format="zarr", chunk=(2, 2, 2), shard=None)
    write_dataset(tmp_path / "d", layer)
    plan = run(tmp_path / "d", chunk_shape=2)
    check_pyramid(tmp_path / "d", layer, "median")
    assert max(task.mem_mb for task in plan.tasks) < 300


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_foreign_layout_of_channels_and_time(tmp_path: Path, dtype: str) -> None:
    """A source whose chunks hold one channel each, and several time points: units do not match those of new mags."""
    import zarr

    data = noise((5, 3, 40, 33, 20), dtype, 3)
    layer = Layer(data, axes=("t", "c", "x", "y", "z"), data_format="zarr3", shard=(16, 16, 16))
    root = tmp_path / "d"
    write_dataset(root, layer)
    remove_tree(root / "layer" / "1")
    array = zarr.create_array(
        str(root / "layer" / "1"), shape=data.shape, chunks=(2, 1, 16, 16, 16), dtype=dtype, dimension_names=layer.axes, fill_value=0
    )
    array[:] = data
    run(root, chunk_shape=8, shard_shape=16)
    check_pyramid(root, layer, "median")
    layer.data = data.copy()
    layer.data[4, 2, 20:, 20:] += 1
    array[4, 2] = layer.data[4, 2]
    assert not run(root, chunk_shape=8, shard_shape=16).is_empty
    check_pyramid(root, layer, "median")
    assert plan_of(root).is_empty

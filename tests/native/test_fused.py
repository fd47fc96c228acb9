"""Whole mags by both engines: the same bytes, and the native one is really used where it can be."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats.helpers import files_of, new_array, scratch_of
from tests.steps.helpers import Layer, check_pyramid, data_files, noise, plan_of, run, shards, write_dataset
from tests.steps.test_channel_index import Channelled
from wkpipe.engine.fused import Fused
from wkpipe.errors import DamagedShard
from wkpipe.formats.base import Compression
from wkpipe.native.library import VARIABLE, Library
from wkpipe.runs.run import Run
from wkpipe.steps.task import run_task

Counts = dict[str, int]


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """How many cubes the native engine made (`native`) and how many it left to NumPy (`left`)."""
    found = {"native": 0, "left": 0}
    encoded = Fused.encoded

    def counted(*arguments: Any) -> Any:
        made = encoded(*arguments)
        found["left" if made is None else "native"] += 1
        return made

    monkeypatch.setattr(Fused, "encoded", counted)
    return found


def files_by(engine: str, directory: Path, layer: Layer, **values: Any) -> dict[str, str]:
    """Make the coarser mags of a layer with an engine, and return the hashes of all files."""
    root = directory / f"by-{engine}" / "dataset"
    root.parent.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, engine)
        write_dataset(root, layer)
        run(root, **values)
    return data_files(root)


@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
@pytest.mark.parametrize(
    "dtype, channels, mode",
    [
        ("uint8", 1, "median"),
        ("uint8", 3, "median"),
        ("uint16", 1, "min"),
        ("int16", 2, "max"),
        ("uint32", 1, "mode"),
        ("uint64", 1, "mode"),
        ("float32", 1, "median"),
        ("float64", 1, "mode"),
    ],
)
def test_same_bytes(engine: Library, tmp_path: Path, counts: Counts, dtype: str, channels: int, mode: str, data_format: str) -> None:
    shard = None if data_format == "zarr" else (32, 32, 32)
    layer = Layer(noise((channels, 64, 48, 40), dtype, 2, few=mode == "mode"), (32, 0, 8), data_format=data_format, shard=shard)
    values = {"sampling_mode": "isotropic", "interpolation_mode": mode}
    assert files_by("1", tmp_path, layer, **values) == files_by("0", tmp_path, layer, **values)
    assert counts["native"] > 0
    assert counts["left"] == 0
    check_pyramid(tmp_path / "by-1" / "dataset", layer, mode)


LAYOUTS = [
    ("zarr3", (8, 8, 8), (16, 16, 16)),
    ("zarr3", (16, 8, 4), (32, 32, 16)),
    ("zarr3", (4, 4, 4), (16, 16, 16)),
    ("zarr", (8, 8, 8), None),
    ("wkw", (8, 8, 8), (16, 16, 16)),
    ("wkw", (4, 4, 4), (32, 32, 32)),
]


def with_special(data: Any, seed: int) -> Any:
    """Put zeros with signs, NaNs and infinities into floats."""
    if data.dtype.kind == "f":
        rng = np.random.default_rng(seed)
        values = np.array([-0.0, np.nan, -np.nan, np.inf, -np.inf, 1e-40], data.dtype)
        data = np.where(rng.random(data.shape) < rng.choice([0, 0.01, 0.5]), rng.choice(values, data.shape), data)
    return data


@settings(max_examples=20)
@given(
    size=st.tuples(*(st.integers(1, 70) for _ in range(3))),
    topleft=st.tuples(*(st.integers(0, 40) for _ in range(3))),
    layout=st.sampled_from(LAYOUTS),
    is_compressed=st.sampled_from([True, True, False]),
    dtype=st.sampled_from(["uint8", "uint16", "uint32", "uint64", "int8", "int32", "float32", "float64"]),
    mode=st.sampled_from(["median", "mode", "max", "min"]),
    sampling=st.sampled_from(["anisotropic", "isotropic"]),
    channels=st.sampled_from([1, 1, 1, 3]),
    seed=st.integers(0, 1000),
)
def test_any_layer(
    engine: Library,
    temporary: Path,
    size: Any,
    topleft: Any,
    layout: Any,
    is_compressed: bool,
    dtype: str,
    mode: str,
    sampling: str,
    channels: int,
    seed: int,
) -> None:
    """Boxes that begin and end anywhere, mags that are handed over, chunks of any shape, more channels, floats, all formats."""
    data_format, chunk, shard = layout
    data = with_special(noise((channels, *size), dtype, seed), seed)
    layer = Layer(data, topleft, data_format=data_format, chunk=chunk, shard=shard, compression=is_compressed)
    with tempfile.TemporaryDirectory(dir=temporary) as directory:
        values = {"sampling_mode": sampling, "interpolation_mode": mode}
        assert files_by("1", Path(directory), layer, **values) == files_by("0", Path(directory), layer, **values)


@pytest.mark.parametrize("channels", [1, 3])
def test_handed_over_mags_come_from_the_native_engine(engine: Library, tmp_path: Path, counts: Counts, channels: int) -> None:
    """A layer whose box ends with whole blocks of all mags: every cube of the first coarser mag is native, the others are handed over."""
    layer = Layer(noise((channels, 64, 64, 64), "uint8", 3), chunk=(8, 8, 8), shard=(64, 64, 64))
    assert files_by("1", tmp_path, layer, coarsest_mag="8") == files_by("0", tmp_path, layer, coarsest_mag="8")
    assert counts == {"native": 1, "left": 0}


@pytest.mark.parametrize("where", ["header", "content", "end"])
def test_damage_has_the_same_words(engine: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    messages = []
    for number in "01":
        root = tmp_path / number / "dataset"
        root.parent.mkdir()
        write_dataset(root, Layer(noise((1, 32, 32, 32), "uint8", 5), shard=(32, 32, 32)))
        (file,) = shards(root)
        content = bytearray(file.read_bytes())
        content[{"header": 3, "content": 40, "end": 0}[where]] ^= 0x55
        if where == "end":
            content[: len(content) // 2] = bytes(len(content) // 2)
        file.write_bytes(content)
        monkeypatch.setenv(VARIABLE, number)
        with pytest.raises(DamagedShard) as error:
            run(root)
        messages.append(str(error.value).replace(str(root), "ROOT"))
    assert messages[0] == messages[1]
    assert "chunk" in messages[0]


@pytest.mark.parametrize("is_noticed", [True, False])
@pytest.mark.parametrize("edge", [8, 16])
def test_damaged_blocks_of_wkw_have_the_same_words(
    engine: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_noticed: bool, edge: int
) -> None:
    """Some damages of an LZ4 block cannot be noticed: then both engines make the same voxels of it."""
    found = []
    for number in "01":
        root = tmp_path / number / "dataset"
        root.parent.mkdir()
        cube = (edge, edge, edge)
        write_dataset(root, Layer(noise((1, 32, 32, 32), "uint16", 4), data_format="wkw", chunk=cube, shard=(32, 32, 32)))
        (file,) = (root / "layer" / "1").rglob("x*.wkw")
        content = bytearray(file.read_bytes())
        content[16 + 8 * (32 // edge) ** 3 if is_noticed else -1] ^= 0xFF  # how long the first literals are; the last literal
        file.write_bytes(content)
        monkeypatch.setenv(VARIABLE, number)
        try:
            run(root)
            found.append(str(data_files(root)))
        except DamagedShard as error:
            found.append(str(error).replace(str(root), "ROOT"))
    assert found[0] == found[1]
    assert ("chunk" in found[0]) == is_noticed


@pytest.mark.parametrize("kind, channels", [("lz4hc", 1), ("lz4hc", 3), ("lz4", 1), ("none", 1)])
def test_blocks_of_32_voxels(engine: Library, tmp_path: Path, counts: Counts, kind: str, channels: int) -> None:
    """Smooth voxels, which compress."""
    data = (np.cumsum(noise((channels, 64, 64, 32), "int8", 6), axis=1) // 16).astype("uint8")
    layer = Layer(data, data_format="wkw", chunk=(32, 32, 32), shard=(32, 32, 32), compression=Compression(kind))
    assert files_by("1", tmp_path, layer) == files_by("0", tmp_path, layer)
    assert counts["native"] > 0


@pytest.mark.parametrize("others", ["none", "lz4"])
@pytest.mark.parametrize("count, native", [(2, 1), (1, 0)])
def test_wkw_files_with_codecs_of_their_own(engine: Library, tmp_path: Path, counts: Counts, others: str, count: int, native: int) -> None:
    """Files may be stored in another way than header.wkw says; a cube of files of two kinds is left to NumPy."""
    data = noise((1, 32, 16, 16), "uint8", 7)
    made = []
    for number in "01":
        roots = [tmp_path / number / name / "dataset" for name in ("array", "others")]
        for root, compression in zip(roots, (Compression("lz4hc"), Compression(others)), strict=True):
            root.parent.mkdir(parents=True)
            write_dataset(root, Layer(data, data_format="wkw", compression=compression))
        for x in range(count):
            name = f"layer/1/z0/y0/x{x}.wkw"
            (roots[0] / name).write_bytes((roots[1] / name).read_bytes())
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(VARIABLE, number)
            run(roots[0], coarsest_mag="2")
        made.append(data_files(roots[0]))
    assert made[0] == made[1]
    assert counts == {"native": native, "left": 1 - native}


@pytest.mark.parametrize("first, native", [(0, 1), (3, 1), (1, 0)])
def test_chunks_with_channels_of_other_layers(
    engine: Library, tmp_path: Path, counts: Counts, monkeypatch: pytest.MonkeyPatch, first: int, native: int
) -> None:
    """Chunks of three channels of another tool's array, of which the layer has all, or of two of them some."""
    data = noise((6, 32, 32, 16), "uint8", 5, few=False)
    made = []
    for number in "01":
        root = tmp_path / number / "dataset"
        Channelled(data, ("c", "x", "y", "z"), first, 3, "zarr", chunk_depth=3).write(root)
        monkeypatch.setenv(VARIABLE, number)
        run(root, coarsest_mag="2")
        made.append(data_files(root))
    assert made[0] == made[1]
    assert counts["native"] == native


def test_workers_are_native_too(engine: Library, tmp_path: Path) -> None:
    layer = Layer(noise((1, 128, 128, 64), "uint8", 8), chunk=(16, 16, 16), shard=(128, 128, 128))
    expected = files_by("0", tmp_path, layer)
    root = tmp_path / "forked" / "dataset"
    root.parent.mkdir()
    write_dataset(root, layer)
    plan = plan_of(root)
    with Run(plan).begun() as epoch:
        for task in plan.tasks:
            run_task(plan, task, epoch, fork=True)
    assert data_files(root) == expected


@pytest.mark.parametrize("data_format, dtype", [("zarr3", "uint16"), ("wkw", "uint16"), ("wkw", "float32")])
@pytest.mark.parametrize("size, shard", [((32, 16, 16), 32), ((8, 8, 16), 16)], ids=["many", "a column"])
def test_chunks_of_a_conversion(
    engine: Library, tmp_path: Path, size: tuple[int, int, int], shard: int, data_format: str, dtype: str
) -> None:
    """Chunks that NumPy computes are cut and encoded by the engine, with more channels as with one; those of a column need no cutting."""
    written = []
    for number in "01":
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(VARIABLE, number)
            array = new_array(tmp_path / number, data_format, (3, *size), dtype, chunk=8, shard=shard)
            voxels = np.asfortranarray(noise((3, *size), dtype, 1))
            voxels[:, -8:, :8, :8] = -0.0 if dtype == "float32" else 0
            cells = np.argwhere(np.ones([1, *(n // 8 for n in size)], bool))
            with array.unit_writer((0, 0, 0, 0), scratch_of(array.path)) as writer:
                writer.append_all(writer.encode_grid(voxels, cells, cells))
                writer.commit()
            np.testing.assert_array_equal(array.read((0,) * 4, voxels.shape), voxels)
            written.append({name: data for name, data in files_of(array.path).items() if not name.endswith(".json")})
    assert written[0] == written[1]

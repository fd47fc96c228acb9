"""Converting decodes each native block of the images once, however they straddle chunks, units and tasks, in bounded memory."""

from __future__ import annotations

import itertools
import math
import os
import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.steps.helpers import Array, noise, plan_of
from tests.steps.job_memory import job_command, job_environment, measured
from wkpipe.engine import blocks
from wkpipe.engine.block_axis import BlockAxis
from wkpipe.engine.blocks import BlockCut
from wkpipe.formats import make_spec, open_array
from wkpipe.formats.base import DataFormat, Position
from wkpipe.geometry import BoundingBox, Mag, Vec3Int
from wkpipe.geometry.box import Box
from wkpipe.images import AxisSizes, ImageFile, ImageStack
from wkpipe.images.frame import Frame
from wkpipe.images.readers import pillow, tiff_segments
from wkpipe.plan.cost.memory import task_bytes
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.cut.task import PUBLISH
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.from_images import FromImages
from wkpipe.runs.run import Run, run_here
from wkpipe.stored.dataset import StoredDataset

T0 = 1_700_000_000_000_000_000
VALUES: dict[str, Any] = {"voxel_size": (4, 4, 30), "layer_name": "layer", "downsample": False, "category": "color"}
SMALL = {"data_format": "zarr3", "chunk_shape": (16, 8, 4), "shard_shape": (64, 64, 8)}
WKW = {"data_format": "wkw", "chunk_shape": 8, "shard_shape": 64}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[Any]:
    """How often each strip, tile or plane is decoded."""
    counts: Counter[Any] = Counter()
    segment, whole = tiff_segments.CodedPlanes._segment, pillow._decode

    def counted_segment(planes: Any, page: Any, index: int, plane: int, *rest: Any) -> Any:
        counts[planes._file.path.name, plane, index] += 1
        return segment(planes, page, index, plane, *rest)

    def counted_whole(file: Any, *rest: Any) -> Any:
        counts[file.path.name] += 1
        return whole(file, *rest)

    monkeypatch.setattr(tiff_segments.CodedPlanes, "_segment", counted_segment)
    monkeypatch.setattr(pillow, "_decode", counted_whole)
    return counts


def write(folder: Path, planes: Array, options: dict[str, Any] | None) -> None:
    folder.mkdir()
    for z, plane in enumerate(planes):
        if options is None:
            Image.fromarray(np.ascontiguousarray(plane)).save(folder / f"{z:03d}.png")
        else:
            tifffile.imwrite(folder / f"{z:03d}.tif", np.ascontiguousarray(plane), compression="zlib", **options)


STORED: dict[str, dict[str, Any] | None] = {
    "strips of 7 rows": {"rowsperstrip": 7},
    "strips of 8 rows": {"rowsperstrip": 8},
    "one strip": {},
    "tiles within units": {"tile": (32, 16)},
    "tiles across units": {"tile": (48, 80)},
    "tiles larger than units": {"tile": (112, 96)},
    "png": None,
}


@pytest.mark.parametrize("cube_bytes", [8 << 20, 20_000, 1000], ids=["usual cubes", "small cubes", "least cubes"])
@pytest.mark.parametrize("layout", [SMALL, WKW], ids=["zarr3", "wkw"])
@pytest.mark.parametrize("stored", STORED)
def test_each_block_is_decoded_once(
    tmp_path: Path, decoded: Counter[Any], monkeypatch: pytest.MonkeyPatch, stored: str, layout: dict[str, Any], cube_bytes: int
) -> None:
    """Many tasks, and images that end within chunks: 3 × 3 × 2 units or more, in layers of chunks that are 4 or 8 deep."""
    monkeypatch.setattr(blocks, "IMAGE_CUBE_BYTES", cube_bytes)
    monkeypatch.setattr(blocks, "WINDOW_CUBE_BYTES", min(cube_bytes, 2 << 20))
    planes = noise((11, 150, 170), "uint16", 3, few=False)
    options = STORED[stored]
    write(tmp_path / "images", planes, options)
    plan = plan_of(tmp_path / "d", Sizing(cores=2, least_seconds=0, target_seconds=1e-6), source=tmp_path / "images", **VALUES, **layout)
    decoded.clear()
    run_here(plan)
    if options is None:
        assert len(decoded) == len(planes)
    else:
        with tifffile.TiffFile(tmp_path / "images" / "000.tif") as tiff:
            assert len(decoded) == len(planes) * len(tiff.pages[0].dataoffsets)
    assert set(decoded.values()) == {1}
    array = open_array(tmp_path / "d" / "layer" / "1", layout["data_format"])
    np.testing.assert_array_equal(array.read((0, 0, 0, 0), (1, 170, 150, 11))[0], planes.transpose(2, 1, 0))


ARRANGED: dict[str, dict[str, Any]] = {
    "mirrored": {"flip_x": True, "flip_y": True, "flip_z": True},
    "swapped": {"swap_xy": True, "flip_y": True},
    "cropped": {"bbox": (5, 9, 1, 150, 130, 4), "flip_x": True},
    "elsewhere": {"topleft": (1003, 71, 6)},
    "all at once": {
        "bbox": (16, 32, 0, 120, 100, 5),
        "topleft": (70, 6, 12),
        "mag": "2-2-4",
        "swap_xy": True,
        "flip_x": True,
        "flip_z": True,
    },
}


def arranged(planes: Array, bbox: Any = None, swap_xy: bool = False, flip_x: bool = False, flip_y: bool = False, **others: Any) -> Array:
    """Return what NumPy makes of planes (z, y, x): axes x, y, z."""
    x, y, z, width, height, depth = bbox or (0, 0, 0, *reversed(planes.shape))
    voxels = planes[z : z + depth, y : y + height, x : x + width].transpose((1, 2, 0) if swap_xy else (2, 1, 0))
    return voxels[:: -1 if flip_x else 1, :: -1 if flip_y else 1, :: -1 if others.get("flip_z") else 1]


@pytest.mark.parametrize("cube_bytes", [8 << 20, 1000], ids=["usual cubes", "least cubes"])
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("name, layout", [*((name, SMALL) for name in ARRANGED), ("all at once", WKW)])
def test_images_that_are_cropped_turned_and_moved(
    tmp_path: Path, decoded: Counter[Any], monkeypatch: pytest.MonkeyPatch, name: str, layout: dict[str, Any], stored: str, cube_bytes: int
) -> None:
    """The voxels are those that NumPy makes of the plain images; a block is decoded twice only where small ones are split by units."""
    monkeypatch.setattr(blocks, "IMAGE_CUBE_BYTES", cube_bytes)
    monkeypatch.setattr(blocks, "WINDOW_CUBE_BYTES", min(cube_bytes, 2 << 20))
    planes, how = noise((5, 150, 170), "uint16", 3, few=False), ARRANGED[name]
    write(tmp_path / "images", planes, STORED[stored])
    sizing = Sizing(cores=2, least_seconds=0, target_seconds=1e-6)
    plan = plan_of(tmp_path / "d", sizing, source=tmp_path / "images", **VALUES, **layout, **how)
    stack, finest = ImageStack.from_json(plan.layers[0].stack or {}), plan.layers[0].mags[0]
    splits = sum(axis.splits_blocks for axis in BlockCut(finest.spec, finest.box, stack).axes)
    decoded.clear()
    run_here(plan)
    assert max(decoded.values()) <= 2**splits
    expected, mag = arranged(planes, **how), Mag(how.get("mag", 1))
    first = Vec3Int(how.get("topleft", (0, 0, 0))) // mag.to_vec3_int()
    array = open_array(tmp_path / "d" / "layer" / str(mag), layout["data_format"])
    np.testing.assert_array_equal(array.read((0, *first), (1, *expected.shape))[0], expected)
    (layer,) = StoredDataset.open(tmp_path / "d").properties.layers
    assert layer.box == BoundingBox(how.get("topleft", (0, 0, 0)), Vec3Int(expected.shape) * mag.to_vec3_int())


@pytest.mark.parametrize("cube_bytes", [8 << 20, 1000], ids=["usual cubes", "least cubes"])
@pytest.mark.parametrize("stored", STORED)
def test_units_below_others_are_made_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: str, cube_bytes: int) -> None:
    """An interrupted conversion has made only the first rows of units that share blocks with the others."""
    monkeypatch.setattr(blocks, "IMAGE_CUBE_BYTES", cube_bytes)
    monkeypatch.setattr(blocks, "WINDOW_CUBE_BYTES", min(cube_bytes, 2 << 20))
    planes = noise((5, 150, 170), "uint16", 3, few=False)
    write(tmp_path / "images", planes, STORED[stored])
    values = {"source": tmp_path / "images", **VALUES, **SMALL}
    run_here(plan_of(tmp_path / "d", Sizing.local(2), **values))
    lost = tmp_path / "d" / "layer" / "1" / "c" / "0"
    for unit in ("0/1/0", "2/2/0"):
        (lost / unit).unlink()
    plan = plan_of(tmp_path / "d", Sizing.local(2), **values)
    assert plan.units_to_do == 2
    run_here(plan)
    array = open_array(tmp_path / "d" / "layer" / "1", "zarr3")
    np.testing.assert_array_equal(array.read((0, 0, 0, 0), (1, 170, 150, 5))[0], planes.transpose(2, 1, 0))


# -- the cut ------------------------------------------------------------------------------------------------------


def stack_of(sizes: AxisSizes, block: tuple[int, int], dtype: str = "uint8", tiles: int = 0, z_is_file: bool = True) -> ImageStack:
    """Return a stack for planning that is never read."""
    each = sizes._replace(z=1) if z_is_file else sizes
    numbers = range(sizes.z if z_is_file else 1)
    path = Path("/data/images")
    scratch = (4 << 20) + 100 * tiles
    files = [ImageFile(path / f"s{i:03d}.tif", 1000 + i, T0 + i, "tiff", each, dtype, False, block, scratch, 16 * tiles) for i in numbers]
    return ImageStack("layer", "color", path, tuple(files), tuple(range(sizes.c)))


def mag_plan(
    stack: ImageStack, chunk: tuple[int, int, int], shard: tuple[int, int, int], first: tuple[int, int, int] = (0, 0, 0)
) -> MagPlan:
    _, c, z, y, x = stack.sizes
    box = Box(Vec3Int(first), Vec3Int(first) + Vec3Int(x, y, z))
    spec = make_spec(DataFormat.ZARR3, ("c", "x", "y", "z"), (c, *box.end), stack.dtype, c, Vec3Int(chunk), Vec3Int(shard), True)
    return MagPlan("layer", Mag(1), spec, box, FromImages.of(stack))


EDGES = st.sampled_from([1, 3, 7, 8, 16, 20, 32, 48, 1000])
PLACES = st.one_of(st.just(0), st.sampled_from([7, 16, 40, 48, 96]))
CROPS = st.one_of(st.just((0, 0)), st.tuples(st.sampled_from([0, 3, 16, 48]), st.sampled_from([0, 5, 16])))


def framed(stack: ImageStack, crops: tuple[tuple[int, int], tuple[int, int]], swapped: bool, mirrored: str) -> ImageStack:
    """Return a stack without some rows and columns at its borders, if any are left, and turned."""
    spans = [(a, n - b) if a + b < n else (0, n) for n, (a, b) in zip(stack.sizes[3:], crops, strict=True)]
    frame = Frame((0, spans[0][0], spans[1][0]), (stack.sizes.z, spans[0][1], spans[1][1]), swapped, mirrored)
    return stack if crops == ((0, 0), (0, 0)) and not swapped and not mirrored else stack.replace(frame=frame)


@given(
    size=st.tuples(st.integers(1, 130), st.integers(1, 130), st.integers(1, 20)),
    block=st.tuples(EDGES, EDGES),
    unit=st.tuples(st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2])),
    cube_bytes=st.sampled_from([100, 1000, 10_000, 1 << 20]),
    crops=st.tuples(CROPS, CROPS),
    turn=st.tuples(st.booleans(), st.sampled_from(["", "x", "y", "xyz"])),
    place=st.tuples(PLACES, PLACES, PLACES),
    pending=st.randoms(use_true_random=False),
)
@settings(max_examples=300 if os.environ.get("WKPIPE_WHOLE") else 60, deadline=None)
def test_cubes_cover_all_voxels_and_share_no_block(
    size: tuple[int, int, int],
    block: tuple[int, int],
    unit: tuple[int, int, int],
    cube_bytes: int,
    crops: tuple[tuple[int, int], tuple[int, int]],
    turn: tuple[bool, str],
    place: tuple[int, int, int],
    pending: Any,
) -> None:
    """Also if the images are cropped, turned, and anywhere in the mag."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "IMAGE_CUBE_BYTES", cube_bytes)
        patch.setattr(blocks, "WINDOW_CUBE_BYTES", cube_bytes)
        x, y, z = size
        stack = framed(stack_of(AxisSizes(1, 1, z, y, x), (min(block[0], y), min(block[1], x))), crops, *turn)
        _, _, z, y, x = stack.sizes
        plan = mag_plan(stack, (16, 8, 4), (16 * unit[0], 8 * unit[1], 4 * unit[2]), place)
        cut = BlockCut(plan.spec, plan.box, stack)
        every = plan.units()
        units = [each for each in every if pending.random() < 0.7] or every
        groups = cut.groups(units)
    assert sorted(each for group in groups for each in group.units) == sorted(units)
    made = np.zeros(tuple(reversed(plan.box.end)), np.uint8)
    readers = np.zeros(made.shape, np.int32)  # which cube, or group if it decodes into a window, reads a voxel
    counter = itertools.count(1)
    for group in groups:
        number = next(counter)
        last: dict[Position, tuple[int, ...]] = {}
        for cube in group.cubes():
            inside = tuple(slice(a, b) for a, b in zip(reversed(cube.first), reversed(cube.end), strict=True))
            readers[inside] = number if cut.step is not None else next(counter)
            assert cut.step is not None or cut.cube.x * cut.cube.y * cut.depth <= max(cube_bytes, _least(cut))
            for share in cube.shares:
                first, shape = share.grid.region(share.cube)
                made[tuple(slice(a, a + n) for a, n in zip(reversed(first), reversed(shape), strict=True))] += 1
                here = (share.cube.first.z, share.cube.first.y, share.cube.first.x)
                assert here > last.get(share.unit, (-1, 0, 0)), "slice by slice within a unit"
                last[share.unit] = here
                assert share.ends_unit == (first + shape == share.grid.end)
                assert share.ends_row or not share.ends_unit
    expected = np.zeros_like(made)
    for each in units:
        low, high = plan.unit_box(each)
        expected[low.z : high.z, low.y : high.y, low.x : high.x] = 1
    np.testing.assert_array_equal(made, expected)
    borders = [_borders(cut.axes[i], offset) for i, offset in ((1, stack.block_offset.y), (0, stack.block_offset.x))]
    for plane in readers[place[2] :, place[1] :, place[0] :]:
        for (top, bottom), (left, right) in itertools.product(*map(itertools.pairwise, borders)):
            assert np.count_nonzero(np.unique(plane[top:bottom, left:right])) <= 1
    for before, after in itertools.pairwise(every):
        if cut.may_part(before, after):
            at = every.index(after)
            owners = [
                {n for n, group in enumerate(cut.groups(every)) if any(each in group.units for each in half)}
                for half in (every[:at], every[at:])
            ]
            assert not owners[0] & owners[1]


def _borders(axis: BlockAxis, offset: int) -> list[int]:
    """Return the borders of blocks along one axis, and of units if these may split blocks."""
    assert offset in range(axis.block)
    size = axis.end - axis.first
    units = range(-axis.first % axis.unit, size, axis.unit) if axis.splits_blocks else ()
    return sorted({0, size, *range(offset, size, axis.block), *units})


def _least(cut: BlockCut) -> int:
    """Return the bytes of the smallest cube of whole blocks and chunks."""
    lengths = []
    for chunk, block, axis in ((16, cut.block.x, cut.axes[0]), (8, cut.block.y, cut.axes[1])):
        every = min(-(-axis.end // chunk) * chunk - axis.first // chunk * chunk, axis.group * axis.unit)
        lengths.append(every if block >= axis.end - axis.first or not axis.is_aligned else min(math.lcm(chunk, block), every))
    return cut.depth * math.prod(lengths)


# -- conversions begun by an earlier version, and large images -----------------------------------------------------------


@pytest.mark.parametrize(
    "z_is_file, identities",
    [
        (True, ["048385c06d9fc9e6", "048385c06d9fc9e6", "d6b32990a2cb01a5", "909c16716ce09982"]),
        (False, ["c867189e191b7959"] * 4),
    ],
)
def test_identities_of_images_stay_those_that_ledgers_have(z_is_file: bool, identities: list[str]) -> None:
    """Recorded before images were read in blocks: half a conversion is resumed, not begun again."""
    stack = stack_of(AxisSizes(1, 1, 10, 50, 60), (50, 60), z_is_file=z_is_file)
    plan = mag_plan(stack, (8, 8, 4), (32, 32, 4))
    assert plan.params == "7d67050f20343252"
    units = [(0, 0, 0, 0), (0, 1, 1, 0), (0, 0, 0, 1), (0, 1, 0, 2)]
    assert [plan.origin.inputs(plan, unit, stack, {}) for unit in units] == identities


@pytest.mark.parametrize(
    "dtype, depth, block, most_mb",
    [
        ("uint8", 1, (256, 256), 250),
        ("uint8", 64, (256, 256), 640),
        ("uint16", 64, (1024, 1024), 420),
        ("uint8", 64, (240, 240), 800),
        ("uint8", 64, (16, 100_000), 400),
    ],
)
@pytest.mark.parametrize("turn", [None, (False, "xy"), (True, ""), (True, "x")], ids=["plain", "mirrored", "swapped", "both"])
def test_images_of_100_000_pixels_have_bounded_memory(
    turn: tuple[bool, str] | None, dtype: str, depth: int, block: tuple[int, int], most_mb: int
) -> None:
    rows, columns = block
    tiles = -(-100_000 // rows) * -(-100_000 // columns)
    stack = stack_of(AxisSizes(1, 1, depth, 100_000, 100_000), block, dtype, tiles)
    stack, place = (stack, (0, 0, 0)) if turn is None else (framed(stack, ((100, 100), (3, 3)), *turn), (1003, 71, 6))
    plan = mag_plan(stack, (32, 32, min(32, depth)), (4096, 4096, min(32, depth)), place)
    assert task_bytes([(plan, stack)], threads=4) <= most_mb * 1e6
    assert BlockCut(plan.spec, plan.box, stack).window_bytes <= 32 * 4128 * 100_000


def write_tiles_that_share_data(path: Path, edge: int, tile: Array) -> None:
    """Write a BigTIFF of edge × edge pixels, all of whose tiles are the same few bytes of the file."""
    data, side = zlib.compress(tile.tobytes(), 1), tile.shape[0]
    count = (-(-edge // side)) ** 2
    at = 16 + len(data) + -len(data) % 8
    numbers = {256: edge, 257: edge, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side}
    entries = [(tag, struct.pack("<HHQQ", tag, 4, 1, value)) for tag, value in numbers.items()]
    entries += [(tag, struct.pack("<HHQQ", tag, 16, count, at + i * 8 * count)) for i, tag in enumerate((324, 325))]
    tables = struct.pack("<Q", 16) * count + struct.pack("<Q", len(data)) * count
    directory = struct.pack("<Q", len(entries)) + b"".join(entry for _, entry in sorted(entries)) + struct.pack("<Q", 0)
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, at + len(tables))
    path.write_bytes(head + data + bytes(-len(data) % 8) + tables + directory)


@pytest.mark.parametrize(
    "edge",
    [20_000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.torture, pytest.mark.sampled(every=3), pytest.mark.timeout(1800)])],
    ids=str,
)
@pytest.mark.parametrize("how", [{}, {"flip_x": True, "swap_xy": True, "topleft": (1003, 71, 6)}], ids=["plain", "turned and moved"])
def test_a_large_tiled_image_keeps_to_the_prediction(tmp_path: Path, edge: int, how: dict[str, Any]) -> None:
    """Real jobs of two threads; the tiles of 240 × 240 pixels straddle chunks and units."""
    tile = np.add.outer(np.arange(240) * 7, np.arange(240) * 3).astype("uint8")
    write_tiles_that_share_data(tmp_path / "large.tif", edge, tile)
    plan = plan_of(tmp_path / "d", Sizing(2, 0.0, 1e9, 2), source=tmp_path / "large.tif", **VALUES, **how)
    run = Run(plan)
    with run.begun():
        for task in plan.tasks:
            peak = measured(job_command(run.directory, task.name), job_environment(run.seal)).total / 1e6
            print(f"{task.name}: {peak:.0f} MB, predicted {task.mem_mb} MB")
            assert task.rule == PUBLISH or peak <= task.mem_mb * 1.15
    assert max(task.mem_mb for task in plan.tasks) < 300
    array = open_array(tmp_path / "d" / "layer" / "1", "zarr3")
    place = how.get("topleft", (0, 0, 0))
    for x, y in ((0, 0), (4090, 8180), (edge - 300, edge - 20)):
        shape = (min(300, edge - x), min(300, edge - y))
        columns, rows = (np.arange(b, b + n) for b, n in ((x, shape[0]), (y, shape[1])))
        if how:
            rows, columns = edge - 1 - columns, rows
        expected = tile[np.ix_(rows % 240, columns % 240)]
        found = array.read((0, place[0] + x, place[1] + y, place[2]), (1, *shape, 1))[0, :, :, 0]
        np.testing.assert_array_equal(found, expected if how else expected.T)

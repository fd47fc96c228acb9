"""Buffered readers and writers of slices, compared with a numpy array."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wkpipe import BoundingBox, Dataset, MagView, NDBoundingBox
from wkpipe.dataset.errors import WrongDtype, WrongShape
from wkpipe.errors import InputRefused, NotWritable
from wkpipe.storage.ledger import SEGMENT_SUFFIX, Ledger

pytestmark = [pytest.mark.filterwarnings("ignore:chunk shape"), pytest.mark.filterwarnings("ignore:layer em")]
FORMATS = [("zarr3", 8, 16), ("zarr3", 8, 8), ("zarr", 8, 8), ("wkw", 8, 16)]
AXES = {"plain": ("x", "y", "z"), "channels": ("c", "x", "y", "z"), "time": ("t", "x", "y", "z"), "last": ("x", "z", "y", "c", "t")}


def _mag(
    root: Path, data_format: str = "zarr3", chunk: int = 8, shard: int = 16, box: NDBoundingBox | None = None, mag: str = "1"
) -> MagView:
    dataset = Dataset(root, (4, 4, 10))
    box = BoundingBox((3, 2, 1), (29, 22, 13)) if box is None else box
    return dataset.add_layer("em", "color", data_format=data_format, bounding_box=box).add_mag(mag, chunk_shape=chunk, shard_shape=shard)


def _noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(1, 255, shape, dtype=np.uint8)


@st.composite
def _cases(draw: st.DrawFn) -> dict[str, Any]:
    data_format, chunk, shard = draw(st.sampled_from([*FORMATS, ("zarr3", 4, 16)]))
    axes = AXES[draw(st.sampled_from(["plain", "channels"] if data_format == "wkw" else sorted(AXES)))]
    others = {"c": draw(st.integers(1, 2)), "t": draw(st.integers(1, 3))}
    lengths = {axis: draw(st.integers(1, 20)) if axis in "xyz" else others[axis] for axis in axes}
    starts = {axis: draw(st.integers(0, 19)) if axis in "xyz" else draw(st.integers(0, 2)) if axis == "t" else 0 for axis in axes}
    cut = {axis: sorted((draw(st.integers(0, lengths[axis] - 1)), draw(st.integers(1, lengths[axis])))) for axis in "xyz"}
    return {
        "format": (data_format, chunk, shard),
        "box": NDBoundingBox([2 * starts[a] if a in "xyz" else starts[a] for a in axes], [lengths[a] for a in axes], axes),
        "cut": {axis: (a, max(b, a + 1)) for axis, (a, b) in cut.items()},
        "dimension": draw(st.sampled_from(["x", "y", "z", 0, 1, 2])),
        "buffer": draw(st.one_of(st.none(), st.integers(1, 24))),
        "sent": draw(st.integers(0, 3)),  # slices that are left out at the end
        "fails": draw(st.booleans()),
    }


@settings(max_examples=40)
@given(_cases())
def test_slices_arrive_where_they_belong(temporary: Path, case: dict[str, Any]) -> None:
    """Slices of any region, along any axis, with any buffer; the rest stays, also if the block ends with an error."""
    with tempfile.TemporaryDirectory(dir=temporary) as root:
        data_format, chunk, shard = case["format"]
        box: NDBoundingBox = case["box"]
        mag = _mag(Path(root, "ds"), data_format, chunk, shard, box)
        axes = mag.info.axes
        dimension = case["dimension"] if isinstance(case["dimension"], str) else "xyz"[case["dimension"]]
        expected = _noise(mag.read().shape)
        mag.write(expected, allow_unaligned=True)
        first = [box.bounds(axis)[0] + case["cut"][axis][0] for axis in "xyz"]
        region = BoundingBox(first, [case["cut"][axis][1] - case["cut"][axis][0] for axis in "xyz"])
        inside = expected[tuple(slice(*case["cut"][axis]) if axis in "xyz" else slice(None) for axis in axes)]
        new = _noise(inside.shape, 1)
        slices = _in_order(new, axes, dimension)
        slices = slices[: max(0, len(slices) - case["sent"])]
        try:
            with mag.get_buffered_slice_writer(
                case["buffer"], case["dimension"], absolute_bounding_box=region, allow_unaligned=True
            ) as writer:
                for voxels in slices:
                    writer.send(voxels)
                if case["fails"]:
                    raise KeyError("in the block")
        except KeyError:
            assert case["fails"]
        for target, voxels in zip(_in_order(inside, axes, dimension), slices, strict=False):
            target[...] = voxels  # `inside` is a part of `expected`
        assert (mag.read() == expected).all()
        with mag.get_buffered_slice_reader(case["buffer"], case["dimension"], absolute_bounding_box=region) as reader:
            read = list(reader)
        wanted = _in_order(inside, axes, dimension)
        assert len(read) == len(wanted) == len(mag.get_buffered_slice_reader(None, case["dimension"], absolute_bounding_box=region))
        assert all((a == b).all() and a.shape == b.shape for a, b in zip(read, wanted, strict=True))
        assert not [path for path in Path(root, "ds/.wkpipe/tmp").rglob("*") if path.is_file()]


def _in_order(voxels: np.ndarray[Any, Any], axes: tuple[str, ...], dimension: str) -> list[np.ndarray[Any, Any]]:
    """Return views of all slices: position after position along t, and along the dimension in each."""
    times = range(voxels.shape[axes.index("t")]) if "t" in axes else [None]
    found = []
    for time in times:
        for at in range(voxels.shape[axes.index(dimension)]):
            index = [
                at if axis == dimension else slice(time, time + 1) if axis == "t" and time is not None else slice(None) for axis in axes
            ]
            found.append(voxels[tuple(index)])
    return found


@pytest.mark.parametrize("data_format,chunk,shard", FORMATS)
def test_each_unit_is_replaced_once(tmp_path: Path, data_format: str, chunk: int, shard: int) -> None:
    mag = _mag(tmp_path / "ds", data_format, chunk, shard, BoundingBox((0, 0, 0), (32, 16, 32)))
    with mag.get_buffered_slice_writer(buffer_size=3) as writer:
        for z in range(32):
            writer.send(np.full((32, 16), z + 1, np.uint8))
            if z == shard - 2 and mag.info.shard_shape != mag.info.chunk_shape:
                assert mag.read().max() == 0, "nothing is written before a storage shard is complete"
    records = Ledger.load(tmp_path / "ds/.wkpipe/ledger/em/1").records
    lines = [line for path in (tmp_path / "ds/.wkpipe/ledger/em/1").glob(f"*{SEGMENT_SUFFIX}") for line in path.read_bytes().splitlines()]
    assert (mag.read()[0, 0, 0] == np.arange(1, 33)).all()
    assert len(lines) == 2 * len(records)  # dirty, then written


def test_slices_of_different_sizes_leave_the_rest(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "ds", box=BoundingBox((0, 0, 0), (32, 32, 16)))
    expected = _noise((1, 32, 32, 16))
    mag.write(expected)
    with mag.get_buffered_slice_writer(absolute_offset=(3, 0, 2), allow_unaligned=True) as writer:
        for z, (x, y) in enumerate([(29, 32), (4, 5), (4, 5), (20, 3)], 2):
            voxels = _noise((x, y), z)
            writer.send(voxels)
            expected[0, 3 : 3 + x, :y, z] = voxels
    assert (mag.read() == expected).all()


def test_the_offset_can_be_changed(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "ds", box=BoundingBox((0, 0, 0), (16, 16, 48)))
    with mag.get_buffered_slice_writer() as writer:
        for z in range(16):
            writer.send(np.full((16, 16), z + 1, np.uint8))
        writer.reset_offset(absolute_offset=(0, 0, 32))
        for z in range(16):
            writer.send(np.full((16, 16), z + 33, np.uint8))
    assert mag.read()[0, 0, 0].tolist() == [*range(1, 17), *[0] * 16, *range(33, 49)]


def test_in_a_coarser_mag(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "ds", box=BoundingBox((64, 32, 0), (32, 32, 8)), mag="2-2-1")
    voxels = _noise((16, 16, 8))
    with mag.get_buffered_slice_writer(absolute_bounding_box=BoundingBox((64, 32, 0), (32, 32, 8))) as writer:
        for z in range(8):
            writer.send(voxels[..., z])
    assert (mag.read()[0] == voxels).all()


def _send(mag: MagView, slices: list[np.ndarray[Any, Any]], **values: Any) -> None:
    with mag.get_buffered_slice_writer(**values) as writer:
        for voxels in slices:
            writer.send(voxels)


@pytest.mark.parametrize(
    "values,sent,error,text",
    [
        ({"dimension": "c"}, [], WrongShape, "x, y, z, 0, 1 or 2"),
        ({"buffer_size": 0}, [], WrongShape, "positive integer"),
        ({"absolute_offset": (0, 0, 3)}, [], InputRefused, "cuts a storage shard"),
        ({"absolute_offset": (0, 0, 64)}, [], InputRefused, "beyond"),
        ({"absolute_bounding_box": BoundingBox((0, 0, 0), (64, 32, 32))}, [], InputRefused, "beyond"),
        ({}, [(32, 32, 1, 1)], WrongShape, "4 axes"),
        ({}, [(40, 32)], WrongShape, "length 40 along x"),
        ({}, [(3, 32)], InputRefused, "cuts a storage shard"),
        ({}, [(32, 32)] * 3, InputRefused, "z = 3"),
        ({}, [(32, 32)] * 33, WrongShape, "32 slices"),
    ],
)
def test_wrong_slices_are_refused(tmp_path: Path, values: dict[str, Any], sent: list[Any], error: type[Exception], text: str) -> None:
    mag = _mag(tmp_path / "ds", box=BoundingBox((0, 0, 0), (32, 32, 32)))
    with pytest.raises(error, match=text):
        _send(mag, [np.ones(shape, np.uint8) for shape in sent], **values)
    assert bool(mag.read().any()) == (len(sent) > 16)


def test_wrong_types_and_targets_are_refused(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "ds", box=BoundingBox((0, 0, 0), (32, 32, 32)))
    with pytest.raises(WrongDtype, match="float32"):
        _send(mag, [np.ones((32, 32), np.float32)])
    with pytest.raises(WrongShape, match="with block"):
        mag.get_buffered_slice_writer().send(np.ones((32, 32), np.uint8))
    with pytest.raises(NotWritable):
        Dataset.open(tmp_path / "ds", read_only=True).get_layer("em").get_mag(1).get_buffered_slice_writer()
    with pytest.raises(InputRefused, match="empty"):
        _mag(tmp_path / "empty", box=BoundingBox((0, 0, 0), (0, 0, 0))).get_buffered_slice_reader()
    assert not mag.read().any()

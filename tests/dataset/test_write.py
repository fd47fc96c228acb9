"""Reading and writing of views, compared with a numpy array of the whole layer."""

from __future__ import annotations

import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.content import content_of
from tests.waits import Waits
from wkpipe import BoundingBox, Dataset, Layer, Mag, MagView, NDBoundingBox
from wkpipe.errors import InputRefused, NotWritable
from wkpipe.storage import disk, names
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.record import DIRTY, WRITTEN
from wkpipe.stored.locations import Locations

BOX = BoundingBox((3, 2, 1), (29, 22, 13))
FORMATS = [("zarr3", 8, 16), ("zarr3", 8, 8), ("zarr", 8, 8), ("wkw", 8, 16)]
pytestmark = pytest.mark.filterwarnings("ignore:chunk shape")


def _layer(root: Path, data_format: str = "zarr3", box: NDBoundingBox | None = BOX, dtype: str = "uint8", category: str = "color") -> Layer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # for channels that viewers do not show
        return Dataset(root, (4, 4, 10)).add_layer("em", category, dtype=dtype, data_format=data_format, bounding_box=box)


def _mag(root: Path, data_format: str = "zarr3", chunk: int = 8, shard: int = 16, compress: bool = True, **values: Any) -> MagView:
    return _layer(root, data_format, **values).add_mag(1, chunk_shape=chunk, shard_shape=shard, compress=compress)


def _noise(shape: tuple[int, ...], dtype: str = "uint8", seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(1, 100, shape).astype(dtype)


def _files(mag: MagView) -> dict[str, bytes]:
    return {
        path.relative_to(mag.path).as_posix(): content_of(path) for path in mag.path.rglob("*") if path.is_file() and path.name != ".zattrs"
    }


# -- against numpy --------------------------------------------------------------------------------------------------


@st.composite
def _writes(draw: st.DrawFn) -> dict[str, Any]:
    data_format, chunk, shard = draw(st.sampled_from([*FORMATS, ("zarr3", 4, 16), ("wkw", 4, 8), ("zarr", 16, 16)]))
    dtype = draw(st.sampled_from(["uint8", "uint16", "int32", "uint64", "float32"]))
    others = draw(st.sampled_from([[], [("c", 2)], [("t", 2)], [("t", 2), ("c", 3)]]))
    if data_format == "wkw":
        others = [axis for axis in others if axis[0] == "c"]
    box = [(draw(st.integers(0, 9)), draw(st.integers(1, 24))) for _ in "xyz"]
    mag = Mag([draw(st.sampled_from([1, 2])) for _ in "xyz"])
    writes = []
    for seed in range(draw(st.integers(1, 3))):
        corners = [sorted((draw(st.integers(0, size - 1)), draw(st.integers(0, size - 1)))) for _, size in box]
        writes.append((seed, corners, draw(st.booleans())))
    return {
        "data_format": data_format,
        "chunk": chunk,
        "shard": shard,
        "dtype": dtype,
        "others": others,
        "box": box,
        "mag": mag,
        "writes": writes,
        "compress": draw(st.booleans()),
    }


@settings(max_examples=20)
@given(_writes())
@pytest.mark.filterwarnings("ignore")
def test_any_writes_give_what_numpy_gives(temporary: Path, case: dict[str, Any]) -> None:
    axes = (*(axis for axis, _ in case["others"]), "x", "y", "z")
    topleft = [0] * len(case["others"]) + [first for first, _ in case["box"]]
    size = [n for _, n in case["others"]] + [n for _, n in case["box"]]
    box = NDBoundingBox(topleft, size, axes)
    category = "segmentation" if case["dtype"] == "uint64" else "color"
    with tempfile.TemporaryDirectory(dir=temporary) as root:
        layer = _layer(Path(root) / "d", case["data_format"], box, case["dtype"], category)
        mag = layer.add_mag(case["mag"], chunk_shape=case["chunk"], shard_shape=case["shard"], compress=case["compress"])
        shape = mag.read().shape
        oracle = np.zeros(shape, case["dtype"])
        factors = np.array(mag.mag.to_tuple())
        first = np.array(mag.bounding_box.topleft_xyz)
        for seed, corners, is_zero in case["writes"]:
            low = [a // f for (a, _), f in zip(corners, factors, strict=True)]
            high = [min(b // f + 1, n) for (_, b), f, n in zip(corners, factors, shape[-3:], strict=True)]
            data = _noise((*shape[:-3], *(b - a for a, b in zip(low, high, strict=True))), case["dtype"], seed) * (0 if is_zero else 1)
            oracle[(..., *map(slice, low, high))] = data
            mag.write(data, absolute_offset=tuple(first + np.array(low) * factors), allow_unaligned=True)
        np.testing.assert_array_equal(mag.read(), oracle)
        np.testing.assert_array_equal(Dataset.open(Path(root) / "d").get_layer("em").get_mag(mag.mag).read(), oracle)
        low = [a // f for (a, _), f in zip(case["writes"][0][1], factors, strict=True)]
        part = mag.read(relative_offset=tuple(np.array(low) * factors), size=tuple(factors))
        np.testing.assert_array_equal(part, oracle[(..., *(slice(a, a + 1) for a in low))])


@pytest.mark.parametrize("data_format, chunk, shard", FORMATS)
@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_the_way_of_writing_does_not_show_in_the_bytes(tmp_path: Path, data_format: str, chunk: int, shard: int, compress: bool) -> None:
    voxels = _noise(BOX.size.to_tuple())
    voxels[8:24, 4:20] = 0
    once = _mag(tmp_path / "once", data_format, chunk, shard, compress)
    once.write(voxels)
    pieces = _mag(tmp_path / "pieces", data_format, chunk, shard, compress)
    pieces.write(np.full_like(voxels, 9))
    for z in range(12, -1, -5):
        part = voxels[..., max(z - 4, 0) : z + 1]
        pieces.write(part, relative_offset=(0, 0, max(z - 4, 0)), allow_unaligned=True)
    assert _files(once) == _files(pieces)
    once.write(np.zeros_like(voxels))
    assert len(_files(once)) == 1


def test_where_a_region_can_be_named(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "d")
    voxels = _noise(BOX.size.to_tuple())
    mag.write(voxels)
    expected = voxels[None, 4:10, 3:8, 2:6]
    offset, size = (7, 5, 3), (6, 5, 4)
    assert (mag.read(absolute_offset=offset, size=size) == expected).all()
    assert (mag.read(relative_offset=(4, 3, 2), size=size) == expected).all()
    assert (mag.read(absolute_bounding_box=BoundingBox(offset, size)) == expected).all()
    assert (mag.read(relative_bounding_box=BoundingBox((4, 3, 2), size)) == expected).all()
    assert (mag.read(relative_offset=(0, 0, 0), size=size) == voxels[None, :6, :5, :4]).all()
    assert (mag.read(relative_offset=(4, 3, 2)) == voxels[None, 4:, 3:, 2:]).all()
    assert (mag.read() == voxels[None]).all()
    beyond = mag.read(absolute_offset=(0, 0, 0), size=(100, 50, 20))
    assert (beyond[0, 3:32, 2:24, 1:14] == voxels).all()
    assert beyond.sum() == voxels.sum()
    for values in (
        {"absolute_offset": offset, "relative_offset": offset},
        {"absolute_bounding_box": BOX, "size": size},
        {"absolute_offset": (1, 2)},
        {"absolute_offset": (-1, 0, 0), "size": size},
        {"absolute_offset": offset, "size": (0, 1, 1)},
        {"absolute_offset": (100, 0, 0)},
        {"absolute_bounding_box": NDBoundingBox((0,) * 4, (1,) * 4, ("t", "x", "y", "z"))},
    ):
        with pytest.raises(InputRefused):
            mag.read(**values)  # type: ignore[arg-type]


def test_single_channels_and_times_can_be_written(tmp_path: Path) -> None:
    box = NDBoundingBox((0, 0, 0, 0, 0), (2, 3, 16, 16, 16), ("t", "c", "x", "y", "z"))
    mag = _mag(tmp_path / "d", box=box)
    data = _noise((1, 1, 16, 16, 16))
    mag.write(data, absolute_bounding_box=box.with_bounds("t", 1, 1).with_bounds("c", 2, 1))
    found = mag.read()
    assert (found[1:, 2:] == data).all()
    assert found.sum() == data.sum()
    assert (mag.read(absolute_bounding_box=NDBoundingBox((1, 2), (1, 1), ("t", "c"))) == data).all()
    mag.write(_noise((1, 3, 4, 4, 4)), absolute_offset=(1, 0, 4, 4, 4), allow_unaligned=True)
    assert (mag.read(absolute_offset=(1, 0, 4, 4, 4), size=(1, 3, 4, 4, 4)) == _noise((1, 3, 4, 4, 4))).all()


def test_coordinates_are_those_of_mag_1(tmp_path: Path) -> None:
    mag = _layer(tmp_path / "d").add_mag("4-4-2", chunk_shape=8, shard_shape=16)
    assert mag.bounding_box == BoundingBox((0, 0, 0), (32, 24, 14))
    mag.write(_noise((2, 2, 2)), absolute_offset=(4, 8, 2), allow_unaligned=True)
    assert (mag.read(absolute_offset=(4, 8, 2), size=(8, 8, 4))[0] == _noise((2, 2, 2))).all()
    with pytest.raises(InputRefused, match="not aligned with mag 4-4-2"):
        mag.read(absolute_offset=(2, 0, 0), size=(4, 4, 2))
    with pytest.raises(InputRefused, match="not aligned"):
        mag.write(_noise((1, 1, 1)), absolute_offset=(4, 4, 1), allow_unaligned=True)


# -- refusals -------------------------------------------------------------------------------------------------------


def test_data_that_do_not_fit(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "d", dtype="int32")
    shape = BOX.size.to_tuple()
    with pytest.raises(TypeError, match="int64, which cannot be stored as int32 without loss, found values from 5 to 4294967296"):
        mag.write(np.where(np.arange(np.prod(shape)).reshape(shape) == 7, 2**32, 5))
    with pytest.raises(TypeError):
        mag.write(np.zeros(shape, np.float32))
    mag.write(_noise(shape, ">i2"))
    assert (mag.read()[0] == _noise(shape)).all()
    for data in (np.zeros((4, 4), np.int32), np.zeros((2, *shape), np.int32), np.zeros((1, 1, *shape), np.int32)):
        with pytest.raises(InputRefused):
            mag.write(data)
    with pytest.raises(InputRefused, match="the data have the shape"):
        mag.write(np.zeros((1, 2, 3), np.int32), absolute_bounding_box=BoundingBox((3, 2, 1), (3, 2, 1)), allow_unaligned=True)
    with pytest.raises(InputRefused, match="empty"):
        mag.write(np.zeros((0, 2, 3), np.int32))


@pytest.mark.parametrize("dtype, given", [("uint8", "int64"), ("int8", "uint64"), ("uint32", "int8"), ("uint16", "int16")])
def test_integers_of_another_type_are_taken_if_no_value_changes(tmp_path: Path, dtype: str, given: str) -> None:
    mag = _mag(tmp_path / "d", dtype=dtype)
    limits, own = np.iinfo(dtype), np.iinfo(given)
    low, high = max(limits.min, own.min), min(limits.max, own.max)
    voxels = np.full(BOX.size.to_tuple(), low, given)
    voxels[0, 0, 0] = high
    mag.write(voxels)
    assert (mag.read()[0] == voxels).all()
    for beyond in (high + 1, low - 1):
        if own.min <= beyond <= own.max:
            voxels[1, 0, 0] = beyond
            with pytest.raises(TypeError, match=f"{given}, which cannot be stored as {dtype} without loss"):
                mag.write(voxels)


def test_regions_outside_of_the_box_need_a_word(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "d")
    with pytest.raises(ValueError, match="allow_resize"):
        mag.write(_noise((16, 16, 16)), absolute_offset=(32, 16, 0))
    assert mag.layer.bounding_box == BOX
    mag.write(_noise((16, 16, 16)), absolute_offset=(32, 16, 0), allow_resize=True)
    assert mag.layer.bounding_box == BoundingBox((3, 2, 0), (45, 30, 16))
    assert (mag.read(absolute_offset=(32, 16, 0), size=(16, 16, 16))[0] == _noise((16, 16, 16))).all()


@pytest.mark.parametrize("data_format, chunk, shard", FORMATS)
def test_a_layer_without_a_box_grows_with_what_is_written(tmp_path: Path, data_format: str, chunk: int, shard: int) -> None:
    mag = _mag(tmp_path / "d", data_format, chunk, shard, box=None)
    with pytest.raises(InputRefused, match="empty"):
        mag.read()
    mag.write(_noise((20, 9, 5)), absolute_offset=(30, 0, 7), allow_resize=True, allow_unaligned=True)
    assert mag.layer.bounding_box == BoundingBox((30, 0, 7), (20, 9, 5))
    assert (mag.read()[0] == _noise((20, 9, 5))).all()


def test_borders_must_not_cut_shards_unless_said(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "d")
    mag.write(_noise((13, 14, 13)), absolute_offset=(3, 2, 1))  # from the box's corner to borders of shards, and to its end in z
    mag.write(_noise((16, 8, 13)), absolute_offset=(16, 16, 1))
    for offset, shape in [((4, 2, 1), (12, 14, 13)), ((3, 2, 1), (12, 14, 13)), ((3, 2, 1), (13, 14, 12))]:
        with pytest.raises(ValueError, match="cuts a storage shard"):
            mag.write(_noise(shape), absolute_offset=offset)
        mag.write(_noise(shape), absolute_offset=offset, allow_unaligned=True)


def test_raw_wkw_only_warns_of_cut_shards(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "d", "wkw", 8, 16, compress=False)
    with pytest.warns(UserWarning, match="cuts a storage shard"):
        mag.write(_noise((5, 5, 5)))
    with pytest.raises(ValueError, match="cuts"):
        mag.layer.add_mag(2, chunk_shape=8, shard_shape=16).write(_noise((5, 5, 5)))


# -- views ----------------------------------------------------------------------------------------------------------


def test_views_of_a_part(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "d")
    voxels = _noise(BOX.size.to_tuple())
    mag.write(voxels)
    view = mag.get_view(absolute_offset=(16, 2, 1), size=(16, 14, 13))
    assert view.bounding_box == BoundingBox((16, 2, 1), (16, 14, 13))
    assert (view.read()[0] == voxels[13:, :14]).all()
    assert (view.read(relative_offset=(1, 1, 1), size=(2, 2, 2))[0] == voxels[14:16, 1:3, 1:3]).all()
    view.write(np.full((16, 14, 13), 5, np.uint8))
    voxels[13:, :14] = 5
    assert (mag.read()[0] == voxels).all()
    part = view.get_view(relative_offset=(4, 4, 4), size=(4, 4, 4), read_only=True)
    assert (part.read() == 5).all()
    with pytest.raises(NotWritable):
        part.write(np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(NotWritable):
        part.get_view(read_only=False)
    with pytest.raises(InputRefused, match="beyond the view"):
        view.write(voxels, absolute_offset=(3, 2, 1), allow_resize=True)
    with pytest.raises(InputRefused, match="reaches beyond"):
        view.get_view(absolute_bounding_box=BOX)
    assert (view.get_view(absolute_bounding_box=BOX, read_only=True).read()[0] == voxels).all()
    with pytest.raises(ValueError, match="cuts a storage shard"):
        view.get_view(relative_offset=(0, 0, 0), size=(16, 14, 13)).write(np.zeros((15, 14, 13), np.uint8))


# -- crashes and others at work -------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
@pytest.mark.parametrize("call", ["write_at", "write", "sync", "rename", "sync_file_system"])
def test_a_writer_that_dies_leaves_the_old_voxels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_format: str, call: str) -> None:
    """Each call that changes the disk fails in turn; every shard then has only old voxels or only new ones."""
    mag = _mag(tmp_path / "d", data_format, 8, 8)
    old, new = _noise(BOX.size.to_tuple()), _noise(BOX.size.to_tuple(), seed=1)
    mag.write(old)
    before = _files(mag)
    seam = names if call == "rename" else disk
    real = getattr(seam, call)
    countdown = [6]

    def fail(*values: Any) -> Any:
        countdown[0] -= 1
        if countdown[0] == 0:
            raise NotWritable("the disk is full")
        return real(*values)

    with monkeypatch.context() as patched:
        patched.setattr(seam, call, fail)
        try:
            mag.write(new)
        except NotWritable:
            files = _files(mag)
            assert set(files) == set(before)
            found = mag.read()[0]
            changed = 0
            for part in BoundingBox(BOX.topleft, BOX.size).chunk((8, 8, 8), (8, 8, 8)):
                slices = part.offset([-value for value in BOX.topleft]).to_slices()
                is_new = bool((found[slices] == new[slices]).all())
                assert is_new or (found[slices] == old[slices]).all()
                changed += is_new
            assert changed < 40
        else:
            assert countdown[0] > 0
    scratch = tmp_path / "d" / ".wkpipe" / "tmp"
    assert not list(scratch.glob("*.tmp"))
    assert not list((tmp_path / "d" / ".wkpipe" / "locks").glob("*.lock"))
    mag.write(new)
    mag.layer.downsample(coarsest_mag=2)
    assert (mag.read()[0] == new).all()


def test_the_next_run_checks_interrupted_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mag = _mag(tmp_path / "d")
    mag.write(_noise(BOX.size.to_tuple()))
    mag.layer.downsample(coarsest_mag=2)
    ledger = Locations.of(tmp_path / "d").ledger("em", Mag(1)).path()
    origins = {record.origin for record in Ledger.load(ledger).records.values()}
    assert origins == {WRITTEN}
    real = names.rename

    def rename(source: Path, target: Path) -> None:
        real(source, target)
        if mag.path in target.parents:
            raise NotWritable("killed just after the rename")

    with monkeypatch.context() as patched:
        patched.setattr(names, "rename", rename)
        with pytest.raises(NotWritable):
            mag.write(np.full(BOX.size.to_tuple(), 50, np.uint8))
    origins = {record.origin for record in Ledger.load(ledger).records.values()}
    assert origins == {WRITTEN, DIRTY}
    mag.layer.downsample(coarsest_mag=2)
    voxels = mag.read()[0]
    assert {5, 50} & set(np.unique(voxels)) >= {50}
    fresh = _mag(tmp_path / "fresh")
    fresh.write(voxels)
    fresh.layer.downsample(coarsest_mag=2)
    assert [str(mag) for mag in fresh.layer.mags] == [str(mag) for mag in mag.layer.mags]
    coarse = list(mag.layer.mags)[-1]
    assert _files(mag.layer.get_mag(coarse)) == _files(fresh.layer.get_mag(coarse))


def test_writers_of_one_shard_do_not_undo_each_other(tmp_path: Path) -> None:
    _mag(tmp_path / "d", box=BoundingBox((0, 0, 0), (16, 16, 16)))

    def write(z: int) -> None:
        mag = Dataset.open(tmp_path / "d").get_layer("em").get_mag(1)
        mag.write(np.full((16, 16, 1), z + 1, np.uint8), absolute_offset=(0, 0, z), allow_unaligned=True)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(16)))
    found = Dataset.open(tmp_path / "d").get_layer("em").get_mag(1).read()
    assert found[0, 0, 0].tolist() == list(range(1, 17))
    assert (found == found[:, :1, :1]).all()


def test_a_small_write_waits_for_the_disk_only_as_often_as_its_protocol_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock's content, and the file and its directory of both records and of the data: others would make small writes slow."""
    mag = _mag(tmp_path / "d", box=BoundingBox((0, 0, 0), (16, 16, 16)))
    data = np.ones((8, 8, 8), np.uint8)
    mag.write(data, allow_unaligned=True)
    waits = Waits(monkeypatch)
    mag.write(data, absolute_offset=(8, 8, 8), allow_unaligned=True)
    assert waits.count == 4 + 3


def test_many_small_writes_do_not_litter(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "d", box=BoundingBox((0, 0, 0), (16, 16, 16)))
    for i in range(70):
        mag.write(np.full((1, 1, 1), i + 1, np.uint8), absolute_offset=(i % 16, 0, 0), allow_unaligned=True)
    ledger = Locations.of(tmp_path / "d").ledger("em", Mag(1)).path()
    assert len(list(ledger.iterdir())) < 20
    assert [record.origin for record in Ledger.load(ledger).records.values()] == [WRITTEN]


def test_a_handle_sees_what_another_one_wrote(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "d", box=None)
    other = Dataset.open(tmp_path / "d").get_layer("em").get_mag(1)
    for end in (16, 32):
        mag.write(_noise((end, 16, 16), seed=end), absolute_offset=(0, 0, 0), allow_resize=True)
        assert (other.read()[0] == _noise((end, 16, 16), seed=end)).all()
    mag.layer.delete_mag(1)
    with pytest.raises(IndexError):
        other.read()


def test_a_wkw_file_with_another_compression_is_recoded(tmp_path: Path) -> None:
    raw = _mag(tmp_path / "raw", "wkw", 8, 16, compress=False)
    raw.write(_noise(BOX.size.to_tuple()))
    packed = _mag(tmp_path / "packed", "wkw", 8, 16)
    packed.write(_noise(BOX.size.to_tuple()))
    mixed = _files(packed)
    for name, data in _files(raw).items():
        if name.startswith("z0/y0"):
            (packed.path / name).write_bytes(data)
    packed.write(np.full((1, 1, 1), _noise(BOX.size.to_tuple())[0, 0, 0], np.uint8), allow_unaligned=True)
    assert _files(packed)["z0/y0/x0.wkw"] == mixed["z0/y0/x0.wkw"]
    assert (packed.read()[0] == _noise(BOX.size.to_tuple())).all()

"""Views: axes c, x, y, z, lone sizes, what is stored, zarr arrays, and lost units."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.small_datasets import make_small_dataset
from wkpipe import BoundingBox, Dataset, Layer, MagView, NDBoundingBox
from wkpipe.dataset.errors import WrongShape
from wkpipe.errors import InputRefused, MissingShard, NotWritable, WrongGeometry
from wkpipe.storage.ledger import SEGMENT_SUFFIX

pytestmark = pytest.mark.filterwarnings("ignore:chunk shape")


def _mag(root: Path, box: NDBoundingBox, data_format: str = "zarr3", mag: str = "1", shard: int = 16, **values: Any) -> MagView:
    layer = Dataset(root, (4, 4, 10), exist_ok=True).add_layer("em", "color", data_format=data_format, bounding_box=box, **values)
    return layer.add_mag(mag, chunk_shape=8, shard_shape=shard)


@pytest.mark.filterwarnings("ignore:layer em")
@pytest.mark.parametrize(
    "axes", [("x", "y", "z"), ("c", "x", "y", "z"), ("t", "x", "y", "z"), ("x", "z", "y", "c", "t"), ("z", "t", "y", "x")]
)
def test_cxyz_in_any_storage_order(tmp_path: Path, axes: tuple[str, ...]) -> None:
    sizes = {"x": 20, "y": 12, "z": 7, "c": 2, "t": 3}
    mag = _mag(tmp_path / "ds", NDBoundingBox([0] * len(axes), [sizes[axis] for axis in axes], axes))
    channels = 2 if "c" in axes else 1
    voxels = np.random.default_rng(0).integers(1, 99, (channels, 20, 12, 7), dtype=np.uint8)
    frame = NDBoundingBox([2 if axis == "t" else 0 for axis in axes], [1 if axis == "t" else sizes[axis] for axis in axes], axes)
    mag.write_cxyz(voxels, absolute_bounding_box=frame)
    assert (mag.read_cxyz(absolute_bounding_box=frame) == voxels).all()
    stored = mag.read(absolute_bounding_box=frame)
    order = mag.info.axes
    assert stored.shape == tuple({**sizes, "c": channels, "t": 1}[axis] for axis in order)
    at = [1 if axis == "c" and channels == 2 else {"x": 3, "y": 4, "z": 5}.get(axis, 0) for axis in order]
    assert stored[tuple(at)] == voxels[channels - 1, 3, 4, 5]
    assert mag.read_xyz(absolute_bounding_box=frame).shape[-3:] == (20, 12, 7)
    if "t" in axes:
        assert not mag.read().sum(axis=tuple(i for i, axis in enumerate(order) if axis != "t"))[:2].any()
        for call in (mag.read_cxyz, lambda: mag.write_cxyz(voxels), lambda: mag.write_cxyz(voxels, absolute_offset=(0, 0, 0))):
            with pytest.raises(WrongShape, match="along t"):
                call()


@pytest.mark.filterwarnings("ignore:layer em")
def test_normalized_boxes_have_the_channels(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "ds", BoundingBox((3, 0, 0), (13, 16, 16)), mag="2-2-1", num_channels=2)
    assert list(mag.normalized_bounding_box.axes) == ["c", "x", "y", "z"]
    assert mag.normalized_bounding_box.topleft.to_tuple() == (0, 2, 0, 0)
    assert mag.normalized_bounding_box.size.to_tuple() == (2, 14, 16, 16)
    assert mag.layer.normalized_bounding_box.size.to_tuple() == (2, 13, 16, 16)
    assert mag.layer.normalized_bounding_box == mag.layer.bounding_box
    view = mag.get_view(relative_offset=(4, 0, 0), size=(2, 2, 1))
    assert view.normalized_bounding_box.get_bounds("c") == (0, 2)
    assert view.normalized_bounding_box.denormalize() == view.bounding_box
    (tmp_path / "link").symlink_to("ds")
    linked = Dataset.open(tmp_path / "link")
    assert (linked.path, linked.resolved_path) == (tmp_path / "link", tmp_path / "ds")
    assert linked.get_layer("em").resolved_path == tmp_path / "ds" / "em"
    movie = NDBoundingBox((0, 0, 0, 0), (3, 16, 16, 8), ("t", "x", "y", "z"))
    frames = Dataset(tmp_path / "movie", (4, 4, 10)).add_layer("em", "color", bounding_box=movie).add_mag(1)
    assert list(frames.normalized_bounding_box.axes) == ["t", "x", "y", "z"]


@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
def test_the_box_of_an_array_starts_at_0_and_ends_with_it(tmp_path: Path, data_format: str) -> None:
    shard = 8 if data_format == "zarr" else 16
    mag = _mag(tmp_path / "ds", BoundingBox((40, 0, 8), (20, 30, 9)), data_format, "2-2-1", shard, num_channels=3)
    box = mag.info.bounding_box
    assert box.axes == ("c", "x", "y", "z") == mag.info.axes
    assert (box.topleft.to_tuple(), box.size.to_tuple()) == ((0, 0, 0, 0), mag.info.shape)
    assert box.size.c == 3


def test_all_of_an_empty_layer_is_an_empty_view(tmp_path: Path) -> None:
    mag = Dataset(tmp_path / "ds", (4, 4, 10)).add_layer("em", "color").add_mag(1)
    assert mag.get_view().bounding_box.is_empty()
    with pytest.raises(WrongGeometry, match="is empty"):
        mag.get_view(relative_offset=(0, 0, 0), size=(0, 0, 0))


@pytest.mark.parametrize("data_format", ["n5", "neuroglancerPrecomputed"])
def test_formats_that_are_only_read_refuse_writes_like_a_read_only_dataset(tmp_path: Path, data_format: str) -> None:
    mag = Dataset.open(make_small_dataset(tmp_path / "ds", data_format)).get_layer("color").get_mag(1)
    assert mag.data_format == data_format
    with pytest.raises(NotWritable) as error:
        mag.write(np.zeros((3, 24, 24, 24), np.uint8), absolute_offset=(0, 0, 0))
    assert isinstance(error.value, RuntimeError)


def test_cxyz_needs_four_axes(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "ds", BoundingBox((0, 0, 0), (16, 16, 16)))
    with pytest.raises(AssertionError, match=r"shape \(16, 16, 16\)"):
        mag.write_cxyz(np.ones((16, 16, 16), np.uint8))
    mag.write_cxyz(np.ones((1, 32, 16, 16), np.uint8), allow_resize=True)
    assert mag.layer.bounding_box.size_of("x") == 32


def test_a_lone_size_counts_voxels_of_the_mag(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "ds", BoundingBox((8, 8, 8), (32, 32, 16)), mag="2-2-1")
    with pytest.warns(DeprecationWarning, match="voxels of the mag") as caught:
        assert mag.read((4, 4, 4)).shape == (1, 4, 4, 4)
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="voxels of the mag"):
        assert mag.get_view((4, 4, 4)).bounding_box == BoundingBox((8, 8, 8), (8, 8, 4))
    assert mag.read((4, 4, 4), relative_offset=(0, 0, 0)).shape == (1, 2, 2, 4)
    assert mag.read_cxyz((4, 4, 4), absolute_offset=(8, 8, 8)).shape == (1, 2, 2, 4)


# -- what is stored -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format,edge", [("zarr3", 16), ("zarr", 8), ("wkw", 16)])
def test_boxes_on_disk(tmp_path: Path, data_format: str, edge: int) -> None:
    box = BoundingBox((4, 4, 0), (100, 60, 20))
    mag = _mag(tmp_path / "ds", box, data_format, "2-2-1", edge)
    assert list(mag.get_bounding_boxes_on_disk()) == []
    for at in ((4, 4, 0), (80, 40, 16)):
        mag.write(np.ones((2, 2, 2), np.uint8), absolute_offset=at, allow_unaligned=True)
    size = (2 * edge, 2 * edge, edge)
    corners = {tuple(a // n * n for a, n in zip(at, size, strict=True)) for at in ((4, 4, 0), (80, 40, 16))}
    assert set(mag.get_bounding_boxes_on_disk()) == {BoundingBox(corner, size) for corner in corners}
    views = list(mag.get_views_on_disk(read_only=True))
    assert all(box.contains_bbox(view.bounding_box) and view.read_only and view.read().any() for view in views)
    assert len(views) == 2


def test_boxes_on_disk_with_more_axes(tmp_path: Path) -> None:
    box = NDBoundingBox((1, 0, 0, 0), (3, 20, 20, 20), ("t", "x", "y", "z"))
    mag = _mag(tmp_path / "ds", box)
    frame = NDBoundingBox((2, 0, 0, 0), (1, 4, 4, 4), box.axes)
    mag.write(np.ones((1, 4, 4, 4), np.uint8), absolute_bounding_box=frame, allow_unaligned=True)
    assert list(mag.get_bounding_boxes_on_disk()) == [NDBoundingBox((2, 0, 0, 0), (1, 16, 16, 16), box.axes)]


@pytest.mark.parametrize("data_format", ["zarr3", "zarr"])
def test_zarr_sees_the_same_voxels(tmp_path: Path, data_format: str) -> None:
    mag = _mag(tmp_path / "ds", BoundingBox((0, 0, 0), (20, 12, 7)), data_format, shard=8 if data_format == "zarr" else 16)
    voxels = np.random.default_rng(0).integers(1, 99, (1, 20, 12, 7), dtype=np.uint8)
    mag.write(voxels)
    array = mag.get_zarr_array()
    assert (array[:, :20, :12, :7] == voxels).all()
    array[0, 3, 4, 5] = 200
    assert mag.read()[0, 3, 4, 5] == 200
    frozen = Dataset.open(tmp_path / "ds", read_only=True).get_layer("em").get_mag(1).get_zarr_array()
    with pytest.raises(ValueError, match="read-only"):
        frozen[0, 0, 0, 0] = 1


def test_wkw_is_no_zarr_array(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="found wkw"):
        _mag(tmp_path / "ds", BoundingBox((0, 0, 0), (16, 16, 16)), "wkw").get_zarr_array()


def test_a_mag_behind_a_link_is_foreign(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "ds", BoundingBox((0, 0, 0), (16, 16, 16)))
    assert not mag.is_foreign
    assert mag.data_format == "zarr3"
    (tmp_path / "ds/em/1").rename(tmp_path / "elsewhere")
    (tmp_path / "ds/em/1").symlink_to(tmp_path / "elsewhere")
    layer = Dataset.open(tmp_path / "ds").get_layer("em")
    assert layer.get_mag(1).is_foreign
    assert layer.is_mag_view_foreign(layer.get_mag(1))
    assert not layer.is_foreign


# -- lost units -----------------------------------------------------------------------------------------------------


def _converted(root: Path, data_format: str) -> Layer:
    (root / "slices").mkdir()
    for z in range(20):
        tifffile.imwrite(root / f"slices/{z:02}.tif", np.full((40, 40), 7, np.uint8))
    shapes = {"chunk_shape": 8} if data_format == "zarr" else {"chunk_shape": 8, "shard_shape": 16}
    dataset = Dataset.from_images(
        root / "slices", root / "ds", (4, 4, 40), layer_name="em", data_format=data_format, downsample=False, **shapes
    )
    return dataset.get_layer("em")


def _lose(layer: Layer) -> None:
    """Remove the files of the last unit, and the records of all; the recipe stays."""
    metadata = ("zarr.json", ".zarray", ".zattrs", "header.wkw")
    files = sorted(path for path in layer.get_mag(1).path.rglob("*") if path.is_file() and path.name not in metadata)
    for path in files if layer.data_format == "zarr" else files[-1:]:
        path.unlink()
    for path in (layer.dataset.path / ".wkpipe/ledger/em/1").glob(f"*{SEGMENT_SUFFIX}"):
        path.unlink()


@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
def test_a_lost_unit_without_its_record_is_no_black_one(tmp_path: Path, data_format: str) -> None:
    layer = _converted(tmp_path, data_format)
    mag = layer.get_mag(1)
    assert mag.read().all()
    layer.bounding_box = BoundingBox((0, 0, 0), (60, 40, 20))  # the new part was never made: it is empty
    assert not mag.read(absolute_offset=(48, 0, 0), size=(12, 40, 20)).any()
    _lose(layer)
    for handle in (layer, Dataset.open(tmp_path / "ds").get_layer("em")):
        with pytest.raises(MissingShard, match=r"record are gone"):
            handle.get_mag(1).read()
        if data_format != "zarr":  # there, one unit is the whole layer
            assert not handle.get_mag(1).read(absolute_offset=(48, 0, 0), size=(12, 40, 20)).any()
    if data_format != "zarr":
        assert mag.read(absolute_offset=(0, 0, 0), size=(8, 8, 8)).all()


def test_an_array_that_another_tool_made_again_may_have_holes(tmp_path: Path) -> None:
    layer = _converted(tmp_path, "zarr3")
    shutil.rmtree(layer.get_mag(1).path)
    other = _mag(tmp_path / "other", BoundingBox((0, 0, 0), (40, 40, 20)))
    shutil.copytree(other.path, layer.get_mag(1).path)
    assert not layer.get_mag(1).read().any()


def test_holes_of_a_mag_written_by_hand_are_empty(tmp_path: Path) -> None:
    mag = _mag(tmp_path / "ds", BoundingBox((0, 0, 0), (40, 40, 20)))
    mag.write(np.ones((16, 16, 16), np.uint8))
    assert mag.read().sum() == 16**3
    mag.layer.bounding_box = BoundingBox((0, 0, 0), (80, 40, 20))
    assert mag.read().sum() == 16**3


def _write(mag: MagView, voxels: np.ndarray[Any, Any], start: tuple[int, int, int], how: str) -> None:
    """Write voxels at a place, at once or slice by slice."""
    if how == "write":
        mag.write(voxels, absolute_offset=start, allow_unaligned=True)
        return
    with mag.get_buffered_slice_writer(absolute_offset=start, buffer_size=3, allow_unaligned=True) as writer:
        for z in range(voxels.shape[-1]):
            writer.send(voxels[..., z])


@pytest.mark.parametrize("how", ["write", "slices"])
@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
def test_a_lost_unit_is_not_written_in_part(tmp_path: Path, data_format: str, how: str) -> None:
    box = BoundingBox((4, 2, 2), (36, 28, 10))
    mag = _mag(tmp_path / "ds", box, data_format, shard=8 if data_format == "zarr" else 16)
    voxels = np.full((36, 28, 10), 7, np.uint8)
    mag.write(voxels)
    files = {"zarr3": "c/0/1/1/0", "zarr": "0/3/3/0", "wkw": "z0/y1/x1.wkw"}
    (mag.path / files[data_format]).unlink()
    for x, size in ((16, (16, 14, 9)), (16, (16, 13, 10)), (17, (15, 14, 10))):  # each lacks voxels along another axis
        with pytest.raises(MissingShard, match=r"write all of this storage shard at once"):
            _write(mag, voxels[: size[0], : size[1], : size[2]], (x, 16, 2), how)
    assert not (mag.path / files[data_format]).exists()
    with pytest.raises(MissingShard):
        mag.read()
    if data_format == "zarr":  # there, one unit is the whole layer
        _write(mag, voxels, (4, 2, 2), how)
    else:
        _write(mag, voxels[:4], (4, 2, 2), how)  # its neighbours may be changed
        _write(mag, voxels[:16, :14], (16, 16, 2), how)
    assert (mag.read() == 7).all()

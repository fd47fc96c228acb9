"""refresh_largest_segment_id: the largest voxel of the finest mag, in every format, in little memory."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.material import labels, material
from tests.small_datasets import FORMATS, make_small_dataset, voxels
from wkpipe import BoundingBox, Dataset, NDBoundingBox, SegmentationLayer
from wkpipe.dataset import segment_scan
from wkpipe.dataset.errors import WrongDtype, WrongShape, WrongType
from wkpipe.errors import DamagedShard, MissingShard, NotWritable
from wkpipe.formats.base import StoredArray

BOX = BoundingBox((3, 2, 1), (45, 30, 18))
SMALL: dict[str, Any] = {"chunk_shape": 8, "shard_shape": 16}
pytestmark = pytest.mark.filterwarnings("ignore:chunk shape")


def cells(path: Path, dtype: str = "uint64", box: NDBoundingBox = BOX) -> SegmentationLayer:
    layer = Dataset(path, (4, 4, 10)).add_layer("cells", "segmentation", dtype=dtype, bounding_box=box)
    assert isinstance(layer, SegmentationLayer)
    return layer


@pytest.fixture(params=[True, False], ids=["small cubes", "one cube"])
def small_cubes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param:
        monkeypatch.setattr(segment_scan, "SCAN_BYTES", 4096)
    return bool(request.param)


@pytest.mark.parametrize(
    "dtype, largest, at",
    [("uint64", 2**63 + 11, (44, 29, 17)), ("uint8", 200, (0, 0, 0)), ("int32", 2**31 - 1, (20, 15, 9)), ("int64", -3, (44, 0, 17))],
)
def test_the_largest_voxel_is_found(tmp_path: Path, dtype: str, largest: int, at: tuple[int, int, int], small_cubes: bool) -> None:
    layer = cells(tmp_path / "d", dtype)
    data = np.random.default_rng(0).integers(0 if largest > 0 else -9, 100 if largest > 0 else -3, tuple(BOX.size), dtype=dtype)
    data[at] = largest
    layer.add_mag(1, **SMALL).write(data, absolute_bounding_box=BOX)
    layer.refresh_largest_segment_id()
    assert layer.largest_segment_id == largest
    assert json.loads((tmp_path / "d" / "datasource-properties.json").read_text())["dataLayers"][0]["largestSegmentId"]


def test_only_the_layers_box_and_its_finest_mag_count(tmp_path: Path) -> None:
    layer = cells(tmp_path / "d")
    mag = layer.add_mag(2, **SMALL)
    mag.write(np.full((23, 15, 10), 5, np.uint64))
    layer.add_mag(4, **SMALL).write(np.full((12, 8, 5), 99, np.uint64))
    mag.write(np.full((2, 2, 2), 77, np.uint64), absolute_offset=(44, 28, 16), allow_unaligned=True)
    layer.bounding_box = BoundingBox((3, 2, 1), (40, 26, 14))
    layer.refresh_largest_segment_id()
    assert layer.largest_segment_id == 5


def test_nothing_to_scan(tmp_path: Path) -> None:
    layer = cells(tmp_path / "d")
    layer.largest_segment_id = 7
    layer.refresh_largest_segment_id()
    assert layer.largest_segment_id is None, "it has no mag"
    layer.add_mag(1, **SMALL)
    layer.refresh_largest_segment_id()
    assert layer.largest_segment_id == 0, "all voxels are 0"
    layer.bounding_box = BoundingBox((0, 0, 0), (0, 0, 0))
    layer.refresh_largest_segment_id()
    assert layer.largest_segment_id is None, "its box is empty"


@pytest.mark.parametrize("data_format", FORMATS)
def test_every_format(tmp_path: Path, data_format: str) -> None:
    """Those that wkpipe only reads, too."""
    root = make_small_dataset(tmp_path / data_format, data_format)
    properties = json.loads((root / "datasource-properties.json").read_text())
    properties["dataLayers"][0]["category"] = "segmentation"
    (root / "datasource-properties.json").write_text(json.dumps(properties))
    layer = Dataset.open(root).get_segmentation_layer("color")
    layer.refresh_largest_segment_id()
    assert layer.largest_segment_id == voxels().max()


def test_more_axes_and_one_channel_of_several(tmp_path: Path) -> None:
    box = NDBoundingBox((0, 0, 0, 0), (3, 20, 10, 9), ("t", "x", "y", "z"))
    layer = cells(tmp_path / "d", "uint32", box)
    data = np.random.default_rng(0).integers(0, 100, tuple(box.size), dtype=np.uint32)
    data[2, 19, 9, 8] = 2**32 - 1
    layer.add_mag(1, **SMALL).write(data, absolute_bounding_box=box)
    layer.refresh_largest_segment_id()
    assert layer.largest_segment_id == 2**32 - 1


def test_executors(tmp_path: Path) -> None:
    layer = cells(tmp_path / "d")
    data = np.arange(45 * 30 * 18, dtype=np.uint64).reshape(45, 30, 18)
    layer.add_mag(1, **SMALL).write(data)
    with ThreadPoolExecutor(2) as executor:
        layer.refresh_largest_segment_id((16, 16, 16), executor)
    assert layer.largest_segment_id == data.max()
    layer.largest_segment_id = None
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as processes:
        layer.refresh_largest_segment_id(executor=processes)
    assert layer.largest_segment_id == data.max()


def test_threads_read_cubes_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = cells(tmp_path / "d", box=BoundingBox((0, 0, 0), (64, 64, 64)))
    layer.add_mag(1, chunk_shape=16, shard_shape=64).write(np.ones((64, 64, 64), np.uint64))
    monkeypatch.setattr(segment_scan, "SCAN_BYTES", 1 << 16)
    monkeypatch.setattr(segment_scan, "cores_here", lambda: 2)
    sizes, threads = [], set()
    array = layer.get_mag(1)._array.open()
    read = type(array).read

    def watched(self: StoredArray, start: Any, shape: Any) -> Any:
        sizes.append(int(np.prod(shape)) * 8)
        threads.add(threading.get_ident())
        return read(self, start, shape)

    monkeypatch.setattr(type(array), "read", watched)
    layer.refresh_largest_segment_id()
    assert layer.largest_segment_id == 1
    assert max(sizes) <= 1 << 16
    assert sum(sizes) == 64**3 * 8
    assert threading.get_ident() not in threads


def test_refusals(tmp_path: Path) -> None:
    layer = cells(tmp_path / "d")
    layer.add_mag("2-2-1", **SMALL).write(np.full((23, 15, 18), 3, np.uint64))
    layer.largest_segment_id = 5
    with pytest.raises(WrongShape, match="not a multiple of mag 2-2-1"):
        layer.refresh_largest_segment_id((15, 16, 16))
    with pytest.raises(WrongType, match="has no method submit"):
        layer.refresh_largest_segment_id(executor=3)  # type: ignore[arg-type]
    with pytest.raises(NotWritable, match="read-only"):
        Dataset.open(tmp_path / "d", read_only=True).get_segmentation_layer("cells").refresh_largest_segment_id()
    shard = next(path for path in (tmp_path / "d" / "cells" / "2-2-1" / "c").rglob("*") if path.is_file())
    content = shard.read_bytes()
    shard.write_bytes(b"?" * len(content))
    with pytest.raises(DamagedShard):
        layer.refresh_largest_segment_id()
    shard.unlink()
    with pytest.raises(MissingShard):
        layer.refresh_largest_segment_id()
    assert layer.largest_segment_id == 5


def test_floats_are_no_ids(tmp_path: Path) -> None:
    layer = cells(tmp_path / "d", "uint32")
    properties = json.loads((tmp_path / "d" / "datasource-properties.json").read_text())
    properties["dataLayers"][0]["elementClass"] = "float"
    (tmp_path / "d" / "datasource-properties.json").write_text(json.dumps(properties))
    with pytest.raises(WrongDtype, match="layer cells has no segment ids, found voxels of float32, expected integers"):
        layer.refresh_largest_segment_id()


@pytest.mark.slow
def test_connectomics_labels(tmp_path: Path) -> None:
    data = labels()
    layer = cells(tmp_path / "d", "uint32", BoundingBox((0, 0, 0), data.shape))
    layer.add_mag(1, shard_shape=256).write(data)
    layer.refresh_largest_segment_id()
    assert layer.largest_segment_id == data.max()


@pytest.mark.slow
@pytest.mark.sampled(every=3)
def test_a_whole_volume_of_connectomics_labels(tmp_path: Path) -> None:
    with np.load(material("data") / "connectomics_labels_512.npz") as file:
        data = file["labels"]
    layer = cells(tmp_path / "d", "uint32", BoundingBox((0, 0, 0), data.shape))
    layer.add_mag(1, shard_shape=512).write(data)
    layer.refresh_largest_segment_id()
    assert layer.largest_segment_id == 98_340_797 == data.max()
    assert Dataset.open(tmp_path / "d").get_segmentation_layer("cells").largest_segment_id == 98_340_797

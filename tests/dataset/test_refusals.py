"""What is refused raises the types that scripts catch, and leaves nothing on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wkpipe import BoundingBox, Dataset, Layer, LayerViewConfiguration, Mag, NDBoundingBox, Vec3Int, VecInt
from wkpipe.errors import InputRefused, WkpipeError

BOX = BoundingBox((0, 0, 0), (64, 64, 32))
NEW: Any = {"layer_name": "new", "category": "color"}
VOXEL = np.ones((1, 1, 1), np.uint8)
Call = Callable[[Dataset, Layer], object]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    dataset = Dataset(tmp_path / "d", (4, 4, 40), "brain")
    layer = dataset.add_layer("em", "color", bounding_box=BOX)
    layer.add_mag(1, chunk_shape=32, shard_shape=32).write(np.ones(BOX.size.to_tuple(), np.uint8))
    dataset.add_layer("two", "color", bounding_box=BOX).add_mag(2, chunk_shape=32, shard_shape=32)
    return dataset


REFUSED: dict[str, tuple[Call, tuple[type[Exception], ...]]] = {
    "category": (lambda d, _: d.add_layer("new", "colour"), (RuntimeError, ValueError)),
    "dtype": (lambda d, _: d.add_layer(**NEW, dtype="complex64"), (ValueError,)),
    "layer exists": (lambda d, _: d.add_layer("em", "color"), (IndexError, ValueError)),
    "layer name": (lambda d, _: d.add_layer("a/b", "color"), (ValueError,)),
    "layer differs": (lambda d, _: d.get_or_add_layer("em", "color", dtype="uint16"), (AssertionError, ValueError)),
    "layer format": (lambda d, _: d.add_layer(**NEW, data_format="n5"), (RuntimeError, ValueError)),
    "layer corner": (lambda d, _: d.add_layer(**NEW, bounding_box=BoundingBox((-1, 0, 0), (1, 1, 1))), (ValueError,)),
    "no layer": (lambda d, _: d.get_layer("no"), (IndexError,)),
    "delete no layer": (lambda d, _: d.delete_layer("no"), (IndexError,)),
    "mag exists": (lambda _, em: em.add_mag(1), (IndexError, ValueError)),
    "mag differs": (lambda _, em: em.get_or_add_mag(1, chunk_shape=64), (AssertionError, ValueError)),
    "mag": (lambda _, em: em.add_mag(3), (AssertionError, ValueError)),
    "mag shape": (lambda _, em: em.add_mag(2, chunk_shape=33), (ValueError,)),
    "mag twice": (lambda _, em: em.add_mag(2, shard_shape=64, chunks_per_shard=2), (ValueError,)),
    "no mag": (lambda _, em: em.get_mag(2), (IndexError, KeyError, AssertionError)),
    "mags key": (lambda _, em: em.mags["2"], (IndexError, KeyError, AssertionError)),
    "delete no mag": (lambda _, em: em.delete_mag(2), (IndexError,)),
    "from no mag": (lambda _, em: em.downsample(from_mag=2), (AssertionError, KeyError, IndexError)),
    "sampling mode": (lambda _, em: em.downsample(sampling_mode="odd"), (AttributeError, ValueError)),
    "interpolation": (lambda _, em: em.downsample(interpolation_mode="odd"), (KeyError, ValueError)),
    "ladder": (lambda _, em: em.downsample(sampling_mode="constant_z"), (RuntimeError, ValueError)),
    "step from no mag": (lambda _, em: em.downsample_mag(2, 4), (AssertionError, KeyError, IndexError)),
    "target exists": (lambda _, em: em.downsample_mag(1, 1), (AssertionError, ValueError)),
    "target": (lambda _, em: em.downsample_mag(1, 1, allow_overwrite=True), (AssertionError, ValueError)),
    "targets": (lambda _, em: em.downsample_mag_list(1, ["2-2-4", "4-4-2"]), (AssertionError, ValueError)),
    "targets to set up": (lambda _, em: em.downsample_mag_list(1, [2, 2], only_setup_mags=True), (AssertionError, ValueError)),
    "shape to set up": (lambda _, em: em.downsample(chunk_shape=33, only_setup_mags=True), (ValueError,)),
    "coarser shape": (lambda _, em: em.downsample(chunk_shape=33), (ValueError,)),
    "coarser compress": (lambda _, em: em.downsample(compress="zstd"), (TypeError, ValueError)),
    "aligned": (lambda _, em: em.downsample(align_with_other_layers="other"), (TypeError, ValueError)),
    "executor": (lambda _, em: em.downsample(executor=3), (TypeError, ValueError)),
    "misaligned": (lambda _, em: em.get_mag(1).get_view(absolute_offset=(-1, 0, 0), size=(1, 1, 1)), (AssertionError, ValueError)),
    "two places": (lambda _, em: em.get_mag(1).read(absolute_offset=(0, 0, 0), relative_offset=(0, 0, 0)), (AssertionError, ValueError)),
    "empty": (lambda _, em: em.get_mag(1).read(absolute_offset=(0, 0, 0), size=(0, 1, 1)), (AssertionError, ValueError)),
    "outside": (lambda _, em: em.get_mag(1).write(np.ones((65, 1, 1), np.uint8)), (ValueError,)),
    "voxels": (lambda _, em: em.get_mag(1).write(np.full((32, 32, 32), 300, np.uint16)), (TypeError, ValueError)),
    "axes": (lambda _, em: em.get_mag(1).write(np.ones((32, 32), np.uint8)), (AssertionError, ValueError)),
    "data channels": (lambda _, em: em.get_mag(1).write(np.ones((3, 32, 32, 32), np.uint8)), (AssertionError, ValueError)),
    "data in a box": (
        lambda _, em: em.get_mag(1).write(VOXEL, absolute_bounding_box=BoundingBox((0, 0, 0), (2, 1, 1)), allow_unaligned=True),
        (AssertionError, ValueError),
    ),
    "beyond a view": (
        lambda _, em: em.get_mag(1).get_view(absolute_offset=(0, 0, 0), size=(32, 32, 32)).write(np.ones((33, 1, 1), np.uint8)),
        (AssertionError, ValueError),
    ),
    "larger view": (lambda _, em: em.get_mag(1).get_view(absolute_offset=(0, 0, 0), size=(999, 1, 1)), (AssertionError, ValueError)),
    "view to write": (
        lambda _, em: em.get_mag(1).get_view(read_only=True).get_view(read_only=False),
        (AssertionError, RuntimeError, ValueError),
    ),
    "exists": (lambda d, _: Dataset(d.path, (1, 1, 1), exist_ok=True), (AssertionError, RuntimeError, ValueError)),
    "other name": (lambda d, _: Dataset(d.path, name="other", exist_ok=True), (AssertionError, RuntimeError, ValueError)),
    "not empty": (lambda d, _: Dataset(d.path / "em", (1, 1, 1)), (RuntimeError, ValueError)),
    "no size": (lambda d, _: Dataset(d.path.with_name("new")), (ValueError,)),
    "size": (lambda d, _: Dataset(d.path.with_name("new"), (0, 1, 1)), (ValueError,)),
    "two sizes": (lambda d, _: Dataset.from_images(d.path, d.path.with_name("new")), (ValueError,)),
    "no images": (lambda d, _: Dataset.from_images(d.path / "no", d.path.with_name("new"), (1, 1, 1)), (ValueError,)),
    "no dataset": (lambda d, _: Dataset.open(d.path / "em"), (FileNotFoundError, ValueError)),
    "box": (lambda _, em: setattr(em, "bounding_box", BoundingBox((-1, 0, 0), (1, 1, 1))), (ValueError,)),
    # values that JSON or the readers of the properties cannot hold: the dataset stays readable
    "far offset": (
        lambda _, em: em.get_mag(1).write(VOXEL, absolute_offset=(2**62, 0, 0), allow_resize=True, allow_unaligned=True),
        (ValueError,),
    ),
    "far box": (lambda _, em: setattr(em, "bounding_box", BoundingBox((0, 0, 0), (2**53, 1, 1))), (ValueError,)),
    "far layer": (lambda d, _: d.add_layer(**NEW, bounding_box=NDBoundingBox((0,) * 4, (2**60, 1, 1, 1), "txyz")), (ValueError,)),
    "coarse mag": (lambda _, em: em.add_mag(2**70), (ValueError,)),
    "dataset name": (lambda d, _: setattr(d, "name", 5), (ValueError,)),
    "new dataset name": (lambda d, _: Dataset(d.path.with_name("new"), (1, 1, 1), name=5), (TypeError, ValueError)),
    "unit": (lambda d, _: Dataset(d.path.with_name("new"), voxel_size_with_unit="nm"), (TypeError, ValueError)),
    "view configuration": (lambda _, em: setattr(em, "default_view_configuration", {"alpha": 3}), (TypeError, ValueError)),
    "alpha": (lambda _, em: setattr(em, "default_view_configuration", LayerViewConfiguration(alpha=float("nan"))), (ValueError,)),
    "zoom": (lambda d, _: setattr(d, "default_view_configuration", 3), (TypeError, ValueError)),
    # values of other types
    "layer name type": (lambda d, _: d.add_layer(5, "color"), (TypeError, ValueError)),
    "channels": (lambda d, _: d.add_layer(**NEW, num_channels="3"), (TypeError, ValueError)),
    "fraction of a channel": (lambda d, _: d.add_layer(**NEW, num_channels=1.5), (TypeError, ValueError)),
    "layer box": (lambda d, _: d.add_layer(**NEW, bounding_box=((0, 0, 0), (1, 1, 1))), (TypeError, ValueError)),
    "mappings": (lambda d, _: d.add_layer("new", "segmentation", mappings="abc"), (TypeError, ValueError)),
    "no box": (lambda _, em: setattr(em, "bounding_box", None), (TypeError, ValueError)),
    "compress": (lambda _, em: em.add_mag(2, compress="zstd"), (TypeError, ValueError)),
    "fraction": (lambda _, em: em.get_mag(1).write(VOXEL, absolute_offset=(0.5, 0, 0)), (AssertionError, ValueError)),
    "no number": (lambda _, em: em.get_mag(1).write(VOXEL, absolute_offset=(float("nan"), 0, 0)), (AssertionError, ValueError)),
    "one number": (lambda _, em: em.get_mag(1).read(absolute_offset=0, size=(1, 1, 1)), (AssertionError, ValueError)),
    "text": (lambda _, em: em.get_mag(1).read(absolute_offset=(0, 0, 0), size="abc"), (AssertionError, ValueError)),
    "negative size": (lambda _, em: em.get_mag(1).read(absolute_offset=(0, 0, 0), size=(-1, 1, 1)), (AssertionError, ValueError)),
    "a tuple as a box": (lambda _, em: em.get_mag(1).read(absolute_bounding_box=((0, 0, 0), (1, 1, 1))), (TypeError, ValueError)),
    "ragged": (lambda _, em: em.get_mag(1).write([[[1], [2, 3]]]), (AssertionError, ValueError)),
    "no function": (lambda _, em: em.get_mag(1).for_each_chunk(3), (TypeError, ValueError)),
    "no target": (lambda _, em: em.get_mag(1).for_zipped_chunks(print, None), (TypeError, ValueError)),
    "nothing to compare": (lambda _, em: em.get_mag(1).content_is_equal(None), (TypeError, ValueError)),
    "nothing to merge": (lambda _, em: em.get_mag(1).merge_with_view(None), (TypeError, ValueError)),
}


def _state(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return every file and directory with its content and time of change, but not the locks, which change with any attempt."""
    found = {}
    for path in sorted(root.rglob("*")):
        facts = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        if "locks" not in path.parts:
            found[path.relative_to(root).as_posix()] = (facts.st_mode, facts.st_mtime_ns if content else 0, content)
    return found


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_call_raises_what_scripts_catch_and_leaves_no_trace(name: str, dataset: Dataset, tmp_path: Path) -> None:
    call, kinds = REFUSED[name]
    before = _state(tmp_path)
    with pytest.raises(WkpipeError) as caught:
        call(dataset, dataset.get_layer("em"))
    assert [kind for kind in kinds if not isinstance(caught.value, kind)] == []
    assert "\n" not in str(caught.value)
    assert not str(caught.value).startswith("'"), "a KeyError shows its text in quotes"
    assert _state(tmp_path) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda d, _: d.add_layer("new", "color"),
        lambda d, _: d.delete_layer("em"),
        lambda _, em: em.add_mag(2),
        lambda _, em: em.delete_mag(1),
        lambda _, em: em.downsample(),
        lambda _, em: em.downsample_mag_list(1, [2], only_setup_mags=True),
        lambda _, em: em.redownsample(),
        lambda _, em: em.get_mag(1).write(np.ones((32, 32, 32), np.uint8)),
        lambda _, em: setattr(em, "bounding_box", BOX.with_bounds("x", 0, 100)),
        lambda d, _: setattr(d, "name", "other"),
    ],
)
def test_a_read_only_dataset_refuses_every_change(change: Call, dataset: Dataset, tmp_path: Path) -> None:
    before = _state(tmp_path)
    same = Dataset.open(dataset.path, read_only=True)
    with pytest.raises(RuntimeError, match="read-only"):
        change(same, same.get_layer("em"))
    assert _state(tmp_path) == before


def test_an_unknown_version_is_an_assertion_error_too(dataset: Dataset) -> None:
    file = dataset.path / "datasource-properties.json"
    file.write_text(file.read_text().replace('"version": 1', '"version": 3'))
    with pytest.raises(AssertionError, match="version 1, the only one") as caught:
        Dataset.open(dataset.path)
    assert isinstance(caught.value, InputRefused)


@pytest.mark.parametrize(
    "make, kinds",
    [
        (lambda: Mag(3), (AssertionError, ValueError)),
        (lambda: Vec3Int(1, 2), (AssertionError, ValueError)),
        (lambda: VecInt(1, 2), (AssertionError, ValueError)),
        (lambda: VecInt(x=1).y, (KeyError,)),
        (lambda: BOX.get_bounds("t"), (KeyError, ValueError)),
        (lambda: BOX.in_mag(Mag(64)), (AssertionError, ValueError)),
        (lambda: BOX.intersected_with(BOX.offset((100, 0, 0))), (AssertionError, ValueError)),
        (lambda: BOX.intersected_with(NDBoundingBox((0,) * 4, (1,) * 4, "txyz")), (AssertionError, ValueError)),
    ],
)
def test_geometry_raises_what_scripts_catch(make: Callable[[], object], kinds: tuple[type[Exception], ...]) -> None:
    for kind in kinds:
        with pytest.raises(kind, match=r"."):
            make()


def test_the_silent_differences_are_gone(dataset: Dataset) -> None:
    assert BOX.with_bounds("x", 10, 20) == BoundingBox((10, 0, 0), (20, 64, 32))
    assert BOX.intersected_with(BOX.offset((100, 0, 0)), dont_assert=True).is_empty()
    assert Dataset.open(dataset.path) == dataset

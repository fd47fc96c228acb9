"""Conversions compared with the arrays that the images were written from."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.steps.helpers import Array, data_files, noise, plan_of, properties_json, run, shards
from wkpipe.engine import blocks
from wkpipe.errors import AlreadyExists, InputRefused, UsageError
from wkpipe.formats import open_array
from wkpipe.metadata.properties import read_properties
from wkpipe.plan.cost.resources import Sizing
from wkpipe.storage.local import object_at

VALUES: dict[str, Any] = {"voxel_size": (4, 4, 30), "layer_name": "layer", "downsample": False}
SHAPES: dict[str, dict[str, Any]] = {
    "zarr3": {"data_format": "zarr3", "chunk_shape": (16, 8, 4), "shard_shape": (32, 32, 8)},
    "zarr": {"data_format": "zarr", "chunk_shape": (16, 8, 4)},
    "wkw": {"data_format": "wkw", "chunk_shape": (8, 8, 8), "shard_shape": (32, 32, 32)},
}


def write_slices(directory: Path, planes: Array, suffix: str = "tif", **options: Any) -> Path:
    """Write (z, y, x[, c]) as one file per plane."""
    directory.mkdir()
    for z, plane in enumerate(planes):
        path = directory / f"slice{z:04d}.{suffix}"
        if suffix == "tif":
            tifffile.imwrite(path, np.ascontiguousarray(plane), **options)
        else:
            Image.fromarray(np.ascontiguousarray(plane)).save(path)
    return directory


def stored(root: Path, layer: str = "layer", mag: str = "1") -> tuple[Array, Array]:
    """The voxels of the layer's box and the whole array with those set to 0."""
    properties = read_properties(object_at(root / "datasource-properties.json")).layer(layer)
    array = open_array(root / layer / mag, properties.data_format, properties.axes)
    whole = array.read([0] * len(array.spec.shape), array.spec.shape)
    box = properties.bounding_box()
    inside = tuple(slice(0, box.bounds(axis)[1]) for axis in properties.axes)
    voxels = whole[inside].copy()
    whole[inside] = 0
    return voxels, whole


def check(root: Path, want: Array, layer: str = "layer") -> None:
    got, outside = stored(root, layer)
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    assert np.array_equal(got, want, equal_nan=got.dtype.kind == "f"), f"{(got != want).sum()} of {want.size} voxels differ"
    assert not outside.any()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
def test_stacks_of_slices(tmp_path: Path, data_format: str, dtype: str, threads: int) -> None:
    """Neither width, height (101 is no multiple of 8) nor depth fits chunks or shards."""
    planes = noise((19, 101, 70), dtype, 1, few=False)
    source = write_slices(tmp_path / "images", planes, rowsperstrip=7)
    run(tmp_path / "d", Sizing.local(threads), source=source, category="color", **VALUES, **SHAPES[data_format])
    check(tmp_path / "d", planes.transpose(2, 1, 0)[np.newaxis])
    view = properties_json(tmp_path / "d")["dataLayers"][0]["defaultViewConfiguration"]
    assert (view["min"], view["max"]) == (pytest.approx(planes.min()), pytest.approx(planes.max()))


@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
def test_rgb(tmp_path: Path, data_format: str) -> None:
    planes = noise((5, 33, 47, 3), "uint8", 2, few=False)
    source = write_slices(tmp_path / "images", planes, "png")
    run(tmp_path / "d", source=source, **VALUES, **SHAPES[data_format])
    check(tmp_path / "d", planes.transpose(3, 2, 1, 0))


def test_many_pages_in_a_file(tmp_path: Path) -> None:
    planes = noise((21, 40, 50), "uint16", 3, few=False)
    tifffile.imwrite(tmp_path / "stack.tif", planes, photometric="minisblack")
    run(tmp_path / "d", source=tmp_path / "stack.tif", category="color", **VALUES, **SHAPES["zarr3"])
    check(tmp_path / "d", planes.transpose(2, 1, 0)[np.newaxis])


def test_time_points(tmp_path: Path) -> None:
    voxels = noise((3, 9, 40, 50), "uint8", 4, few=False)
    tifffile.imwrite(tmp_path / "stack.ome.tif", voxels, metadata={"axes": "TZYX"})
    sizing = Sizing(cores=2, least_seconds=0, target_seconds=0.01)
    run(tmp_path / "d", sizing, source=tmp_path / "stack.ome.tif", **VALUES, **SHAPES["zarr3"])
    got, outside = stored(tmp_path / "d")
    assert np.array_equal(got, voxels.transpose(0, 3, 2, 1).reshape(got.shape))
    assert not outside.any()
    with pytest.raises(InputRefused, match="time points"):
        plan_of(tmp_path / "e", source=tmp_path / "stack.ome.tif", **VALUES, **SHAPES["wkw"])


@pytest.mark.parametrize("data_format", ["zarr3", "wkw"])
def test_a_single_plane(tmp_path: Path, data_format: str) -> None:
    plane = noise((101, 203), "uint8", 5, few=False)
    Image.fromarray(plane).save(tmp_path / "image.png")
    run(tmp_path / "d", source=tmp_path / "image.png", voxel_size=(1, 1, 1), layer_name="layer", category="color", data_format=data_format)
    check(tmp_path / "d", plane.T[np.newaxis, :, :, np.newaxis])
    array = open_array(tmp_path / "d" / "layer" / "1", data_format)
    if data_format == "zarr3":
        assert (array.spec.chunk_shape, array.spec.shard_shape) == ((1, 32, 32, 1), (1, 4096, 4096, 1))


@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
def test_whole_planes_in_memory_and_in_a_nameless_file(tmp_path: Path, data_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PNG is decoded plane by plane; the images are several shards wide."""
    planes = noise((11, 77, 190), "uint8", 6, few=False)
    source = write_slices(tmp_path / "images", planes, "png")
    run(tmp_path / "a", source=source, category="color", name="d", **VALUES, **SHAPES[data_format])
    check(tmp_path / "a", planes.transpose(2, 1, 0)[np.newaxis])
    monkeypatch.setattr(blocks, "IMAGE_CUBE_BYTES", 1000)
    monkeypatch.setattr(blocks, "WINDOW_BYTES", 1000)
    run(tmp_path / "b", Sizing.local(3), source=source, category="color", name="d", **VALUES, **SHAPES[data_format])
    assert data_files(tmp_path / "a") == data_files(tmp_path / "b")
    assert not list((tmp_path / "b" / ".wkpipe").rglob("*.tmp"))


def test_wkw_bytes_do_not_depend_on_the_order_of_chunks(tmp_path: Path) -> None:
    """Convert hands blocks over slice by slice, downsampling in Morton order: WKW files hold them in Morton order."""
    from wkpipe.formats import create_array
    from wkpipe.geometry.grid import morton_order
    from wkpipe.storage.scratch import Scratch

    planes = noise((40, 70, 64), "uint16", 7, few=False)
    source = write_slices(tmp_path / "images", planes)
    run(tmp_path / "d", source=source, category="color", **VALUES, **SHAPES["wkw"])
    array = open_array(tmp_path / "d" / "layer" / "1", "wkw")
    array.resize((1, 64, 96, 64), Scratch(tmp_path / "scratch"))
    again = create_array(tmp_path / "again", array.spec, Scratch(tmp_path / "scratch"))
    for unit in array.stored_units():
        origin = [u * n for u, n in zip(unit, array.spec.unit_shape, strict=True)]
        with again.unit_writer(unit, Scratch(tmp_path / "scratch")) as writer:
            for x, y, z in morton_order((4, 4, 4)).tolist():
                first = [o + p * n for o, p, n in zip(origin, (0, x, y, z), array.spec.chunk_shape, strict=True)]
                writer.append((0, x, y, z), writer.encode(array.read(first, array.spec.chunk_shape)))
            writer.commit()
    want = {path.relative_to(tmp_path / "again"): path.read_bytes() for path in (tmp_path / "again").rglob("*.wkw")}
    assert want == {path.relative_to(array.path): path.read_bytes() for path in array.path.rglob("*.wkw")}
    assert len(want) > 8


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
def test_floats_that_are_no_numbers_among_zeros(tmp_path: Path, data_format: str, special: float) -> None:
    """An image of zeros with one NaN is not an empty one."""
    planes = np.zeros((9, 33, 47), "float32")
    planes[4, 20, 30] = special
    planes[8] = special
    source = write_slices(tmp_path / "images", planes)
    run(tmp_path / "d", source=source, category="color", **VALUES, **SHAPES[data_format])
    check(tmp_path / "d", planes.transpose(2, 1, 0)[np.newaxis])


def test_segmentation_knows_its_largest_id(tmp_path: Path) -> None:
    planes = noise((9, 33, 47), "uint32", 8)
    planes[7, 31, 11] = 4_000_000_000
    source = write_slices(tmp_path / "images", planes)
    run(tmp_path / "d", source=source, category="segmentation", **VALUES, **SHAPES["zarr3"])
    assert properties_json(tmp_path / "d")["dataLayers"][0]["largestSegmentId"] == 4_000_000_000


def test_empty_images_make_no_files(tmp_path: Path) -> None:
    source = write_slices(tmp_path / "images", np.zeros((9, 33, 47), "uint32"))
    run(tmp_path / "d", source=source, category="segmentation", **VALUES, **SHAPES["zarr3"])
    assert not shards(tmp_path / "d")
    check(tmp_path / "d", np.zeros((1, 47, 33, 9), "uint32"))
    assert properties_json(tmp_path / "d")["dataLayers"][0]["largestSegmentId"] == 0
    assert plan_of(tmp_path / "d", source=source, category="segmentation", **VALUES, **SHAPES["zarr3"]).is_empty


@pytest.mark.slow
def test_default_shards_two_along_every_axis(tmp_path: Path) -> None:
    """4096 × 4096 × 32 voxels a shard: images a little larger than that, with a few voxels in the corners."""
    source = tmp_path / "images"
    source.mkdir()
    empty = np.zeros((4128, 4128), "uint8")
    for z in range(34):
        plane = empty.copy()
        plane[0, 0] = z == 0
        plane[4127, 4127] = 7 * (z == 33)
        plane[4095, 4096] = z
        tifffile.imwrite(source / f"{z:03d}.tif", plane, compression="zlib", rowsperstrip=64)
    run(tmp_path / "d", Sizing.local(2), source=source, category="segmentation", **VALUES)
    array = open_array(tmp_path / "d" / "layer" / "1", "zarr3")
    assert array.spec.shard_shape == (1, 4096, 4096, 32)
    assert array.spec.unit_grid == (1, 2, 2, 2)
    assert array.read((0, 0, 0, 0), (1, 1, 1, 1)).item() == 1
    assert array.read((0, 4127, 4127, 33), (1, 1, 1, 1)).item() == 7
    assert array.read((0, 4096, 4095, 0), (1, 1, 1, 34)).ravel().tolist() == list(range(34))
    names = {path.relative_to(array.path / "c").as_posix() for path in shards(tmp_path / "d")}
    assert names == {"0/0/0/0", "0/1/0/0", "0/1/0/1", "0/1/1/1"}
    assert plan_of(tmp_path / "d", source=source, category="segmentation", **VALUES).is_empty


# -- refusals, targets that exist -----------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_slices(tmp_path / "images", noise((9, 33, 47), "uint8", 1))


def test_another_conversion_into_the_same_target_is_refused(tmp_path: Path, images: Path) -> None:
    values = {**VALUES, "source": images, "category": "color"}
    run(tmp_path / "d", **values)
    before = data_files(tmp_path / "d")
    with pytest.raises(AlreadyExists) as error:
        plan_of(tmp_path / "d", **values, chunk_shape=16)
    assert error.value.exit_code == 3
    assert data_files(tmp_path / "d") == before
    run(tmp_path / "d", **values, chunk_shape=16, overwrite_existing=True)
    assert open_array(tmp_path / "d" / "layer" / "1", "zarr3").spec.chunk_shape == (1, 16, 16, 16)
    # A run with the same parameters resumes, and never deletes.
    assert plan_of(tmp_path / "d", **values, chunk_shape=16, overwrite_existing=True).is_empty


def test_foreign_directories_are_never_deleted(tmp_path: Path, images: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.txt").write_text("all my work")
    for overwrite in (False, True):
        with pytest.raises(AlreadyExists):
            plan_of(tmp_path / "d", source=images, overwrite_existing=overwrite, **VALUES)
    (tmp_path / "f").write_text("a file")
    with pytest.raises(AlreadyExists):
        plan_of(tmp_path / "f", source=images, overwrite_existing=True, **VALUES)
    for target in (images, images.parent):
        with pytest.raises(InputRefused):
            plan_of(target, source=images, overwrite_existing=True, **VALUES)
    assert (tmp_path / "d" / "thesis.txt").read_text() == "all my work"


@pytest.mark.parametrize("count", range(6))
def test_interrupted_while_the_old_target_is_deleted(tmp_path: Path, images: Path, count: int) -> None:
    """The same command with --overwrite-existing resumes."""
    import shutil

    root = tmp_path / "d"
    run(root, source=images, category="segmentation", **{**VALUES, "layer_name": "old"})
    shutil.rmtree(root / ".wkpipe")  # as another tool would have made it
    (root / "notes").mkdir()
    (root / "more").mkdir()
    left = [count]
    original = shutil.rmtree

    def interrupted(path: Path, *args: Any, **options: Any) -> None:
        if root in Path(path).parents:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        original(path, *args, **options)

    values = {**VALUES, "source": images, "category": "color", "overwrite_existing": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "rmtree", interrupted)
        with contextlib.suppress(KeyboardInterrupt):
            run(root, **values)
    run(root, **values)
    assert not (root / "old").exists()
    assert not (root / "notes").exists()
    run(tmp_path / "fresh" / "d", **values)
    assert data_files(root) == data_files(tmp_path / "fresh" / "d")


def test_wrong_parameters(tmp_path: Path, images: Path) -> None:
    with pytest.raises(UsageError, match="voxel size"):
        plan_of(tmp_path / "d", source=images)
    with pytest.raises(UsageError, match="batch size 5"):
        plan_of(tmp_path / "d", source=images, batch_size=5, **VALUES)
    plan_of(tmp_path / "d", source=images, batch_size=64, **VALUES)
    for wrong in ({"chunk_shape": 12}, {"chunk_shape": 32, "shard_shape": 16}, {"data_format": "wkw", "chunk_shape": (32, 32, 16)}):
        with pytest.raises((InputRefused, UsageError)):
            plan_of(tmp_path / "d", source=images, **VALUES, **wrong)
    assert not (tmp_path / "d").exists()


def changed_images(images: Path, names: Sequence[int]) -> None:
    for z in names:
        tifffile.imwrite(images / f"slice{z:04d}.tif", np.full((33, 47), 200 + z, "uint8"))


def test_changed_images_change_what_is_made_of_them(tmp_path: Path, images: Path) -> None:
    values = {**VALUES, "source": images, "category": "segmentation", "downsample": True, **SHAPES["zarr3"]}
    run(tmp_path / "d", **values)
    changed_images(images, [8])
    plan = run(tmp_path / "d", **values)
    assert {unit[3] for task in plan.tasks for part in task.ranges if str(part.mag) == "1" for unit in part.units} == {1}
    run(tmp_path / "fresh" / "d", **values)
    assert data_files(tmp_path / "d") == data_files(tmp_path / "fresh" / "d")
    assert properties_json(tmp_path / "d")["dataLayers"][0]["largestSegmentId"] == 208
    assert plan_of(tmp_path / "d", **values).is_empty

"""Mags and layers whose data exist already: copied, moved, linked, or only named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from wkpipe import BoundingBox, Dataset, Layer, Mag, MagView, NDBoundingBox
from wkpipe.errors import AlreadyExists, InputRefused, NotWritable, TryAgain, WkpipeError
from wkpipe.storage.lease import RunLease
from wkpipe.stored.locations import Locations

BOX = BoundingBox((4, 2, 0), (60, 40, 20))
SMALL: dict[str, Any] = {"chunk_shape": 16, "shard_shape": 32}
pytestmark = pytest.mark.filterwarnings("ignore:chunk shape")


def noise(shape: tuple[int, ...], dtype: str = "uint8") -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(1, 200, shape).astype(dtype)


@pytest.fixture
def source(tmp_path: Path) -> MagView:
    """Return mag 1 of a dataset that the others refer to."""
    layer = Dataset(tmp_path / "source", (4, 4, 4)).add_layer("em", "color", bounding_box=BOX)
    mag = layer.add_mag(1, **SMALL)
    mag.write(noise(BOX.size.to_tuple()))
    return mag


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path / "d", (4, 4, 4))


def array_of(path: Path, shape: tuple[int, ...] = (1, 40, 30, 20), dtype: str = "uint8", **options: Any) -> Path:
    """Make a Zarr array as another tool does."""
    array = zarr.create_array(path, shape=shape, chunks=tuple(min(n, 16) for n in shape), dtype=dtype, **options)
    array[:] = noise(shape, dtype)
    return path


def facts(root: Path) -> dict[str, tuple[int, int, int]]:
    """Return inode, size and mtime of everything below a path."""
    found = [root, *root.rglob("*")]
    return {str(path): (status.st_ino, status.st_size, status.st_mtime_ns) for path in found if (status := path.lstat())}


def entry(layer: Layer, number: int = 0) -> Any:
    values = json.loads((layer.dataset.path / "datasource-properties.json").read_bytes())
    return next(found for found in values["dataLayers"] if found["name"] == layer.name)["mags"][number]


# -- arrays that become mags ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", ["zarr3", "zarr"])
@pytest.mark.parametrize("move", [False, True])
def test_a_zarr_array_becomes_a_mag(dataset: Dataset, tmp_path: Path, data_format: str, move: bool) -> None:
    path = array_of(tmp_path / "array", zarr_format=3 if data_format == "zarr3" else 2)
    before = facts(path)
    layer = dataset.add_layer("em", "color", data_format=data_format)
    mag = layer.add_mag_from_zarrarray(2, path, move=move)
    assert np.array_equal(mag.read(), noise((1, 40, 30, 20)))
    assert layer.bounding_box == BoundingBox((0, 0, 0), (80, 60, 40))
    assert (mag.path, mag.read_only, mag.is_foreign) == (layer.path / "2", False, False)
    assert entry(layer)["path"] == "./em/2"
    assert path.exists() != move
    if not move:
        assert facts(path) == before
        assert not {ino for ino, *_ in before.values()} & {ino for ino, *_ in facts(mag.path).values()}
    mag.write(np.zeros((1, 40, 30, 20), np.uint8), allow_unaligned=True)
    assert not Dataset.open(dataset.path).get_layer("em").get_mag(2).read().any()
    layer.downsample(coarsest_mag=4)
    assert layer.get_mag(4).read().shape == (1, 20, 15, 10)
    assert [path.name for path in (dataset.path / ".wkpipe" / "tmp").iterdir()] == []


def test_the_first_array_decides_the_axes(dataset: Dataset, tmp_path: Path) -> None:
    path = array_of(tmp_path / "array", (20, 30, 40), dimension_names=["z", "y", "x"])
    layer = dataset.add_layer("em", "color")
    mag = layer.add_mag_from_zarrarray(1, path)
    assert layer.bounding_box == BoundingBox((0, 0, 0), (40, 30, 20))
    assert np.array_equal(mag.read_cxyz()[0], noise((20, 30, 40)).transpose())
    plain = dataset.add_layer("plain", "color").add_mag_from_zarrarray(1, array_of(tmp_path / "plain", (40, 30, 20)))
    assert np.array_equal(plain.read_cxyz()[0], noise((40, 30, 20)))
    movie = dataset.add_layer("movie", "color")
    movie.add_mag_from_zarrarray(1, array_of(tmp_path / "movie", (3, 1, 20, 20, 20), dimension_names=list("tcxyz")))
    assert movie.bounding_box == NDBoundingBox((0, 0, 0, 0, 0), (3, 1, 20, 20, 20), tuple("tcxyz"))


def test_a_layer_shows_the_first_channels_of_an_array(dataset: Dataset, tmp_path: Path) -> None:
    layer = dataset.add_layer("em", "color")
    with pytest.warns(UserWarning, match=r"the array of MagView\(em, 1\) has 3 channels, and the layer shows only the first one"):
        mag = layer.add_mag_from_zarrarray(1, array_of(tmp_path / "array", (3, 20, 20, 20)))
    assert np.array_equal(mag.read(), noise((3, 20, 20, 20))[:1])
    layer.downsample(coarsest_mag=2)
    assert layer.get_mag(2).info.shape[0] == 1
    mag.write(np.zeros((20, 20, 20), np.uint8))
    assert np.array_equal(mag.get_zarr_array()[1:, :20, :20, :20], noise((3, 20, 20, 20))[1:])


def test_the_layer_keeps_its_box_and_the_array_grows_to_it(dataset: Dataset, tmp_path: Path) -> None:
    layer = dataset.add_layer("em", "color", bounding_box=BOX)
    layer.add_mag(1, **SMALL)
    mag = layer.add_mag_from_zarrarray(2, array_of(tmp_path / "array", (1, 16, 16, 16)), extend_layer_bounding_box=False)
    assert layer.bounding_box == BOX
    assert mag.info.shape == (1, 32, 32, 16)
    far = layer.add_mag_from_zarrarray(4, array_of(tmp_path / "far", (1, 32, 16, 16)))
    assert layer.bounding_box == BoundingBox((0, 0, 0), (128, 64, 64))
    assert (layer.get_mag(1).info.shape, mag.info.shape, far.info.shape) == ((1, 128, 64, 64), (1, 64, 32, 32), (1, 32, 16, 16))


@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
@pytest.mark.parametrize("name", ["2-2-2", "2"])
def test_files_in_the_layer_become_a_mag(dataset: Dataset, data_format: str, name: str) -> None:
    layer = dataset.add_layer("em", "color", bounding_box=BOX, data_format=data_format)
    made = layer.add_mag(2, chunk_shape=16, shard_shape=16 if data_format == "zarr" else 32)
    made.write(noise((30, 20, 10)))
    voxels = made.read()
    made.path.rename(dataset.path / "kept")
    layer.delete_mag(2)
    layer.path.mkdir(exist_ok=True)
    (dataset.path / "kept").rename(layer.path / name)
    mag = layer.add_mag_for_existing_files(2)
    assert np.array_equal(mag.read(), voxels)
    assert (entry(layer)["path"], mag.read_only) == (f"./em/{name}", False)
    assert mag.info.data_format == data_format


def test_the_box_can_reach_to_the_end_of_files(dataset: Dataset) -> None:
    layer = dataset.add_layer("em", "color")
    array_of(layer.path / "2-2-1")
    assert layer.add_mag_for_existing_files("2-2-1", extend_layer_bounding_box=True).bounding_box.size_xyz == (80, 60, 20)


# -- references and links -------------------------------------------------------------------------------------------


def check_only_read(layer: Layer, mag: MagView, source: MagView) -> None:
    """Check that a mag reads like its source and cannot be changed, and that its removal leaves the source."""
    before = facts(source.layer.dataset.path)
    assert np.array_equal(mag.read(), source.read())
    assert mag.read_only
    assert mag.is_foreign
    with pytest.raises(NotWritable):
        mag.write(noise(BOX.size.to_tuple()))
    layer.bounding_box = BoundingBox((0, 0, 0), (200, 200, 200))
    layer.downsample(coarsest_mag=2)
    assert sorted(layer.mags) == [Mag(1), Mag(2)]
    assert not layer.get_mag(2).is_foreign
    layer.delete_mag(1)
    layer.dataset.delete_layer(layer.name)
    assert facts(source.layer.dataset.path) == before


@pytest.mark.parametrize("by_path", [False, True])
def test_a_reference(dataset: Dataset, source: MagView, by_path: bool) -> None:
    layer = dataset.add_layer("em", "color")
    mag = layer.add_mag_as_ref(str(source.path) if by_path else source)
    assert layer.bounding_box == BOX
    assert entry(layer)["path"] == str(source.path)
    assert not layer.path.exists()
    assert mag.path == source.path
    check_only_read(layer, mag, source)


@pytest.mark.parametrize("relative", [False, True])
def test_a_link(dataset: Dataset, source: MagView, relative: bool) -> None:
    layer = dataset.add_layer("em", "color", bounding_box=BoundingBox((0, 0, 0), (8, 8, 8)))
    mag = layer.add_symlink_mag(source, make_relative=relative, extend_layer_bounding_box=False)
    assert layer.bounding_box.size_xyz == (8, 8, 8)
    layer.bounding_box = BOX
    assert str((layer.path / "1").readlink()) == ("../../source/em/1" if relative else str(source.path))
    assert entry(layer)["path"] == ("../source/em/1" if relative else str(source.path))
    check_only_read(layer, mag, source)
    assert not (layer.path / "1").is_symlink()


def test_the_same_voxels_as_another_mag(dataset: Dataset, source: MagView) -> None:
    layer = dataset.add_layer("em", "color")
    mag = layer.add_mag_as_ref(source, mag=4)
    assert layer.bounding_box == BoundingBox((16, 8, 0), (240, 160, 80))
    assert np.array_equal(mag.read(), source.read())


def test_a_reference_to_a_reference_leads_to_the_data(dataset: Dataset, source: MagView) -> None:
    first = dataset.add_layer("first", "color").add_mag_as_ref(source)
    layer = dataset.add_layer("second", "color")
    layer.add_mag_as_ref(first)
    assert entry(layer)["path"] == str(source.path)


def test_a_reference_within_the_dataset_survives_a_move(dataset: Dataset, tmp_path: Path) -> None:
    mag = dataset.add_layer("em", "color", bounding_box=BOX).add_mag(1, **SMALL)
    mag.write(noise(BOX.size.to_tuple()))
    layer = dataset.add_layer("again", "color")
    assert layer.add_mag_as_ref(mag).read_only
    assert entry(layer)["path"] == "./em/1"
    moved = Dataset.open(dataset.path.rename(tmp_path / "moved"))
    moved.get_layer("again").delete_mag(1)
    assert np.array_equal(moved.get_layer("em").get_mag(1).read()[0], noise(BOX.size.to_tuple()))


def test_one_of_several_channels(dataset: Dataset, tmp_path: Path) -> None:
    """A layer may be one channel of an array; its mags are made from that channel."""
    box = NDBoundingBox((0, 0, 0, 0), (3, 32, 32, 16), ("c", "x", "y", "z"))
    rgb = Dataset(tmp_path / "rgb", (4, 4, 4)).add_layer("rgb", "color", bounding_box=box).add_mag(1, **SMALL)
    rgb.write(noise((3, 32, 32, 16)))
    file = tmp_path / "rgb" / "datasource-properties.json"
    values = json.loads(file.read_bytes())
    one = json.loads(json.dumps(values["dataLayers"][0])) | {"name": "green", "numChannels": 1, "elementClass": "uint8"}
    one["mags"][0]["channelIndex"] = 1
    values["dataLayers"].append(one)
    file.write_text(json.dumps(values))
    layer = dataset.add_layer("green", "color")
    mag = layer.add_mag_as_ref(Dataset.open(tmp_path / "rgb").get_layer("green").get_mag(1))
    assert np.array_equal(mag.read()[0], noise((3, 32, 32, 16))[1])
    layer.downsample(coarsest_mag=2, interpolation_mode="max")
    assert layer.get_mag(2).info.shape[0] == 1
    assert np.array_equal(layer.get_mag(2).read()[0], noise((3, 32, 32, 16))[1].reshape(16, 2, 16, 2, 8, 2).max(axis=(1, 3, 5)))
    copy = dataset.add_layer("empty", "color")
    copy.add_mag_as_ref(mag)
    copy.delete_mag(1)
    assert copy.add_mag(1).info.shape[0] == 1


def test_a_url_is_noted(dataset: Dataset) -> None:
    layer = dataset.add_layer("em", "color", bounding_box=BOX)
    mag = layer.add_mag_as_ref("https://example.org/data/brain/em/2-2-1")
    assert (mag.mag, entry(layer)["path"], layer.bounding_box) == (Mag("2-2-1"), "https://example.org/data/brain/em/2-2-1", BOX)
    assert Dataset.open(dataset.path).get_layer("em").get_mag("2-2-1").read_only
    with pytest.raises(InputRefused, match="is remote"):
        mag.read()
    layer.delete_mag("2-2-1")
    assert layer.mags == {}


def test_transformations_are_kept_as_they_are(dataset: Dataset) -> None:
    layer = dataset.add_layer("em", "color")
    assert layer.coordinate_transformations == ()
    spline = {"type": "thin_plate_spline", "correspondences": {"source": [[0.0, 0.0, 0.0]], "target": [[1.0, 1.0, 1.0]]}}
    affine = {"type": "affine", "matrix": np.eye(4).tolist(), "more": 1}
    layer.coordinate_transformations = [affine, spline]
    found = Dataset.open(dataset.path).get_layer("em").coordinate_transformations
    assert [each.to_json() for each in found] == [affine, spline]
    layer.coordinate_transformations = None
    assert layer.coordinate_transformations == ()
    assert "coordinateTransformations" not in (dataset.path / "datasource-properties.json").read_text()


# -- refusals -------------------------------------------------------------------------------------------------------

Call = Callable[[Dataset, MagView, Path], object]
REFUSED: dict[str, tuple[Call, tuple[type[Exception], ...]]] = {
    "ref exists": (lambda d, s, _: d.get_layer("full").add_mag_as_ref(s), (IndexError, AssertionError, ValueError)),
    "link exists": (lambda d, s, _: d.get_layer("full").add_symlink_mag(s), (IndexError, AssertionError)),
    "array exists": (lambda d, _, p: d.get_layer("full").add_mag_from_zarrarray(1, p / "array"), (IndexError, AssertionError)),
    "files exist": (lambda d, *_: d.get_layer("full").add_mag_for_existing_files(1), (IndexError, AssertionError)),
    "ref dtype": (lambda d, s, _: d.get_layer("wide").add_mag_as_ref(s), (AssertionError, ValueError)),
    "link dtype": (lambda d, s, _: d.get_layer("wide").add_symlink_mag(s), (AssertionError, ValueError)),
    "array dtype": (lambda d, _, p: d.get_layer("wide").add_mag_from_zarrarray(1, p / "array"), (AssertionError, ValueError)),
    "array format": (lambda d, _, p: d.get_layer("em").add_mag_from_zarrarray(1, p / "zarr2"), (ValueError,)),
    "array channels": (lambda d, _, p: d.get_layer("three").add_mag_from_zarrarray(1, p / "array"), (AssertionError, ValueError)),
    "array axes": (lambda d, _, p: d.get_layer("full").add_mag_from_zarrarray(2, p / "plain"), (AssertionError, ValueError)),
    "array names": (lambda d, _, p: d.get_layer("em").add_mag_from_zarrarray(1, p / "odd"), (ValueError,)),
    "array link": (lambda d, _, p: d.get_layer("em").add_mag_from_zarrarray(1, p / "linked"), (ValueError,)),
    "array missing": (lambda d, _, p: d.get_layer("em").add_mag_from_zarrarray(1, p / "nowhere"), (ValueError,)),
    "array is a group": (lambda d, _, p: d.get_layer("em").add_mag_from_zarrarray(1, p / "source" / "em"), (ValueError,)),
    "wkw": (lambda d, _, p: d.get_layer("wkw").add_mag_from_zarrarray(1, p / "array"), (ValueError,)),
    "wkw ref": (lambda d, s, _: d.get_layer("wkw").add_mag_as_ref(s), (AssertionError, ValueError)),
    "other data": (lambda d, _, p: d.get_layer("em").add_mag_from_zarrarray(4, p / "array"), (IndexError, ValueError)),
    "other data ref": (lambda d, s, _: d.get_layer("em").add_mag_as_ref(s, mag=4), (IndexError, ValueError)),
    "move a mag": (lambda d, *_: d.get_layer("em").add_mag_from_zarrarray(1, d.path / "full/1", move=True), (ValueError,)),
    "move a link": (lambda d, _, p: d.get_layer("em").add_mag_from_zarrarray(1, p / "link", move=True), (ValueError,)),
    "already there": (lambda d, *_: d.get_layer("em").add_mag_from_zarrarray(8, d.path / "em/8"), (ValueError,)),
    "no files": (lambda d, *_: d.get_layer("em").add_mag_for_existing_files(1), (ValueError,)),
    "no array": (lambda d, *_: d.get_layer("em").add_mag_for_existing_files(4), (ValueError,)),
    "no dataset": (lambda d, _, p: d.get_layer("em").add_mag_as_ref(p / "array"), (ValueError,)),
    "no such mag": (lambda d, s, _: d.get_layer("em").add_mag_as_ref(s.layer.path / "2"), (IndexError, ValueError)),
    "no such layer": (lambda d, _, p: d.get_layer("em").add_mag_as_ref(p / "source/no/1"), (IndexError, ValueError)),
    "no mag": (lambda d, _, p: d.get_layer("em").add_mag_as_ref(p / "source/em/odd"), (ValueError,)),
    "type": (lambda d, *_: d.get_layer("em").add_mag_as_ref(5), (TypeError, ValueError)),
    "own array": (lambda d, *_: d.get_layer("full").add_mag_as_ref(d.get_layer("full").get_mag(1), mag=4), (ValueError,)),
    "array type": (lambda d, *_: d.get_layer("em").add_mag_from_zarrarray(1, 5), (TypeError, ValueError)),
    "link to a url": (lambda d, *_: d.get_layer("em").add_symlink_mag("https://example.org/a/1"), (ValueError,)),
    "long url": (lambda d, *_: d.get_layer("em").add_mag_as_ref(f"https://example.org/{'a' * 4000}/1"), (ValueError,)),
    "matrix": (
        lambda d, *_: setattr(d.get_layer("em"), "coordinate_transformations", [{"type": "affine", "matrix": [[1]]}]),
        (ValueError,),
    ),
    "transformation": (lambda d, *_: setattr(d.get_layer("em"), "coordinate_transformations", ["affine"]), (TypeError, ValueError)),
    "transformations": (lambda d, *_: setattr(d.get_layer("em"), "coordinate_transformations", 3), (TypeError, ValueError)),
    "color": (lambda d, *_: d.get_layer("em").as_segmentation_layer(), (TypeError, ValueError)),
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with datasets and arrays for all calls that are refused: none of them changes it."""
    root = tmp_path_factory.mktemp("ground")
    dataset = Dataset(root / "d", (4, 4, 4))
    Dataset(root / "source", (4, 4, 4)).add_layer("em", "color", bounding_box=BOX).add_mag(1, **SMALL)
    dataset.add_layer("full", "color", bounding_box=BOX).add_mag(1, **SMALL)
    dataset.add_layer("wide", "color", dtype="uint16")
    dataset.add_layer("wkw", "color", data_format="wkw")
    dataset.add_layer("three", "color", num_channels=3)
    layer = dataset.add_layer("em", "color")
    (layer.path / "4").mkdir(parents=True)
    (layer.path / "4" / "notes.txt").write_text("kept")
    array_of(layer.path / "8")
    array_of(root / "array")
    array_of(root / "zarr2", zarr_format=2)
    array_of(root / "plain", (20, 20, 20))
    array_of(root / "odd", (20, 20, 20), dimension_names=["a", "b", "c"])
    (array_of(root / "linked") / "more").symlink_to("/etc")
    (root / "link").symlink_to("array")
    return root


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_call_leaves_no_trace(name: str, ground: Path) -> None:
    source = Dataset.open(ground / "source").get_layer("em").get_mag(1)
    before = state(ground)
    call, kinds = REFUSED[name]
    with pytest.raises(WkpipeError) as caught:
        call(Dataset.open(ground / "d"), source, ground)
    assert [kind for kind in kinds if not isinstance(caught.value, kind)] == []
    assert "\n" not in str(caught.value)
    assert state(ground) == before


def state(root: Path) -> dict[str, tuple[int, bytes | str]]:
    """Return every file, link and directory with its content, but not the locks, which change with any attempt."""
    found: dict[str, tuple[int, bytes | str]] = {}
    for path in sorted(root.rglob("*")):
        if "locks" not in path.parts:
            content: bytes | str = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            found[str(path)] = (path.lstat().st_mode, content)
    return found


def test_a_run_keeps_changes_out(dataset: Dataset, source: MagView, tmp_path: Path) -> None:
    layer, path = dataset.add_layer("em", "color"), array_of(tmp_path / "array")
    with RunLease(Locations.of(dataset.path).locks):
        for call in (
            lambda: layer.add_mag_as_ref(source),
            lambda: layer.add_symlink_mag(source),
            lambda: layer.add_mag_from_zarrarray(1, path),
        ):
            with pytest.raises(TryAgain):
                call()
    assert layer.mags == {}


def test_an_unfinished_mag_is_not_adopted(dataset: Dataset, tmp_path: Path) -> None:
    """A run that was stopped has made a part of the array: its recipe shows it."""
    layer = dataset.add_layer("em", "color", bounding_box=BOX)
    layer.add_mag(1, **SMALL).write(noise(BOX.size.to_tuple()))
    layer.downsample(coarsest_mag=2)
    file = dataset.path / "datasource-properties.json"
    values = json.loads(file.read_bytes())
    coarse = values["dataLayers"][0]["mags"].pop()["mag"]
    file.write_text(json.dumps(values))
    with pytest.raises(InputRefused, match="is not finished"):
        layer.add_mag_for_existing_files(coarse)


# -- old names ------------------------------------------------------------------------------------------------------


def test_old_names_warn(dataset: Dataset, source: MagView, tmp_path: Path) -> None:
    layer = dataset.add_layer("em", "color")
    with pytest.warns(DeprecationWarning, match="use add_mag_as_ref"):
        layer.add_remote_mag(source, False)
    layer.delete_mag(1)
    with pytest.warns(DeprecationWarning, match="use add_mag_as_ref"):
        layer.add_existing_remote_mag_view(source)
    layer.delete_mag(1)
    with pytest.warns(DeprecationWarning, match="foreign_mag_path is deprecated, use foreign_mag_view_or_path"):
        layer.add_symlink_mag(foreign_mag_path=source.path)
    array_of(layer.path / "2")
    with pytest.warns(DeprecationWarning, match="use add_mag_for_existing_files"):
        assert layer.add_existing_remote_mag_view("2").mag == Mag(2)
    with pytest.warns(DeprecationWarning, match="use get_finest_mag"):
        assert layer.get_best_mag().mag == Mag(1)
    with pytest.warns(DeprecationWarning, match="use is_foreign"):
        assert not layer.is_remote_to_dataset


def test_what_is_in_the_way_stays(dataset: Dataset, source: MagView) -> None:
    layer = dataset.add_layer("em", "color")
    layer.path.mkdir()
    (layer.path / "1").symlink_to(source.path)
    layer.add_symlink_mag(source)  # as after a crash: the link is the right one
    layer.delete_mag(1)
    (layer.path / "1").symlink_to("/nowhere")
    with pytest.raises(AlreadyExists, match="is not a mag of layer em"):
        layer.add_symlink_mag(source)
    assert str((layer.path / "1").readlink()) == "/nowhere"


@pytest.mark.parametrize("path", ["../outside/em/1", "{outside}/em/1", "./em/1", "./other/1", "./em/../../outside/em/1"])
def test_nothing_outside_is_removed_whatever_the_properties_say(dataset: Dataset, tmp_path: Path, path: str) -> None:
    """The properties, and links in the dataset, may have been made by somebody else."""
    outside = tmp_path / "outside"
    kept = Dataset(outside, (4, 4, 4)).add_layer("em", "color", bounding_box=BOX).add_mag(1, **SMALL)
    layer = dataset.add_layer("em", "color", bounding_box=BOX)
    layer.add_mag_as_ref(kept)
    layer.path.mkdir()
    (layer.path / "1").symlink_to(kept.path)
    (dataset.path / "other").symlink_to(kept.layer.path)
    file = dataset.path / "datasource-properties.json"
    values = json.loads(file.read_bytes())
    values["dataLayers"][0]["mags"][0]["path"] = path.format(outside=outside)
    file.write_text(json.dumps(values))
    before = facts(outside)
    layer.delete_mag(1)
    assert not (layer.path / "1").is_symlink()
    layer.add_symlink_mag(kept)
    dataset.delete_layer("em")
    assert facts(outside) == before
    assert sorted(path.name for path in dataset.path.iterdir() if not path.name.startswith(".")) == [
        "datasource-properties.json",
        "other",
        "zarr.json",
    ]


def test_data_that_another_layer_shows_are_not_deleted(dataset: Dataset) -> None:
    own = dataset.add_layer("em", "color", bounding_box=BOX)
    own.add_mag(1, **SMALL).write(noise(BOX.size.to_tuple()))
    other = dataset.add_layer("other", "color", bounding_box=BOX)
    other.add_mag_as_ref(own.get_mag(1))
    before = facts(dataset.path)
    for delete in (lambda: own.delete_mag(1), lambda: dataset.delete_layer("em")):
        with pytest.raises(InputRefused, match=r"layer other shows the data in .*; delete the mags of other first"):
            delete()
    assert facts(dataset.path) == before
    other.delete_mag(1)
    own.delete_mag(1)
    assert not (own.path / "1").exists()


def test_the_layer_with_the_data_of_a_reference_can_be_deleted_after_it(dataset: Dataset) -> None:
    own = dataset.add_layer("em", "color", bounding_box=BOX)
    own.add_mag(1, **SMALL)
    dataset.add_layer_as_ref(own, "other")
    dataset.delete_layer("other")
    dataset.delete_layer("em")
    assert dataset.layers == {}


def test_a_link_to_a_layer_of_the_same_dataset_goes_without_the_data(dataset: Dataset) -> None:
    own = dataset.add_layer("em", "color", bounding_box=BOX)
    own.add_mag(1, **SMALL).write(noise(BOX.size.to_tuple()))
    dataset.add_symlink_layer(own, new_layer_name="other")
    before = facts(own.path)
    with pytest.raises(InputRefused, match="layer other shows the data"):
        dataset.delete_layer("em")
    dataset.delete_layer("other")
    assert facts(own.path) == before

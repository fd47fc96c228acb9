"""A layer gets another name: everything that names it follows, or the call is refused before anything changes."""

from __future__ import annotations

import json
import pickle
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from wkpipe import BoundingBox, Dataset, DatasetViewConfiguration, Layer, LayerViewConfiguration, MeshAttachment, SegmentationLayer
from wkpipe.cli.app import run_app
from wkpipe.dataset.voxel_writer import UnitLock
from wkpipe.errors import InputRefused, LayerNotFound, TryAgain, WkpipeError
from wkpipe.geometry import Mag
from wkpipe.plan.build import make_downsample_plan
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.request import DownsampleRequest
from wkpipe.plan.state.recipe import load_recipe
from wkpipe.runs.run import run_here
from wkpipe.sampling import SamplingMode
from wkpipe.stored.lease import DatasetLease
from wkpipe.stored.locations import Locations
from wkpipe.stored.renaming import Renaming, renaming_note
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.repair import repair_dataset
from wkpipe.verify.select import Selection

BOX = BoundingBox((0, 0, 0), (64, 64, 32))
VOXELS = np.random.default_rng(0).integers(1, 99, (1, 64, 64, 32), dtype=np.uint8)
SOME = pytest.mark.sampled(every=3)
SMALL = {"chunk_shape": 32, "shard_shape": 32}
pytestmark = pytest.mark.filterwarnings("ignore:chunk shape")


def with_layer(path: Path, data_format: str = "zarr3") -> Layer:
    layer = Dataset(path, (4, 4, 40), "brain").add_layer("em", "color", bounding_box=BOX, data_format=data_format)
    layer.add_mag(1, chunk_shape=32, **({} if data_format == "zarr" else {"shard_shape": 32})).write(VOXELS)
    layer.downsample(coarsest_mag=4)
    return layer


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_layer(tmp_path_factory.mktemp("start") / "d").dataset.path


@pytest.fixture
def layer(start: Path, tmp_path: Path) -> Layer:
    return Dataset.open(shutil.copytree(start, tmp_path / "d")).get_layer("em")


def entries(root: Path) -> dict[str, bytes | str]:
    """Return all that is in a dataset but the locks: files with their content, links, and directories."""
    found: dict[str, bytes | str] = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if not name.startswith((".wkpipe/locks", ".wkpipe/tmp")):
            found[name] = str(path.readlink()) if path.is_symlink() else "" if path.is_dir() else path.read_bytes()
    return found


def is_up_to_date(layer: Layer) -> bool:
    """True if a run finds all mags proven and nothing to make, and verify finds nothing wrong."""
    request = DownsampleRequest(layer.dataset.path, layer=layer.name, sampling=SamplingMode.ANISOTROPIC, coarsest=Mag(4))
    return make_downsample_plan(request, Sizing.local(1)).units_to_do == 0 and not verify_dataset(layer.dataset.path).problems


@pytest.mark.parametrize("data_format", ["zarr3", pytest.param("zarr", marks=SOME), pytest.param("wkw", marks=SOME)])
def test_the_layer_keeps_its_proofs(data_format: str, tmp_path: Path) -> None:
    layer = with_layer(tmp_path / "d", data_format)
    before, mag = entries(layer.path), layer.get_mag(1)
    layer.name = "raw"
    assert (layer.name, layer.path, mag.path) == ("raw", tmp_path / "d" / "raw", tmp_path / "d" / "raw" / "1")
    assert entries(layer.path) == before
    assert sorted(path.name for path in (tmp_path / "d").iterdir() if path.is_dir()) == [".wkpipe", "raw"]
    assert [entry.path for entry in layer._properties.mags] == ["./raw/1", "./raw/2-2-1", "./raw/4-4-1"]
    assert np.array_equal(mag.read(), VOXELS)
    assert is_up_to_date(layer)
    assert not renaming_note(layer.dataset._live.fixed).is_there()


def test_a_coarser_mag_is_made_again_when_the_voxels_change(layer: Layer) -> None:
    layer.name = "raw"
    layer.get_mag(1).write(VOXELS + 1)
    assert not is_up_to_date(layer)
    layer.downsample(coarsest_mag=4)
    assert is_up_to_date(layer)
    assert {path.name for path in (layer.dataset.path / ".wkpipe" / "ledger").iterdir()} == {"raw"}


def test_the_first_name_comes_back(layer: Layer) -> None:
    before = entries(layer.dataset.path)
    del before[".wkpipe/published/em.json"]  # the next run writes it
    for name in ("raw", "Raw", "em"):
        layer.name = name
        assert is_up_to_date(layer)
    assert entries(layer.dataset.path) == before


def test_the_same_name_changes_nothing(layer: Layer) -> None:
    before = entries(layer.dataset.path)
    layer.name = "em"
    assert entries(layer.dataset.path) == before


def test_all_objects_of_the_process_follow(layer: Layer) -> None:
    dataset, other, mag = layer.dataset, Dataset.open(layer.dataset.path), layer.get_mag(1)
    theirs, view = other.get_layer("em"), other.get_layer("em").get_mag(1).get_view(absolute_offset=(0, 0, 0), size=(32, 32, 32))
    sent = pickle.dumps(layer.get_mag(1))
    theirs.name = "raw"
    assert (layer.name, theirs.name) == ("raw", "raw")
    assert dataset.layers == {"raw": layer}
    assert other.get_layer("raw") is theirs
    assert layer.get_mag(1) is mag
    mag.write(VOXELS + 1)
    assert np.array_equal(view.read(), VOXELS[:, :32, :32] + 1)
    with pytest.raises(LayerNotFound, match=r"em is not a layer of this dataset \(it has raw\)"):  # as in another process
        pickle.loads(sent).read()


def test_references_and_copies_in_the_dataset_follow(layer: Layer, tmp_path: Path) -> None:
    dataset = layer.dataset
    (tmp_path / "link").symlink_to(dataset.path)
    reference = dataset.add_layer("reference", "color", bounding_box=BOX)
    reference.add_mag_as_ref(layer.get_mag(1))
    named = dataset._live.current()
    for number, text in enumerate((str(layer.path / "2-2-1"), str(tmp_path / "link" / "em" / "2-2-1"), "../d/em/2-2-1", "em/2-2-1")):
        added = dataset.add_layer(f"named{number}", "color", bounding_box=BOX)
        added.add_mag_as_ref(layer.get_mag("2-2-1"))
        _change_path(dataset, added.name, text)
    assert named.layers  # the properties were read before
    copy = dataset.add_layer("copy", "color", bounding_box=BOX)
    copy.add_mag_as_copy(layer.get_mag(1))
    outside = Dataset(tmp_path / "outside", (4, 4, 40)).add_layer("em", "color", bounding_box=BOX)
    outside.add_mag(1, **SMALL).write(VOXELS)
    dataset.add_layer("elsewhere", "color", bounding_box=BOX).add_mag_as_ref(outside.get_mag(1))
    coarse = layer.get_mag("2-2-1").read()
    layer.name = "raw"
    assert np.array_equal(reference.get_mag(1).read(), VOXELS)
    assert reference.get_mag(1).path == layer.path / "1"
    paths = {each.name: each._properties.mags[0].path for each in dataset.layers.values()}
    assert [paths[f"named{number}"] for number in range(4)] == [str(layer.path / "2-2-1"), "./raw/2-2-1", "./raw/2-2-1", "raw/2-2-1"]
    assert paths["elsewhere"] == str(outside.path / "1")
    assert all(np.array_equal(dataset.get_layer(f"named{number}").get_mag("2-2-1").read(), coarse) for number in range(4))
    before = entries(copy.path)
    copy.add_mag_as_copy(layer.get_mag(1), exists_ok=True)  # it is the same copy, which is up to date
    assert entries(copy.path) == before
    layer.get_mag(1).write(VOXELS + 1)
    copy.add_mag_as_copy(layer.get_mag(1), exists_ok=True)
    assert np.array_equal(copy.get_mag(1).read(), VOXELS + 1)
    assert not verify_dataset(dataset.path, layer_name="copy").problems


def _change_path(dataset: Dataset, layer: str, text: str) -> None:
    file = dataset.path / "datasource-properties.json"
    values = json.loads(file.read_text())
    next(each for each in values["dataLayers"] if each["name"] == layer)["mags"][0]["path"] = text
    file.write_text(json.dumps(values))


def test_views_and_attachments_follow(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path / "d", (4, 4, 40))
    cells = dataset.add_layer("cells", "segmentation").as_segmentation_layer()
    (tmp_path / "main.hdf5").write_bytes(b"meshes")
    attachment = MeshAttachment.from_path_and_name(tmp_path / "main.hdf5", "main", data_format="hdf5")
    cells.attachments.add_attachment_as_copy(attachment)
    view = LayerViewConfiguration(alpha=50)
    dataset.default_view_configuration = DatasetViewConfiguration(
        layers={"cells": view}, color_layer_order=("cells", "x"), natively_rendered_layer_name="cells", zoom=2
    )
    cells.name = "segments"
    assert dataset.default_view_configuration == DatasetViewConfiguration(
        layers={"segments": view}, color_layer_order=("segments", "x"), natively_rendered_layer_name="segments", zoom=2
    )
    assert isinstance(dataset.get_layer("segments"), SegmentationLayer)
    (mesh,) = cells.attachments.meshes
    assert mesh.path == tmp_path / "d" / "segments" / "meshes" / "main.hdf5"
    assert Path(mesh.path).read_bytes() == b"meshes"


def test_a_layer_that_is_a_link_or_has_no_directory(layer: Layer, tmp_path: Path) -> None:
    dataset = Dataset(tmp_path / "new", (4, 4, 40))
    linked = dataset.add_symlink_layer(layer)
    linked.name = "link"
    assert (tmp_path / "new" / "link").readlink() == layer.path
    assert not (tmp_path / "new" / "em").is_symlink()
    referred = dataset.add_layer_as_ref(layer, new_layer_name="referred")
    referred.name = "named"
    assert list(dataset.layers) == ["link", "named"]
    assert all(np.array_equal(each.get_mag(1).read(), VOXELS) for each in dataset.layers.values())
    assert np.array_equal(layer.get_mag(1).read(), VOXELS)


def test_a_run_that_was_stopped_resumes_under_the_new_name(layer: Layer) -> None:
    layer.downsample(coarsest_mag=8)
    live = layer.dataset._live
    live.update(lambda properties: properties.with_layer(properties.layer("em").without_mag(Mag("8-8-1"))))  # as if it had not ended
    made = (layer.path / "8-8-1" / "c" / "0" / "0" / "0" / "0").stat()
    layer.name = "raw"
    layer.downsample(coarsest_mag=8)
    now = (layer.path / "8-8-1" / "c" / "0" / "0" / "0" / "0").stat()
    assert (now.st_ino, now.st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    recipe = load_recipe(live.locations, "raw", Mag("8-8-1"))
    assert recipe is not None
    assert (recipe.layer, recipe.made_as) == ("raw", "em")


def test_the_published_marker_is_that_of_the_new_name(layer: Layer) -> None:
    published = layer.dataset.path / ".wkpipe" / "published"
    before = (published / "em.json").read_text()
    layer.name = "raw"
    assert list(published.iterdir()) == []
    layer.downsample(coarsest_mag=4)
    assert [path.name for path in published.iterdir()] == ["raw.json"]
    assert (published / "raw.json").read_text() == before.replace('"layer": "em"', '"layer": "raw"')


def test_a_lost_recipe_is_found_again(layer: Layer) -> None:
    layer.name = "raw"
    recipe = layer.dataset.path / ".wkpipe" / "ledger" / "raw" / "2-2-1" / "recipe.json"
    before = json.loads(recipe.read_bytes())
    recipe.unlink()
    report = verify_dataset(layer.dataset.path)
    repair_dataset(layer.dataset.path, report, Selection(), state_dir=None, sizing=Sizing.local(1), run=run_here)
    assert json.loads(recipe.read_bytes()) == before
    assert is_up_to_date(layer)


@SOME
def test_the_images_of_a_renamed_layer_are_found_for_a_repair(tmp_path: Path) -> None:
    (tmp_path / "em").mkdir()
    for number in range(3):
        tifffile.imwrite(tmp_path / "em" / f"{number}.tif", VOXELS[0, :, :, number])
    dataset = Dataset.from_images(tmp_path / "em", tmp_path / "d", (4, 4, 40), **SMALL)
    layer = dataset.get_layer("em")
    layer.name = "raw"
    shard = next(path for path in (layer.path / "1" / "c").rglob("*") if path.is_file())
    before = shard.read_bytes()
    shard.write_bytes(before[:-40])
    report = verify_dataset(dataset.path)
    assert report.problems
    repair_dataset(dataset.path, report, Selection(), state_dir=None, sizing=Sizing.local(1), run=run_here)
    assert shard.read_bytes() == before
    assert not verify_dataset(dataset.path).problems


def test_a_writer_of_another_process_ends_first(layer: Layer) -> None:
    unit, done = UnitLock(layer._entry, Mag(1), "storage shard 0"), threading.Event()

    def leave() -> None:
        done.set()
        unit.__exit__()

    unit.__enter__()
    timer = threading.Timer(0.2, leave)
    timer.start()
    layer.name = "raw"
    assert done.is_set()
    timer.join()


# -- refused --------------------------------------------------------------------------------------------------------


def _link(layer: Layer) -> None:
    layer.dataset.add_layer("other", "color", bounding_box=BOX).add_symlink_mag(layer.get_mag(1))


def _links_of_attachments(layer: Layer) -> None:
    cells = layer.dataset.add_layer("cells", "segmentation").as_segmentation_layer()
    (layer.path / "main.hdf5").write_bytes(b"")
    cells.attachments.add_symlink_attachments(MeshAttachment.from_path_and_name(layer.path / "main.hdf5", "main", data_format="hdf5"))


def _stopped_remake(layer: Layer) -> None:
    shutil.copytree(layer.dataset.path / ".wkpipe" / "ledger" / "em", layer.dataset.path / ".wkpipe" / "remade" / "em" / "ledger")


REFUSED: dict[str, tuple[Callable[[Layer], object], object, str]] = {
    "taken": (lambda layer: layer.dataset.add_layer("raw", "color"), "raw", "already has a layer raw"),
    "alike": (lambda layer: layer.dataset.add_layer("RAW", "color"), "raw", "take raw for the same name"),
    "directory": (lambda layer: (layer.dataset.path / "raw").mkdir(), "raw", "raw exists but is not a layer"),
    "broken link": (lambda layer: (layer.dataset.path / "raw").symlink_to("nowhere"), "raw", "raw exists but is not a layer"),
    "slash": (lambda _: None, "a/b", "'a/b' is not possible"),
    "dot": (lambda _: None, ".raw", "'.raw' is not possible"),
    "empty": (lambda _: None, "", "'' is not possible"),
    "other characters": (lambda _: None, "größe", "is not possible"),
    "of a file": (lambda _: None, "zarr.json", "name of a file of the dataset"),
    "long": (lambda _: None, "a" * 256, "256 bytes"),
    "path": (lambda layer: _change_path(layer.dataset, "em", f"./em{'/.' * 1495}/1"), "r" * 200, "mags.*path: this cannot be stored"),
    "type": (lambda _: None, 5, "layer name 5 is not possible"),
    "link": (_link, "raw", "layer em: the link .*/other/1 leads to its data"),
    "link of a layer": (
        lambda layer: layer.dataset.add_symlink_layer(layer, new_layer_name="o"),
        "raw",
        "the link .*/d/o leads to its data",
    ),
    "link of an attachment": (_links_of_attachments, "raw", "the link .*/cells/meshes/main.hdf5 leads to its data"),
    "remake": (_stopped_remake, "raw", "being rebuilt by a run that was stopped"),
    "recipe": (lambda layer: (layer.dataset.path / ".wkpipe/ledger/em/2-2-1/recipe.json").write_text("{"), "raw", "recipe.json"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_follow_is_refused(case: str, layer: Layer) -> None:
    prepare, name, text = REFUSED[case]
    prepare(layer)
    before = entries(layer.dataset.path)
    with pytest.raises(InputRefused, match=text) as refused:
        layer.name = name  # type: ignore[assignment]
    assert "\n" not in str(refused.value)
    assert isinstance(refused.value, TypeError) == (case == "type")
    assert entries(layer.dataset.path) == before
    assert layer.name == "em"


def test_not_of_a_read_only_dataset_and_not_during_a_run(layer: Layer) -> None:
    with pytest.raises(RuntimeError, match="read-only"):
        Dataset.open(layer.dataset.path, read_only=True).get_layer("em").name = "raw"
    before = entries(layer.dataset.path)
    with DatasetLease(layer.dataset._live.fixed), pytest.raises(TryAgain, match="is being worked on by"):
        layer.name = "raw"
    assert entries(layer.dataset.path) == before
    layer.dataset.delete_layer("em")
    with pytest.raises(LayerNotFound):
        layer.name = "raw"


def test_a_state_elsewhere_must_be_given(layer: Layer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, states = layer.dataset.path, tmp_path / "states"
    shutil.rmtree(dataset / ".wkpipe")
    with monkeypatch.context() as given:
        given.setenv("WKPIPE_STATE_DIR", str(states))
        Dataset.open(dataset).get_layer("em").downsample(coarsest_mag=8)
    with pytest.raises(InputRefused, match=r"wkpipe's state of it seems to be in .*set WKPIPE_STATE_DIR"):
        layer.name = "raw"
    monkeypatch.setenv("WKPIPE_STATE_DIR", str(states))
    ours = Dataset.open(dataset).get_layer("em")
    ours.name = "raw"
    assert [path.name for path in states.glob("*/ledger/*")] == ["raw"]


# -- stopped --------------------------------------------------------------------------------------------------------


def note(layer: Layer, **values: str) -> Locations:
    at = layer.dataset._live.fixed
    renaming_note(at).path.write_bytes(Renaming(**{"old": "em", "new": "raw", "state": str(at.state), **values}).to_bytes())
    return at


def test_the_next_command_ends_what_was_stopped(layer: Layer, capsys: pytest.CaptureFixture[str]) -> None:
    at = note(layer)
    layer.path.rename(layer.path.with_name("raw"))
    shutil.rmtree(at.dataset / ".wkpipe" / "published")  # so that there is nothing to run
    for command in ("info", "verify"):
        assert run_app([command, str(at.dataset)]) == 75
        assert "a call that gives layer em the name raw has not ended" in capsys.readouterr().err
    assert run_app(["downsample", str(at.dataset), "--dry-run"]) == 75
    reader = Dataset.open(at.dataset, read_only=True)
    with pytest.raises(TryAgain, match="has not ended"):
        reader.get_layer("em").get_mag(1).read()
    with pytest.raises(TryAgain, match="has not ended"):
        layer.get_mag(1).write(VOXELS)
    capsys.readouterr()
    assert run_app(["downsample", str(at.dataset), "--coarsest-mag", "4"]) == 0
    assert "layer em has the name raw now" in capsys.readouterr().err
    assert is_up_to_date(Dataset.open(at.dataset).get_layer("raw"))


@pytest.mark.parametrize(
    "values, text",
    [
        ({"old": "no", "new": "em"}, None),
        ({"new": "../outside"}, "is not possible.*remove the file"),
        ({"old": "../outside"}, "is not possible.*remove the file"),
        ({"old": "no", "new": "neither"}, "neither a layer no nor a layer neither, expected one of them; remove the file"),
        ({"state": "/other"}, "its state in /other"),
    ],
)
def test_a_note_of_somebody_else_does_no_harm(values: dict[str, str], text: str | None, layer: Layer, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    at = note(layer, **values)
    if text is None:  # it has ended already, but for the note
        Dataset.open(at.dataset)
        assert not renaming_note(at).is_there()
    else:
        before = entries(at.dataset)
        with pytest.raises(WkpipeError, match=text):
            layer.name = "raw2"
        assert entries(at.dataset) == before
    assert (tmp_path / "outside").is_dir()
    assert (at.dataset / "em" / "1").is_dir()


def test_a_directory_in_the_way_of_what_was_stopped(layer: Layer) -> None:
    at = note(layer)
    (at.dataset / "raw").mkdir()
    with pytest.raises(InputRefused, match="raw exists, so that em cannot get that name; move it away"):
        Dataset.open(at.dataset)
    (at.dataset / "raw").rmdir()
    assert list(Dataset.open(at.dataset).layers) == ["raw"]

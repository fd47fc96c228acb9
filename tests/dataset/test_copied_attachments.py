"""Attachments are copied with their layers; what cannot be copied is refused before anything is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from tests.torture.faulty_disk import FaultyOs
from tests.torture.torture_helpers import in_child
from wkpipe import BoundingBox, Dataset
from wkpipe.errors import AlreadyExists, InputRefused, NotWritable, UnreadableInput, WkpipeError
from wkpipe.verify.dataset import verify_dataset

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated")
COPIES: dict[str, Callable[[Dataset, Path], object]] = {
    "add_layer_as_copy": lambda raw, path: Dataset(path, (4, 4, 40)).add_layer_as_copy(raw.get_layer("cells")),
    "add_copy_layer": lambda raw, path: Dataset(path, (4, 4, 40)).add_copy_layer(raw.get_layer("cells")),
    "add_fs_copy_layer": lambda raw, path: Dataset(path, (4, 4, 40)).add_fs_copy_layer(raw.get_layer("cells")),
    "copy_dataset": lambda raw, path: raw.copy_dataset(path),
    "fs_copy_dataset": lambda raw, path: raw.fs_copy_dataset(path),
}


@pytest.fixture
def raw(tmp_path: Path) -> Dataset:
    """Return a dataset whose layer has attachments of all places: in its directory, outside of it, a directory, and a URL."""
    dataset = Dataset(tmp_path / "raw", voxel_size=(4, 4, 40))
    box = BoundingBox((0, 0, 0), (16, 16, 16))
    cells = dataset.add_layer("cells", "segmentation", dtype="uint32", bounding_box=box).as_segmentation_layer()
    cells.add_mag(1).write(np.full(box.size.to_tuple(), 7, np.uint32))
    (cells.path / "meshes").mkdir()
    for path, text in ((cells.path / "meshes/m.hdf5", "mesh"), (tmp_path / "outside.hdf5", "connectome")):
        path.write_text(text)
    (tmp_path / "agg/inner").mkdir(parents=True)
    (tmp_path / "agg/inner/zarr.json").write_text("agglomerate")
    cells.attachments.add_mesh(cells.path / "meshes/m.hdf5", name="main", data_format="hdf5")
    cells.attachments.add_connectome(tmp_path / "outside.hdf5", name="all", data_format="hdf5")
    cells.attachments.add_agglomerate(tmp_path / "agg", name="agg", data_format="zarr3")
    cells.attachments.add_mesh("https://example.com/far", name="far", data_format="neuroglancerPrecomputed")
    return dataset


def entries(dataset: Dataset) -> dict[str, dict[str, str]]:
    """Return names and paths of a layer's attachments, by kind, as the file has them."""
    properties = dataset._live.layer("cells").attachments
    found: dict[str, dict[str, str]] = {}
    for kind, entry in properties.each():
        found.setdefault(kind, {})[entry.name] = entry.path
    return found


COPIED = {
    "meshes": {"main": "./cells/meshes/main.hdf5", "far": "https://example.com/far"},
    "connectomes": {"all": "./cells/connectomes/all.hdf5"},
    "agglomerates": {"agg": "./cells/agglomerates/agg"},
}


@pytest.mark.parametrize("name", COPIES)
def test_attachments_are_copied_with_their_layer(raw: Dataset, name: str) -> None:
    COPIES[name](raw, copied := raw.path.with_name("copy"))
    shutil.rmtree(raw.path)
    (copied.with_name("outside.hdf5")).unlink()
    dataset = Dataset.open(copied)
    assert entries(dataset) == COPIED
    cells = copied / "cells"
    assert ((cells / "meshes/main.hdf5").read_text(), (cells / "connectomes/all.hdf5").read_text()) == ("mesh", "connectome")
    assert (cells / "agglomerates/agg/inner/zarr.json").read_text() == "agglomerate"
    assert int(dataset.get_layer("cells").get_mag(1).read().max()) == 7
    assert not verify_dataset(copied).problems


def test_a_layer_may_be_copied_without_them(raw: Dataset) -> None:
    copied = Dataset(raw.path.with_name("copy"), (4, 4, 40))
    shutil.rmtree(raw.path / "cells/meshes")
    layer = copied.add_layer_as_copy(raw.get_layer("cells"), with_attachments=False)
    assert entries(copied) == {}
    assert not (layer.path / "meshes").exists()


@pytest.mark.parametrize("what", ["gone", "a link", "a name"])
@pytest.mark.parametrize("name", ["add_layer_as_copy", "copy_dataset"])
def test_what_cannot_be_copied_is_refused_first(raw: Dataset, what: str, name: str) -> None:
    mesh = raw.path / "cells/meshes/m.hdf5"
    if what == "gone":
        mesh.unlink()
    elif what == "a link":
        (raw.path.with_name("agg") / "link").symlink_to("/etc/hostname")
    else:
        file = raw.path / "datasource-properties.json"
        file.write_text(file.read_text().replace('"main"', '"../../x"'))
    kind = UnreadableInput if what == "gone" else InputRefused
    with pytest.raises(kind, match=r"layer cells: (meshes|agglomerates): .*pass with_attachments=False") as refused:
        COPIES[name](raw, copied := raw.path.with_name("copy"))
    assert isinstance(refused.value, WkpipeError)
    assert "\n" not in str(refused.value)
    if copied.exists():
        assert not Dataset.open(copied).layers
        assert not (copied / "cells").exists()


class Broken:
    """An executor whose calls fail: the run stops before the first voxel."""

    def submit(self, *_: object) -> Future[object]:
        answer: Future[object] = Future()
        answer.set_exception(NotWritable("the disk is full"))
        return answer


@pytest.fixture
def stopped(raw: Dataset) -> Dataset:
    """Return a dataset to which the layer was being copied when the run failed: its attachments are there but not visible."""
    copied = Dataset(raw.path.with_name("copy"), (4, 4, 40))
    with pytest.raises(NotWritable):
        copied.add_layer_as_copy(raw.get_layer("cells"), executor=Broken())
    assert not copied.layers
    assert (copied.path / "cells/meshes/main.hdf5").read_text() == "mesh"
    return copied


def test_attachments_are_visible_with_their_layer(raw: Dataset, stopped: Dataset) -> None:
    """A repeated call takes those that are copied as they are, and copies those again whose source has changed."""
    files = [stopped.path / "cells/meshes/main.hdf5", stopped.path / "cells/agglomerates/agg/inner/zarr.json"]
    before = [path.stat().st_ino for path in files]
    raw.path.with_name("outside.hdf5").write_text("changed")
    stopped.add_layer_as_copy(raw.get_layer("cells"))
    assert entries(stopped) == COPIED
    assert [path.stat().st_ino for path in files] == before
    assert (stopped.path / "cells/connectomes/all.hdf5").read_text() == "changed"
    assert not (stopped.path / ".wkpipe/attaching/cells").exists()
    assert not verify_dataset(stopped.path).problems


@pytest.mark.parametrize("is_noted", [True, False])
def test_files_of_others_are_neither_taken_nor_replaced(raw: Dataset, stopped: Dataset, is_noted: bool) -> None:
    mine, note = stopped.path / "cells/meshes/main.hdf5", stopped.path / ".wkpipe/attaching/cells"
    mine.write_text("mine!")
    if not is_noted:
        note.write_text("[broken")
    for _ in range(2):
        with pytest.raises(AlreadyExists, match=r"main\.hdf5 exists but is not an attachment"):
            stopped.add_layer_as_copy(raw.get_layer("cells"))
        assert not stopped.layers
        assert mine.read_text() == "mine!"
    mine.unlink()
    if not is_noted:
        shutil.rmtree(stopped.path / "cells")
    stopped.add_layer_as_copy(raw.get_layer("cells"))
    assert entries(stopped) == COPIED


def test_the_note_of_an_earlier_version_lets_its_attachment_be_replaced(raw: Dataset, stopped: Dataset) -> None:
    (stopped.path / ".wkpipe/attaching/cells").write_text('"meshes/main.hdf5"')
    for name in ("agglomerates", "connectomes"):
        shutil.rmtree(stopped.path / "cells" / name)
    (stopped.path / "cells/meshes/main.hdf5").write_text("old")
    stopped.add_layer_as_copy(raw.get_layer("cells"))
    assert (stopped.path / "cells/meshes/main.hdf5").read_text() == "mesh"


def test_a_note_that_a_kill_left_endangers_no_attachment(raw: Dataset) -> None:
    """The layer was visible, and the note not removed yet. The attachment then gets another name, but its file stays."""
    copied = Dataset(raw.path.with_name("copy"), (4, 4, 40))
    with pytest.raises(NotWritable):
        copied.add_layer_as_copy(raw.get_layer("cells"), executor=Broken())
    note = (copied.path / ".wkpipe/attaching/cells").read_bytes()
    cells = copied.add_layer_as_copy(raw.get_layer("cells")).as_segmentation_layer()
    (copied.path / ".wkpipe/attaching/cells").write_bytes(note)
    cells.attachments.rename_attachment(cells.attachments.meshes[0], new_name="first")
    with pytest.raises(AlreadyExists, match="exists but is not an attachment"):
        cells.attachments.add_attachment_as_copy(raw.get_segmentation_layer("cells").attachments.meshes[0])
    assert Path(cells.attachments.meshes[0].path).read_text() == "mesh"


def test_two_attachments_with_one_place_are_refused(raw: Dataset) -> None:
    cells = raw.get_segmentation_layer("cells")
    cells.attachments.add_mesh(raw.path.with_name("agg"), name="main.hdf5", data_format="zarr3")
    copied = Dataset(raw.path.with_name("copy"), (4, 4, 40))
    with pytest.raises(AlreadyExists, match=r"two attachments would be copied to meshes/main\.hdf5; .*with_attachments=False"):
        copied.add_layer_as_copy(cells)
    assert not (copied.path / "cells").exists()


def test_a_layer_without_mags_takes_its_attachments_along(raw: Dataset) -> None:
    raw.get_layer("cells").delete_mag(1)
    copied = raw.copy_dataset(raw.path.with_name("copy"))
    assert entries(copied) == COPIED
    assert (copied.path / "cells/meshes/main.hdf5").read_text() == "mesh"


@pytest.mark.slow
@pytest.mark.sampled(every=4)
@pytest.mark.parametrize("name", ["copy_dataset", "fs_copy_dataset", "add_layer_as_copy"])
def test_a_killed_copy_is_completed(raw: Dataset, tmp_path: Path, name: str) -> None:
    """A kill leaves no layer, or a whole one; the same call completes what is not there."""

    def copy(to: Path) -> None:
        if name == "add_layer_as_copy":
            Dataset(to, (4, 4, 40), exist_ok=True).add_layer_as_copy(raw.get_layer("cells"))
        else:
            getattr(raw, name)(to, exists_ok=True)

    def check_whole(root: Path) -> None:
        assert entries(Dataset.open(root)) == COPIED
        assert (root / "cells/connectomes/all.hdf5").read_text() == "connectome"
        assert (root / "cells/agglomerates/agg/inner/zarr.json").read_text() == "agglomerate"
        assert not verify_dataset(root).problems

    traced = in_child(lambda: copy(tmp_path / "whole"), FaultyOs(is_traced=True))
    assert traced.exit_code == 0, traced
    was_whole = set()
    for at in range(1, traced.calls + 1, max(1, traced.calls // 10)):
        root = tmp_path / f"at{at}"
        assert in_child(lambda root=root: copy(root), FaultyOs(at, "kill")).exit_code is None
        is_whole = (root / "datasource-properties.json").exists() and "cells" in Dataset.open(root).layers
        was_whole.add(is_whole)
        if is_whole:
            check_whole(root)
        if not is_whole or name != "add_layer_as_copy":
            again = in_child(lambda root=root: copy(root), FaultyOs())
            assert again.exit_code == 0, f"call {at}: {again}"
        check_whole(root)
    assert False in was_whole

"""Attachments of segmentation layers: kept, listed, added by reference or as a copy, renamed and deleted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.dataset.test_layer_references import array_of, facts, state
from wkpipe import (
    AgglomerateAttachment,
    Attachment,
    AttachmentDataFormat,
    Attachments,
    BoundingBox,
    CumsumAttachment,
    Dataset,
    MeshAttachment,
    SegmentationLayer,
)
from wkpipe.errors import NotWritable, TryAgain, WkpipeError
from wkpipe.storage.lease import RunLease
from wkpipe.stored.locations import Locations


@pytest.fixture
def layer(tmp_path: Path) -> SegmentationLayer:
    box = BoundingBox((0, 0, 0), (32, 32, 32))
    return Dataset(tmp_path / "d", (4, 4, 4)).add_layer("cells", "segmentation", bounding_box=box).as_segmentation_layer()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    root.mkdir()
    (root / "main.hdf5").write_bytes(b"meshes" * 1000)
    array_of(root / "tree")
    return root


def written(layer: SegmentationLayer) -> Any:
    values = json.loads((layer.dataset.path / "datasource-properties.json").read_bytes())
    return next(found for found in values["dataLayers"] if found["name"] == layer.name).get("attachments")


def test_attachments_by_reference(layer: SegmentationLayer, files: Path) -> None:
    there = layer.attachments
    assert there.is_empty
    mesh = there.add_mesh(files / "main.hdf5", name="main", data_format=AttachmentDataFormat.HDF5)
    assert (type(mesh), mesh.name, mesh.path, mesh.data_format) == (MeshAttachment, "main", files / "main.hdf5", "hdf5")
    there.add_agglomerate("more/tree", name="tree", data_format="zarr3")
    there.add_connectome("https://example.org/c", name="c.1", data_format="hdf5")
    there.set_segment_index(files / "main.hdf5", name="index", data_format="hdf5")
    there.set_segment_index(files / "other.hdf5", name="index2", data_format="hdf5")
    there.set_cumsum(files / "c.json", name="sums", data_format="json")
    assert written(layer) == {
        "meshes": [{"name": "main", "path": str(files / "main.hdf5"), "dataFormat": "hdf5"}],
        "agglomerates": [{"name": "tree", "path": "./more/tree", "dataFormat": "zarr3"}],
        "connectomes": [{"name": "c.1", "path": "https://example.org/c", "dataFormat": "hdf5"}],
        "segmentIndex": {"name": "index2", "path": str(files / "other.hdf5"), "dataFormat": "hdf5"},
        "cumsum": {"name": "sums", "path": str(files / "c.json"), "dataFormat": "json"},
    }
    again = Dataset.open(layer.dataset.path).get_segmentation_layer("cells").attachments
    assert list(again) == list(there)
    assert (again.meshes, again.segment_statistics) == ((mesh,), None)
    assert again.agglomerates[0].path == layer.dataset.path / "more" / "tree"
    assert (again.cumsum, type(again.cumsum)) == (there.cumsum, CumsumAttachment)
    assert again.segment_index is not None
    assert again.segment_index.name == "index2"


@pytest.mark.parametrize("is_tree", [False, True])
def test_an_attachment_is_copied(layer: SegmentationLayer, files: Path, is_tree: bool) -> None:
    kind: Any = AgglomerateAttachment if is_tree else MeshAttachment
    path = files / ("tree" if is_tree else "main.hdf5")
    before = facts(path)
    mine = kind.from_path_and_name(path, "new", data_format="zarr3" if is_tree else "hdf5")
    copy = layer.attachments.add_attachment_as_copy(mine)
    key = "agglomerates/new" if is_tree else "meshes/new.hdf5"
    assert copy.path == layer.path / key
    assert written(layer)[key.split("/")[0]] == [{"name": "new", "path": f"./cells/{key}", "dataFormat": mine.data_format}]
    files_of = {str(each.relative_to(copy.path)): each.read_bytes() for each in [copy.path, *copy.path.rglob("*")] if each.is_file()}
    assert files_of == {str(each.relative_to(path)): each.read_bytes() for each in [path, *path.rglob("*")] if each.is_file()}
    assert facts(path) == before
    renamed = layer.attachments.rename_attachment(copy, new_name="old")
    assert (renamed.name, renamed.path) == ("old", copy.path)
    layer.attachments.delete_attachment(renamed)
    assert layer.attachments.is_empty
    assert not (layer.path / key).exists()
    assert facts(path) == before


def test_a_layer_by_reference_has_the_attachments(layer: SegmentationLayer, files: Path, tmp_path: Path) -> None:
    copy = layer.attachments.add_copy_attachments(MeshAttachment.from_path_and_name(files / "main.hdf5", "a", data_format="hdf5"))[0]
    layer.attachments.add_connectome("https://example.org/c", name="c", data_format="hdf5")
    other = Dataset(tmp_path / "other", (4, 4, 4)).add_layer_as_ref(layer).as_segmentation_layer()
    assert list(other.attachments) == list(layer.attachments)
    assert written(other)["meshes"][0]["path"] == str(copy.path)
    other.attachments.delete_attachment(other.attachments.meshes[0])
    assert Path(copy.path).exists()
    twice = other.attachments.add_attachment_as_ref(copy, new_name="b")
    assert (twice.name, twice.path) == ("b", copy.path)
    assert other.attachments.add_attachments(copy)[0] == copy
    own = layer.attachments.add_attachment_as_ref(copy, new_name="b")
    layer.attachments.delete_attachment(own)
    assert Path(copy.path).exists(), "another attachment uses the file"
    other.dataset.delete_layer("cells")
    assert Path(copy.path).exists()


@pytest.mark.parametrize("relative", [False, True])
def test_an_attachment_by_link(layer: SegmentationLayer, files: Path, relative: bool) -> None:
    before = facts(files)
    linked = layer.attachments.add_symlink_attachments(mesh_of(files / "main.hdf5", name="main"), make_relative=relative)[0]
    link = layer.path / "meshes" / "main.hdf5"
    assert str(link.readlink()) == ("../../../files/main.hdf5" if relative else str(files / "main.hdf5"))
    assert written(layer)["meshes"][0]["path"] == ("../files/main.hdf5" if relative else str(files / "main.hdf5"))
    assert linked == layer.attachments.meshes[0]
    layer.attachments.delete_attachment(linked)
    assert not link.is_symlink()
    assert facts(files) == before


def test_files_of_older_versions_become_attachments(layer: SegmentationLayer) -> None:
    for key in (
        *("meshes/m.hdf5", "meshes/notes.txt", "meshes/tree/zarr.json", "agglomerates/a.hdf5", "agglomerates/cumsum.json"),
        *("connectomes/c.hdf5", "segmentIndex/segmentIndex.hdf5", "segmentIndex/other.hdf5"),
    ):
        (layer.path / key).parent.mkdir(parents=True, exist_ok=True)
        (layer.path / key).write_text("{}")
    layer.attachments.add_mesh("cells/meshes/m.hdf5", name="mine", data_format="hdf5")
    for _ in range(2):
        layer.attachments.detect_legacy_attachments()
        assert written(layer) == {
            "meshes": [{"name": "mine", "path": "./cells/meshes/m.hdf5", "dataFormat": "hdf5"}],
            "agglomerates": [{"name": "a", "path": "./cells/agglomerates/a.hdf5", "dataFormat": "hdf5"}],
            "connectomes": [{"name": "c", "path": "./cells/connectomes/c.hdf5", "dataFormat": "hdf5"}],
            "segmentIndex": {"name": "segmentIndex", "path": "./cells/segmentIndex/segmentIndex.hdf5", "dataFormat": "hdf5"},
            "cumsum": {"name": "cumsum", "path": "./cells/agglomerates/cumsum.json", "dataFormat": "json"},
        }


Call = Callable[[Attachments, Attachment, Path], object]
REFUSED: dict[str, tuple[Call, tuple[type[Exception], ...]]] = {
    "name taken": (lambda a, m, _: a.add_attachment_as_ref(m), (ValueError,)),
    "copy taken": (lambda a, m, _: a.add_attachment_as_copy(m), (ValueError,)),
    "name": (lambda a, _, f: a.add_mesh(f / "main.hdf5", name="a/b", data_format="hdf5"), (ValueError,)),
    "dots": (lambda a, _, f: a.add_mesh(f / "main.hdf5", name="..", data_format="hdf5"), (ValueError,)),
    "format": (lambda a, _, f: a.add_agglomerate(f / "main.hdf5", name="a", data_format="json"), (ValueError,)),
    "no format": (lambda a, _, f: a.add_agglomerate(f / "main.hdf5", name="a", data_format="odd"), (ValueError,)),
    "path": (lambda a, *_: a.add_mesh(5, name="a", data_format="hdf5"), (TypeError, ValueError)),
    "type": (lambda a, *_: a.add_attachment_as_ref("main"), (TypeError, ValueError)),
    "no kind": (lambda _, __, f: Attachment.from_path_and_name(f, "a", data_format="hdf5"), (ValueError,)),
    "missing": (lambda a, _, f: a.add_copy_attachments(mesh_of(f / "no.hdf5")), (ValueError,)),
    "remote": (lambda a, *_: a.add_copy_attachments(mesh_of("https://example.org/m")), (ValueError,)),
    "link inside": (lambda a, _, f: a.add_copy_attachments(mesh_of(f / "linked", "zarr3")), (ValueError,)),
    "in the way": (lambda a, _, f: a.add_copy_attachments(mesh_of(f / "main.hdf5", name="there")), (IndexError, ValueError)),
    "link taken": (lambda a, m, _: a.add_symlink_attachments(m), (ValueError,)),
    "link in the way": (lambda a, _, f: a.add_symlink_attachments(mesh_of(f / "main.hdf5", name="there")), (IndexError, ValueError)),
    "remote link": (lambda a, *_: a.add_symlink_attachments(mesh_of("https://example.org/m")), (ValueError,)),
    "rename taken": (lambda a, m, _: a.rename_attachment(m, new_name="second"), (ValueError,)),
    "rename of another": (lambda a, _, f: a.rename_attachment(mesh_of(f / "main.hdf5"), new_name="a"), (ValueError,)),
    "delete another": (lambda a, _, f: a.delete_attachment(mesh_of(f / "main.hdf5")), (ValueError,)),
}


def mesh_of(path: Path | str, data_format: str = "hdf5", name: str = "new") -> MeshAttachment:
    return MeshAttachment.from_path_and_name(path, name, data_format=data_format)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory for all calls that are refused: none of them changes it."""
    root = tmp_path_factory.mktemp("ground")
    (root / "main.hdf5").touch()
    layer = Dataset(root / "d", (4, 4, 4)).add_layer("cells", "segmentation").as_segmentation_layer()
    for name in ("main", "second"):
        layer.attachments.add_mesh(root / "main.hdf5", name=name, data_format="hdf5")
    (layer.path / "meshes").mkdir(parents=True)
    (layer.path / "meshes" / "there.hdf5").touch()
    (root / "linked").mkdir()
    (root / "linked" / "more").symlink_to("/etc")
    return root


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_call_leaves_no_trace(name: str, ground: Path) -> None:
    there = Dataset.open(ground / "d").get_segmentation_layer("cells").attachments
    before = state(ground)
    call, kinds = REFUSED[name]
    with pytest.raises(WkpipeError) as caught:
        call(there, there.meshes[0], ground)
    assert [kind for kind in kinds if not isinstance(caught.value, kind)] == []
    assert state(ground) == before


def test_neither_a_run_nor_a_read_only_dataset_is_disturbed(layer: SegmentationLayer, files: Path) -> None:
    mesh = mesh_of(files / "main.hdf5")
    with RunLease(Locations.of(layer.dataset.path).locks), pytest.raises(TryAgain):
        layer.attachments.add_attachment_as_copy(mesh)
    there = Dataset.open(layer.dataset.path, read_only=True).get_segmentation_layer("cells").attachments
    for call in (there.add_attachment_as_copy, there.add_attachment_as_ref):
        with pytest.raises(NotWritable):
            call(mesh)
    assert there.is_empty


def test_nothing_is_removed_or_written_through_a_link(layer: SegmentationLayer, files: Path, tmp_path: Path) -> None:
    """The properties, and links in the dataset, may have been made by somebody else."""
    outside = tmp_path / "outside"
    (outside / "meshes").mkdir(parents=True)
    (outside / "meshes" / "main.hdf5").write_bytes(b"kept")
    layer.path.mkdir()
    (layer.path / "meshes").symlink_to(outside / "meshes")
    before = facts(outside)
    there = layer.attachments
    there.delete_attachment(there.add_mesh("cells/meshes/main.hdf5", name="main", data_format="hdf5"))
    there.delete_attachment(there.add_mesh("../outside/meshes/main.hdf5", name="up", data_format="hdf5"))
    for call in (there.add_attachment_as_copy, there.add_symlink_attachments):
        with pytest.raises(WkpipeError, match="is a link"):
            call(mesh_of(files / "main.hdf5"))
    assert there.is_empty
    assert facts(outside) == before

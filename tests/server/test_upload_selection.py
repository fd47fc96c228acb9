"""The files that are sent, and those that make an upload impossible."""

from __future__ import annotations

import json
import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tests.verify.helpers import make_dataset, records_of, replace_records, write_images
from wkpipe.errors import DamagedShard, InputRefused, IntegrityError, LayerNotFound, MagNotFound, MetadataError, MissingShard
from wkpipe.geometry import Mag
from wkpipe.metadata.properties import PROPERTIES_FILE_NAME, read_properties
from wkpipe.server.upload.selection import DatasetPart, FilesToSend, select
from wkpipe.storage.local import object_at
from wkpipe.storage.record import DAMAGED, DIRTY
from wkpipe.stored.dataset import StoredDataset


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("dataset")
    return make_dataset(write_images(base / "images"), base / "data", "zarr3")


@pytest.fixture
def dataset(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "data"))


def chosen(dataset: Path, part: DatasetPart = DatasetPart()) -> FilesToSend:  # noqa: B008
    return select(StoredDataset.open(dataset), part)


def paths(selection: FilesToSend) -> list[str]:
    return [file.path for file in selection.files]


def change_properties(dataset: Path, **of_first_mag: object) -> None:
    file = dataset / PROPERTIES_FILE_NAME
    content = json.loads(file.read_bytes())
    content["dataLayers"][0]["mags"][0].update(of_first_mag)
    file.write_text(json.dumps(content))


def test_files_are_those_below_the_mags_and_the_properties_come_last(dataset: Path) -> None:
    for stray in (".env", "notes.txt", "color/zarr.json", "color/notes.txt", "color/1/.nfs0001", "color/1/c/.hidden/file", "zarr.json"):
        (dataset / stray).parent.mkdir(parents=True, exist_ok=True)
        (dataset / stray).write_text("not to be sent")
    selection = chosen(dataset)
    mags = [str(entry.mag) for entry in read_properties(object_at(dataset / PROPERTIES_FILE_NAME)).layers[0].mags]
    below = [path for mag in mags for path in (dataset / "color" / mag).rglob("*") if path.is_file()]
    expected = {str(path.relative_to(dataset)) for path in below if "/." not in str(path.relative_to(dataset))}
    assert paths(selection)[-1] == PROPERTIES_FILE_NAME
    assert set(paths(selection)) == expected | {PROPERTIES_FILE_NAME}
    assert selection.size == sum((dataset / path).stat().st_size for path in paths(selection))
    assert selection.files[-1].content == (dataset / PROPERTIES_FILE_NAME).read_bytes()
    assert any("hidden" in notice and ".nfs0001" in notice for notice in selection.notices)


@pytest.mark.parametrize("data_format", ["zarr", "wkw"])
def test_hidden_files_of_arrays_are_data(data_format: str, tmp_path: Path) -> None:
    dataset = make_dataset(write_images(tmp_path / "images"), tmp_path / "data", data_format)
    found = {path.rpartition("/")[2] for path in paths(chosen(dataset))}
    assert ({".zarray"} if data_format == "zarr" else {"header.wkw"}) <= found


def test_empty_files_and_what_is_no_file_are_left_out_with_a_notice(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (dataset / "color/1/empty").touch()
    os.mkfifo(dataset / "color/1/fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(dataset)  # names of sockets are short
        listening.bind("color/1/socket")
    selection = chosen(dataset)
    assert not {"color/1/empty", "color/1/fifo", "color/1/socket"} & set(paths(selection))
    assert any("empty" in notice and "color/1/empty" in notice for notice in selection.notices)
    assert any("not a regular file" in notice and "fifo" in notice and "socket" in notice for notice in selection.notices)


@pytest.mark.parametrize("target", ["/etc/hostname", "/etc", "../outside", "../.wkpipe", ".wkpipe/runs"])
def test_links_that_lead_out_are_refused(dataset: Path, target: str) -> None:
    (dataset.parent / "outside").write_text("secret")
    (dataset / "color/1/link").symlink_to(target if target.startswith("/") else dataset / target)
    with pytest.raises(InputRefused, match=r"color/1/link is a link that leads out of the dataset"):
        chosen(dataset)


def test_a_linked_layer_or_mag_that_leads_out_is_refused(dataset: Path) -> None:
    (dataset / "color").rename(dataset.parent / "color")
    (dataset / "color").symlink_to(dataset.parent / "color")
    with pytest.raises(InputRefused, match=r"color is a link that leads out"):
        chosen(dataset)


def test_properties_that_are_a_link_out_are_refused(dataset: Path) -> None:
    (dataset / PROPERTIES_FILE_NAME).rename(dataset.parent / "elsewhere.json")
    (dataset / PROPERTIES_FILE_NAME).symlink_to(dataset.parent / "elsewhere.json")
    with pytest.raises(InputRefused, match="is a link that leads out"):
        chosen(dataset)


def test_links_within_the_dataset_are_followed_but_not_in_circles(dataset: Path) -> None:
    (dataset / "color/1/again.json").symlink_to("zarr.json")
    assert "color/1/again.json" in paths(chosen(dataset))
    (dataset / "color/1/circle").symlink_to(dataset / "color")
    with pytest.raises(InputRefused, match="a link to a directory that contains it"):
        chosen(dataset)


@pytest.mark.parametrize("name", [b"line\nbreak", b"back\\slash", b"bell\x07", b"latin\xe4"])
def test_odd_names_are_refused(dataset: Path, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(dataset / "color/1") + b"/" + name)).write_text("x")
    with pytest.raises(InputRefused, match="this name cannot be sent"):
        chosen(dataset)


def test_names_with_spaces_and_umlauts_are_sent(dataset: Path) -> None:
    (dataset / "color/1/ä b.txt").write_text("x")
    assert "color/1/ä b.txt" in paths(chosen(dataset))


@pytest.mark.parametrize("path", ["/etc", "../other/color/1", "./color/../../x", "file:///etc", ".wkpipe/remade/color", "."])
def test_paths_that_lead_out_of_the_dataset_are_refused(dataset: Path, path: str) -> None:
    change_properties(dataset, path=path)
    with pytest.raises(InputRefused, match=r"leads out of the dataset|is hidden"):
        chosen(dataset)


REMOTE = ["https://example.org/color/1", "HTTP://example.org/x", "s3://bucket/color/1", "S3://bucket/x", "gs://bucket/color"]


@pytest.mark.parametrize("path", REMOTE)
def test_a_mag_on_another_server_is_refused(dataset: Path, path: str) -> None:
    """A server refuses it too, but only after all the rest has been sent."""
    change_properties(dataset, path=path)
    with pytest.raises(InputRefused, match=f"layer color, mag 1: it is at {path}, not in the dataset, .*leave it out with"):
        chosen(dataset)
    assert not any(path.startswith("color/1/") for path in paths(chosen(dataset, DatasetPart(finest_mag=Mag(2)))))


@pytest.mark.parametrize("path", REMOTE)
def test_an_attachment_on_another_server_is_refused(dataset: Path, path: str) -> None:
    file = dataset / PROPERTIES_FILE_NAME
    properties = json.loads(file.read_bytes())
    layer = properties["dataLayers"][0]
    layer |= {"category": "segmentation", "attachments": {"meshes": [{"name": "m", "path": path, "dataFormat": "hdf5"}]}}
    file.write_text(json.dumps(properties))
    with pytest.raises(InputRefused, match=f"attachment m: it is at {path}, not in the dataset"):
        chosen(dataset)


def test_a_mag_without_a_directory_is_refused(dataset: Path) -> None:
    shutil.rmtree(dataset / "color/1")
    with pytest.raises(MetadataError, match=r"there is no .*color/1"):
        chosen(dataset)


def test_attachments_belong_to_the_dataset(dataset: Path) -> None:
    file = dataset / PROPERTIES_FILE_NAME
    content = json.loads(file.read_bytes())
    layer = content["dataLayers"][0]
    layer |= {"category": "segmentation", "largestSegmentId": 7}
    layer["attachments"] = {"meshes": [{"name": "m", "path": "./color/meshes/m.hdf5", "dataFormat": "hdf5"}]}
    file.write_text(json.dumps(content))
    with pytest.raises(MetadataError, match="attachment m: there is no"):
        chosen(dataset)
    (dataset / "color/meshes").mkdir()
    (dataset / "color/meshes/m.hdf5").write_text("mesh")
    (dataset / "color/meshes/other.hdf5").write_text("not named")
    assert "color/meshes/m.hdf5" in paths(chosen(dataset))
    assert "color/meshes/other.hdf5" not in paths(chosen(dataset))


# -- a part ---------------------------------------------------------------------------------------------------------


def test_a_part_is_a_dataset_that_is_consistent_in_itself(dataset: Path, tmp_path: Path) -> None:
    mags = [entry.mag for entry in read_properties(object_at(dataset / PROPERTIES_FILE_NAME)).layers[0].mags]
    assert len(mags) > 2
    selection = chosen(dataset, DatasetPart(("color",), mags[1], mags[1]))
    for file in selection.files:
        (tmp_path / "copy" / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / file.path).write_bytes(file.content or (dataset / file.path).read_bytes())
    part = StoredDataset.open(tmp_path / "copy")
    (layer,) = part.properties.layers
    assert [entry.mag for entry in layer.mags] == [mags[1]]
    array = part.open_mag(layer, layer.mags[0])
    whole = StoredDataset.open(dataset)
    original = whole.open_mag(whole.layer("color"), whole.layer("color").mag(mags[1]))
    assert (array.read((0, 0, 0, 0), array.spec.shape) == original.read((0, 0, 0, 0), array.spec.shape)).all()


def test_a_part_that_is_not_there_is_refused(dataset: Path) -> None:
    with pytest.raises(LayerNotFound, match="nothing is not a layer"):
        chosen(dataset, DatasetPart(("nothing",)))
    with pytest.raises(MagNotFound, match="has no mag from 1024"):
        chosen(dataset, DatasetPart((), Mag(1024)))


# -- the ledger -----------------------------------------------------------------------------------------------------


def a_shard(dataset: Path) -> Path:
    return max((path for path in (dataset / "color/1/c").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def test_a_copied_dataset_is_held_against_the_checksums(dataset: Path) -> None:
    os.utime(a_shard(dataset))
    assert chosen(dataset).size


def test_changed_content_of_the_same_size_is_refused(dataset: Path) -> None:
    data = bytearray(a_shard(dataset).read_bytes())
    data[len(data) // 2] ^= 1
    a_shard(dataset).write_bytes(data)
    with pytest.raises(DamagedShard, match=r"another content.*wkpipe verify"):
        chosen(dataset)


def test_another_size_is_refused(dataset: Path) -> None:
    with a_shard(dataset).open("ab") as file:
        file.write(b"x")
    with pytest.raises(DamagedShard, match=r"found \d+ bytes in 1 files, expected"):
        chosen(dataset)


def test_a_missing_shard_is_refused(dataset: Path) -> None:
    a_shard(dataset).unlink()
    with pytest.raises(MissingShard, match="found no file") as found:
        chosen(dataset)
    assert isinstance(found.value, IntegrityError)


@pytest.mark.parametrize("origin", [DIRTY, DAMAGED])
def test_a_shard_whose_write_or_repair_has_not_ended_is_refused(dataset: Path, origin: str) -> None:
    first, *others = records_of(dataset, "color", "1")
    replace_records(dataset, "color", "1", [replace(first, origin=origin), *others])
    with pytest.raises(DamagedShard, match="was not finished"):
        chosen(dataset)

"""PropertiesFile: atomic changes, no lost update, and errors if the file cannot be written."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wkpipe.errors import AlreadyExists, InputRefused, MetadataError, NotWritable, TryAgain, UnreadableInput
from wkpipe.geometry import BoundingBox, Mag
from wkpipe.metadata import properties as properties_module
from wkpipe.metadata.json_node import JsonNode
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.units import VoxelSize
from wkpipe.storage import disk
from wkpipe.storage.local import Local
from wkpipe.storage.lock import MetadataLock
from wkpipe.storage.reasons import explained
from wkpipe.stored.locations import Locations

fork = multiprocessing.get_context("fork")


def new_dataset() -> DatasetProperties:
    layer = LayerProperties.for_box("color", "color", "zarr3", np.dtype("u1"), BoundingBox((0, 0, 0), (8, 8, 8)))
    return DatasetProperties("d", VoxelSize((1, 1, 1)), (layer.with_mag(MagProperties(Mag(1), "./color/1")),))


def leftovers(root: Path) -> list[Path]:
    """Return the temporary files and locks."""
    return [path for path in (root / ".wkpipe").rglob("*") if path.is_file() and path.parent.name != "copies"]


def test_create_read_update(tmp_path: Path) -> None:
    root = tmp_path / "new" / "dataset"
    file = Locations(root, root / ".wkpipe").properties_file()
    assert not file.is_there()
    with pytest.raises(UnreadableInput, match="not found"):
        file.read()
    properties = file.create(new_dataset())
    assert file.is_there()
    assert file.read() == properties == new_dataset()
    assert (root / "zarr.json").exists(), "the dataset's group file is written too"
    with pytest.raises(AlreadyExists):
        file.create(properties)
    (root / "color").mkdir()
    changed = file.update(lambda before: replace(before, name="other"))
    assert changed.name == file.read().name == "other"
    assert (root / "color" / "zarr.json").exists()
    assert leftovers(root) == []


def test_of_many_layers_only_changed_ones_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Locations(tmp_path, tmp_path / ".wkpipe").properties_file()
    (first,) = new_dataset().layers
    names = ("a", "b", "c")
    file.create(replace(new_dataset(), layers=tuple(replace(first, name=name) for name in names)))
    read: list[str] = []
    original = properties_module.layer_from_json

    def reading(node: JsonNode) -> LayerProperties:
        layer = original(node)
        read.append(layer.name)
        return layer

    monkeypatch.setattr(properties_module, "layer_from_json", reading)
    file.update(lambda before: before.with_layer(before.layer("c").with_mag(MagProperties(Mag(2), "./c/2"))))
    assert read == [*names, "c"]
    with pytest.raises(InputRefused, match=r"dataLayers\[2\]\.mags\[2\]\.path: this cannot be stored"):
        file.update(lambda before: before.with_layer(before.layer("c").with_mag(MagProperties(Mag(4), "x" * 4000))))
    with pytest.raises(InputRefused, match=r"dataLayers\[3\]\.name: this cannot be stored"):
        file.update(lambda before: replace(before, layers=(*before.layers, before.layers[0])))
    assert [mag.mag for mag in file.read().layer("c").mags] == [Mag(1), Mag(2)]


def test_an_update_keeps_what_it_does_not_know(tmp_path: Path) -> None:
    file = Locations(tmp_path, tmp_path / ".wkpipe").properties_file()
    file.create(new_dataset())
    file.path.write_text(json.dumps(json.loads(file.path.read_bytes()) | {"unknown": [1]}))
    file.update(lambda before: replace(before, name="other"))
    assert json.loads(file.path.read_bytes())["unknown"] == [1]


def test_no_change_writes_nothing(tmp_path: Path) -> None:
    file = Locations(tmp_path, tmp_path / ".wkpipe").properties_file()
    file.create(new_dataset())
    before = file.path.stat()
    assert file.update(lambda _: None) == new_dataset()
    assert file.update(lambda properties: properties) == new_dataset()
    assert (file.path.stat().st_mtime_ns, file.path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_an_error_in_the_change_leaves_everything_as_it_was(tmp_path: Path) -> None:
    file = Locations(tmp_path, tmp_path / ".wkpipe").properties_file()
    file.create(new_dataset())

    def fail(before: DatasetProperties) -> DatasetProperties:
        raise KeyError

    with pytest.raises(KeyError):
        file.update(fail)
    assert file.read() == new_dataset()
    assert leftovers(tmp_path) == []


def test_a_broken_file_is_not_overwritten(tmp_path: Path) -> None:
    file = Locations(tmp_path, tmp_path / ".wkpipe").properties_file()
    file.create(new_dataset())
    file.path.write_text("{")
    with pytest.raises(MetadataError, match=r"datasource-properties\.json: not valid JSON"):
        file.update(lambda before: replace(before, name="x"))
    assert file.path.read_text() == "{"
    with pytest.raises(AlreadyExists):
        file.create(new_dataset())


def test_the_state_may_be_elsewhere(tmp_path: Path) -> None:
    root, state = tmp_path / "dataset", tmp_path / "state"
    file = Locations(root, state).properties_file()
    file.create(new_dataset())
    assert {path.name for path in state.iterdir()} == {"copies", "tmp"}
    assert {path.name for path in (root / ".wkpipe").iterdir()} == {"locks", "tmp"}, "the lock is with the data"


def test_writers_with_states_of_their_own_meet_at_one_lock(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    Locations(root, tmp_path / "state").properties_file().create(new_dataset())
    with MetadataLock(Local(root / ".wkpipe" / "locks")), pytest.raises(TryAgain):
        Locations(root, tmp_path / "another").properties_file(timeout=0.05).update(lambda before: replace(before, name="x"))
    assert Locations(root, root / ".wkpipe").properties_file().read().name == new_dataset().name


def add_layers(root: Path, worker: int, times: int) -> None:
    for i in range(times):
        new = LayerProperties.for_box(f"w{worker}_{i}", "color", "zarr3", np.dtype("u1"), BoundingBox((0, 0, 0), (1, 1, 1)))
        Locations(root, root / ".wkpipe").properties_file().update(lambda before, new=new: before.with_new_layer(new))  # type: ignore[misc]


def test_two_writers_lose_no_update(tmp_path: Path) -> None:
    file = Locations(tmp_path, tmp_path / ".wkpipe").properties_file()
    file.create(DatasetProperties("d", VoxelSize((1, 1, 1))))
    writers = [fork.Process(target=add_layers, args=(tmp_path, worker, 50)) for worker in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        file.read()  # a reader never sees half a file
        time.sleep(0.002)
    assert [writer.exitcode for writer in writers] == [0, 0]
    names = [layer.name for layer in file.read().layers]
    assert sorted(names) == sorted(f"w{worker}_{i}" for worker in range(2) for i in range(50))
    assert leftovers(tmp_path) == []


def hang(root: Path) -> None:
    Locations(root, root / ".wkpipe").properties_file().update(lambda _: time.sleep(60))


def test_a_killed_writer_blocks_nobody(tmp_path: Path) -> None:
    file = Locations(tmp_path, tmp_path / ".wkpipe").properties_file(timeout=60)
    file.create(new_dataset())
    writer = fork.Process(target=hang, args=(tmp_path,))
    writer.start()
    while not (tmp_path / ".wkpipe" / "locks" / "metadata.lock").exists():
        time.sleep(0.005)
    with pytest.raises(TryAgain, match=f"process {writer.pid}"):
        Locations(tmp_path, tmp_path / ".wkpipe").properties_file(timeout=0.05).update(lambda before: before)
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    assert file.update(lambda before: replace(before, name="after")).name == "after"
    writer.join()


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Locations(tmp_path, tmp_path / ".wkpipe").properties_file()
    file.create(new_dataset())
    state = tmp_path / "not a directory"
    state.write_bytes(b"")
    with pytest.raises(NotWritable, match=r"cannot write"):
        Locations(tmp_path, state).properties_file().update(lambda before: replace(before, name="x"))

    def on_a_read_only_file_system(path: Path) -> int:
        with explained(path):
            raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(disk, "create", on_a_read_only_file_system)
    with pytest.raises(NotWritable, match="the file system is read-only"):
        file.update(lambda before: replace(before, name="x"))
    assert file.read() == new_dataset()


def test_create_or_update_begins_with_the_given_properties(tmp_path: Path) -> None:
    file = Locations(tmp_path, tmp_path / ".wkpipe").properties_file()
    first = file.create_or_update(new_dataset(), lambda before: replace(before, team="a"))
    assert first == file.read() == replace(new_dataset(), team="a")
    second = file.create_or_update(new_dataset(), lambda before: replace(before, name="b"))
    assert second == file.read() == replace(new_dataset(), team="a", name="b")
    assert file.create_or_update(new_dataset(), lambda _: None) == second

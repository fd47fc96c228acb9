"""Copies of what is stored: the same bytes and proofs, without decoding; only from sound sources; resumed and repaired."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from wkpipe import BoundingBox, Dataset, Layer, MagView
from wkpipe.errors import DamagedShard
from wkpipe.formats.chunk_coder import ChunkCoder
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import run_here
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.record import Record
from wkpipe.stored.locations import Locations
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.repair import repair_dataset
from wkpipe.verify.select import Selection

pytestmark = pytest.mark.filterwarnings("ignore:chunk shape", "ignore:.*deprecated")
BOX = BoundingBox((8, 3, 5), (53, 40, 21))
COPIES: dict[str, Callable[[Layer, Path], Layer]] = {
    "add_fs_copy_mag": lambda em, path: _with_mags(em, path),
    "add_fs_copy_layer": lambda em, path: Dataset(path, (4, 4, 40)).add_fs_copy_layer(em),
    "fs_copy_dataset": lambda em, path: em.dataset.fs_copy_dataset(path).get_layer("em"),  # type: ignore[attr-defined]
}


def _with_mags(em: Layer, path: Path) -> Layer:
    layer = Dataset(path, (4, 4, 40)).add_layer("em", "color", dtype="uint16", data_format=em.data_format, num_channels=em.num_channels)
    for mag in em.mags.values():
        layer.add_fs_copy_mag(mag)
    return layer


def make(root: Path, data_format: str = "zarr3", compress: bool = True, **values: Any) -> Layer:
    """Return a layer with noise, of which a part is zero, in two mags that wkpipe has recorded."""
    layer = Dataset(root, (4, 4, 40)).add_layer("em", "color", dtype="uint16", data_format=data_format, bounding_box=BOX, **values)
    mag = layer.add_mag(1, chunk_shape=8, shard_shape=8 if data_format == "zarr" else 16, compress=compress)
    data = np.random.default_rng(0).integers(1, 999, (layer.num_channels, *BOX.size)).astype(np.uint16)
    data[:, 20:, :20] = 0
    mag.write(data, absolute_offset=BOX.topleft, allow_unaligned=True)
    layer.downsample(coarsest_mag=2, chunk_shape=8, shard_shape=8 if data_format == "zarr" else 16, compress=compress)
    return layer


def files_of(layer: Layer) -> dict[str, bytes]:
    """Return the files of a layer that hold voxels."""
    found = (path for path in layer.path.rglob("*") if path.is_file() and (path.name[0].isdecimal() or path.suffix == ".wkw"))
    return {str(path.relative_to(layer.path)): path.read_bytes() for path in found if path.name != "header.wkw"}


def records_of(mag: MagView) -> dict[Any, Record]:
    ledger = Ledger.load(Locations.of(mag.layer.dataset.path).ledger("em", mag.mag))
    return dict(ledger.records)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets an entry for each chunk that is encoded or decoded."""
    calls: list[int] = []
    for name in ("encode", "encode_grid", "decode", "decode_many"):
        original = getattr(ChunkCoder, name)
        monkeypatch.setattr(ChunkCoder, name, lambda *args, _original=original: (calls.append(1), _original(*args))[1])
    return calls


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
def test_bytes_and_proofs_are_copied(tmp_path: Path, data_format: str, compress: bool, decoded: list[int]) -> None:
    em = make(tmp_path / "raw", data_format, compress)
    voxels = {mag: em.get_mag(mag).read() for mag in em.mags}
    decoded.clear()
    copy = COPIES["add_fs_copy_layer"](em, tmp_path / "copy")
    assert decoded == []
    assert files_of(copy) == files_of(em) != {}
    for mag, data in voxels.items():
        np.testing.assert_array_equal(copy.get_mag(mag).read(), data)
        ours, theirs = records_of(copy.get_mag(mag)), records_of(em.get_mag(mag))
        assert {unit: record.proof.digest for unit, record in ours.items()} == {
            unit: record.proof.digest for unit, record in theirs.items()
        }
        assert {unit: dict(record.stats) for unit, record in ours.items()} == {unit: dict(record.stats) for unit, record in theirs.items()}
    assert not verify_dataset(tmp_path / "copy").problems


@pytest.mark.parametrize("name", COPIES)
def test_all_ways(tmp_path: Path, name: str, decoded: list[int]) -> None:
    em = make(tmp_path / "raw", num_channels=3)
    decoded.clear()
    copy = COPIES[name](em, tmp_path / "copy")
    assert decoded == []
    assert files_of(copy) == files_of(em)
    assert not verify_dataset(tmp_path / "copy").problems


def test_what_is_stored_in_another_way_is_encoded_again(tmp_path: Path) -> None:
    """The array of another tool has another order of axes in its chunks, or voxels outside of the part that is copied."""
    layer = Dataset(tmp_path / "raw", (4, 4, 40)).add_layer(
        "em", "color", dtype="uint16", bounding_box=BoundingBox((0, 0, 0), (32, 32, 16))
    )
    data = np.random.default_rng(1).integers(1, 999, (1, 32, 32, 16)).astype(np.uint16)
    layout: Any = {"shape": data.shape, "chunks": (1, 8, 8, 8), "shards": (1, 16, 16, 16), "dtype": "uint16"}
    array = zarr.create_array(layer.path / "foreign", dimension_names=["c", "x", "y", "z"], **layout)
    array[:] = data
    layer.add_mag_from_zarrarray(1, layer.path / "foreign", move=True)
    copy = COPIES["add_fs_copy_layer"](layer, tmp_path / "copy")
    np.testing.assert_array_equal(copy.get_mag(1).read(), data)
    assert files_of(copy) != files_of(layer)
    small = Dataset(tmp_path / "small", (4, 4, 40)).add_layer(
        "em", "color", dtype="uint16", bounding_box=BoundingBox((0, 0, 0), (20, 32, 16))
    )
    small.add_fs_copy_mag(copy.get_mag(1), extend_layer_bounding_box=False)
    np.testing.assert_array_equal(small.get_mag(1).read(), data[:, :20])
    small.bounding_box = BoundingBox((0, 0, 0), (32, 32, 16))
    assert not small.get_mag(1).read()[:, 20:].any()


@pytest.mark.parametrize("is_recorded", [True, False])
@pytest.mark.parametrize("data_format, compress", [("zarr3", True), ("wkw", False), ("zarr", True)])
def test_damage_is_not_copied(tmp_path: Path, data_format: str, compress: bool, is_recorded: bool) -> None:
    em = make(tmp_path / "raw", data_format, compress)
    path = em.path / max((name for name in files_of(em) if name.startswith("1/")), key=lambda name: (em.path / name).stat().st_size)
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 3] ^= 255
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    if not is_recorded:
        shutil.rmtree(em.dataset.path / ".wkpipe")
        if data_format != "zarr3":  # no checksum shows that voxels changed
            return
    with pytest.raises(DamagedShard):
        COPIES["add_fs_copy_layer"](em, tmp_path / "copy")
    assert "em" not in Dataset.open(tmp_path / "copy").layers


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "longer": lambda content: content + b"more",
    "zeros": lambda content: bytes(len(content)),
    "first byte": lambda content: bytes([content[0] ^ 255]) + content[1:],
}


@pytest.mark.parametrize("data_format, compress", [("zarr", True), ("zarr", False), ("wkw", True), ("wkw", False)])
def test_data_without_records_are_decoded_before_they_are_copied(tmp_path: Path, data_format: str, compress: bool) -> None:
    """Neither Zarr 2 nor WKW has checksums: what shows is that chunks cannot be decoded, or files have other sizes."""
    em = make(tmp_path / "raw", data_format, compress)
    shutil.rmtree(em.dataset.path / ".wkpipe")
    path = em.path / max((name for name in files_of(em) if name.startswith("1/")), key=lambda name: (em.path / name).stat().st_size)
    sound = path.read_bytes()
    has_header = data_format == "wkw" or compress
    for name, damage in DAMAGES.items():
        if not has_header and name in ("zeros", "first byte"):  # other voxels
            continue
        path.write_bytes(damage(sound))
        with pytest.raises(DamagedShard, match=re.escape(str(path))):
            COPIES["add_fs_copy_layer"](em, tmp_path / name)
        assert "em" not in Dataset.open(tmp_path / name).layers
    path.write_bytes(sound)
    copy = COPIES["add_fs_copy_layer"](em, tmp_path / "copy")
    assert files_of(copy) == files_of(em)


def test_a_copy_is_brought_up_to_date_and_repaired(tmp_path: Path) -> None:
    em = make(tmp_path / "raw")
    copy = em.dataset.fs_copy_dataset(tmp_path / "copy").get_layer("em")  # type: ignore[attr-defined]
    before = {name: (copy.path / name).stat().st_ino for name in files_of(copy)}
    em.get_mag(1).write(np.full((16, 16, 8), 7, np.uint16), absolute_offset=(16, 16, 8), allow_unaligned=True)
    em.dataset.fs_copy_dataset(tmp_path / "copy", exists_ok=True)  # type: ignore[attr-defined]
    assert files_of(copy)["1/c/0/1/1/0"] == files_of(em)["1/c/0/1/1/0"]
    changed = {name for name, inode in before.items() if (copy.path / name).stat().st_ino != inode}
    assert "1/c/0/1/1/0" in changed
    assert "1/c/0/2/2/1" not in changed
    shard = copy.path / "1/c/0/2/2/1"
    stat, whole = shard.stat(), shard.read_bytes()
    shard.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    os.utime(shard, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def repaired() -> tuple[str, ...]:
        report = verify_dataset(copy.dataset.path)
        after = repair_dataset(copy.dataset.path, report, Selection(), state_dir=None, sizing=Sizing.local(1), run=run_here)
        return tuple(problem.what for problem in after.problems)

    assert repaired() == ()
    assert shard.read_bytes() == whole
    (copy.path / "1/c/0/1/1/0").unlink()
    em.get_mag(1).write(np.full((16, 16, 8), 8, np.uint16), absolute_offset=(16, 16, 8), allow_unaligned=True)
    assert len(repaired()) == 1
    shutil.rmtree(em.dataset.path)
    assert len(repaired()) == 1

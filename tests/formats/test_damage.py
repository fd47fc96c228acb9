"""Damaged and hostile files give `DamagedShard` with the file's name, or the right voxels; never a crash, a hang or another error."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import zstandard

from tests.formats.helpers import files_of, new_array, noise, scratch_of, write_array
from wkpipe.errors import DamagedShard, UnreadableInput
from wkpipe.formats import open_array
from wkpipe.formats.base import Compression, StoredArray

SHAPE = (1, 16, 16, 16)
KINDS = {
    "zarr3": ("zarr3", True),
    "zarr3-raw": ("zarr3", False),
    "zarr": ("zarr", True),
    "zarr-raw": ("zarr", False),
    "wkw": ("wkw", True),
    "wkw-lz4": ("wkw", Compression("lz4")),
    "wkw-raw": ("wkw", False),
}


def written(tmp_path: Path, kind: str) -> tuple[StoredArray, Path]:
    data_format, compression = KINDS[kind]
    array = new_array(tmp_path / "a", data_format, SHAPE, "uint16", compression=compression)
    write_array(array, noise(SHAPE, "uint16"), scratch_of(array.path))
    return array, array.unit_files((0, 0, 0, 0))[0]


def outcome(array: StoredArray, file: Path) -> str:
    """Read and check everything; only `DamagedShard` with the file's name may be raised."""
    results, messages = [], []
    for work in (lambda: array.read((0,) * 4, SHAPE), lambda: array.check_unit((0, 0, 0, 0)), lambda: array.is_fill((0,) * 4, SHAPE)):
        try:
            work()
            results.append("read")
        except DamagedShard as error:
            messages.append(str(error))
            results.append("damaged")
    assert all(str(file) in message and "\n" not in message for message in messages)
    assert results[0] == results[1]
    return results[0]


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_flipped_anywhere(tmp_path: Path, kind: str) -> None:
    array, file = written(tmp_path, kind)
    good = file.read_bytes()
    expected = array.read((0,) * 4, SHAPE)
    rng = random.Random(kind)
    found = 0
    for _ in range(150):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        file.write_bytes(bad)
        result = outcome(array, file)
        found += result == "damaged"
        if kind == "zarr3" and result == "read":
            np.testing.assert_array_equal(array.read((0,) * 4, SHAPE), expected)  # this bit of the frame has no meaning
    if kind == "zarr3":
        assert found > 140  # every frame and the index have checksums


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_files(tmp_path: Path, kind: str) -> None:
    array, file = written(tmp_path, kind)
    good = file.read_bytes()
    for length in [0, 1, 15, 16, 17, 100, len(good) // 2, len(good) - 5, len(good) - 1]:
        file.write_bytes(good[: min(length, len(good) - 1)])
        assert outcome(array, file) == "damaged", length


@pytest.mark.parametrize("kind", KINDS)
def test_zeroed_and_random_ranges(tmp_path: Path, kind: str) -> None:
    array, file = written(tmp_path, kind)
    good = file.read_bytes()
    rng = random.Random(kind)
    for number in range(60):
        first = rng.randrange(len(good))
        end = min(len(good), first + rng.choice([8, 64, 512, 4096]))
        bad = bytearray(good)
        bad[first:end] = bytes(end - first) if number % 2 else rng.randbytes(end - first)
        file.write_bytes(bad)
        outcome(array, file)
    for content in (bytes(len(good)), rng.randbytes(len(good)), b"\xff" * len(good)):
        file.write_bytes(content)
        if kind != "zarr-raw":
            assert outcome(array, file) == "damaged"


def with_zarr3_entry(file: Path, offset: int, size: int) -> None:
    """Put a wrong entry into a shard's index, and give the index a right checksum."""
    raw = bytearray(file.read_bytes())
    start = len(raw) - 16 * 8 - 4
    raw[start : start + 16] = struct.pack("<QQ", offset % 2**64, size % 2**64)
    raw[-4:] = google_crc32c.value(bytes(raw[start:-4])).to_bytes(4, "little")
    file.write_bytes(raw)


@pytest.mark.parametrize(
    "offset, size", [(0, 2**40), (2**40, 10), (2**64 - 8, 16), (2**63, 2**63), (0, 2**64 - 1), (2**64 - 1, 5), (0, 0), (3, 10)]
)
def test_hostile_shard_index(tmp_path: Path, offset: int, size: int) -> None:
    array, file = written(tmp_path, "zarr3")
    with_zarr3_entry(file, offset, size)
    assert outcome(array, file) == "damaged"


def test_hostile_jump_tables(tmp_path: Path) -> None:
    array, file = written(tmp_path, "wkw")
    good = file.read_bytes()
    ends = list(struct.unpack("<8Q", good[16:80]))
    for wrong in (
        [2**64 - 1] * 8,
        [0] * 8,
        ends[::-1],
        [*ends[:7], ends[7] + 1],
        [*ends[:3], ends[2], *ends[4:]],
        [2**63 + end for end in ends],
        [*ends[:3], ends[3] + 1, *ends[4:]],
    ):
        file.write_bytes(good[:16] + struct.pack("<8Q", *wrong) + good[80:])
        assert outcome(array, file) == "damaged"
    for header in (b"WKX" + good[3:16], good[:4] + b"\xff" + good[5:16], good[:5] + b"\x07" + good[6:16], good[:8] + b"\xff" * 8):
        file.write_bytes(header + good[16:])
        assert outcome(array, file) == "damaged"


def bombs() -> dict[str, bytes]:
    one_gib = zstandard.ZstdCompressor(level=1)
    honest = one_gib.compress(bytes(1 << 26))
    compressor = zstandard.ZstdCompressor(level=1, write_content_size=False).compressobj()
    silent = compressor.compress(bytes(1 << 26)) + compressor.flush()
    small = zstandard.ZstdCompressor().compress(bytes(16))
    claims = bytes.fromhex("28b52ffde0") + (2**62).to_bytes(8, "little") + bytes(20)
    return {"honest": honest, "silent": silent, "small": small, "claims": claims, "empty": b"", "twice": small + small, "junk": b"junk" * 9}


@pytest.mark.parametrize("bomb", bombs())
def test_decompression_bombs(tmp_path: Path, bomb: str) -> None:
    array, file = written(tmp_path, "zarr")
    file.write_bytes(bombs()[bomb])
    assert outcome(array, file) == "damaged"


def test_a_frame_without_its_size_is_read(tmp_path: Path) -> None:
    array, file = written(tmp_path, "zarr")
    position = [int(n) for n in file.relative_to(array.path).as_posix().split("/")]
    expected = array.read([p * 8 for p in position], (1, 8, 8, 8))
    compressor = zstandard.ZstdCompressor(level=1, write_content_size=False).compressobj()
    file.write_bytes(compressor.compress(expected.tobytes("F")) + compressor.flush())
    np.testing.assert_array_equal(array.read([p * 8 for p in position], (1, 8, 8, 8)), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_things_in_the_place_of_a_file(tmp_path: Path, kind: str) -> None:
    array, file = written(tmp_path, kind)
    makers: list[Callable[[], object]] = [file.mkdir, lambda: os.mkfifo(file), lambda: file.symlink_to(file)]
    for make in makers:
        file.unlink()
        make()
        with pytest.raises(DamagedShard, match=file.name):
            array.read((0,) * 4, SHAPE)
        with pytest.raises(DamagedShard, match=file.name):
            array.prove_unit((0, 0, 0, 0))
        if file.is_dir():
            file.rmdir()
            file.touch()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission(tmp_path: Path) -> None:
    array, file = written(tmp_path, "zarr3")
    file.chmod(0)
    with pytest.raises(UnreadableInput, match="permission"):
        open_array(array.path, "zarr3").read((0,) * 4, SHAPE)


@pytest.mark.parametrize("codec", ["gzip", "blosc"])
def test_damaged_foreign_chunks(tmp_path: Path, codec: str) -> None:
    import zarr

    path = tmp_path / "a"
    zarr.create_array(path, shape=(16, 16, 16), chunks=(8, 8, 8), dtype="uint16", compressors={"id": codec}, zarr_format=2)[:] = 5
    array = open_array(path, "zarr")
    (file,) = [p for p in array.unit_files((0, 0, 0)) if p.name in ("0.0.0", "0")][:1]
    good = file.read_bytes()
    for bad in (good[: len(good) // 2], bytes(len(good)), b"", b"\xff" * 64):
        file.write_bytes(bad)
        with pytest.raises(DamagedShard, match="a"):
            array.read((0, 0, 0), (16, 16, 16))
        with pytest.raises(DamagedShard):
            array.check_unit((0, 0, 0))
    file.unlink()
    assert not array.read((0, 0, 0), (8, 8, 8)).any()


def test_failing_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call of the commit protocol fails once: nothing becomes visible, nothing is left, the next attempt succeeds."""
    from wkpipe.errors import NotWritable
    from wkpipe.storage import disk, names

    for kind in ("zarr3", "wkw", "wkw-raw"):
        data_format, compression = KINDS[kind]
        array = new_array(tmp_path / kind / "a", data_format, SHAPE, "uint16", compression=compression)
        before = files_of(array.path)
        for name in ("create", "write_at", "sync", "rename"):

            def fail(*_: object) -> None:
                raise NotWritable("the disk is full")

            with monkeypatch.context() as patch:
                patch.setattr(names if name == "rename" else disk, name, fail)
                with pytest.raises(NotWritable):
                    write_array(array, noise(SHAPE, "uint16"), scratch_of(array.path), seed=3)
            assert files_of(array.path) == before
            assert list((tmp_path / kind / "scratch").iterdir()) == []
        write_array(array, noise(SHAPE, "uint16"), scratch_of(array.path), seed=3)
        np.testing.assert_array_equal(array.read((0,) * 4, SHAPE), noise(SHAPE, "uint16"))

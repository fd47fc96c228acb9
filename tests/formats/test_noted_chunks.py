"""What is read of storage shards is noted: their proofs need no second read, and are those of a read as a whole."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats.helpers import new_array, noise, scratch_of, write_array
from wkpipe.formats import open_array
from wkpipe.formats.base import StoredArray
from wkpipe.formats.noted_reads import MOST_CHUNKS, NotedChunks, noted_bytes_of_shards
from wkpipe.formats.open_files import OPEN_SHARDS
from wkpipe.storage import opened
from wkpipe.storage.proof import UNKNOWN_CRC

FORMATS = ("zarr3", "wkw")
SHAPE = (1, 40, 24, 16)
PER_SHARD = (1, 2, 2, 2)


def stored(root: Path, data_format: str, shape: tuple[int, ...] = SHAPE) -> StoredArray:
    """Write noise with holes, in shards of 2 × 2 × 2 chunks of 8³ voxels in another order than that of the index, and open it again."""
    array = new_array(root / "a", data_format, shape, "uint16", shard=16)
    write_array(array, noise(shape, "uint16", 1), scratch_of(array.path), seed=3)
    return open_array(array.path, data_format)


def read_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the bytes of each read from now on."""
    counts: list[int] = []

    read, read_into = opened.OpenFile.read, opened.OpenFile.read_into

    def counted_read(file: opened.OpenFile, offset: int, size: int) -> bytes:
        counts.append(size)
        return read(file, offset, size)

    def counted_read_into(file: opened.OpenFile, view: memoryview, offset: int) -> None:
        counts.append(view.nbytes)
        read_into(file, view, offset)

    monkeypatch.setattr(opened.OpenFile, "read", counted_read)
    monkeypatch.setattr(opened.OpenFile, "read_into", counted_read_into)
    return counts


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("is_forked", [False, True])
def test_a_shard_that_was_read_needs_no_second_read(
    tmp_path: Path, data_format: str, is_forked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = stored(tmp_path, data_format)
    units = list(array.stored_units())
    array.note_reads(units)
    if is_forked:
        if (pid := os.fork()) == 0:
            array.read((0,) * 4, SHAPE)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    else:
        array.read((0,) * 4, SHAPE)
    counts = read_bytes(monkeypatch)
    proofs = {unit: array.proof_of_reads(unit) for unit in units}
    sizes = [path.stat().st_size for unit in units for path in array.unit_files(unit)]
    assert sum(counts) < sum(sizes) / 10, "only the index, and what belongs to no chunk"
    is_open = [OPEN_SHARDS.current(array.place, key) is not None for unit in units for key in array.unit_keys(unit)]
    assert is_open == [not is_forked] * len(units), "what a proof opens is closed again, so that its index takes no memory"
    for unit in units:
        whole = array.prove_unit(unit)
        assert whole is not None
        assert proofs[unit] == dataclasses.replace(whole, crc32c=UNKNOWN_CRC)


@settings(max_examples=30)
@given(data=st.data(), data_format=st.sampled_from(FORMATS))
def test_any_reads(data: st.DataObject, data_format: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever was read, and however often: the proof is right, or there is none."""
    array = stored(tmp_path_factory.mktemp("any"), data_format)
    units = list(array.stored_units())
    array.note_reads(data.draw(st.lists(st.sampled_from(units), unique=True), label="noted"))
    for _ in range(data.draw(st.integers(0, 4), label="reads")):
        start = tuple(data.draw(st.integers(0, n - 1)) for n in SHAPE)
        array.read(start, tuple(data.draw(st.integers(1, n - a)) for a, n in zip(start, SHAPE, strict=True)))
    for unit in units:
        found, whole = array.proof_of_reads(unit), array.prove_unit(unit)
        assert whole is not None
        assert found is None or found.has_content_of(whole)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("unread, is_proven", [(1, True), (5, False)])
def test_a_few_chunks_that_were_not_read(tmp_path: Path, data_format: str, unread: int, is_proven: bool) -> None:
    """They are read for the proof, one by one; many are read with the shard as a whole."""
    shape = (1, 32, 32, 32)
    array = new_array(tmp_path / "a", data_format, shape, "uint16", shard=32)
    write_array(array, noise(shape, "uint16", 1, holes=False), scratch_of(array.path), seed=3)
    array = open_array(array.path, data_format)
    (unit,) = array.stored_units()
    array.note_reads([unit])
    array.read((0,) * 4, (1, 32, 32, 24))
    for corner in [(0, x, y, 24) for x in range(0, 32, 8) for y in range(0, 32, 8)][2 * unread :]:
        array.read(corner, (1, 8, 8, 8))
    found, whole = array.proof_of_reads(unit), array.prove_unit(unit)
    assert whole is not None
    assert (found is not None) == is_proven
    assert found is None or found.has_content_of(whole)


@pytest.mark.parametrize("data_format", FORMATS)
def test_a_shard_that_was_replaced_between_two_reads(tmp_path: Path, data_format: str) -> None:
    array = stored(tmp_path, data_format)
    unit = next(unit for unit in array.stored_units() if unit == (0, 0, 0, 0))
    (path,) = array.unit_files(unit)
    array.note_reads([unit])
    array.read((0,) * 4, (1, 16, 16, 8))
    content, status = path.read_bytes(), path.stat()
    path.unlink()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
    array.read((0, 0, 0, 8), (1, 16, 16, 8))
    assert array.proof_of_reads(unit) is None


def test_a_chunk_with_two_contents_has_no_proof() -> None:
    def note(noted: NotedChunks, content: bytes, mtime_ns: int = 7) -> None:
        noted.note((0, 0), (np.array([0]), np.array([1])), [memoryview(content)], mtime_ns)

    noted = NotedChunks([(0, 0), (0, 1)], (1, 2))
    note(noted, b"a")
    note(noted, b"a")
    noted.note((0, 5), (np.array([0]), np.array([1])), [memoryview(b"of another shard")], 7)
    known = noted.known((0, 0), 7)
    assert known is not None
    assert known[0].tolist() == [False, True]
    assert noted.known((0, 0), 8) is None, "it was read from another file"
    assert noted.known((0, 5), 7) is None
    note(noted, b"b")
    assert noted.known((0, 0), 7) is None
    note(noted, b"b")
    assert noted.known((0, 0), 7) is None, "it stays unclear"
    untouched = noted.known((0, 1), 7)
    assert untouched is not None
    assert not untouched[0].any()


def test_too_many_chunks_are_not_noted(tmp_path: Path) -> None:
    array = stored(tmp_path, "zarr3")
    most = MOST_CHUNKS // math.prod(PER_SHARD)
    assert noted_bytes_of_shards(array.spec, most) == 24 * MOST_CHUNKS
    assert noted_bytes_of_shards(array.spec, most + 1) == 0
    array.note_reads((0, x, 0, 0) for x in range(most + 1))
    array.read((0,) * 4, SHAPE)
    assert array.proof_of_reads((0, 0, 0, 0)) is None


def test_chunks_that_share_their_bytes(tmp_path: Path) -> None:
    """Another tool may store equal chunks once: such a shard is digested in blocks, and read as a whole."""
    array = stored(tmp_path, "zarr3", (1, 16, 16, 16))
    (unit,) = array.stored_units()
    (path,) = array.unit_files(unit)
    content = path.read_bytes()
    entries = np.frombuffer(content[-8 * 16 - 4 : -4], "<u8").reshape(8, 2).copy()
    present = np.flatnonzero(entries[:, 0] != 2**64 - 1)
    entries[present[1]] = entries[present[0]]
    index = entries.tobytes()
    path.write_bytes(content[: -len(index) - 4] + index + google_crc32c.value(index).to_bytes(4, "little"))
    array = open_array(array.path, "zarr3")
    array.note_reads([unit])
    array.read((0,) * 4, (1, 16, 16, 16))
    assert array.proof_of_reads(unit) is None
    whole = array.prove_unit(unit)
    assert whole is not None
    assert "/blocks:" in whole.digest

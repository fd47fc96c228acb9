"""Digests: the same for readers and writers, different for different contents, whatever CRC-32C says."""

from __future__ import annotations

from pathlib import Path

import google_crc32c
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from wkpipe.formats import create_array, make_spec, open_array
from wkpipe.formats.base import DataFormat, StoredArray
from wkpipe.storage.digest import BLOCK_BYTES, BlocksDigest, digest_of, file_digest, files_digest, table_stamp
from wkpipe.storage.proof import FILL, MTIME, MTIMES, Stamp, UnitFacts, UnitProof, is_other_content, unread
from wkpipe.storage.scratch import Scratch

LAYOUTS = [
    (DataFormat.ZARR3, True, 32),
    (DataFormat.ZARR3, False, 32),
    (DataFormat.ZARR3, True, 16),
    (DataFormat.ZARR, True, 16),
    (DataFormat.WKW, True, 32),
    (DataFormat.WKW, False, 32),
]


def array_of(root: Path, data_format: DataFormat, compress: bool, shard: int) -> StoredArray:
    spec = make_spec(data_format, ("c", "x", "y", "z"), (1, 32, 32, 32), "uint8", 1, (16, 16, 16), (shard,) * 3, compress)
    return create_array(root / "array", spec, Scratch(root / "tmp"))


def written(root: Path, array: StoredArray, voxels: np.ndarray) -> UnitProof:
    with array.unit_writer((0, 0, 0, 0), Scratch(root / "tmp")) as writer:
        for cell in np.ndindex(2, 2, 2):
            x, y, z = (16 * n for n in cell)
            writer.append((0, *cell), writer.encode(np.asfortranarray(voxels[:, x : x + 16, y : y + 16, z : z + 16])))
        return writer.commit()


def moved(to: tuple[int, int, int]) -> np.ndarray:
    """Return a solid object that fills one chunk."""
    voxels = np.zeros((1, 32, 32, 32), np.uint8)
    x, y, z = (16 * n for n in to)
    voxels[:, x : x + 16, y : y + 16, z : z + 16] = 7
    return voxels


@pytest.mark.parametrize("data_format, compress, shard", LAYOUTS)
def test_an_object_that_moves_by_whole_chunks_is_another_content(
    tmp_path: Path, data_format: DataFormat, compress: bool, shard: int
) -> None:
    array = array_of(tmp_path, data_format, compress, shard)
    before = written(tmp_path, array, moved((0, 0, 0)))
    assert before == array.prove_unit((0, 0, 0, 0))
    after = written(tmp_path, array, moved((1, 0, 1)))
    assert after == array.prove_unit((0, 0, 0, 0))
    assert (after.files, after.size) == (before.files, before.size)
    assert after.digest != before.digest
    assert not before.has_content_of(after)
    assert is_other_content(before, after)
    if data_format is DataFormat.ZARR3 and shard == 32:
        assert after.crc32c == before.crc32c  # which is why it proves nothing


def test_damage_of_an_index_that_keeps_its_own_checksum_right_is_another_content(tmp_path: Path) -> None:
    array = array_of(tmp_path, DataFormat.ZARR3, False, 32)
    rng = np.random.default_rng(1)
    before = written(tmp_path, array, rng.integers(1, 255, (1, 32, 32, 32), np.uint8))
    (path,) = array.unit_files((0, 0, 0, 0))
    data = bytearray(path.read_bytes())
    index = np.frombuffer(bytes(data[-4 - 16 * 8 : -4]), "<u8").reshape(8, 2).copy()
    index[[0, 5]] = index[[5, 0]]
    data[-4 - 16 * 8 : -4] = index.tobytes()
    data[-4:] = google_crc32c.value(index.tobytes()).to_bytes(4, "little")
    path.write_bytes(data)
    array.check_unit((0, 0, 0, 0))  # it decodes
    after = array.prove_unit((0, 0, 0, 0))
    assert after is not None
    assert after.crc32c == before.crc32c
    assert after.digest != before.digest


def test_chunks_that_overlap_are_digested_by_blocks(tmp_path: Path) -> None:
    array = array_of(tmp_path, DataFormat.ZARR3, False, 32)
    written(tmp_path, array, np.ones((1, 32, 32, 32), np.uint8))
    (path,) = array.unit_files((0, 0, 0, 0))
    data = bytearray(path.read_bytes())
    index = np.frombuffer(bytes(data[-4 - 16 * 8 : -4]), "<u8").reshape(8, 2).copy()
    index[1] = index[0]
    data[-4 - 16 * 8 : -4] = index.tobytes()
    data[-4:] = google_crc32c.value(index.tobytes()).to_bytes(4, "little")
    path.write_bytes(data)
    proof = array.prove_unit((0, 0, 0, 0))
    assert proof is not None
    assert proof.digest == file_digest(bytes(data))


def test_a_shard_without_a_sound_index_is_digested_by_blocks(tmp_path: Path) -> None:
    array = array_of(tmp_path, DataFormat.ZARR3, True, 32)
    before = written(tmp_path, array, np.ones((1, 32, 32, 32), np.uint8))
    (path,) = array.unit_files((0, 0, 0, 0))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    proof = array.prove_unit((0, 0, 0, 0))
    assert proof is not None
    assert proof.digest == file_digest(bytes(data)) != before.digest


@pytest.mark.parametrize("at", [0, 5, 16, 100, -1, -5, -70])
@pytest.mark.parametrize("data_format, compress, shard", LAYOUTS)
def test_any_changed_byte_is_another_content(tmp_path: Path, data_format: DataFormat, compress: bool, shard: int, at: int) -> None:
    array = array_of(tmp_path, data_format, compress, shard)
    before = written(tmp_path, array, np.random.default_rng(2).integers(1, 255, (1, 32, 32, 32), np.uint8))
    path = array.unit_files((0, 0, 0, 0))[0]
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    after = open_array(array.path, data_format, array.spec.axes, array.spec.shape).prove_unit((0, 0, 0, 0))
    assert after is not None
    assert after.digest != before.digest


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
@settings(max_examples=100)
def test_blocks_do_not_depend_on_how_they_come(data: bytes, cuts: list[int]) -> None:
    digest = BlocksDigest()
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    start = 0
    for end in ends:
        digest.add(data[start:end])
        start = end
    assert digest.value == file_digest(data) == file_digest(data, digest_of(data))


def test_blocks_end_after_8_mib() -> None:
    data = np.arange(BLOCK_BYTES // 4 + 1000, dtype="<u4").tobytes()
    digest = BlocksDigest()
    for start in range(0, len(data), 3_000_001):
        digest.add(data[start : start + 3_000_001])
    assert digest.value == file_digest(data)
    assert file_digest(data[:BLOCK_BYTES]) != file_digest(data[:BLOCK_BYTES] + b"\0")
    assert file_digest(b"") != file_digest(b"\0")


def test_files_know_their_keys() -> None:
    one, two = file_digest(b"one"), file_digest(b"two")
    assert files_digest({"c/0": (3, one), "c/1": (3, two)}) == files_digest({"c/1": (3, two), "c/0": (3, one)})
    assert files_digest({"c/0": (3, one), "c/1": (3, two)}) != files_digest({"c/0": (3, two), "c/1": (3, one)})
    assert table_stamp({"c/0": (3, 1), "c/1": (3, 2)}) != table_stamp({"c/0": (3, 2), "c/1": (3, 1)})


def test_which_files_can_be_the_recorded_ones() -> None:
    facts = UnitFacts(2, 10, Stamp(MTIMES, "abc"), 77)
    assert UnitProof(2, 10, 1, Stamp(MTIMES, "abc"), "d").matches(facts)
    assert UnitProof(2, 10, 1, Stamp(MTIME, 77)).matches(facts)  # as the first version recorded blocks of files
    assert not UnitProof(2, 10, 1, Stamp(MTIME, 78)).matches(facts)
    assert not UnitProof(2, 11, 1, Stamp(MTIMES, "abc"), "d").matches(facts)
    assert not UnitProof(1, 10, 1, Stamp(MTIMES, "abc"), "d").matches(facts)
    assert not UnitProof(2, 10, 1, Stamp("etag", "abc"), "d").matches(facts)
    assert FILL.matches(None)
    assert not FILL.matches(facts)


def test_what_was_not_read_has_no_known_content() -> None:
    proof = unread(UnitFacts(1, 10, Stamp(MTIME, 7), 7))
    assert not proof.is_known
    assert not proof.has_content_of(proof)
    assert FILL.is_known
    assert FILL.has_content_of(None)
    assert not UnitProof(1, 10, 5, Stamp(MTIME, 7), "d").has_content_of(None)


def test_an_equal_crc_never_proves_but_another_one_shows_a_change() -> None:
    old, same, other = (UnitProof(1, 10, crc, Stamp(MTIME, 7)) for crc in (5, 5, 6))
    assert not old.has_content_of(same)
    assert not is_other_content(old, same)
    assert is_other_content(old, other)

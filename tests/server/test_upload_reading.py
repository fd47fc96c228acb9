"""A chunk is sent whole, or an error says how its file changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from wkpipe.errors import IntegrityError, UnreadableInput
from wkpipe.server.upload.chunk_reader import PIECE_BYTES, ChunkReader
from wkpipe.server.upload.datastore import Chunk
from wkpipe.server.upload.source_file import SourceFile
from wkpipe.storage.local import Local

SIZE = 3 * PIECE_BYTES + 5
CONTENT = os.urandom(SIZE)


def reader(directory: Path, counted: list[int]) -> ChunkReader:
    """Return a reader of the second of two chunks of a file."""
    place = Local(directory)
    place.put("a/file", CONTENT)
    facts = place.facts("a/file")
    assert facts is not None
    chunk = Chunk(0, "a/file", 2, 2, PIECE_BYTES, SIZE - PIECE_BYTES)
    return ChunkReader(place, SourceFile("a/file", SIZE, facts.stamp.value), chunk, counted.append)


def test_a_chunk_is_read_in_pieces(tmp_path: Path) -> None:
    counted: list[int] = []
    found = reader(tmp_path, counted)
    pieces = list(found.pieces())
    assert b"".join(pieces) == CONTENT[PIECE_BYTES:]
    assert list(map(len, pieces)) == counted == [PIECE_BYTES, PIECE_BYTES, 5]
    assert found.sent == SIZE - PIECE_BYTES


def replace(file: Path) -> None:
    file.with_name("new").write_bytes(CONTENT)
    file.with_name("new").replace(file)


def become_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


CHANGES: dict[str, Callable[[Path], object]] = {
    "found 5 bytes, expected": lambda file: os.truncate(file, 5),
    "it was written meanwhile": lambda file: file.write_bytes(CONTENT[::-1]),
    "was written meanwhile": replace,
    "it is gone": Path.unlink,
    "it is not a file any more": become_directory,
}


@pytest.mark.parametrize("pieces_before", [0, 1, 2])
@pytest.mark.parametrize("how", CHANGES)
def test_the_last_bytes_are_not_given_if_the_file_changed(how: str, pieces_before: int, tmp_path: Path) -> None:
    found = reader(tmp_path, [])
    pieces = found.pieces()
    for _ in range(pieces_before):
        next(pieces)
    CHANGES[how](tmp_path / "a/file")
    with pytest.raises(IntegrityError, match=f"a/file has changed since its upload began: .*{how}.*--again"):
        list(pieces)
    assert found.sent < SIZE - PIECE_BYTES


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    found = reader(tmp_path, [])
    (tmp_path / "a/file").unlink()
    (tmp_path / "a/file").symlink_to("file")
    with pytest.raises(UnreadableInput, match=r"a/file: Too many levels of symbolic links; make it readable, then run the same command"):
        list(found.pieces())

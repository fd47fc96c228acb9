"""The bytes of a pending file that forked processes write: the CRC of their parts, and none is left out."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wkpipe.storage import commit, disk
from wkpipe.storage.commit import PendingFile
from wkpipe.storage.crc import combined_crc32c
from wkpipe.storage.scratch import Scratch


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path / "scratch", root=tmp_path)


@given(st.lists(st.binary(max_size=200), min_size=2, max_size=6), st.integers(0, 2))
def test_crcs_of_parts_are_combined(parts: list[bytes], repeat: int) -> None:
    parts = [part * 1000**repeat if len(part) < 4 else part for part in parts]
    whole = functools.reduce(lambda crc, part: combined_crc32c(crc, google_crc32c.value(part), len(part)), parts, 0)
    assert whole == google_crc32c.value(b"".join(parts))


@given(st.lists(st.one_of(st.binary(max_size=9), st.integers(0, 9)), max_size=6), st.sampled_from([0, 1, 6]), st.booleans())
def test_the_crc_of_a_file_with_holes_is_known_or_read(parts: list[bytes | int], filled: int, is_changed: bool) -> None:
    """`parts` are bytes, or the sizes of holes, of which the last `filled` ones are filled at the end."""
    with tempfile.TemporaryDirectory() as folder:
        with PendingFile(Path(folder, "file"), Scratch(Path(folder, "scratch"), root=Path(folder))) as file:
            holes = []
            for part in parts:
                if isinstance(part, int):
                    holes.append((file.append_hole(part), part))
                elif len(part) % 2:
                    file.append(part)
                else:
                    file.fill([memoryview(part)], file.reserve(len(part), google_crc32c.value(part)))
                    file.filled(len(part))
            for offset, length in holes[len(holes) - min(filled, len(holes)) :]:
                file.overwrite(offset, bytes(range(length)))
            if is_changed and file.size:
                file.overwrite(file.size // 2, b"!")
            proof = file.commit()
        content = Path(folder, "file").read_bytes()
    assert (proof.size, proof.crc32c) == (len(content), google_crc32c.value(content))


def test_a_file_with_one_hole_is_not_read_again(tmp_path: Path, scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "crc32c_of_file", lambda _: pytest.fail("it is read"))
    with PendingFile(tmp_path / "file", scratch) as file:
        file.append(b"header")
        offset = file.append_hole(5)
        file.append(b"body")
        file.overwrite(offset, b"table")
        assert file.commit().crc32c == google_crc32c.value(b"headertablebody")


def test_a_file_with_reserved_bytes_that_nobody_has_written_is_not_committed(tmp_path: Path, scratch: Scratch) -> None:
    with PendingFile(tmp_path / "file", scratch) as file:
        offset = file.reserve(4, google_crc32c.value(b"body"))
        with pytest.raises(RuntimeError, match="4 reserved bytes are not written"):
            file.commit()
        file.fill([memoryview(b"body")], offset)
        file.filled(4)
        assert file.commit().crc32c == google_crc32c.value(b"body")
    assert (tmp_path / "file").read_bytes() == b"body"


def test_parts_are_written_whole_if_the_system_writes_less_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwritev

    def some(descriptor: int, parts: Sequence[memoryview], offset: int) -> int:
        data = b"".join(parts)
        return whole(descriptor, [data[: max(1, len(data) // 2)]], offset)

    monkeypatch.setattr(os, "pwritev", some)
    parts = [b"", b"one", b"two" * 50, b"", b"3"]
    with (tmp_path / "file").open("wb") as file:
        disk.write_parts_at(file.fileno(), [memoryview(part) for part in parts], 2, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"\0\0" + b"".join(parts)

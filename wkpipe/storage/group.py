"""Groups of small files: they become durable together, and then visible.

Forked processes may write files of a group (`write_apart`): each into a directory of its own, where none waits for the others. The process
that has begun the group takes them over (`take`), and gives all their names. What is not taken over is removed with the directory.
"""

# Tens of thousands of files: plain strings are several times faster than paths.
from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import google_crc32c

from wkpipe.storage import disk, names
from wkpipe.storage.barrier import Barrier
from wkpipe.storage.commit import FileProof
from wkpipe.storage.digest import file_digest, file_identity, value_of_identity
from wkpipe.storage.mtimes import distinct_mtime
from wkpipe.storage.scratch import Scratch
from wkpipe.storage.stages import commit_in_order

_RECEIPT: Final = struct.Struct("<qq")
"""The process that has written some files, and the number of the first one."""
_FILE: Final = struct.Struct("<I16s")
"""The CRC-32C of a file, and the value of its identity."""


class PendingGroup:
    """Many small files that become durable and visible together, with one wait for all their syncs."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._written: list[tuple[str, str]] = []  # temporary, final
        self._proofs: dict[str, FileProof] = {}
        self._names = threading.Lock()
        self._count = 0  # of names
        self._first = ""  # the first of the temporary names; the others are like it
        self._apart: Path | None = None
        self._process = self._count_apart = 0  # of this process, if it was forked

    def add(self, final: Path | str, data: Any, digest: bytes | None = None) -> None:
        """Write one file of the group under a temporary name; `digest` is that of `data`, if it is known. Thread-safe."""
        raw = data if isinstance(data, bytes) else bytes(data)
        name = str(final)
        _create(self._new_name(), raw, name, self._written)
        self._proofs[name] = FileProof(len(raw), google_crc32c.value(raw), 0, file_digest(raw, digest))  # the mtime comes later

    def _new_name(self) -> str:
        with self._names:
            self._count += 1
            if not self._first:
                self._first = str(self._scratch.new_path())
                return self._first
            directory, _, name = self._first.rpartition("/")
            return f"{directory}/{self._count:x}-{name}"

    # -- files that forked processes write ----------------------------------------------------------------------

    def begin_apart(self) -> None:
        """Make the directory for the files of processes that are forked from now on."""
        self._apart = self._scratch.new_path()
        disk.make_new_directory(self._apart)

    def write_apart(self, files: Iterable[tuple[str, bytes, bytes]]) -> bytes:
        """Write files in a forked process: their final names, content and its digest; return the receipt for `take`."""
        if self._process != os.getpid():
            self._process, self._count_apart = os.getpid(), 0
            disk.make_new_directory(self._apart_of(self._process))
        directory, parts = self._apart_of(self._process), [_RECEIPT.pack(self._process, self._count_apart)]
        for final, data, digest in files:
            _create(f"{directory}/{self._count_apart}", data, final, [])
            self._count_apart += 1
            parts.append(_FILE.pack(google_crc32c.value(data), value_of_identity(file_digest(data, digest))))
        return b"".join(parts)

    def take(self, files: Iterable[tuple[str, int]], receipt: bytes) -> None:
        """Take over files that a forked process has written: their final names and sizes, in the same order."""
        process, number = _RECEIPT.unpack_from(receipt)
        directory = self._apart_of(process)
        for (final, size), (crc, value) in zip(files, _FILE.iter_unpack(receipt[_RECEIPT.size :]), strict=True):
            self._written.append((f"{directory}/{number}", final))
            self._proofs[final] = FileProof(size, crc, 0, file_identity(value))
            number += 1

    def _apart_of(self, process: int) -> str:
        return f"{self._apart}/{process}"

    # -----------------------------------------------------------------------------------------------------------

    def commit(self) -> dict[str, FileProof]:
        """Make all files durable, then visible; return the proof of each by its final name."""
        if self._written:
            commit_in_order([[self]])
        return self.proofs()

    def proofs(self) -> dict[str, FileProof]:
        """Return the proof of each committed file, once."""
        proofs, self._proofs = self._proofs, {}
        return proofs

    def discard(self) -> None:
        """Remove the temporary files; harmless after `commit`."""
        for temporary, _ in self._written:
            disk.unlink(temporary)
        self._written = []
        if self._apart is not None:
            disk.remove_tree(self._apart, self._scratch.root)
            self._apart = None

    # -- in stages, see `Unnamed` -------------------------------------------------------------------------------

    @property
    def fence(self) -> Callable[[], None]:
        return self._scratch.fence

    def _directories(self) -> list[Path]:
        return [Path(directory) for directory in sorted({final.rpartition("/")[0] for _, final in self._written})]

    def settle(self, barrier: Barrier) -> None:
        for directory in self._directories():
            self._scratch.make_way(directory, barrier)
        for temporary, final in self._written:
            mtime_ns = distinct_mtime(temporary, final)
            self._proofs[final] = replace(self._proofs[final], mtime_ns=mtime_ns)
            barrier.add_closed(temporary, final)

    def close(self) -> None:
        pass  # each file was closed when it was written

    def appear(self, barrier: Barrier) -> None:
        for temporary, final in self._written:
            names.rename(temporary, final)
        for directory in self._directories():
            self._scratch.way_lasts(directory)
            barrier.add_directory(directory)
        self._written = []


def _create(temporary: str, data: bytes, final: str, written: list[tuple[str, str]]) -> None:
    """Create a file with its content, and note it as written."""
    descriptor = disk.create(temporary)
    written.append((temporary, final))  # before the write, so that `discard` finds the file if the disk is full
    try:
        disk.write(descriptor, data, final)
    finally:
        disk.close(descriptor, final)


def replace_files(files: Mapping[Path, bytes], scratch: Scratch) -> None:
    """Write small files, each atomically, and all of them durably."""
    group = PendingGroup(scratch)
    try:
        for path, data in files.items():
            group.add(path, data)
        group.commit()
    finally:
        group.discard()

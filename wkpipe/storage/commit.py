"""The commit protocol: how files of a dataset are written.

1. The data are written to a temporary file with a unique name in the scratch directory, on the file system of the dataset.
2. The file is synced: its bytes are on the disk. Then the run checks that it still holds the dataset.
3. It is renamed to its final name: readers see nothing or the whole file, never a part.
4. The directory that holds the final name is synced: the name is on the disk, and so are the names of the directories on the way.

A crash leaves at most temporary files. The next run removes them, and with them what an orphan of an older run has not
renamed yet; an orphan that makes new ones is stopped by the check before the rename. A file that is renamed between an
older run's check and its loss of the dataset has another mtime than the newer run's record, so it never counts as proven.
Every pending file knows its size and CRC-32C; the digests in the ledger come from the code that encoded the chunks.
Several files are committed together with one wait for the syncs of each step: see `wkpipe.storage.stages`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c

from wkpipe.errors import NotWritable
from wkpipe.storage import disk, names
from wkpipe.storage.barrier import Barrier
from wkpipe.storage.crc import RunningCrc
from wkpipe.storage.mtimes import later_mtime, mtime_of
from wkpipe.storage.scratch import Scratch
from wkpipe.storage.stages import commit_in_order

_READ_BACK = 4 << 20
WRITE_BYTES = 4 << 20
"""Parts of a file are collected up to this size, because each write may wait for the disk or the network; after as many bytes,
the system is asked to start writing them to the disk."""


@dataclass(frozen=True)
class FileProof:
    """The facts of a committed file: size in bytes, CRC-32C (RFC 3720) of its content, mtime in nanoseconds.

    `digest` is the identity of its content, empty if it is not known; see `wkpipe.storage.digest`.
    """

    size: int
    crc32c: int
    mtime_ns: int
    digest: str = ""


def crc32c_of_file(path: Path) -> int:
    """Return the CRC-32C of a file, which is read a few MiB at a time."""
    crc = 0
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_READ_BACK):
            crc = google_crc32c.extend(crc, piece)
    return crc


class PendingFile:
    """A file that has a temporary name until `commit` gives it its final one.

    Not thread-safe: one thread appends. As a context manager, it discards a file that was not committed.
    """

    def __init__(self, final: Path, scratch: Scratch) -> None:
        self.final = final
        self.size = 0
        self._writing_from = 0
        self._crc = 0
        self._running_crc = RunningCrc()
        self._unfilled = 0
        self._mtime_ns = 0
        self._is_postponed = False
        self._scratch = scratch
        self._temporary = scratch.new_path()
        self._descriptor = disk.create(self._temporary)
        self._is_pending = True

    def append(self, data: Any) -> int:
        """Append a bytes-like object and return its offset."""
        offset = self.size
        disk.write_at(self._descriptor, data, offset, self.final)
        self.size += memoryview(data).nbytes
        if self.size - self._writing_from >= WRITE_BYTES:
            disk.start_writing(self._descriptor, self._writing_from, self.size - self._writing_from)
            self._writing_from = self.size
        self._running_crc.append(data)
        return offset

    def append_hole(self, length: int) -> int:
        """Append `length` zero bytes, which `overwrite` may fill later, and return their offset."""
        offset = self.size
        self.size += length
        disk.truncate(self._descriptor, self.size, self.final)
        self._running_crc.add_hole(offset, length)
        return offset

    def overwrite(self, offset: int, data: Any) -> None:
        """Write a bytes-like object at `offset`; it must end within what was appended."""
        if offset + memoryview(data).nbytes > self.size:
            raise ValueError(f"{self.final}: write of {memoryview(data).nbytes} bytes at {offset} is past the end {self.size}")
        disk.write_at(self._descriptor, data, offset, self.final)
        self._running_crc.overwrite(offset, data)

    def reserve(self, length: int, crc32c: int) -> int:
        """Append `length` bytes with this CRC-32C, which a forked process writes with `fill`, and return their offset."""
        offset = self.size
        self.size += length
        self._writing_from = self.size
        self._unfilled += length
        self._running_crc.add_part(crc32c, length)
        return offset

    def fill(self, parts: Sequence[memoryview], offset: int) -> None:
        """In a process that was forked since the file was begun, write reserved bytes: some parts, one after the other."""
        disk.write_parts_at(self._descriptor, parts, offset, self.final)
        if (length := sum(part.nbytes for part in parts)) >= WRITE_BYTES:
            disk.start_writing(self._descriptor, offset, length)

    def filled(self, length: int) -> None:
        """Note that a number of reserved bytes is written."""
        self._unfilled -= length

    def append_from(self, descriptor: int, offset: int, length: int) -> int:
        """Append `length` bytes of another open file and return their offset."""
        start = self.size
        while length:
            piece = os.pread(descriptor, min(length, _READ_BACK), offset)
            if not piece:
                raise ValueError(f"{self.final}: the file to copy from ended {length} bytes early")
            self.append(piece)
            offset, length = offset + len(piece), length - len(piece)
        return start

    def commit(self, lasting: bool = True) -> FileProof:
        """Make the file durable and visible under its final name (steps 2 to 4 of the protocol).

        With `lasting=False`, nothing is synced: after a power failure, the file may be gone or incomplete. If the scratch postpones
        commits, the file only gets its final content and mtime now, so that its proof is known.
        """
        if self._scratch.postpone is not None:
            self._finish()
            self._is_postponed = True
            self._scratch.postpone(self)
        elif lasting:
            commit_in_order([[self]])
        else:
            self.settle(Barrier())
            self.close()
            self._scratch.fence()
            self._rename()
        return self.proof()

    def commit_new(self, lasting: bool = True) -> FileProof | None:
        """Make the file durable and visible; if a file of that name exists, change nothing and return None.

        With `lasting=False`, a power failure may take its name, but never a part of its content.
        """
        barrier = Barrier()
        self.settle(barrier)
        barrier.wait()
        self.close()
        self._scratch.fence()
        if not names.take_name(self._temporary, self.final):
            return None
        self.discard()
        if lasting:
            disk.sync_directory(self.final.parent)
        return self.proof()

    def proof(self) -> FileProof:
        """Return the facts of the file, which is settled."""
        return FileProof(self.size, self._crc, self._mtime_ns)

    @property
    def fence(self) -> Callable[[], None]:
        return self._scratch.fence

    def settle(self, barrier: Barrier) -> None:
        if not self._is_postponed:
            self._finish()
        self._scratch.make_way(self.final.parent, barrier)
        barrier.add_open(self._descriptor, self._temporary, self.final)

    def _finish(self) -> None:
        """Give the file its mtime and compute its CRC-32C."""
        if self._unfilled:
            raise RuntimeError(f"{self.final}: {self._unfilled} reserved bytes are not written")
        mtime_ns = later_mtime(os.fstat(self._descriptor).st_mtime_ns, mtime_of(self.final))
        if mtime_ns is not None:
            disk.set_mtime(self._descriptor, mtime_ns, self.final)
        known = self._running_crc.value
        self._crc = crc32c_of_file(self._temporary) if known is None else known
        self._mtime_ns = os.fstat(self._descriptor).st_mtime_ns

    def close(self) -> None:
        mtime_ns = os.fstat(self._descriptor).st_mtime_ns
        if self._is_postponed and mtime_ns != self._mtime_ns:  # a file server has set its own
            disk.set_mtime(self._descriptor, self._mtime_ns, self.final)
            disk.sync(self._descriptor, self.final)
        else:
            self._mtime_ns = mtime_ns
        self._close()

    def appear(self, barrier: Barrier) -> None:
        self._scratch.way_lasts(self.final.parent)
        self._rename()
        barrier.add_directory(self.final.parent)

    def _rename(self) -> None:
        names.rename(self._temporary, self.final)
        self._is_pending = False

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            disk.close(descriptor, self.final)

    def withdraw(self) -> None:
        """Remove the temporary file of a postponed commit; harmless if it was committed."""
        self._is_postponed = False
        self.discard()

    def discard(self) -> None:
        """Remove the temporary file; harmless after `commit`, even if that was postponed."""
        if self._is_pending and not self._is_postponed:
            self._is_pending = False
            with contextlib.suppress(NotWritable):  # an incomplete file need not be closed cleanly
                self._close()
            disk.unlink(self._temporary)

    def __enter__(self) -> PendingFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

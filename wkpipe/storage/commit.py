"""The commit protocol: how a file of a dataset comes into being.

1. The data are written to a temporary file with a unique name in the scratch directory, which lies on the same
   file system as the dataset.
2. The file is synced: its bytes are on the disk. Then the run makes sure that it still holds the dataset.
3. It is renamed to its final name: readers see nothing or the whole file, never a part.
4. The directory that holds the final name is synced: the name is on the disk.

A crash leaves at most temporary files, which the next run removes: with them goes what an orphan of an older run has
not renamed yet, and the check before the rename stops one that makes new ones. What slips through between check and
rename does not bear the mtime of the record that the newer run has or will have, so it is never taken for proven.
Groups of small files share one sync (2) and one sync per directory (4). Every pending file knows its size and CRC-32C;
the digests that the ledger records come from who encoded the chunks.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import google_crc32c

from wkpipe.errors import InputRefused
from wkpipe.storage import disk
from wkpipe.storage.digest import file_digest
from wkpipe.storage.process import is_signature_of_dead, signature

_READ_BACK = 4 << 20

START_WRITING_BYTES = 4 << 20
"""So much is appended before the system is asked to begin with writing it to the disk."""

MOST_SYNCED_ALONE = 32
"""More files or directories than this are made durable by one sync of the file system, which waits for what other
processes have written too, but only once."""
_ABANDONED_SECONDS = 3600.0


@dataclass(frozen=True)
class FileProof:
    """What is known of a committed file: size in bytes, CRC-32C (RFC 3720) of its content, mtime in nanoseconds.

    `digest` is the identity of its content, where it is known; see `wkpipe.storage.digest`.
    """

    size: int
    crc32c: int
    mtime_ns: int
    digest: str = ""


def crc32c_of_file(path: Path) -> int:
    """Return the CRC-32C of a file's content, read in pieces."""
    crc = 0
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_READ_BACK):
            crc = google_crc32c.extend(crc, piece)
    return crc


class Scratch:
    """The directory for temporary files of one process; the files in it have unique names.

    `fence` is called before a file gets its final name: it raises if that is no longer the process's right. Below `root`,
    a resolved path, no link is followed to where a file gets its name or loses it.
    """

    def __init__(self, directory: Path, fence: Callable[[], None] = lambda: None, root: Path | None = None) -> None:
        self.directory = directory
        self.fence = fence
        self.root = root
        self._admitted: set[Path] = set()
        self._made = False

    def admit(self, directory: Path) -> None:
        """Make sure that a directory below `root` is no link and is reached by none.

        Raises:
            InputRefused: it is.
        """
        if self.root is None or directory in self._admitted or not directory.is_relative_to(self.root):
            return
        if (real := os.path.realpath(directory)) != str(directory):
            raise InputRefused(
                f"{directory}: a link leads to {real}; wkpipe writes only inside of the dataset: "
                "put a copy in the place of the link, or remove it"
            )
        self._admitted.add(directory)

    def new_path(self) -> Path:
        """Return a fresh name in the directory, making the directory at the first call."""
        if not self._made:
            disk.make_directory(self.directory)
            self._made = True
        return self.directory / f"{uuid.uuid4().hex}.{signature()}.tmp"

    def unlinked_file(self) -> int:
        """Return the descriptor of a file without a name: it vanishes with the process, however that ends."""
        path = self.new_path()
        descriptor = disk.create(path)
        disk.unlink(path)
        return descriptor


def remove_abandoned(directory: Path) -> None:
    """Remove temporary files whose process is dead, or which are old; others may be in use just now."""
    for path in directory.glob("*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(path.lstat().st_mode):
                continue
            signed = path.name.split(".")[1:-1]
            if (signed and is_signature_of_dead(signed[0])) or time.time() - path.lstat().st_mtime > _ABANDONED_SECONDS:
                disk.unlink(path)


class PendingFile:
    """A file that is written under a temporary name, until `commit` gives it its final one.

    Not thread-safe: one thread appends. Used as a context manager, leaving without a commit discards the file.
    """

    def __init__(self, final: Path, scratch: Scratch) -> None:
        self.final = final
        self.size = 0
        self._writing_from = 0
        self._crc = 0
        self._crc_is_current = True
        self._scratch = scratch
        self._temporary = scratch.new_path()
        self._descriptor = disk.create(self._temporary)

    def append(self, data: Any) -> int:
        """Append a bytes-like object and return the offset at which it lies."""
        offset = self.size
        disk.write_at(self._descriptor, data, offset, self.final)
        self.size += memoryview(data).nbytes
        if self.size - self._writing_from >= START_WRITING_BYTES:
            disk.start_writing(self._descriptor, self._writing_from, self.size - self._writing_from)
            self._writing_from = self.size
        if self._crc_is_current:
            self._crc = google_crc32c.extend(self._crc, bytes(data) if not isinstance(data, bytes) else data)
        return offset

    def append_hole(self, length: int) -> int:
        """Leave `length` zero bytes, to be filled by `overwrite` or to stay zero; return their offset."""
        offset = self.size
        self.size += length
        disk.truncate(self._descriptor, self.size, self.final)
        self._crc_is_current = False
        return offset

    def overwrite(self, offset: int, data: Any) -> None:
        """Write a bytes-like object at `offset`, which must end within what was appended."""
        if offset + memoryview(data).nbytes > self.size:
            raise ValueError(f"{self.final}: write of {memoryview(data).nbytes} bytes at {offset} is past the end {self.size}")
        disk.write_at(self._descriptor, data, offset, self.final)
        self._crc_is_current = False

    def append_from(self, descriptor: int, offset: int, length: int) -> int:
        """Append `length` bytes of another open file and return the offset at which they lie."""
        start = self.size
        while length:
            piece = os.pread(descriptor, min(length, _READ_BACK), offset)
            if not piece:
                raise ValueError(f"{self.final}: the file to copy from ended {length} bytes early")
            self.append(piece)
            offset, length = offset + len(piece), length - len(piece)
        return start

    def commit(self) -> FileProof:
        """Make the file durable and visible under its final name; see the module's text."""
        disk.sync(self._descriptor, self.final)
        proof = self._proof_and_rename()
        disk.sync_directory(self.final.parent)
        return proof

    def _proof_and_rename(self) -> FileProof:
        """Rename the synced file into place; its directory entry is not durable yet."""
        if not self._crc_is_current:
            self._crc = crc32c_of_file(self._temporary)
        self._scratch.admit(self.final.parent)
        disk.make_directory(self.final.parent)
        self._scratch.fence()
        proof = FileProof(self.size, self._crc, os.fstat(self._descriptor).st_mtime_ns)
        disk.rename(self._temporary, self.final)
        self._close()
        return proof

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def discard(self) -> None:
        """Remove the temporary file; harmless after `commit`."""
        if self._descriptor >= 0:
            self._close()
            disk.unlink(self._temporary)

    def __enter__(self) -> PendingFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


class PendingGroup:
    """Many small files that become durable and visible together: one sync of the file system for all of them."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._written: list[tuple[Path, Path, FileProof]] = []  # temporary, final; the mtime is known at the end

    def add(self, final: Path, data: Any, digest: bytes | None = None) -> None:
        """Write one file of the group under a temporary name; `digest` is that of `data`, where it is known already."""
        raw = data if isinstance(data, bytes) else bytes(data)
        temporary = self._scratch.new_path()
        descriptor = disk.create(temporary)
        # Noted before it is written, so that `discard` finds it if the disk is full.
        self._written.append((temporary, final, FileProof(len(raw), google_crc32c.value(raw), 0, file_digest(raw, digest))))
        try:
            disk.write(descriptor, raw, final)
        finally:
            disk.close(descriptor, final)

    def commit(self) -> dict[Path, FileProof]:
        """Make all files durable, then visible; return the proof of each by its final name."""
        if self._written:
            disk.sync_file_system(self._scratch.directory)
        proofs = {}
        directories = {final.parent for _, final, _ in self._written}
        for directory in sorted(directories):
            self._scratch.admit(directory)
            disk.make_directory(directory)
        self._scratch.fence()
        for temporary, final, proof in self._written:
            proofs[final] = replace(proof, mtime_ns=os.stat(temporary).st_mtime_ns)
            disk.rename(temporary, final)
        if len(directories) > MOST_SYNCED_ALONE:
            disk.sync_file_system(self._scratch.directory)
        else:
            for directory in sorted(directories):
                disk.sync_directory(directory)
        self._written = []
        return proofs

    def discard(self) -> None:
        """Remove the temporary files; harmless after `commit`."""
        for temporary, *_ in self._written:
            disk.unlink(temporary)
        self._written = []


def replace_file(path: Path, data: bytes, scratch: Scratch) -> FileProof:
    """Write a small file as a whole, atomically and durably."""
    with PendingFile(path, scratch) as file:
        file.append(data)
        return file.commit()


def replace_files(files: Mapping[Path, bytes], scratch: Scratch) -> None:
    """Write small files, each as a whole, atomically and durably; many of them share one sync of the file system."""
    if len(files) <= MOST_SYNCED_ALONE:
        for path, data in files.items():
            replace_file(path, data, scratch)
        return
    group = PendingGroup(scratch)
    try:
        for path, data in files.items():
            group.add(path, data)
        group.commit()
    finally:
        group.discard()


def remove_files(paths: Sequence[Path], scratch: Scratch) -> None:
    """Remove files durably: their directories are synced."""
    for path in paths:
        scratch.admit(path.parent)
        disk.unlink(path)
    for directory in sorted({path.parent for path in paths if path.parent.is_dir()}):
        disk.sync_directory(directory)


def remove_directory(path: Path, scratch: Scratch) -> None:
    """Remove a directory, or the link in its place: durably it vanishes at once, its content after it. If it is not there, nothing happens.

    A directory that is emptied in place could come back in part when the power goes.
    """
    if not path.is_dir() and not path.is_symlink():
        return
    scratch.admit(path.parent)
    disk.make_directory(scratch.directory)
    if os.stat(scratch.directory).st_dev == os.lstat(path).st_dev:
        gone = scratch.directory / f"{uuid.uuid4().hex}.removed"
        disk.rename(path, gone)
        disk.sync_directory(path.parent)
        disk.remove_tree(gone, scratch.root)
    else:
        disk.remove_tree(path, scratch.root)
        disk.sync_file_system(path.parent)

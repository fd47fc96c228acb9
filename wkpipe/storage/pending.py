"""What is being written to a place and has no name yet: one object, or many small ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from wkpipe.storage.commit import FileProof


class Pending(Protocol):
    """An object that is being written and has no name until `commit`. Not thread-safe."""

    size: int

    def append(self, data: Any) -> int:
        """Append a bytes-like object and return its offset."""

    def append_hole(self, length: int) -> int:
        """Leave `length` zero bytes for `overwrite` to fill, and return their offset."""

    def overwrite(self, offset: int, data: Any) -> None:
        """Write a bytes-like object at `offset`; it must end within what was appended."""

    def reserve(self, length: int, crc32c: int) -> int:
        """Append `length` bytes with this CRC-32C, which a forked process writes with `fill`, and return their offset."""

    def fill(self, parts: Sequence[memoryview], offset: int) -> None:
        """In a process that was forked since the object was begun, write reserved bytes: some parts, one after the other."""

    def filled(self, length: int) -> None:
        """Note that a number of reserved bytes is written."""

    def append_from(self, descriptor: int, offset: int, length: int) -> int:
        """Append bytes of an open file and return their offset."""

    def commit(self) -> FileProof:
        """Make the object durable and visible, and return its proof.

        Raises:
            RuntimeError: not all reserved bytes are written.
        """

    def discard(self) -> None:
        """Remove what was written; harmless after `commit`."""

    def __enter__(self) -> Pending: ...

    def __exit__(self, *_: object) -> None: ...


class PendingObjects(Protocol):
    """Many small objects that become durable and visible together."""

    def add(self, key: str, data: Any, digest: bytes | None = None) -> None:
        """Write one of the objects without a name; `digest` is that of `data`, if it is known. Thread-safe."""

    def begin_apart(self) -> None:
        """Let processes that are forked from now on write objects, with `write_apart`."""

    def write_apart(self, objects: Iterable[tuple[str, bytes, bytes]]) -> bytes:
        """In a forked process, write objects without a name: key, data, and their digest. Return the receipt for `take`."""

    def take(self, objects: Iterable[tuple[str, int]], receipt: bytes) -> None:
        """Take over what a forked process has written: the key and size of each object, in the same order."""

    def commit(self) -> dict[str, FileProof]:
        """Make all of them durable, then visible; return the proof of each by its key."""

    def discard(self) -> None:
        """Remove what was written; harmless after `commit`."""

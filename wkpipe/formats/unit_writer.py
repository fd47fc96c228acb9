"""Encoded chunks, and the writer that every storage format has: one unit of proof at a time, as a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from wkpipe.formats.spec import Ints, Voxels
from wkpipe.storage.digest import DIGEST_BYTES, digest_of
from wkpipe.storage.proof import Position, UnitProof


@dataclass(frozen=True)
class EncodedChunks:
    """Encoded chunks of a unit: their positions (chunks, axes) in it, and their bytes in `data`, one after the other.

    A size of 0 stands for a chunk that holds nothing but the fill value. `digests` holds a `digest_of` of 16 bytes for
    each of the other chunks, in the same order: the code that encodes a chunk also digests it.
    """

    positions: Ints
    sizes: Ints
    data: bytes
    digests: bytes

    @classmethod
    def of(cls, positions: Ints, chunks: Sequence[bytes | None]) -> EncodedChunks:
        """Return encoded chunks with their digests; None stands for the fill value."""
        stored = [chunk or b"" for chunk in chunks]
        return cls.of_bytes(positions, np.array(list(map(len, stored)), np.int64), b"".join(stored))

    @classmethod
    def of_bytes(cls, positions: Ints, sizes: Ints, data: bytes) -> EncodedChunks:
        """Return encoded chunks with their digests; `data` has the bytes of all, one after the other."""
        ends = np.cumsum(sizes).tolist()
        view = memoryview(data)
        digests = [digest_of(view[end - size : end]) for end, size in zip(ends, sizes.tolist(), strict=True) if size]
        return cls(positions, sizes, data, b"".join(digests))

    @classmethod
    def fill(cls, positions: Ints) -> EncodedChunks:
        """Return chunks that hold nothing but the fill value."""
        return cls(positions, np.zeros(len(positions), np.int64), b"", b"")

    def each(self) -> Iterator[tuple[Position, bytes | None, bytes | None]]:
        """Yield position, bytes and digest of every chunk; None stands for the fill value."""
        end = at = 0
        for position, size in zip(self.positions.tolist(), self.sizes.tolist(), strict=True):
            if not size:
                yield tuple(position), None, None
                continue
            start, end, at = end, end + size, at + DIGEST_BYTES
            yield tuple(position), self.data[start:end], self.digests[at - DIGEST_BYTES : at]


def stowed_head(encoded: EncodedChunks, receipt: bytes) -> bytes:
    """Return in one piece what `UnitWriter.append_stowed` needs besides the positions and the body."""
    return encoded.sizes.tobytes() + encoded.digests + receipt


def parts_of_head(head: bytes, chunks: int) -> tuple[Ints, bytes, bytes]:
    """Return the sizes, the digests and the receipt in a head of that number of chunks."""
    end = chunks * np.dtype(np.int64).itemsize
    sizes = np.frombuffer(head[:end], np.int64)
    receipt = end + DIGEST_BYTES * int(np.count_nonzero(sizes))
    return sizes, head[end:receipt], head[receipt:]


class UnitWriter(ABC):
    """Write one unit as a stream of encoded chunks; readers see nothing of it before `commit`.

    `encode` and `encode_grid` may be called from many threads, the other methods from one. A context manager: leaving it
    without a commit discards what was written. The same chunks appended in the same order give the same bytes.
    """

    @abstractmethod
    def encode(self, chunk: Voxels) -> bytes | None:
        """Encode one whole chunk (`chunk_shape`); None if it holds nothing but the fill value."""

    @abstractmethod
    def encode_grid(self, voxels: Voxels, cells: Ints, positions: Ints) -> EncodedChunks:
        """Encode chunks of a box of whole chunks; `voxels` is Fortran-contiguous.

        `cells` (chunks, axes) are the chunks of the box to encode, in the order of the result; `positions` are the
        positions of the same chunks in the unit.
        """

    @abstractmethod
    def append(self, chunk: Position, encoded: bytes | None, digest: bytes | None = None) -> None:
        """Append an encoded chunk at its position in the unit (in chunks); each position at most once.

        `digest` is the digest of `encoded` if it is known already.

        Positions that are never appended hold the fill value. If a format prescribes the order of chunks in the file,
        early chunks wait in a file without a name: any order is allowed, and memory stays bounded.
        """

    def append_all(self, encoded: EncodedChunks) -> None:
        """Append chunks in their order; see `append`."""
        for position, data, digest in encoded.each():
            self.append(position, data, digest)

    def come_in_order(self) -> None:  # noqa: B027  (only files that must have their chunks in this order)
        """Note that all chunks come in Morton order: those that are skipped hold the fill value."""

    # -- chunks that forked processes encode --------------------------------------------------------------------

    def begin_stowing(self) -> Callable[[Sequence[memoryview], int], None] | None:
        """Prepare for `stow` in processes that are forked from now on.

        Returns:
            What such a process calls to write bodies, one after the other, at the offset that `append_stowed` has returned for the
            first one; None if `append_stowed` takes the bodies.
        """
        return None

    def stow(self, encoded: EncodedChunks) -> tuple[bytes, bytes]:
        """In a forked process, return what `append_stowed` needs of encoded chunks: a receipt, and the body, which has their bytes."""
        return b"", encoded.data

    def append_stowed(self, positions: Ints, sizes: Ints, digests: bytes, receipt: bytes, body: memoryview) -> int | None:  # noqa: ARG002
        """Append chunks that a forked process has stowed; see `EncodedChunks`.

        Returns:
            Where the body is to be written; None if it need not be.
        """
        self.append_all(EncodedChunks(positions, sizes, bytes(body), digests))
        return None

    def filled(self, length: int) -> None:  # noqa: B027  (only shards that are written by forked processes)
        """Note that a number of bytes of bodies is written."""

    @abstractmethod
    def commit(self) -> UnitProof:
        """Make the unit durable and visible in place of an earlier one; see `wkpipe.storage.commit`.

        Files that only the earlier unit has are removed: they hold the fill value now.
        """

    @abstractmethod
    def discard(self) -> None:
        """Remove what was written; do nothing after `commit`."""

    def __enter__(self) -> UnitWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

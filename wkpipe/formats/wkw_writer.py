"""Write WKW files: blocks are stored in Morton order, whatever order they come in. Here: what all have in common, and raw ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from wkpipe.formats.base import EncodedChunks, Ints, Position, UnitProof, UnitWriter, Voxels
from wkpipe.formats.chunk_coder import ChunkCoder
from wkpipe.formats.chunk_files import check_inside
from wkpipe.formats.open_files import ShardIndex
from wkpipe.formats.proving import proof_of_written
from wkpipe.formats.wkw_header import WkwHeader
from wkpipe.geometry.grid import morton_bits, morton_order
from wkpipe.storage.digest import DIGEST_BYTES, digest_of
from wkpipe.storage.pending import Pending
from wkpipe.storage.place import Place
from wkpipe.storage.proof import FILL


def morton_code(cell: Sequence[int], bits: Sequence[int]) -> int:
    """Return the place of a cell in Morton order; `bits` are the bits of its grid."""
    left = list(cell)
    code = 0
    for place, axis in enumerate(bits):
        code |= (left[axis] & 1) << place
        left[axis] >>= 1
    return code


def morton_codes(cells: Ints, bits: Sequence[int]) -> Ints:
    """Return the places of cells (count, axes) in Morton order."""
    codes = np.zeros(len(cells), np.int64)
    used = [0] * cells.shape[1]
    for place, axis in enumerate(bits):
        codes |= ((cells[:, axis] >> used[axis]) & 1) << place
        used[axis] += 1
    return codes


class WkwWriter(UnitWriter):
    """What raw and compressed files share: the first block that is not zero creates the file."""

    def __init__(self, place: Place, key: str, header: WkwHeader, coder: ChunkCoder) -> None:
        self._place, self._key = place, key
        self._final = place.path(key)
        self._header = header
        self._coder = coder
        self._grid = (1, *[header.file_edge] * 3)
        self._bits = morton_bits(self._grid[1:])
        self._seen = np.zeros(header.blocks, np.bool_)
        self._digests = np.zeros((header.blocks, DIGEST_BYTES), np.uint8)  # in Morton order
        self._file: Pending | None = None

    def encode(self, chunk: Voxels) -> bytes | None:
        return self._coder.encode(chunk)

    def encode_grid(self, voxels: Voxels, cells: Ints, positions: Ints) -> EncodedChunks:
        return self._coder.encode_grid(voxels, cells, positions)

    def _code(self, chunk: Position) -> int:
        """Return the place of a chunk in the file, and note that it has come."""
        check_inside(chunk, self._grid)
        code = morton_code(chunk[1:], self._bits)
        if self._seen[code]:
            raise ValueError(f"{self._final}: chunk {chunk} was appended twice")
        self._seen[code] = True
        return code

    def _started(self) -> Pending:
        """Return the file, which begins with its header."""
        if self._file is None:
            self._file = self._place.writer(self._key)
            self._file.append(self._header.pack(self._header.first_block_offset))
        return self._file

    def _note_digests(self, codes: Ints | int, digests: bytes) -> None:
        self._digests[codes] = np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_BYTES)

    def _finish(self, starts: Ints, sizes: Ints, rest: Iterable[bytes]) -> UnitProof:
        """Commit the file; if there is none, remove the file of the earlier unit.

        `starts` and `sizes` are of the blocks in Morton order, `rest` is the bytes of no block.
        """
        if self._file is None:
            if self._place.has(self._key):
                self._place.remove([self._key])
            return FILL
        cells = (0, *morton_order(self._grid[1:]).T)
        index = ShardIndex(np.empty(self._grid, np.int64), np.empty(self._grid, np.int64))
        digests = np.empty((*self._grid, DIGEST_BYTES), np.uint8)
        index.offsets[cells], index.sizes[cells], digests[cells] = starts, sizes, self._digests
        return proof_of_written(self._file.commit(), index, digests, rest)

    def discard(self) -> None:
        if self._file is not None:
            self._file.discard()


class RawWkwWriter(WkwWriter):
    """Write a raw file: every block has a fixed place; places without a block stay a hole."""

    def __init__(self, place: Place, key: str, header: WkwHeader, coder: ChunkCoder) -> None:
        super().__init__(place, key, header, coder)
        self._is_written = np.zeros(header.blocks, np.bool_)

    def append(self, chunk: Position, encoded: bytes | None, digest: bytes | None = None) -> None:
        code = self._code(chunk)
        if encoded is None:
            return
        size = self._header.block_bytes
        if len(encoded) != size:
            raise ValueError(f"{self._final}: a raw block has {size} bytes, not {len(encoded)}")
        if self._file is None:
            self._started().append_hole(self._header.blocks * size)
        self._started().overwrite(self._header.first_block_offset + code * size, encoded)
        self._note_digests(code, digest or digest_of(encoded))
        self._is_written[code] = True

    def commit(self) -> UnitProof:
        header = self._header
        self._note_digests(np.nonzero(~self._is_written)[0], digest_of(bytes(header.block_bytes)))
        starts = header.first_block_offset + np.arange(header.blocks, dtype=np.int64) * header.block_bytes
        return self._finish(starts, np.full(header.blocks, header.block_bytes, np.int64), [header.pack(header.first_block_offset)])

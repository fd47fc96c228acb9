"""Write WKW files: blocks are stored in Morton order, whatever order they come in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np

from wkpipe.formats import wkw_header
from wkpipe.formats.base import EncodedChunks, Ints, Position, UnitProof, UnitWriter, Voxels
from wkpipe.formats.chunk_coder import ChunkCoder
from wkpipe.formats.chunk_files import check_inside
from wkpipe.formats.open_files import ShardIndex
from wkpipe.formats.proving import proof_of_written
from wkpipe.formats.wkw_header import WkwHeader
from wkpipe.geometry.grid import morton_bits, morton_order
from wkpipe.storage import disk
from wkpipe.storage.digest import DIGEST_BYTES, digest_of
from wkpipe.storage.pending import Pending
from wkpipe.storage.place import Place
from wkpipe.storage.proof import FILL
from wkpipe.storage.scratch import Scratch

_ZERO_RUN = 1 << 20
_UNKNOWN, _ZERO, _SPOOLED = 0, 1, 2


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


class _WkwWriter(UnitWriter):
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


class RawWkwWriter(_WkwWriter):
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


class CompressedWkwWriter(_WkwWriter):
    """Write a compressed file: append blocks in order; early ones wait in a file without a name, only their extents in memory."""

    def __init__(self, place: Place, key: str, header: WkwHeader, coder: ChunkCoder, zero_block: bytes, scratch: Scratch) -> None:
        super().__init__(place, key, header, coder)
        self._scratch = scratch
        self._zero_block = zero_block
        self._zero_digest = digest_of(zero_block)
        self._next = 0
        self._ends = np.zeros(header.blocks, "<u8")
        self._state = np.zeros(header.blocks, np.uint8)
        self._spool = -1
        self._spool_end = 0
        self._spool_offset = np.zeros(header.blocks, np.int64)
        self._spool_size = np.zeros(header.blocks, np.int64)

    def append(self, chunk: Position, encoded: bytes | None, digest: bytes | None = None) -> None:
        code = self._code(chunk)
        if encoded:
            self._note_digests(code, digest or digest_of(encoded))
        if encoded is None:
            self._state[code] = _ZERO
        elif not encoded:
            raise ValueError(f"{self._final}: chunk {chunk} has no bytes")
        elif code == self._next and self._is_started():
            self._ends[code] = self._started().append(encoded) + len(encoded)
            self._next += 1
        else:
            self._is_started()
            self._keep(code, encoded)
        if self._file is not None:
            self._drain()

    def append_all(self, encoded: EncodedChunks) -> None:
        count = len(encoded.sizes)
        codes = morton_codes(encoded.positions[:, 1:], self._bits)
        if not count or not (codes == self._next + np.arange(count)).all() or not encoded.sizes.any():
            super().append_all(encoded)
            return
        # Downsampling makes the next blocks of the file in order: they are appended in one write.
        for position in encoded.positions[[0, -1]]:
            check_inside(position.tolist(), self._grid)
        if self._seen[codes].any():
            raise ValueError(f"{self._final}: a chunk was appended twice")
        self._seen[codes] = True
        self._is_started()
        data, digests, sizes = encoded.data, encoded.digests, encoded.sizes
        if not sizes.all():
            each = [(self._zero_block, self._zero_digest) if block is None else (block, digest) for _, block, digest in encoded.each()]
            data, digests = b"".join(block for block, _ in each), b"".join(digest or b"" for _, digest in each)
            sizes = np.where(sizes == 0, len(self._zero_block), sizes)
        self._note_digests(codes, digests)
        offset = self._started().append(data)
        self._ends[codes] = offset + np.cumsum(sizes)
        self._next += count
        self._drain()

    def _is_started(self) -> bool:
        """Begin the file if it has not begun, and return True: there is a block that is not zero."""
        if self._file is None:
            self._started().append_hole(8 * self._header.blocks)
        return True

    def _keep(self, code: int, encoded: bytes) -> None:
        """Keep a block that came early for later."""
        if self._spool < 0:
            self._spool = self._scratch.unlinked_file()
        disk.write_at(self._spool, encoded, self._spool_end, self._final)
        self._spool_offset[code], self._spool_size[code] = self._spool_end, len(encoded)
        self._spool_end += len(encoded)
        self._state[code] = _SPOOLED

    def _drain(self) -> None:
        """Append the blocks whose turn has come."""
        file = self._started()
        blocks = self._header.blocks
        while self._next < blocks and (state := self._state[self._next]) != _UNKNOWN:
            if state == _ZERO:
                self._append_zeros()
                continue
            size = int(self._spool_size[self._next])
            self._ends[self._next] = file.append_from(self._spool, int(self._spool_offset[self._next]), size) + size
            self._next += 1

    def _append_zeros(self) -> None:
        """Append the run of zero blocks whose turn has come, many at a time."""
        first = self._next
        end = min(self._header.blocks, first + max(1, _ZERO_RUN // len(self._zero_block)))
        others = np.nonzero(self._state[first:end] != _ZERO)[0]
        count = int(others[0]) if len(others) else end - first
        offset = self._started().append(self._zero_block * count)
        self._note_digests(np.arange(first, first + count), self._zero_digest)
        self._ends[first : first + count] = offset + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(len(self._zero_block))
        self._next = first + count

    def commit(self) -> UnitProof:
        header, table = self._header, b""
        if self._file is not None:
            self._state[~self._seen] = _ZERO
            self._drain()
            table = self._ends.tobytes()
            self._file.overwrite(wkw_header.SIZE, table)
        ends = self._ends.astype(np.int64)
        starts = np.concatenate(([np.int64(header.first_block_offset)], ends[:-1]))
        proof = self._finish(starts, ends - starts, [header.pack(header.first_block_offset), table])
        self._close_spool()
        return proof

    def _close_spool(self) -> None:
        if self._spool >= 0:
            os.close(self._spool)
            self._spool = -1

    def discard(self) -> None:
        self._close_spool()
        super().discard()

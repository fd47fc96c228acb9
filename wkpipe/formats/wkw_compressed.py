"""Write compressed WKW files: blocks are appended in Morton order; those that come early wait in a file without a name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import google_crc32c
import numpy as np

from wkpipe.formats import wkw_header
from wkpipe.formats.base import EncodedChunks, Ints, Position, UnitProof
from wkpipe.formats.chunk_coder import ChunkCoder
from wkpipe.formats.chunk_files import check_inside
from wkpipe.formats.wkw_header import WkwHeader
from wkpipe.formats.wkw_writer import WkwWriter, morton_codes
from wkpipe.storage import disk
from wkpipe.storage.digest import DIGEST_BYTES, digest_of
from wkpipe.storage.pending import Pending
from wkpipe.storage.place import Place
from wkpipe.storage.scratch import Scratch

_ZERO_RUN = 1 << 20
_UNKNOWN, _ZERO, _SPOOLED = 0, 1, 2


class CompressedWkwWriter(WkwWriter):
    """Write a compressed file: append blocks in order; early ones wait in a file without a name, only their extents in memory."""

    def __init__(self, place: Place, key: str, header: WkwHeader, coder: ChunkCoder, zero_block: bytes, scratch: Scratch) -> None:
        super().__init__(place, key, header, coder)
        self._scratch = scratch
        self._zero_block = zero_block
        self._zero_digest = digest_of(zero_block)
        self._is_in_order = False
        self._has_blocks = False
        self._next = 0
        self._ends = np.zeros(header.blocks, "<u8")
        self._state = np.zeros(header.blocks, np.uint8)
        self._spool = -1
        self._spool_end = 0
        self._spool_offset = np.zeros(header.blocks, np.int64)
        self._spool_size = np.zeros(header.blocks, np.int64)

    def come_in_order(self) -> None:
        self._is_in_order = True

    def append(self, chunk: Position, encoded: bytes | None, digest: bytes | None = None) -> None:
        if encoded is not None and not encoded:
            raise ValueError(f"{self._final}: chunk {chunk} has no bytes")
        self._append(self._code(chunk), encoded, digest)

    def _append(self, code: int, encoded: bytes | None, digest: bytes | None) -> None:
        if encoded is None:
            self._state[code] = _ZERO
        else:
            self._has_blocks = True
            self._drain()
            self._note_digests(code, digest or digest_of(encoded))
            if code == self._next:
                self._ends[code] = self._started().append(encoded) + len(encoded)
                self._next += 1
            else:
                self._keep(code, encoded)
        self._drain()

    def append_all(self, encoded: EncodedChunks) -> None:
        codes = self._codes(encoded.positions)
        if not encoded.sizes.any():
            self._append_nothing(codes)
        elif self._follow(codes):
            sizes, digests = self._with_zeros(encoded.sizes, encoded.digests)
            self._note(codes, sizes, digests, self._started().append(self._blocks(encoded)))
        else:
            self._append_each(codes, encoded)

    def _append_each(self, codes: Ints, encoded: EncodedChunks) -> None:
        for code, (_, block, digest) in zip(codes.tolist(), encoded.each(), strict=True):
            self._append(code, block, digest)

    def _codes(self, positions: Ints) -> Ints:
        """Return the places of chunks in the file, and note that they have come."""
        if ((positions < 0) | (positions >= self._grid)).any():
            for position in positions.tolist():
                check_inside(position, self._grid)
        codes = morton_codes(positions[:, 1:], self._bits)
        if self._seen[codes].any():
            raise ValueError(f"{self._final}: a chunk was appended twice")
        self._seen[codes] = True
        return codes

    def _append_nothing(self, codes: Ints) -> None:
        """Append chunks that hold nothing but zeros."""
        self._state[codes] = _ZERO
        self._drain()

    def _follow(self, codes: Ints) -> bool:
        """True if chunks, of which one is not zero, are the next ones of the file: zeros before them are appended."""
        self._has_blocks = True
        if self._is_in_order:
            skipped = slice(self._next, codes[0])
            self._state[skipped][~self._seen[skipped]] = _ZERO
            self._seen[skipped] = True
        self._drain()
        return bool((codes == self._next + np.arange(len(codes))).all())

    def _blocks(self, encoded: EncodedChunks) -> bytes:
        """Return the bytes of chunks; those that hold zeros are blocks, too."""
        if encoded.sizes.all():
            return encoded.data
        return b"".join(self._zero_block if data is None else data for _, data, _ in encoded.each())

    def _with_zeros(self, sizes: Ints, digests: bytes) -> tuple[Ints, bytes]:
        """Return the sizes and digests of these blocks; size 0 stands for zeros, which have no digest yet."""
        all_digests = np.tile(np.frombuffer(self._zero_digest, np.uint8), (len(sizes), 1))
        all_digests[sizes > 0] = np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_BYTES)
        return np.where(sizes == 0, len(self._zero_block), sizes), all_digests.tobytes()

    def _note(self, codes: Ints, sizes: Ints, digests: bytes, offset: int) -> None:
        """Note the next blocks of the file, which begin at `offset`."""
        self._note_digests(codes, digests)
        self._ends[codes] = offset + np.cumsum(sizes)
        self._next += len(codes)
        self._drain()

    def begin_stowing(self) -> Callable[[Sequence[memoryview], int], None]:
        return self._started().fill

    def stow(self, encoded: EncodedChunks) -> tuple[bytes, bytes]:
        data = self._blocks(encoded) if encoded.data else b""
        return google_crc32c.value(data).to_bytes(4, "little"), data

    def append_stowed(self, positions: Ints, sizes: Ints, digests: bytes, receipt: bytes, body: memoryview) -> int | None:
        codes = self._codes(positions)
        if not body:
            self._append_nothing(codes)
            return None
        sizes, digests = self._with_zeros(sizes, digests)
        if not self._follow(codes):
            self._append_each(codes, EncodedChunks(positions, sizes, bytes(body), digests))
            return None
        offset = self._started().reserve(body.nbytes, int.from_bytes(receipt, "little"))
        self._note(codes, sizes, digests, offset)
        return offset

    def filled(self, length: int) -> None:
        self._started().filled(length)

    def _started(self) -> Pending:
        is_new = self._file is None
        file = super()._started()
        if is_new:
            file.append_hole(8 * self._header.blocks)
        return file

    def _keep(self, code: int, encoded: bytes) -> None:
        """Keep a block that came early for later."""
        if self._spool < 0:
            self._spool = self._scratch.unlinked_file()
        disk.write_at(self._spool, encoded, self._spool_end, self._final)
        self._spool_offset[code], self._spool_size[code] = self._spool_end, len(encoded)
        self._spool_end += len(encoded)
        self._state[code] = _SPOOLED

    def _drain(self) -> None:
        """Append the blocks whose turn has come, if there is one that is not zero."""
        if not self._has_blocks:
            return
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
        if self._has_blocks:
            self._state[~self._seen] = _ZERO
            self._drain()
            table = self._ends.tobytes()
            self._started().overwrite(wkw_header.SIZE, table)
        elif self._file is not None:
            self._file.discard()
            self._file = None
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

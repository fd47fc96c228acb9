"""Zarr 3 arrays with the codecs that WEBKNOSSOS uses: read and written here, without another library."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import google_crc32c
import numpy as np

from wkpipe.formats.array_json import as_json, write_shape
from wkpipe.formats.base import ArraySpec, EncodedChunks, Ints, Position, UnitProof, UnitWriter, Voxels
from wkpipe.formats.chunk_coder import ChunkCoder
from wkpipe.formats.chunk_files import ChunkFilesArray, check_inside
from wkpipe.formats.codecs import Zstd
from wkpipe.formats.file_names import zarr_names
from wkpipe.formats.open_files import OpenShard, ShardIndex
from wkpipe.formats.proving import proof_of_written
from wkpipe.formats.sharded import ShardedArray
from wkpipe.formats.zarr3_metadata import ChunkCodecs, Zarr3Layout, make_zarr3_json
from wkpipe.storage.commit import WRITE_BYTES
from wkpipe.storage.digest import DIGEST_BYTES, digest_of
from wkpipe.storage.opened import Damage
from wkpipe.storage.pending import Pending
from wkpipe.storage.place import Opened, Place
from wkpipe.storage.proof import FILL
from wkpipe.storage.scratch import Scratch

_ABSENT = np.uint64(2**64 - 1)

_LARGE_BYTES = 1 << 20
"""Chunks that come together and have more bytes are written as they are: collecting them would copy them."""


def native_zarr3(place: Place, layout: Zarr3Layout, codecs: ChunkCodecs) -> Zarr3Shards | Zarr3ChunkFiles:
    """Open the array of a layout with native codecs."""
    return Zarr3Shards(place, layout, codecs) if layout.is_sharded else Zarr3ChunkFiles(place, layout, codecs)


def _coder(layout: Zarr3Layout, codecs: ChunkCodecs) -> ChunkCoder:
    return ChunkCoder(layout.spec.chunk_shape, codecs.stored_dtype, codecs.order, codecs.codec, layout.spec.fill_value)


class Zarr3ChunkFiles(ChunkFilesArray):
    """A Zarr 3 array without shards."""

    def __init__(self, place: Place, layout: Zarr3Layout, codecs: ChunkCodecs) -> None:
        names = zarr_names(place, len(layout.spec.axes), layout.key_separator, layout.key_prefix)
        super().__init__(place, layout.spec, _coder(layout, codecs), names)
        self._layout = layout

    def resize(self, shape: Sequence[int], scratch: Scratch) -> None:
        write_shape(self._layout.json, shape, scratch)
        self._set_shape(shape)


class Zarr3Shards(ShardedArray):
    """A Zarr 3 array with ``sharding_indexed``."""

    def __init__(self, place: Place, layout: Zarr3Layout, codecs: ChunkCodecs) -> None:
        names = zarr_names(place, len(layout.spec.axes), layout.key_separator, layout.key_prefix)
        super().__init__(place, layout.spec, _coder(layout, codecs), names)
        self.index_at_start = layout.index_at_start
        self.index_has_crc = layout.index_has_crc
        self._layout = layout

    @property
    def notices_damage(self) -> bool:
        codec = self.coder.codec
        return isinstance(codec, Zstd) and codec.checksum and self.index_has_crc

    def _load_shard(self, file: Opened) -> OpenShard:
        grid = self.spec.chunks_per_unit
        size = 16 * math.prod(grid)
        stored = size + (4 if self.index_has_crc else 0)
        if file.size < stored:
            raise Damage(f"the shard has {file.size} bytes, its index alone has {stored}")
        raw = file.read(0 if self.index_at_start else file.size - stored, stored)
        if self.index_has_crc and google_crc32c.value(raw[:size]) != int.from_bytes(raw[size:], "little"):
            raise Damage("the checksum of the shard's index is wrong")
        return OpenShard(file, self._checked_index(np.frombuffer(raw, "<u8", count=size // 8).reshape(*grid, 2), file.size))

    def _checked_index(self, index: Voxels, file_size: int) -> ShardIndex:
        offsets, sizes = index[..., 0].ravel(), index[..., 1].ravel()
        places = np.flatnonzero((offsets != _ABSENT) | (sizes != _ABSENT))  # few in a small shard, whose index is as large as any
        first, length, end = offsets[places], sizes[places], np.uint64(file_size)
        # This order of comparisons keeps sums within 64 bits: by then both terms are at most the file's size.
        wrong = (length > np.uint64(min(file_size, self.coder.max_encoded_size))) | (first > end)
        wrong |= ~wrong & (first + length > end)
        if wrong.any():
            at = int(np.argmax(wrong))
            cell = tuple(int(part) for part in np.unravel_index(places[at], index.shape[:-1]))
            raise Damage(f"chunk {cell} of the shard's index is at {first[at]} with {length[at]} bytes, but the file has {file_size}")
        found = ShardIndex(np.full(index.shape[:-1], -1, np.int64), np.zeros(index.shape[:-1], np.int64))
        found.offsets.reshape(-1)[places], found.sizes.reshape(-1)[places] = first, length
        return found

    def unit_writer(self, unit: Sequence[int], scratch: Scratch) -> UnitWriter:
        return Zarr3ShardWriter(self, self._writable_unit(unit), scratch)

    def resize(self, shape: Sequence[int], scratch: Scratch) -> None:
        write_shape(self._layout.json, shape, scratch)
        self._set_shape(shape)


class Zarr3ShardWriter(UnitWriter):
    """Append chunks as they come, and the index last; if the array has its index in front, fill the gap left for it."""

    def __init__(self, array: Zarr3Shards, unit: Position, scratch: Scratch) -> None:
        self._array = array
        self._grid = array.spec.chunks_per_unit
        self._place = array.place.writing(scratch)
        self._key = array.names.key(unit)
        self._file: Pending | None = None
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._strides = np.cumprod((1, *self._grid[:0:-1]))[::-1]  # in chunks, of the index's order
        self._entries = np.full((math.prod(self._grid), 2), _ABSENT, dtype="<u8")
        self._index_size = self._entries.nbytes + (4 if array.index_has_crc else 0)
        self._digests = np.zeros((len(self._entries), DIGEST_BYTES), np.uint8)

    def encode(self, chunk: Voxels) -> bytes | None:
        return self._array.coder.encode(chunk)

    def encode_grid(self, voxels: Voxels, cells: Ints, positions: Ints) -> EncodedChunks:
        return self._array.coder.encode_grid(voxels, cells, positions)

    def append(self, chunk: Position, encoded: bytes | None, digest: bytes | None = None) -> None:
        check_inside(chunk, self._grid)
        place = int(np.dot(chunk, self._strides))
        if self._entries[place, 0] != _ABSENT:
            raise ValueError(f"{self._place}/{self._key}: chunk {chunk} was appended twice")
        if encoded is not None:
            self._entries[place] = self._append_bytes(encoded), len(encoded)
            self._digests[place] = np.frombuffer(digest or digest_of(encoded), np.uint8)

    def append_all(self, encoded: EncodedChunks) -> None:
        places = self._free_places(encoded.positions, encoded.sizes)
        if places is None:
            super().append_all(encoded)  # names the chunk that is wrong
        elif encoded.data:
            self._note(places, encoded.sizes, encoded.digests, self._append_bytes(encoded.data))

    def _free_places(self, positions: Ints, sizes: Ints) -> Ints | None:
        """Return the places in the index of those chunks that have bytes; None if one is outside of the unit, or there already."""
        if not sizes.all():
            positions = positions[sizes > 0]
        if ((positions < 0) | (positions >= self._grid)).any():
            return None
        places: Ints = positions @ self._strides
        return places if (self._entries[places, 0] == _ABSENT).all() else None

    def _note(self, places: Ints, sizes: Ints, digests: bytes, start: int) -> None:
        """Note the extents of chunks whose bytes follow each other from `start` on; a size of 0 stands for a chunk without bytes."""
        ends = np.cumsum(sizes[sizes > 0])
        self._entries[places, 1] = sizes = np.diff(ends, prepend=0)
        self._entries[places, 0] = start + ends - sizes
        self._digests[places] = np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_BYTES)

    def _started(self) -> Pending:
        """Return the file, which begins with room for the index if that comes first."""
        if self._file is None:
            self._file = self._place.writer(self._key)
            if self._array.index_at_start:
                self._file.append_hole(self._index_size)
        return self._file

    def _append_bytes(self, data: bytes) -> int:
        """Append bytes to the file in large writes, and return their offset."""
        file = self._started()
        offset = file.size + self._waiting_bytes
        if len(data) >= _LARGE_BYTES:
            self._write_waiting(file)
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= WRITE_BYTES or len(data) >= _LARGE_BYTES:
            self._write_waiting(file)
        return offset

    def begin_stowing(self) -> Callable[[Sequence[memoryview], int], None]:
        return self._started().fill

    def stow(self, encoded: EncodedChunks) -> tuple[bytes, bytes]:
        return google_crc32c.value(encoded.data).to_bytes(4, "little"), encoded.data

    def append_stowed(self, positions: Ints, sizes: Ints, digests: bytes, receipt: bytes, body: memoryview) -> int | None:
        if (places := self._free_places(positions, sizes)) is None:
            return super().append_stowed(positions, sizes, digests, receipt, body)  # names the chunk that is wrong
        if not body:
            return None
        file = self._started()
        self._write_waiting(file)
        offset = file.reserve(body.nbytes, int.from_bytes(receipt, "little"))
        self._note(places, sizes, digests, offset)
        return offset

    def filled(self, length: int) -> None:
        self._started().filled(length)

    def _write_waiting(self, file: Pending, last: Sequence[bytes] = ()) -> None:
        data = b"".join([*self._waiting, *last])  # of a single one, no copy is made
        self._waiting, self._waiting_bytes = [], 0
        if data:
            file.append(data)

    def commit(self) -> UnitProof:
        if self._file is None or (self._entries[:, 0] == _ABSENT).all():
            self.discard()
            if self._place.has(self._key):
                self._place.remove([self._key])
            return FILL
        raw = [self._entries.tobytes()]
        if self._array.index_has_crc:
            raw.append(google_crc32c.value(raw[0]).to_bytes(4, "little"))
        if self._array.index_at_start:
            self._write_waiting(self._file)
            self._file.overwrite(0, b"".join(raw))
        else:
            self._write_waiting(self._file, raw)
        entries = self._entries.view(np.int64).reshape(*self._grid, 2)  # absent: 2^64 - 1, which is -1
        index = ShardIndex(entries[..., 0], entries[..., 1])
        return proof_of_written(self._file.commit(), index, self._digests.reshape(*self._grid, DIGEST_BYTES), raw)

    def discard(self) -> None:
        if self._file is not None:
            self._file.discard()


def zarr3_files(spec: ArraySpec, attributes: Mapping[str, Any]) -> dict[str, bytes]:
    """Return a new array's metadata files by name."""
    content = make_zarr3_json(spec)
    return {"zarr.json": as_json(content | {"attributes": dict(attributes)} if attributes else content)}

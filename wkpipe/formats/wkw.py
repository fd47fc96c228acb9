"""WKW arrays: cubes of blocks in Morton order, with a jump table if blocks are compressed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from wkpipe.errors import MetadataError
from wkpipe.formats import wkw_header
from wkpipe.formats.array_json import MAX_CHUNK_BYTES
from wkpipe.formats.base import ArraySpec, DataFormat, Position, UnitWriter, Voxels
from wkpipe.formats.chunk_coder import ChunkCoder
from wkpipe.formats.fetched import Piece
from wkpipe.formats.file_names import Level, NestedNames
from wkpipe.formats.open_files import OpenShard, ShardIndex
from wkpipe.formats.sharded import ShardedArray
from wkpipe.formats.wkw_compressed import CompressedWkwWriter
from wkpipe.formats.wkw_header import BLOCK_TYPES, BadHeader, WkwHeader
from wkpipe.formats.wkw_writer import RawWkwWriter
from wkpipe.geometry.grid import morton_order
from wkpipe.storage.opened import Damage, TooLarge
from wkpipe.storage.place import Opened, Place
from wkpipe.storage.scratch import Scratch

FILE_NAME = "header.wkw"
AXES = ("c", "x", "y", "z")
MAX_BLOCKS = 1 << 21
"""The most blocks in a file (128 per edge): the order and jump table of more would need too much memory."""


def read_wkw_header(place: Place) -> WkwHeader:
    """Read header.wkw.

    Raises:
        MetadataError: it is missing or broken, or its blocks or files are too large.
    """
    path = place.path(FILE_NAME)
    try:
        raw = place.content(FILE_NAME, 1 << 16)
        if raw is None:
            raise MetadataError("the file does not exist", where=path)
        header = WkwHeader.parse(raw)
    except TooLarge as error:
        raise MetadataError(error.problem, where=path) from error
    except BadHeader as error:
        raise MetadataError(str(error), where=path) from error
    if header.block_bytes > MAX_CHUNK_BYTES or header.blocks > MAX_BLOCKS:
        raise MetadataError(
            where=path,
            found=f"blocks of {header.block_bytes} bytes and {header.blocks} blocks in a file",
            expected=f"at most {MAX_CHUNK_BYTES} and {MAX_BLOCKS}",
        )
    return header


class WkwArray(ShardedArray):
    """A WKW array; voxels beyond `spec.shape` can be read too, because there is no shape on disk."""

    def __init__(self, place: Place, header: WkwHeader, shape: Sequence[int] | None) -> None:
        edge = header.block_edge
        chunk = (header.channels, edge, edge, edge)
        file_edge = edge * header.file_edge
        names = NestedNames(place, 4, [Level(3, "z"), Level(2, "y"), Level(1, "x", ".wkw")])
        if shape is None:
            shape = _shape_of_files(names, header.channels, file_edge)
        spec = ArraySpec(
            data_format=DataFormat.WKW,
            axes=AXES,
            shape=tuple(map(int, shape)),
            dtype=header.dtype,
            chunk_shape=chunk,
            shard_shape=(header.channels, file_edge, file_edge, file_edge),
            compression=header.codec.compression,
        )
        coder = ChunkCoder(chunk, header.dtype.newbyteorder("<"), (3, 2, 1, 0), header.codec, 0)
        super().__init__(place, spec, coder, names, is_bounded=False)
        self.header = header
        self._zero_blocks: dict[int, bytes] = {}

    def zero_block(self, header: WkwHeader) -> bytes:
        """Return the stored bytes of a block of zeros, which are made only once."""
        if header.block_type not in self._zero_blocks:
            self._zero_blocks[header.block_type] = header.codec.encode(bytes(header.block_bytes))
        return self._zero_blocks[header.block_type]

    def _load_shard(self, file: Opened) -> OpenShard:
        try:
            header = WkwHeader.parse(file.read(0, min(wkw_header.SIZE, file.size)))
        except BadHeader as error:
            raise Damage(str(error)) from error
        if not self.header.fits(header):
            raise Damage(f"its header {header.pack().hex()} contradicts header.wkw {self.header.pack().hex()}")
        if not header.first_block_offset <= header.data_offset <= file.size:
            raise Damage(f"the header puts the first block at {header.data_offset}, expected {header.first_block_offset}")
        starts, sizes = _jump_table(file, header) if header.is_compressed else _fixed_offsets(file, header)
        grid = (1, *[header.file_edge] * 3)
        cells = (0, *morton_order(grid[1:]).T)
        offsets_grid, sizes_grid = np.empty(grid, np.int64), np.empty(grid, np.int64)
        offsets_grid[cells] = starts
        sizes_grid[cells] = sizes
        return OpenShard(file, ShardIndex(offsets_grid, sizes_grid), header)

    def _pieces(self, start: Position, end: Position) -> Iterator[Piece]:
        for piece in super()._pieces(start, end):
            header: WkwHeader = piece.shard.extra
            if not header.is_compressed:
                yield piece
                continue
            # No block is absent; most of the blocks that are not needed hold nothing but zeros.
            zero = np.frombuffer(self.zero_block(header), np.uint8)
            like_zero = np.nonzero(piece.sizes == len(zero))[0].tolist()
            zeros = [i for i in like_zero if np.array_equal(piece.data[piece.offsets[i] : piece.offsets[i] + len(zero)], zero)]
            if not zeros:
                yield piece
            elif len(zeros) < len(piece.sizes):
                cells = np.delete(np.arange(len(piece.sizes)), zeros)
                yield dataclasses.replace(piece, cells=cells, offsets=piece.offsets[cells], sizes=piece.sizes[cells])

    def coder_of(self, piece: Piece) -> ChunkCoder:
        header: WkwHeader = piece.shard.extra
        if header.block_type == self.header.block_type:
            return self.coder
        return ChunkCoder(self.spec.chunk_shape, self.coder.dtype, self.coder.order, header.codec, 0)

    def _clipped(self, end: Position) -> Position:
        return (min(end[0], self.header.channels), *end[1:])

    def _checked_unit(self, unit: Sequence[int]) -> Position:
        position = super()._checked_unit(unit)
        if position[0] != 0:
            raise ValueError(f"{self.path}: no unit at {position}: WKW files hold all channels")
        return position

    def read_encoded(self, chunk: Sequence[int]) -> bytes | None:
        return None if chunk[0] != 0 else super().read_encoded(chunk)

    def unit_writer(self, unit: Sequence[int], scratch: Scratch) -> UnitWriter:
        position = self._writable_unit(unit)
        place, key = self.place.writing(scratch), self.names.key(position)
        if self.header.is_compressed:
            return CompressedWkwWriter(place, key, self.header, self.coder, self.zero_block(self.header), scratch)
        return RawWkwWriter(place, key, self.header, self.coder)

    def resize(self, shape: Sequence[int], scratch: Scratch) -> None:  # noqa: ARG002  (nothing on disk knows the shape)
        self._set_shape(shape)


def _shape_of_files(names: NestedNames, channels: int, file_edge: int) -> Position:
    """Return the smallest shape that covers the stored files."""
    end = [0, 0, 0, 0]
    for position in names.all_present():
        end = [max(e, p + 1) for e, p in zip(end, position, strict=True)]
    return (channels, *(n * file_edge for n in end[1:]))


def _jump_table(file: Opened, header: WkwHeader) -> tuple[Voxels, Voxels]:
    """Return offset and size of every block in Morton order, from the table of end offsets."""
    raw = file.read(wkw_header.SIZE, 8 * header.blocks)
    ends = np.frombuffer(raw, "<u8")
    wrong = ends > np.uint64(file.size)
    if not wrong.any():
        bounds = np.concatenate(([np.int64(header.data_offset)], ends.astype(np.int64)))
        sizes = np.diff(bounds)
        wrong = (sizes <= 0) | (sizes > header.codec.max_encoded_size(header.block_bytes))
        if not wrong.any():
            if bounds[-1] != file.size:
                raise Damage(f"the file has {file.size} bytes, its last block ends at {bounds[-1]}")
            return bounds[:-1], sizes
    block = int(np.argmax(wrong))
    raise Damage(f"block {block} of the jump table ends at {ends[block]}, which is not possible in a file of {file.size} bytes")


def _fixed_offsets(file: Opened, header: WkwHeader) -> tuple[Voxels, Voxels]:
    """Return offset and size of every block of a raw file."""
    need = header.data_offset + header.blocks * header.block_bytes
    if file.size != need:
        raise Damage(f"the file has {file.size} bytes, expected {need}")
    starts = header.data_offset + np.arange(header.blocks, dtype=np.int64) * header.block_bytes
    return starts, np.full(header.blocks, header.block_bytes, np.int64)


def wkw_files(spec: ArraySpec, _: Mapping[str, Any]) -> dict[str, bytes]:
    """Return a new array's metadata files by name; WKW has no attributes."""
    edge = spec.chunk_shape[1]
    header = WkwHeader(edge, spec.shard_shape[1] // edge, BLOCK_TYPES[spec.compression.kind], spec.dtype, spec.chunk_shape[0])
    return {FILE_NAME: header.pack()}

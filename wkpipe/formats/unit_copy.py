"""Copy a unit between arrays that store chunks alike: the stored bytes are taken as they are, without decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from wkpipe.formats.base import EncodedChunks, Ints, Position, StoredArray, UnitProof
from wkpipe.formats.chunk_files import ChunkFilesArray
from wkpipe.formats.chunked import ChunkedArray
from wkpipe.formats.unit_update import chunk_positions, has_same_codec, without_zeros
from wkpipe.formats.wkw import WkwArray
from wkpipe.storage.scratch import Scratch

_BATCH_BYTES = 4 << 20


def stores_alike(source: StoredArray, target: StoredArray) -> bool:
    """True if the stored chunks of one array mean the same in the other one, at the same place of the same unit.

    Of WKW, single files may be compressed in another way: see `has_same_codec`.
    """
    if not isinstance(source, ChunkedArray) or not isinstance(target, ChunkedArray) or type(source) is not type(target):
        return False
    return _form(source) == _form(target)


def _form(array: ChunkedArray) -> tuple[object, ...]:
    spec, coder = array.spec, array.coder
    others = {axis: size for axis, size in zip(spec.axes, spec.shape, strict=True) if axis not in "xyz"}
    return (spec.axes, others, spec.chunk_shape, spec.unit_shape, spec.compression.kind, coder.order, coder.stored_dtype, coder.fill)


def is_stored_alike(source: StoredArray, unit: Position) -> bool:
    """True if the files of a unit are as all others of their array."""
    return not isinstance(source, WkwArray) or has_same_codec(source, unit)


def copy_stored_unit(
    source: StoredArray, target: StoredArray, unit: Position, scratch: Scratch, on_voxels: Callable[[int], None]
) -> UnitProof:
    """Copy the stored chunks of a unit to an array that stores them alike, and commit it.

    Raises:
        DamagedShard: the index of a storage shard is damaged.
        NotWritable: the disk is full or read-only.
    """
    at_once = max(1, _BATCH_BYTES // source.spec.chunk_bytes)
    voxels = int(np.prod(source.spec.chunk_shape))
    with target.unit_writer(unit, scratch) as writer:
        for positions in _stored_positions(source, unit):
            for start in range(0, len(positions), at_once):
                part = positions[start : start + at_once]
                writer.append_all(as_written(source, source.stored_chunks(unit, part)))
                on_voxels(len(part) * voxels)
        return writer.commit()


def as_written(source: StoredArray, found: EncodedChunks) -> EncodedChunks:
    """Return stored chunks as a writer encodes them; see `is_stored_alike`."""
    return without_zeros(source, found) if isinstance(source, WkwArray) else found


def _stored_positions(source: StoredArray, unit: Position) -> Iterator[Ints]:
    """Yield the positions in a unit of the chunks that may be stored; of chunk files, a unit may have few of millions."""
    if not isinstance(source, ChunkFilesArray):
        yield from chunk_positions(source.spec)
        return
    base = [u * n for u, n in zip(unit, source.spec.chunks_per_unit, strict=True)]
    end = [b + n for b, n in zip(base, source.spec.chunks_per_unit, strict=True)]
    if found := source.names.present(base, end):
        yield np.array(found, np.int64) - np.array(base, np.int64)

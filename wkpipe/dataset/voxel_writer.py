"""Write voxels into the array of a mag, unit by unit, in bounded memory; every unit is replaced as a whole or not at all.

The order on disk for each unit: the new content under a temporary name; a record that the unit is dirty; the rename; a
record with the proof of the new content. A crash leaves the old unit or the new one, and at worst a unit that is
marked dirty, which the next run checks before it uses it. While a unit is read, changed and replaced, a lock for this
unit keeps out other writers in threads and processes.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from wkpipe.dataset.executors import cores_here
from wkpipe.dataset.live_layer import LiveLayer
from wkpipe.dataset.mag_array import MagArray
from wkpipe.engine.ordered import ordered_map
from wkpipe.errors import TryAgain
from wkpipe.formats.base import EncodedChunks, Flags, Ints, Position, StoredArray, Voxels, unit_name
from wkpipe.formats.chunked import cells_between
from wkpipe.formats.unit_update import UnitUpdate, update_of
from wkpipe.geometry import Mag
from wkpipe.storage.change import Change, changes_after
from wkpipe.storage.holder import Holder
from wkpipe.storage.ledger import SEGMENT_SUFFIX, Ledger, LedgerWriter, fold
from wkpipe.storage.lock import WRITING, MetadataLock
from wkpipe.storage.place import Place
from wkpipe.storage.proof import FILL
from wkpipe.storage.record import DAMAGED, DIRTY, WRITTEN, Record, content_token
from wkpipe.storage.scratch import Scratch
from wkpipe.storage.stored_object import StoredObject

_UNIT_LOCK_SECONDS: Final = 600.0
_MOST_SEGMENTS: Final = 64
_KEPT_SEGMENTS: Final = 2  # of a write to one unit: merging them would wait for the disk three times
_BATCH_BYTES: Final = 2 << 20  # decoded voxels of new chunks that a thread works on at once
_KEPT_BYTES: Final = 8 << 20  # the same for chunks that are copied as they are stored

ChunkBox: TypeAlias = tuple[Position, Position]
"""The first and end chunk of a box, counted from the first chunk of a unit."""


class UnitLock(MetadataLock):
    """One writer at a time changes a unit (or folds the ledger)."""

    def __init__(self, layer: LiveLayer, mag: Mag, what: str) -> None:
        locks = layer.live.fixed.locks
        name = hashlib.sha256(f"{layer.name}/{mag}/{what}".encode()).hexdigest()[:16]
        super().__init__(locks, _UNIT_LOCK_SECONDS, f"{WRITING}{name}.lock")
        self._what = f"layer {layer.name}, mag {mag}: {what}"

    def _busy(self, holder: Holder | None) -> TryAgain:
        return TryAgain(f"{self._what} is being written by {holder or 'an unknown process'}", fix="try again later")


@dataclass(frozen=True)
class _Region:
    """The place of the data: positions in array order, in voxels of the mag."""

    start: Position
    end: Position
    data: Voxels

    def covers(self, start: Position, end: Position) -> bool:
        """True if the data contain all voxels from `start` to `end`."""
        return tuple(map(min, self.start, start)) == self.start and tuple(map(max, self.end, end)) == self.end


def write_voxels(mag: MagArray, array: StoredArray, start: Position, data: Voxels) -> None:
    """Replace the region that starts at `start` by `data`; both are in array order, in voxels of the mag.

    Raises:
        TryAgain: a run works on the dataset, or another writer holds a unit for too long.
        DamagedShard: a chunk to keep cannot be decoded; the unit stays as it is.
        MissingShard: a unit of which voxels are to be kept is lost.
        NotWritable: the disk is full or read-only.
        InputRefused: the array has a codec that wkpipe only reads.
    """
    region = _Region(start, tuple(a + n for a, n in zip(start, data.shape, strict=True)), data)
    threads = cores_here()

    def fill(update: UnitUpdate, unit: Position) -> ChunkBox:
        mag.check_kept(array, unit, region.covers)
        return _fill(update, array, unit, region, threads)

    replace_units(mag, array, cells_between(region.start, region.end, array.spec.unit_shape), fill)


def replace_units(mag: MagArray, array: StoredArray, units: Iterable[Position], fill: Callable[[UnitUpdate, Position], ChunkBox]) -> None:
    """Replace units one after the other: `fill` puts the chunks of a unit into its update, and returns the box of the new ones.

    Raises: as `write_voxels`.
    """
    layer, live, at = mag.layer, mag.live, mag.live.locations
    ledger, scratch = at.ledger(layer.name, mag.mag), live.scratch()
    live.check_free()
    with LedgerWriter(at.records(layer.name, mag.mag, Scratch(at.temporary)), live.epoch(), keeps=_KEPT_SEGMENTS) as records:
        for unit in units:
            with UnitLock(layer, mag.mag, f"storage shard {unit_name(unit)}"), update_of(array, unit, scratch) as update:
                new = fill(update, unit)
                changes = _changes(ledger, array, unit, new)
                live.check_free()
                _forget_recipe(at.recipe(layer.name, mag.mag), at.written(layer.name, mag.mag), scratch)
                records.add(Record(unit, DIRTY, FILL, f"{DIRTY}-{uuid.uuid4().hex}"))
                proof = update.commit()
                records.add(Record(unit, WRITTEN, proof, content_token(proof), changes=changes))
    _keep_ledger_short(layer, mag.mag, ledger)


def _changes(ledger: Place, array: StoredArray, unit: Position, new: ChunkBox) -> tuple[Change, ...]:
    """Return where the new content of a unit will differ from earlier ones, as far as they are known.

    The chunks that stay were read before: the file must still be the recorded one.
    """
    record = Ledger.load(ledger, only=[unit]).get(unit)
    if record is None or record.origin in (DIRTY, DAMAGED) or not record.matches(array.unit_facts(unit)):
        return ()
    return changes_after(record.token, record.changes, *new)


def _fill(update: UnitUpdate, array: StoredArray, unit: Position, region: _Region, threads: int) -> ChunkBox:
    """Put all chunks of a unit into its update; return the box of the new ones."""
    spec = array.spec
    base = tuple(u * n for u, n in zip(unit, spec.unit_shape, strict=True))
    axes = list(zip(region.start, region.end, base, spec.chunk_shape, spec.chunks_per_unit, strict=True))
    first = tuple(max(a - b, 0) // c for a, _, b, c, _ in axes)
    end = tuple(min(-(-(e - b) // c), n) for _, e, b, c, n in axes)

    def encode(chunk: Position) -> bytes | None:
        corner = tuple(b + p * c for b, p, c in zip(base, chunk, spec.chunk_shape, strict=True))
        return update.encode(_patched(array, corner, region))

    def is_new(chunks: Ints) -> Flags:
        return np.asarray(((chunks >= first) & (chunks < end)).all(axis=1))

    # Encoding is worth threads; copying stored chunks is not.
    batches = -(-math.prod(b - a for a, b in zip(first, end, strict=True)) * spec.chunk_bytes // _BATCH_BYTES)
    put_chunks(update, update.positions(first, end), is_new, encode, spec.chunk_bytes, min(threads, max(1, batches)))
    return first, end


def put_chunks(
    update: UnitUpdate, positions: Iterable[Ints], is_new: Callable[[Ints], Flags], encode: Callable[[Position], bytes | None],
    chunk_bytes: int, threads: int,
) -> None:  # fmt: skip
    """Put chunks into an update, in order: new ones from `encode`, which is called in threads, the others as they are stored."""

    def prepared(batch: tuple[bool, Ints]) -> EncodedChunks:
        fresh, chunks = batch
        return EncodedChunks.of(chunks, [encode(tuple(chunk)) for chunk in chunks.tolist()]) if fresh else update.stored(chunks)

    for encoded in ordered_map(prepared, _batches(positions, is_new, chunk_bytes), threads):
        update.put(encoded)


def _batches(positions: Iterable[Ints], is_new: Callable[[Ints], Flags], chunk_bytes: int) -> Iterator[tuple[bool, Ints]]:
    """Yield runs of chunks that are all new or all stored: passing single chunks to threads costs more than copying them."""
    for block in positions:
        flags = is_new(block)
        cuts = [0, *(np.flatnonzero(flags[1:] != flags[:-1]) + 1).tolist(), len(block)]
        for start, end in itertools.pairwise(cuts):
            fresh = bool(flags[start])
            step = max(1, (_BATCH_BYTES if fresh else _KEPT_BYTES) // chunk_bytes)
            for at in range(start, end, step):
                yield fresh, block[at : min(at + step, end)]


def _patched(array: StoredArray, corner: Position, region: _Region) -> Voxels:
    """Return a whole chunk: the data inside of the region, the stored voxels outside of it."""
    spec = array.spec
    far = tuple(a + n for a, n in zip(corner, spec.chunk_shape, strict=True))
    low, high = tuple(map(max, corner, region.start)), tuple(map(min, far, region.end))
    voxels = region.data[slices_between(low, high, region.start)]
    if (low, high) == (corner, far):
        return voxels.astype(spec.dtype, copy=False)
    chunk = array.read(corner, spec.chunk_shape)
    chunk[slices_between(low, high, corner)] = voxels
    return chunk


def slices_between(low: Sequence[int], high: Sequence[int], origin: Sequence[int]) -> tuple[slice, ...]:
    """Return the index of the voxels from `low` to `high` in an array whose first voxel is `origin`."""
    return tuple(slice(a - o, b - o) for a, b, o in zip(low, high, origin, strict=True))


def _forget_recipe(recipe: StoredObject, written: StoredObject, scratch: Scratch) -> None:
    """Drop the recipe: it no longer describes a mag that is written to, so runs accept the mag instead of making it again."""
    if recipe.is_there():
        written.put(b"{}", scratch)
        recipe.remove(scratch)


def _keep_ledger_short(layer: LiveLayer, mag: Mag, ledger: Place) -> None:
    """Fold the segments of many small writes, because every reader of the ledger would have to open all of them."""
    if sum(name.endswith(SEGMENT_SUFFIX) for name in ledger.names()) <= _MOST_SEGMENTS:
        return
    # A record that a writer adds at this moment may get lost; the unit then looks changed and is checked again.
    with UnitLock(layer, mag, "ledger"):
        layer.live.check_free()
        fold(layer.live.locations.records(layer.name, mag, Scratch(layer.live.fixed.temporary)), layer.live.epoch())

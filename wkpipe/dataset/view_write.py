"""Write voxels into the array of a mag, unit by unit, in bounded memory; every unit is replaced as a whole or not at all.

The order on disk for each unit: the new content under a temporary name; a record that the unit is dirty; the rename; a
record with the proof of what was written. A crash leaves the old unit or the new one, and at worst a unit marked dirty,
which the next run looks at before it believes in it. While a unit is read, changed and replaced, a lock for this unit
keeps other writers out, threads and processes alike.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wkpipe.dataset.live_properties import LiveProperties
from wkpipe.dataset.unit_update import UnitUpdate, update_of
from wkpipe.errors import TryAgain
from wkpipe.formats.base import Position, StoredArray, Voxels
from wkpipe.formats.chunked import cells_between
from wkpipe.geometry import Mag
from wkpipe.plan.resources import available_cores
from wkpipe.steps.ordered import ordered_map
from wkpipe.storage import disk
from wkpipe.storage.commit import Scratch, replace_file
from wkpipe.storage.ledger import SEGMENT_SUFFIX, LedgerWriter, fold
from wkpipe.storage.lock import Holder, MetadataLock
from wkpipe.storage.proof import FILL
from wkpipe.storage.record import DIRTY, WRITTEN, Record, content_token

_UNIT_LOCK_SECONDS: Final = 600.0
_MOST_SEGMENTS: Final = 64
_BATCH_BYTES: Final = 2 << 20  # decoded voxels that a thread works on at once


class UnitLock(MetadataLock):
    """One writer at a time changes a unit (or folds the ledger)."""

    def __init__(self, live: LiveProperties, layer: str, mag: Mag, what: str) -> None:
        locks = live.locations.locks
        name = hashlib.sha256(f"{layer}/{mag}/{what}".encode()).hexdigest()[:16]
        super().__init__(locks, Scratch(locks), _UNIT_LOCK_SECONDS, f"write-{name}.lock")
        self._what = f"layer {layer}, mag {mag}: {what}"

    def _busy(self, holder: Holder | None) -> TryAgain:
        return TryAgain(f"{self._what} is being written by {holder or 'an unknown process'}; waited {self._timeout:g} s; try again later")


@dataclass(frozen=True)
class _Region:
    """Where the data go: positions in array order, in voxels of the mag."""

    start: Position
    end: Position
    data: Voxels


def write_voxels(live: LiveProperties, layer: str, mag: Mag, array: StoredArray, start: Position, data: Voxels) -> None:
    """Replace the region that begins at `start` by `data`; both are in array order, in voxels of the mag.

    Raises:
        TryAgain: a run works on the dataset, or another writer holds a unit for too long.
        DamagedShard: what stays of a unit can not be decoded; the unit stays as it is.
        NotWritable: the disk is full or read-only.
        InputRefused: the array has a codec that wkpipe only reads.
    """
    region = _Region(start, tuple(a + n for a, n in zip(start, data.shape, strict=True)), data)
    ledger, scratch, threads = live.locations.ledger(layer, mag), live.scratch(), available_cores()
    live.check_free()
    with LedgerWriter(ledger, live.epoch()) as records:
        for unit in cells_between(region.start, region.end, array.spec.unit_shape):
            with UnitLock(live, layer, mag, f"storage shard {'.'.join(map(str, unit))}"), update_of(array, unit, scratch) as update:
                _fill(update, array, unit, region, threads)
                live.check_free()
                _forget_recipe(live.locations.recipe(layer, mag), live.locations.written(layer, mag), scratch)
                records.add(Record(unit, DIRTY, FILL, f"{DIRTY}-{uuid.uuid4().hex}"))
                proof = update.commit()
                records.add(Record(unit, WRITTEN, proof, content_token(proof)))
    _keep_ledger_short(live, layer, mag, ledger)


def _fill(update: UnitUpdate, array: StoredArray, unit: Position, region: _Region, threads: int) -> None:
    """Give an update all its chunks."""
    spec = array.spec
    base = tuple(u * n for u, n in zip(unit, spec.unit_shape, strict=True))
    axes = list(zip(region.start, region.end, base, spec.chunk_shape, spec.chunks_per_unit, strict=True))
    first = tuple(max(a - b, 0) // c for a, _, b, c, _ in axes)
    end = tuple(min(-(-(e - b) // c), n) for _, e, b, c, n in axes)

    def encode(chunk: Position) -> tuple[Position, bytes | None]:
        if any(p < a or p >= e for p, a, e in zip(chunk, first, end, strict=True)):
            return chunk, update.stored(chunk)
        corner = tuple(b + p * c for b, p, c in zip(base, chunk, spec.chunk_shape, strict=True))
        return chunk, update.encode(_patched(array, corner, region))

    def encode_batch(chunks: list[Position]) -> list[tuple[Position, bytes | None]]:
        return [encode(chunk) for chunk in chunks]

    batches = _batches(update.positions(first, end), max(1, _BATCH_BYTES // spec.chunk_bytes))
    for encoded in ordered_map(encode_batch, batches, threads):
        for position, data in encoded:
            update.put(position, data)


def _batches(positions: Iterator[Position], length: int) -> Iterator[list[Position]]:
    """Yield runs of positions: handing single chunks to threads costs more than copying them."""
    while batch := list(itertools.islice(positions, length)):
        yield batch


def _patched(array: StoredArray, corner: Position, region: _Region) -> Voxels:
    """Return a whole chunk: the data where they cover it, else what is stored."""
    spec = array.spec
    far = tuple(a + n for a, n in zip(corner, spec.chunk_shape, strict=True))
    low, high = tuple(map(max, corner, region.start)), tuple(map(min, far, region.end))
    voxels = region.data[_slices(low, high, region.start)]
    if (low, high) == (corner, far):
        return voxels.astype(spec.dtype, copy=False)
    chunk = array.read(corner, spec.chunk_shape)
    chunk[_slices(low, high, corner)] = voxels
    return chunk


def _slices(low: Sequence[int], high: Sequence[int], origin: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(a - o, b - o) for a, b, o in zip(low, high, origin, strict=True))


def _forget_recipe(recipe: Path, written: Path, scratch: Scratch) -> None:
    """A mag that is written to is no longer what its recipe says: runs take it as it is instead of making it again."""
    if recipe.exists():
        replace_file(written, b"{}", scratch)
        disk.unlink(recipe)
        disk.sync_directory(recipe.parent)


def _keep_ledger_short(live: LiveProperties, layer: str, mag: Mag, ledger: Path) -> None:
    """Fold the segments of many small writes, which every reader of the ledger would have to open."""
    if sum(entry.name.endswith(SEGMENT_SUFFIX) for entry in os.scandir(ledger)) <= _MOST_SEGMENTS:
        return
    # A record that a writer adds at this very moment may get lost; the unit is then found changed and looked at anew.
    with UnitLock(live, layer, mag, "ledger"):
        live.check_free()
        fold(ledger, live.epoch(), Scratch(live.locations.temporary))

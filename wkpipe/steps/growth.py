"""Let the arrays of a layer reach to the end of a larger box, always under the metadata lock and before the properties change."""

from __future__ import annotations

from wkpipe.formats.base import ArraySpec, Position, StoredArray
from wkpipe.geometry import Mag
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.plan.state.units import units_in_box
from wkpipe.storage.ledger import Ledger, LedgerWriter
from wkpipe.storage.proof import FILL
from wkpipe.storage.record import MADE, WRITTEN, Record
from wkpipe.storage.scratch import Scratch
from wkpipe.stored.dataset import StoredDataset, box_in_mag


def grow_arrays(
    stored: StoredDataset, before: LayerProperties, resized: LayerProperties, data: Scratch, state: Scratch, epoch: int
) -> bool:
    """Let the arrays of a layer reach to the end of its new box; return True if one of them is larger than that.

    Args:
        stored: the dataset with its present properties.
        before, resized: the layer with its present and with its new box.
        data, state: for temporary files of arrays, and of records.
        epoch: the number of the newest run.
    """
    is_too_large = False
    for entry, array in writable_arrays(stored, before):
        shape = fitting_shape(resized, entry.mag, array.spec)
        grown = tuple(map(max, shape, array.spec.shape))
        is_too_large |= grown != shape
        resize(array, grown, data)
        _note_empty_units(stored, resized, entry.mag, array, state, epoch)
    return is_too_large


def writable_arrays(stored: StoredDataset, layer: LayerProperties) -> list[tuple[MagProperties, StoredArray]]:
    """Return the mags of a layer that are in its directory, with their arrays; none if wkpipe only reads their format."""
    if not layer.data_format.is_writable:
        return []
    owned = [entry for entry in layer.mags if stored.owns(layer, entry)]
    return [(entry, stored.open_mag(layer, entry)) for entry in owned]


def resize(array: StoredArray, shape: Position, scratch: Scratch) -> None:
    """Give an array another shape, unless it has it."""
    if array.spec.shape != shape:
        array.resize(shape, scratch)


def fitting_shape(layer: LayerProperties, mag: Mag, spec: ArraySpec) -> Position:
    """Return an array's shape for a layer's box: whole shards along x, y, z; the channels stay."""
    ends = zip(spec.axes, last_corner(layer, mag), spec.shape, spec.shard_shape, strict=True)
    return tuple(old if axis == "c" else -(-end // shard) * shard if axis in "xyz" else end for axis, end, old, shard in ends)


def last_corner(layer: LayerProperties, mag: Mag) -> Position:
    """Return the end of a layer's box, in voxels of a mag and in array order."""
    box = box_in_mag(layer.bounding_box(), mag)
    return tuple(box.bounds(axis)[1] if axis in box.axes else 1 for axis in layer.axes)


def _note_empty_units(stored: StoredDataset, layer: LayerProperties, mag: Mag, array: StoredArray, state: Scratch, epoch: int) -> None:
    """Record the units that the box gained as empty if wkpipe made the mag: there, an absent unit without a proof is an error."""
    known = Ledger.load(stored.locations.ledger(layer.name, mag)).records
    if not any(record.origin == MADE for record in known.values()):
        return
    gained = [unit for unit in units_in_box(layer, mag, array.spec) if unit not in known and not array.unit_files(unit)]
    with LedgerWriter(stored.locations.records(layer.name, mag, state), epoch) as writer:
        writer.add(*(Record(unit, WRITTEN, FILL, "fill") for unit in gained))

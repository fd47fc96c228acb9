"""The arrays behind a dataset's mags: made, fitted to their layer's box, removed; always under the metadata lock."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from wkpipe.dataset.live_properties import LiveProperties
from wkpipe.errors import AlreadyExists, InputRefused, MetadataError
from wkpipe.formats import create_array, default_compression, make_spec, open_array
from wkpipe.formats.base import NO_COMPRESSION, ArraySpec, DataFormat, Position, StoredArray
from wkpipe.geometry import Mag, NDBoundingBox, Vec3Int
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.plan.pyramid import fitted
from wkpipe.plan.recipe import load_recipe
from wkpipe.plan.shapes import SHARD_EDGE, Shapes, default_shapes
from wkpipe.plan.survey import units_in_box
from wkpipe.steps.permission import check_all_removable
from wkpipe.storage import disk
from wkpipe.storage.commit import Scratch, remove_directory, replace_file
from wkpipe.storage.ledger import Ledger, LedgerWriter
from wkpipe.storage.proof import FILL
from wkpipe.storage.record import MADE, WRITTEN, Record
from wkpipe.stored.dataset import StoredDataset, box_in_mag
from wkpipe.stored.identity import MagIdentity, ensure_dataset_id, identity_file
from wkpipe.stored.lease import Lookout

_USUAL_CHUNKS = (Vec3Int.full(32), Vec3Int.full(64))


# -- making ---------------------------------------------------------------------------------------------------------


def new_mag_shapes(
    layer: LayerProperties, mag: Mag, chunk: Vec3Int | None, shard: Vec3Int | None, chunks_per_shard: Vec3Int | None, compress: bool
) -> Shapes:
    """Return the shapes of a new mag: given ones, else the defaults.

    The first mag of a layer gets full shards however thin the layer is, for it may still grow; for later ones the
    layer's box counts.

    Raises:
        InputRefused: shard shape and chunks per shard were both given.
    """
    if shard is not None and chunks_per_shard is not None:
        raise InputRefused(f"shard_shape={shard} and chunks_per_shard={chunks_per_shard} contradict each other; give shard_shape alone")
    depth = layer.box.size.z if layer.mags else SHARD_EDGE
    if chunks_per_shard is not None:
        shard = (chunk or default_shapes(layer.data_format, depth).chunk) * chunks_per_shard
    shapes = default_shapes(layer.data_format, depth, chunk, shard)
    if shard is not None or not layer.mags:
        return shapes
    compression = default_compression(layer.data_format) if compress else NO_COMPRESSION
    return fitted(shapes, layer, box_in_mag(layer.bounding_box(), mag), compression)


def mag_spec(layer: LayerProperties, mag: Mag, shapes: Shapes, compress: bool) -> ArraySpec:
    """Return how a new mag of a layer lies on disk; its array ends where the layer's box does, in whole shards.

    Raises:
        InputRefused: the layer's format can not hold it.
    """
    corner = _corner(layer, mag)
    return make_spec(layer.data_format, layer.axes, corner, layer.dtype, layer.num_channels, shapes.chunk, shapes.shard, compress)


def make_mag(live: LiveProperties, layer_name: str, mag: Mag, shapes_of: Callable[[LayerProperties], Shapes], compress: bool) -> None:
    """Create the empty array of a mag and register it at once.

    Raises:
        AlreadyExists: the layer has the mag, or its directory holds data that are not of this dataset.
        InputRefused: the shapes or the format do not allow it; nothing was made.
        TryAgain: a run works on the dataset.
    """

    def change(properties: DatasetProperties) -> DatasetProperties:
        layer = properties.layer(layer_name)
        if any(entry.mag == mag for entry in layer.mags):
            raise AlreadyExists(f"layer {layer_name} already has mag {mag}; use get_mag or get_or_add_mag, or delete it first")
        shapes = shapes_of(layer)
        spec = mag_spec(layer, mag, shapes, compress)
        _clear_way(live, layer_name, mag, spec)
        identity = MagIdentity.new(ensure_dataset_id(live.locations, live.scratch(), Scratch(live.locations.temporary)), spec)
        replace_file(identity_file(live.locations, layer_name, mag), identity.to_bytes(), Scratch(live.locations.temporary))
        create_array(live.locations.array(layer_name, mag), spec, live.scratch(), identity.attributes)
        length = shapes.shard.x if spec.data_format is DataFormat.WKW else None
        entry = MagProperties(mag=mag, path=f"./{layer_name}/{mag}", cube_length=length)
        return properties.with_layer(replace(layer, channel_index=0).with_mag(entry))  # new arrays hold the layer's channels alone

    live.check_free()
    chunk = shapes_of(live.layer(layer_name)).chunk
    with Lookout.begin(live.locations).refusals_checked():
        live.update(change)
    if chunk not in _USUAL_CHUNKS:
        warnings.warn(f"chunk shape {chunk}: WEBKNOSSOS works best with 32,32,32 or 64,64,64", UserWarning, stacklevel=3)


def _clear_way(live: LiveProperties, layer: str, mag: Mag, spec: ArraySpec) -> None:
    """Remove what is left of an earlier mag of this name: its proofs, and its array where that holds nothing of value."""
    path = live.locations.array(layer, mag)
    if path.exists() and any(path.iterdir()) and load_recipe(live.locations, layer, mag) is None:
        # Without a recipe there is nothing to make these data from again.
        try:
            is_empty = not any(True for _ in open_array(path, spec.data_format, spec.axes).stored_units())
        except MetadataError:
            is_empty = False
        if not is_empty:
            raise AlreadyExists(f"{path} is not empty but is no mag of layer {layer}; move it away, or remove it")
    ledger = live.locations.ledger(layer, mag)
    check_all_removable((path, ledger))
    remove_tree(live, path)
    remove_tree(live, ledger)


# -- removing -------------------------------------------------------------------------------------------------------


def remove_mag(live: LiveProperties, layer_name: str, mag: Mag) -> None:
    """Take a mag out of the properties, then remove its array and ledger; of a link only the link goes.

    Raises:
        MagNotFound: the layer has no such mag.
        TryAgain: a run works on the dataset.
    """
    live.check_free()
    layer = live.layer(layer_name)
    entry = layer.mag(mag)
    is_remote = entry.is_remote
    stored = live.stored()
    path = None if is_remote else stored.mag_path(layer, entry)
    is_owned = path is not None and stored.owns(layer, entry)
    gone = [live.locations.ledger(layer_name, mag)]
    if path is not None and (is_owned or (path.is_symlink() and path.parent.resolve() == live.locations.dataset / layer_name)):
        gone.insert(0, path)
    check_all_removable(gone)
    live.update_layer(layer_name, lambda current: current.without_mag(mag))
    for directory in gone:
        remove_tree(live, directory)


def remove_layer(live: LiveProperties, name: str) -> None:
    """Take a layer out of the properties, then remove its directory and ledgers, and what was begun beside; of a link only the link goes.

    Raises:
        LayerNotFound: the dataset has no such layer.
        TryAgain: a run works on the dataset.
    """
    live.check_free()
    live.layer(name)
    at = live.locations
    gone = dict.fromkeys((at.dataset / name, at.remade_data(name), at.remade_state(name), at.ledgers / name))
    check_all_removable(gone)
    live.update(lambda properties: properties.without_layer(name))
    for directory in gone:
        remove_tree(live, directory)


def remove_tree(live: LiveProperties, path: Path) -> None:
    """Remove a directory; of a link the link, not what it leads to."""
    if path.is_symlink():
        disk.unlink(path)
    else:
        remove_directory(path, live.scratch())


# -- fitting to the box ---------------------------------------------------------------------------------------------


def change_box(live: LiveProperties, layer_name: str, box_of: Callable[[LayerProperties], NDBoundingBox]) -> None:
    """Give a layer another box and fit the arrays of its mags: their shapes end with the box, rounded up to whole shards.

    Arrays grow before the properties tell of it and shrink after, so that a crash never leaves one too small. Voxels
    outside of the box stay on disk and are seen again when it grows.

    Raises:
        InputRefused: the box has a negative corner, or axes that do not fit the layer.
        TryAgain: a run works on the dataset.
    """
    too_large = False

    def change(properties: DatasetProperties) -> DatasetProperties | None:
        nonlocal too_large
        before = properties.layer(layer_name)
        layer = before.with_bounding_box(box_of(before))
        if layer == before:
            return None
        after = properties.with_layer(layer)
        for entry, array in _writable_arrays(live, properties, before):
            shape = _fitting_shape(layer, entry.mag, array.spec)
            grown = tuple(map(max, shape, array.spec.shape))
            too_large |= grown != shape
            _resize(live, array, grown)
            _note_empty_units(live, layer, entry.mag, array)
        return after

    def shrink(properties: DatasetProperties) -> None:
        layer = properties.layer(layer_name)
        for entry, array in _writable_arrays(live, properties, layer):
            _resize(live, array, _fitting_shape(layer, entry.mag, array.spec))

    live.check_free()
    live.update(change)
    if too_large:
        live.update(shrink)


def _writable_arrays(
    live: LiveProperties, properties: DatasetProperties, layer: LayerProperties
) -> list[tuple[MagProperties, StoredArray]]:
    if not layer.data_format.is_writable:
        return []
    stored = StoredDataset(live.locations, properties)
    owned = [entry for entry in layer.mags if stored.owns(layer, entry)]
    return [(entry, stored.open_mag(layer, entry)) for entry in owned]


def _resize(live: LiveProperties, array: StoredArray, shape: Position) -> None:
    if array.spec.shape != shape:
        array.resize(shape, live.scratch())


def _corner(layer: LayerProperties, mag: Mag) -> Position:
    box = box_in_mag(layer.bounding_box(), mag)
    return tuple(box.bounds(axis)[1] if axis in box.axes else 1 for axis in layer.axes)


def _fitting_shape(layer: LayerProperties, mag: Mag, spec: ArraySpec) -> Position:
    """Return an array's shape for a layer's box: whole shards along x, y, z; the channels stay."""
    ends = zip(spec.axes, _corner(layer, mag), spec.shape, spec.shard_shape, strict=True)
    return tuple(old if axis == "c" else -(-end // shard) * shard if axis in "xyz" else end for axis, end, old, shard in ends)


def _note_empty_units(live: LiveProperties, layer: LayerProperties, mag: Mag, array: StoredArray) -> None:
    """Record the units that the box gained as empty, in a mag that wkpipe made: there, an absent unit without a proof is an error."""
    directory = live.locations.ledger(layer.name, mag)
    known = Ledger.load(directory).records
    if not any(record.origin == MADE for record in known.values()):
        return
    gained = [unit for unit in units_in_box(layer, mag, array.spec) if unit not in known and not array.unit_files(unit)]
    with LedgerWriter(directory, live.epoch()) as writer:
        writer.add(*(Record(unit, WRITTEN, FILL, "fill") for unit in gained))

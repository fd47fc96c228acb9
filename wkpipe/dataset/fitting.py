"""Fit the arrays of a layer's mags to its box, always under the metadata lock."""

from __future__ import annotations

from collections.abc import Callable

from wkpipe.dataset.live_layer import LiveLayer
from wkpipe.dataset.live_properties import LiveProperties
from wkpipe.geometry import Mag, NDBoundingBox
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.steps.growth import fitting_shape, grow_arrays, resize, writable_arrays
from wkpipe.storage.scratch import Scratch
from wkpipe.stored.dataset import StoredDataset


def change_box(layer: LiveLayer, box_of: Callable[[LayerProperties], NDBoundingBox]) -> None:
    """Give a layer another box and fit the arrays of its mags: their shapes end with the box, rounded up to whole shards.

    Arrays grow before the properties change and shrink after that, so a crash never leaves an array that is too small. Voxels
    outside of the box stay on disk and are visible again when the box grows.

    Raises:
        InputRefused: the box has a negative corner, or axes that do not fit the layer.
        TryAgain: a run works on the dataset.
    """
    live, name = layer.live, layer.name
    too_large = False

    def change(properties: DatasetProperties) -> DatasetProperties | None:
        nonlocal too_large
        before = properties.layer(name)
        resized = before.with_bounding_box(box_of(before))
        if resized == before:
            return None
        too_large = grow_arrays_of(live, properties, before, resized)
        return properties.with_layer(resized)

    def shrink(properties: DatasetProperties) -> None:
        entries = properties.layer(name)
        for entry, array in writable_arrays(StoredDataset(live.fixed, properties), entries):
            resize(array, fitting_shape(entries, entry.mag, array.spec), live.scratch())

    live.check_free()
    live.update(change)
    if too_large:
        live.update(shrink)


def grow_arrays_of(live: LiveProperties, properties: DatasetProperties, before: LayerProperties, resized: LayerProperties) -> bool:
    """Let the arrays of a layer reach to the end of its new box; return True if one of them is larger than that."""
    return grow_arrays(StoredDataset(live.fixed, properties), before, resized, live.scratch(), Scratch(live.fixed.temporary), live.epoch())


def grow_array(live: LiveProperties, properties: DatasetProperties, layer: LayerProperties, mag: Mag) -> None:
    """Let the array of a mag that can be written reach to the end of the layer's box, as all writable arrays do."""
    for entry, array in writable_arrays(StoredDataset(live.fixed, properties), layer):
        if entry.mag == mag and array.encoder:
            resize(array, tuple(map(max, fitting_shape(layer, mag, array.spec), array.spec.shape)), live.scratch())

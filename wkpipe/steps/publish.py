"""Publish: make the finished mags of a layer visible, all at once, when every unit is proven."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from wkpipe.errors import IntegrityError
from wkpipe.formats.base import ArraySpec, DataFormat, unit_name
from wkpipe.formats.waiting import read_each
from wkpipe.geometry import Mag, NDBoundingBox
from wkpipe.metadata.element_class import LayerCategory
from wkpipe.metadata.json_node import JsonNode
from wkpipe.metadata.layer_json import layer_from_json
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.view_configuration import LayerViewConfiguration
from wkpipe.plan.mag_plan import MagPlan, planned_array
from wkpipe.plan.plan import LayerPlan, Plan
from wkpipe.plan.state.published import layer_marker, read_marker
from wkpipe.steps.growth import grow_arrays
from wkpipe.steps.swap import end_swap, noted_swap, put_in_place
from wkpipe.storage.lease import Epoch
from wkpipe.storage.ledger import Ledger, fold
from wkpipe.storage.record import Record
from wkpipe.storage.side_by_side import do_all
from wkpipe.storage.stored_object import put_all
from wkpipe.stored.axes import spatial
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.locations import Locations
from wkpipe.stored.published import SUFFIX, content_of, marker_object, published_place


def publish_layers(plan: Plan, names: Sequence[str], locations: Locations, epoch: Epoch) -> None:
    """Add the finished mags of layers to the dataset's properties in one atomic change; rebuilt mags replace the old ones.

    If a layer grows with its new mags, its box changes with them.

    Then write the published markers of the layers that are not up to date.

    Raises:
        IntegrityError: a unit is not proven; nothing is published.
    """
    layers = [plan.layer(name) for name in names]
    new = {layer.name: [_mag_entry(plan.mag_plan(layer.name, mag), locations) for mag in layer.publish] for layer in layers}
    made = [mag_plan for layer in layers for mag_plan in layer.mags]
    proven: dict[str, dict[Mag, _ProvenMag]] = {layer.name: {} for layer in layers}
    for mag_plan, found in zip(made, read_each(lambda each: _proven(each, locations), made), strict=True):
        proven[mag_plan.layer][mag_plan.mag] = found

    def change(properties: DatasetProperties) -> DatasetProperties | None:
        before = properties
        for layer in layers:
            from_outside = [mag_plan.mag for mag_plan in layer.mags if mag_plan.source_mag is None]
            entry = _entry(layer, properties, proven[layer.name][from_outside[-1]].records if from_outside else [])
            entry = _grown(entry, layer.box, properties, locations, epoch)
            swapped = [swap for swap in swaps if swap.layer == layer.name]
            for swap in swapped:
                entry = swap.without_old(entry)
            for mag in new[layer.name]:
                entry = entry.with_mag(mag)
            if swapped:  # mags that were not replaced may be coarser
                entry = replace(entry, mags=tuple(sorted(entry.mags, key=lambda each: each.mag.to_tuple())))
            properties = _with_layer(properties, entry, plan.layer_order)
        return properties if properties != before or any(new.values()) else None  # as another tool wrote them

    epoch.check()
    do_all([partial(fold, locations.records(each.layer, each.mag, locations.scratch(epoch)), epoch.number) for each in made])
    file = locations.properties_file(locations.data_scratch(epoch))
    swaps = [swap for layer in layers if (swap := noted_swap(layer, new[layer.name], file, locations, epoch)) is not None]
    new |= {swap.layer: list(swap.new) for swap in swaps}
    put_in_place(swaps, file, locations, epoch)
    # Last, because a published mag is not looked at again.
    if plan.new_dataset is not None and not file.is_there():
        properties = file.create_or_update(_new_properties(plan.new_dataset), change)
    else:
        properties = file.update(change)
    for swap in swaps:
        end_swap(swap, locations, epoch)
    _write_markers(proven, properties, locations, epoch)


class _ProvenMag(NamedTuple):
    """The layout of a mag, and the records of all its units."""

    spec: ArraySpec
    records: list[Record]


def _write_markers(
    proven: Mapping[str, Mapping[Mag, _ProvenMag]], properties: DatasetProperties, locations: Locations, epoch: Epoch
) -> None:
    """Write the published markers that are not up to date, and remove those of layers that are no longer in the dataset.

    `proven` has the mags of each layer that need not be looked up, `properties` are those of the dataset as they are now.
    """
    dataset = StoredDataset(replace(locations, remade=frozenset()), properties)
    layers = {layer.name: layer for layer in properties.layers}
    markers = {}
    for name, mags in proven.items():
        contents = {mag: content_of({record.unit: record.token for record in made.records}) for mag, made in mags.items()}
        specs = {mag: made.spec for mag, made in mags.items()}
        markers[marker_object(locations.store, name)] = layer_marker(dataset, layers[name], contents, specs)
    put_all({marker: content for marker, content in markers.items() if read_marker(marker) != content}, locations.scratch(epoch))
    kept = {marker_object(locations.store, layer.name).key for layer in dataset.properties.layers}
    place = published_place(locations.store)
    if gone := sorted(name for name in place.names() if name.endswith(SUFFIX) and name not in kept):
        epoch.check()
        place.writing(locations.scratch(epoch)).remove(gone)


def _proven(plan: MagPlan, locations: Locations) -> _ProvenMag:
    """Return a mag with the records of all its units.

    Raises:
        IntegrityError: a unit is not proven, or its files are not the recorded ones.
    """
    array = planned_array(plan, locations)
    ledger = Ledger.load(locations.ledger(plan.layer, plan.mag))
    params = plan.params
    records = []
    for unit in plan.units():
        record = ledger.get(unit)
        if record is None or not record.is_made_by(params) or not record.matches(array.unit_facts(unit)):
            name = unit_name(unit)
            where = f"layer {plan.layer}, mag {plan.mag}"
            what = f"storage shard {name} is not proven, the mag stays unpublished"
            raise IntegrityError(what, where=where, fix="run the same command again")
        records.append(record)
    return _ProvenMag(array.spec, records)


def _new_properties(values: Mapping[str, object]) -> DatasetProperties:
    return DatasetProperties.from_bytes(json.dumps(values).encode(), "plan")


def _entry(layer: LayerPlan, properties: DatasetProperties, records: Iterable[Record]) -> LayerProperties:
    """Return the layer's entry, or a new one with the facts that the conversion found."""
    lowest = [record.stats["lowest"] for record in records if "lowest" in record.stats]
    highest = [record.stats["highest"] for record in records if "highest" in record.stats]
    if properties.has_layer(layer.name):
        entry = properties.layer(layer.name)
        if entry.category == LayerCategory.SEGMENTATION and entry.largest_segment_id is not None and highest:
            return replace(entry, largest_segment_id=max(entry.largest_segment_id, int(max(highest))))  # images may have changed
        return entry
    entry = layer_from_json(JsonNode.parse(json.dumps(layer.new).encode(), "plan"))
    if layer.stack is None:  # downloaded: these facts are from the server
        return entry
    if entry.category == LayerCategory.SEGMENTATION:
        return replace(entry, largest_segment_id=int(max(highest, default=0)))
    if not highest:
        return entry
    view = entry.default_view_configuration or LayerViewConfiguration()
    return replace(entry, default_view_configuration=replace(view, min=min(lowest), max=max(highest)))


def _grown(
    entry: LayerProperties, box: NDBoundingBox | None, properties: DatasetProperties, locations: Locations, epoch: Epoch
) -> LayerProperties:
    """Return the layer with a box that contains another one too; the arrays of its mags reach to its end."""
    if box is None:
        return entry
    stored = StoredDataset(locations, properties)
    grown, at = entry.reaching(box), stored.locations
    grow_arrays(stored, entry, grown, at.data_scratch(epoch), at.scratch(epoch), epoch.number)
    return grown


def _mag_entry(mag_plan: MagPlan, locations: Locations) -> MagProperties:
    spec = mag_plan.spec
    length = spatial(spec, spec.shard_shape).x if spec.data_format is DataFormat.WKW else None
    return MagProperties(mag=mag_plan.mag, path=f"./{mag_plan.layer}/{locations.name(mag_plan.layer, mag_plan.mag)}", cube_length=length)


def _with_layer(properties: DatasetProperties, entry: LayerProperties, order: Sequence[str]) -> DatasetProperties:
    """Replace a layer's entry, or add it so that new layers are in the plan's order, whichever finishes first."""
    if properties.has_layer(entry.name):
        return properties.with_layer(entry)
    layers = list(properties.layers)
    later = set(order[order.index(entry.name) + 1 :])
    at = next((i for i, layer in enumerate(layers) if layer.name in later), len(layers))
    return replace(properties, layers=(*layers[:at], entry, *layers[at:]))

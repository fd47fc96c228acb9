"""Publish: make finished mags visible, all of a layer's at once, and only when every unit is proven."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from wkpipe.errors import IntegrityError
from wkpipe.formats.base import DataFormat
from wkpipe.metadata.element_class import LayerCategory
from wkpipe.metadata.json_node import JsonNode
from wkpipe.metadata.layer_json import layer_from_json
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.store import PropertiesFile
from wkpipe.metadata.view_configuration import LayerViewConfiguration
from wkpipe.plan.mag_plan import MagPlan, planned_array
from wkpipe.plan.plan import LayerPlan, Plan
from wkpipe.steps.swap import end_swap, noted_swap, put_in_place
from wkpipe.storage.lease import Epoch
from wkpipe.storage.ledger import Ledger, fold
from wkpipe.storage.record import Record
from wkpipe.stored.axes import spatial
from wkpipe.stored.locations import Locations


def publish_layers(plan: Plan, names: Sequence[str], locations: Locations, epoch: Epoch) -> None:
    """Add the finished mags of some layers to the dataset's properties, in one atomic change; old mags make way for those made anew.

    Raises:
        IntegrityError: a unit is not proven; nothing is published.
    """
    layers = [plan.layer(name) for name in names]
    new = {layer.name: [_mag_entry(layer, plan.mag_plan(layer.name, mag)) for mag in layer.publish] for layer in layers}
    highest: dict[str, list[Record]] = {}
    for layer in layers:
        for mag_plan in layer.mags:
            records = proven_records(mag_plan, locations)
            if mag_plan.from_mag is None:
                highest[layer.name] = records

    def change(properties: DatasetProperties) -> DatasetProperties:
        for layer in layers:
            entry = _entry(layer, properties, highest.get(layer.name, []))
            for mag in new[layer.name]:
                entry = entry.with_mag(mag)
            properties = _with_layer(properties, entry, plan.layer_order)
        return properties

    epoch.check()
    for layer in layers:
        for mag_plan in layer.mags:
            fold(locations.ledger(layer.name, mag_plan.mag), epoch.number, locations.scratch(epoch))
    file = PropertiesFile(locations.dataset, locations.state, scratch=locations.data_scratch(epoch))
    swaps = [swap for layer in layers if (swap := noted_swap(layer, new[layer.name], file, locations, epoch)) is not None]
    new |= {swap.layer: list(swap.new) for swap in swaps}
    put_in_place(swaps, file, locations, epoch)
    # Last, as what is published is not looked at again.
    if plan.new_dataset is not None and not file.exists():
        file.create_or_update(_new_properties(plan.new_dataset), change)
    else:
        file.update(change)
    for swap in swaps:
        end_swap(swap, locations, epoch)


def proven_records(plan: MagPlan, locations: Locations) -> list[Record]:
    """Return the records of all units of a mag.

    Raises:
        IntegrityError: one is not proven, or its files are not the recorded ones.
    """
    array = planned_array(plan, locations)
    ledger = Ledger.load(locations.ledger(plan.layer, plan.mag))
    params = plan.params
    records = []
    for unit in plan.units():
        record = ledger.get(unit)
        if record is None or not record.is_made_by(params) or not record.matches(array.unit_facts(unit)):
            name = ".".join(map(str, unit))
            raise IntegrityError(
                f"layer {plan.layer}, mag {plan.mag}: storage shard {name} is not proven, the mag stays unpublished; "
                "run the same command again"
            )
        records.append(record)
    return records


def _new_properties(values: Mapping[str, object]) -> DatasetProperties:
    return DatasetProperties.from_bytes(json.dumps(values).encode(), "plan")


def _entry(layer: LayerPlan, properties: DatasetProperties, records: Iterable[Record]) -> LayerProperties:
    """Return the layer's entry as it is, or a new one with the facts that converting found."""
    lowest = [record.stats["lowest"] for record in records if "lowest" in record.stats]
    highest = [record.stats["highest"] for record in records if "highest" in record.stats]
    if properties.has_layer(layer.name):
        entry = properties.layer(layer.name)
        if entry.category == LayerCategory.SEGMENTATION and entry.largest_segment_id is not None and highest:
            return replace(entry, largest_segment_id=max(entry.largest_segment_id, int(max(highest))))  # images may have changed
        return entry
    entry = layer_from_json(JsonNode.parse(json.dumps(layer.new).encode(), "plan"))
    if layer.stack is None:  # downloaded: the server has told these facts
        return entry
    if entry.category == LayerCategory.SEGMENTATION:
        return replace(entry, largest_segment_id=int(max(highest, default=0)))
    if not highest:
        return entry
    view = entry.default_view_configuration or LayerViewConfiguration()
    return replace(entry, default_view_configuration=replace(view, min=min(lowest), max=max(highest)))


def _mag_entry(layer: LayerPlan, mag_plan: MagPlan) -> MagProperties:
    spec = mag_plan.spec
    length = spatial(spec, spec.shard_shape).x if spec.data_format is DataFormat.WKW else None
    return MagProperties(mag=mag_plan.mag, path=f"./{layer.name}/{mag_plan.mag}", cube_length=length)


def _with_layer(properties: DatasetProperties, entry: LayerProperties, order: Sequence[str]) -> DatasetProperties:
    """Replace a layer's entry, or add it so that new layers stand in the plan's order whoever finishes first."""
    if properties.has_layer(entry.name):
        return properties.with_layer(entry)
    layers = list(properties.layers)
    later = set(order[order.index(entry.name) + 1 :])
    at = next((i for i, layer in enumerate(layers) if layer.name in later), len(layers))
    return replace(properties, layers=(*layers[:at], entry, *layers[at:]))

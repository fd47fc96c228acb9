"""Summary: what a dataset holds, where each mag comes from, and how much of it is proven, without reading voxels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from wkpipe.errors import MetadataError, WkpipeError
from wkpipe.formats.base import StoredArray
from wkpipe.geometry import Mag
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.plan.mag_plan import MagPlan, planned_array
from wkpipe.plan.state.recipe import load_conversion, load_recipe
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.place import Place
from wkpipe.storage.record import DIRTY, WRITTEN
from wkpipe.stored.axes import spatial
from wkpipe.stored.channels import Channels
from wkpipe.stored.dataset import StoredDataset, box_in_mag
from wkpipe.stored.locations import LEDGERS, RECIPE, REMADE, Locations
from wkpipe.stored.swap import unpublished
from wkpipe.verify.files import live_run
from wkpipe.verify.freshness import freshness, may_be_recorded, seen_tokens
from wkpipe.verify.mag import MagOnDisk, is_published, locations_to_read, open_to_read, without_mag
from wkpipe.verify.summary_model import (
    STALE,
    UNKNOWN,
    UNPROVEN,
    UP_TO_DATE,
    DatasetSummary,
    LayerSummary,
    MagSummary,
    UnfinishedMag,
)


def summarise(root: Path, state_dir: Path | None = None) -> DatasetSummary:
    """Return the summary of a dataset, or of a conversion that has not published anything yet. Nothing is written.

    Raises:
        UnreadableInput: there is no dataset.
        MetadataError: its properties are broken.
    """
    if not is_published(root):
        return _unpublished(root, state_dir)
    dataset = open_to_read(root, state_dir)
    properties = dataset.properties
    return DatasetSummary(
        path=dataset.locations.dataset,
        name=properties.name,
        published=True,
        voxel_size=str(properties.voxel_size),
        layers=tuple(_layer(dataset, layer) for layer in properties.layers),
        unfinished=tuple(_unfinished(dataset.locations, dataset.properties.layers)),
        run=live_run(dataset.locations),
    )


def _unpublished(root: Path, state_dir: Path | None) -> DatasetSummary:
    locations = locations_to_read(Locations.of(root, state_dir))
    conversion = load_conversion(locations)
    if conversion is None:
        open_to_read(root, state_dir)  # raises that it is not a dataset
        conversion = {}
    size, unit = conversion.get("params", {}).get("voxel_size"), conversion.get("params", {}).get("unit", "nanometer")
    return DatasetSummary(
        path=locations.dataset,
        name=str(conversion.get("params", {}).get("name", locations.dataset.name)),
        published=False,
        voxel_size=f"{','.join(f'{value:g}' for value in size)} {unit}" if size else "",
        layers=(),
        unfinished=tuple(_unfinished(locations, ())),
        run=live_run(locations),
    )


# -- one layer ------------------------------------------------------------------------------------------------------


def _layer(dataset: StoredDataset, layer: LayerProperties) -> LayerSummary:
    mags = sorted(layer.mags, key=lambda entry: entry.mag.to_tuple())
    return LayerSummary(
        name=layer.name,
        category=str(layer.category),
        dtype=layer.dtype.name,
        num_channels=layer.num_channels,
        axes=layer.axes,
        box=(layer.box.topleft.to_tuple(), layer.box.size.to_tuple()),
        data_format=str(layer.data_format),
        mags=tuple(_mag(dataset, layer, entry) for entry in mags),
    )


def _mag(dataset: StoredDataset, layer: LayerProperties, entry: MagProperties) -> MagSummary:
    path = _path(dataset, layer, entry)
    try:
        mag = MagOnDisk.open(dataset, layer, entry)
        ledger = mag.load_ledger()
        return _opened(mag, ledger, path)
    except WkpipeError as error:
        return MagSummary(str(entry.mag), path, "unknown", error=str(without_mag(error, layer, entry)))


def _path(dataset: StoredDataset, layer: LayerProperties, entry: MagProperties) -> str:
    """Return the path of a mag as in the properties; old properties have none, then relative to the dataset."""
    return entry.path or f"./{dataset.mag_place(layer, entry).path().relative_to(dataset.locations.dataset)}"


def _opened(mag: MagOnDisk, ledger: Ledger, path: str) -> MagSummary:
    spec = mag.array.spec
    files = size = proven = 0
    for unit in mag.units:
        facts, record = mag.array.unit_facts(unit), ledger.get(unit)
        if facts is not None:
            files, size = files + facts.files, size + facts.size
        proven += record is not None and record.origin != DIRTY and may_be_recorded(record, facts)
    stale = _stale_units(mag, ledger)
    box = box_in_mag(mag.layer.bounding_box(), mag.entry.mag)
    level = "" if spec.compression.level is None else f" {spec.compression.level}"
    return MagSummary(
        mag=str(mag.entry.mag),
        path=path,
        origin=_origin(mag.recipe, ledger),
        shape=box.size_xyz.to_tuple(),
        chunk_shape=spatial(spec, spec.chunk_shape).to_tuple(),
        shard_shape=spatial(spec, spec.shard_shape).to_tuple(),
        compression=f"{spec.compression.kind}{level}",
        files=files,
        all_files=_files_in_box(mag),
        bytes_on_disk=size,
        units=len(mag.units),
        proven_units=proven,
        stale_units=stale or 0,
        state=_state(mag, ledger, stale, proven),
    )


def _files_in_box(mag: MagOnDisk) -> int:
    """Return the number of storage shards (or chunk files) that the box overlaps."""
    spec = mag.array.spec
    box = box_in_mag(mag.layer.bounding_box(), mag.entry.mag)
    shard = spatial(spec, spec.shard_shape)
    count = (box.bottomright_xyz.ceildiv(shard) - box.topleft_xyz // shard).prod()
    for axis, size, step in zip(spec.axes, spec.shape, spec.shard_shape, strict=True):
        if axis == "c":
            channels = Channels.of(mag.layer, mag.entry)
            count *= -(-channels.end // step) - channels.first // step
        else:
            count *= 1 if axis in "xyz" else -(-size // step)
    return count


def _stale_units(mag: MagOnDisk, ledger: Ledger) -> int | None:
    """Return the number of stale units of a derived mag; None if its source cannot be opened."""
    if mag.recipe is None or mag.recipe.source_mag is None or not mag.is_derived:
        return 0
    fresh = freshness(mag, ledger, seen_tokens)
    return None if fresh is None else len(fresh.stale)


def _state(mag: MagOnDisk, ledger: Ledger, stale: int | None, proven: int) -> str:
    if stale:
        return STALE
    if stale is not None and proven == len(mag.units):
        return UP_TO_DATE
    return UNPROVEN if ledger or mag.recipe is not None else UNKNOWN


def _origin(recipe: MagPlan | None, ledger: Ledger) -> str:
    """Return in words where a mag comes from."""
    if recipe is not None:
        return recipe.origin.how
    if any(record.origin in (WRITTEN, DIRTY) for record in ledger.records.values()):
        return "written"
    return "other tool"


# -- unfinished mags ------------------------------------------------------------------------------------------------


def _unfinished(locations: Locations, layers: Sequence[LayerProperties]) -> Iterator[UnfinishedMag]:
    """Yield the mags that have a recipe and are not in the properties, and those that are being rebuilt beside old ones."""
    registered = {(layer.name, entry.mag) for layer in layers for entry in layer.mags}
    begun = _with_recipe(locations.ledgers) - registered
    again = _with_recipe(locations.store.child(REMADE), f"{LEDGERS}/")
    new = {(layer.name, mag): number for layer in layers for mag, number in unpublished(locations, layer)}
    for places, names, note in (
        (locations, begun, ""),
        (replace(locations, remade=frozenset(again)), again, ", again"),
        (replace(locations, generations=locations.generations | new), {*new}, ", again"),
    ):
        for layer, mag in sorted(names, key=lambda names: (names[0], names[1].to_tuple())):
            if (recipe := load_recipe(places, layer, mag)) is not None:
                origin = _origin(recipe, Ledger({})) + note
                yield UnfinishedMag(layer, str(mag), origin, _units_done(recipe, places), len(recipe.units()))


def _with_recipe(place: Place, between: str = "") -> set[tuple[str, Mag]]:
    """Return the layers and mags of the recipes below a place; `between` comes between layer and mag in their keys."""
    found = set()
    for layer in place.names():
        for name in place.names(f"{layer}/{between}".rstrip("/")):
            if place.has(f"{layer}/{between}{name}/{RECIPE}"):
                with contextlib.suppress(ValueError):  # not one of wkpipe's own directories
                    found.add((layer, Mag(name)))
    return found


def _units_done(recipe: MagPlan, locations: Locations) -> int:
    ledger, array = Ledger.load(locations.ledger(recipe.layer, recipe.mag)), _begun_array(recipe, locations)
    if array is None:
        return 0
    params, done = recipe.params, 0
    for unit in recipe.units():
        record = ledger.get(unit)
        if record is not None and record.is_made_by(params):
            done += may_be_recorded(record, array.unit_facts(unit))
    return done


def _begun_array(recipe: MagPlan, locations: Locations) -> StoredArray | None:
    try:
        return planned_array(recipe, locations)
    except MetadataError:
        return None

"""Summary: what a dataset holds, how each mag came about, and what is proven of it; found without reading voxels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from wkpipe.errors import MetadataError, WkpipeError
from wkpipe.formats.base import StoredArray
from wkpipe.geometry import Mag
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.plan.mag_plan import CONVERT, DOWNLOAD, DOWNSAMPLE, MagPlan, planned_array
from wkpipe.plan.recipe import load_conversion, load_recipe
from wkpipe.steps.summary_model import (
    STALE,
    UNKNOWN,
    UNPROVEN,
    UP_TO_DATE,
    DatasetSummary,
    LayerSummary,
    MagSummary,
    UnfinishedMag,
)
from wkpipe.steps.verify.files import live_run
from wkpipe.steps.verify.freshness import freshness, may_be_recorded, seen_tokens
from wkpipe.steps.verify.mag import MagOnDisk, is_published, locations_to_read, open_to_read
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.record import DIRTY, WRITTEN
from wkpipe.stored.axes import spatial
from wkpipe.stored.channels import Channels
from wkpipe.stored.dataset import StoredDataset, box_in_mag
from wkpipe.stored.locations import LEDGERS, Locations


def summarise(root: Path, state_dir: Path | None = None) -> DatasetSummary:
    """Look at a dataset, also at one whose conversion has not published anything yet. Nothing is written.

    Raises:
        UnreadableInput: there is no dataset.
        MetadataError: its properties are broken.
    """
    if not is_published(root):
        return _unpublished(root, state_dir)
    dataset = open_to_read(root, state_dir)
    properties = dataset.properties
    registered = {(layer.name, entry.mag) for layer in properties.layers for entry in layer.mags}
    return DatasetSummary(
        path=dataset.locations.dataset,
        name=properties.name,
        published=True,
        voxel_size=str(properties.voxel_size),
        layers=tuple(_layer(dataset, layer) for layer in properties.layers),
        unfinished=tuple(_unfinished(dataset.locations, registered)),
        run=live_run(dataset.locations),
    )


def _unpublished(root: Path, state_dir: Path | None) -> DatasetSummary:
    locations = locations_to_read(Locations.of(root, state_dir))
    conversion = load_conversion(locations)
    if conversion is None:
        open_to_read(root, state_dir)  # says that it is not a dataset
        conversion = {}
    size, unit = conversion.get("params", {}).get("voxel_size"), conversion.get("params", {}).get("unit", "nanometer")
    return DatasetSummary(
        path=locations.dataset,
        name=str(conversion.get("params", {}).get("name", locations.dataset.name)),
        published=False,
        voxel_size=f"{','.join(f'{value:g}' for value in size)} {unit}" if size else "",
        layers=(),
        unfinished=tuple(_unfinished(locations, set())),
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
        where = f"layer {layer.name}, mag {entry.mag}: "
        return MagSummary(str(entry.mag), path, "unknown", error=str(error).removeprefix(where))


def _path(dataset: StoredDataset, layer: LayerProperties, entry: MagProperties) -> str:
    """Return where a mag lies, as the properties say it; old ones do not."""
    return entry.path or f"./{dataset.mag_path(layer, entry).relative_to(dataset.locations.dataset)}"


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
    """Return how many storage shards (or chunk files) the box touches."""
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
    """Return how many units of a derived mag are stale; None where its source can not be opened."""
    if mag.recipe is None or mag.recipe.from_mag is None or not mag.is_derived:
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
    """Return where a mag comes from, in words."""
    if recipe is not None and recipe.kind == CONVERT:
        return "converted"
    if recipe is not None and recipe.kind == DOWNLOAD:
        return "downloaded"
    if recipe is not None and recipe.kind == DOWNSAMPLE and recipe.interpolation is not None:
        return f"downsampled from {recipe.from_mag} by {recipe.interpolation.value}"
    if any(record.origin in (WRITTEN, DIRTY) for record in ledger.records.values()):
        return "written"
    return "other tool"


# -- unfinished mags ------------------------------------------------------------------------------------------------


def _unfinished(locations: Locations, registered: set[tuple[str, Mag]]) -> Iterator[UnfinishedMag]:
    """Yield the mags that have a recipe and are not in the properties, and those that are being made anew beside what is."""
    begun = _with_recipe(locations.state / "ledger", "*/*/recipe.json") - registered
    anew = _with_recipe(locations.remade_state(""), f"*/{LEDGERS}/*/recipe.json")
    for places, names, note in ((locations, begun, ""), (replace(locations, remade=frozenset(anew)), anew, ", anew")):
        for layer, mag in sorted(names, key=lambda names: (names[0], names[1].to_tuple())):
            if (recipe := load_recipe(places, layer, mag)) is not None:
                origin = _origin(recipe, Ledger({})) + note
                yield UnfinishedMag(layer, str(mag), origin, _units_done(recipe, places), len(recipe.units()))


def _with_recipe(root: Path, pattern: str) -> set[tuple[str, Mag]]:
    """Return the layers and mags of the recipes below a directory."""
    found = set()
    for file in root.glob(pattern):
        with contextlib.suppress(ValueError):  # not a directory of ours
            found.add((file.relative_to(root).parts[0], Mag(file.parent.name)))
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

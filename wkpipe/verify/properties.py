"""Compare a layer's bounding box and largest segment id in the properties with what is stored and recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wkpipe.metadata.element_class import LayerCategory
from wkpipe.metadata.properties import PROPERTIES_FILE_NAME
from wkpipe.storage.ledger import Ledger
from wkpipe.stored.channels import Channels
from wkpipe.stored.dataset import box_in_mag
from wkpipe.verify.mag import MagOnDisk


@dataclass(frozen=True)
class Finding:
    """A problem, with the fix for it; or a note, without one."""

    what: str
    fix: str | None = None


def property_findings(mag: MagOnDisk, ledger: Ledger) -> Iterator[Finding]:
    """Yield what contradicts the properties of a mag's layer."""
    layer = mag.layer
    if layer.box.is_empty() and _has_files(mag):
        what = f"found the empty boundingBox {layer.box} in {PROPERTIES_FILE_NAME}, expected one around the data of mag {mag.entry.mag}"
        yield Finding(what, f"correct boundingBox in {PROPERTIES_FILE_NAME}{_made_for(mag)}")
    highest, stated = _highest_id(mag, ledger), layer.largest_segment_id
    if highest is None:
        return
    if stated is None:
        yield Finding(f"largestSegmentId is not set in {PROPERTIES_FILE_NAME}; its storage shards hold ids up to {highest}")
    elif stated < highest:
        what = f"found largestSegmentId {stated} in {PROPERTIES_FILE_NAME}, expected at least {highest}, an id that its storage shards hold"
        yield Finding(what, f"set largestSegmentId of layer {layer.name} in {PROPERTIES_FILE_NAME} to {highest}")


def _has_files(mag: MagOnDisk) -> bool:
    channels = Channels.of(mag.layer, mag.entry)
    return next(channels.those_of(mag.array.spec, mag.array.stored_units()), None) is not None


def _made_for(mag: MagOnDisk) -> str:
    if mag.recipe is None:
        return ""
    first, end = (corner * mag.entry.mag.to_vec3_int() for corner in mag.recipe.box)
    return f" (the mag was made for {','.join(map(str, first))} to {','.join(map(str, end))})"


def _highest_id(mag: MagOnDisk, ledger: Ledger) -> int | None:
    """Return the largest id that is certainly in the layer's box, as the conversion found; None if it is not known."""
    recipe, layer = mag.recipe, mag.layer
    if recipe is None or layer.category is not LayerCategory.SEGMENTATION:
        return None
    box = box_in_mag(layer.bounding_box(), mag.entry.mag)
    ids = []
    for unit in mag.units:
        record = ledger.get(unit)
        first, end = recipe.unit_box(unit)
        # The present box may exclude a part of a storage shard, and the largest id with it.
        is_inside = box.topleft_xyz.pairmin(first) == box.topleft_xyz and box.bottomright_xyz.pairmax(end) == box.bottomright_xyz
        if is_inside and record is not None and record.is_made_by(recipe.params) and "highest" in record.stats:
            ids.append(int(record.stats["highest"]))
    return max(ids, default=None)

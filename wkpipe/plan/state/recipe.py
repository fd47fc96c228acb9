"""Recipes: how the mags of a dataset were made, stored beside their ledgers, so that later runs make them the same way."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from wkpipe.errors import MetadataError, UnreadableInput, UsageError, WkpipeError, one_line
from wkpipe.formats import validate_spec
from wkpipe.formats.base import Compression
from wkpipe.formats.creation import DEFAULT_LEVEL
from wkpipe.geometry import SPATIAL_AXES, Mag, Vec3Int
from wkpipe.metadata.json_node import JsonNode
from wkpipe.plan.config import load_config
from wkpipe.plan.config.identity import CONVERSION_KEYS
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.recorded import check_origin, mag_plan_from_json
from wkpipe.plan.request import Storing
from wkpipe.storage.stored_object import StoredObject
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.images_note import images_note
from wkpipe.stored.locations import READ_FIX, RECIPE, Locations

ACCOUNTS = "accounts"
"""The key of a stored conversion that says what of its source was used."""


def load_recipe(locations: Locations, layer: str, mag: Mag) -> MagPlan | None:
    """Return how a mag was made; None if wkpipe did not make it.

    Raises:
        MetadataError: the recipe is damaged, or belongs to another mag.
        UnreadableInput: the recipe belongs to a user who lets nobody else read it.
    """
    file = locations.recipe(layer, mag)
    path = file.path
    fix = "make the mag again with --overwrite-existing"
    try:
        node = _read(file)
        if node is None:
            return None
        recipe = _parsed(node)
    except MetadataError as error:
        raise error.but(fix=fix) from None
    except UnreadableInput:  # it belongs to another user: nothing is wrong with it
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise MetadataError(f"not a recipe of this version: {one_line(error, 200)}", where=path, fix=fix) from None
    first, end = recipe.box
    is_sound = (recipe.layer, recipe.mag) == (layer, mag) and set("xyz") <= set(recipe.spec.axes)
    is_sound = is_sound and all(a <= b for a, b in zip(first, end, strict=True)) and recipe.origin.fits(mag)
    if not is_sound:
        raise MetadataError(f"not the recipe of layer {layer}, mag {mag}", where=path, fix=fix)
    return recipe


def with_recorded_names(plan: MagPlan, locations: Locations) -> MagPlan:
    """Return the plan of a mag that an earlier run may have begun, with the names that its layers had then: records know it by these.

    Raises: as `load_recipe`.
    """
    return plan.as_recorded(load_recipe(locations, plan.layer, plan.mag))


def renamed_recipes(locations: Locations, old: str, new: str) -> dict[StoredObject, bytes]:
    """Return the recipes that change when the layer `old`, whose ledgers have the name `new` already, gets that name.

    Recipes that cannot be read stay as they are.
    """
    changed = {}
    dataset, ledgers = str(locations.dataset), locations.ledgers
    for layer in ledgers.names():
        for name in ledgers.names(layer):
            file = StoredObject(ledgers, f"{layer}/{name}/{RECIPE}")
            with contextlib.suppress(WkpipeError, ValueError, KeyError, TypeError):
                recipe = None if (node := _read(file)) is None else _parsed(node)
                if recipe is not None and (renamed := recipe.renamed(dataset, old, new)) != recipe:
                    changed[file] = json.dumps(renamed.to_json()).encode()
    return changed


def _parsed(node: JsonNode) -> MagPlan:
    _check_types(node)
    recipe = mag_plan_from_json(node.value)
    validate_spec(recipe.spec)
    return recipe


def _read(file: StoredObject) -> JsonNode | None:
    file.place.check_readable([file.key], READ_FIX)
    try:
        return JsonNode.read(file)
    except UnreadableInput as error:
        raise MetadataError.of(error) from None


def _check_types(node: JsonNode) -> None:
    """Check that a recipe's values have the types that `mag_plan_from_json` expects.

    Raises:
        MetadataError: a value has another type; the error names its key.
    """
    spec = node.child("spec")
    axes = [item.text() for item in spec.child("axes").items()]
    if len(set(axes)) != len(axes) or not set(SPATIAL_AXES) <= set(axes):
        raise spec.child("axes").error("x, y, z and maybe others, each once")
    for key in ("shape", "chunk_shape", "shard_shape"):
        for item in spec.child(key).items(len(axes)):
            item.exact_integer(0)
    spec.child("data_format").text()
    spec.child("dtype").text()
    spec.child("fill_value").number()
    kind, level, *named = spec.child("compression").items()
    kind.text()
    if level.value is not None:
        level.exact_integer(-(1 << 20))
    for name in [*named, node.child("layer"), *([node.child("made_as")] if "made_as" in node.value else [])]:
        name.text()
    for corner in node.child("box").items(2):
        for item in corner.items(3):
            item.exact_integer(0)
    check_origin(node)


def conversion_identity(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what identifies a stored conversion: all but the accounts of its source."""
    return {key: value for key, value in found.items() if key != ACCOUNTS}


def load_conversion(locations: Locations) -> dict[str, Any] | None:
    """Return the source and the parameters that a dataset was converted or downloaded with; None if it was not.

    Raises:
        MetadataError: the file is damaged, or its values do not describe a conversion.
        UnreadableInput: the file belongs to a user who lets nobody else read it.
    """
    return _conversion(locations, locations.conversion)


def load_images(locations: Locations, layer: str, mag: Mag) -> dict[str, Any] | None:
    """Return the source and the parameters that a layer was added with from images; None if it was not.

    Raises:
        MetadataError, UnreadableInput: see `load_conversion`.
    """
    return _conversion(locations, images_note(locations, layer, mag))


def _conversion(locations: Locations, file: StoredObject) -> dict[str, Any] | None:
    node = _read(file)
    if node is None:
        return None
    found = {key: inner.value for key, inner in node.members().items()}
    if (source := node.get("source")) is not None:
        source.text()
    if (params := node.get("params")) is not None:
        given = {key: inner.value for key, inner in params.members().items()}
        try:
            checked = load_config({**given, "target": str(locations.dataset)}, str(file)).to_json()
        except UsageError as error:
            fix = "restore the file, or convert into another target"
            raise MetadataError.of(error.but(fix=fix)) from None
        found["params"] = {key: checked[key] for key in CONVERSION_KEYS if key in checked}
    return found


def inherited_storing(dataset: StoredDataset, storing: Storing) -> Storing:
    """Return how coarser mags are stored: what is not wanted otherwise is inherited from the dataset's conversion.

    Its level is that of a dataset whose mags were made with plain levels only; see `_is_of_plain_levels`.
    """
    conversion = load_conversion(dataset.locations)
    params = (conversion or {}).get("params") or {}
    chunk, shard = (None if params.get(key) is None else Vec3Int(params[key]) for key in ("chunk_shape", "shard_shape"))
    level = DEFAULT_LEVEL if _is_of_plain_levels(dataset) else None
    return Storing(storing.chunk or chunk, storing.shard or shard, storing.compress and params.get("compress", True), level)


def _is_of_plain_levels(dataset: StoredDataset) -> bool:
    """True if wkpipe made mags of a dataset with the default level of zstd, and none with a set: it knew no sets then."""
    is_plain = False
    for layer in dataset.properties.layers:
        for entry in layer.mags:
            with contextlib.suppress(MetadataError, UnreadableInput):  # whoever uses that mag reports it
                recipe = load_recipe(dataset.locations, layer.name, entry.mag)
                found = None if recipe is None else recipe.spec.compression
                if found is not None and found.named is not None:
                    return False
                is_plain |= found == Compression("zstd", DEFAULT_LEVEL)
    return is_plain

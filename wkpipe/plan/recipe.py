"""Recipes: how the mags of a dataset were made, kept beside their ledgers, so that later runs go on alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wkpipe.errors import MetadataError, UnreadableInput, UsageError, one_line
from wkpipe.formats import validate_spec
from wkpipe.formats.creation import DEFAULT_LEVEL
from wkpipe.geometry import SPATIAL_AXES, Mag
from wkpipe.metadata.json_node import JsonNode
from wkpipe.plan.config import Config, load_config
from wkpipe.plan.mag_plan import CONVERT, DOWNLOAD, DOWNSAMPLE, MagPlan
from wkpipe.storage.access import check_readable
from wkpipe.stored.locations import READ_FIX, Locations

CONVERSION_KEYS = (
    "voxel_size",
    "unit",
    "name",
    "layer_name",
    "category",
    "data_format",
    "chunk_shape",
    "shard_shape",
    "compress",
    "compression_level",
    "download_layers",
    "download_mags",
    "download_bbox",
)
"""What of a config makes a conversion, or a download, the same one."""

LAYOUT_KEYS = ("chunk_shape", "shard_shape", "compress")


def load_recipe(locations: Locations, layer: str, mag: Mag) -> MagPlan | None:
    """Return how a mag is made; None where wkpipe has not made it.

    Raises:
        MetadataError: the recipe is damaged, or is not one of this mag.
        UnreadableInput: it belongs to somebody who lets nobody else read it.
    """
    path = locations.recipe(layer, mag)
    mend = "make the mag again with --overwrite-existing"
    try:
        node = _read(path)
        if node is None:
            return None
        _check_types(node)
        recipe = MagPlan.from_json(node.value)
        validate_spec(recipe.spec)
    except MetadataError as error:
        raise MetadataError(f"{error}; {mend}") from None
    except UnreadableInput:  # it is another user's: nothing is wrong with it
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise MetadataError(f"{path}: not a recipe of this version: {one_line(error, 200)}; {mend}") from None
    first, end = recipe.box
    is_sound = (recipe.layer, recipe.mag) == (layer, mag) and set("xyz") <= set(recipe.spec.axes)
    is_sound = is_sound and all(a <= b for a, b in zip(first, end, strict=True))
    if not is_sound or (recipe.from_mag is not None and any(fine > coarse for fine, coarse in zip(recipe.from_mag, mag, strict=True))):
        raise MetadataError(f"{path}: not the recipe of layer {layer}, mag {mag}; {mend}")
    return recipe


def _read(path: Path) -> JsonNode | None:
    check_readable([path], READ_FIX)
    try:
        return JsonNode.read(path)
    except UnreadableInput as error:
        raise MetadataError(str(error)) from None


def _check_types(node: JsonNode) -> None:
    """Check that a recipe's values are of the types that `MagPlan.from_json` takes for granted.

    Raises:
        MetadataError: one is not; names its key.
    """
    spec = node.child("spec")
    axes = [item.text() for item in spec.child("axes").items()]
    if len(set(axes)) != len(axes) or not set(SPATIAL_AXES) <= set(axes):
        raise spec.child("axes").error("x, y, z and maybe others, each once")
    for key in ("shape", "chunk_shape", "shard_shape"):
        for item in spec.child(key).items(len(axes)):
            _integer(item, 0)
    spec.child("data_format").text()
    spec.child("dtype").text()
    spec.child("fill_value").number()
    kind, level = spec.child("compression").items(2)
    kind.text()
    if level.value is not None:
        _integer(level, -(1 << 20))
    node.child("layer").text()
    if node.child("kind").text() not in (CONVERT, DOWNSAMPLE, DOWNLOAD):
        raise node.child("kind").error(f"{CONVERT}, {DOWNSAMPLE} or {DOWNLOAD}")
    if (node.child("kind").text() == DOWNSAMPLE) != ("from_mag" in node.value):
        raise node.child("from_mag").error(f"a mag where the kind is {DOWNSAMPLE}, and none else")
    for key in ("box", "source_box") if "from_mag" in node.value else ("box",):
        for corner in node.child(key).items(2):
            for item in corner.items(3):
                _integer(item, 0)
    if (source := node.get("source")) is not None:
        source.members()
    if "from_channel" in node.value:
        _integer(node.child("from_channel"), 1)


def _integer(node: JsonNode, low: int) -> None:
    if type(node.value) is not int:  # 24.0 would be another hash
        raise node.error("an integer")
    node.integer(low)


def conversion_of(config: Config) -> dict[str, Any]:
    """Return what identifies a conversion, or a download: the source and the parameters that define voxels and layout."""
    values = config.to_json()
    source = config.download_url if config.source is None else str(config.source.resolve())
    if config.compression_level == DEFAULT_LEVEL:
        del values["compression_level"]  # the same conversion, whether it was given or not
    return {"source": source, "params": {key: values[key] for key in CONVERSION_KEYS if key in values}}


def load_conversion(locations: Locations) -> dict[str, Any] | None:
    """Return what a dataset was converted or downloaded from: source and params; None where it was not.

    Raises:
        MetadataError: the file is damaged, or holds what no conversion has.
        UnreadableInput: it belongs to somebody who lets nobody else read it.
    """
    node = _read(locations.conversion)
    if node is None:
        return None
    found = {key: inner.value for key, inner in node.members().items()}
    if (source := node.get("source")) is not None:
        source.text()
    if (params := node.get("params")) is not None:
        given = {key: inner.value for key, inner in params.members().items()}
        try:
            checked = load_config({**given, "target": str(locations.dataset)}, str(locations.conversion)).to_json()
        except UsageError as error:
            raise MetadataError(f"{error}; restore the file, or convert into another target") from None
        found["params"] = {key: checked[key] for key in CONVERSION_KEYS if key in checked}
    return found


def inherited_config(locations: Locations, config: Config) -> Config:
    """Return the parameters of the dataset's conversion, which hold for its coarser mags too; those given now win."""
    conversion = load_conversion(locations)
    if conversion is None:
        return config
    given = {key: value for key, value in config.to_json().items() if key in LAYOUT_KEYS}
    params = conversion.get("params") or {}
    return load_config({"target": str(config.target), **params, **given}, str(locations.conversion))

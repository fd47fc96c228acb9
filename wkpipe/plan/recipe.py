"""Recipes: how the mags of a dataset were made, kept beside their ledgers, so that later runs go on alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wkpipe.errors import MetadataError
from wkpipe.geometry import Mag
from wkpipe.plan.config import Config, load_config
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.stored.locations import Locations

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
)
"""What of a config makes a conversion the same one."""

LAYOUT_KEYS = ("chunk_shape", "shard_shape", "compress", "compression_level")


def load_recipe(locations: Locations, layer: str, mag: Mag) -> MagPlan | None:
    """Return how a mag is made; None where wkpipe has not made it.

    Raises:
        MetadataError: the recipe can not be read.
    """
    path = locations.recipe(layer, mag)
    values = _load(path)
    try:
        return None if values is None else MagPlan.from_json(values)
    except (KeyError, ValueError, TypeError) as error:
        raise MetadataError(f"{path}: not a recipe of this version ({error!r}); make the mag again with --overwrite-existing") from None


def conversion_of(config: Config) -> dict[str, Any]:
    """Return what identifies a conversion: the source and the parameters that define voxels and layout."""
    assert config.source is not None
    values = config.to_json()
    return {"source": str(config.source.resolve()), "params": {key: values[key] for key in CONVERSION_KEYS if key in values}}


def load_conversion(locations: Locations) -> dict[str, Any] | None:
    """Return what a dataset was converted from; None where it was not."""
    return _load(locations.conversion)


def inherited_config(locations: Locations, config: Config) -> Config:
    """Return the parameters of the dataset's conversion, which hold for its coarser mags too; those given now win."""
    conversion = load_conversion(locations)
    if conversion is None:
        return config
    given = {key: value for key, value in config.to_json().items() if key in LAYOUT_KEYS}
    return load_config({"target": str(config.target), **conversion.get("params", {}), **given}, str(locations.conversion))


def _load(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise MetadataError(f"{path}: can not be read ({error}); make the mags again with --overwrite-existing") from None
    if not isinstance(values, dict):
        raise MetadataError(f"{path}: expected an object, found {type(values).__name__}")
    return values

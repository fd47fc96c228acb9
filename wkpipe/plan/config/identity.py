"""The settings that identify a conversion or a download."""

from __future__ import annotations

from typing import Any

from wkpipe.formats.creation import DEFAULT_LEVEL
from wkpipe.images.options import CLOSE
from wkpipe.plan.config.config import Config

CONVERSION_KEYS = (
    "voxel_size",
    "unit",
    "name",
    "layer_name",
    "category",
    "family",
    "pattern",
    "missing_slices",
    "concat",
    "layer_mapping",
    "layer_files",
    "file_order",
    "only_listed",
    "series",
    "channels",
    "sparse",
    "rgb_labels",
    "rgb",
    "bilevel",
    "dtype",
    "rescale_min_max",
    "mag",
    "topleft",
    "bbox",
    "swap_xy",
    "flip_x",
    "flip_y",
    "flip_z",
    "padding",
    "data_format",
    "chunk_shape",
    "shard_shape",
    "compress",
    "compression_level",
    "download_layers",
    "download_mags",
    "download_bbox",
)
"""The parameters that define voxels and layout, and what is made at all."""


def conversion_of(config: Config) -> dict[str, Any]:
    """Return what identifies a conversion or a download: the source and the parameters that define voxels and layout."""
    values = config.to_json()
    source = config.download_url if config.source is None else str(config.source.resolve())
    if config.compression_level == DEFAULT_LEVEL:
        del values["compression_level"]  # the same conversion, whether it was given or not
    if config.missing_slices == CLOSE:
        del values["missing_slices"]  # the same voxels as with fail, or else that is refused
    return {"source": source, "params": {key: values[key] for key in CONVERSION_KEYS if key in values}}

"""ArraySpec as plain JSON, for plans and recipes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from wkpipe.formats.base import ArraySpec, Compression, DataFormat


def spec_to_json(spec: ArraySpec) -> dict[str, Any]:
    """Return a spec as plain values."""
    kind, level, named = spec.compression.kind, spec.compression.level, spec.compression.named
    return {
        "data_format": spec.data_format.value,
        "axes": list(spec.axes),
        "shape": list(spec.shape),
        "dtype": spec.dtype.name,
        "chunk_shape": list(spec.chunk_shape),
        "shard_shape": list(spec.shard_shape),
        "compression": [kind, level] if named is None else [kind, level, named],
        "fill_value": spec.fill_value,
    }


def spec_from_json(values: Mapping[str, Any]) -> ArraySpec:
    """Return the spec whose plain values `spec_to_json` returned."""
    return ArraySpec(
        data_format=DataFormat(values["data_format"]),
        axes=tuple(values["axes"]),
        shape=tuple(values["shape"]),
        dtype=np.dtype(values["dtype"]),
        chunk_shape=tuple(values["chunk_shape"]),
        shard_shape=tuple(values["shard_shape"]),
        compression=Compression(*values["compression"]),
        fill_value=values["fill_value"],
    )

"""The defaults of new datasets, layers and mags."""

from __future__ import annotations

from typing import Final

from wkpipe.formats.base import DataFormat
from wkpipe.geometry import Vec3Int
from wkpipe.plan.wishes.shapes import CHUNK_EDGE, SHARD_EDGE

DEFAULT_DATA_FORMAT: Final = DataFormat.ZARR3
DEFAULT_CHUNK_SHAPE: Final = Vec3Int.full(CHUNK_EDGE)
DEFAULT_SHARD_SHAPE: Final = Vec3Int.full(SHARD_EDGE)
DEFAULT_CHUNKS_PER_SHARD_FROM_IMAGES: Final = Vec3Int(128, 128, 1)
"""The flat shards, in chunks, that scripts give if they write slice by slice; wkpipe chooses shards by the depth of the layer."""
DEFAULT_WKW_FILE_LEN: Final = SHARD_EDGE // CHUNK_EDGE
"""The chunks along one side of a WKW file."""

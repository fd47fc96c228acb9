"""ArrayInfo: how a mag is stored, as the public API reports it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wkpipe.formats.base import ArraySpec, DataFormat, Position
from wkpipe.geometry import NormalizedBoundingBox, Vec3Int
from wkpipe.stored.axes import spatial


@dataclass(frozen=True)
class ArrayInfo:
    """How a mag is stored. Shapes are x, y, z in voxels of the mag; `shape` and `axes` are in array order.

    compression_mode: True if chunks are compressed. voxel_type: dtype of one channel.
    """

    data_format: DataFormat
    axes: tuple[str, ...]
    shape: Position
    num_channels: int
    voxel_type: np.dtype[Any]
    chunk_shape: Vec3Int
    shard_shape: Vec3Int
    chunks_per_shard: Vec3Int
    compression_mode: bool

    @property
    def bounding_box(self) -> NormalizedBoundingBox:
        """The box of the whole array, in voxels of the mag; it starts at 0, also if the layer's box does not.

        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((64, 0, 0), (64, 64, 16))
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", num_channels=3, bounding_box=box)
        >>> layer.add_mag(1, chunk_shape=32, shard_shape=32).info.bounding_box
        NormalizedBoundingBox((0, 0, 0, 0), (3, 128, 64, 32), ('c', 'x', 'y', 'z'))
        """
        return NormalizedBoundingBox((0,) * len(self.axes), self.shape, self.axes)

    @classmethod
    def of(cls, spec: ArraySpec, num_channels: int) -> ArrayInfo:
        """Describe an array; `num_channels` is the number of the layer's channels."""
        chunk, shard = spatial(spec, spec.chunk_shape), spatial(spec, spec.shard_shape)
        dtype = spec.dtype.newbyteorder("=")
        return cls(spec.data_format, spec.axes, spec.shape, num_channels, dtype, chunk, shard, shard // chunk, spec.compression.is_on)

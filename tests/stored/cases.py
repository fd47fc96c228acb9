"""Small random datasets whose coarser mags wkpipe makes like the reference package, voxel for voxel.

Intended differences are left out: nearest, bilinear and bicubic; medians of 64-bit integers above 2^53; ladders with a step
of 4, at whose borders the reference depends on its buffers; NaN and infinity.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import numpy as np

from tests.oracle.cases import voxels
from tests.oracle.pyramid import Array

SEED = 4_330_000
COUNT = 50
TYPES = {
    "color": ("uint8", "uint8", "uint16", "uint32", "int8", "int16", "int32", "float32"),
    "segmentation": ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
}


@dataclass(frozen=True)
class StoredCase:
    """A layer that the reference package can make, and how it is downsampled. Shapes are x, y, z."""

    number: int
    data_format: str
    dtype: str
    category: str
    axes: tuple[str, ...]
    lead: tuple[int, ...]
    topleft: tuple[int, int, int]
    size: tuple[int, int, int]
    chunk: int
    shard: int
    compress: bool
    content: str
    interpolation: str
    sampling: str
    voxel_size: tuple[float, float, float]
    coarsest: int

    @property
    def voxels(self) -> Array:
        """The voxels of mag 1."""
        mode = {"color": "median", "segmentation": "mode"}[self.category] if self.interpolation == "default" else self.interpolation
        return voxels(np.random.default_rng([self.number, 11]), (*self.lead, *self.size), self.dtype, self.content, mode)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def draw(number: int) -> StoredCase:
    """Draw a case; the same number gives the same case."""
    r = Random(f"stored {number}")
    data_format = r.choice(["zarr3", "zarr3", "zarr", "wkw"])
    category = r.choice(["color", "color", "segmentation"])
    dtype = r.choice(TYPES[category])
    channels = r.choice([1, 1, 1, 3]) if dtype == "uint8" else 1
    has_time = data_format != "wkw" and channels == 1 and r.random() < 0.15
    axes, lead = (("t", "x", "y", "z"), (r.randrange(1, 4),)) if has_time else (("c", "x", "y", "z"), (channels,))
    chunk = r.choice([4, 8, 16])
    modes = ["default", "mode", "max", "min"] if dtype in ("uint64", "int64") else ["default", "median", "mode", "max", "min"]
    contents = ["noise", "few", "few", "labels", "sparse", "gradient", "empty"] + ([] if dtype == "float32" else ["extremes"])
    return StoredCase(
        number=number,
        data_format=data_format,
        dtype=dtype,
        category=category,
        axes=axes,
        lead=lead,
        topleft=(r.choice([0, 0, 3, 17]), r.choice([0, 0, 1, 14]), r.choice([0, 0, 5])),
        size=(r.randrange(1, 41), r.randrange(1, 37), r.choice([1, r.randrange(2, 25), r.randrange(2, 25)])),
        chunk=chunk,
        shard=chunk if data_format == "zarr" else chunk * r.choice([1, 2] if data_format == "wkw" else [2, 4]),
        compress=r.random() < 0.7,
        content=r.choice(contents),
        interpolation=r.choice(modes),
        sampling=r.choice(["anisotropic", "anisotropic", "isotropic", "constant_z"]),
        voxel_size=r.choice([(1.0, 1.0, 1.0), (11.24, 11.24, 28.0), (4.0, 4.0, 35.0), (8.0, 8.0, 2.0), (10.0, 10.0, 5.0)]),
        coarsest=r.choice([2, 4, 4, 8]),
    )

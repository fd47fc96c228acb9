"""How an array is stored: format, axes, shapes, compression.

Words: a *chunk* is compressed at once. A *storage shard* is one file that holds many chunks. A *unit* (of proof) is
written, committed and recorded at once: a storage shard; or, if every chunk is a file (Zarr 2, unsharded Zarr 3), an
aligned block of chunk files of about 1024³ voxels.
"""

from __future__ import annotations

import enum
import functools
import math
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from wkpipe.storage.proof import Position

Voxels: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Flags: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

UNIT_EDGE = 1024


class DataFormat(enum.StrEnum):
    """A storage format, by its name in datasource-properties.json.

    wkpipe writes WKW, ZARR (version 2) and ZARR3; N5 and PRECOMPUTED are read only. Members are strings, so a name can be
    used in place of a member. Zarr, Zarr3 and NeuroglancerPrecomputed are other names.

    Raises
    ------
    ValueError
        there is no format of that name.

    Examples
    --------
    >>> from wkpipe import DataFormat
    >>> DataFormat("zarr3"), str(DataFormat.ZARR3), DataFormat.ZARR3 == "zarr3"
    (<DataFormat.ZARR3: 'zarr3'>, 'zarr3', True)
    >>> [data_format.name for data_format in DataFormat if data_format.is_writable]
    ['WKW', 'ZARR', 'ZARR3']
    """

    WKW = "wkw"
    ZARR = "zarr"
    ZARR3 = "zarr3"
    N5 = "n5"
    PRECOMPUTED = "neuroglancerPrecomputed"
    Zarr = "zarr"
    Zarr3 = "zarr3"
    NeuroglancerPrecomputed = "neuroglancerPrecomputed"

    @property
    def is_writable(self) -> bool:
        """True if wkpipe writes this format; the others are read only."""
        return self in (DataFormat.WKW, DataFormat.ZARR, DataFormat.ZARR3)


def unit_name(unit: Position) -> str:
    """Return the name of a unit in messages.

    >>> unit_name((0, 1, 2, 3))
    '0.1.2.3'
    """
    return ".".join(map(str, unit))


@dataclass(frozen=True)
class Compression:
    """How chunks are compressed: ``none``, ``zstd``, ``lz4``, ``lz4hc``, or the name of a codec that wkpipe only reads.

    `named` is the set of parameters with which wkpipe encodes; None means those of the level. Arrays do not store it, recipes do.
    """

    kind: str
    level: int | None = None
    named: str | None = None

    @property
    def is_on(self) -> bool:
        return self.kind != "none"


NO_COMPRESSION = Compression("none")


@dataclass(frozen=True)
class ArraySpec:
    """How one mag of a layer is stored. Shapes are in array order; `dtype` is little-endian."""

    data_format: DataFormat
    axes: tuple[str, ...]
    shape: Position
    dtype: np.dtype[Any]
    chunk_shape: Position
    shard_shape: Position
    compression: Compression
    fill_value: int | float = 0

    @property
    def as_stored(self) -> ArraySpec:
        """What the array's metadata say: all but the name of the set of parameters."""
        return replace(self, compression=replace(self.compression, named=None))

    @property
    def is_sharded(self) -> bool:
        """True if one file holds a whole shard; otherwise every chunk is a file."""
        return self.data_format is DataFormat.WKW or self.chunk_shape != self.shard_shape

    @functools.cached_property
    def unit_shape(self) -> Position:
        """The shape of a unit of proof in voxels; see `wkpipe.formats.spec`."""
        if self.is_sharded:
            return self.shard_shape
        return tuple(
            chunk * max(1, UNIT_EDGE // chunk) if axis in "xyz" else chunk for axis, chunk in zip(self.axes, self.chunk_shape, strict=True)
        )

    @property
    def unit_grid(self) -> Position:
        """The number of units along every axis."""
        return tuple(-(-n // u) for n, u in zip(self.shape, self.unit_shape, strict=True))

    @functools.cached_property
    def chunks_per_unit(self) -> Position:
        """The number of chunks of a unit along every axis."""
        return tuple(u // c for u, c in zip(self.unit_shape, self.chunk_shape, strict=True))

    @functools.cached_property
    def chunk_bytes(self) -> int:
        """The bytes of one decoded chunk."""
        return math.prod(self.chunk_shape) * self.dtype.itemsize

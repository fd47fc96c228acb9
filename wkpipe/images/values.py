"""Values: how the voxels of a layer are computed from the stored ones, if they are not the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wkpipe.images.source import Voxels

BITS, EQUAL, PACKED, MAPPED, CAST, RESCALED = "bits", "equal", "packed", "mapped", "cast", "rescaled"

COLOURS_FIX = "leave out --rgb gray, or pass --rgb-labels pack or map for ids"


@dataclass(frozen=True)
class Values:
    """A function of stored voxels.

    kind: ``bits`` makes 0 and `high` of bits. ``equal`` takes the first of three channels that must be equal. ``packed`` makes one id
    of red, green and blue: red · 65536 + green · 256 + blue. ``mapped`` makes an id of each packed colour in `colours`: its number,
    from 0. ``cast`` changes the type only. ``rescaled`` maps `low` to the smallest and `high` to the largest value of an integer type
    (0 and 1 for float32), rounds and clips. Complex numbers count by their magnitude.

    dtype: the type of the voxels that are made. channels: how many channels one is made from.
    """

    kind: str
    dtype: str
    low: float = 0.0
    high: float = 0.0
    colours: tuple[int, ...] = ()

    @property
    def channels(self) -> int:
        """The number of stored channels that one channel of the layer is made from."""
        return 3 if self.kind in (EQUAL, PACKED, MAPPED) else 1

    def apply(self, stored: Voxels) -> Voxels:
        """Return the voxels made from stored ones, axes (…, c).

        >>> import numpy as np
        >>> Values("rescaled", "uint8", 0.0, 2.0).apply(np.array([[-1.0], [1.0], [2.5]])).ravel().tolist()
        [0, 128, 255]
        >>> Values("packed", "uint32").apply(np.array([[1, 0, 2]], np.uint8)).tolist()
        [[65538]]

        Raises:
            ValueError: the stored voxels cannot be converted; the text says why.
        """
        if self.kind == BITS:
            made: Voxels = stored.astype(self.dtype) * np.array(self.high, self.dtype)
            return made
        if self.kind == EQUAL:
            if (stored != stored[..., :1]).any():
                raise ValueError(f"has colours in which red, green and blue differ ({COLOURS_FIX})")
            return stored[..., :1]
        if self.kind in (PACKED, MAPPED):
            ids = packed(stored)
            return ids if self.kind == PACKED else self._numbers(ids)
        if np.iscomplexobj(stored):
            stored = np.abs(stored)
        return self._rescaled(stored) if self.kind == RESCALED else self._cast(stored)

    def _numbers(self, ids: Voxels) -> Voxels:
        table = np.array(self.colours, np.uint32)
        found: Voxels = np.minimum(np.searchsorted(table, ids), len(table) - 1)
        if (table[found] != ids).any():
            raise ValueError("has a colour that it did not have when it was planned")
        numbers: Voxels = found.astype(self.dtype)
        return numbers

    def _rescaled(self, stored: Voxels) -> Voxels:
        share = (stored.astype(np.float64) - self.low) / (self.high - self.low)
        dtype = np.dtype(self.dtype)
        if dtype.kind == "f":
            return share.astype(dtype)
        limits = np.iinfo(dtype)
        share = np.nan_to_num(np.clip(share, 0, 1), nan=0.0)
        # Half away from zero: 127.5 becomes 128, whichever value it was made from.
        made: Voxels = np.clip(np.floor(share * (limits.max - limits.min) + 0.5) + limits.min, limits.min, limits.max).astype(dtype)
        return made

    def _cast(self, stored: Voxels) -> Voxels:
        dtype = np.dtype(self.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            made = stored.astype(dtype)
        if dtype.kind in "iu" and not np.array_equal(made, stored):
            raise ValueError(f"has values that {self.dtype} cannot hold; pass --rescale-min-max LOW,HIGH")
        return made

    def to_json(self) -> dict[str, Any]:
        """Return the function as plain JSON."""
        return {**asdict(self), "colours": list(self.colours)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any] | None) -> Values | None:
        """Return the function that `to_json` wrote; None if there is none."""
        return None if values is None else cls(**{**values, "colours": tuple(values["colours"])})


def packed(stored: Voxels) -> Voxels:
    """Return red · 65536 + green · 256 + blue of colours, axes (…, c)."""
    red, green, blue = (stored[..., i : i + 1].astype(np.uint32) for i in range(3))
    ids: Voxels = red << 16 | green << 8 | blue
    return ids

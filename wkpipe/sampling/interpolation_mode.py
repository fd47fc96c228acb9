"""InterpolationMode: how one target voxel is made of its block of source voxels."""

from __future__ import annotations

import enum

from wkpipe.errors import InputRefused


class InterpolationMode(enum.StrEnum):
    """The interpolation modes. The first four take a value from all voxels of the block, see `kernels`; the others
    sample at the block's corner or centre, see `interpolation`."""

    MEDIAN = "median"
    MODE = "mode"
    MAX = "max"
    MIN = "min"
    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"

    @classmethod
    def parse(cls, text: str, category: str) -> InterpolationMode:
        """Return the mode of that name; upper and lower case are alike.

        ``default`` is mode for a layer of category ``segmentation`` and median for any other (``color``).

        Raises:
            InputRefused: there is no such mode.
        """
        name = text.lower()
        if name == "default":
            return cls.MODE if category.lower() == "segmentation" else cls.MEDIAN
        try:
            return cls(name)
        except ValueError:
            raise InputRefused(f"interpolation mode {text!r} is not known; choose one of: default, {', '.join(cls)}") from None

"""InterpolationMode: how a target voxel is computed from its block of source voxels."""

from __future__ import annotations

import enum

from wkpipe.errors import UnknownMode


class InterpolationMode(enum.StrEnum):
    """How a voxel of a coarser mag is computed from the block of finer voxels that it covers.

    MEDIAN, MODE, MAX and MIN use all voxels of the block. NEAREST takes the voxel at its lower corner. BILINEAR and
    BICUBIC compute a value at its centre. Members are strings, so a name may replace a member.

    Raises
    ------
    ValueError
        there is no mode of that name.

    Examples
    --------
    >>> from wkpipe import InterpolationMode
    >>> InterpolationMode("median"), InterpolationMode.MODE == "mode"
    (<InterpolationMode.MEDIAN: 'median'>, True)
    >>> InterpolationMode.parse("default", category="segmentation").value
    'mode'
    """

    MEDIAN = "median"
    MODE = "mode"
    MAX = "max"
    MIN = "min"
    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"

    @classmethod
    def parse(cls, text: str, category: str) -> InterpolationMode:
        """Return the mode of that name, in upper or lower case.

        ``default`` is mode for a layer of category ``segmentation`` and median for any other (``color``).

        Raises
        ------
        UnknownMode
            there is no such mode.
        """
        name = text.lower()
        if name == "default":
            return cls.MODE if category.lower() == "segmentation" else cls.MEDIAN
        try:
            return cls(name)
        except ValueError:
            raise UnknownMode(f"interpolation mode {text!r} does not exist", fix=f"choose one of: default, {', '.join(cls)}") from None

"""What the private tags and descriptions of microscopes' programs in a TIFF file say about the size of a voxel.

Zeiss LSM states it in metres, MetaMorph STK in a unit that it names, Aperio SVS in micrometres per pixel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import tifffile

Lengths = tuple[Any, Any, Any, str]
"""x, y and z, and their unit; each as the file says it, None if the file does not."""

_UNKNOWN: Final = (None, None, None, "")
_STEP_TOLERANCE: Final = 1e-6


def vendor_lengths(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> Lengths | None:
    """Return the size of a voxel as the program of a microscope has written it; None if the file is of none of them.

    >>> import io, tifffile
    >>> file = io.BytesIO()
    >>> tifffile.imwrite(file, np.zeros((8, 8), "u1"), description="Aperio Image Library v1.0|AppMag = 20|MPP = 0.4990")
    >>> _ = file.seek(0)
    >>> tiff = tifffile.TiffFile(file)
    >>> vendor_lengths(tiff, tiff.pages.first)
    (0.499, 0.499, None, 'um')
    """
    if tiff.is_lsm:
        return _lsm(tiff.lsm_metadata or {})
    if tiff.is_stk:
        return _stk(tiff.stk_metadata or {})
    if tiff.is_svs:
        return _svs(page.description)
    return None


def _lsm(found: Mapping[str, Any]) -> Lengths:
    x, y, z = (float(f"{1e6 * found.get(f'VoxelSize{axis}', 0.0):.12g}") for axis in "XYZ")
    return x, y, z, "um"


def _stk(found: Mapping[str, Any]) -> Lengths:
    x, y, unit = (found.get(key) for key in ("XCalibration", "YCalibration", "CalibrationUnits"))
    if not found.get("SpatialCalibration") or not isinstance(unit, str):
        x = y = None
        unit = "um"
    return x, y, _step(found.get("ZDistance")), unit


def _step(distances: Any) -> float | None:
    """Return the distance of planes, which STK gives for each plane: from the one before, or from the first one; None if it varies."""
    values = np.atleast_1d(np.asarray(0 if distances is None else distances, np.float64))
    for steps in (values, np.diff(values)):
        if len(steps) and math.isfinite(steps[0]) and steps[0] and np.allclose(steps, steps[0], rtol=_STEP_TOLERANCE, atol=0):
            return float(steps[0])
    return None


def _svs(description: str) -> Lengths:
    import tifffile

    try:
        pixel = tifffile.tifffile.svs_description_metadata(description).get("MPP")
    except ValueError:
        return _UNKNOWN
    return pixel, pixel, None, "um"

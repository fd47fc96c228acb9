"""Voxels that are given in another type than the layer's: they are taken if no value changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from wkpipe.dataset.errors import WrongDtype
from wkpipe.formats.base import Voxels


def as_stored(what: str, voxels: Voxels, dtype: np.dtype[Any], where: object = None) -> Voxels:
    """Return voxels in a type that can be stored as `dtype`: every value of the type fits, or they are integers that do.

    >>> as_stored("the data", np.array([1, 2]), np.dtype("uint8"))
    array([1, 2], dtype=uint8)

    Raises:
        WrongDtype: a value would change.
    """
    if np.can_cast(voxels.dtype, dtype, "safe"):
        return voxels
    problem = f"{what} are {voxels.dtype}, which cannot be stored as {dtype} without loss"
    if voxels.dtype.kind not in "iu" or dtype.kind not in "iu":
        raise WrongDtype(problem, where=where, fix="cast them with astype")
    limits = np.iinfo(dtype)
    low, high = (int(voxels.min()), int(voxels.max())) if voxels.size else (0, 0)
    if low < limits.min or high > limits.max:
        raise WrongDtype(problem, where=where, found=f"values from {low} to {high}", fix="cast them with astype")
    return voxels.astype(dtype)

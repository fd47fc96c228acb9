"""The right content of a pyramid, in plain NumPy: the ladder of mags and all their voxels. This file uses nothing of wkpipe.

A whole mag is one array, borders are mirrored as a whole, and integers are exact. Axes are (..., x, y, z); leading axes are
independent of each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.sampling.oracle import WEIGHTS, blocks, padded

Array = np.ndarray[Any, np.dtype[Any]]
Mag3 = tuple[int, int, int]
MODES = ("median", "mode", "max", "min", "nearest", "bilinear", "bicubic")


class NoLadderError(Exception):
    """The coarsest mag cannot be reached."""


# -- which mags ---------------------------------------------------------------------------------------------------------


def default_coarsest(width: int, height: int) -> Mag3:
    """Return the first power of two, 4 at least, in which the longer edge has at most 100 voxels."""
    n = 4
    while n * 100 < max(width, height):
        n *= 2
    return (n, n, n)


def ladder(voxel_size: Sequence[float], start: Mag3, coarsest: Mag3, sampling: str, is_flat: bool) -> list[Mag3]:
    """Return the mags after `start`, for a dataset without other layers."""
    if is_flat:
        sampling = "constant_z"
    if sampling == "constant_z":
        coarsest = (coarsest[0], coarsest[1], start[2])
    mags: list[Mag3] = []
    current = start
    while max(current) < max(coarsest):
        every = _doubled(current, (True, True, True), coarsest)
        if sampling == "isotropic":
            following = every
        elif sampling == "constant_z":
            following = _doubled(current, (True, True, False), coarsest)
        else:
            edges = [m * size for m, size in zip(current, voxel_size, strict=True)]
            short = [edge == min(edges) for edge in edges]
            longer = [edge * 2 if s else edge for edge, s in zip(edges, short, strict=True)]
            if max(edges) / min(edges) < max(longer) / min(longer):
                following = every
            else:
                following = _doubled(current, short, coarsest)
                if following == current:
                    raise NoLadderError(f"from {current} to {coarsest}")
                if max(following) == max(current):
                    current = following
                    continue
        mags.append(following)
        current = following
    if len({max(mag) for mag in mags}) < len(mags):
        raise NoLadderError(f"{mags} has equal largest components")
    return mags


def _doubled(mag: Sequence[int], which: Sequence[bool], limit: Sequence[int]) -> Mag3:
    x, y, z = (min(2 * m if w else m, most) for m, w, most in zip(mag, which, limit, strict=True))
    return (x, y, z)


# -- which voxels -------------------------------------------------------------------------------------------------------


def box_in(mag: Mag3, topleft: Sequence[int], size: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the first and past-the-last voxel of a mag that a box of mag-1 voxels touches."""
    first = [t // m for t, m in zip(topleft, mag, strict=True)]
    end = [-(-(t + n) // m) for t, n, m in zip(topleft, size, mag, strict=True)]
    return first, end


def pyramid(finest: Array, start: Mag3, mags: Sequence[Mag3], topleft: Sequence[int], size: Sequence[int], mode: str) -> dict[Mag3, Array]:
    """Return the voxels of every mag within the layer's box; `finest` are those of `start`."""
    made = {start: finest}
    finer = start
    for mag in mags:
        factors = tuple(b // a for a, b in zip(finer, mag, strict=True))
        first, end = box_in(mag, topleft, size)
        made[mag] = coarser(made[finer], box_in(finer, topleft, size)[0], first, end, factors, mode)
        finer = mag
    return made


def coarser(source: Array, at: Sequence[int], first: Sequence[int], end: Sequence[int], factors: Any, mode: str) -> Array:
    """Return the voxels first … end of a coarser mag; those of the finer one begin at `at`, and are mirrored outside."""
    low = [a * f for a, f in zip(first, factors, strict=True)]
    high = [b * f for b, f in zip(end, factors, strict=True)]
    with np.errstate(all="ignore"):
        if mode not in WEIGHTS:
            return reduced(blocks(padded(source, list(at), low, high), factors), mode)
        wide = padded(source, list(at), [v - 2 for v in low], [v + 2 for v in high])
        return _sampled(wide, factors, [b - a for a, b in zip(first, end, strict=True)], mode)


def reduced(rows: Array, mode: str) -> Array:
    """Reduce the voxels along the last axis, which are in the order y, x, z, to one value."""
    n = rows.shape[-1]
    if mode == "max":
        return rows.max(-1)
    if mode == "min":
        return rows.min(-1)
    if mode == "mode":
        counts = np.stack([np.maximum((rows == rows[..., i : i + 1]).sum(-1), 1) for i in range(n)], axis=-1)
        return np.take_along_axis(rows, counts.argmax(-1)[..., None], -1)[..., 0]
    ranked = np.sort(rows, axis=-1)
    low, high = ranked[..., (n - 1) // 2], ranked[..., n // 2]
    if rows.dtype.kind == "f":
        middle = np.where(low == high, low, (low + high) * rows.dtype.type(0.5))
        return np.where(np.isnan(rows).any(-1), rows.dtype.type(np.nan), middle)
    total = low.astype(object) + high.astype(object)
    return np.asarray(abs(total) // 2 * np.where(total < 0, -1, 1)).astype(rows.dtype)


def _sampled(wide: Array, factors: Sequence[int], shape: Sequence[int], mode: str) -> Array:
    """Return weighted sums along z, then y, then x; `wide` has two more voxels on every side."""
    is_float = wide.dtype.kind == "f"
    current: Any = wide.astype(np.float64) if is_float else wide.astype(object if wide.dtype.itemsize == 8 else np.int64)
    divisor = 1
    for axis in (2, 1, 0):
        f, n = factors[axis], shape[axis]
        weights = WEIGHTS[mode](f)
        common = math.lcm(*(w.denominator for w in weights.values()))
        divisor *= common
        total: Any = 0
        for position, weight in weights.items():
            where: list[Any] = [slice(None)] * 3
            where[axis] = slice(2 + position, 2 + position + f * (n - 1) + 1, f)
            term = current[(..., *where)]
            total = total + (term * float(weight) if is_float else term * int(weight * common))
        current = total
    if is_float:
        return current.astype(wide.dtype)
    info = np.iinfo(wide.dtype)
    rounded = (2 * abs(current) + divisor) // (2 * divisor) * np.where(current < 0, -1, 1)
    return np.clip(rounded, info.min, info.max).astype(wide.dtype)


def difference(found: Array, wanted: Array, mode: str) -> str:
    """Return how two mags differ, or "". Sums of floats may differ in their last bits, because the order of terms is free."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return f"found {found.dtype}{found.shape}, expected {wanted.dtype}{wanted.shape}"
    same = found == wanted
    if wanted.dtype.kind == "f":
        same |= np.isnan(found) & np.isnan(wanted)
        if mode in ("bilinear", "bicubic"):
            finite = np.isfinite(found) & np.isfinite(wanted)
            scale = float(np.abs(wanted[finite]).max()) if finite.any() else 0.0
            same[finite] |= np.abs(found[finite].astype(float) - wanted[finite].astype(float)) <= 8 * np.finfo(wanted.dtype).eps * scale
    if same.all():
        return ""
    at = tuple(int(i) for i in np.argwhere(~same)[0])
    return f"{int((~same).sum())} of {same.size} voxels differ, the first at {at}: found {found[at]!r}, expected {wanted[at]!r}"

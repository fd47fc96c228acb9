"""Mag ladders: which coarser mags are made of a layer, and in which order.

The rules are the reference's behaviour, as measured on 90 ladders. A ladder is computed once, before any work, from
metadata alone. Every mag in it is a component-wise multiple of the one before.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wkpipe.errors import AlreadyExists, InputRefused, LadderRefused, MagNotFound, UnknownMode
from wkpipe.geometry import BoundingBox, Mag

_LEAST_COARSEST = 4
"""A default ladder ends at this mag or a coarser one, however small the layer is."""
_COARSEST_EDGE = 100
"""The most voxels that the longer of a layer's edges along x and y has in the default coarsest mag."""


class SamplingMode(enum.StrEnum):
    """Which axes are halved from one mag to the next.

    ANISOTROPIC: those that bring voxels closer to cubes. ISOTROPIC: x, y and z. CONSTANT_Z: x and y. AUTO is another
    name of ANISOTROPIC. Members are strings, so a name may replace a member.

    Raises
    ------
    ValueError
        there is no mode of that name.

    Examples
    --------
    >>> from wkpipe import SamplingMode
    >>> SamplingMode("constant_z"), SamplingMode.ISOTROPIC == "isotropic"
    (<SamplingMode.CONSTANT_Z: 'constant_z'>, True)
    >>> SamplingMode.parse("auto").value
    'anisotropic'
    """

    ANISOTROPIC = "anisotropic"
    ISOTROPIC = "isotropic"
    CONSTANT_Z = "constant_z"
    AUTO = "anisotropic"

    @classmethod
    def parse(cls, text: str) -> SamplingMode:
        """Return the mode of that name, in upper or lower case; ``auto`` means ``anisotropic``.

        Raises
        ------
        UnknownMode
            there is no such mode.
        """
        name = text.lower()
        if name == "auto":
            return cls.ANISOTROPIC
        try:
            return cls(name)
        except ValueError:
            raise UnknownMode(f"sampling mode {text!r} does not exist", fix=f"choose one of: {', '.join(cls)}") from None


@dataclass(frozen=True)
class Ladder:
    """The mags to make, finest first (coarsest first for upsampling), and warnings for the user.

    `from_mag` exists already and is not part of `mags`. `mode` is the one that was used (depth-1 layers get constant_z).
    """

    from_mag: Mag
    mags: tuple[Mag, ...]
    mode: SamplingMode
    warnings: tuple[str, ...]


def default_coarsest_mag(box: BoundingBox) -> Mag:
    """Return the default coarsest mag of a layer with this box in mag-1 voxels.

    It is Mag(n) with n = max(4, 2^ceil(log2(d / 100))) and d the longer edge along x and y; z does not count.

    Raises:
        InputRefused: the box is empty.
    """
    if box.is_empty():
        raise LadderRefused(f"the layer's bounding box {box} is empty: there is nothing to sample", fix="give it a box or a coarsest mag")
    edge = max(box.size.x, box.size.y)
    return Mag(max(_LEAST_COARSEST, 1 << (-(-edge // _COARSEST_EDGE) - 1).bit_length()))


def downsample_ladder(
    voxel_size: Sequence[float],
    box: BoundingBox,
    existing_mags: Sequence[Mag],
    *,
    from_mag: Mag | None = None,
    coarsest_mag: Mag | None = None,
    mode: SamplingMode | str = SamplingMode.ANISOTROPIC,
    align_with: Iterable[Mag] | None = None,
    force: bool = False,
    allow_existing: bool = False,
) -> Ladder:
    """Compute the mags that downsampling a layer makes; nothing is read or written.

    Args:
        voxel_size: x, y, z in any unit, because only ratios count; compared exactly, without tolerance.
        box: the layer's box in mag-1 voxels.
        existing_mags: the layer's mags, in any order.
        from_mag: the mag to start at; default: the coarsest existing one.
        coarsest_mag: the mag to end at; default: `default_coarsest_mag`. By default, a layer that is that coarse
            already gets an empty ladder.
        mode: a SamplingMode or its name. Layers of depth 1 always use constant_z.
        align_with: the mags of all layers of the dataset. A mag with the same largest component as one of them becomes
            that one. None = do not align. The layer's own mags are always part of it.
        force: only warn if two mags of the ladder have the same largest component.
        allow_existing: the caller replaces mags that exist already.

    Raises:
        MagNotFound: the layer has no mag, or does not have `from_mag`.
        AlreadyExists: a mag of the ladder exists, and `allow_existing` is false.
        InputRefused: the coarsest mag cannot be reached; the layers' mags contradict each other, the mode or the order.
    """
    if not existing_mags:
        raise MagNotFound("the layer has no mag to downsample from", fix="write one first")
    if from_mag is not None and from_mag not in existing_mags:
        raise MagNotFound(f"the layer has no mag {from_mag}", fix=f"choose one of {_names(existing_mags)}")
    start = max(existing_mags) if from_mag is None else from_mag
    effective = _effective_mode(mode, box)
    coarsest = default_coarsest_mag(box) if coarsest_mag is None else coarsest_mag
    if effective is SamplingMode.CONSTANT_Z:
        coarsest = Mag((coarsest.x, coarsest.y, start.z))
    if coarsest_mag is None and start.max_dim >= coarsest.max_dim:
        return Ladder(start, (), effective, ())
    if any(s > c for s, c in zip(start, coarsest, strict=True)):
        raise LadderRefused(f"mag {start} is coarser than the coarsest mag {coarsest} on some axis", fix="choose a coarser --coarsest-mag")
    others = None if align_with is None else [*align_with, *existing_mags]
    mags, warnings = _steps(voxel_size, box, start, coarsest, effective, others, force)
    twice = [mag for mag in mags if mag in existing_mags]
    if twice and not allow_existing:
        raise AlreadyExists(f"the layer already has mag {_names(twice)}", fix="start at its coarsest mag, or overwrite the existing ones")
    return Ladder(start, tuple(mags), effective, tuple(warnings))


def upsample_ladder(
    voxel_size: Sequence[float],
    box: BoundingBox,
    existing_mags: Sequence[Mag],
    *,
    from_mag: Mag,
    finest_mag: Mag,
    mode: SamplingMode | str = SamplingMode.ANISOTROPIC,
    align_with: Iterable[Mag] | None = None,
    force: bool = False,
    allow_existing: bool = False,
) -> Ladder:
    """Compute the mags that upsampling makes, coarsest first.

    They are the downsampling ladder from `finest_mag` to `from_mag`, reversed. With constant_z, the finest mag takes the
    z of `from_mag`. The arguments are those of `downsample_ladder`.

    Raises:
        MagNotFound: the layer does not have `from_mag`.
        AlreadyExists: a mag of the ladder exists, and `allow_existing` is false.
        InputRefused: `from_mag` cannot be reached from `finest_mag`.
    """
    if from_mag not in existing_mags:
        raise MagNotFound(f"the layer has no mag {from_mag}", fix=f"choose one of {_names(existing_mags)}")
    effective = _effective_mode(mode, box)
    finest = Mag((finest_mag.x, finest_mag.y, from_mag.z)) if effective is SamplingMode.CONSTANT_Z else finest_mag
    if any(f > c for f, c in zip(finest, from_mag, strict=True)):
        raise LadderRefused(f"the finest mag {finest} is coarser than mag {from_mag} on some axis", fix="choose a finer one")
    if finest == from_mag:
        return Ladder(from_mag, (), effective, ())
    others = None if align_with is None else [*align_with, *existing_mags]
    mags, warnings = _steps(voxel_size, box, finest, from_mag, effective, others, force)
    if from_mag in mags:
        mags = mags[: mags.index(from_mag)]
    elif mags and any(m > f for m, f in zip(mags[-1], from_mag, strict=True)):
        raise LadderRefused(f"upsampling from mag {from_mag} passes {_names(mags)}, which is not finer", fix="switch the alignment off")
    targets = [*reversed(mags), finest]
    twice = [mag for mag in targets if mag in existing_mags]
    if twice and not allow_existing:
        raise AlreadyExists(f"the layer already has mag {_names(twice)}", fix="choose another finest mag, or overwrite the existing ones")
    return Ladder(from_mag, tuple(targets), effective, tuple(warnings))


def _effective_mode(mode: SamplingMode | str, box: BoundingBox) -> SamplingMode:
    wanted = mode if isinstance(mode, SamplingMode) else SamplingMode.parse(mode)
    return SamplingMode.CONSTANT_Z if box.size.z == 1 else wanted


def _check_shared(mag: Mag, start: Mag, coarsest: Mag, mode: SamplingMode) -> list[str]:
    """Return a warning if a mag that other layers have is coarser than wanted.

    Raises:
        InputRefused: constant_z cannot make that mag.
    """
    if mode is SamplingMode.CONSTANT_Z and mag.z != start.z:
        raise LadderRefused(
            f"constant_z keeps z at {start.z}, but the other layers have mag {mag}",
            fix="choose another sampling mode, or choose the layers to downsample with --layer-name",
        )
    if any(f > c for f, c in zip(mag, coarsest, strict=True)):
        return [f"mag {mag}, taken over from another layer, is coarser than the coarsest mag {coarsest} on some axis"]
    return []


def _check_distinct(mags: Sequence[Mag], force: bool) -> list[str]:
    """Return a warning if mags have the same largest component.

    Raises:
        InputRefused: some have, and `force` is false.
    """
    if len({mag.max_dim for mag in mags}) == len(mags):
        return []
    text = f"the ladder {_names(mags)} has several mags with the same largest component, which WEBKNOSSOS cannot distinguish"
    if not force:
        raise LadderRefused(text, fix="choose another sampling mode or coarsest mag, or force the sampling scheme")
    return [text]


def _steps(
    voxel_size: Sequence[float], box: BoundingBox, start: Mag, coarsest: Mag, mode: SamplingMode, others: Sequence[Mag] | None, force: bool
) -> tuple[list[Mag], list[str]]:
    """Return the mags after `start` until the largest component of `coarsest` is reached, and the warnings."""
    if len(voxel_size) != 3 or not all(math.isfinite(edge) and edge > 0 for edge in voxel_size):
        raise InputRefused(f"voxel size {tuple(voxel_size)} is not valid", expected="three positive numbers")
    mags: list[Mag] = []
    warnings: list[str] = []
    current = start
    shared = _by_max_dim(others) if others is not None and start.max_dim < coarsest.max_dim else {}
    while current.max_dim < coarsest.max_dim:
        following = shared.get(2 * current.max_dim)
        if following is not None:
            if box.size.z > 1:  # a layer of depth 1 may have any z: its only slice is mirrored, so its voxels are those of constant_z
                warnings += _check_shared(following, start, coarsest, mode)
        elif mode is SamplingMode.ANISOTROPIC:
            following, is_listed = _towards_cubic_voxels(voxel_size, current, coarsest)
            if not is_listed:
                current = following
                continue
        elif mode is SamplingMode.CONSTANT_Z:
            following = _clipped([2 * current.x, 2 * current.y, current.z], Mag((coarsest.x, coarsest.y, current.z)))
        else:
            following = _clipped([2 * value for value in current], coarsest)
        before = mags[-1] if mags else start
        if any(b > f for b, f in zip(before, following, strict=True)):
            raise LadderRefused(
                f"mag {following} follows mag {before} but is finer on some axis, so it cannot be made from it",
                fix="choose another coarsest mag",
            )
        mags.append(following)
        current = following
    return mags, [*warnings, *_check_distinct(mags, force)]


def _by_max_dim(mags: Iterable[Mag]) -> dict[int, Mag]:
    found: dict[int, Mag] = {}
    for mag in mags:
        if found.setdefault(mag.max_dim, mag) != mag:
            raise LadderRefused(
                f"layers of the dataset have different mags at the same level: {found[mag.max_dim]} and {mag}",
                fix="delete the mags of the layers that do not agree",
            )
    return found


def _towards_cubic_voxels(voxel_size: Sequence[float], current: Mag, coarsest: Mag) -> tuple[Mag, bool]:
    """Return the next anisotropic mag, and True if it belongs to the ladder, False if it is only passed through.

    Either all axes double, or only those along which voxels are shortest, whichever gives the lesser ratio of longest to
    shortest edge; if both are equal, only the shortest. A step that keeps the largest component is passed through.
    """
    edges = [value * edge for value, edge in zip(current, voxel_size, strict=True)]
    shortest = [edge == min(edges) for edge in edges]
    doubled = [edge * 2 if is_short else edge for edge, is_short in zip(edges, shortest, strict=True)]
    if max(edges) / min(edges) < max(doubled) / min(doubled):
        return _clipped([2 * value for value in current], coarsest), True
    following = _clipped([value * 2 if is_short else value for value, is_short in zip(current, shortest, strict=True)], coarsest)
    if following == current:
        raise LadderRefused(
            f"the coarsest mag {coarsest} cannot be reached from mag {current} with voxel size {tuple(voxel_size)}",
            fix="choose a coarsest mag on the way, or another sampling mode",
        )
    return following, following.max_dim != current.max_dim


def _clipped(values: Sequence[int], coarsest: Mag) -> Mag:
    return Mag([min(value, limit) for value, limit in zip(values, coarsest, strict=True)])


def _names(mags: Iterable[Mag]) -> str:
    return ", ".join(map(str, mags))

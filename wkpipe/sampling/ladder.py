"""Mag ladders: which coarser mags are made of a layer, and in which order.

Source of the rules: the reference's behaviour as measured on 90 ladders. A ladder is computed once, before any work,
from metadata alone; every mag in it is a component-wise multiple of the one before.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wkpipe.errors import AlreadyExists, InputRefused, MagNotFound
from wkpipe.geometry import BoundingBox, Mag

_LEAST_COARSEST = 4
"""No default ladder ends finer than this mag, however small the layer."""
_COARSEST_EDGE = 100
"""A layer's longer edge in x, y has at most so many voxels in the default coarsest mag."""


class SamplingMode(enum.StrEnum):
    """How the axes of a ladder grow: towards cubic voxels, all alike, or x and y only."""

    ANISOTROPIC = "anisotropic"
    ISOTROPIC = "isotropic"
    CONSTANT_Z = "constant_z"

    @classmethod
    def parse(cls, text: str) -> SamplingMode:
        """Return the mode of that name; upper and lower case are alike, and ``auto`` means ``anisotropic``.

        Raises:
            InputRefused: there is no such mode.
        """
        name = text.lower()
        if name == "auto":
            return cls.ANISOTROPIC
        try:
            return cls(name)
        except ValueError:
            raise InputRefused(f"sampling mode {text!r} is not known; choose one of: {', '.join(cls)}") from None


@dataclass(frozen=True)
class Ladder:
    """The mags to be made, finest first (coarsest first when upsampling), and what the user should know.

    `from_mag` exists already and is not part of `mags`; `mode` is the one in force (depth-1 layers get constant_z).
    """

    from_mag: Mag
    mags: tuple[Mag, ...]
    mode: SamplingMode
    warnings: tuple[str, ...]


def default_coarsest_mag(box: BoundingBox) -> Mag:
    """Return Mag(n) with n = max(4, 2^ceil(log2(d / 100))), d the longer edge in x, y of the mag-1 box; z does not count.

    Raises:
        InputRefused: the box is empty.
    """
    if box.is_empty():
        raise InputRefused(f"the layer's bounding box {box} is empty, so there is nothing to sample; give it a box or a coarsest mag")
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
    """Compute the mags that downsampling a layer makes; pure, nothing is read or written.

    Args:
        voxel_size: x, y, z in nm (any unit serves: only ratios count); compared exactly, without tolerance.
        box: the layer's box in mag-1 voxels.
        existing_mags: the layer's mags, in any order.
        from_mag: the mag to start at; default: the coarsest existing one.
        coarsest_mag: where to end; default: `default_coarsest_mag`. With a default, a layer that already is as
            coarse gets an empty ladder.
        mode: a SamplingMode or its name. Layers of depth 1 always use constant_z.
        align_with: the mags of all layers of the dataset, whose steps are taken over where the largest components
            match; None = do not align. The layer's own mags are always part of it.
        force: only warn where two mags of the ladder have the same largest component.
        allow_existing: the caller replaces mags that exist already.

    Raises:
        MagNotFound: the layer has no mag, or not `from_mag`.
        AlreadyExists: a mag of the ladder exists, and not `allow_existing`.
        InputRefused: the coarsest mag can not be reached; the layers' mags contradict each other, the mode or the order.
    """
    if not existing_mags:
        raise MagNotFound("the layer has no mag to downsample from; write one first")
    if from_mag is not None and from_mag not in existing_mags:
        raise MagNotFound(f"the layer has no mag {from_mag}; it has {_names(existing_mags)}")
    start = max(existing_mags) if from_mag is None else from_mag
    effective = _effective_mode(mode, box)
    coarsest = default_coarsest_mag(box) if coarsest_mag is None else coarsest_mag
    if effective is SamplingMode.CONSTANT_Z:
        coarsest = Mag((coarsest.x, coarsest.y, start.z))
    if coarsest_mag is None and start.max_dim >= coarsest.max_dim:
        return Ladder(start, (), effective, ())
    if any(s > c for s, c in zip(start, coarsest, strict=True)):
        raise InputRefused(f"mag {start} is coarser than the coarsest mag {coarsest} on some axis; choose a coarser --coarsest-mag")
    others = None if align_with is None else [*align_with, *existing_mags]
    mags, warnings = _steps(voxel_size, box, start, coarsest, effective, others, force)
    twice = [mag for mag in mags if mag in existing_mags]
    if twice and not allow_existing:
        raise AlreadyExists(f"the layer already has mag {_names(twice)}; start at its coarsest mag, or overwrite the existing ones")
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
    """Compute the mags that upsampling makes, coarsest first: the downsampling ladder from `finest_mag` to `from_mag`, reversed.

    With constant_z, the finest mag takes the z of `from_mag`. Arguments are those of `downsample_ladder`.

    Raises:
        MagNotFound: the layer has not `from_mag`.
        AlreadyExists: a mag of the ladder exists, and not `allow_existing`.
        InputRefused: `from_mag` can not be reached from `finest_mag`.
    """
    if from_mag not in existing_mags:
        raise MagNotFound(f"the layer has no mag {from_mag}; it has {_names(existing_mags)}")
    effective = _effective_mode(mode, box)
    finest = Mag((finest_mag.x, finest_mag.y, from_mag.z)) if effective is SamplingMode.CONSTANT_Z else finest_mag
    if any(f > c for f, c in zip(finest, from_mag, strict=True)):
        raise InputRefused(f"the finest mag {finest} is coarser than mag {from_mag} on some axis; choose a finer one")
    if finest == from_mag:
        return Ladder(from_mag, (), effective, ())
    others = None if align_with is None else [*align_with, *existing_mags]
    mags, warnings = _steps(voxel_size, box, finest, from_mag, effective, others, force)
    if from_mag in mags:
        mags = mags[: mags.index(from_mag)]
    elif mags and any(m > f for m, f in zip(mags[-1], from_mag, strict=True)):
        raise InputRefused(f"upsampling from mag {from_mag} passes {_names(mags)}, which is not finer; switch the alignment off")
    targets = [*reversed(mags), finest]
    twice = [mag for mag in targets if mag in existing_mags]
    if twice and not allow_existing:
        raise AlreadyExists(f"the layer already has mag {_names(twice)}; choose another finest mag, or overwrite the existing ones")
    return Ladder(from_mag, tuple(targets), effective, tuple(warnings))


def _effective_mode(mode: SamplingMode | str, box: BoundingBox) -> SamplingMode:
    wanted = mode if isinstance(mode, SamplingMode) else SamplingMode.parse(mode)
    return SamplingMode.CONSTANT_Z if box.size.z == 1 else wanted


def _steps(
    voxel_size: Sequence[float], box: BoundingBox, start: Mag, coarsest: Mag, mode: SamplingMode, others: Sequence[Mag] | None, force: bool
) -> tuple[list[Mag], list[str]]:
    """Return the mags after `start` until the largest component of `coarsest` is reached, and the warnings."""
    # A layer of depth 1 takes over any z: its only slice is mirrored, so its voxels are those of constant_z.
    is_flat = box.size.z == 1
    if len(voxel_size) != 3 or not all(math.isfinite(edge) and edge > 0 for edge in voxel_size):
        raise InputRefused(f"voxel size {tuple(voxel_size)} is not valid: expected three positive numbers")
    mags: list[Mag] = []
    warnings: list[str] = []
    current = start
    shared = _by_max_dim(others) if others is not None and start.max_dim < coarsest.max_dim else {}
    while current.max_dim < coarsest.max_dim:
        following = shared.get(2 * current.max_dim)
        if following is not None:
            if mode is SamplingMode.CONSTANT_Z and following.z != start.z and not is_flat:
                raise InputRefused(
                    f"constant_z keeps z at {start.z}, but the other layers have mag {following}; "
                    "choose another sampling mode, or the layers that are downsampled with --layer-name"
                )
            if any(f > c for f, c in zip(following, coarsest, strict=True)) and not is_flat:
                warnings.append(f"mag {following}, taken over from another layer, is coarser than the coarsest mag {coarsest} on some axis")
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
            raise InputRefused(
                f"mag {following} follows mag {before} but is finer on some axis, so it can not be made from it; "
                "choose another coarsest mag"
            )
        mags.append(following)
        current = following
    if len({mag.max_dim for mag in mags}) < len(mags):
        text = f"the ladder {_names(mags)} has several mags with the same largest component, which WEBKNOSSOS can not tell apart"
        if not force:
            raise InputRefused(f"{text}; choose another sampling mode or coarsest mag, or force the sampling scheme")
        warnings.append(text)
    return mags, warnings


def _by_max_dim(mags: Iterable[Mag]) -> dict[int, Mag]:
    found: dict[int, Mag] = {}
    for mag in mags:
        if found.setdefault(mag.max_dim, mag) != mag:
            raise InputRefused(
                f"layers of the dataset have different mags at the same level: {found[mag.max_dim]} and {mag}; "
                "make the layers agree: delete the mags that do not"
            )
    return found


def _towards_cubic_voxels(voxel_size: Sequence[float], current: Mag, coarsest: Mag) -> tuple[Mag, bool]:
    """Return the next anisotropic mag, and whether it belongs into the ladder or is only passed through.

    Either all axes double, or only those whose voxels are shortest, whichever gives the lesser ratio of longest to
    shortest edge; on a draw only the shortest. A step that leaves the largest component as it is, is passed through.
    """
    edges = [value * edge for value, edge in zip(current, voxel_size, strict=True)]
    shortest = [edge == min(edges) for edge in edges]
    doubled = [edge * 2 if is_short else edge for edge, is_short in zip(edges, shortest, strict=True)]
    if max(edges) / min(edges) < max(doubled) / min(doubled):
        return _clipped([2 * value for value in current], coarsest), True
    following = _clipped([value * 2 if is_short else value for value, is_short in zip(current, shortest, strict=True)], coarsest)
    if following == current:
        raise InputRefused(
            f"the coarsest mag {coarsest} can not be reached from mag {current} with voxel size {tuple(voxel_size)}; "
            "choose a coarsest mag on the way, or another sampling mode"
        )
    return following, following.max_dim != current.max_dim


def _clipped(values: Sequence[int], coarsest: Mag) -> Mag:
    return Mag([min(value, limit) for value, limit in zip(values, coarsest, strict=True)])


def _names(mags: Iterable[Mag]) -> str:
    return ", ".join(map(str, mags))

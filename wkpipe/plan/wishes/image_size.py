"""The voxel size of a conversion: the given one, or the one in the images."""

from __future__ import annotations

from collections.abc import Sequence

from wkpipe.errors import UsageError
from wkpipe.geometry import Mag
from wkpipe.images import ImageStack
from wkpipe.metadata.units import VoxelSize

TOLERANCE = 0.01
"""The largest relative difference between a given size and that of the images that is not worth a warning."""

FIX = "give it, as in voxel_size: [11, 11, 25] or --voxel-size 11,11,25"


def voxel_size_of(given: VoxelSize | None, stacks: Sequence[ImageStack], mag: Mag) -> tuple[VoxelSize, list[str]]:
    """Return the size of a voxel of mag 1 of a dataset whose images are this mag, and notes for the user.

    Raises:
        UsageError: no size is given, and the images do not say it, or not all say the same.
    """
    if given is not None:
        return given, list(dict.fromkeys(note for stack in stacks if (note := _difference(given, stack, mag)) is not None))
    found = [stack.voxel_size for stack in stacks]
    unknown = next((stack for stack, size in zip(stacks, found, strict=True) if size is None), None)
    if unknown is not None:
        raise UsageError(
            "the voxel size is not known", where=unknown.files[0].path, found=_known(unknown), expected="it for x, y and z", fix=FIX
        )
    sizes = [size for size in found if size is not None]
    for stack, size in zip(stacks, sizes, strict=True):
        if not _is_close(size.nm, sizes[0].nm):
            raise UsageError(
                "the images have different voxel sizes",
                where=stack.files[0].path,
                found=size,
                expected=f"{sizes[0]} like the first",
                fix=FIX,
            )
    if mag == Mag(1):
        return sizes[0], [f"voxel size {sizes[0]}, as the images say"]
    factor = [length / factor for length, factor in zip(sizes[0].factor, mag, strict=True)]
    size = VoxelSize((factor[0], factor[1], factor[2]), sizes[0].unit)
    return size, [f"voxel size {size}, because the images, which are mag {mag}, say {sizes[0]}"]


def _known(stack: ImageStack) -> str:
    known = [f"{axis} = {size:g} nm" for axis, size in zip("xyz", stack.voxel_nm, strict=True) if size is not None]
    return f"only {' and '.join(known)} in the file" if known else "nothing in the file"


def _is_close(first: Sequence[float | None], second: Sequence[float | None]) -> bool:
    """True if all sizes that both know differ by no more than the tolerance."""
    return all(a is None or b is None or abs(a - b) <= TOLERANCE * b for a, b in zip(first, second, strict=True))


def _difference(given: VoxelSize, stack: ImageStack, mag: Mag) -> str | None:
    if _is_close(stack.voxel_nm, [length * factor for length, factor in zip(given.nm, mag, strict=True)]):
        return None
    known = ", ".join("unknown" if size is None else f"{size:g}" for size in stack.voxel_nm)
    return f"layer {stack.name}: the given voxel size {given} is used, but {stack.files[0].path.name} says {known} nm (x, y, z)"

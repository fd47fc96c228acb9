"""ViewCompare: compare the voxels of two views."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np

from wkpipe.dataset.executors import SubmitsCalls, checked_executor, run_each
from wkpipe.dataset.grids import Shape, check_mag_divides, positive_shape, unit_in_mag1
from wkpipe.dataset.view_base import ViewBase, checked_view
from wkpipe.geometry import SPATIAL_AXES, NDBoundingBox

if TYPE_CHECKING:
    from wkpipe.dataset.view import View


class ViewCompare(ViewBase):
    """The member of the class View that compares it with another one."""

    def content_is_equal(
        self,
        other: View,
        *,
        executor: SubmitsCalls | None = None,
        progress_desc: str | None = None,
        chunk_shape: Shape | None = None,
    ) -> bool:
        """True if another view has the same size, in voxels of its mag, and the same voxels; it may be at another place.

        Parameters
        ----------
        other
            the other view; its format, dtype and mag may differ.
        executor, progress_desc
            see `for_each_chunk`.
        chunk_shape
            what is compared at once, x, y, z in mag-1 voxels of this view; default: a storage shard.

        Raises
        ------
        WrongShape
            the chunk shape is not possible (also an AssertionError).
        WrongType
            the executor has no `submit`, or `other` is no view (also a TypeError).
        MissingShard, DamagedShard
            see `read`.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 32))
        >>> mag = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box).add_mag(1)
        >>> left, right = mag.chunk((32, 64, 32))
        >>> left.content_is_equal(right)
        True
        >>> mag.write(np.ones((8, 8, 8), np.uint8), allow_unaligned=True)
        >>> left.content_is_equal(right)
        False
        """
        checked_executor(executor)
        checked_view("other", other)
        shape: tuple[int, ...] = unit_in_mag1(self._array.open().spec, self.mag)
        if chunk_shape is not None:
            shape = positive_shape("chunk_shape", chunk_shape, 3)
            check_mag_divides("chunk_shape", shape, SPATIAL_AXES, self.mag)
        mine, theirs = self._box().in_mag(self.mag), other._box().in_mag(other.mag)
        if (mine.axes, mine.size) != (theirs.axes, theirs.size):
            return False
        shift = [b - a for a, b in zip(mine.topleft, theirs.topleft, strict=True)]
        pairs = []
        for part in self._box().chunk(shape, shape):
            here = part.in_mag(self.mag)
            there = NDBoundingBox([a + s for a, s in zip(here.topleft, shift, strict=True)], here.size, here.axes)
            pairs.append((self._part(part, True), other._part(there.from_mag_to_mag1(other.mag), True)))
        with contextlib.closing(run_each(_are_equal, pairs, executor, progress_desc)) as results:
            return all(results)


def _are_equal(views: tuple[View, View]) -> bool:
    mine, theirs = (view.read() for view in views)
    return np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f" and theirs.dtype.kind == "f")

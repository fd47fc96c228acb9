"""MagMerge: lay the stored voxels of one mag over those of another."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from wkpipe.dataset.errors import WrongShape, WrongType
from wkpipe.dataset.executors import SubmitsCalls, checked_executor, run_each
from wkpipe.dataset.fitting import change_box
from wkpipe.dataset.grids import unit_in_mag1
from wkpipe.dataset.mag_storage import MagStorage
from wkpipe.dataset.view_base import checked_view
from wkpipe.errors import NotWritable
from wkpipe.geometry import NDBoundingBox

if TYPE_CHECKING:
    from wkpipe.dataset.mag_view import MagView
    from wkpipe.dataset.view import View


class MagMerge(MagStorage):
    """The member of the class MagView that merges another mag into it."""

    def merge_with_view(self, other: MagView, executor: SubmitsCalls | None = None, *, progress_desc: str | None = None) -> None:
        """Replace voxels by those of another mag, wherever that one has stored chunks, as volume annotations have.

        A stored chunk counts as a whole, with its zeros. The layer's box is extended by that of the other layer.

        Parameters
        ----------
        other
            of the same mag, dtype and number of channels.
        executor, progress_desc
            see `for_each_chunk`.

        Raises
        ------
        WrongShape
            mag or axes differ (also an AssertionError).
        WrongType
            the dtype differs, or the executor has no `submit` (also a TypeError).
        NotWritable, TryAgain, MissingShard, DamagedShard
            see `read` and `write`.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> dataset, box = Dataset("brain", voxel_size=(4, 4, 40)), BoundingBox((0, 0, 0), (64, 32, 32))
        >>> cells = dataset.add_layer("cells", "segmentation", bounding_box=box).add_mag(1, chunk_shape=32, shard_shape=32)
        >>> cells.write(np.full((64, 32, 32), 5, np.uint8))
        >>> edits = dataset.add_layer("edits", "segmentation", bounding_box=box).add_mag(1, chunk_shape=32, shard_shape=32)
        >>> edits.write(np.full((32, 32, 32), 9, np.uint8), absolute_offset=(32, 0, 0))
        >>> cells.merge_with_view(edits)
        >>> cells.read()[0, ::32, 0, 0]
        array([5, 9], dtype=uint8)
        """
        checked_executor(executor)
        checked_view("other", other)
        if self.read_only:
            raise NotWritable("it is read-only", where=self)
        if self.mag != other.mag:
            raise WrongShape(f"cannot merge mag {other.mag} into mag {self.mag}", where=self, fix="give a mag of the same size")
        if self.get_dtype() != other.get_dtype():
            raise WrongType(f"cannot merge {other.get_dtype()} into {self.get_dtype()}", where=self)
        if self._box().axes != other._box().axes or self.num_channels != other.num_channels:
            raise WrongShape(
                "the layers have different axes or channels",
                where=self,
                found=f"{','.join(other._box().axes)} with {other.num_channels} channel(s)",
                expected=f"{','.join(self._box().axes)} with {self.num_channels}",
            )
        theirs = other._box()
        self._array.live.check_free()
        if not self._box().contains_bbox(theirs):
            change_box(self._array.layer, lambda layer: layer.bounding_box().extended_by(theirs))
        shape = unit_in_mag1(self._array.open().spec, self.mag)
        parts = [(self._part(part, False), other._part(part, True)) for part in theirs.chunk(shape, shape)]
        for _ in run_each(_merge, parts, executor, progress_desc):
            pass


def _merge(views: tuple[View, View]) -> None:
    """Lay the stored chunks of the second view over the first."""
    mine, theirs = views
    region = theirs._box().in_mag(theirs.mag)
    array, mag = theirs._array.open(), theirs.mag
    spec = array.spec
    start, shape = theirs._in_array(region, spec)
    theirs._array.check_present(array, start, [a + n for a, n in zip(start, shape, strict=True)])
    if array.is_fill(start, shape):
        return
    below, above = mine.read(), theirs.read()
    ranges = [range(a // c * c, a + n, c) for a, n, c in zip(start, shape, spec.chunk_shape, strict=True)]
    for corner in itertools.product(*ranges):
        low = tuple(map(max, corner, start))
        high = tuple(min(p + c, a + n) for p, c, a, n in zip(corner, spec.chunk_shape, start, shape, strict=True))
        if not array.is_fill(low, [b - a for a, b in zip(low, high, strict=True)]):
            here = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
            below[here] = above[here]
    box = NDBoundingBox(region.topleft, region.size, region.axes).from_mag_to_mag1(mag)
    mine.write(below, absolute_bounding_box=box, allow_unaligned=True)

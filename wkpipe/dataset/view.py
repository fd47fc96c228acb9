"""View: a box of one mag that is read and written as an array."""

from __future__ import annotations

from wkpipe.dataset.errors import ReadOnlyView, WrongShape
from wkpipe.dataset.region import WantedRegion, in_mag, public_box
from wkpipe.dataset.view_chunks import ViewChunks
from wkpipe.dataset.view_compare import ViewCompare
from wkpipe.dataset.view_reading import ViewReading
from wkpipe.dataset.view_slices import ViewSlices
from wkpipe.geometry import NDBoundingBox, Vec3IntLike

__all__ = ["View"]


class View(ViewReading, ViewSlices, ViewChunks, ViewCompare):
    """A box of a mag, read and written as an array.

    All boxes, offsets and sizes are in mag-1 voxels, arrays in voxels of the mag. Arrays have the layer's axes in storage
    order: c, x, y, z, or for example t, c, x, y, z.

    Do not construct views yourself: use `MagView.get_view`.

    Examples
    --------
    >>> import numpy as np
    >>> from wkpipe import BoundingBox, Dataset
    >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
    >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box)
    >>> view = layer.add_mag(1).get_view(absolute_offset=(32, 0, 0), size=(32, 64, 16))
    >>> view.write(np.full((32, 64, 16), 7, np.uint8), allow_unaligned=True)
    >>> view.read(relative_offset=(0, 0, 0), size=(2, 1, 1)).tolist()  # c, x, y, z
    [[[[7]], [[7]]]]
    >>> view
    View(em, 1, 32,0,0,32,64,16)
    """

    def get_view(
        self,
        size: Vec3IntLike | None = None,
        *,
        absolute_offset: Vec3IntLike | None = None,
        relative_offset: Vec3IntLike | None = None,
        absolute_bounding_box: NDBoundingBox | None = None,
        relative_bounding_box: NDBoundingBox | None = None,
        read_only: bool | None = None,
    ) -> View:
        """Return a view of a region, given as in `read`.

        Parameters
        ----------
        read_only
            default: like this view. Only a read-only view may reach beyond this one.

        Raises
        ------
        WrongShape
            the region is not inside this view (also an AssertionError).
        WrongGeometry
            it is empty or starts below 0, or is not aligned with the mag (also an AssertionError).
        ReadOnlyView
            a read-only view has no writable views (also a RuntimeError and an AssertionError).

        Examples
        --------
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box)
        >>> layer.add_mag(1).get_view(relative_offset=(0, 0, 8), size=(64, 64, 1)).bounding_box
        BoundingBox((0, 0, 8), (64, 64, 1))
        """
        named = WantedRegion(absolute_offset, relative_offset, absolute_bounding_box, relative_bounding_box)
        box = self._box()
        region = named.in_view(box, named.size_in_view(size, box, self.mag))
        if size is not None or named != WantedRegion():  # the view of all of an empty layer is empty
            in_mag(region, self.mag)
        wanted = self.read_only if read_only is None else read_only
        if not wanted and self.read_only:
            raise ReadOnlyView("a view of it cannot be writable, because it is read-only itself", where=self)
        if not wanted and not box.contains_bbox(region):
            raise WrongShape(
                f"the region {public_box(region)} reaches beyond it", where=self, fix="choose a region inside, or pass read_only=True"
            )
        return self._part(region, wanted)

    def _part(self, box: NDBoundingBox, read_only: bool) -> View:
        return View(self._array, box, read_only)

"""ViewReading: read the voxels of a view."""

from __future__ import annotations

from wkpipe.dataset.errors import WrongShape
from wkpipe.dataset.region import WantedRegion, in_mag
from wkpipe.dataset.view_base import ViewBase
from wkpipe.formats.base import Voxels
from wkpipe.geometry import SPATIAL_AXES, NDBoundingBox, Vec3IntLike
from wkpipe.geometry.constants import CXYZ_AXES
from wkpipe.stored.axes import in_axes, xyz_last


class ViewReading(ViewBase):
    """The members of the class View that read."""

    def read(
        self,
        size: Vec3IntLike | None = None,
        *,
        absolute_offset: Vec3IntLike | None = None,
        relative_offset: Vec3IntLike | None = None,
        absolute_bounding_box: NDBoundingBox | None = None,
        relative_bounding_box: NDBoundingBox | None = None,
    ) -> Voxels:
        """Return the voxels of a region, by default of the whole view, in storage axes (such as c, x, y, z).

        Voxels that were never written, or that are outside of the array, are zero.

        Parameters
        ----------
        size
            of the region in mag-1 voxels; default: to the end of the view. Without a place, which is deprecated, it
            counts voxels of the mag.
        absolute_offset
            the region's first corner in the dataset, mag-1 voxels.
        relative_offset
            the region's first corner in the view, mag-1 voxels.
        absolute_bounding_box
            the region in the dataset, mag-1 voxels.
        relative_bounding_box
            the region in the view, mag-1 voxels.

        Raises
        ------
        InputRefused
            the region has a negative corner, is empty, or is not aligned with the mag.
        MissingShard
            a recorded storage shard is gone.
        DamagedShard
            a chunk cannot be decoded.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box)
        >>> mag = layer.add_mag(2)
        >>> mag.write(np.arange(32 * 32 * 8, dtype="uint16").astype("uint8").reshape(32, 32, 8))
        >>> mag.read(absolute_offset=(32, 0, 8), size=(4, 4, 2)).shape  # in voxels of mag 2: c, x, y, z
        (1, 2, 2, 1)
        >>> mag.read(absolute_offset=(1, 0, 0), size=(4, 4, 2))
        Traceback (most recent call last):
            ...
        wkpipe.errors.WrongGeometry: the region 1,0,0,4,4,2 is not aligned with mag 2: its corners, in mag-1 voxels, must be multiples of it
        """
        return self._read(WantedRegion(absolute_offset, relative_offset, absolute_bounding_box, relative_bounding_box), size)

    def read_cxyz(
        self,
        size: Vec3IntLike | None = None,
        *,
        absolute_offset: Vec3IntLike | None = None,
        relative_offset: Vec3IntLike | None = None,
        absolute_bounding_box: NDBoundingBox | None = None,
        relative_bounding_box: NDBoundingBox | None = None,
    ) -> Voxels:
        """Return the voxels of a region as an array with the axes c, x, y, z, whatever the storage axes are.

        The region, given as in `read`, must be a single position along every other axis.

        Raises
        ------
        WrongShape
            the region has several positions along another axis (also an AssertionError).
        InputRefused, MissingShard, DamagedShard
            see `read`.

        Examples
        --------
        >>> from wkpipe import Dataset, NDBoundingBox
        >>> box = NDBoundingBox((0, 0, 0, 0), (5, 64, 32, 16), ("t", "x", "y", "z"))
        >>> mag = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("movie", "color", bounding_box=box).add_mag(1)
        >>> frame = NDBoundingBox((3, 0, 0, 0), (1, 64, 32, 16), ("t", "x", "y", "z"))
        >>> mag.read(absolute_bounding_box=frame).shape, mag.read_cxyz(absolute_bounding_box=frame).shape
        ((1, 64, 32, 16), (1, 64, 32, 16))
        >>> mag.read_cxyz()
        Traceback (most recent call last):
            ...
        wkpipe.dataset.errors.WrongShape: MagView(movie, 1): the region has 5 positions along t; ...
        """
        wanted = WantedRegion(absolute_offset, relative_offset, absolute_bounding_box, relative_bounding_box)
        axes = self._array.open().spec.axes
        region = self._region(wanted, size)
        self._check_single(region)
        return to_cxyz(self._read(WantedRegion(absolute_bounding_box=region)), axes)

    def read_xyz(self, *, absolute_bounding_box: NDBoundingBox | None = None, relative_bounding_box: NDBoundingBox | None = None) -> Voxels:
        """Return the voxels of a box as an array whose last axes are x, y, z; the other axes keep their order.

        Raises
        ------
        InputRefused, MissingShard, DamagedShard
            see `read`.

        Examples
        --------
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 32, 16))
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box)
        >>> layer.add_mag(1).read_xyz(absolute_bounding_box=BoundingBox((0, 0, 0), (8, 4, 2))).shape
        (1, 8, 4, 2)
        """
        wanted = WantedRegion(None, None, absolute_bounding_box, relative_bounding_box)
        return xyz_last(self._array.open().spec, self._read(wanted))

    def _check_single(self, region: NDBoundingBox) -> None:
        for axis in region.axes:
            if axis not in CXYZ_AXES and region.size_of(axis) != 1:
                fix = "give a bounding box with one of them, or use read"
                raise WrongShape(f"the region has {region.size_of(axis)} positions along {axis}", where=self, fix=fix)

    def _region(self, wanted: WantedRegion, size: Vec3IntLike | None = None) -> NDBoundingBox:
        box = self._box()
        return wanted.in_view(box, wanted.size_in_view(size, box, self.mag))

    def _read(self, wanted: WantedRegion, size: Vec3IntLike | None = None) -> Voxels:
        start, shape = self._in_array(in_mag(self._region(wanted, size), self.mag), self._array.open().spec)
        return self._array.read(start, shape)


def to_cxyz(voxels: Voxels, axes: tuple[str, ...]) -> Voxels:
    """Return voxels with the axes c, x, y, z; other axes must have the length 1, and a missing c is added."""
    index = tuple(slice(None) if axis in CXYZ_AXES else 0 for axis in axes)
    kept = [axis for axis in axes if axis in CXYZ_AXES]
    return in_axes(voxels[index], kept, CXYZ_AXES)


def from_cxyz(voxels: Voxels, axes: tuple[str, ...]) -> Voxels:
    """Return voxels with the axes c, x, y, z as an array with the storage axes; undo `to_cxyz`."""
    return in_axes(voxels, CXYZ_AXES, axes) if "c" in axes else in_axes(voxels[0], SPATIAL_AXES, axes)

"""ViewWriting: write voxels into a view."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wkpipe.dataset.caller import warn_caller
from wkpipe.dataset.errors import WrongShape
from wkpipe.dataset.exact import as_stored
from wkpipe.dataset.fitting import change_box
from wkpipe.dataset.region import WantedRegion, in_mag, public_box
from wkpipe.dataset.view_base import ViewBase
from wkpipe.dataset.view_reading import from_cxyz
from wkpipe.dataset.voxel_writer import write_voxels
from wkpipe.errors import InputRefused, NotWritable
from wkpipe.formats.base import ArraySpec, DataFormat, Voxels
from wkpipe.geometry import SPATIAL_AXES, NDBoundingBox, Vec3IntLike
from wkpipe.geometry.constants import CXYZ_AXES


class ViewWriting(ViewBase):
    """The members of the class View that write."""

    def write(
        self,
        data: npt.ArrayLike,
        *,
        absolute_offset: Vec3IntLike | None = None,
        relative_offset: Vec3IntLike | None = None,
        absolute_bounding_box: NDBoundingBox | None = None,
        relative_bounding_box: NDBoundingBox | None = None,
        allow_resize: bool = False,
        allow_unaligned: bool = False,
    ) -> None:
        """Write voxels; every storage shard is replaced as a whole, so readers see either the old one or the new one.

        Parameters
        ----------
        data
            in voxels of the mag and in storage axes (such as c, x, y, z); with one channel, c may be left out.
        absolute_offset
            the data's first corner in the dataset, mag-1 voxels. At most one of the four places is
            given; by default, the data start at the corner of the view.
        relative_offset
            the data's first corner in the view, mag-1 voxels.
        absolute_bounding_box
            the data's box in the dataset, mag-1 voxels; its size must be that of the data.
        relative_bounding_box
            the data's box in the view, mag-1 voxels.
        allow_resize
            True extends the layer's box if the data reach beyond it.
        allow_unaligned
            True accepts a region whose borders cut storage shards (inside the view); the shards are
            then read, changed and written again, so one large write is far faster than many small ones.

        Raises
        ------
        InputRefused
            the region does not fit the view, the shards or the data.
        WrongDtype
            a value would change, or the data are no integers and the layer's type is narrower (also a TypeError).
        NotWritable
            the dataset, the view or the disk is read-only.
        TryAgain
            a run works on the dataset.
        MissingShard
            a recorded storage shard, of which only a part would be written, is gone.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 64))
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box)
        >>> mag = layer.add_mag(1, chunk_shape=32, shard_shape=32)
        >>> mag.write(np.full((32, 32, 32), 7, np.uint8), absolute_offset=(32, 0, 0))
        >>> mag.read()[0, ::16, 0, 0]  # one channel, every 16th x
        array([0, 0, 7, 7], dtype=uint8)
        >>> mag.write(np.full((2, 2, 2), 300, np.uint16))
        Traceback (most recent call last):
            ...
        wkpipe.dataset.errors.WrongDtype: MagView(em, 1): the data are uint16, which cannot be stored as uint8 without loss, found ...
        """
        if self.read_only:
            raise NotWritable("it is read-only", where=self)
        wanted = WantedRegion(absolute_offset, relative_offset, absolute_bounding_box, relative_bounding_box)
        spec = self._array.open().spec
        voxels = self._checked_voxels(data, spec)
        region = wanted.in_view(self._box(), None if wanted.box is not None else self._size_of(voxels, spec))
        inside = in_mag(region, self.mag)
        start, shape = self._in_array(inside, spec)
        if shape != voxels.shape:
            expected = f"{shape} ({','.join(spec.axes)}) in mag {self.mag}"
            raise WrongShape(f"the data have the shape {voxels.shape}, the box {public_box(region)} is {expected}", where=self)
        self._array.live.check_free()
        self._make_room(region, allow_resize)
        if not allow_unaligned:
            self._check_whole_shards(inside, spec)
        write_voxels(self._array, self._array.open(), start, voxels)

    def write_cxyz(
        self,
        data: npt.ArrayLike,
        *,
        absolute_offset: Vec3IntLike | None = None,
        relative_offset: Vec3IntLike | None = None,
        absolute_bounding_box: NDBoundingBox | None = None,
        relative_bounding_box: NDBoundingBox | None = None,
        allow_resize: bool = False,
        allow_unaligned: bool = False,
    ) -> None:
        """Write voxels with the axes c, x, y, z, whatever the storage axes are; see `write` and `read_cxyz`.

        If the view has several positions along another axis, a bounding box must name one of them.

        Raises
        ------
        WrongShape
            the data have other axes, or it is not clear which position they belong to (also an AssertionError).
        InputRefused, WrongDtype, NotWritable, TryAgain
            see `write`.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import Dataset, NDBoundingBox
        >>> box = NDBoundingBox((0, 0, 0, 0), (5, 64, 32, 16), ("t", "x", "y", "z"))
        >>> mag = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("movie", "color", bounding_box=box).add_mag(1)
        >>> frame = NDBoundingBox((3, 0, 0, 0), (1, 64, 32, 16), ("t", "x", "y", "z"))
        >>> mag.write_cxyz(np.ones((1, 64, 32, 16), np.uint8), absolute_bounding_box=frame)
        >>> mag.read().max(axis=(1, 2, 3)).tolist()
        [0, 0, 0, 1, 0]
        """
        voxels, axes = as_array(data), self._array.open().spec.axes
        if voxels.ndim != 4 or ("c" not in axes and voxels.shape[0] != 1):
            raise WrongShape(
                f"the data have the shape {voxels.shape}", where=self, expected=f"c, x, y, z with {self.num_channels} channel(s)"
            )
        given = absolute_bounding_box if relative_bounding_box is None else relative_bounding_box
        for axis in self._box().axes:
            if axis not in CXYZ_AXES and self._box().size_of(axis) != 1 and (given is None or axis not in given.axes):
                raise WrongShape(
                    f"the view has several positions along {axis}", where=self, fix=f"give a bounding box with the axis {axis}"
                )
        self.write(
            from_cxyz(voxels, axes),
            absolute_offset=absolute_offset,
            relative_offset=relative_offset,
            absolute_bounding_box=absolute_bounding_box,
            relative_bounding_box=relative_bounding_box,
            allow_resize=allow_resize,
            allow_unaligned=allow_unaligned,
        )

    def _checked_voxels(self, data: npt.ArrayLike, spec: ArraySpec) -> Voxels:
        """Return the data as an array with all axes of the stored one.

        Raises:
            WrongShape: the number of axes or channels is wrong.
            WrongDtype: see `write`.
        """
        voxels = as_array(data)
        channels = self.num_channels
        if voxels.ndim == len(spec.axes) - 1 and channels == 1 and "c" in spec.axes:
            voxels = np.expand_dims(voxels, spec.axes.index("c"))
        if voxels.ndim != len(spec.axes):
            raise WrongShape(f"the data have {voxels.ndim} axes", where=self, expected=",".join(spec.axes))
        return as_stored("the data", voxels, spec.dtype, self)

    def _size_of(self, voxels: Voxels, spec: ArraySpec) -> dict[str, int]:
        """Return the size of the data in mag-1 voxels, by axis."""
        found = dict(zip(spec.axes, voxels.shape, strict=True))
        if found.get("c", self.num_channels) != self.num_channels:
            raise WrongShape(
                f"the data have {found['c']} channels, the layer has {self.num_channels}",
                where=self,
                fix="give a box with c to write only some of them",
            )
        factors = dict(zip(SPATIAL_AXES, self.mag, strict=True))
        return {axis: length * factors.get(axis, 1) for axis, length in found.items()}

    def _make_room(self, region: NDBoundingBox, allow_resize: bool) -> None:
        """Refuse a region outside of the view, or extend the layer for it."""
        if self._box().contains_bbox(region):
            return
        if self._fixed_box is not None:
            raise WrongShape(
                f"the region {public_box(region)} reaches beyond the view", where=self, fix="write through the mag, or get a larger view"
            )
        if not allow_resize:
            what = f"the region {public_box(region)} reaches beyond the layer's box"
            raise InputRefused(what, where=self, fix="set the layer's bounding_box, or pass allow_resize=True")
        if "c" in region.axes and region.bounds("c") != self._box().bounds("c"):
            raise InputRefused(
                f"the region {public_box(region)} has channels that the layer does not have ({self.num_channels})", where=self
            )
        change_box(self._array.layer, lambda layer: layer.bounding_box().extended_by(region))

    def _check_whole_shards(self, region: NDBoundingBox, spec: ArraySpec) -> None:
        """Refuse borders (in voxels of the mag) that are neither between shards nor at the view's border."""
        box = self._box().in_mag(self.mag)
        for axis in SPATIAL_AXES:
            edge = spec.shard_shape[spec.axes.index(axis)]
            for border, limit in zip(region.bounds(axis), box.bounds(axis), strict=True):
                if border % edge == 0 or border == limit:
                    continue
                text = f"the region's border {axis} = {border} (in mag {self.mag}) cuts a storage shard, which is {edge} long"
                if spec.data_format is DataFormat.WKW and not spec.compression.is_on:
                    warn_caller(f"{self}: {text}; the whole shard is written again")
                    return
                raise InputRefused(text, where=self, fix="write whole shards, or pass allow_unaligned=True")


def as_array(data: npt.ArrayLike) -> Voxels:
    """Return voxels as an array.

    Raises:
        WrongShape: lists of different lengths (also an AssertionError).
    """
    try:
        return np.asarray(data)
    except ValueError as error:
        raise WrongShape(f"the data are no array: {error}", fix="give a numpy array") from None

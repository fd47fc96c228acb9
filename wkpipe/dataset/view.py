"""View: a box of one mag that is read and written as an array."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from wkpipe.dataset.arrays import change_box
from wkpipe.dataset.errors import WrongDtype
from wkpipe.dataset.mag_array import ArrayInfo, MagArray
from wkpipe.dataset.region import Place, in_mag, per_axis, public_box
from wkpipe.dataset.view_write import write_voxels
from wkpipe.errors import InputRefused, NotWritable
from wkpipe.formats.base import ArraySpec, DataFormat, Position, Voxels
from wkpipe.geometry import SPATIAL_AXES, Mag, NDBoundingBox, Vec3IntLike


class View:
    """A box of a mag. All boxes, offsets and sizes are in mag-1 voxels, arrays in voxels of the mag.

    Arrays have the layer's axes in storage order: c, x, y, z, or for example t, c, x, y, z.

    Do not construct views yourself: use `MagView.get_view`.
    """

    def __init__(self, array: MagArray, box: NDBoundingBox | None, read_only: bool) -> None:
        self._array = array
        self._fixed_box = box
        self._read_only = read_only

    # -- what it is ---------------------------------------------------------------------------------------------

    @property
    def mag(self) -> Mag:
        """The mag that the view shows."""
        return self._array.mag

    @property
    def bounding_box(self) -> NDBoundingBox:
        """The view's box in mag-1 voxels; a BoundingBox (x, y, z) where the layer has no axes but c, x, y, z."""
        return public_box(self._box())

    @property
    def info(self) -> ArrayInfo:
        """How the mag lies on disk."""
        return ArrayInfo.of(self._array.open().spec, self.num_channels)

    @property
    def num_channels(self) -> int:
        """The number of channels of the layer."""
        return self._array.entry()[0].num_channels

    @property
    def read_only(self) -> bool:
        """Whether writing is refused: a read-only dataset or view, or a mag that is a link or a reference."""
        return self._read_only or self._array.live.read_only or not self._array.is_owned()

    def get_dtype(self) -> np.dtype[Any]:
        """Return the dtype of one channel."""
        return self._array.entry()[0].dtype

    def _box(self) -> NDBoundingBox:
        """Return the view's box in the normal form, with the channel axis."""
        return self._layer_box() if self._fixed_box is None else self._fixed_box

    def _layer_box(self) -> NDBoundingBox:
        return self._array.entry()[0].bounding_box().align_with_mag(self.mag, ceil=True)

    def _in_array(self, region: NDBoundingBox, spec: ArraySpec) -> tuple[Position, Position]:
        """Return first position and shape of a region (in voxels of the mag) in array order."""
        first_channel = self._array.entry()[1].channel_index
        start = tuple((region.bounds(axis)[0] if axis in region.axes else 0) + (first_channel if axis == "c" else 0) for axis in spec.axes)
        return start, tuple(region.size_of(axis) for axis in spec.axes)

    # -- reading ------------------------------------------------------------------------------------------------

    def read(
        self,
        *,
        absolute_offset: Vec3IntLike | None = None,
        relative_offset: Vec3IntLike | None = None,
        size: Vec3IntLike | None = None,
        absolute_bounding_box: NDBoundingBox | None = None,
        relative_bounding_box: NDBoundingBox | None = None,
    ) -> Voxels:
        """Return the voxels of a region, by default of the whole view, in storage axes (as c, x, y, z).

        What was never written and what lies outside of the array is zero.

        Args:
            absolute_offset: the region's first corner in the dataset, mag-1 voxels.
            relative_offset: the region's first corner in the view, mag-1 voxels.
            size: of the region in mag-1 voxels; default: to the end of the view.
            absolute_bounding_box: the region in the dataset.
            relative_bounding_box: the region in the view.

        Raises:
            InputRefused: a negative corner, an empty region, corners that are no multiples of the mag.
            MissingShard: a storage shard that the ledger knows is gone.
            DamagedShard: a chunk can not be decoded.
        """
        place = Place(absolute_offset, relative_offset, absolute_bounding_box, relative_bounding_box)
        if place.box is not None and size is not None:
            raise InputRefused("size goes with an offset; a bounding box has its own")
        box = self._box()
        region = in_mag(place.region(box, per_axis("size", size, box) if size is not None else None), self.mag)
        start, shape = self._in_array(region, self._array.open().spec)
        return self._array.read(start, shape)

    def get_view(
        self,
        *,
        absolute_offset: Vec3IntLike | None = None,
        relative_offset: Vec3IntLike | None = None,
        size: Vec3IntLike | None = None,
        absolute_bounding_box: NDBoundingBox | None = None,
        relative_bounding_box: NDBoundingBox | None = None,
        read_only: bool | None = None,
    ) -> View:
        """Return a view of a region, named as in `read`.

        Args:
            read_only: default: as this view. Only a read-only view may reach beyond this one.

        Raises:
            InputRefused: the region does not lie in this view, or is not aligned with the mag.
            NotWritable: a writable view of a read-only one was asked for.
        """
        place = Place(absolute_offset, relative_offset, absolute_bounding_box, relative_bounding_box)
        box = self._box()
        region = place.region(box, per_axis("size", size, box) if size is not None else None)
        in_mag(region, self.mag)
        wanted = self.read_only if read_only is None else read_only
        if not wanted and self.read_only:
            raise NotWritable(f"{self}: a view of it can not be writable, for it is read-only itself")
        if not wanted and not box.contains_bbox(region):
            raise InputRefused(
                f"{self}: the region {public_box(region)} reaches beyond it; a writable view must lie inside, pass read_only=True"
            )
        return View(self._array, region, wanted)

    # -- writing ------------------------------------------------------------------------------------------------

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
        """Write voxels; every storage shard is replaced as a whole, so that readers see the old one or the new one.

        Args:
            data: in voxels of the mag and in storage axes (as c, x, y, z); with one channel, c may be left out.
            absolute_offset: where the data begin in the dataset, mag-1 voxels. Of the four places one is given; none
                stands for the beginning of the view.
            relative_offset: where the data begin in the view, mag-1 voxels.
            absolute_bounding_box: where the data lie in the dataset; its size must be that of the data.
            relative_bounding_box: where the data lie in the view.
            allow_resize: extend the layer's box where the data reach beyond it.
            allow_unaligned: accept a region whose borders cut storage shards (inside the view); the shards are then
                read, changed and written anew, so one write of many voxels is far quicker than many of few.

        Raises:
            InputRefused: the region does not fit the view, the shards or the data.
            WrongDtype: the data can not be stored without loss (also a TypeError).
            NotWritable: the dataset, the view or the disk is read-only.
            TryAgain: a run works on the dataset.
        """
        if self.read_only:
            raise NotWritable(f"{self} is read-only")
        place = Place(absolute_offset, relative_offset, absolute_bounding_box, relative_bounding_box)
        spec = self._array.open().spec
        voxels = self._checked_voxels(data, spec)
        region = place.region(self._box(), None if place.box is not None else self._size_of(voxels, spec))
        inside = in_mag(region, self.mag)
        start, shape = self._in_array(inside, spec)
        if shape != voxels.shape:
            wanted = f"{shape} ({','.join(spec.axes)}) in mag {self.mag}"
            raise InputRefused(f"{self}: the data have the shape {voxels.shape}, the box {public_box(region)} is {wanted}")
        self._array.live.check_free()
        self._make_room(region, allow_resize)
        if not allow_unaligned:
            self._check_whole_shards(inside, spec)
        write_voxels(self._array.live, self._array.layer, self.mag, self._array.open(), start, voxels)

    def _checked_voxels(self, data: npt.ArrayLike, spec: ArraySpec) -> Voxels:
        """Return the data with all axes of the array.

        Raises:
            InputRefused: another number of axes or channels.
            WrongDtype: see `write`.
        """
        voxels = np.asarray(data)
        channels = self.num_channels
        if voxels.ndim == len(spec.axes) - 1 and channels == 1 and "c" in spec.axes:
            voxels = np.expand_dims(voxels, spec.axes.index("c"))
        if voxels.ndim != len(spec.axes):
            raise InputRefused(f"{self}: the data have {voxels.ndim} axes, expected {','.join(spec.axes)}")
        if not np.can_cast(voxels.dtype, spec.dtype, "safe"):
            raise WrongDtype(
                f"{self}: the data are {voxels.dtype}, which does not go into {spec.dtype} without loss; cast them with astype"
            )
        return voxels

    def _size_of(self, voxels: Voxels, spec: ArraySpec) -> dict[str, int]:
        """Return the size of the data in mag-1 voxels, by axis."""
        found = dict(zip(spec.axes, voxels.shape, strict=True))
        if found.get("c", self.num_channels) != self.num_channels:
            raise InputRefused(
                f"{self}: the data have {found['c']} channels, the layer has {self.num_channels}; to write some, give a box with c"
            )
        factors = dict(zip(SPATIAL_AXES, self.mag, strict=True))
        return {axis: length * factors.get(axis, 1) for axis, length in found.items()}

    def _make_room(self, region: NDBoundingBox, allow_resize: bool) -> None:
        """Refuse a region outside of the view, or extend the layer for it."""
        if self._box().contains_bbox(region):
            return
        if self._fixed_box is not None:
            raise InputRefused(
                f"{self}: the region {public_box(region)} reaches beyond the view; write through the mag, or get a larger view"
            )
        if not allow_resize:
            what = f"{self}: the region {public_box(region)} reaches beyond the layer's box"
            raise InputRefused(f"{what}; set the layer's bounding_box, or pass allow_resize=True")
        if "c" in region.axes and region.bounds("c") != self._box().bounds("c"):
            raise InputRefused(f"{self}: the region {public_box(region)} has channels that the layer does not have ({self.num_channels})")
        change_box(self._array.live, self._array.layer, lambda layer: layer.bounding_box().extended_by(region))

    def _check_whole_shards(self, region: NDBoundingBox, spec: ArraySpec) -> None:
        """Refuse borders (in voxels of the mag) that lie neither between shards nor on the view's border."""
        box = self._box().in_mag(self.mag)
        for axis in SPATIAL_AXES:
            edge = spec.shard_shape[spec.axes.index(axis)]
            for border, limit in zip(region.bounds(axis), box.bounds(axis), strict=True):
                if border % edge == 0 or border == limit:
                    continue
                text = f"{self}: the region's border {axis} = {border} (in mag {self.mag}) cuts a storage shard, which is {edge} long"
                if spec.data_format is DataFormat.WKW and not spec.compression.is_on:
                    warnings.warn(f"{text}; the whole shard is written anew", UserWarning, stacklevel=4)
                    return
                raise InputRefused(f"{text}; write whole shards, or pass allow_unaligned=True")

    def __repr__(self) -> str:
        box = "" if self._fixed_box is None else f", {public_box(self._fixed_box)}"
        return f"{type(self).__name__}({self._array.layer}, {self.mag}{box})"

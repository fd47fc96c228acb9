"""ViewSlices: read and write a view slice by slice."""

from __future__ import annotations

from wkpipe.dataset.region import WantedRegion, in_mag, public_box
from wkpipe.dataset.slice_reader import BufferedSliceReader
from wkpipe.dataset.slice_writer import BufferedSliceWriter
from wkpipe.dataset.slices import Dimension, SliceOrder, checked_buffer_size, checked_dimension
from wkpipe.dataset.view_writing import ViewWriting
from wkpipe.errors import InputRefused, NotWritable
from wkpipe.formats.base import Position
from wkpipe.geometry import NDBoundingBox, Vec3IntLike


class ViewSlices(ViewWriting):
    """The members of the class View that work slice by slice."""

    def get_buffered_slice_reader(
        self,
        buffer_size: int | None = None,
        dimension: Dimension = "z",
        *,
        absolute_bounding_box: NDBoundingBox | None = None,
        relative_bounding_box: NDBoundingBox | None = None,
        use_logging: bool = False,
    ) -> BufferedSliceReader:
        """Return a reader that yields the slices of a region one by one; each chunk is decoded once.

        Slices have all storage axes except the dimension, such as c, x, y. If there are other axes than c, x, y, z, all slices of
        their first position come first, then those of the next one.

        Parameters
        ----------
        buffer_size
            the most slices that are read at once; default: the length of a chunk. A smaller number decodes chunks
            several times.
        dimension
            x, y or z (or 0, 1, 2), along which slices follow each other.
        absolute_bounding_box, relative_bounding_box
            the region, in mag-1 voxels; default: the whole view.
        use_logging
            True logs every read to the logger ``wkpipe``, level info.

        Raises
        ------
        WrongShape
            dimension or buffer size are not possible (also an AssertionError).
        InputRefused
            the region is empty, or is not aligned with the mag.
        MissingShard, DamagedShard
            while reading, see `read`.

        Examples
        --------
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 32, 16))
        >>> mag = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box).add_mag(1)
        >>> with mag.get_buffered_slice_reader(dimension="x") as reader:
        ...     shapes = [voxels.shape for voxels in reader]
        >>> len(shapes), shapes[0]
        (64, (1, 32, 16))
        """
        wanted = WantedRegion(absolute_bounding_box=absolute_bounding_box, relative_bounding_box=relative_bounding_box)
        order = self._slice_order(wanted, dimension)
        default = self._array.open().spec.chunk_shape[order.axis]
        return BufferedSliceReader(self._array, order, checked_buffer_size(buffer_size, default), use_logging)

    def get_buffered_slice_writer(
        self,
        buffer_size: int | None = None,
        dimension: Dimension = "z",
        *,
        absolute_offset: Vec3IntLike | None = None,
        relative_offset: Vec3IntLike | None = None,
        absolute_bounding_box: NDBoundingBox | None = None,
        relative_bounding_box: NDBoundingBox | None = None,
        use_logging: bool = False,
        allow_unaligned: bool = False,
    ) -> BufferedSliceWriter:
        """Return a writer whose `send` takes the slices of a region one by one.

        Slices wait encoded in a temporary file until they complete a storage shard, which is then replaced once; other slices
        of it stay as they are. What was sent is written at the end of the `with` block, also after an error in it.

        Parameters
        ----------
        buffer_size
            the most slices in memory; default: the length of a chunk.
        dimension
            x, y or z (or 0, 1, 2), along which slices follow each other.
        absolute_offset, relative_offset
            the first corner, in mag-1 voxels; the region ends with the view. At most one of
            the four places is given; default: the whole view.
        absolute_bounding_box, relative_bounding_box
            the region, in mag-1 voxels.
        use_logging
            True logs every step to the logger ``wkpipe``, level info.
        allow_unaligned
            True accepts a region whose borders cut storage shards.

        Raises
        ------
        WrongShape
            dimension or buffer size are not possible (also an AssertionError).
        InputRefused
            the region is empty, reaches beyond the view, cuts storage shards, or is not aligned with the mag.
        NotWritable, TryAgain
            see `write`.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 32, 16))
        >>> mag = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box).add_mag(1)
        >>> with mag.get_buffered_slice_writer() as writer:
        ...     for z in range(16):
        ...         writer.send(np.full((64, 32), z, np.uint8))
        >>> mag.read()[0, 0, 0, :4]
        array([0, 1, 2, 3], dtype=uint8)
        """
        if self.read_only:
            raise NotWritable("it is read-only", where=self)
        boxes = {"absolute_bounding_box": absolute_bounding_box, "relative_bounding_box": relative_bounding_box}
        order = self._writable_order(WantedRegion(absolute_offset, relative_offset, **boxes), dimension, allow_unaligned)
        self._array.live.check_free()
        default = self._array.open().spec.chunk_shape[order.axis]
        size = checked_buffer_size(buffer_size, default)

        def order_at(absolute: Vec3IntLike | None, relative: Vec3IntLike | None) -> SliceOrder:
            return self._writable_order(WantedRegion(absolute, relative), dimension, allow_unaligned)

        return BufferedSliceWriter(self._array, order_at, size, None if allow_unaligned else self._check_borders, use_logging, order)

    def _slice_order(self, wanted: WantedRegion, dimension: Dimension) -> SliceOrder:
        axis, spec = checked_dimension(dimension), self._array.open().spec
        start, shape = self._in_array(in_mag(wanted.in_view(self._box(), None), self.mag), spec)
        return SliceOrder(spec.axes, start, shape, axis)

    def _writable_order(self, wanted: WantedRegion, dimension: Dimension, allow_unaligned: bool) -> SliceOrder:
        order, region = self._slice_order(wanted, dimension), wanted.in_view(self._box(), None)
        if not self._box().contains_bbox(region):
            what = f"the region {public_box(region)} reaches beyond the view"
            raise InputRefused(what, where=self, fix="set the layer's bounding_box first, or give a region inside")
        if not allow_unaligned:
            self._check_borders(order.start, order.shape)
        return order

    def _check_borders(self, start: Position, shape: Position) -> None:
        spec = self._array.open().spec
        self._check_whole_shards(NDBoundingBox(start, shape, spec.axes), spec)

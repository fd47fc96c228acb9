"""MagStorage: what is stored of a mag, and its array as other libraries see it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from wkpipe.dataset.region import public_box
from wkpipe.dataset.stored_boxes import stored_boxes
from wkpipe.dataset.view import View
from wkpipe.errors import InputRefused
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import NDBoundingBox
from wkpipe.stored.channels import Channels

if TYPE_CHECKING:
    import zarr


class MagStorage(View):
    """The members of the class MagView that concern how it is stored."""

    @property
    def is_foreign(self) -> bool:
        """True if the array is not in its layer's directory; it can be read, but not written."""
        return not self._array.is_owned()

    def get_bounding_boxes_on_disk(self) -> Iterator[NDBoundingBox]:
        """Return the boxes of the stored files, in mag-1 voxels: whole storage shards, or chunks if every chunk is a file.

        They are found by listing directories; no voxels are read. They may reach beyond the layer's box.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 32))
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box)
        >>> mag = layer.add_mag(1, chunk_shape=32, shard_shape=32)
        >>> mag.write(np.ones((32, 32, 32), np.uint8), absolute_offset=(32, 0, 0))
        >>> list(mag.get_bounding_boxes_on_disk())
        [BoundingBox((32, 0, 0), (32, 32, 32))]
        """
        return map(public_box, self._stored_boxes())

    def get_views_on_disk(self, read_only: bool | None = None) -> Iterator[View]:
        """Return views of the stored files, cut by the layer's box; see `get_bounding_boxes_on_disk`.

        Parameters
        ----------
        read_only
            default: like the mag.

        Examples
        --------
        >>> import numpy as np
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (50, 50, 20))
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box)
        >>> mag = layer.add_mag(1, chunk_shape=32, shard_shape=32)
        >>> mag.write(np.ones((18, 32, 20), np.uint8), absolute_offset=(32, 0, 0))
        >>> [view.bounding_box for view in mag.get_views_on_disk()]
        [BoundingBox((32, 0, 0), (18, 32, 20))]
        """
        box = self._box()
        for stored in self._stored_boxes():
            low = tuple(map(max, stored.topleft, box.topleft))
            size = [b - a for a, b in zip(low, map(min, stored.bottomright, box.bottomright), strict=True)]
            if min(size) > 0:
                yield self.get_view(absolute_bounding_box=NDBoundingBox(low, size, box.axes), read_only=read_only)

    def get_zarr_array(self) -> zarr.Array[Any]:
        """Return the array as zarr-python opens it, in storage axes and voxels of the mag; it is read-only if the mag is.

        What is written through it replaces what wkpipe has recorded: it is checked again before the next run uses it.

        Raises
        ------
        InputRefused
            the layer is stored in another format, or on a server.

        Examples
        --------
        >>> from wkpipe import BoundingBox, Dataset
        >>> box = BoundingBox((0, 0, 0), (64, 64, 32))
        >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box)
        >>> array = layer.add_mag(1, chunk_shape=32, shard_shape=32).get_zarr_array()
        >>> array.shape, array.chunks
        ((1, 64, 64, 32), (1, 32, 32, 32))
        """
        if self.data_format not in (DataFormat.ZARR, DataFormat.ZARR3):
            raise InputRefused("only Zarr arrays can be opened by zarr", where=self, found=self.data_format)
        import zarr

        return zarr.open_array(self._array.path(), mode="r" if self.read_only else "r+")

    def _stored_boxes(self) -> Iterator[NDBoundingBox]:
        """Yield the boxes of the stored files, in the normal form and in mag-1 voxels."""
        return stored_boxes(self._array.open(), self._box().axes, Channels.of(*self._array.entry()), self.mag)

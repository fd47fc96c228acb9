"""BufferedSliceReader: read a view slice by slice, several slices at once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from wkpipe.dataset.mag_array import MagArray
from wkpipe.dataset.slices import SliceOrder
from wkpipe.formats.base import Voxels

_LOG = logging.getLogger("wkpipe")


class BufferedSliceReader:
    """Yields the slices of a region as arrays; see `View.get_buffered_slice_reader`. A context manager, and an iterable itself."""

    def __init__(self, array: MagArray, order: SliceOrder, buffer_size: int, use_logging: bool) -> None:
        self._array = array
        self._order = order
        self._use_logging = use_logging
        self.buffer_size = buffer_size
        self.dimension = order.dimension

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the slices."""
        return self._array.layer.properties.dtype

    def __enter__(self) -> Iterator[Voxels]:
        return iter(self)

    def __exit__(self, *_: object) -> None:
        """Nothing stays open."""

    def __len__(self) -> int:
        return self._order.count

    def __iter__(self) -> Iterator[Voxels]:
        order = self._order
        for first, end in order.runs(self.buffer_size, self._array.open().spec.chunk_shape[order.axis]):
            if self._use_logging:
                _LOG.info("layer %s, mag %s: reading slices %d to %d", self._array.layer.name, self._array.mag, first, end - 1)
            slab = self._array.read(order.place(first), order.slab_shape(end - first))
            yield from np.moveaxis(slab, order.axis, 0)

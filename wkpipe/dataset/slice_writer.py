"""BufferedSliceWriter: write a view slice by slice; each storage shard is replaced once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from wkpipe.dataset.errors import WrongShape
from wkpipe.dataset.exact import as_stored
from wkpipe.dataset.gathered import GatheredWrites
from wkpipe.dataset.mag_array import MagArray
from wkpipe.dataset.slices import SliceOrder
from wkpipe.errors import InputRefused
from wkpipe.formats.base import Position, Voxels
from wkpipe.geometry import Vec3IntLike

_LOG = logging.getLogger("wkpipe")

Borders = Callable[[Position, Position], None]
"""Refuses a region (start and shape in array order) whose borders cut storage shards."""


class BufferedSliceWriter:
    """Writes the slices that it is sent, one after the other; see `View.get_buffered_slice_writer`. A context manager."""

    def __init__(
        self, array: MagArray, order_at: Callable[[Vec3IntLike | None, Vec3IntLike | None], SliceOrder], buffer_size: int,
        borders: Borders | None, use_logging: bool, order: SliceOrder,
    ) -> None:  # fmt: skip
        self._array = array
        self._order_at = order_at
        self._order = order
        self._borders = borders
        self._use_logging = use_logging
        self.buffer_size = buffer_size
        self.dimension = order.dimension
        self._sent = 0
        self._slices: list[Voxels] = []
        self._gathered: GatheredWrites | None = None

    def __enter__(self) -> Self:
        self._gathered = GatheredWrites(self._array, self._array.open())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Write the rest; after an error in the block, what was sent is written too, as far as it is whole storage shards."""
        assert self._gathered is not None, "it was entered"
        with self._gathered:
            if error is None:
                self._end()
                return
            try:
                self._end()
            except Exception as second:
                error.add_note(f"the slices that were still waiting were not written: {second}")

    def send(self, data: npt.ArrayLike) -> None:
        """Write the next slice. A smaller slice leaves the voxels beyond it as they are.

        Args:
            data: all storage axes except the dimension; with one channel, c may be left out.

        Raises:
            WrongShape: the slice has other axes or channels, is too large, or the region has no more slices (also an AssertionError).
            WrongDtype: see `write` (also a TypeError).
            InputRefused: its borders cut storage shards.
            NotWritable, TryAgain, DamagedShard: see `write`.
        """
        if self._gathered is None:
            raise WrongShape("slices are sent inside of a with block", fix="use `with view.get_buffered_slice_writer() as writer:`")
        order = self._order
        voxels = as_stored("the voxels of the slice", np.asarray(data), self._array.layer.properties.dtype)
        if self._sent == order.count:
            raise WrongShape(f"the region has {order.count} slices along {order.dimension}, and all were sent", fix="give a larger region")
        whole = order.with_all_axes(voxels)
        if self._slices and self._slices[-1].shape != whole.shape:
            self._flush()
        if not self._slices and self._borders is not None:
            shape = list(whole.shape)
            shape[order.axis] = order.depth
            self._borders(order.start, tuple(shape))
        self._slices.append(whole.copy())
        self._sent += 1
        spec = self._array.open().spec
        first = self._sent - len(self._slices)
        if self._sent == order.run_end(first, self.buffer_size, spec.chunk_shape[order.axis]):
            self._flush()
        if (order.place(self._sent - 1)[order.axis] + 1) % spec.unit_shape[order.axis] == 0 or self._sent % order.depth == 0:
            self._commit()

    def reset_offset(self, relative_offset: Vec3IntLike | None = None, absolute_offset: Vec3IntLike | None = None) -> None:
        """Write what was sent, and let the next slice be the first one at another offset, in mag-1 voxels.

        Raises:
            InputRefused: the offset is not inside of the view, or cuts storage shards; or what was sent does.
        """
        order = self._order_at(absolute_offset, relative_offset)
        self._end()
        self._order, self._sent = order, 0

    def _flush(self) -> None:
        """Hand the slices in memory to the writes that wait."""
        if not self._slices:
            return
        order, first = self._order, self._sent - len(self._slices)
        assert self._gathered is not None, "slices are sent only after it was entered"
        if self._use_logging:
            _LOG.info("layer %s, mag %s: encoding slices %d to %d", self._array.layer.name, self._array.mag, first, self._sent - 1)
        shape = tuple(len(self._slices) if i == order.axis else n for i, n in enumerate(self._slices[0].shape))
        slab = np.empty(shape, self._slices[0].dtype, order="F")
        for i, voxels in enumerate(self._slices):
            slab[(slice(None),) * order.axis + (slice(i, i + 1),)] = voxels
        self._gathered.add(order.place(first), slab)
        self._slices.clear()

    def _commit(self) -> None:
        self._flush()
        assert self._gathered is not None, "slices are sent only after it was entered"
        self._gathered.commit()

    def _end(self) -> None:
        """Write what waits, unless the last slice cuts storage shards and this is not allowed."""
        order, inside = self._order, self._sent % self._order.depth
        if self._borders is not None and inside:
            assert self._gathered is not None, "slices are sent only after it was entered"
            try:
                self._borders(order.start, tuple(inside if i == order.axis else n for i, n in enumerate(order.shape)))
            except InputRefused:
                self._slices.clear()
                self._gathered.forget()
                raise
        self._commit()

"""MagView: one mag of one layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wkpipe.dataset.mag_array import MagArray
from wkpipe.dataset.mag_recoding import MagRecoding

if TYPE_CHECKING:
    from wkpipe.dataset.layer import Layer


class MagView(MagRecoding):
    """One mag of a layer: all of the layer's box (rounded outwards to the mag), read and written as an array.

    Boxes, offsets and sizes are in mag-1 voxels. Arrays are in voxels of the mag, with the axes c, x, y, z or, in layers
    with more axes, in storage order.

    Do not construct it yourself: use `Layer.get_mag` or `Layer.add_mag`.

    Raises
    ------
    MagNotFound
        from most members, after the mag was deleted (also an IndexError).

    Examples
    --------
    >>> import numpy as np
    >>> from wkpipe import BoundingBox, Dataset
    >>> box = BoundingBox((0, 0, 0), (64, 64, 16))
    >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color", bounding_box=box)
    >>> mag = layer.add_mag("2-2-1")
    >>> mag.write(np.full((32, 32, 16), 7, np.uint8))
    >>> mag.read().shape
    (1, 32, 32, 16)
    >>> mag.name, mag.bounding_box
    ('2-2-1', BoundingBox((0, 0, 0), (64, 64, 16)))
    """

    def __init__(self, layer: Layer, array: MagArray) -> None:
        super().__init__(array, None, False)
        self._layer = layer

    @property
    def layer(self) -> Layer:
        """The layer that the mag belongs to."""
        return self._layer

    @property
    def name(self) -> str:
        """The mag's short name, such as ``2-2-1`` or ``4``."""
        return str(self.mag)

    @property
    def path(self) -> Path:
        """The directory of the mag's array.

        Raises
        ------
        InputRefused
            the array is on a server.
        """
        return self._array.path()

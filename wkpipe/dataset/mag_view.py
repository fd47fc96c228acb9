"""MagView: one mag of one layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wkpipe.dataset.live_properties import LiveProperties
from wkpipe.dataset.mag_array import MagArray
from wkpipe.dataset.view import View
from wkpipe.geometry import Mag

if TYPE_CHECKING:
    from wkpipe.dataset.layer import Layer


class MagView(View):
    """One mag of a layer: the whole of the layer's box (rounded outwards to the mag), read and written as an array.

    Do not construct it yourself: use `Layer.get_mag` or `Layer.add_mag`.
    """

    def __init__(self, layer: Layer, live: LiveProperties, mag: Mag) -> None:
        super().__init__(MagArray(live, layer.name, mag), None, False)
        self._layer = layer

    @property
    def layer(self) -> Layer:
        """The layer that the mag belongs to."""
        return self._layer

    @property
    def name(self) -> str:
        """The mag's short name, as ``2-2-1`` or ``4``."""
        return str(self.mag)

    @property
    def path(self) -> Path:
        """The directory of the mag's array.

        Raises:
            InputRefused: it lies on a server.
        """
        return self._array.path()

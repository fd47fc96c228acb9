"""Mags: the mags of a layer, by anything that names one."""

from __future__ import annotations

from collections.abc import KeysView
from typing import Any

from wkpipe.dataset.mag_view import MagView
from wkpipe.errors import MagNotFound, WrongGeometry
from wkpipe.geometry import Mag, MagLike


class Mags(dict[Mag, MagView]):
    """A dictionary of mags; every look-up accepts what a Mag accepts, such as 1, ``"2-2-1"`` or (2, 2, 1)."""

    def __contains__(self, mag: object) -> bool:
        try:
            return super().__contains__(Mag(mag))  # type: ignore[arg-type]
        except WrongGeometry:
            return False

    def __missing__(self, mag: Any) -> MagView:
        raise MagNotFound(f"there is no mag {mag}", found=", ".join(map(str, self)) or "none")

    def __getitem__(self, mag: MagLike) -> MagView:
        return super().__getitem__(Mag(mag))

    def get(self, mag: MagLike, default: Any = None) -> Any:
        """Return a mag, or the default if the layer does not have it."""
        return super().get(Mag(mag), default)

    def keys(self) -> KeysView[Mag]:  # type: ignore[override]
        """Return the mags as a set-like view; ``"1" in layer.mags.keys()`` works."""
        return KeysView(self)

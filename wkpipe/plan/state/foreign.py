"""The errors for mags that wkpipe made and that another tool has made again or written to."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from wkpipe.errors import ForeignMag
from wkpipe.formats.base import Position, unit_name
from wkpipe.geometry import Mag
from wkpipe.stored.locations import Locations


def foreign_mag(locations: Locations, layer: str, mag: Mag) -> ForeignMag:
    """Return the error for a mag whose array is not the one that wkpipe made."""
    return ForeignMag(
        f"mag {mag} is not the one that wkpipe made, another tool has put its own in its place",
        where=f"layer {layer}",
        fix=_fix(locations, layer, mag),
    )


def foreign_units(locations: Locations, layer: str, mag: Mag, units: Sequence[Position]) -> ForeignMag:
    """Return the error for a mag of which another tool has written units."""
    count = f"{len(units)} storage shard{'s' if len(units) > 1 else ''}, the first {unit_name(min(units))}"
    return ForeignMag(
        f"another tool has written {count}, since wkpipe made the mag; nothing was overwritten",
        where=f"layer {layer}, mag {mag}",
        fix=_fix(locations, layer, mag),
    )


def _fix(locations: Locations, layer: str, mag: Mag) -> str:
    forget = shlex.join(["wkpipe", "verify", str(locations.dataset), "--forget", f"{layer}/{mag}"])
    return f"pass --overwrite-existing to make it again, or accept it as it is with `{forget}`"

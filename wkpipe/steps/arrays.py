"""The arrays of planned mags."""

from __future__ import annotations

from wkpipe.formats import open_array
from wkpipe.formats.base import StoredArray
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.stored.locations import Locations


def planned_array(plan: MagPlan, locations: Locations) -> StoredArray:
    """Open the array of a mag that a plan makes; its metadata are there since the run began."""
    return open_array(locations.array(plan.layer, plan.mag), plan.spec.data_format, plan.spec.axes, shape=plan.spec.shape)

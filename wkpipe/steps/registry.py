"""The steps by origin: wkpipe's own, and those of other installed distributions."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Any

from wkpipe.errors import UsageError
from wkpipe.steps.work import Work
from wkpipe.storage.record import Record

Step = Callable[[Work, Any], Iterator[Record]]
"""A function that makes the units of a work with an origin, and yields the record of each when it is committed."""

ENTRY_POINTS = "wkpipe.steps"
"""The entry point group for steps of other distributions: ``kind = "module:function"``, as `wkpipe.origins` for origins."""

_MODULES = {
    "convert": "wkpipe.steps.from_images",
    "copy": "wkpipe.steps.from_array",
    "downsample": "wkpipe.steps.from_mag",
    "upsample": "wkpipe.steps.from_coarser",
    "download": "wkpipe.steps.from_server",
}
"""By the kind of origin; a step is imported only when needed, because a job needs one."""


def step_of(kind: str) -> Step:
    """Return the step that makes the mags of an origin.

    Raises:
        UsageError: there is no such step.
    """
    if kind in _MODULES:
        step: Step = importlib.import_module(_MODULES[kind]).make_units
        return step
    for entry in entry_points(group=ENTRY_POINTS, name=kind):
        found: Step = entry.load()
        return found
    raise UsageError(
        f"there is no step that makes mags of the origin {kind}", fix="install the distribution that has it where the jobs run"
    )

"""Runs that the library starts: the same config, plan and steps as the command line, so the same bytes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from wkpipe.errors import InputRefused
from wkpipe.geometry import Mag, MagLike
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.resources import Sizing, available_cores
from wkpipe.sampling import InterpolationMode, SamplingMode
from wkpipe.steps.run import run_here

_LOG = logging.getLogger("wkpipe")


def run_config(values: Mapping[str, Any], where: str) -> None:
    """Plan and run in this process; values that are None take the config's defaults.

    Raises:
        WkpipeError: see `make_plan` and `run_here`.
    """
    config = load_config({key: value for key, value in values.items() if value is not None}, where)
    plan = make_plan(config, Sizing.local(available_cores()))
    for note in plan.notes:
        _LOG.warning("%s", note)
    run_here(plan, tell=lambda text: _LOG.warning("%s", text))


def coarsest_text(coarsest_mag: MagLike | None, max_mag: MagLike | None) -> str | None:
    """Return the coarsest mag, which has two names, as a text.

    Raises:
        InputRefused: both were given.
    """
    if coarsest_mag is not None and max_mag is not None:
        raise InputRefused(f"coarsest_mag={coarsest_mag} and max_mag={max_mag} are two names of one thing; give coarsest_mag alone")
    mag = max_mag if coarsest_mag is None else coarsest_mag
    return None if mag is None else str(Mag(mag))


def sampling_text(mode: SamplingMode | str) -> str:
    """Return the config's name of a sampling mode; ``auto`` and capitals are accepted.

    Raises:
        InputRefused: there is no such mode.
    """
    return SamplingMode.parse(mode).value


def interpolation_text(mode: InterpolationMode | str) -> str:
    """Return the config's name of an interpolation mode; capitals are accepted.

    Raises:
        InputRefused: there is no such mode.
    """
    return "default" if mode.lower() == "default" else InterpolationMode.parse(mode, "color").value

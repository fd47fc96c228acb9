"""Runs that the library starts, with the same plan and steps as the command line, and so the same bytes."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from wkpipe.cluster.strategies import usable_cores
from wkpipe.dataset.errors import check_type
from wkpipe.dataset.executors import RunOptions, SubmitsCalls, checked_executor
from wkpipe.dataset.new_mag import checked_shape
from wkpipe.dataset.progress_line import ProgressLine
from wkpipe.geometry import Mag, MagLike, Vec3IntLike
from wkpipe.plan.build import make_added_layers_plan, make_copy_plan, make_downsample_plan, make_plan, make_upsampling_plan
from wkpipe.plan.config import Config, load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.plan import Plan
from wkpipe.plan.request import DownsampleRequest, Storing
from wkpipe.plan.wishes.copying import CopyRequest, RecodingRequest
from wkpipe.plan.wishes.upsampling import UpsamplingRequest
from wkpipe.runs.run import run_here
from wkpipe.runs.submitted import run_with
from wkpipe.sampling import InterpolationMode, SamplingMode
from wkpipe.storage.lease import Epoch

_LOG = logging.getLogger("wkpipe")


def run_config(values: Mapping[str, Any], where: str, options: RunOptions) -> None:
    """Plan and run a config; values that are None take its defaults.

    Raises:
        WrongType: the executor has no `submit`.
        WkpipeError: see `make_plan`, `run_here` and `run_with`.
    """
    sizing = _sizing(options.executor)
    _run(make_plan(config_of(values, where), sizing), options)


def run_added_layers(values: Mapping[str, Any], where: str, allow_several: bool, options: RunOptions) -> list[str]:
    """Plan and run a config that adds layers from images to a dataset; return their names.

    Raises:
        WrongType: the executor has no `submit`.
        WkpipeError: see `make_added_layers_plan`, `run_here` and `run_with`.
    """
    sizing = _sizing(options.executor)
    plan = make_added_layers_plan(config_of(values, where), allow_several, sizing)
    _run(plan, options)
    return [layer.name for layer in plan.layers]


def config_of(values: Mapping[str, Any], where: str) -> Config:
    """Return the config of values; those that are None take its defaults.

    Raises:
        UsageError: a value is not possible.
    """
    return load_config({key: value for key, value in values.items() if value is not None}, where)


def run_request(request: DownsampleRequest | UpsamplingRequest, executor: SubmitsCalls | None) -> None:
    """Plan and make coarser or finer mags: in this process, or through the caller's executor, whose calls get one thread each.

    Raises:
        WrongType: the executor has no `submit`.
        WkpipeError: see `make_downsample_plan`, `make_upsampling_plan`, `run_here` and `run_with`.
    """
    sizing = _sizing(executor)
    plan = make_upsampling_plan(request, sizing) if isinstance(request, UpsamplingRequest) else make_downsample_plan(request, sizing)
    _run(plan, RunOptions(executor))


def run_copies(
    request: CopyRequest | RecodingRequest,
    options: RunOptions,
    begin: Callable[[], object] = lambda: None,
    first: Callable[[Epoch], None] = lambda _: None,
) -> None:
    """Plan copies, and make them; `begin` is called in between, when nothing was refused, and `first` in the run before the first task.

    Raises:
        WrongType: the executor has no `submit`.
        WkpipeError: see `make_copy_plan`, `run_here` and `run_with`.
    """
    plan = make_copy_plan(request, _sizing(options.executor))
    begin()
    _run(plan, options, first)


def _sizing(executor: SubmitsCalls | None) -> Sizing:
    """Return how tasks are cut; calls of an executor get one thread each.

    Raises:
        WrongType: the executor has no `submit`.
    """
    sizing = Sizing.local(usable_cores())
    return sizing if checked_executor(executor) is None else replace(sizing, threads=1)


def _run(plan: Plan, options: RunOptions, first: Callable[[Epoch], None] = lambda _: None) -> None:
    for note in plan.notes:
        _LOG.warning("%s", note)
    for account in plan.accounts:
        _LOG.info("%s", account.text)
    notify = functools.partial(_LOG.warning, "%s")
    with ProgressLine(options.progress_desc, len(plan.tasks)) as progress:
        if options.executor is None:
            run_here(plan, lambda _: progress.advance(), notify=notify, first=first)
        else:
            run_with(plan, options.executor.submit, lambda _: progress.advance(), notify, first)


def storing_of(compress: bool, chunk_shape: Vec3IntLike | int | None, shard_shape: Vec3IntLike | int | None) -> Storing:
    """Return how new mags are stored.

    Raises:
        InputRefused: a shape is not possible.
        WrongType: `compress` is not True or False.
    """
    check_type("compress", compress, bool)
    return Storing(checked_shape(chunk_shape), checked_shape(shard_shape), compress)


def mag_text(mag: MagLike | None) -> str | None:
    """Return the config's name of a mag; None if no mag is given."""
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
    found = interpolation_of(mode)
    return "default" if found is None else found.value


def interpolation_of(mode: InterpolationMode | str) -> InterpolationMode | None:
    """Return the mode of that name, in upper or lower case; None for ``default``.

    Raises:
        InputRefused: there is no such mode.
    """
    return None if mode.lower() == "default" else InterpolationMode.parse(mode, "color")

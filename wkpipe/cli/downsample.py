"""``wkpipe downsample``: make the coarser mags of a dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from wkpipe.cli import options as o
from wkpipe.cli.work import WorkOptions, work


def downsample(
    target: o.Dataset,
    sampling_mode: o.SamplingMode = "anisotropic",
    layer_name: Annotated[str | None, typer.Option(help="Layer to downsample; default: all.")] = None,
    coarsest_mag: Annotated[str | None, typer.Option(help="Mag to stop at, like 2 or 2-2-2; default: from the layer's size.")] = None,
    interpolation_mode: o.InterpolationMode = "default",
    compression_level: o.CompressionLevel = None,
    overwrite_existing: Annotated[
        bool,
        typer.Option(
            "--overwrite-existing",
            help="Make all mags but the finest anew, beside the old ones, which are replaced and deleted when the new are proven.",
        ),
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make mags anew that are registered but have no data, as crashes leave them.")
    ] = False,
    trust_empty: o.TrustEmpty = False,
    missing_shards: o.MissingShards = "fill",
    jobs: o.Jobs = None,
    distribution_strategy: o.Strategy = "multiprocessing",
    job_resources: o.JobResources = None,
    profile: o.Profile = None,
    leave_jobs_running: o.LeaveJobs = False,
    ignore_disk_space: o.IgnoreDiskSpace = False,
    state_dir: o.StateDir = None,
    dry_run: o.DryRun = False,
    break_lock: o.BreakLock = False,
    quiet: o.Quiet = False,
) -> None:
    """Make the coarser mags of a dataset. A run that was stopped goes on where it was; what is there already stays."""
    values = {
        "target": str(target),
        "sampling_mode": sampling_mode,
        "layer_name": layer_name,
        "coarsest_mag": coarsest_mag,
        "interpolation_mode": interpolation_mode,
        "compression_level": compression_level,
        "overwrite_existing": overwrite_existing,
        "repair": repair,
        "trust_empty": trust_empty,
        "missing_shards": missing_shards,
        "ignore_disk_space": ignore_disk_space,
        "state_dir": None if state_dir is None else str(state_dir),
    }
    how = WorkOptions(jobs, distribution_strategy, job_resources, dry_run, break_lock, quiet, profile, leave_jobs_running)
    work(values, how, {"target": "TARGET"}, f"downsampled {target}", f"nothing to do: all mags of {target} are there already")

"""``wkpipe convert``: make a dataset of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wkpipe.cli import options as o
from wkpipe.cli.work import WorkOptions, work


def convert(
    source: o.Source,
    target: Annotated[Path, typer.Argument(parser=o.given_path, metavar="TARGET", help="Path of the dataset to make.")],
    voxel_size: o.VoxelSize,
    unit: o.Unit = "nanometer",
    name: Annotated[str | None, typer.Option(help="Name of the dataset; default: last part of TARGET.")] = None,
    layer_name: o.NewLayerName = None,
    category: o.Category = None,
    data_format: o.DataFormat = "zarr3",
    chunk_shape: o.ChunkShape = None,
    shard_shape: o.ShardShape = None,
    compress: o.Compress = True,
    compression_level: o.CompressionLevel = None,
    batch_size: o.BatchSize = None,
    overwrite_existing: o.OverwriteExisting = False,
    downsample: Annotated[bool, typer.Option("--downsample/--no-downsample", help="Make coarser mags too.")] = True,
    max_mag: o.MaxMag = None,
    interpolation_mode: o.InterpolationMode = "default",
    sampling_mode: o.SamplingMode = "anisotropic",
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
    """Make a dataset of images (TIFF, PNG, JPEG), with its coarser mags. The same command goes on after a crash."""
    values = {
        "source": str(source),
        "target": str(target),
        "voxel_size": voxel_size,
        "unit": unit,
        "name": name,
        "layer_name": layer_name,
        "category": category,
        "data_format": data_format,
        "chunk_shape": chunk_shape,
        "shard_shape": shard_shape,
        "compress": compress,
        "compression_level": compression_level,
        "batch_size": batch_size,
        "overwrite_existing": overwrite_existing,
        "downsample": downsample,
        "coarsest_mag": max_mag,
        "interpolation_mode": interpolation_mode,
        "sampling_mode": sampling_mode,
        "ignore_disk_space": ignore_disk_space,
        "state_dir": None if state_dir is None else str(state_dir),
    }
    how = WorkOptions(jobs, distribution_strategy, job_resources, dry_run, break_lock, quiet, profile, leave_jobs_running)
    spellings = {"source": "SOURCE", "target": "TARGET", "coarsest_mag": "--max-mag"}
    work(values, how, spellings, f"converted {source} to {target}", f"nothing to do: {target} is up to date with {source}")

"""``wkpipe downsample``: make the coarser mags of a dataset."""

from __future__ import annotations

from wkpipe.cli.command import Settings, command
from wkpipe.cli.in_cluster import run_in_cluster
from wkpipe.cli.options import WorkOptions
from wkpipe.cli.work import work


@command(
    "target sampling_mode layer_name coarsest_mag interpolation_mode compression_level overwrite_existing repair trust_empty missing_shards"
    " jobs distribution_strategy job_resources profile leave_jobs_running in_cluster ignore_disk_space state_dir dry_run break_lock"
    " quiet"
)
def downsample(settings: Settings, how: WorkOptions) -> None:
    """Make the coarser mags of a dataset. The same command resumes after a crash; existing mags stay."""
    target = settings["target"]
    if how.in_cluster:
        run_in_cluster(settings, how)
        return
    work(settings, how, f"downsampled {target}", f"nothing to do: all mags of {target} exist already")

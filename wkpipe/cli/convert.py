"""``wkpipe convert``: make a dataset from images."""

from __future__ import annotations

from wkpipe.cli.command import Settings, command
from wkpipe.cli.in_cluster import run_in_cluster
from wkpipe.cli.options import WorkOptions
from wkpipe.cli.work import work


@command(
    "source target voxel_size unit name layer_name category family pattern missing_slices concat spool_dir"
    " series channels max_layers sparse rgb_labels rgb bilevel dtype rescale_min_max"
    " mag topleft bbox swap_xy flip_x flip_y flip_z padding"
    " data_format chunk_shape shard_shape compress compression_level batch_size"
    " overwrite_existing downsample coarsest_mag interpolation_mode sampling_mode"
    " jobs distribution_strategy job_resources profile leave_jobs_running in_cluster ignore_disk_space state_dir dry_run break_lock"
    " quiet"
)
def convert(settings: Settings, how: WorkOptions) -> None:
    """Make a dataset from images (TIFF, PNG, JPEG), with coarser mags. The same command resumes after a crash."""
    source, target = settings["source"], settings["target"]
    if how.in_cluster:
        run_in_cluster(settings, how)
        return
    work(settings, how, f"converted {source} to {target}", f"nothing to do: {target} is up to date with {source}")

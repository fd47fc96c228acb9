"""``wkpipe remote-convert``: images become a dataset on a server, in one run; what lies here meanwhile is gone afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from wkpipe.cli import options as o
from wkpipe.cli.work import WorkOptions, work
from wkpipe.errors import AlreadyExists, InputRefused, TryAgain, WkpipeError, one_line
from wkpipe.storage.inside import refuse_links

NOT_IDENTITY = {"batch_size", "ignore_disk_space", "upload_again", "allow_http", "ca_file", "proxy"}
"""What may be another in the command that goes on than it was in the one that was stopped."""

RAM = {"tmpfs", "ramfs", "devtmpfs"}
"""File systems in memory."""

OF_ONE_HOST = ("/tmp", "/var/tmp", "/dev/shm", "/run")
"""Directories that no host shares with others."""


def remote_convert(
    source: o.Source,
    voxel_size: o.VoxelSize,
    webknossos_url: Annotated[
        str | None, typer.Option(envvar="WK_URL", help="Address of the WEBKNOSSOS server; default: https://webknossos.org.")
    ] = None,
    token: o.Token = None,
    token_file: o.TokenFile = None,
    dataset_name: Annotated[str | None, typer.Option(help="Name of the dataset on the server; default: that of SOURCE.")] = None,
    folder: o.Folder = None,
    datastore: o.Datastore = None,
    again: Annotated[bool, typer.Option("--again", help="Forget an earlier upload that has failed for good, and begin anew.")] = False,
    allow_http: o.AllowHttp = False,
    ca_file: o.CaFile = None,
    proxy: o.Proxy = None,
    unit: o.Unit = "nanometer",
    layer_name: o.NewLayerName = None,
    category: o.Category = None,
    data_format: o.DataFormat = "zarr3",
    chunk_shape: o.ChunkShape = None,
    shard_shape: o.ShardShape = None,
    compress: o.Compress = True,
    compression_level: o.CompressionLevel = None,
    batch_size: o.BatchSize = None,
    downsample: Annotated[bool, typer.Option("--downsample/--no-downsample", help="Make coarser mags before uploading.")] = True,
    max_mag: o.MaxMag = None,
    interpolation_mode: o.InterpolationMode = "default",
    sampling_mode: o.SamplingMode = "anisotropic",
    work_dir: Annotated[
        Path, typer.Option(help="Where the dataset lies until it is uploaded; with jobs on other hosts, a place that all share.")
    ] = Path(),
    jobs: o.Jobs = None,
    distribution_strategy: o.Strategy = "multiprocessing",
    job_resources: o.JobResources = None,
    profile: o.Profile = None,
    leave_jobs_running: o.LeaveJobs = False,
    ignore_disk_space: o.IgnoreDiskSpace = False,
    dry_run: o.DryRun = False,
    break_lock: o.BreakLock = False,
    quiet: o.Quiet = False,
) -> None:
    """Make a dataset of images on a WEBKNOSSOS server. The same command goes on after a crash; at the end, nothing of it is left here."""
    from wkpipe.server.request import DEFAULT_URL
    from wkpipe.server.token import take_token

    o.warn_of_token(token)
    secret = None if dry_run else take_token(token, token_file)
    name = dataset_name or name_of(source)
    values: dict[str, Any] = {
        "source": str(source),
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
        "downsample": downsample,
        "coarsest_mag": max_mag,
        "interpolation_mode": interpolation_mode,
        "sampling_mode": sampling_mode,
        "ignore_disk_space": ignore_disk_space,
        "webknossos_url": webknossos_url or DEFAULT_URL,
        "folder": folder,
        "datastore": datastore,
        "upload_again": again,
        "allow_http": allow_http,
        "ca_file": None if ca_file is None else str(ca_file),
        "proxy": proxy,
    }
    spellings = {"source": "SOURCE", "name": "--dataset-name", "coarsest_mag": "--max-mag", "upload_again": "--again"}
    if distribution_strategy in ("slurm", "kubernetes"):
        check_shared(work_dir)
    target = work_dir / directory_name(values, spellings)
    # In a directory that others can write, as /tmp: what they have put there must not choose what is deleted in the end.
    refuse_links(target, _mark(target), _going(target))
    if (url := _uploaded_before(target)) is not None and not dry_run:
        print(f"uploaded by an earlier run of this command: {url}")
        clean_up(target, url)
        return
    was_there = target.exists()
    how = WorkOptions(jobs, distribution_strategy, job_resources, dry_run, break_lock, quiet, profile, leave_jobs_running)
    try:
        uploaded = work({**values, "target": str(target)}, how, spellings, f"converted {source}", f"{source} is converted already", secret)
    except WkpipeError as error:
        if _mark(target).exists() or (was_there and not target.exists()):
            raise TryAgain(f"{target}: another run of this command has just uploaded this, and deletes it here") from error
        if not target.exists() or isinstance(error, TryAgain):
            raise
        if not isinstance(error, AlreadyExists):
            raise type(error)(f"{error} (what is done is kept in {target}; to give it up, delete that)") from error
        raise AlreadyExists(
            f"{target}: what an earlier run of this command has begun there does not go with the images any more; delete that directory, "
            "and run the same command again"
        ) from None
    if uploaded is not None:
        clean_up(target, uploaded.url)


def name_of(source: Path) -> str:
    """Return the name of a dataset whose name is not given: that of the source's directory, or of its file without the suffix."""
    source = source.resolve()
    return source.name if source.is_dir() else source.stem


def directory_name(values: Mapping[str, Any], spellings: Mapping[str, str]) -> str:
    """Return the name of the directory for what source and options make: the same command finds what it has begun.

    Raises:
        UsageError: an option is not valid.
    """
    from wkpipe.plan.config import load_config

    given = {key: value for key, value in values.items() if value is not None} | {"target": "."}
    config = load_config(given, "command line", lambda key: spellings.get(key, "--" + key.replace("_", "-")))
    identity = {key: value for key, value in config.to_json().items() if key not in NOT_IDENTITY}
    identity["source"] = os.path.realpath(identity["source"])
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', str(values['name']))[:80]}-{digest[:10]}.uploading"


def check_shared(directory: Path) -> None:
    """Refuse a directory that other hosts can not see, as far as this one can tell.

    Raises:
        InputRefused: it is for temporary files, or in memory.
    """
    path = directory.resolve()
    places = [Path(place).resolve() for place in (*OF_ONE_HOST, os.environ.get("TMPDIR") or "/tmp")]
    temporary = next((place for place in places if path.is_relative_to(place)), None)
    kind = _file_system(path)
    if temporary is None and kind not in RAM:
        return
    why = f"lies on a {kind} file system, in this host's memory" if kind in RAM else f"lies in {temporary}, which every host has for itself"
    raise InputRefused(f"{path} {why}, but jobs run on other hosts; give --work-dir a directory that all of them share")


def _file_system(path: Path) -> str:
    """Return the type of the file system that a path is on; nothing where that is not known."""
    try:
        lines = Path("/proc/self/mounts").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    # The last of those that are mounted at the same place is the one that is seen.
    found = {Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), place)): kind for _, place, kind, *_ in map(str.split, lines)}
    return found[max((place for place in found if path.is_relative_to(place)), key=lambda place: len(place.parts))]


# -- afterwards -----------------------------------------------------------------------------------------------------


def _mark(target: Path) -> Path:
    """Return the file beside a dataset that says that it is uploaded, while the dataset is being deleted."""
    return target.with_name(f"{target.name}.done")


def _uploaded_before(target: Path) -> str | None:
    """Return the address of a dataset on the server whose deletion here was cut short."""
    from wkpipe.storage import disk

    try:
        return one_line(disk.read_small(_mark(target)).decode(errors="replace"))
    except FileNotFoundError:
        return None


def _going(target: Path) -> Path:
    """Return the name of a dataset that is being deleted."""
    return target.with_name(f"{target.name}.deleting")


def clean_up(target: Path, url: str) -> None:
    """Delete the dataset that is uploaded; cut short, the same command ends it, and does not upload what is half gone once more."""
    from wkpipe.storage import disk
    from wkpipe.storage.commit import Scratch, remove_files, replace_file
    from wkpipe.stored.locations import Locations

    locations, mark = Locations.of(target), _mark(target)
    if not mark.exists():
        replace_file(mark, url.encode(), Scratch(locations.data_temporary))
    going = _going(locations.dataset)
    disk.remove_tree(going)
    if locations.dataset.exists():
        # In one go: a run that begins just now finds all of it or nothing, and never uploads what is left.
        disk.rename(locations.dataset, going)
    for directory in (going, locations.state):
        disk.remove_tree(directory)
    remove_files([mark], Scratch(mark.parent))

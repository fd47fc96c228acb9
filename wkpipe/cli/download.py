"""``wkpipe download``: a dataset on a WEBKNOSSOS server, or a part of it, becomes one on this side."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wkpipe.cli import options as o
from wkpipe.cli.work import WorkOptions, work
from wkpipe.errors import InputRefused, UsageError

if TYPE_CHECKING:
    from wkpipe.server.remote import FoundDataset
    from wkpipe.server.token import Token


def download(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="URL_OR_NAME", help="Address of the dataset's page, or its name on the server; with --url, TARGET stands here."
        ),
    ],
    target: Annotated[
        str | None, typer.Argument(metavar="[TARGET]", help="Path of the dataset to make; default: its name, in this directory.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Address of the dataset's page, where it is not the first argument.")] = None,
    webknossos_url: Annotated[
        str | None, typer.Option(envvar="WK_URL", help="Server of a dataset that is given by its name; default: https://webknossos.org.")
    ] = None,
    token: o.Token = None,
    token_file: o.TokenFile = None,
    bbox: Annotated[
        str | None, typer.Option(help="Box to download, in voxels of mag 1: x,y,z,width,height,depth; default: all of it.")
    ] = None,
    layer: Annotated[
        list[str] | None, typer.Option("--layer", "--layer-name", help="Download this layer only; may be given several times.")
    ] = None,
    mag: Annotated[
        list[str] | None, typer.Option("--mag", help="Download this mag only, like 2 or 2-2-1; may be given several times.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the dataset here; default: its name on the server.")] = None,
    data_format: o.DataFormat = "zarr3",
    chunk_shape: o.ChunkShape = None,
    shard_shape: o.ShardShape = None,
    compress: o.Compress = True,
    compression_level: o.CompressionLevel = None,
    overwrite_existing: o.OverwriteExisting = False,
    allow_http: o.AllowHttp = False,
    ca_file: o.CaFile = None,
    proxy: o.Proxy = None,
    jobs: o.Jobs = None,
    distribution_strategy: o.Strategy = "multiprocessing",
    job_resources: o.JobResources = None,
    profile: o.Profile = None,
    ignore_disk_space: o.IgnoreDiskSpace = False,
    state_dir: o.StateDir = None,
    dry_run: o.DryRun = False,
    break_lock: o.BreakLock = False,
    quiet: o.Quiet = False,
) -> None:
    """Download a dataset from a WEBKNOSSOS server, or some layers, mags or a box of it. The same command goes on after a crash."""
    from wkpipe.plan.download import only_here
    from wkpipe.server.token import take_token

    if distribution_strategy in ("slurm", "kubernetes"):
        raise UsageError(only_here(distribution_strategy))
    if url is not None:
        if target is not None:
            raise UsageError(f"with --url, TARGET is the only argument; found {dataset} and {target}")
        dataset, target = url, dataset
    o.warn_of_token(token)
    values: dict[str, Any] = {
        "download_layers": layer,
        "download_mags": mag,
        "download_bbox": bbox,
        "name": name,
        "data_format": data_format,
        "chunk_shape": chunk_shape,
        "shard_shape": shard_shape,
        "compress": compress,
        "compression_level": compression_level,
        "overwrite_existing": overwrite_existing,
        "allow_http": allow_http,
        "ca_file": None if ca_file is None else str(ca_file),
        "proxy": proxy,
        "ignore_disk_space": ignore_disk_space,
        "state_dir": None if state_dir is None else str(state_dir),
    }
    spellings = {"download_layers": "--layer", "download_mags": "--mag", "download_bbox": "--bbox", "target": "TARGET"}
    secret = take_token(token, token_file)
    found = _found(dataset, webknossos_url, secret, values, spellings)
    path = str(o.given_path(target)) if target is not None else _default_target(found)
    values |= {"download_url": found.remote.page, "target": path}
    how = WorkOptions(jobs, distribution_strategy, job_resources, dry_run, break_lock, quiet, profile)
    work(values, how, spellings, f"downloaded {found.remote.page} to {path}", f"nothing to do: {path} is there", secret, found)


def _found(place: str, server: str | None, secret: Token, values: Mapping[str, Any], spellings: Mapping[str, str]) -> FoundDataset:
    """Ask the server for the dataset, once it is certain that all the rest of the command line can be."""
    from wkpipe.plan.config import load_config
    from wkpipe.plan.download import found_dataset
    from wkpipe.server.request import DEFAULT_URL

    given = {key: value for key, value in values.items() if value is not None}
    config = load_config({**given, "target": "."}, "command line", lambda key: spellings.get(key, "--" + key.replace("_", "-")))
    return found_dataset(place, server or DEFAULT_URL, secret, config)


def _default_target(found: FoundDataset) -> str:
    """Return the dataset's name as that of a directory here; it comes from outside, and other programs must not take it for an option."""
    from wkpipe.server.wk_api import check_name

    name = found.properties.name
    with contextlib.suppress(InputRefused):
        check_name(name)
        if not name.startswith("-"):
            return name
    raise UsageError("the dataset's name on the server is not one of a directory; give TARGET")

"""``wkpipe download``: make a local dataset from one on a WEBKNOSSOS server, or from a part of it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wkpipe.cli.command import Settings, command
from wkpipe.cli.options import Token, WorkOptions, given_path, warn_of_token
from wkpipe.cli.work import work
from wkpipe.errors import InputRefused, UsageError
from wkpipe.server.upload.limits import DEFAULT_URL

if TYPE_CHECKING:
    from wkpipe.server.download.remote import FoundDataset


@command(
    "dataset target url webknossos_url token token_file download_bbox download_layers download_mags name"
    " data_format chunk_shape shard_shape compress compression_level overwrite_existing allow_http ca_file proxy"
    " jobs distribution_strategy job_resources profile ignore_disk_space state_dir dry_run break_lock quiet"
)
def download(
    *,
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="URL_OR_NAME", help="Address of the dataset's page, or its name on the server; with --url, this argument is TARGET."
        ),
    ],
    target: Annotated[
        str | None, typer.Argument(metavar="[TARGET]", help="Path of the dataset to make; default: its name, in this directory.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Address of the dataset's page, if it is not the first argument.")] = None,
    webknossos_url: Annotated[
        str | None, typer.Option(envvar="WK_URL", help=f"Server of a dataset that is given by its name; default: {DEFAULT_URL}.")
    ] = None,
    token: Token = None,
    token_file: Path | None,
    settings: Settings,
    how: WorkOptions,
) -> None:
    """Download a dataset from a WEBKNOSSOS server, or some layers, mags or a box of it. The same command resumes after a crash."""
    from wkpipe.plan.state.on_server import found_dataset, only_here
    from wkpipe.server.http.token import take_token

    if how.is_on_other_hosts:
        raise UsageError(only_here(how.distribution_strategy))
    if url is not None:
        if target is not None:
            raise UsageError("with --url, TARGET is the only argument", found=f"{dataset} and {target}")
        dataset, target = url, dataset
    warn_of_token(token)
    secret = take_token(token, token_file)
    # The server is asked only when the rest of the command line is known to be valid.
    found = found_dataset(dataset, webknossos_url or DEFAULT_URL, secret, settings.having(target=".").config())
    path = str(given_path(target)) if target is not None else _default_target(found)
    settings = settings.having(download_url=found.remote.page, target=path)
    work(settings, how, f"downloaded {found.remote.page} to {path}", f"nothing to do: {path} is downloaded already", secret, found)


def _default_target(found: FoundDataset) -> str:
    """Return the name of the directory for a dataset; the server chooses it, and other programs must not read it as an option."""
    from wkpipe.server.wk_api import check_name

    name = found.properties.name
    with contextlib.suppress(InputRefused):
        check_name(name)
        if not name.startswith("-"):
            return name
    raise UsageError("the dataset's name on the server is not valid for a directory", fix="give TARGET")

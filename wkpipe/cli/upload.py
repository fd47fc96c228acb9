"""``wkpipe upload``: a dataset goes to a WEBKNOSSOS server; stopped at any point, the same command goes on."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wkpipe.cli import options as o
from wkpipe.errors import UnreadableInput, UsageError, one_line

if TYPE_CHECKING:
    from wkpipe.geometry import Mag
    from wkpipe.server.upload import UploadRequest, UploadStatus

STOPPED = (
    "stopped; what the server has stays there: the same command (without --again) goes on, `wkpipe upload … --cancel` gives the upload up"
)
_SIZE = re.compile(r"(\d{1,12})\s*([kmg]?)(i?b)?", re.IGNORECASE)


def upload(
    target: o.Dataset,
    webknossos_url: Annotated[
        str, typer.Option(envvar="WK_URL", help="Address of the WEBKNOSSOS server.", show_default=True)
    ] = "https://webknossos.org",
    token: o.Token = None,
    token_file: o.TokenFile = None,
    dataset_name: Annotated[str | None, typer.Option(help="Name of the dataset on the server; default: its present name.")] = None,
    folder: o.Folder = None,
    layer_name: Annotated[
        list[str] | None, typer.Option("--layer-name", "--layer", help="Upload this layer only; may be given several times.")
    ] = None,
    finest_mag: Annotated[str | None, typer.Option(help="Leave out finer mags than this, like 2 or 2-2-1.")] = None,
    coarsest_mag: Annotated[str | None, typer.Option(help="Leave out coarser mags than this.")] = None,
    datastore: o.Datastore = None,
    transfer_mode: Annotated[str, typer.Option(help="How the files get there: http is the only mode.")] = "http",
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Requests at the same time.")] = 5,
    chunk_size: Annotated[str, typer.Option(help="Bytes of one request, like 32M; at most 100M.")] = "32M",
    allow_http: o.AllowHttp = False,
    ca_file: o.CaFile = None,
    proxy: o.Proxy = None,
    again: Annotated[bool, typer.Option("--again", help="Forget what an earlier run has uploaded, and begin a new dataset.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Tell how far uploads of this dataset are, and exit.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Give up the upload that has begun: the server deletes it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Tell what would be sent, and exit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    state_dir: o.StateDir = None,
    quiet: o.Quiet = False,
) -> None:
    """Upload a dataset to a WEBKNOSSOS server. A run that was stopped goes on where it was, with the same command."""
    from wkpipe.server.upload import UploadRequest
    from wkpipe.stored.locations import Locations

    if transfer_mode != "http":
        raise UsageError(f"--transfer-mode {transfer_mode} is not there; http is: to place files on a server's disk, copy them there")
    if status + cancel + dry_run > 1:
        raise UsageError("--status, --cancel and --dry-run exclude each other")
    o.warn_of_token(token)
    request = UploadRequest(
        dataset=target,
        state=Locations.of(target, state_dir).state,
        url=webknossos_url,
        name=dataset_name,
        folder=folder,
        datastore=datastore,
        layers=tuple(layer_name or ()),
        finest_mag=_mag("--finest-mag", finest_mag),
        coarsest_mag=_mag("--coarsest-mag", coarsest_mag),
        chunk_bytes=parse_size(chunk_size),
        jobs=jobs,
        allow_http=allow_http,
        ca_file=ca_file,
        proxy=proxy,
        again=again,
    )
    if status:
        _show_status(request, as_json)
    elif dry_run:
        _show_files(request, as_json)
    elif cancel:
        _cancel(request, token, token_file, as_json)
    else:
        _upload(request, token, token_file, as_json, quiet)


def parse_size(text: str) -> int:
    """Return the bytes that a text like 500k, 32M or 33554432 means.

    Raises:
        UsageError: it means none.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--chunk-size {text!r}: expected a number of bytes like 32M")
    return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2].lower()]


def _mag(option: str, text: str | None) -> Mag | None:
    from wkpipe.geometry import Mag

    try:
        return None if text is None else Mag(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def _upload(request: UploadRequest, token: str | None, token_file: Path | None, as_json: bool, quiet: bool) -> None:
    from wkpipe.run.interrupt import interruptible
    from wkpipe.run.upload_progress import UploadProgress
    from wkpipe.server.token import take_token
    from wkpipe.server.upload import upload as upload_dataset

    shown = UploadProgress(quiet)
    with interruptible(STOPPED):
        try:
            uploaded = upload_dataset(request, take_token(token, token_file), shown)
        finally:
            shown.close()
    if as_json:
        print(json.dumps(asdict(uploaded)))
    elif uploaded.was_there:
        print(f"uploaded already (--again would upload it anew): {uploaded.url}")
    else:
        print(f"uploaded {request.dataset}: {uploaded.url}")


def _cancel(request: UploadRequest, token: str | None, token_file: Path | None, as_json: bool) -> None:
    from wkpipe.server.token import take_token
    from wkpipe.server.upload import cancel as cancel_upload

    given_up = cancel_upload(request, take_token(token, token_file))
    print(json.dumps(asdict(given_up)) if as_json else f"given up: the upload of {given_up.name} to {given_up.url}")


def _show_status(request: UploadRequest, as_json: bool) -> None:
    from wkpipe.server.upload import statuses

    if not request.dataset.is_dir():
        raise UnreadableInput(f"{request.dataset} is not a directory; give the path of a dataset")
    found = statuses(request.state)
    if as_json:
        print(json.dumps([asdict(each) for each in found]))
        return
    for each in found:
        print(one_line(_status_line(each)))
    if not found:
        print(f"no upload of {request.dataset} has begun")


def _status_line(status: UploadStatus) -> str:
    from wkpipe.plan.space import size_text

    where = f"{status.name} to {status.url}"
    if status.state == "done":
        return f"{where}: done, {status.dataset_url}"
    amount = f"{size_text(status.bytes_done)} of {size_text(status.bytes_total)} in {status.files} files"
    if status.state == "failed":
        return f"{where}: failed: {status.why}"
    return f"{where}: {amount}{', waiting for the server to finish it' if status.state == 'finishing' else ''} (upload {status.upload_id})"


def _show_files(request: UploadRequest, as_json: bool) -> None:
    from wkpipe.plan.space import size_text
    from wkpipe.server.upload import select_files, where_to

    url = where_to(request)
    selection = select_files(request)
    for text in selection.notices:
        print(f"wkpipe: {text}", file=sys.stderr)
    if as_json:
        print(json.dumps({"files": [{"path": file.path, "bytes": file.size} for file in selection.files], "bytes": selection.size}))
        return
    for file in selection.files:
        print(f"{file.size:>14,}  {file.path}")
    print(f"{selection.size:>14,}  bytes in {len(selection.files)} files ({size_text(selection.size)}) would be sent to {url}")

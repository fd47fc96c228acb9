"""``wkpipe upload``: send a dataset to a WEBKNOSSOS server; stopped at any point, the same command resumes."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wkpipe.cli.command import Settings, command
from wkpipe.cli.options import AsJson, Token, warn_of_token
from wkpipe.errors import UnreadableInput, UsageError, one_line
from wkpipe.server.upload.limits import DEFAULT_CHUNK_BYTES, MOST_CHUNK_BYTES

if TYPE_CHECKING:
    from wkpipe.server.upload.uploading import UploadRequest, UploadStatus

STOPPED = (
    "stopped; the server keeps what was sent: the same command (without --again) resumes, `wkpipe upload … --cancel` cancels the upload"
)
_CHUNK_SIZE = f"{DEFAULT_CHUNK_BYTES >> 20}M"
_SIZE = re.compile(r"(\d{1,12})\s*([kmg]?)(i?b)?", re.IGNORECASE)


@command(
    "target webknossos_url token token_file dataset_name folder upload_layers upload_finest_mag upload_coarsest_mag datastore transfer_mode"
    " upload_jobs chunk_size allow_http ca_file proxy upload_again status cancel dry_run as_json state_dir quiet"
)
def upload(
    *,
    token: Token = None,
    token_file: Path | None,
    status: Annotated[bool, typer.Option("--status", help="Show how far uploads of this dataset are, and exit.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel the unfinished upload: the server deletes it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Show what would be sent, and exit.")] = False,
    as_json: AsJson = False,
    quiet: bool,
    settings: Settings,
    transfer_mode: Annotated[str, typer.Option(help="How the files get there: http is the only mode.")] = "http",
    chunk_size: Annotated[str, typer.Option(help=f"Bytes of one request, like {_CHUNK_SIZE}; at most {MOST_CHUNK_BYTES >> 20}M.")] = (
        _CHUNK_SIZE
    ),
) -> None:
    """Upload a dataset to a WEBKNOSSOS server. The same command resumes a stopped upload."""
    from wkpipe.plan.wishes.upload import request_of
    from wkpipe.stored.locations import Locations

    if transfer_mode != "http":
        raise UsageError(f"--transfer-mode {transfer_mode} does not exist", fix="use http; copy files to a server's disk yourself")
    if status + cancel + dry_run > 1:
        raise UsageError("--status, --cancel and --dry-run exclude each other")
    warn_of_token(token)
    config = settings.config()
    request = request_of(config, config.target, Locations.of(config.target, config.state_dir).state, parse_size(chunk_size))
    if status:
        _show_status(request, as_json)
    elif dry_run:
        _show_files(request, as_json)
    elif cancel:
        _cancel(request, token, token_file, as_json)
    else:
        _upload(request, token, token_file, as_json, quiet)


def parse_size(text: str) -> int:
    """Return the number of bytes in a text like 500k, 32M or 33554432.

    Raises:
        UsageError: the text is not such a number.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(where="--chunk-size", found=repr(text), expected="a number of bytes like 32M")
    return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2].lower()]


def _upload(request: UploadRequest, token: str | None, token_file: Path | None, as_json: bool, quiet: bool) -> None:
    from wkpipe.run.interrupt import interruptible
    from wkpipe.run.upload_progress import UploadProgress
    from wkpipe.server.http.token import take_token
    from wkpipe.server.upload.uploading import upload as upload_dataset

    shown = UploadProgress(quiet)
    with interruptible(STOPPED):
        try:
            uploaded = upload_dataset(request, take_token(token, token_file), shown)
        finally:
            shown.close()
    if as_json:
        print(json.dumps(asdict(uploaded)))
    elif uploaded.was_there:
        print(f"uploaded already (--again would upload it again): {uploaded.url}")
    else:
        print(f"uploaded {request.dataset}: {uploaded.url}")


def _cancel(request: UploadRequest, token: str | None, token_file: Path | None, as_json: bool) -> None:
    from wkpipe.server.http.token import take_token
    from wkpipe.server.upload.uploading import cancel as cancel_upload

    given_up = cancel_upload(request, take_token(token, token_file))
    print(json.dumps(asdict(given_up)) if as_json else f"cancelled: the upload of {given_up.name} to {given_up.url}")


def _show_status(request: UploadRequest, as_json: bool) -> None:
    from wkpipe.server.upload.uploading import statuses
    from wkpipe.stored.places import place_at

    if not place_at(request.dataset).is_directory():
        raise UnreadableInput(f"{request.dataset} is not a directory", fix="give the path of a dataset")
    found = statuses(request.state)
    if as_json:
        print(json.dumps([asdict(each) for each in found]))
        return
    for each in found:
        print(one_line(_status_line(each)))
    if not found:
        print(f"no upload of {request.dataset} has begun")


def _status_line(status: UploadStatus) -> str:
    from wkpipe.plan.cost.space import size_text

    where = f"{status.name} to {status.url}"
    if status.state == "done":
        return f"{where}: done, {status.dataset_url}"
    amount = f"{size_text(status.bytes_done)} of {size_text(status.bytes_total)} in {status.files} files"
    if status.state == "failed":
        return f"{where}: failed: {status.why}"
    return f"{where}: {amount}{', waiting for the server to finish it' if status.state == 'finishing' else ''} (upload {status.upload_id})"


def _show_files(request: UploadRequest, as_json: bool) -> None:
    from wkpipe.plan.cost.space import size_text
    from wkpipe.server.upload.uploading import select_files, where_to

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

"""``wkpipe remote-convert``: make a dataset on a server from images, in one run; the local copy is deleted afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Annotated

import typer

from wkpipe.cli.command import Settings, command
from wkpipe.cli.options import Token, WorkOptions, warn_of_token
from wkpipe.cli.work import work
from wkpipe.errors import AlreadyExists, InputRefused, TryAgain, WkpipeError, one_line
from wkpipe.server.upload.limits import DEFAULT_URL
from wkpipe.storage.inside import refuse_links
from wkpipe.storage.mounts import file_system_of
from wkpipe.storage.place import Place
from wkpipe.stored.places import place_at

NOT_IDENTITY = {"batch_size", "ignore_disk_space", "spool_dir", "upload_again", "allow_http", "ca_file", "proxy"}
"""The settings that the command which resumes may change."""

RAM = {"tmpfs", "ramfs", "devtmpfs"}
"""The types of file systems in memory."""

MOST_MARK_BYTES = 1 << 16
"""More bytes than any address has."""

OF_ONE_HOST = ("/tmp", "/var/tmp", "/dev/shm", "/run")
"""The directories that no host shares with others."""


@command(
    "source voxel_size webknossos_url token token_file name folder datastore upload_again allow_http ca_file proxy"
    " unit layer_name category family pattern missing_slices concat spool_dir"
    " series channels max_layers sparse rgb_labels rgb bilevel dtype rescale_min_max"
    " mag topleft bbox swap_xy flip_x flip_y flip_z padding"
    " data_format chunk_shape shard_shape compress compression_level batch_size"
    " downsample coarsest_mag interpolation_mode sampling_mode work_dir"
    " jobs distribution_strategy job_resources profile leave_jobs_running ignore_disk_space dry_run break_lock quiet"
)
def remote_convert(
    *,
    source: Path,
    token: Token = None,
    token_file: Path | None,
    settings: Settings,
    how: WorkOptions,
    work_dir: Annotated[
        Path, typer.Option(help="Directory for the dataset until it is uploaded; with jobs on other hosts, one that all hosts share.")
    ] = Path(),
) -> None:
    """Make a dataset on a WEBKNOSSOS server from images. The same command resumes after a crash; in the end, no local copy remains."""
    from wkpipe.server.http.token import take_token

    warn_of_token(token)
    secret = None if how.dry_run else take_token(token, token_file)
    settings = settings.having(
        source=str(source),
        name=settings["name"] or name_of(source),
        webknossos_url=settings["webknossos_url"] or DEFAULT_URL,
    )
    if how.is_on_other_hosts:
        check_shared(work_dir)
    target, place = work_dir / directory_name(settings), place_at(work_dir)
    # Others may write into the directory, as into /tmp: their links must not decide what is deleted in the end.
    refuse_links(*(place.path(name) for name in (target.name, _mark(target), _going(target))))
    if (url := _uploaded_before(place, target)) is not None and not how.dry_run:
        print(f"uploaded by an earlier run of this command: {url}")
        clean_up(target, url)
        return
    was_there = place.has(target.name)
    try:
        uploaded = work(settings.having(target=str(target)), how, f"converted {source}", f"{source} is converted already", secret)
    except WkpipeError as error:
        if place.has(_mark(target)) or (was_there and not place.has(target.name)):
            raise TryAgain("another run of this command has just uploaded this, and deletes the local copy", where=target) from error
        if not place.has(target.name) or isinstance(error, TryAgain):
            raise
        if not isinstance(error, AlreadyExists):
            kept = f"the finished part is kept in {target}; to give it up, delete that directory"
            raise error.but(fix="; ".join(part for part in (error.fix, kept) if part)) from error
        raise AlreadyExists(
            "an earlier run of this command has begun this with other images",
            where=target,
            fix="delete that directory, and run the same command again",
        ) from None
    if uploaded is not None:
        clean_up(target, uploaded.url)


def name_of(source: Path) -> str:
    """Return the default name of a dataset: that of the source's directory, or of its file without the suffix."""
    place = place_at(source)
    real = Path(place.real())
    return real.name if place.is_directory() else real.stem


def directory_name(settings: Settings) -> str:
    """Return the name of the directory for this source and these options: the same command finds what it has begun.

    Raises:
        UsageError: an option is not valid.
    """
    config = settings.having(target=".").config()
    identity = {key: value for key, value in config.to_json().items() if key not in NOT_IDENTITY}
    identity["source"] = place_at(Path(identity["source"])).real()
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', str(settings['name']))[:80]}-{digest[:10]}.uploading"


def check_shared(directory: Path) -> None:
    """Refuse a directory that other hosts probably cannot see.

    Raises:
        InputRefused: the directory is for temporary files, or in memory.
    """
    path, *directories = (Path(place_at(Path(name)).real()) for name in (directory, *OF_ONE_HOST, os.environ.get("TMPDIR") or "/tmp"))
    temporary = next((each for each in directories if path.is_relative_to(each)), None)
    kind = file_system_of(path)
    if temporary is None and kind not in RAM:
        return
    why = f"is on a {kind} file system, in this host's memory" if kind in RAM else f"is in {temporary}, which every host has for itself"
    raise InputRefused(f"{path} {why}, but jobs run on other hosts", fix="give --work-dir a directory that all of them share")


# -- afterwards -----------------------------------------------------------------------------------------------------


def _mark(target: Path) -> str:
    """Return the name, beside a dataset, of the file which says, while the dataset is being deleted, that it is uploaded."""
    return f"{target.name}.done"


def _uploaded_before(place: Place, target: Path) -> str | None:
    """Return the address on the server of a dataset whose local deletion was interrupted; None if there is none."""
    content = place.content(_mark(target), MOST_MARK_BYTES)
    return None if content is None else one_line(content.decode(errors="replace"))


def _going(target: Path) -> str:
    """Return the name of a dataset while it is being deleted."""
    return f"{target.name}.deleting"


def clean_up(target: Path, url: str) -> None:
    """Delete the local copy of an uploaded dataset; after an interruption, the same command completes this and uploads nothing."""
    from wkpipe.storage.scratch import Scratch
    from wkpipe.stored.locations import Locations

    locations, place, mark = Locations.of(target), place_at(target.parent), _mark(target)
    if not place.has(mark):
        place.writing(Scratch(locations.data_temporary)).put(mark, url.encode())
    going = place.child(_going(target))
    going.remove_below()
    if place.has(target.name):
        # Atomically: a run that starts now finds all of the dataset or nothing, and never uploads the rest of it.
        locations.data.move_to(going)
    for each in (going, locations.store):
        each.remove_below()
    place.remove([mark])

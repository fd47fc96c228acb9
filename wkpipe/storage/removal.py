"""Remove files and directories durably."""

from __future__ import annotations

import contextlib
import os
import stat
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from wkpipe.errors import WkpipeError
from wkpipe.storage import disk, names
from wkpipe.storage.access import is_directory, is_link
from wkpipe.storage.opened import names_in
from wkpipe.storage.place import Place
from wkpipe.storage.process import is_signature_of_dead
from wkpipe.storage.scratch import Scratch

_ABANDONED_SECONDS = 3600.0


def remove_abandoned(directory: Path) -> None:
    """Remove temporary files that are old or whose process is dead; others may be in use."""
    for path in directory.glob("*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(path.lstat().st_mode):
                continue
            signed = path.name.split(".")[1:-1]
            if (signed and is_signature_of_dead(signed[0])) or time.time() - path.lstat().st_mtime > _ABANDONED_SECONDS:
                disk.unlink(path)


def remove_older(scratch: Scratch, is_all: bool = False) -> None:
    """Remove what is beside a scratch directory: those of older runs, and temporary files whose process is dead, or with `is_all` any."""
    parent = scratch.directory.parent
    for entry in map(parent.joinpath, names_in(str(parent))):
        if is_all or is_link(entry) or is_directory(entry):  # wkpipe makes no links: a link is removed, its target stays
            with contextlib.suppress(WkpipeError):  # a run that has lost its lease may still put files there
                disk.remove_tree(entry, scratch.root)
    remove_abandoned(parent)


def remove_files(paths: Sequence[Path], scratch: Scratch, lasting: bool = True) -> None:
    """Remove files, durably by default: their directories are synced."""
    for path in paths:
        scratch.admit(path.parent)
        disk.unlink(path)
    if not lasting:
        return
    for directory in sorted({path.parent for path in paths if path.parent.is_dir()}):
        disk.sync_directory(directory)


def remove_directory(path: Path, scratch: Scratch) -> None:
    """Remove a directory, or the link in its place; a missing one is fine.

    The directory first vanishes as a whole, durably; then its content is removed. If it were emptied in place, a part of it
    could reappear after a power failure.
    """
    if not path.is_dir() and not path.is_symlink():
        return
    scratch.admit(path.parent)
    is_around = scratch.directory.is_relative_to(path)
    if not is_around:
        disk.make_directory(scratch.directory)
    if not is_around and os.stat(scratch.directory).st_dev == os.lstat(path).st_dev:
        gone = scratch.directory / f"{uuid.uuid4().hex}.removed"
        names.rename(path, gone)
        disk.sync_directory(path.parent)
        disk.remove_tree(gone, scratch.root)
    else:
        disk.remove_tree(path, scratch.root)
        disk.sync_file_system(path.parent)


def remove_place(place: Place, root: Path) -> None:
    """Remove the directory of a place with all its content, durably; a missing one is fine.

    Raises:
        InputRefused: a link is on the way to it from `root`.
    """
    directory = place.path()
    if place.is_directory():
        disk.remove_tree(directory, root)
        disk.sync_directory(directory.parent)

"""Copy a file, or a directory with all its content, to a name that is not used yet.

The copy is made where nothing looks for it, such as in a scratch directory, and is durable when `copy_all` returns; the caller then
renames it. Links are refused: what they lead to does not belong to the directory. Hard links in place of copies are for a source that
will be removed: both names then have the same content, which takes no space.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from wkpipe.errors import DamagedShard, InputRefused, UnreadableInput
from wkpipe.storage import disk, names
from wkpipe.storage.digest import table_stamp
from wkpipe.storage.disk import LEFTOVER
from wkpipe.storage.opened import Damage, OpenFile, unreadable

_PIECE: Final = 4 << 20
_MOST_DEPTH: Final = 100


def bytes_to_copy(source: Path) -> int:
    """Return the size of all files that `copy_all` would copy, after a check that it can.

    Raises:
        InputRefused: there is a link, or something else than files and directories; names it.
        UnreadableInput, DamagedShard: the source is missing, or a directory cannot be read.
    """
    return sum(status.st_size for _, status in _below(source, _MOST_DEPTH) if stat.S_ISREG(status.st_mode))


def stamp_of_all(path: Path) -> str:
    """Return a text that changes with the names, sizes or times of a file, or of all that is in a directory.

    Raises:
        InputRefused, UnreadableInput, DamagedShard: see `bytes_to_copy`.
    """
    facts = {}
    for each, status in _below(path, _MOST_DEPTH):
        facts[str(each.relative_to(path))] = (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else (-1, 0)
    return table_stamp(facts)


def copy_all(source: Path, target: Path, hard_links: bool = False) -> None:
    """Copy a file or directory; `hard_links` gives the same files a second name if the file system can.

    Raises:
        InputRefused, UnreadableInput, DamagedShard: see `bytes_to_copy`.
        NotWritable: the disk is full, or refuses the copy.
    """
    for path, status in _below(source, _MOST_DEPTH):
        copy = target / path.relative_to(source)
        if stat.S_ISDIR(status.st_mode):
            disk.make_new_directory(copy)
        elif not hard_links or not names.add_name(path, copy):
            _copy_file(path, copy)
    disk.sync_file_system(target.parent)


def _below(path: Path, depth: int) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield path and status of a file or directory, and then of all that is below it."""
    try:
        status = os.lstat(path)
        inner = sorted(os.listdir(path)) if stat.S_ISDIR(status.st_mode) else []
    except FileNotFoundError:
        raise UnreadableInput("there is no such file or directory", where=path) from None
    except OSError as error:
        raise unreadable(str(path), error) from error
    if stat.S_ISLNK(status.st_mode):
        raise InputRefused("it is a link, and links are not copied", where=path, fix="put a copy of its target in its place, or remove it")
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise InputRefused("it is neither a file nor a directory, so it is not copied", where=path, fix="remove it")
    if not depth:
        raise InputRefused(f"directories are nested deeper than {_MOST_DEPTH} levels", where=path)
    yield path, status
    for name in inner:
        if not name.startswith(LEFTOVER):
            yield from _below(path / name, depth - 1)


def _copy_file(source: Path, target: Path) -> None:
    try:
        file = OpenFile(str(source))
    except OSError as error:
        raise unreadable(str(source), error) from error
    descriptor = disk.create(target)
    try:
        for start in range(0, file.size, _PIECE):
            disk.write(descriptor, _read(file, start, min(_PIECE, file.size - start)), target)
    finally:
        disk.close(descriptor, target)


def _read(file: OpenFile, start: int, size: int) -> bytes:
    try:
        return file.read(start, size)
    except Damage as error:
        raise DamagedShard(f"it changed while it was copied: {error}", where=file.path, fix="copy it again") from error
    except OSError as error:
        raise unreadable(file.path, error) from error

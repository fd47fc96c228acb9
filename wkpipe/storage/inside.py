"""Nothing below a dataset's own directories may lead out of it: a dataset that somebody sends is data.

wkpipe's state holds directories and regular files that wkpipe wrote. A link in it (or a pipe, or a device) was put there
by somebody else, and would have wkpipe read, write or remove what it leads to. So all of it is refused, before anything
of it is read. Where wkpipe only removes what it finds (temporary files, older runs), links are removed like files.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from wkpipe.errors import InputRefused
from wkpipe.storage.access import is_link


def refuse_links(*paths: Path) -> None:
    """Make sure that none of these paths is a link.

    Raises:
        InputRefused: one is; names it and where it leads.
    """
    for path in paths:
        if is_link(path):
            raise InputRefused(
                f"{path} is a link that leads out to {os.path.realpath(path)}; wkpipe writes only inside of the dataset: "
                "put a copy in the place of the link, or remove it"
            )


def refuse_links_between(root: Path, path: Path) -> None:
    """Make sure that no component of a path below `root` is a link.

    Raises:
        InputRefused: one is.
    """
    if path.is_relative_to(root):
        refuse_links(*reversed([step for step in (path, *path.parents) if step != root and step.is_relative_to(root)]))


def refuse_strangers(root: Path, unread: Collection[str] = ()) -> None:
    """Make sure that a directory, at any depth, holds directories and regular files only; it need not exist.

    `unread` are paths relative to `root`, whose parts may be ``*``, that are not looked at, as nothing is read from there.

    Raises:
        InputRefused: there is anything else; names it.
    """
    refuse_links(root)
    patterns = [tuple(name.split("/")) for name in unread]
    for entry, parts in _entries(root, (), patterns):
        if entry.is_symlink():
            refuse_links(Path(entry.path))
        if not entry.is_dir(follow_symlinks=False) and not entry.is_file(follow_symlinks=False):
            raise InputRefused(f"{root.joinpath(*parts)} is neither a file nor a directory; it is not wkpipe's: remove it")


def _entries(
    directory: Path, parts: tuple[str, ...], unread: Collection[tuple[str, ...]]
) -> Iterator[tuple[os.DirEntry[str], tuple[str, ...]]]:
    entries: list[os.DirEntry[str]] = []
    # What may not be read is the business of whoever tries to; what is removed meanwhile is none.
    with contextlib.suppress(PermissionError, FileNotFoundError, NotADirectoryError), os.scandir(directory) as found:
        entries = list(found)
    for entry in entries:
        here = (*parts, entry.name)
        if any(_matches(here, pattern) for pattern in unread):
            continue
        yield entry, here
        if entry.is_dir(follow_symlinks=False):
            yield from _entries(Path(entry.path), here, unread)


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    return len(parts) == len(pattern) and all(wanted in ("*", part) for part, wanted in zip(parts, pattern, strict=True))

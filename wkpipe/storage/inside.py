"""Refuse links that lead out of a dataset: a dataset from somebody else is only data.

wkpipe's state consists of directories and regular files that wkpipe wrote. Somebody else put any link (or pipe, or device)
there, and wkpipe would read, write or remove its target. So such a state is refused before anything in it is read. If wkpipe
only removes what it finds (temporary files, older runs), links are removed like files.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from wkpipe.errors import InputRefused
from wkpipe.storage.access import is_link
from wkpipe.storage.scratch import FIX_OF_LINK


def refuse_links(*paths: Path | str) -> None:
    """Check that none of these paths is a link.

    Raises:
        InputRefused: one is a link; names it and its target.
    """
    for path in paths:
        if is_link(path):
            raise InputRefused(
                f"{path} is a link that leads out to {os.path.realpath(path)}, and wkpipe writes only inside of the dataset",
                fix=FIX_OF_LINK,
            )


class Looks:
    """Looks at paths in a dataset before they are used: each time, or `once`, as a single plan or job does.

    >>> looks = Looks(once=True)
    >>> looks.at("/data/em", lambda: print("looked")), looks.at("/data/em", lambda: print("looked again"))
    looked
    (None, None)
    """

    def __init__(self, once: bool = False) -> None:
        self._seen: set[str] | None = set() if once else None

    def at(self, path: str, *checks: Callable[[], None]) -> None:
        """Make the checks of a path; they raise an error if it must not be used."""
        if self._seen is not None and path in self._seen:
            return
        for check in checks:
            check()
        if self._seen is not None:
            self._seen.add(path)


def refuse_strangers(root: Path, unread: Collection[str] = ()) -> None:
    """Check that a directory contains only directories and regular files, at any depth; it need not exist.

    `unread` are paths relative to `root` that are skipped, because nothing is read from there; their parts may be ``*``.

    Raises:
        InputRefused: there is anything else; names it.
    """
    refuse_links(root)
    patterns = [tuple(name.split("/")) for name in unread]
    for entry, parts in _entries(root, (), patterns):
        if entry.is_symlink():
            refuse_links(Path(entry.path))
        if not entry.is_dir(follow_symlinks=False) and not entry.is_file(follow_symlinks=False):
            raise InputRefused(f"{root.joinpath(*parts)} is neither a file nor a directory, so it is not wkpipe's", fix="remove it")


def _entries(
    directory: Path, parts: tuple[str, ...], unread: Collection[tuple[str, ...]]
) -> Iterator[tuple[os.DirEntry[str], tuple[str, ...]]]:
    entries: list[os.DirEntry[str]] = []
    # A directory that may not be read is reported by the code that reads it; one that is removed meanwhile is fine.
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

"""Layer names: those that can exist, and those that new layers may have.

A layer's name is the name of its directory. In datasets of other tools, every name that a directory can have is read.
The rules for new names are stricter: every file system and every tool must keep them apart.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from wkpipe.errors import InputRefused, one_line

LONGEST_NAME: Final = 255
"""In bytes, the limit of file systems. Names made from it, as of tasks and temporary files, are cut or hashed."""

RESERVED_NAMES: Final = frozenset({"datasource-properties.json", "zarr.json", ".zgroup", ".zattrs", ".zarray", ".zmetadata", ".wkpipe"})
"""The files and directories of a dataset; a layer's directory must not have one of these names."""

_NEW_NAME = re.compile(r"[A-Za-z0-9_$@-][A-Za-z0-9_$@.-]*")


def check_layer_name(name: str) -> None:
    """Check the name of a layer that exists already: it must be possible as the name of a directory.

    Raises:
        InputRefused: empty, longer than 255 bytes, with a "/" or an unprintable character, or starting with a dot.
    """
    if not name or "/" in name or name.startswith(".") or not name.isprintable() or len(name.encode()) > LONGEST_NAME:
        raise InputRefused(
            f"layer name {one_line(name, 80)!r} is not possible: it must not be empty, longer than {LONGEST_NAME} bytes, contain / or "
            "unprintable characters, or start with a dot"
        )


def check_new_layer_name(name: str) -> None:
    """Check the name of a new layer.

    >>> check_new_layer_name("em_data")

    Raises:
        InputRefused: it is empty, too long, starts with a dot, is the name of a file of the dataset, or has other characters
            than ASCII letters, digits and ``_ $ @ - .``.
    """
    if not _NEW_NAME.fullmatch(name):
        raise InputRefused(
            f"layer name {one_line(name, 80)!r} is not possible: use ASCII letters, digits, _ $ @ - and, not in first place, dots"
        )
    check_free_name(name)


def check_free_name(name: str) -> None:
    """Check that a new layer's directory can be created, and does not have the name of another file.

    Raises:
        InputRefused: it is too long, or the name of a file of the dataset.
    """
    if len(name.encode()) > LONGEST_NAME:
        raise InputRefused(f"layer name {one_line(name, 80)!r} has {len(name.encode())} bytes", expected=f"at most {LONGEST_NAME}")
    if _folded(name) in RESERVED_NAMES:
        raise InputRefused(f"layer name {name!r} is the name of a file of the dataset", fix="choose another one")


def alike(name: str, others: Iterable[str]) -> str | None:
    """Return the first of `others` that some file systems do not keep apart from `name`; None if there is none.

    >>> alike("EM", ["labels", "em"])
    'em'
    """
    return next((other for other in others if _folded(other) == _folded(name)), None)


def check_kept_apart(names: Iterable[str]) -> None:
    """Check that every file system keeps the names of all layers of a new dataset apart.

    Raises:
        InputRefused: two names differ only in case, or in their Unicode spelling.
    """
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(_folded(name), name)) != name:
            raise InputRefused(
                "their names differ only in case or spelling, and some file systems take them for one",
                where=f"layers {one_line(other, 80)} and {one_line(name, 80)}",
                fix="rename one of them",
            )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())

"""Layer names: the names that are allowed, and the layer name that a file or folder gives."""

from __future__ import annotations

import re
from collections.abc import Iterable

from wkpipe.errors import InputRefused, UsageError, one_line
from wkpipe.metadata.layer_names import check_kept_apart, check_new_layer_name

_FORBIDDEN = re.compile(r"[^A-Za-z0-9_$@.\-]")
FALLBACK_NAME = "layer"


def clean_name(text: str) -> str:
    """Return a text without the characters that a layer name must not have (``x y/v.tif`` → ``xyv.tif``), never empty."""
    return _FORBIDDEN.sub("", text).lstrip(".") or FALLBACK_NAME


def check_name(name: str) -> str:
    """Check a layer name that a user gave, and return it.

    Raises:
        UsageError: it is empty, too long, starts with a dot, is the name of a file of the dataset, or has characters
            that are not allowed.
    """
    if not name or name != clean_name(name):
        shown = one_line(name, 80)
        raise UsageError(f"layer name {shown!r} is not allowed", fix="use ASCII letters, digits, _ $ @ - and dots (not first)")
    try:
        check_new_layer_name(name)
    except InputRefused as error:
        raise UsageError.of(error) from None
    return name


def check_names(names: Iterable[str], source: object) -> None:
    """Check the layer names that the files and folders of a source give.

    Raises:
        InputRefused: one is too long or the name of a file of the dataset, or two differ only in case.
    """
    found = list(names)
    try:
        for name in found:
            check_new_layer_name(name)
        check_kept_apart(found)
    except InputRefused as error:
        what = f"{error.what} (names come from files and folders, --layer-name gives others)"
        raise error.within(source).but(what=what) from None


def unique_names(names: Iterable[str]) -> list[str]:
    """Return the names in order; a repeated name gets ``_2``, ``_3`` and so on, the first number that is free."""
    wanted = list(names)
    taken = set(wanted)
    seen: set[str] = set()
    result = []
    for name in wanted:
        candidate, number = name, 1
        while candidate in seen or (number > 1 and candidate in taken):
            number += 1
            candidate = f"{name}_{number}"
        seen.add(candidate)
        result.append(candidate)
    return result

"""Warnings that point at the caller's line, however deep in wkpipe they occur."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).parents[1]


def warn_caller(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the first line outside of wkpipe, which the user can change.

    DeprecationWarnings are shown by default only if that line is in the main script, so a fixed `stacklevel` would hide them.
    """
    level, frame = 1, inspect.currentframe()
    while frame is not None and Path(frame.f_code.co_filename).is_relative_to(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)

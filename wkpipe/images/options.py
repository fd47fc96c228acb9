"""SourceOptions: what the user says about a source; a value that the config makes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wkpipe.images.content import CONTENT, ContentOptions
from wkpipe.images.frame import AS_STORED, Arrangement
from wkpipe.images.grouping import BY_INSPECTION, Grouping

FAIL, FILL, REPEAT, CLOSE = "fail", "fill", "repeat", "close"
MISSING = (FAIL, FILL, REPEAT, CLOSE)
LISTED = "from:"


@dataclass(frozen=True)
class SourceOptions:
    """What the user says about the files, pages and names of a source; the defaults find out as much as is certain.

    family: the endings of the files to use, like ``.tif``; () = those of the largest family. pattern: the form of the files' names.
    missing: what to do about missing slices: fail, fill, repeat or close, or ``from:`` and a file that lists lost ones. concat: ``z`` if
    all planes of all files and folders follow each other. spool: the directory for archives that must be decompressed as a whole.
    padding: ``fill`` if slices that are smaller than others are padded with 0. arrangement: which part of the images is wanted, and how.
    grouping: which files make a layer together.
    """

    family: tuple[str, ...] = ()
    pattern: str | None = None
    missing: str = FAIL
    concat: str | None = None
    spool: Path | None = None
    content: ContentOptions = CONTENT
    padding: str = FAIL
    arrangement: Arrangement = AS_STORED
    grouping: Grouping = BY_INSPECTION

    @property
    def is_padding(self) -> bool:
        """True if slices may have different widths and heights."""
        return self.padding == FILL

    @property
    def lost_sections(self) -> Path | None:
        """The file that lists lost sections; None if there is none."""
        return Path(self.missing.removeprefix(LISTED)) if self.missing.startswith(LISTED) else None


DEFAULTS = SourceOptions()

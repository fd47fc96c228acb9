"""SourceFile: a file of a dataset as it was when its upload began; it must not change until it is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import google_crc32c

from wkpipe.errors import DamagedShard, UnreadableInput, WkpipeError
from wkpipe.metadata.json_node import MAX_BYTES
from wkpipe.storage.opened import TooLarge
from wkpipe.storage.place import Facts, Place

GONE: Final = "it is gone"
WRITTEN: Final = "it was written meanwhile"
NO_FILE: Final = "it is not a file any more"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to send: its path in the dataset with slashes, its size, and the value of its stamp (on a disk, its mtime).

    If its `content` is in memory, `stamp` is the CRC-32C of that instead; `checksum` is that of the stored file.
    """

    path: str
    size: int
    stamp: int | str
    content: bytes | None = None
    checksum: int | None = None

    def differs_in(self, place: Place) -> str | None:
        """Return how the stored file differs (by size and stamp, or by its checksum); None if it does not."""
        try:
            if self.content is None:
                facts = place.facts(self.path)
                return GONE if facts is None else self.difference(facts)
            found = place.content(self.path, MAX_BYTES)
        except TooLarge:
            return WRITTEN
        except (UnreadableInput, DamagedShard) as error:
            return reason_of(error) or NO_FILE
        if found is None:
            return GONE
        return None if google_crc32c.value(found) == self.checksum else WRITTEN

    def difference(self, facts: Facts) -> str | None:
        """Return how a file with these facts differs; None if it does not."""
        if facts.size != self.size:
            return f"found {facts.size} bytes, expected {self.size}"
        return None if facts.stamp.value == self.stamp else WRITTEN


def reason_of(error: WkpipeError) -> str:
    """Return why a file cannot be read, in the system's words; an empty text if it is no file."""
    cause = error.__cause__
    return (cause.strerror or str(cause)) if isinstance(cause, OSError) else ""

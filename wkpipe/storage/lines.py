"""Lines with a checksum: the form of ledgers and journals, whose last line a crash may cut short.

A line is ``<CRC-32C of the JSON, 8 hex digits> <JSON>``. Journals of earlier versions have the checksum at the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import google_crc32c

from wkpipe.storage.place import Opened

MOST_LINE_BYTES: Final = 1 << 16
_READ_BYTES: Final = 1 << 20


def checked_line(content: Any) -> bytes:
    """Return a line that holds a JSON value.

    >>> checked_line([1, "a"])
    b'6259c933 [1,"a"]\\n'
    """
    text = json.dumps(content, separators=(",", ":")).encode()
    return b"%08x %s\n" % (google_crc32c.value(text), text)


def content_of_line(line: bytes) -> Any:
    """Return the JSON value of a line.

    Raises:
        ValueError: the line was cut short or damaged.
    """
    line = line.rstrip(b"\n")
    first, _, rest = line.partition(b" ")
    if len(first) == 8 and first[:1] not in b"[{":
        crc, text = first, rest
    else:
        text, _, crc = line.rpartition(b" ")
    if int(crc, 16) != google_crc32c.value(text):
        raise ValueError("the checksum does not match")
    return json.loads(text)


def lines_of(file: Opened, longest: int = MOST_LINE_BYTES) -> Iterator[bytes]:
    """Yield the lines of a file, up to one that a crash cut short or that is too long to be a line of a ledger."""
    rest = b""
    for offset in range(0, file.size, _READ_BYTES):
        *lines, rest = (rest + file.read(offset, min(_READ_BYTES, file.size - offset))).split(b"\n")
        for line in lines:
            yield line + b"\n"
            if len(line) >= longest:
                return
        if len(rest) >= longest:
            break
    if rest:
        yield rest

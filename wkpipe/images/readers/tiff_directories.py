"""The chain of page directories in a TIFF file, checked before a parser reads it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from wkpipe.errors import UnreadableInput

TAG_ITEM_BYTES = np.array([8, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 8, 8, 8, 8, 8])
"""Bytes of one value of each kind of tag (TIFF 6.0, section 2; BigTIFF)."""
MOST_TAG_BYTES = 1 << 27
SHORT = 3


SUBFILE_TYPE, REDUCED_BIT, MASK_BIT = 254, 1, 4


class Chain(NamedTuple):
    """The main chain of page directories: the position of each, and its subfile type, which marks side images."""

    offsets: list[int]
    kinds: list[int]


def read_chain(path: Path, handle: BinaryIO, size: int) -> Chain:
    """Return all page directories, from the first to the end of their chain.

    Raises:
        UnreadableInput: the file is not a TIFF, a directory is beyond its end, or the chain runs in a circle.
    """
    handle.seek(0)
    head = handle.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    version = struct.unpack(order + "H", head[2:4])[0] if order and len(head) >= 8 else 0
    if version not in (42, 43) or (version == 43 and len(head) < 16):
        is_text = size < 512 and head.isascii() and order == ""
        hint = " (it looks like a link that was checked out as a text file)" if is_text else ""
        raise UnreadableInput(f"not a TIFF file: it starts with {head[:16]!r}{hint}", where=path, fix="replace the file")
    big = version == 43
    count_format, entry, link_format = ("Q", 20, "Q") if big else ("H", 12, "I")
    count_bytes, link_bytes = struct.calcsize("<" + count_format), struct.calcsize("<" + link_format)
    following = struct.unpack(order + link_format, head[8:16] if big else head[4:8])[0]
    offsets: list[int] = []
    kinds: list[int] = []
    seen: set[int] = set()
    while following:
        if following in seen:
            raise UnreadableInput(f"the directory after page {len(offsets)} is an earlier one", where=path, fix="replace the file")
        count = b""
        if following < size:
            handle.seek(following)
            count = handle.read(count_bytes)
        entries = struct.unpack(order + count_format, count)[0] if len(count) == count_bytes else size
        end = following + count_bytes + entries * entry
        if end + link_bytes > size:
            raise UnreadableInput(
                f"truncated: the directory of page {len(offsets) + 1} is beyond the end of the file ({size} bytes)",
                where=path,
                fix="replace the file",
            )
        offsets.append(following)
        seen.add(following)
        handle.seek(following + count_bytes)
        kinds.append(_subfile_type(_checked_tags(path, handle.read(entries * entry), order, big), order))
        handle.seek(end)
        following = struct.unpack(order + link_format, handle.read(link_bytes))[0]
    if not offsets:
        raise UnreadableInput("the TIFF file has no page", where=path, fix="replace the file")
    return Chain(offsets, kinds)


def _subfile_type(tags: np.ndarray[Any, Any], order: str) -> int:
    found = tags[tags["tag"] == SUBFILE_TYPE]
    if not len(found):
        return 0
    return int(np.frombuffer(found[0]["value"].tobytes(), f"{order}u{2 if found[0]['kind'] == SHORT else 4}", 1)[0])


def _checked_tags(path: Path, directory: bytes, order: str, big: bool) -> np.ndarray[Any, Any]:
    """Return the tags of a directory; none is too large to be read: the parser reads all of them.

    Raises:
        UnreadableInput: a tag is too large; names it.
    """
    entry = np.dtype([("tag", "u2"), ("kind", "u2"), ("count", "u8" if big else "u4"), ("value", "V8" if big else "V4")])
    tags = np.frombuffer(directory, entry.newbyteorder("<" if order == "<" else ">"))
    most = MOST_TAG_BYTES // TAG_ITEM_BYTES[np.minimum(tags["kind"], len(TAG_ITEM_BYTES) - 1)]
    for tag in tags[tags["count"] > most.astype(np.uint64)]:
        raise UnreadableInput(
            f"tag {tag['tag']} claims {tag['count']} values, more than a TIFF file can need", where=path, fix="replace the file"
        )
    return tags

"""PNG files below the decoder: their completeness, their checksums, and what their header says of bits and colours."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from wkpipe.errors import UnreadableInput

END_OF_PNG = b"IEND\xaeB`\x82"
GRAY, GRAY_ALPHA, RGB, RGBA = 0, 4, 2, 6


def header_of(handle: BinaryIO) -> tuple[int, int]:
    """Return the bits per sample and the kind of colours of a PNG."""
    header = os.pread(handle.fileno(), 29, 0)
    return (header[24], header[25]) if len(header) == 29 else (0, 0)


def deep_channels(handle: BinaryIO) -> int:
    """Return the number of 16-bit channels of a PNG that Pillow would reduce to 8 bits (RGB, and gray with alpha), else 0."""
    depth, colours = header_of(handle)
    return {RGB: 3, RGBA: 3, GRAY_ALPHA: 1}.get(colours, 0) if depth == 16 else 0


def id_factor(handle: BinaryIO) -> int:
    """Return the factor with which decoders scale the values of a gray PNG with 2 or 4 bits, so that they fill 8 bits; else 1."""
    depth, colours = header_of(handle)
    return 255 // (2**depth - 1) if colours == GRAY and depth in (2, 4) else 1


def check_png(path: Path, handle: BinaryIO, size: int) -> None:
    """Check that a PNG is complete: follow its chunks to the last one without reading their contents.

    Raises:
        UnreadableInput: it has no end.
    """
    if os.pread(handle.fileno(), len(END_OF_PNG), size - len(END_OF_PNG)) == END_OF_PNG:
        return
    at = 8
    while at + 12 <= size:
        length, kind = struct.unpack(">I4s", os.pread(handle.fileno(), 8, at))
        if not kind.isalpha():  # not a chunk: nothing after it can be found
            break
        at += 12 + length
        if kind == b"IEND" and at <= size:
            return
    raise UnreadableInput(f"truncated: the PNG image has no end (IEND) within its {size} bytes", where=path, fix="replace the file")


def check_sums(content: bytes) -> None:
    """Check the checksums of all critical chunks of a PNG; decoders pass over some of them.

    Raises:
        ValueError: a chunk is damaged.
    """
    at = 8
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        if end > len(content):
            raise ValueError(f"its chunk {kind!r} is cut off")
        is_critical = kind[:1].isupper()
        if is_critical and zlib.crc32(memoryview(content)[at + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
            raise ValueError(f"the checksum of its chunk {kind!r} is wrong")
        if kind == b"IEND":
            return
        at = end

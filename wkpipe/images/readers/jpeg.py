"""JPEG files below the decoder: their completeness, their frame, and damage that decoders pass over.

libjpeg only warns of damaged data, and fills in what it could not decode.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from wkpipe.errors import UnreadableInput, one_line

EIGHT_BIT_FRAMES = {0xC0, 0xC1, 0xC2}
"""The markers of frames that libjpeg-turbo decodes to 8 bits: baseline, extended and progressive."""

NO_LENGTH = {0x01, *range(0xD0, 0xD9)}
"""Markers without content."""

END_OF_JPEG = b"\xff\xd9"
MOST_BYTES_AFTER = 64 << 20
"""How far before the end of a file its end marker is searched."""


class JpegFrame(NamedTuple):
    """The header of a JPEG's image: its marker, bits per sample, size and number of components; zeros if it has none."""

    marker: int = 0
    bits: int = 0
    height: int = 0
    width: int = 0
    components: int = 0


def frame_of(content: bytes) -> JpegFrame:
    """Return the header of a JPEG's image."""
    at = 2
    while at + 10 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF or marker in NO_LENGTH:
            at += 1 if marker == 0xFF else 2
            continue
        if marker & 0xF0 == 0xC0 and marker not in (0xC4, 0xC8, 0xCC):
            return JpegFrame(marker, *struct.unpack_from(">BHHB", content, at + 4))
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return JpegFrame()


def check_jpeg(content: bytes, tables: bytes | None = None) -> None:
    """Check the compressed data of a JPEG; `tables` are those that a TIFF keeps apart.

    JPEG has no checksum: damage that still decodes to a complete image is not found. Frames that libjpeg-turbo does not decode to
    8 bits (12 bits, lossless) are not checked.

    Raises:
        ValueError: the data are damaged; the text says how.
    """
    import simplejpeg

    whole = content if not tables else tables.removesuffix(END_OF_JPEG) + content.removeprefix(b"\xff\xd8")
    frame = frame_of(whole)
    if frame.marker not in EIGHT_BIT_FRAMES or frame.bits != 8:
        return
    try:
        simplejpeg.decode_jpeg(whole, "CMYK" if frame.components == 4 else "GRAY", fastdct=True, fastupsample=True, strict=True)
    except ValueError as error:
        raise ValueError(one_line(error, 160)) from None


def check_complete(path: Path, handle: BinaryIO, size: int) -> None:
    """Check that a JPEG is complete: follow its markers to the first scan, then search for the end marker from the end of the file.

    Raises:
        UnreadableInput: it has no end.
    """
    descriptor = handle.fileno()
    if os.pread(descriptor, 2, size - 2) == END_OF_JPEG:
        return
    at = 2
    while at + 4 <= size:
        marker, length = struct.unpack(">HH", os.pread(descriptor, 4, at))
        at += 2 if marker == 0xFFFF else 2 + length
        if marker == 0xFFDA or marker < 0xFF00:
            break
    end, step = size, 1 << 16
    while end > max(at, size - MOST_BYTES_AFTER):
        start = max(at, end - step)
        # One more byte, to find a marker that spans two reads.
        if END_OF_JPEG in os.pread(descriptor, end - start + 1, start):
            return
        end = start
    raise UnreadableInput(f"truncated: the JPEG image has no end marker within its {size} bytes", where=path, fix="replace the file")

"""PNG, JPEG, BMP and GIF, which are always decoded whole.

What the voxels are: gray images of 8 and 16 bits as they are; palettes become RGB; alpha is dropped, of gray images too; PNGs of
16 bits per colour keep them (three channels of uint16). CMYK and animated images are refused. EXIF orientation is not applied.
"""

from __future__ import annotations

import functools
import io
import os
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from wkpipe.errors import InputRefused, UnreadableInput, one_line
from wkpipe.images.reader import AxisSizes, ImageFile, Voxels, has_extension, opened, reopened

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile as PillowFile

# mode of Pillow → (dtype, channels)
MODES = {
    "1": ("bool", 1),
    "L": ("uint8", 1),
    "LA": ("uint8", 1),
    "I;16": ("uint16", 1),
    "I;16B": ("uint16", 1),
    "P": ("uint8", 3),
    "PA": ("uint8", 3),
    "RGB": ("uint8", 3),
    "RGBA": ("uint8", 3),
    "RGBX": ("uint8", 3),
}
# deflate reaches 1 : 1032, at 8 pixels a byte; JPEG needs a bit for every 64 pixels; GIF and BMP lie in between
MOST_PIXELS_PER_BYTE = 8800
MOST_DECODED_BYTES = 1 << 34
"""Larger images are refused, as they can only be decoded whole; TIFF has strips and tiles for them."""
MOST_BYTES_BESIDE = 64 << 20
"""What a file may have beyond twice the bytes of its pixels: metadata, colour profiles, what other tools append."""
MOST_BYTES_BESIDE_GIF = 1 << 20
END_OF_JPEG = b"\xff\xd9"
END_OF_PNG = b"IEND\xaeB`\x82"


class PillowReader:
    """Reads PNG, JPEG, BMP and GIF by what is in the file, whichever of these its name says."""

    name = "pillow"
    extensions = ("png", "jpg", "jpeg", "bmp", "gif")

    def accepts(self, path: Path, is_dir: bool) -> bool:
        return not is_dir and has_extension(path, self.extensions)

    def inspect(self, path: Path) -> ImageFile:
        with opened(path) as (handle, stat):
            kind = _kind(path, handle)
            if kind == "PNG":
                _check_png(path, handle, stat.st_size)
            elif kind == "JPEG":
                _check_jpeg(path, handle, stat.st_size)
            image = _open(path, handle, kind)
            if image.mode not in MODES:
                raise InputRefused(f"{path}: found colours in {image.mode}, expected gray values, a palette or RGB; save it as RGB")
            dtype, channels = MODES[image.mode]
            if kind == "PNG" and (deep := _deep_channels(handle)):
                dtype, channels = "uint16", deep
            (width, height), mode = image.size, image.mode
            voxels = width * height
            if voxels > MOST_PIXELS_PER_BYTE * stat.st_size:
                raise UnreadableInput(
                    f"{path}: claims {width}×{height} pixels, far more than its {stat.st_size} bytes can hold; replace the file"
                )
            decoded = voxels * _bytes_per_pixel(kind, mode, dtype)
            if decoded > MOST_DECODED_BYTES:
                raise InputRefused(
                    f"{path}: has {width}×{height} pixels, which take {decoded} bytes to decode, at most {MOST_DECODED_BYTES} are "
                    "possible; save it as a TIFF with strips or tiles"
                )
            if stat.st_size > 2 * decoded + (MOST_BYTES_BESIDE_GIF if kind == "GIF" else MOST_BYTES_BESIDE):
                raise UnreadableInput(f"{path}: has {stat.st_size} bytes, far more than its {width}×{height} pixels need; save it anew")
            # Last, as this looks through the whole file for another frame, byte by byte.
            if getattr(image, "is_animated", False):
                raise InputRefused(f"{path}: found an animated image, expected a single one; save its frames as images of their own")
        return ImageFile(
            path=path,
            size=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
            reader=self.name,
            sizes=AxisSizes(1, channels, 1, height, width),
            dtype=dtype,
            is_rgb=channels == 3 and dtype == "uint8",
            whole_planes=True,
            scratch_bytes=stat.st_size + decoded * 11 // 10 + (4 << 20),
        )

    def read_into(self, out: Voxels, file: ImageFile, t: int, z0: int, y0: int, channels: Sequence[int]) -> None:  # noqa: ARG002
        with reopened(file) as handle:
            kind = _kind(file.path, handle)
            try:
                array = _decode(file.path, handle, kind, file.dtype)
            except (UnreadableInput, MemoryError):
                raise
            except Exception as error:  # decoders have exception classes of their own
                text = one_line(error, 200)
                raise UnreadableInput(f"{file.path}: the {kind} image can not be decoded: {text}; replace the file") from None
        array = array.reshape(*array.shape[:2], -1)
        if array.shape[:2] != (file.sizes.y, file.sizes.x) or array.shape[2] < file.sizes.c:
            raise UnreadableInput(
                f"{file.path}: decoded to {array.shape}, expected {file.sizes.y, file.sizes.x, file.sizes.c}; replace the file"
            )
        out[0] = array[y0 : y0 + out.shape[1], :, list(channels)]


def _bytes_per_pixel(kind: str, mode: str, dtype: str) -> int:
    """Return what decoding holds at most, as measured: Pillow's own pixels (4 bytes where coloured), a palette's colours, an array."""
    own = {"1": 1, "L": 1, "I;16": 2, "I;16B": 2, "P": 5}.get(mode, 4)
    samples = {"1": 1, "L": 1, "LA": 2, "I;16": 1, "I;16B": 1, "P": 3, "RGB": 3}.get(mode, 4)
    # a progressive JPEG keeps its coefficients, of two bytes each, until the last scan
    return own + samples * (2 if kind == "JPEG" else np.dtype(dtype).itemsize)


def _kind(path: Path, handle: BinaryIO) -> str:
    handle.seek(0)
    head = handle.read(8)
    handle.seek(0)
    for magic, kind in ((b"\x89PNG\r\n\x1a\n", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"BM", "BMP"), (b"GIF8", "GIF")):
        if head.startswith(magic):
            return kind
    raise UnreadableInput(f"{path}: not an image of the kind its name says: it starts with {head!r}; replace the file")


def _open(path: Path, handle: BinaryIO, kind: str) -> PillowFile:
    """Parse the headers. The classes are used one by one: Image.open refuses images beyond 179 megapixels, a common size in EM."""
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.GifImagePlugin import GifImageFile
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile

    _quiet_parser()
    handle.seek(0)
    classes: dict[str, type[PillowFile]] = {"PNG": PngImageFile, "JPEG": JpegImageFile, "BMP": BmpImageFile, "GIF": GifImageFile}
    try:
        return classes[kind](handle)
    except MemoryError:
        raise
    except Exception as error:  # a broken header makes the parser fail in many ways
        raise UnreadableInput(f"{path}: the headers of the {kind} image are broken: {one_line(error, 200)}; replace the file") from None


@functools.cache
def _quiet_parser() -> None:
    """Keep the parser's warnings off the terminal: an image is read or refused."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _decode(path: Path, handle: BinaryIO, kind: str, dtype: str) -> Voxels:
    """Return the whole image, axes (y, x) or (y, x, c)."""
    handle.seek(0)
    content = handle.read()  # from memory no length in a damaged file can ask for more than is there
    if kind == "PNG" and _deep_channels(handle):
        import imagecodecs

        return np.asarray(imagecodecs.png_decode(content))
    image = _open(path, io.BytesIO(content), kind)
    image.load()
    if image.mode in ("P", "PA"):
        return np.asarray(image.convert("RGB"))
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(dtype)
    return np.asarray(image)


def _deep_channels(handle: BinaryIO) -> int:
    """Return how many channels of 16 bits a PNG has that Pillow would cut down to 8 bits (RGB, and gray with alpha), else 0."""
    header = os.pread(handle.fileno(), 29, 0)
    depth, colour = (header[24], header[25]) if len(header) == 29 else (0, 0)
    return {2: 3, 6: 3, 4: 1}.get(colour, 0) if depth == 16 else 0


def _check_png(path: Path, handle: BinaryIO, size: int) -> None:
    """Follow the chunks to the one that ends a PNG; their contents are not read."""
    if os.pread(handle.fileno(), len(END_OF_PNG), size - len(END_OF_PNG)) == END_OF_PNG:
        return
    at = 8
    while at + 12 <= size:
        length, kind = struct.unpack(">I4s", os.pread(handle.fileno(), 8, at))
        if not kind.isalpha():  # no chunk: nothing behind it can be found any more
            break
        at += 12 + length
        if kind == b"IEND" and at <= size:
            return
    raise UnreadableInput(f"{path}: truncated: the PNG image has no end (IEND) within its {size} bytes; replace the file")


def _check_jpeg(path: Path, handle: BinaryIO, size: int) -> None:
    """Follow the markers up to the first scan and look for the end marker behind it, from the end of the file."""
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
    while end > max(at, size - MOST_BYTES_BESIDE):
        start = max(at, end - step)
        # one byte more, so that a marker across two pieces is seen
        if END_OF_JPEG in os.pread(descriptor, end - start + 1, start):
            return
        end = start
    raise UnreadableInput(f"{path}: truncated: the JPEG image has no end marker within its {size} bytes; replace the file")


READER = PillowReader()

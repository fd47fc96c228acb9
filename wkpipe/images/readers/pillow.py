"""Read PNG, JPEG, BMP and GIF, which are always decoded as a whole.

Gray images of 8 and 16 bits are read unchanged, JPEGs of 12 bits as uint16. Palettes become RGB, gray ones gray; as labels, their
indices are read. Alpha is dropped, also from gray images; PNGs with 16 bits per colour keep them (three channels of uint16). CMYK and
animated images are refused. EXIF orientation is not applied.
"""

from __future__ import annotations

import functools
import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from wkpipe.errors import InputRefused, UnreadableInput, UsageError, one_line
from wkpipe.images.reader import GRAY, INVERTED, PALETTE, RGB, About, Corner, ImageFile, ReadOptions, opened, reopened
from wkpipe.images.readers import jpeg, png
from wkpipe.images.source import AxisSizes, Voxels

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
# Deflate reaches 1 : 1032, with 8 pixels per byte. JPEG needs a bit for every 64 pixels. GIF and BMP are in between.
MOST_PIXELS_PER_BYTE = 8800
MOST_DECODED_BYTES = 1 << 34
"""Larger images are refused, because they can only be decoded as a whole; TIFF has strips and tiles for them."""
MOST_BYTES_BESIDE = 64 << 20
"""How much a file may have beyond twice the bytes of its pixels: metadata, colour profiles, data that other tools append."""
MOST_BYTES_BESIDE_GIF = 1 << 20
HEADER_BYTES = 1 << 16
"""The bytes of a JPEG in which its frame is searched."""

COLOURS, GRAYS, INDICES = "colours", "grays", "indices"
"""What is read from an image with a palette."""


class PillowReader:
    """Reads PNG, JPEG, BMP and GIF; the content of a file decides which one it is, not its name."""

    name = "pillow"

    def inspect(self, path: Path, how: ReadOptions) -> list[ImageFile]:
        with opened(path) as (handle, stat):
            kind = _kind(path, handle)
            if how.series not in (None, "0", "all"):
                raise UsageError(
                    f"there is no series {one_line(how.series, 60)!r}", where=path, found="one image", fix="leave out --series"
                )
            if kind == "PNG":
                png.check_png(path, handle, stat.st_size)
            elif kind == "JPEG":
                jpeg.check_complete(path, handle, stat.st_size)
                if (frame := _deep_frame(handle)) is not None:
                    return [_deep_jpeg(path, stat, frame)]
            image = _open(path, handle, kind)
            if image.mode not in MODES:
                raise InputRefused(
                    where=path, found=f"colours in {image.mode}", expected="gray values, a palette or RGB", fix="save it as RGB"
                )
            dtype, channels = MODES[image.mode]
            if kind == "PNG" and (deep := png.deep_channels(handle)):
                dtype, channels = "uint16", deep
            (width, height), mode = image.size, image.mode
            palette = _palette(image)
            layout, meaning = _reading(palette, how.is_labels, png.id_factor(handle) if kind == "PNG" else 1)
            if palette is not None and layout["as"] != COLOURS:
                channels = 1
            decoded = width * height * _bytes_per_pixel(kind, mode, dtype)
            _check_size(path, stat.st_size, kind, (width, height), decoded)
            # This check comes last, because it searches the whole file for another frame, byte by byte.
            if getattr(image, "is_animated", False):
                raise InputRefused(where=path, found="an animated image", expected="a single one", fix="save its frames as separate images")
        is_rgb = channels == 3 and dtype == "uint8"
        file = ImageFile(
            path=path,
            size=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
            reader=self.name,
            sizes=AxisSizes(1, channels, 1, height, width),
            dtype=dtype,
            is_rgb=is_rgb,
            block=(height, width),
            scratch_bytes=stat.st_size + decoded * 11 // 10 + (4 << 20),
            layout=layout,
            meaning=RGB if channels == 3 else meaning,
            about=About(palette=b"" if palette is None or not how.is_labels else palette.tobytes()),
        )
        return [file]

    def read_into(self, out: Voxels, file: ImageFile, corner: Corner, channels: Sequence[int]) -> None:
        with reopened(file) as handle:
            kind = _kind(file.path, handle)
            try:
                array = _decode(file, handle, kind)
            except (UnreadableInput, MemoryError):
                raise
            except Exception as error:  # decoders have their own exception classes
                text = one_line(error, 200)
                raise UnreadableInput(f"the {kind} image cannot be decoded: {text}", where=file.path, fix="replace the file") from None
        array = array.reshape(*array.shape[:2], -1)
        if array.shape[:2] != (file.sizes.y, file.sizes.x) or array.shape[2] < file.sizes.c:
            raise UnreadableInput(
                f"decoded to {array.shape}", where=file.path, expected=(file.sizes.y, file.sizes.x, file.sizes.c), fix="replace the file"
            )
        _, rows, columns, _ = out.shape
        out[0] = array[corner.y : corner.y + rows, corner.x : corner.x + columns, list(channels)]


def _check_size(path: Path, size: int, kind: str, form: tuple[int, int], decoded: int) -> None:
    """Check that a file of this size can hold an image of this form, and that the image can be decoded.

    Raises:
        UnreadableInput: the header is wrong.
        InputRefused: the image is too large to be decoded as a whole.
    """
    width, height = form
    if width * height > MOST_PIXELS_PER_BYTE * size:
        raise UnreadableInput(
            f"claims {width}×{height} pixels, far more than its {size} bytes can hold", where=path, fix="replace the file"
        )
    if decoded > MOST_DECODED_BYTES:
        raise InputRefused(
            f"has {width}×{height} pixels, which take {decoded} bytes to decode, at most {MOST_DECODED_BYTES} are possible",
            where=path,
            fix="save it as a TIFF with strips or tiles",
        )
    if size > 2 * decoded + (MOST_BYTES_BESIDE_GIF if kind == "GIF" else MOST_BYTES_BESIDE):
        raise UnreadableInput(f"has {size} bytes, far more than its {width}×{height} pixels need", where=path, fix="save it again")


def _bytes_per_pixel(kind: str, mode: str, dtype: str) -> int:
    """Return the most bytes per pixel while decoding, as measured: Pillow's pixels (4 bytes if coloured), palette colours, an array."""
    own = {"1": 1, "L": 1, "I;16": 2, "I;16B": 2, "P": 5}.get(mode, 4)
    samples = {"1": 1, "L": 1, "LA": 2, "I;16": 1, "I;16B": 1, "P": 3, "RGB": 3}.get(mode, 4)
    # A progressive JPEG keeps its coefficients, of two bytes each, until the last scan.
    return own + samples * (2 if kind == "JPEG" else np.dtype(dtype).itemsize)


def _kind(path: Path, handle: BinaryIO) -> str:
    handle.seek(0)
    head = handle.read(8)
    handle.seek(0)
    for magic, kind in ((b"\x89PNG\r\n\x1a\n", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"BM", "BMP"), (b"GIF8", "GIF")):
        if head.startswith(magic):
            return kind
    raise UnreadableInput(f"not an image of the kind its name says: it starts with {head!r}", where=path, fix="replace the file")


def _open(path: Path, handle: BinaryIO, kind: str) -> PillowFile:
    """Parse the headers of an image. Image.open is not used: it refuses images beyond 179 megapixels, a common size in EM."""
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
        raise UnreadableInput(
            f"the headers of the {kind} image are broken: {one_line(error, 200)}", where=path, fix="replace the file"
        ) from None


@functools.cache
def _quiet_parser() -> None:
    """Hide the parser's warnings: an image is either read or refused."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _decode(file: ImageFile, handle: BinaryIO, kind: str) -> Voxels:
    """Return the whole image, axes (y, x) or (y, x, c)."""
    handle.seek(0)
    content = handle.read()  # read from memory, so that no wrong length in a damaged file makes the decoder allocate more
    if kind == "PNG":
        png.check_sums(content)
    elif kind == "JPEG":
        jpeg.check_jpeg(content)
    if (kind == "PNG" and png.deep_channels(handle)) or (kind == "JPEG" and file.dtype == "uint16"):
        import imagecodecs

        return np.asarray(imagecodecs.png_decode(content) if kind == "PNG" else imagecodecs.jpeg_decode(content))
    image = _open(file.path, io.BytesIO(content), kind)
    image.load()
    way = file.layout.get("as")
    if image.mode in ("P", "PA") and way != INDICES:
        colours = np.asarray(image.convert("RGB"))
        return colours[..., 0] if way == GRAYS else colours
    if image.mode == "PA":
        return np.asarray(image)[..., 0]
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(file.dtype)
    factor = file.layout.get("factor", 1)
    return np.asarray(image) if factor == 1 else np.asarray(image) // np.uint8(factor)


def _palette(image: PillowFile) -> Voxels | None:
    """Return the colours of an image's palette, one per row; None if it has none."""
    if image.mode not in ("P", "PA") or image.palette is None:
        return None
    # Not image.getpalette, which decodes the image.
    order = image.palette.rawmode or image.palette.mode
    if not set("RGB") <= set(order):
        return None
    colours = np.frombuffer(bytes(image.palette.palette), np.uint8)
    table = colours[: len(colours) // len(order) * len(order)].reshape(-1, len(order))
    return table[:, [order.index(letter) for letter in "RGB"]]


def _reading(palette: Voxels | None, is_labels: bool, factor: int) -> tuple[dict[str, Any], str]:
    """Return how the pixels of an image are read, as its layout, and what their values mean then."""
    if palette is None:
        return ({"factor": factor} if is_labels and factor > 1 else {"scaled": factor} if factor > 1 else {}), GRAY
    if is_labels:
        return {"as": INDICES}, PALETTE
    if not len(palette) or (palette != palette[:, :1]).any():
        return {"as": COLOURS}, RGB
    if len(palette) > 1 and (np.diff(palette[:, 0].astype(int)) < 0).all():
        return {"as": INDICES}, INVERTED
    return {"as": GRAYS}, GRAY


def _deep_frame(handle: BinaryIO) -> jpeg.JpegFrame | None:
    """Return the frame of a JPEG with more than 8 bits, which Pillow does not read; None if it has 8."""
    frame = jpeg.frame_of(os.pread(handle.fileno(), HEADER_BYTES, 0))
    return frame if frame.bits == 12 and frame.components in (1, 3) else None


def _deep_jpeg(path: Path, stat: os.stat_result, frame: jpeg.JpegFrame) -> ImageFile:
    voxels = frame.width * frame.height * frame.components
    if voxels * 2 > MOST_DECODED_BYTES or frame.width * frame.height > MOST_PIXELS_PER_BYTE * stat.st_size or not voxels:
        raise UnreadableInput(
            f"claims {frame.width}×{frame.height} pixels, which its {stat.st_size} bytes cannot hold", where=path, fix="replace the file"
        )
    return ImageFile(
        path=path,
        size=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        reader=PillowReader.name,
        sizes=AxisSizes(1, frame.components, 1, frame.height, frame.width),
        dtype="uint16",
        is_rgb=False,
        block=(frame.height, frame.width),
        scratch_bytes=stat.st_size + 5 * voxels + (4 << 20),
    )


READER = PillowReader()

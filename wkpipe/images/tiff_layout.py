"""Where a TIFF file's planes lie, found from its directories alone, and whether all of them lie within the file."""

from __future__ import annotations

import functools
import logging
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np

from wkpipe.errors import InputRefused, UnreadableInput, one_line
from wkpipe.images.axes import PlaneOrder, plane_order
from wkpipe.images.reader import AxisSizes

if TYPE_CHECKING:
    import tifffile


Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

# no encoder of these codecs gets further: a header that claims more bytes per stored byte than that is not true
MOST_PER_BYTE = {5: 2000, 7: 8800, 8: 1100, 32946: 1100, 32773: 130, 34925: 10_000, 50000: 70_000}
MOST_PER_BYTE_ELSE = 10_000_000

TAG_ITEM_BYTES = np.array([8, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 8, 8, 8, 8, 8])
"""Bytes of one value of each kind of tag (TIFF 6.0, section 2; BigTIFF)."""
MOST_TAG_BYTES = 1 << 27

PHOTOMETRIC_RGB, PHOTOMETRIC_YCBCR = 2, 6
NO_COLOUR_MODEL = {5: "CMYK", 8: "CIELab", 9: "ICCLab", 10: "ITULab"}
JPEG_CODECS = (6, 7, 34892, 33007)
ALPHA = (1, 2)
ONE_DIRECTORY_KINDS = ("shaped", "imagej", "stk")


def inspect_tiff(path: Path, handle: BinaryIO, size: int) -> dict[str, Any]:
    """Return the facts of a TIFF file that an `ImageFile` needs, its layout included.

    The layout is: ``steps`` of the planes' order along t, c, z; ``samples`` per plane; ``raw`` (uncompressed, rows in one run) with
    ``order`` of bytes and ``planar``; and the positions of the planes (raw) or their directories, as ``at``, or ``first`` and ``step``.

    Raises:
        UnreadableInput: truncated or broken; the text names the page.
        InputRefused: a kind of TIFF that can not be converted.
    """
    import tifffile

    _quiet_parser()
    directories = directory_offsets(path, handle, size)
    handle.seek(0)
    try:
        with tifffile.TiffFile(handle) as tiff:
            if len(tiff.pages) != len(directories):
                raise UnreadableInput(f"{path}: only {len(tiff.pages)} of {len(directories)} pages can be read; replace the file")
            return _facts(path, tiff, directories, size)
    except InputRefused:
        raise
    except MemoryError:  # nothing but tags is read here
        raise UnreadableInput(f"{path}: a tag claims more values than fit into memory; replace the file") from None
    except Exception as error:  # a broken file makes the parser fail in many ways
        raise UnreadableInput(f"{path}: not a readable TIFF file: {one_line(error, 200)}; replace the file") from None


def directory_offsets(path: Path, handle: BinaryIO, size: int) -> list[int]:
    """Follow the chain of page directories to its end and return their positions.

    Raises:
        UnreadableInput: not a TIFF file, or a directory lies beyond the end of the file, or the chain runs in a circle.
    """
    handle.seek(0)
    head = handle.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    version = struct.unpack(order + "H", head[2:4])[0] if order and len(head) >= 8 else 0
    if version not in (42, 43) or (version == 43 and len(head) < 16):
        hint = (
            "it looks like a link that was checked out as a text file"
            if size < 512 and head.isascii() and order == ""
            else "replace the file"
        )
        raise UnreadableInput(f"{path}: not a TIFF file: it starts with {head[:16]!r}; {hint}")
    big = version == 43
    count_format, entry, link_format = ("Q", 20, "Q") if big else ("H", 12, "I")
    count_bytes, link_bytes = struct.calcsize("<" + count_format), struct.calcsize("<" + link_format)
    following = struct.unpack(order + link_format, head[8:16] if big else head[4:8])[0]
    offsets: list[int] = []
    seen: set[int] = set()
    while following:
        if following in seen:
            raise UnreadableInput(f"{path}: the directory after page {len(offsets)} is one that came before; replace the file")
        count = b""
        if following < size:
            handle.seek(following)
            count = handle.read(count_bytes)
        entries = struct.unpack(order + count_format, count)[0] if len(count) == count_bytes else size
        end = following + count_bytes + entries * entry
        if end + link_bytes > size:
            raise UnreadableInput(
                f"{path}: truncated: the directory of page {len(offsets) + 1} lies beyond the end of the file ({size} bytes)"
            )
        offsets.append(following)
        seen.add(following)
        handle.seek(following + count_bytes)
        _check_tags(path, handle.read(entries * entry), order, big)
        handle.seek(end)
        following = struct.unpack(order + link_format, handle.read(link_bytes))[0]
    if not offsets:
        raise UnreadableInput(f"{path}: the TIFF file has no page; replace the file")
    return offsets


def _check_tags(path: Path, directory: bytes, order: str, big: bool) -> None:
    """Refuse tags that are too large to be read: the parser reads all of them.

    Raises:
        UnreadableInput: says which.
    """
    entry = np.dtype([("tag", "u2"), ("kind", "u2"), ("count", "u8" if big else "u4"), ("value", "V8" if big else "V4")])
    tags = np.frombuffer(directory, entry.newbyteorder("<" if order == "<" else ">"))
    most = MOST_TAG_BYTES // TAG_ITEM_BYTES[np.minimum(tags["kind"], len(TAG_ITEM_BYTES) - 1)]
    for tag in tags[tags["count"] > most.astype(np.uint64)]:
        raise UnreadableInput(f"{path}: tag {tag['tag']} claims {tag['count']} values, more than a TIFF file can need; replace the file")


def _facts(path: Path, tiff: tifffile.TiffFile, chain: list[int], size: int) -> dict[str, Any]:
    series = _first_series(tiff)
    page = series.keyframe
    _check_kind(path, page)
    separate, depth, height, width, contiguous = page.shaped
    samples = separate * contiguous
    if page.dtype is None or 0 in page.shaped or depth > 1:
        what = f"{page.bitspersample}-bit samples of kind {page.sampleformat}" if page.dtype is None else f"pages of shape {page.shape}"
        raise InputRefused(f"{path}: {what} can not be converted; save it as a TIFF with 2-D pages of 8, 16 or 32 bits")
    try:
        order = plane_order(*_outer_dimensions(series, page))
    except ValueError as error:
        raise InputRefused(f"{path}: {error}; save it as a TIFF with z, or c and z, or t, c and z") from None
    planes = math.prod(order.sizes)
    _check_complete(path, tiff, series, planes, samples)
    plane_bytes = height * width * samples * page.dtype.itemsize

    layout: dict[str, Any] = {"steps": list(order.steps), "samples": samples}
    if planes > 1 and (series.is_truncated or (len(chain) < planes and series.kind in ONE_DIRECTORY_KINDS)):
        # one directory describes all planes, which follow the first without a gap (ImageJ does so beyond 4 GiB)
        if not page.is_final:
            raise UnreadableInput(f"{path}: found {len(tiff.pages)} pages, expected {planes} as its header says; replace the file")
        first = page.dataoffsets[0]
        if first + planes * plane_bytes > size:
            held = max(0, size - first) // plane_bytes
            raise UnreadableInput(f"{path}: truncated: found {held} whole planes, expected {planes} as its header says; replace the file")
        return _result(order, page, layout | _raw(page, [first + i * plane_bytes for i in range(planes)]), samples)
    if series.kind in ("shaped", "imagej", "uniform"):
        directories = chain[:planes]  # these are made of the first pages, in their order
    else:
        listed = [series[i] for i in range(planes)] if len(series) == planes else []
        if any(other is not None and other.parent is not tiff for other in listed):
            raise InputRefused(f"{path}: its planes are spread over several OME-TIFF files; save them as one file, or without OME metadata")
        held = sum(other is not None for other in listed)
        if held < planes:
            text = f"found {held or len(chain)} planes, expected {planes} as its header says"
            raise UnreadableInput(f"{path}: {text}; the file is truncated or one of a set, save it whole")
        directories = [other.offset for other in listed if other is not None]
    starts, raw, most_encoded = [], True, 0
    for number, directory in enumerate(directories, 1):
        tiff.filehandle.seek(directory)
        other = _parse_page(tiff, number - 1) if directory != page.offset else page
        if other.shaped != page.shaped or other.dtype != page.dtype:
            found, expected = f"{other.shape} of {other.dtype}", f"{page.shape} of {page.dtype}"
            raise InputRefused(f"{path}: page {number} is {found}, expected {expected} like the first; save the pages as files of one size")
        offsets, needed, encoded = _segments(path, other, number, size)
        most_encoded = max(most_encoded, encoded)
        raw = raw and other.is_final and not other.is_tiled and other.planarconfig == page.planarconfig
        raw = raw and bool((offsets[:-1] + needed[:-1] == offsets[1:]).all())
        starts.append(int(offsets[0]))
    if raw:
        return _result(order, page, layout | _raw(page, starts), samples)
    return _result(order, page, layout | {"raw": False} | _positions(directories), samples, most_encoded)


@functools.cache
def _quiet_parser() -> None:
    """Keep the parser's warnings off the terminal: what they are about is checked here and raised. Handlers still get them."""
    logging.getLogger("tifffile").addHandler(logging.NullHandler())


def _parse_page(tiff: tifffile.TiffFile, number: int) -> tifffile.TiffPage:
    """Parse the page directory at the file's current position, whole: a series' own light pages trust the first page's tags."""
    import tifffile

    return tifffile.TiffPage(tiff, number)


def _check_kind(path: Path, page: tifffile.TiffPage) -> None:
    kind = NO_COLOUR_MODEL.get(page.photometric)
    if page.photometric == PHOTOMETRIC_YCBCR and page.compression not in JPEG_CODECS:
        kind = "YCbCr without JPEG compression"
    if kind:
        raise InputRefused(f"{path}: found colours in {kind}, expected gray values or RGB; save it as an RGB TIFF")


def _first_series(tiff: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    """Return the first series with its dimensions of length 1: from tifffile 2026.5.2 on, they must be asked for."""
    every: Any = tiff.series
    series: tifffile.TiffPageSeries = (every(squeeze=False) if callable(every) else every)[0]
    return series


def _dimensions(series: Any) -> tuple[str, tuple[int, ...]]:
    """Return letters and sizes of all dimensions; before tifffile 2026.5.2, those of length 1 must be asked for here."""
    is_old = hasattr(series, "get_axes")
    return (series.get_axes(False), series.get_shape(False)) if is_old else (series.axes, series.shape)


def _outer_dimensions(series: tifffile.TiffPageSeries, page: tifffile.TiffPage) -> tuple[str, tuple[int, ...]]:
    """Return letters and sizes of the dimensions in front of the planes, outermost first."""
    separate, _, height, width, contiguous = page.shaped
    dims = list(zip(*_dimensions(series), strict=True))
    if contiguous > 1 and dims and dims[-1][1] == contiguous:
        dims.pop()
    while len(dims) > 2 and dims[-1][1] == 1 and (dims[-2][1], dims[-1][1]) != (height, width):
        dims.pop()
    if [size for _, size in dims[-2:]] != [height, width]:
        raise ValueError(f"has shape {series.shape}, which does not end in that of its pages, {page.shape}")
    dims = dims[:-2]
    if separate > 1:
        while len(dims) > 1 and dims[-1][1] == 1:
            dims.pop()
        if not dims or dims.pop()[1] != separate:
            raise ValueError(f"has shape {series.shape}, in which the {separate} samples of its pages, {page.shape}, are not found")
    return "".join(letter for letter, _ in dims), tuple(int(size) for _, size in dims)


def _check_complete(path: Path, tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, planes: int, samples: int) -> None:
    """Refuse a file that has fewer planes than its own description says (the parser then falls back to what is there)."""
    declared = planes
    if tiff.is_shaped and tiff.shaped_metadata:
        page = series.keyframe
        declared = math.prod(tiff.shaped_metadata[0]["shape"]) // max(1, math.prod(page.shape))
    elif tiff.is_imagej and tiff.imagej_metadata and series.kind in ("imagej", "generic", "uniform"):
        meta = tiff.imagej_metadata
        images = int(meta.get("images", 1))
        declared = images if images > planes * samples or series.kind != "imagej" else planes
    if declared > planes:
        raise UnreadableInput(f"{path}: found {planes} planes, expected {declared} as its header says; the file is truncated, replace it")


def _segments(path: Path, page: tifffile.TiffPage, number: int, size: int) -> tuple[Integers, Integers, int]:
    """Check that a page's strips or tiles are there and within the file.

    Returns their offsets, the bytes that each needs at least when it is not compressed, and the most bytes that one takes.
    """
    separate, _, height, width, contiguous = page.shaped
    if page.is_tiled:
        rows, columns = page.tilelength, page.tilewidth
        expected = separate * math.ceil(height / rows) * math.ceil(width / columns)
        row_bytes = (columns * contiguous * page.bitspersample + 7) // 8
    else:
        rows = min(page.rowsperstrip, height)
        expected = separate * math.ceil(height / rows)
        row_bytes = (width * contiguous * page.bitspersample + 7) // 8
    where, kind = f"{path}: page {number}", "tile" if page.is_tiled else "strip"
    offsets, counts = np.array(page.dataoffsets, np.int64), np.array(page.databytecounts, np.int64)
    if len(offsets) != len(counts) or len(offsets) != expected:
        raise UnreadableInput(f"{where} has {len(offsets)} {kind}s, expected {expected} from its size {width}×{height}; replace the file")
    if (offsets <= 0).any() or (counts <= 0).any():
        index = int(np.flatnonzero((offsets <= 0) | (counts <= 0))[0])
        raise UnreadableInput(f"{where} has no data for {kind} {index + 1} of {expected}; was its writer interrupted? write the file again")
    if (offsets + counts > size).any():
        index = int(np.flatnonzero(offsets + counts > size)[0])
        end = int(offsets[index] + counts[index])
        raise UnreadableInput(
            f"{where} is truncated: {kind} {index + 1} of {expected} ends at byte {end}, the file at {size}; replace the file"
        )
    needed = np.full(expected, rows * row_bytes, np.int64)
    if not page.is_tiled:
        per_sample = expected // separate
        needed[per_sample - 1 :: per_sample] = row_bytes * (height - (per_sample - 1) * rows)
    if page.compression == 1 and (counts < needed).any():
        index = int(np.flatnonzero(counts < needed)[0])
        found = f"{counts[index]} bytes, expected {needed[index]} from its size {width}×{height}"
        raise UnreadableInput(f"{where}: {kind} {index + 1} has {found}; replace the file")
    if (needed > MOST_PER_BYTE.get(page.compression, MOST_PER_BYTE_ELSE) * counts).any():
        raise UnreadableInput(
            f"{where} claims {width}×{height} pixels, far more than its {int(counts.sum())} bytes can hold; replace the file"
        )
    return offsets, needed, int(counts.max())


def _raw(page: tifffile.TiffPage, starts: list[int]) -> dict[str, Any]:
    return {"raw": True, "order": page.parent.byteorder, "planar": page.planarconfig == 2} | _positions(starts)


def _positions(starts: list[int]) -> dict[str, Any]:
    """Note positions shortly where they have even steps."""
    step = starts[1] - starts[0] if len(starts) > 1 else 0
    if all(start == starts[0] + i * step for i, start in enumerate(starts)):
        return {"first": starts[0], "step": step}
    return {"at": starts}


def _result(order: PlaneOrder, page: tifffile.TiffPage, layout: dict[str, Any], samples: int, encoded: int = 0) -> dict[str, Any]:
    _, _, height, width, contiguous = page.shaped
    assert page.dtype is not None
    is_colour = page.photometric in (PHOTOMETRIC_RGB, PHOTOMETRIC_YCBCR) and samples in (3, 4)
    is_rgb = is_colour and page.dtype == np.uint8 and order.sizes[1] == 1
    used = samples
    if is_colour and samples == 4 and order.sizes[1] == 1 and (is_rgb or (page.extrasamples and page.extrasamples[0] in ALPHA)):
        used = 3
    t, c, z = order.sizes
    decoded = 0
    if not layout["raw"]:
        decoded = (page.tilelength * page.tilewidth if page.is_tiled else min(page.rowsperstrip, height) * width) * contiguous
    whole = not layout["raw"] and (page.tilelength if page.is_tiled else page.rowsperstrip) >= height
    return {
        "sizes": AxisSizes(t, c * used, z, height, width),
        "dtype": page.dtype.newbyteorder("=").name,
        "is_rgb": is_rgb,
        "whole_planes": whole,
        # a segment as it is stored, decoded, and once more while a predictor or the order of bits is undone
        "scratch_bytes": encoded + 3 * decoded * page.dtype.itemsize + (4 << 20),
        "layout": layout,
    }

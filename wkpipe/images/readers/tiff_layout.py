"""The layout of a TIFF file: where the planes of a series are, and a check that the file has all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from wkpipe.errors import InputRefused, UnreadableInput, one_line
from wkpipe.images.accounting import PAGE, Account
from wkpipe.images.reader import FilePart, ImageFile, ReadOptions
from wkpipe.images.readers.tiff_directories import read_chain
from wkpipe.images.readers.tiff_meaning import PHOTOMETRIC_RGB, PHOTOMETRIC_YCBCR
from wkpipe.images.readers.tiff_metadata import metadata_of
from wkpipe.images.readers.tiff_pages import PageCheck, set_of_files
from wkpipe.images.readers.tiff_parser import open_tiff
from wkpipe.images.readers.tiff_segments import JPEG_CODECS, SEGMENT_BYTES
from wkpipe.images.readers.tiff_series import NOT_CHOSEN, FoundSeries, PageSeries, find_series, pages_of
from wkpipe.images.source import AxisSizes

if TYPE_CHECKING:
    import tifffile

PARSED_BYTES = 100
"""The parser's memory for a strip or a tile: its offset and size as Python objects."""

NO_COLOUR_MODEL = {5: "CMYK", 8: "CIELab", 9: "ICCLab", 10: "ITULab"}
ALPHA = (1, 2)
ONE_DIRECTORY_KINDS = ("shaped", "imagej", "stk")


@dataclass(frozen=True)
class TiffInput:
    """An open TIFF file that is inspected: its path, its parser, its size, and the positions of its directories."""

    path: Path
    tiff: tifffile.TiffFile
    size: int
    chain: Sequence[int]


def inspect_tiff(path: Path, handle: BinaryIO, size: int, mtime_ns: int, how: ReadOptions) -> list[ImageFile]:
    """Return the facts of each series of a TIFF file that is converted.

    The layout of a series has ``steps``, the planes' order along t, c, z; ``samples`` per plane; ``raw`` (uncompressed, rows
    contiguous) with ``order`` of bytes and ``planar``; and the positions of the planes (raw) or their directories, as ``at``, or
    ``first`` and ``step``. If the planes are in several files, ``in`` has the number of each plane's file: 0 for the file itself,
    else that of one of its parts.

    Raises:
        UnreadableInput: the file is truncated or broken; names the page.
        InputRefused: the file is of a kind that cannot be converted, or has several series.
    """
    chain = read_chain(path, handle, size)
    try:
        with open_tiff(handle) as tiff:
            pages = len(chain.offsets)
            if len(tiff.pages) != pages:
                raise UnreadableInput(f"only {len(tiff.pages)} of {pages} pages can be read", where=path, fix="replace the file")
            source = TiffInput(path, tiff, size, chain.offsets)
            found = find_series(path, tiff, chain)
            chosen = found.chosen(path, how.series)
            return [_image_file(source, each, found, chosen, mtime_ns, how) for each in chosen]
    except InputRefused:
        raise
    except MemoryError:  # only tags are read here
        raise UnreadableInput("a tag claims more values than fit into memory", where=path, fix="replace the file") from None
    except Exception as error:  # a broken file makes the parser fail in many ways
        if type(error).__module__.startswith("wkpipe."):
            raise
        raise UnreadableInput(f"not a readable TIFF file: {one_line(error, 200)}", where=path, fix="replace the file") from None


def _image_file(
    source: TiffInput, series: PageSeries, found: FoundSeries, chosen: Sequence[PageSeries], mtime_ns: int, how: ReadOptions
) -> ImageFile:
    page = series.first
    _check_kind(source.path, page)
    planes, samples = series.planes, _samples(page)
    layout: dict[str, Any] = {"steps": list(series.order.steps), "samples": samples}
    check = PageCheck(page, how.sparse != "fail")
    parts: tuple[FilePart, ...] = ()
    if planes > 1 and series.parsed is not None and _is_in_one_directory(source, series):
        layout |= _raw(page, _contiguous_planes(source, page, planes))
    else:
        if series.pages is not None:
            check.add(source.path, source.tiff, source.size, source.chain, [(page, source.chain[page]) for page in series.pages])
            positions, files = [source.chain[page] for page in series.pages], [0] * planes
        else:
            positions, files, parts = set_of_files(source.path, source.tiff, source.size, source.chain, series, check)
        is_raw = check.is_raw and len(check.orders) == 1
        layout |= _raw(page, check.starts) if is_raw else {"raw": False} | _positions(positions)
        if any(files):
            layout["in"] = files
    about = metadata_of(source.tiff, series, source.path)
    notes = [*check.notes(source.path), *about.notes]
    return ImageFile(
        path=source.path,
        size=source.size,
        mtime_ns=mtime_ns,
        reader="tiff",
        layout=layout,
        parts=parts,
        meaning=check.meaning,
        about=replace(about, series=series.name, notes=tuple(notes)),
        account=_account(source, found, chosen, check),
        **_form(series, layout, samples, 0 if layout["raw"] else check.most_encoded),
    )


def _account(source: TiffInput, found: FoundSeries, chosen: Sequence[PageSeries], check: PageCheck) -> Account:
    """Return the account of all pages of the file's chain, and of those in other files of its set."""
    number = {offset: i for i, offset in enumerate(source.chain)}
    reasons = dict(found.left_out)
    for series in found.series:
        if series not in chosen:
            reasons |= dict.fromkeys(pages_of(series, number), NOT_CHOSEN)
    names = {f"page {page + 1}": reasons[page] for page in sorted(reasons)} | check.left_out
    return Account.of_names(source.path.name, PAGE, len(source.chain) - len(reasons) + check.used_elsewhere, names)


def _samples(page: tifffile.TiffPage) -> int:
    separate, _, _, _, contiguous = page.shaped
    return separate * contiguous


def _is_in_one_directory(source: TiffInput, series: PageSeries) -> bool:
    assert series.parsed is not None
    return series.parsed.is_truncated or (len(source.chain) < series.planes and series.kind in ONE_DIRECTORY_KINDS)


def _contiguous_planes(source: TiffInput, page: tifffile.TiffPage, planes: int) -> list[int]:
    """Return the positions of planes that follow the first one without a gap and have no directories (ImageJ, beyond 4 GiB)."""
    expected = f"{planes} as its header says"
    if not page.is_final:
        raise UnreadableInput(where=source.path, found=f"{len(source.chain)} pages", expected=expected, fix="replace the file")
    assert page.dtype is not None
    _, _, height, width, _ = page.shaped
    plane_bytes = height * width * _samples(page) * page.dtype.itemsize
    first = page.dataoffsets[0]
    if first + planes * plane_bytes > source.size:
        held = max(0, source.size - first) // plane_bytes
        raise UnreadableInput("truncated", where=source.path, found=f"{held} whole planes", expected=expected, fix="replace the file")
    return [first + i * plane_bytes for i in range(planes)]


def _check_kind(path: Path, page: tifffile.TiffPage) -> None:
    """Check that pages are 2-D, of a known type, and gray or RGB."""
    kind = NO_COLOUR_MODEL.get(page.photometric)
    if page.photometric == PHOTOMETRIC_YCBCR and page.compression not in JPEG_CODECS:
        kind = "YCbCr without JPEG compression"
    if kind:
        raise InputRefused(where=path, found=f"colours in {kind}", expected="gray values or RGB", fix="save it as an RGB TIFF")
    _, depth, _, _, _ = page.shaped
    if page.dtype is None or 0 in page.shaped or depth > 1:
        what = f"{page.bitspersample}-bit samples of kind {page.sampleformat}" if page.dtype is None else f"pages of shape {page.shape}"
        raise InputRefused(f"{what} cannot be converted", where=path, fix="save it as a TIFF with 2-D pages of 8, 16 or 32 bits")


def _raw(page: tifffile.TiffPage, starts: list[int]) -> dict[str, Any]:
    return {"raw": True, "order": page.parent.byteorder, "planar": page.planarconfig == 2} | _positions(starts)


def _positions(starts: list[int]) -> dict[str, Any]:
    """Return positions as JSON, short if the distance between them is constant."""
    step = starts[1] - starts[0] if len(starts) > 1 else 0
    if all(start == starts[0] + i * step for i, start in enumerate(starts)):
        return {"first": starts[0], "step": step}
    return {"at": starts}


def _form(series: PageSeries, layout: dict[str, Any], samples: int, encoded: int) -> dict[str, Any]:
    """Return the shape and type of a series, and the memory that reading it takes."""
    order, page = series.order, series.first
    separate, _, height, width, contiguous = page.shaped
    assert page.dtype is not None
    is_colour = page.photometric in (PHOTOMETRIC_RGB, PHOTOMETRIC_YCBCR) and samples in (3, 4)
    is_rgb = is_colour and page.dtype == np.uint8 and order.sizes[1] == 1
    has_alpha = (is_rgb and samples == 4) or bool(page.extrasamples and page.extrasamples[-1] in ALPHA)
    used = samples - 1 if has_alpha and samples > 1 and order.sizes[1] == 1 else samples
    t, c, z = order.sizes
    # Any rows of raw planes can be read alone.
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (min(page.rowsperstrip, height), width)
    block = (1, width) if layout["raw"] else (rows, columns)
    decoded = 0 if layout["raw"] else rows * columns * contiguous
    segments = 0 if layout["raw"] else separate * math.ceil(height / rows) * math.ceil(width / columns)
    return {
        "sizes": AxisSizes(t, c * used, z, height, width),
        "dtype": page.dtype.newbyteorder("=").name,
        "is_rgb": is_rgb,
        "block": block,
        # A segment as stored, decoded, and a copy while a predictor or the order of bits is undone; the tags while they are parsed.
        "scratch_bytes": encoded + 3 * decoded * page.dtype.itemsize + segments * PARSED_BYTES + (4 << 20),
        "plane_bytes": segments * SEGMENT_BYTES,
    }

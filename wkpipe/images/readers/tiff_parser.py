"""The parser of TIFF files, used alike with all of its releases: its series, their dimensions, and single pages."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import tifffile


NDPI_TAG = 65420


@functools.cache
def quiet_parser() -> None:
    """Hide the parser's warnings: their causes are checked here and raised. Handlers that are installed still get them."""
    logging.getLogger("tifffile").addHandler(logging.NullHandler())


def open_tiff(handle: BinaryIO) -> tifffile.TiffFile:
    """Parse an open TIFF file; its content decides how, although the parser takes every ``.ndpi`` for the format of that name."""
    import tifffile

    quiet_parser()
    handle.seek(0)
    name = str(getattr(handle, "name", ""))
    if not name.lower().endswith(".ndpi"):
        return tifffile.TiffFile(handle)
    tiff = tifffile.TiffFile(handle, name=f"{name}.tif")
    if NDPI_TAG not in tiff.pages.first.tags:
        return tiff
    handle.seek(0)
    return tifffile.TiffFile(handle)


def parsed_series(tiff: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """Return all series with their dimensions of length 1, which tifffile since 2026.5.2 keeps only on request.

    There are none if the parser takes pages of several forms for one series, because some that it looks at are alike.
    """
    try:
        every: Any = tiff.series
        return list(every(squeeze=False) if callable(every) else every)
    except Exception as error:
        if "incompatible keyframe" in str(error) and not (tiff.is_ome or tiff.is_imagej or tiff.is_shaped):
            return []
        raise


def parse_page(tiff: tifffile.TiffFile, position: int, number: int) -> tifffile.TiffPage:
    """Parse all of the page directory at a position: a series' own pages rely on the first page's tags."""
    import tifffile

    tiff.filehandle.seek(position)
    return tifffile.TiffPage(tiff, number)


def _dimensions(series: Any) -> tuple[str, tuple[int, ...]]:
    """Return letters and sizes of all dimensions; tifffile before 2026.5.2 gives those of length 1 only here, on request."""
    is_old = hasattr(series, "get_axes")
    return (series.get_axes(False), series.get_shape(False)) if is_old else (series.axes, series.shape)


def outer_dimensions(series: tifffile.TiffPageSeries, page: tifffile.TiffPage) -> tuple[str, tuple[int, ...]]:
    """Return letters and sizes of the dimensions before the planes, outermost first.

    Raises:
        ValueError: the series does not end in the shape of its pages.
    """
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

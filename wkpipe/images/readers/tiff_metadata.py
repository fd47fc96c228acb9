"""What the metadata of a TIFF file say about its voxels and channels: OME, ImageJ, programs of microscopes, and the resolution tags.

A size of which the file says nothing, or in pixels, stays unknown. 72 and 96 dots per inch are what programs write that know nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np

from wkpipe.errors import UsageError
from wkpipe.images.reader import About
from wkpipe.images.readers.tiff_parser import outer_dimensions, parsed_series
from wkpipe.images.readers.tiff_series import PageSeries
from wkpipe.images.readers.tiff_vendors import vendor_lengths
from wkpipe.images.source import Channel
from wkpipe.metadata.length_unit import NANOMETERS_PER_UNIT, length_unit_from_str

if TYPE_CHECKING:
    import tifffile

RESOLUTION_UNITS = {2: "inch", 3: "centimeter"}
UNKNOWN_DPI = (72.0, 96.0)
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296

Size = tuple[float, str] | None
"""A length and its unit; None if it is not known."""


def metadata_of(tiff: tifffile.TiffFile, series: PageSeries, path: Path) -> About:
    """Return what a file says about a series."""
    sizes: Sequence[Size]
    channels: tuple[Channel, ...] = ()
    if tiff.is_ome and (pixels := _ome_pixels(tiff, series)) is not None:
        sizes, channels = _ome_sizes(pixels), _ome_channels(pixels)
    elif tiff.is_imagej and (found := tiff.imagej_metadata):
        unit = _decoded(str(found.get("unit", "")))
        sizes = (*_resolution(series.first, unit), _size(found.get("spacing"), unit))
        channels = _imagej_channels(found, series.order.sizes[1])
    elif (lengths := vendor_lengths(tiff, series.first)) is not None:
        *three, unit = lengths
        sizes = [_size(length, unit) for length in three]
    else:
        described = (tiff.shaped_metadata or ({},))[0] if series.kind == "shaped" else {}
        unit = str(described.get("unit", ""))
        sizes = (*_resolution(series.first, unit), _size(described.get("spacing"), unit))
    notes = []
    factor, common = _in_one_unit(sizes)
    if _is_time_as_z(series):
        notes.append(f"{path.name}: its only axis besides channels is time; the {series.order.sizes[2]} time points are stored along z")
    return About(voxel_size=factor, unit=common, channels=channels, notes=tuple(notes))


def _is_time_as_z(series: PageSeries) -> bool:
    if series.parsed is None or series.order.sizes[2] == 1:
        return False
    letters = {letter for letter, size in zip(*outer_dimensions(series.parsed, series.first), strict=True) if size > 1}
    return "T" in letters and "Z" not in letters


def _in_one_unit(sizes: Sequence[Size]) -> tuple[tuple[float | None, float | None, float | None], str]:
    """Return x, y, z in the unit of the first length that is known, and this unit."""
    common = next((size[1] for size in sizes if size is not None), "")
    x, y, z = (
        None if size is None else size[0] if size[1] == common else size[0] * NANOMETERS_PER_UNIT[size[1]] / NANOMETERS_PER_UNIT[common]
        for size in sizes
    )
    return (x, y, z), common


def _size(value: Any, unit: str) -> Size:
    """Return a length in a unit of which any usual spelling is read; None for what is not a length."""
    if value is None or not unit:
        return None
    try:
        length, name = float(value), length_unit_from_str(unit).value
    except (TypeError, ValueError, UsageError):
        return None
    return (abs(length), name) if length and math.isfinite(length) else None


def _resolution(page: tifffile.TiffPage, unit: str) -> tuple[Size, Size]:
    """Return the size of a pixel along x and y from the resolution tags, which count pixels per unit: the given one, or the tags' own."""
    if unit:
        try:
            name = length_unit_from_str(unit).value
        except UsageError:
            name = ""
    else:
        kind = page.tags.valueof(RESOLUTION_UNIT)
        name = RESOLUTION_UNITS.get(kind, "") if isinstance(kind, int) else ""
    if not name:
        return None, None
    found: list[Size] = []
    for tag in (X_RESOLUTION, Y_RESOLUTION):
        value = page.tags.valueof(tag)
        pixels = value[0] / value[1] if isinstance(value, tuple) and len(value) == 2 and value[1] else 0.0
        per_inch = pixels * NANOMETERS_PER_UNIT["inch"] / NANOMETERS_PER_UNIT[name]
        is_known = pixels > 0 and not any(math.isclose(per_inch, dpi, rel_tol=1e-3) for dpi in UNKNOWN_DPI)
        found.append((1 / pixels, name) if is_known else None)
    return found[0], found[1]


# -- OME ------------------------------------------------------------------------------------------------------------


def _ome_pixels(tiff: tifffile.TiffFile, series: PageSeries) -> ET.Element | None:
    """Return the element that describes the pixels of a series: that of the image with its name, else with its number."""
    try:
        root = ET.fromstring(tiff.ome_metadata or "")
    except (ET.ParseError, ValueError):
        return None
    images = [image for image in root if _tag(image) == "Image"]
    named = [image for image in images if image.get("Name", "") == series.name]
    if len(named) == 1:
        images = named
    elif series.parsed is not None and len(images) > 1:
        every = parsed_series(tiff)
        images = images[every.index(series.parsed) :] if series.parsed in every else []
    return next((child for image in images[:1] for child in image if _tag(child) == "Pixels"), None)


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _ome_sizes(pixels: ET.Element) -> Sequence[Size]:
    return [_size(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "\u00b5m")) for axis in "XYZ"]


def _ome_channels(pixels: ET.Element) -> tuple[Channel, ...]:
    return tuple(Channel(child.get("Name"), _ome_color(child.get("Color"))) for child in pixels if _tag(child) == "Channel")


def _ome_color(text: str | None) -> tuple[int, int, int] | None:
    """Return a colour that OME writes as a signed number of 32 bits: red, green, blue, alpha."""
    try:
        value = int(text or "") & 0xFFFFFFFF
    except ValueError:
        return None
    return value >> 24, value >> 16 & 255, value >> 8 & 255


# -- ImageJ ---------------------------------------------------------------------------------------------------------


def _decoded(text: str) -> str:
    r"""Return a unit in which ImageJ has escaped a character (``\u00B5m``)."""
    return text.encode("ascii", "backslashreplace").decode("unicode_escape", "replace") if "\\u" in text else text


def _imagej_channels(found: Mapping[str, Any], count: int) -> tuple[Channel, ...]:
    ranges, tables = found.get("Ranges") or (), found.get("LUTs") or ()
    if not ranges and count == 1 and "min" in found and "max" in found:
        ranges = (found["min"], found["max"])
    return tuple(
        Channel(
            color=_lut_color(tables[i]) if i < len(tables) else None,
            shown=(float(ranges[2 * i]), float(ranges[2 * i + 1])) if 2 * i + 1 < len(ranges) else None,
        )
        for i in range(count)
    )


def _lut_color(table: Any) -> tuple[int, int, int] | None:
    """Return the colour of the largest value in a table of colours."""
    colours = np.asarray(table)
    if colours.shape != (3, 256):
        return None
    red, green, blue = (int(value) for value in colours[:, 255])
    return red, green, blue

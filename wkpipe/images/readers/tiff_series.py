"""The series of a TIFF file: which of its pages belong together, and which are left out and why.

Every directory of the file's main chain is in one series or is left out by name. A parser makes a series of pages that are alike in
all tags. Here, pages of one shape and type are one series even if they differ in compression, or if they were appended one by one.
Pages of lower resolution, masks, labels, macro images and thumbnails are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wkpipe.errors import InputRefused, UnreadableInput, UsageError, one_line
from wkpipe.images.axes import PlaneOrder, plane_order
from wkpipe.images.readers.tiff_directories import MASK_BIT, REDUCED_BIT, Chain
from wkpipe.images.readers.tiff_meaning import meaning_of
from wkpipe.images.readers.tiff_parser import outer_dimensions, parse_page, parsed_series

if TYPE_CHECKING:
    import tifffile

ALL = "all"
SIDE_IMAGES = ("label", "macro", "thumbnail", "map", "overview", "preview", "barcode")
REDUCED, MASK, NOT_CHOSEN, UNNAMED = "of lower resolution", "a mask", "of a series that was not chosen", "not named in the metadata"
PLAIN_KINDS = ("uniform", "generic", "shaped")
"""The kinds of series whose pages are grouped by the parser, not by metadata."""

IN_CHAIN_KINDS = ("uniform", "shaped", "imagej")
"""The kinds of series whose planes are pages that follow each other in the chain."""


@dataclass(frozen=True)
class PageSeries:
    """Pages that make one image.

    `first` is the page that all others are like, `order` sorts the planes along t, c and z. `pages` are the numbers of the planes'
    pages in the chain; None if only the parser's own series (`parsed`) knows where they are. `is_plain` is True if no metadata say
    which pages the series has.
    """

    name: str
    kind: str
    first: tifffile.TiffPage
    order: PlaneOrder
    parsed: tifffile.TiffPageSeries | None
    pages: tuple[int, ...] | None
    is_plain: bool

    @property
    def planes(self) -> int:
        """The number of planes."""
        return math.prod(self.order.sizes)

    @property
    def form(self) -> tuple[Any, ...]:
        """What pages must have in common to be joined."""
        return (self.first.shaped, self.first.dtype)

    @property
    def text(self) -> str:
        """The number of planes, their size and type, and the name."""
        _, _, height, width, _ = self.first.shaped
        name = f" {one_line(self.name, 40)!r}" if self.name else ""
        return f"{self.planes} plane{'' if self.planes == 1 else 's'} of {width}×{height} {self.first.dtype}{name}"


@dataclass(frozen=True)
class FoundSeries:
    """The series of a file that can be converted, and the pages of its chain that are in none of them, with the reasons."""

    series: tuple[PageSeries, ...]
    left_out: Mapping[int, str]

    def chosen(self, path: Path, wanted: str | None) -> tuple[PageSeries, ...]:
        """Return the series that the user wants: a number, a name, or all; without a wish, the only one.

        Raises:
            InputRefused: there are several, and the user has not chosen.
            UsageError: there is none of this number or name.
        """
        if wanted is None and len(self.series) == 1:
            return self.series
        shown = "; ".join(f"{i}: {each.text}" for i, each in enumerate(self.series[:6]))
        shown += f"; … {len(self.series)} in all" if len(self.series) > 6 else ""
        if wanted is None:
            count = sum(each.planes for each in self.series)
            raise InputRefused(
                where=path,
                found=f"{count} planes in {len(self.series)} series ({shown})",
                expected="one series",
                fix="choose with --series NUMBER, NAME or all",
            )
        if wanted == ALL:
            return self.series
        if wanted.isdecimal() and int(wanted) < len(self.series):
            return (self.series[int(wanted)],)
        named = tuple(each for each in self.series if each.name == wanted)
        if len(named) != 1:
            raise UsageError(f"there is no series {one_line(wanted, 60)!r}", where=path, found=shown, fix="choose another --series")
        return named


def find_series(path: Path, tiff: tifffile.TiffFile, chain: Chain) -> FoundSeries:
    """Sort the pages of a file into series.

    Raises:
        InputRefused: pages that would make one stack do not mean the same, or a series has axes that cannot be stored.
    """
    number = {offset: i for i, offset in enumerate(chain.offsets)}
    every = parsed_series(tiff)
    left_out = {page: why for page, kind in enumerate(chain.kinds) if (why := _reason_of_kind(kind)) is not None}
    if len(left_out) == len(chain.offsets):  # such pages and nothing else: they are the image
        left_out = {}
    reasons = [_reason_to_leave(parsed, number, left_out) for parsed in every]
    found: list[PageSeries] = []
    shaped = iter(tiff.shaped_metadata or ())
    for parsed, reason in zip(every, reasons, strict=True):
        declared = _declared_shape(next(shaped, None)) if parsed.kind == "shaped" else 0
        if reason is not None:
            left_out |= dict.fromkeys(_numbers(parsed, number), reason)
            continue
        for level in parsed.levels[1:]:
            left_out |= dict.fromkeys(_numbers(level, number), REDUCED)
        each = _series(path, parsed, number, chain.offsets)
        _check_complete(path, tiff, each, declared)
        found.append(_without_marked(tiff, each, chain, left_out))
    used = {page for each in found for page in pages_of(each, number)}
    left_out = {page: why for page, why in left_out.items() if page not in used}
    rest = [page for page in range(len(chain.offsets)) if page not in used and page not in left_out]
    if rest and not any(each.parsed is not None and each.parsed.is_truncated for each in found):
        found += _series_of_rest(tiff, chain.offsets, rest, left_out, None if all(each.is_plain for each in found) else found[0])
    return FoundSeries(tuple(_joined(path, found)), left_out)


def pages_of(series: PageSeries, number: Mapping[int, int]) -> Sequence[int]:
    """Return the numbers of a series' pages in the chain; those of other files or chains are not in it."""
    if series.pages is not None:
        return series.pages
    return _numbers(series.parsed, number)


def _numbers(parsed: tifffile.TiffPageSeries | None, number: Mapping[int, int]) -> list[int]:
    if parsed is None:
        return []
    own = parsed.keyframe.parent
    pages = [page for page in _listed(parsed) if page is not None and page.parent is own]
    return [number[page.offset] for page in pages if page.offset in number]


def _listed(parsed: tifffile.TiffPageSeries) -> list[Any]:
    try:
        return [parsed[i] for i in range(len(parsed))]
    except IndexError:  # planes without directories
        return [parsed.keyframe]


def _reason_of_kind(kind: int) -> str | None:
    return MASK if kind & MASK_BIT else REDUCED if kind & REDUCED_BIT else None


def _reason_to_leave(parsed: tifffile.TiffPageSeries, number: Mapping[int, int], left_out: Mapping[int, str]) -> str | None:
    """Return why a series is not an image to convert; None if it is one. Pages that are marked one by one are in `left_out`."""
    side = next((name for name in SIDE_IMAGES if parsed.name.lower().startswith(name)), None)
    if side is not None and parsed.kind not in PLAIN_KINDS:
        return f"a {side} image"
    pages = _numbers(parsed, number)
    if not pages:  # pages of a subordinate chain
        return _reason_of_kind(parsed.keyframe.subfiletype)
    return left_out[pages[0]] if all(page in left_out for page in pages) else None


def _without_marked(tiff: tifffile.TiffFile, series: PageSeries, chain: Chain, left_out: Mapping[int, str]) -> PageSeries:
    """Return a plain series without the pages that are marked as masks or of lower resolution, although they look like the others."""
    pages = tuple(page for page in series.pages or () if page not in left_out)
    if not series.is_plain or series.pages is None or len(pages) == len(series.pages) or series.order.sizes[:2] != (1, 1):
        return series
    first = parse_page(tiff, chain.offsets[pages[0]], pages[0])
    return replace(series, kind="generic", first=first, order=_along_z(len(pages)), parsed=None, pages=pages)


def _series(path: Path, parsed: tifffile.TiffPageSeries, number: Mapping[int, int], chain: Sequence[int]) -> PageSeries:
    page = parsed.keyframe
    try:
        order = plane_order(*outer_dimensions(parsed, page))
    except ValueError as error:
        raise InputRefused(str(error), where=path, fix="save it as a TIFF with z, or c and z, or t, c and z") from None
    planes, begin = math.prod(order.sizes), number.get(page.offset)
    pages: tuple[int, ...] | None = None
    if begin is not None and not parsed.is_truncated:
        if parsed.kind in IN_CHAIN_KINDS and begin + planes <= len(chain):
            pages = tuple(range(begin, begin + planes))
        elif parsed.kind == "generic" and len(listed := _numbers(parsed, number)) == planes:
            pages = tuple(listed)
    return PageSeries(parsed.name, parsed.kind, page, order, parsed, pages, parsed.kind in (*PLAIN_KINDS, "imagej"))


def _declared_shape(metadata: Mapping[str, Any] | None) -> int:
    """Return the number of samples that a series has as the description of its first page says; 0 if it does not say."""
    return math.prod(metadata["shape"]) if metadata else 0


def _check_complete(path: Path, tiff: tifffile.TiffFile, series: PageSeries, declared_samples: int) -> None:
    """Check that a series has as many planes as the file's own description says (if not, the parser uses those that exist)."""
    planes = series.planes
    declared = declared_samples // max(1, math.prod(series.first.shape))
    if not declared and tiff.is_imagej and tiff.imagej_metadata and series.kind in ("imagej", "generic", "uniform"):
        images = int(tiff.imagej_metadata.get("images", 1))
        samples = series.first.shaped[0] * series.first.shaped[4]
        declared = images if images > planes * samples or series.kind != "imagej" else planes
    if declared > planes:
        raise UnreadableInput(
            where=path, found=f"{planes} planes", expected=f"{declared} as its header says", fix="replace the truncated file"
        )


def _series_of_rest(
    tiff: tifffile.TiffFile, chain: Sequence[int], rest: Sequence[int], left_out: dict[int, str], main: PageSeries | None
) -> list[PageSeries]:
    """Sort pages that the parser has put into no series into series of like pages, or leave them out.

    If metadata say which pages the `main` series has, other pages of its form are a series of their own, and all others are left out.
    """
    found: dict[Any, PageSeries] = {}
    for number in rest:
        page = parse_page(tiff, chain[number], number)
        form = (page.shaped, page.dtype)
        if main is not None and form != main.form:
            left_out[number] = UNNAMED
            continue
        before = found.get(form)
        pages = (number,) if before is None or before.pages is None else (*before.pages, number)
        first = page if before is None else before.first
        found[form] = PageSeries("", "generic", first, _along_z(len(pages)), None, pages, main is None)
    return list(found.values())


def _along_z(planes: int) -> PlaneOrder:
    return PlaneOrder((1, 1, planes), (planes, planes, 1))


def _joined(path: Path, series: Sequence[PageSeries]) -> list[PageSeries]:
    """Join the plain series of like pages that have z only, in the order of the file.

    Raises:
        InputRefused: pages of one form mean different things.
    """
    found: dict[Any, PageSeries] = {}
    for i, each in enumerate(series):
        is_stack = each.is_plain and each.pages is not None and each.order.sizes[:2] == (1, 1)
        key = each.form if is_stack else i
        before = found.get(key)
        if before is None:
            found[key] = each
            continue
        if (expected := meaning_of(before.first)) != (meaning := meaning_of(each.first)):
            raise InputRefused(
                where=f"{path}: page {(each.pages or (0,))[0] + 1}",
                found=meaning,
                expected=f"{expected} like the first",
                fix="save all pages with the same photometric interpretation",
            )
        pages = tuple(sorted((*(before.pages or ()), *(each.pages or ()))))
        found[key] = replace(before, kind="generic", order=_along_z(len(pages)), parsed=None, pages=pages)
    return list(found.values())

"""The pages of a series, checked one by one, in one file or in all files of an OME-TIFF set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wkpipe.errors import InputRefused, UnreadableInput
from wkpipe.images.reader import FilePart, opened
from wkpipe.images.readers.tiff_directories import REDUCED_BIT, read_chain
from wkpipe.images.readers.tiff_meaning import meaning_of
from wkpipe.images.readers.tiff_parser import open_tiff, parse_page
from wkpipe.images.readers.tiff_series import REDUCED, UNNAMED, PageSeries
from wkpipe.images.readers.tiff_table import SegmentTable

if TYPE_CHECKING:
    import tifffile


class PageCheck:
    """Checks that all pages of a series are like the first and inside their files, and collects what reading them needs.

    `meaning` is what the values of all pages mean. `starts` are the positions of the pages' data, in order, which suffice if `is_raw`:
    all pages are uncompressed, and their rows contiguous. `orders` are the byte orders of the files. `most_encoded` is the most bytes of
    a stored strip or tile. `left_out` are the pages of other files of the set that are not used, with the reasons; `used_elsewhere`
    counts the others.
    """

    def __init__(self, first: tifffile.TiffPage, may_be_sparse: bool) -> None:
        self._first, self._may_be_sparse, self.meaning = first, may_be_sparse, meaning_of(first)
        self.starts: list[int] = []
        self.is_raw, self.most_encoded = True, 0
        self.orders: set[str] = set()
        self.left_out: dict[str, str] = {}
        self.used_elsewhere = 0
        self._sparse = self._computed = self._segments = 0
        self._kind = "strip"

    def add(self, path: Path, tiff: tifffile.TiffFile, size: int, chain: Sequence[int], pages: Sequence[tuple[int, int]]) -> None:
        """Check pages of a file, given by their numbers and the positions of their directories."""
        directories = np.array(chain, np.int64)
        self.orders.add(tiff.byteorder)
        for number, directory in pages:
            first = self._first
            page = first if directory == first.offset and tiff is first.parent else parse_page(tiff, directory, number)
            self._check_like_first(path, page, number + 1)
            table = SegmentTable.of(page)
            table.check(path, page, number + 1, size, directories, self._may_be_sparse)
            sparse = int(table.is_sparse.sum())
            self._sparse += sparse
            self._computed += table.computed
            self._segments += len(table.offsets)
            self._kind = table.kind
            self.most_encoded = max(self.most_encoded, int(table.counts.max()))
            self.is_raw = self.is_raw and page.is_final and not page.is_tiled and page.planarconfig == first.planarconfig and not sparse
            self.is_raw = self.is_raw and bool((table.offsets[:-1] + table.needed[:-1] == table.offsets[1:]).all())
            self.starts.append(int(table.offsets[0]))

    def notes(self, path: Path) -> list[str]:
        """Return what the user should know about the pages."""
        found = []
        if self._sparse:
            found.append(f"{path.name}: {self._sparse} of {self._segments} {self._kind}s have no data and are read as fill")
        if self._computed:
            found.append(f"{path.name}: the sizes of {self._computed} {self._kind}s are wrong in the file and were computed")
        return found

    def _check_like_first(self, path: Path, page: tifffile.TiffPage, number: int) -> None:
        first = self._first
        if page.shaped != first.shaped or page.dtype != first.dtype:
            found, expected = f"{page.shape} of {page.dtype}", f"{first.shape} of {first.dtype} like the first"
            raise InputRefused(where=f"{path}: page {number}", found=found, expected=expected, fix="save the pages as files of one size")
        if page is not first and (meaning := meaning_of(page)) != self.meaning:
            raise InputRefused(
                where=f"{path}: page {number}",
                found=meaning,
                expected=f"{self.meaning} like the first",
                fix="save all pages with the same photometric interpretation",
            )


def set_of_files(
    path: Path, tiff: tifffile.TiffFile, size: int, chain: Sequence[int], series: PageSeries, check: PageCheck
) -> tuple[list[int], list[int], tuple[FilePart, ...]]:
    """Find and check the planes of a series that its metadata list; they may be in several files.

    Returns the positions of their directories, the number of each plane's file (0 for the file itself), and the other files.
    """
    parsed, planes = series.parsed, series.planes
    assert parsed is not None
    listed = [parsed[i] for i in range(planes)] if len(parsed) == planes else []
    if len(listed) < planes or any(page is None for page in listed):
        _refuse_missing(path, tiff, sum(page is not None for page in listed) or len(chain), planes)
    names = {path.resolve(): 0}
    files = [names.setdefault(Path(page.parent.filehandle.path).resolve(), len(names)) for page in listed if page is not None]
    positions = [page.offset for page in listed if page is not None]
    starts: dict[int, int] = {}
    parts: list[FilePart] = []
    for file, number in sorted(names.items(), key=lambda item: item[1]):
        mine = [plane for plane in range(planes) if files[plane] == number]
        wanted = [positions[plane] for plane in mine]
        before = len(check.starts)
        if number == 0:
            index = {offset: i for i, offset in enumerate(chain)}
            check.add(path, tiff, size, chain, [(index.get(offset, len(chain)), offset) for offset in wanted])
        else:
            beside = path.parent / file.relative_to(path.parent.resolve()) if file.is_relative_to(path.parent.resolve()) else file
            parts.append(_add_part(beside, wanted, check))
        starts |= dict(zip(mine, check.starts[before:], strict=True))
    check.starts = [starts[plane] for plane in range(planes)]
    return positions, files, tuple(parts)


def _add_part(path: Path, positions: Sequence[int], check: PageCheck) -> FilePart:
    """Check the planes of a series in another file of its set."""
    with opened(path) as (handle, stat):
        chain, kinds = read_chain(path, handle, stat.st_size)
        index = {offset: i for i, offset in enumerate(chain)}
        with open_tiff(handle) as tiff:
            check.add(path, tiff, stat.st_size, chain, [(index.get(offset, len(chain)), offset) for offset in positions])
            unused = sorted({*range(len(chain))} - {index[offset] for offset in positions if offset in index})
            check.used_elsewhere += len(chain) - len(unused)
            for number in unused:
                check.left_out[f"{path.name}: page {number + 1}"] = REDUCED if kinds[number] & REDUCED_BIT else UNNAMED
    return FilePart(path, stat.st_size, stat.st_mtime_ns)


def _refuse_missing(path: Path, tiff: tifffile.TiffFile, found: int, planes: int) -> None:
    """Refuse a file without all of its planes; names the files of its set that are missing.

    Raises:
        UnreadableInput: always.
    """
    text = tiff.ome_metadata or ""
    names = dict.fromkeys(re.findall(r'FileName="([^"]+)"', text))
    missing = [name for name in names if not (path.parent / name).exists() and name != path.name]
    expected = f"{planes} as its header says"
    if missing and len(names) > 1:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise UnreadableInput(
            f"one of a set of {len(names)} files, of which {len(missing)} {'is' if len(missing) == 1 else 'are'} missing ({shown})",
            where=path,
            found=f"{found} planes",
            expected=expected,
            fix="put all files of the set into one folder",
        )
    raise UnreadableInput(
        "truncated, or one of a set", where=path, found=f"{found} planes", expected=expected, fix="save it as one whole file"
    )

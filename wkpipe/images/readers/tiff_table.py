"""The table of a TIFF page: where its strips or tiles are, checked against the file before any of them is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from wkpipe.errors import UnreadableInput

if TYPE_CHECKING:
    import tifffile

Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Flags: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

# The best ratio of any encoder of these codecs: a header that claims more decoded bytes per stored byte is wrong.
MOST_PER_BYTE = {5: 2000, 7: 8800, 8: 1100, 32946: 1100, 32773: 130, 34925: 10_000, 50000: 70_000}
MOST_PER_BYTE_ELSE = 10_000_000

UNCOMPRESSED = 1

_MOST = 1 << 62
"""The most bytes that a segment may claim, so that sums fit into 64 bits."""


@dataclass(frozen=True)
class SegmentTable:
    """The strips or tiles of a page: their offsets and stored sizes in the file, and the bytes that each has once it is decoded.

    A segment without offset and size is *sparse*: its writer left it out, and it is read as fill. `computed` is the number of sizes
    that the file gives too small and that follow from the page's shape, because the data are not compressed. `expected` is the number of
    segments of a page of this shape; `needed` is empty if the file has another number, because a damaged one may claim any shape.
    """

    offsets: Integers
    counts: Integers
    needed: Integers
    kind: str
    computed: int
    expected: int

    @classmethod
    def of(cls, page: tifffile.TiffPage) -> SegmentTable:
        """Return the table of a page; offsets and sizes that are not as many as the page has segments are kept as they are."""
        kind, expected = "tile" if page.is_tiled else "strip", _count(page)
        offsets, counts = np.array(page.dataoffsets, np.int64), np.array(page.databytecounts, np.int64)
        if not len(offsets) == len(counts) == expected:
            return cls(offsets, counts, np.zeros(0, np.int64), kind, 0, expected)
        needed = _needed(page, expected)
        computed = np.zeros(expected, bool)
        if page.compression == UNCOMPRESSED:
            computed = (offsets > 0) & (counts >= 0) & (counts < needed)
            counts = np.where(computed, needed, counts)
        return cls(offsets, counts, needed, kind, int(computed.sum()), expected)

    @cached_property
    def is_sparse(self) -> Flags:
        """True for each segment that has no data."""
        found: Flags = (self.offsets == 0) & (self.counts == 0)
        return found

    def check(self, path: Path, page: tifffile.TiffPage, number: int, size: int, directories: Integers, may_be_sparse: bool) -> None:
        """Check that all segments are inside the file of `size` bytes.

        `directories` are the positions of the file's page directories; a size that was computed must not reach beyond one.

        Raises:
            UnreadableInput: a segment is missing, cut off, or cannot hold what the page claims; names it.
        """
        where, expected = f"{path}: page {number}", self.expected
        _, _, height, width, _ = page.shaped
        if len(self.offsets) != len(self.counts) or len(self.offsets) != expected:
            raise UnreadableInput(
                where=where,
                found=f"{len(self.offsets)} {self.kind}s",
                expected=f"{expected} from its size {width}×{height}",
                fix="replace the file",
            )
        self._check_present(where, may_be_sparse)
        if (self.offsets + self.counts > size).any():
            index = int(np.flatnonzero(self.offsets + self.counts > size)[0])
            end = int(self.offsets[index] + self.counts[index])
            raise UnreadableInput(
                f"truncated: {self.kind} {index + 1} of {expected} ends at byte {end}, the file at {size}",
                where=where,
                fix="replace the file",
            )
        if self.computed:
            self._check_computed(where, directories, page)
        most = MOST_PER_BYTE.get(page.compression, MOST_PER_BYTE_ELSE)
        if ((self.needed > most * self.counts) & ~self.is_sparse).any():
            raise UnreadableInput(
                f"claims {width}×{height} pixels, far more than its {int(self.counts.sum())} bytes can hold",
                where=where,
                fix="replace the file",
            )

    def _check_present(self, where: str, may_be_sparse: bool) -> None:
        missing = (self.offsets <= 0) | (self.counts <= 0)
        if may_be_sparse:
            missing &= ~self.is_sparse
        if missing.any():
            index = int(np.flatnonzero(missing)[0])
            fix = "write the file again"
            if self.is_sparse[index]:
                fix += ", or pass --sparse fill if it was left out on purpose"
            raise UnreadableInput(
                f"no data for {self.kind} {index + 1} of {len(self.needed)}, perhaps its writer was interrupted", where=where, fix=fix
            )

    def _check_computed(self, where: str, directories: Integers, page: tifffile.TiffPage) -> None:
        """Check that the sizes that were computed are certain: no segment overlaps another, or a directory of the file."""
        present = ~self.is_sparse
        starts, ends = self.offsets[present], self.offsets[present] + self.counts[present]
        order = np.argsort(starts)
        starts, ends = starts[order], ends[order]
        before = np.searchsorted(starts, directories, "right") - 1
        if (ends[:-1] > starts[1:]).any() or ((before >= 0) & (directories < ends[before])).any():
            index = int(np.flatnonzero(np.array(page.databytecounts, np.int64) < self.needed)[0])
            found = int(page.databytecounts[index])
            raise UnreadableInput(
                where=f"{where}: {self.kind} {index + 1}",
                found=f"{found} bytes",
                expected=f"{self.needed[index]} from its size {page.shaped[3]}×{page.shaped[2]}",
                fix="replace the file",
            )


def _count(page: tifffile.TiffPage) -> int:
    """Return how many strips or tiles a page of its shape has."""
    separate, _, height, width, _ = page.shaped
    if page.is_tiled:
        return int(separate * math.ceil(height / page.tilelength) * math.ceil(width / page.tilewidth))
    return int(separate * math.ceil(height / min(page.rowsperstrip, height)))


def _needed(page: tifffile.TiffPage, count: int) -> Integers:
    """Return the least bytes of each of the strips or tiles of a page that is not compressed."""
    separate, _, height, width, contiguous = page.shaped
    if page.is_tiled:
        size = page.tilelength * ((page.tilewidth * contiguous * page.bitspersample + 7) // 8)
        return np.full(count, min(size, _MOST), np.int64)
    rows = min(page.rowsperstrip, height)
    row_bytes = (width * contiguous * page.bitspersample + 7) // 8
    per_sample = count // separate
    needed = np.full(count, min(rows * row_bytes, _MOST), np.int64)
    needed[per_sample - 1 :: per_sample] = min(row_bytes * (height - (per_sample - 1) * rows), _MOST)
    return needed

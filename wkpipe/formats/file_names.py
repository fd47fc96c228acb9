"""The file names of an array: from positions in a grid of files to paths, and back by listing directories."""

# An array has tens of thousands of names: plain strings are several times faster than paths.
from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wkpipe.formats.base import Position
from wkpipe.storage.place import Place

_PROBES_PER_LISTING = 64
_PROBES_PER_FLAT_LISTING = 1 << 16  # a flat directory holds the whole array: to list it costs more than to look for some names


def _number(text: str) -> int | None:
    """Return the number in a name; None if it is not written in the canonical way."""
    if text.isascii() and text.isdigit() and (text == "0" or text[0] != "0") and len(text) < 19:
        return int(text)
    return None


class FileNames(ABC):
    """The file names of one array, by position in the grid of files."""

    def __init__(self, place: Place) -> None:
        self.place = place

    @abstractmethod
    def key(self, position: Sequence[int]) -> str:
        """Return the key of a file in the array's place."""

    @abstractmethod
    def present(self, first: Sequence[int], end: Sequence[int]) -> list[Position]:
        """Return the positions in a box of the grid that have a file, unsorted."""

    @abstractmethod
    def all_present(self) -> Iterator[Position]:
        """Yield the positions of all files, a directory at a time, sorted in each."""

    def keys(self, first: Sequence[int], end: Sequence[int]) -> list[str]:
        """Return the keys of the files in a box of the grid, unsorted."""
        return list(map(self.key, self.present(first, end)))

    def path(self, position: Sequence[int]) -> str:
        """Return the path of a file, for messages."""
        return f"{self.place}/{self.key(position)}"

    def _probe(self, first: Sequence[int], end: Sequence[int]) -> list[Position]:
        cells = itertools.product(*(range(a, b) for a, b in zip(first, end, strict=True)))
        return [cell for cell in cells if self.place.has(self.key(cell))]


@dataclass(frozen=True)
class Level:
    """One level of directories: a name is `before`, the position along `axis`, `after`."""

    axis: int
    before: str = ""
    after: str = ""


class NestedNames(FileNames):
    """One directory level per axis; axes without a level have only position 0."""

    def __init__(self, place: Place, ndim: int, levels: Sequence[Level], prefix: str = "") -> None:
        super().__init__(place)
        self._ndim = ndim
        self._levels = tuple(levels)
        self._prefix = prefix

    def key(self, position: Sequence[int]) -> str:
        return self._prefix + "/".join(f"{level.before}{position[level.axis]}{level.after}" for level in self._levels)

    def _is_probed(self, first: Sequence[int], end: Sequence[int]) -> bool:
        """True if to look for single names costs less than to list directories."""
        widths = [max(0, b - a) for a, b in zip(first, end, strict=True)]
        width = widths[self._levels[-1].axis]
        directories = math.prod(widths) // max(1, width)
        return width == 0 or (min(directories, width) <= 1 and max(directories, width) <= _PROBES_PER_LISTING)

    def present(self, first: Sequence[int], end: Sequence[int]) -> list[Position]:
        return self._probe(first, end) if self._is_probed(first, end) else [position for position, _ in self._walk(first, end)]

    def keys(self, first: Sequence[int], end: Sequence[int]) -> list[str]:
        return super().keys(first, end) if self._is_probed(first, end) else [key for _, key in self._walk(first, end)]

    def all_present(self) -> Iterator[Position]:
        return (position for position, _ in self._walk([0] * self._ndim, None))

    def _walk(self, first: Sequence[int], end: Sequence[int] | None) -> Iterator[tuple[Position, str]]:
        """Yield the positions and keys of files, by listing each directory once."""
        position = [0] * self._ndim

        def descend(directory: str, depth: int) -> Iterator[tuple[Position, str]]:
            level = self._levels[depth]
            is_last = depth + 1 == len(self._levels)
            a, b = first[level.axis], None if end is None else end[level.axis]
            if is_last and b == a + 1:  # to look for a single name costs less than to list
                position[level.axis] = a
                if self.place.has(key := self.key(position)):
                    yield tuple(position), key
                return
            for number, name in self._listed(directory, level, a, b):
                position[level.axis] = number
                inner = f"{directory}/{name}" if directory else name
                if is_last:
                    yield tuple(position), inner
                else:
                    yield from descend(inner, depth + 1)

        return descend(self._prefix.rstrip("/"), 0)

    def _listed(self, directory: str, level: Level, first: int, end: int | None) -> list[tuple[int, str]]:
        """Return the positions along a level's axis, from `first` to `end`, that a directory has, with their names; sorted."""
        before, after, found = level.before, level.after, []
        for name in self.place.names(directory):
            if name.startswith(before) and name.endswith(after):
                number = _number(name[len(before) : len(name) - len(after)])
                if number is not None and number >= first and (end is None or number < end):
                    found.append((number, name))
        return sorted(found)


class FlatNames(FileNames):
    """All files in one directory, named by their positions along all axes with a separator between them."""

    def __init__(self, place: Place, ndim: int, separator: str, prefix: str = "") -> None:
        super().__init__(place)
        self._ndim = ndim
        self._separator = separator
        self._prefix = prefix

    def key(self, position: Sequence[int]) -> str:
        return self._prefix + self._separator.join(map(str, position))

    def present(self, first: Sequence[int], end: Sequence[int]) -> list[Position]:
        if math.prod(max(0, b - a) for a, b in zip(first, end, strict=True)) <= _PROBES_PER_FLAT_LISTING:
            return self._probe(first, end)
        return [cell for cell in self.all_present() if all(a <= p < b for a, p, b in zip(first, cell, end, strict=True))]

    def all_present(self) -> Iterator[Position]:
        found = []
        for name in self.place.names():
            if name.startswith(self._prefix):
                numbers = [_number(part) for part in name[len(self._prefix) :].split(self._separator)]
                position = tuple(number for number in numbers if number is not None)
                if len(numbers) == len(position) == self._ndim:
                    found.append(position)
        return iter(sorted(found))


def zarr_names(place: Place, ndim: int, separator: str, prefix: str) -> FileNames:
    """Return the names of a Zarr array; `prefix` comes before the first separator (``c`` or nothing)."""
    if separator == "/":
        return NestedNames(place, ndim, [Level(axis) for axis in range(ndim)], f"{prefix}/" if prefix else "")
    return FlatNames(place, ndim, separator, f"{prefix}{separator}" if prefix else "")

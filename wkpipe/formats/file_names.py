"""Where the files of an array lie: from positions in a grid of files to paths, and back by listing directories."""

# Names come by the ten thousand: plain strings are several times faster than paths.
# ruff: noqa: PTH110, PTH208
from __future__ import annotations

import itertools
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wkpipe.formats.base import Position

_PROBES_PER_LISTING = 64
_PROBES_PER_FLAT_LISTING = 1 << 16  # a flat directory holds the whole array: listing it costs more than looking for some names


def _number(text: str) -> int | None:
    """Return the number that a name stands for, None if it is not written the canonical way."""
    if text.isascii() and text.isdigit() and (text == "0" or text[0] != "0") and len(text) < 19:
        return int(text)
    return None


def _names(directory: str) -> list[str]:
    """Return the names in a directory, none if it is not there."""
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


class FileNames(ABC):
    """The files of one array, by their position in the grid of files."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)

    @abstractmethod
    def key(self, position: Sequence[int]) -> str:
        """Return the path of a file below the array's directory."""

    @abstractmethod
    def present(self, first: Sequence[int], end: Sequence[int]) -> list[Position]:
        """Return the positions in a box of the grid that have a file; unsorted."""

    @abstractmethod
    def all_present(self) -> Iterator[Position]:
        """Yield the positions of all files; a directory at a time, sorted within."""

    def path(self, position: Sequence[int]) -> str:
        """Return a file's path."""
        return f"{self.root}/{self.key(position)}"

    def _probe(self, first: Sequence[int], end: Sequence[int]) -> list[Position]:
        cells = itertools.product(*(range(a, b) for a, b in zip(first, end, strict=True)))
        return [cell for cell in cells if os.path.exists(self.path(cell))]


@dataclass(frozen=True)
class Level:
    """One level of directories: a name is `before`, the position along `axis`, `after`."""

    axis: int
    before: str = ""
    after: str = ""


class NestedNames(FileNames):
    """One directory level per axis; axes without a level have only position 0."""

    def __init__(self, root: Path, ndim: int, levels: Sequence[Level], prefix: str = "") -> None:
        super().__init__(root)
        self._ndim = ndim
        self._levels = tuple(levels)
        self._prefix = prefix

    def key(self, position: Sequence[int]) -> str:
        return self._prefix + "/".join(f"{level.before}{position[level.axis]}{level.after}" for level in self._levels)

    def present(self, first: Sequence[int], end: Sequence[int]) -> list[Position]:
        last = self._levels[-1].axis
        directories = 1
        for a, b in (pair for axis, pair in enumerate(zip(first, end, strict=True)) if axis != last):
            directories *= max(0, b - a)
        if end[last] - first[last] <= 1 or directories == 0:
            return self._probe(first, end)
        if directories == 1 and end[last] - first[last] <= _PROBES_PER_LISTING:
            return self._probe(first, end)
        return list(self._walk(first, end))

    def all_present(self) -> Iterator[Position]:
        return self._walk([0] * self._ndim, None)

    def _walk(self, first: Sequence[int], end: Sequence[int] | None) -> Iterator[Position]:
        position = [0] * self._ndim

        def descend(directory: str, depth: int) -> Iterator[Position]:
            level = self._levels[depth]
            a, b = first[level.axis], None if end is None else end[level.axis]
            found = []
            for name in _names(directory):
                if name.startswith(level.before) and name.endswith(level.after):
                    number = _number(name[len(level.before) : len(name) - len(level.after)])
                    if number is not None and number >= a and (b is None or number < b):
                        found.append((number, name))
            for number, name in sorted(found):
                position[level.axis] = number
                if depth + 1 == len(self._levels):
                    yield tuple(position)
                else:
                    yield from descend(f"{directory}/{name}", depth + 1)

        return descend(f"{self.root}/{self._prefix}".rstrip("/"), 0)


class FlatNames(FileNames):
    """All files in one directory, named by their positions along all axes, with a separator between."""

    def __init__(self, root: Path, ndim: int, separator: str, prefix: str = "") -> None:
        super().__init__(root)
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
        for name in _names(self.root):
            if name.startswith(self._prefix):
                numbers = [_number(part) for part in name[len(self._prefix) :].split(self._separator)]
                position = tuple(number for number in numbers if number is not None)
                if len(numbers) == len(position) == self._ndim:
                    found.append(position)
        return iter(sorted(found))


def zarr_names(root: Path, ndim: int, separator: str, prefix: str) -> FileNames:
    """Return the names of a Zarr array: `prefix` is what stands before the first separator (``c`` or nothing)."""
    if separator == "/":
        return NestedNames(root, ndim, [Level(axis) for axis in range(ndim)], f"{prefix}/" if prefix else "")
    return FlatNames(root, ndim, separator, f"{prefix}{separator}" if prefix else "")

"""Missing slices: what becomes of numbers that no file has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from wkpipe.errors import InputRefused, UnreadableInput, UsageError
from wkpipe.images.composed import blank
from wkpipe.images.numbering import Number, Running, number_text, ranges_text
from wkpipe.images.options import CLOSE, FAIL, FILL, REPEAT, SourceOptions
from wkpipe.images.reader import ImageFile
from wkpipe.images.readers.unreadable import UnreadableReader
from wkpipe.images.stack import ImageStack

MOST_PLANES_PER_FILE = 100


@dataclass(frozen=True)
class Planes:
    """The files of a layer along z, blank or repeated ones included, and what is said about missing numbers; empty if none is.

    `running` is the number that runs through their names, with the step that missing ones are counted with.
    """

    files: tuple[ImageFile, ...]
    running: Running | None
    said: str = ""


def with_missing(
    files: Sequence[ImageFile], numbers: Sequence[Number], running: Running | None, options: SourceOptions, where: Path
) -> Planes:
    """Return the files of a layer with what the user wants in the place of each missing number.

    Raises:
        InputRefused: numbers are missing, and the user has not said what to do; or the names have no numbers for the list.
        UsageError, UnreadableInput: the list of lost sections is not valid.
    """
    how = FILL if options.lost_sections is not None else options.missing
    if running is not None and how in (FILL, REPEAT):  # the user says that some are missing
        running = running.with_step
    if running is None and options.lost_sections is not None:
        raise InputRefused(
            "the list of lost sections has numbers, but none runs through the names of the files",
            where=where,
            fix="name them by their numbers, or give another --missing-slices",
        )
    missing = 0 if running is None else running.missing
    if running is None or not missing:
        return Planes(tuple(files), running)
    said = f"{missing} missing slice{'' if missing == 1 else 's'}: {running.missing_text()}"
    if how == FAIL:
        fix = "give --missing-slices fill, repeat or close, or from:FILE with a list of lost sections"
        raise InputRefused(where=where, found=said, expected="all numbers", fix=fix)
    if options.lost_sections is not None:
        _check_lost(running, lost_sections(options.lost_sections), options.lost_sections, where)
    if how == CLOSE:
        return Planes(tuple(files), running, f"{said}; the others close the gap")
    if any(file.sizes.z > 1 for file in files):
        raise InputRefused(
            f"the depth of missing files is not known ({said})", where=where, fix="give --missing-slices close, or put the files there"
        )
    if missing > MOST_PLANES_PER_FILE * len(files):
        fix = "check the names; --missing-slices close ignores the numbers"
        raise InputRefused(where=where, found=f"{len(files)} slices with numbers that are far from each other ({said})", fix=fix)
    filled = "filled with 0" if how == FILL else "the slice before is repeated"
    return Planes(tuple(_filled(files, numbers, running, how)), running, f"{said}; {filled}")


def readable(stack: ImageStack) -> ImageStack:
    """Return a stack with blank slices in the place of those that cannot be read."""
    return stack.replace(files=tuple(blank(file, file.path.name) if file.reader == UnreadableReader.name else file for file in stack.files))


def lost_sections(path: Path) -> list[tuple[Number, Number]]:
    """Return the numbers in a list of lost sections, as ranges: numbers and ranges (5-7), separated by commas, spaces or lines.

    Raises:
        UnreadableInput: the file cannot be read.
        UsageError: something in it is no number.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UnreadableInput(f"the list of lost sections cannot be read: {reason}", where=path, fix="check --missing-slices") from None
    found: list[tuple[Number, Number]] = []
    for word in re.sub(r"#.*", "", text).replace(",", " ").split():
        match = re.fullmatch(r"(-?\d+(?:\.\d+)?)(?:-(-?\d+(?:\.\d+)?))?", word)
        if match is None:
            raise UsageError(where=path, found=repr(word), expected="numbers and ranges of lost sections, like 12 or 40-42")
        found.append((Fraction(match[1]), Fraction(match[2] or match[1])))
    return found


def _check_lost(running: Running, lost: Iterable[tuple[Number, Number]], path: Path, where: Path) -> None:
    known = list(lost)
    unknown = [gap for gap in running.gaps() for gap in _uncovered(gap, known, running.step or Fraction(1))]
    if unknown:
        fix = f"put the files there, or add the numbers to {path}"
        raise InputRefused(where=where, found=f"missing slices that {path.name} does not list: {ranges_text(unknown)}", fix=fix)


def _uncovered(gap: tuple[Number, Number], lost: Sequence[tuple[Number, Number]], step: Number) -> Iterable[tuple[Number, Number]]:
    number = gap[0]
    while number <= gap[1]:
        ends = [last for first, last in lost if first <= number <= last]
        if not ends:
            yield number, number
        number = (number - gap[0] + step) // step * step + gap[0] if not ends else gap[0] + ((max(ends) - gap[0]) // step + 1) * step


def _filled(files: Sequence[ImageFile], numbers: Sequence[Number], running: Running, how: str) -> Iterable[ImageFile]:
    step = running.step or Fraction(1)
    for i, (file, number) in enumerate(zip(files, numbers, strict=True)):
        for k in range(1, int((number - numbers[i - 1]) / step) if i else 1):
            lost = number_text(numbers[i - 1] + k * step)
            yield files[i - 1] if how == REPEAT else blank(file, f"missing slice {lost}")
        yield file

"""Sequence: the files of a stack in order, by the number that runs through their names, or else by name."""

from __future__ import annotations

import collections
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wkpipe.errors import InputRefused, one_line
from wkpipe.images.numbering import Number, Parsed, Running, largest_group, number_text, parse_names

CHANNEL_LIKE, TIME_LIKE, POSITION_LIKE = (
    re.compile(rf"(?:^|[^a-z])(?:{words})[ _=-]?$")
    for words in ("c|ch|chan|channel|w|wv|wavelength", "t|tp|time|timepoint", "s|series|scene|pos|position|p|f|fov")
)
"""The ends of texts before a number that is probably a channel, a time or a position, not z."""

COPY = re.compile(r"(.*?)(?: \(\d+\)| - copy(?: \(\d+\))?| ?\(copy(?: \d+)?\)| copy(?: \d+)?)", re.IGNORECASE | re.DOTALL)
"""A name that a file manager or a browser gives to a copy of another file."""


@dataclass(frozen=True)
class Slices:
    """The files of a layer in order; `running` is the number that runs through their names, None if they are in order of their names.

    `numbers` are those of the files. `reason` says why files are in order of their names; `is_given` says that the user ordered them.
    """

    files: tuple[Path, ...]
    numbers: tuple[Number, ...] = ()
    running: Running | None = None
    reason: str = ""
    is_given: bool = False

    @property
    def how(self) -> str:
        """How the files are ordered, as a text."""
        if self.is_given:
            return "in the given order"
        if self.running is None:
            return f"in order of their names{self.reason and f': {self.reason}'}"
        return f"numbers {self.running.text}"


@dataclass(frozen=True)
class Order:
    """What a plan says about the order of a layer's slices."""

    layer: str
    count: int
    first: str
    last: str
    how: str
    missing: str = ""

    @property
    def text(self) -> str:
        """The order as one line."""
        missing = f"; {self.missing}" if self.missing else ""
        return one_line(
            f"layer {self.layer}: {self.count} slice{'' if self.count == 1 else 's'}, {self.first} to {self.last}, {self.how}{missing}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the order as plain JSON, as a dataset's state keeps it."""
        return {"layer": self.layer, "slices": self.count, "first": self.first, "last": self.last, "how": self.how, "missing": self.missing}


def slices_of(files: Sequence[Path], where: Path, root: Path | None = None) -> Slices:
    """Return files of one folder, which are in natural order, in the order of a stack.

    With `root`, they are files of several folders below it, and numbers may be in their whole paths.

    Raises:
        InputRefused: two of them have the same number, one is a copy of another, or several numbers or words alternate as if they were
            channels.
    """
    if len(files) < 2:
        return Slices(tuple(files))
    stems = [path.stem if root is None else str(path.relative_to(root).with_suffix("")) for path in files]
    _check_copies(files, stems)
    parsed = parse_names(stems)
    _check_numbers(files, parsed)
    group = largest_group(parsed)
    if len(group) < len(parsed):
        _check_words(files, parsed, where)
        odd = next(file for file, each in zip(files, parsed, strict=True) if each.skeleton != group[0].skeleton)
        reason = f"{odd.name} has no number like the others" if len(group) > 1 else "they have no number in common"
        return Slices(tuple(files), reason=reason)
    return _ordered(files, parsed, where)


def by_name(paths: Iterable[Path], root: Path) -> list[Path]:
    """Return paths sorted by their parts below `root`: numbers by value (s1, s2, s9, s10), whatever the case; equal ones by their text."""
    from natsort import natsort_keygen, ns

    key = natsort_keygen(alg=ns.IGNORECASE)
    return sorted(paths, key=lambda path: ([key(part) for part in path.relative_to(root).with_suffix("").parts], path.suffix, str(path)))


def _ordered(files: Sequence[Path], parsed: Sequence[Parsed], where: Path) -> Slices:
    columns = list(zip(*(each.numbers for each in parsed), strict=True))
    if not columns:
        return Slices(tuple(files), reason="they have no number in common")
    runs = [(column, Running.of(column)) for column in columns if len(set(column)) == len(column) and _is_order(column, columns)]
    _check_channels(files, parsed, columns, where, has_order=bool(runs))
    if not runs:
        return Slices(tuple(files), reason="several numbers run in them")
    numbers, running = next((run for run in runs if run[1].step is not None), runs[0])
    ordered = sorted(zip(numbers, files, strict=True), key=lambda pair: pair[0])
    return Slices(tuple(file for _, file in ordered), tuple(number for number, _ in ordered), running)


def _is_order(column: Sequence[Number], columns: Sequence[Sequence[Number]]) -> bool:
    """True if names are in order by this number: it agrees with all numbers, or runs so regularly that others do not count."""
    by_all = [numbers for *_, numbers in sorted(zip(*columns, column, strict=True))]
    return by_all == sorted(column) or Running.of(column).is_even


# -- what is refused ------------------------------------------------------------------------------------------------


def _check_copies(files: Sequence[Path], stems: Sequence[str]) -> None:
    known = {stem.casefold() for stem in stems}
    for file, stem in zip(files, stems, strict=True):
        found = COPY.fullmatch(stem)
        if found is not None and found[1].casefold() in known:
            raise InputRefused(
                "by its name it is a copy of another slice",
                where=file,
                found=f"{found[1]}{file.suffix} beside it",
                expected="each slice once",
                fix="move one of the two away",
            )


def _check_numbers(files: Sequence[Path], parsed: Sequence[Parsed]) -> None:
    seen: dict[object, Path] = {}
    for file, each in zip(files, parsed, strict=True):
        if (other := seen.setdefault((each.skeleton, each.numbers), file)) != file:
            what = "the same number" if each.words else "the same name"
            raise InputRefused(where=file, found=f"{what} as {other.name} has", expected="each slice once", fix="move one of the two away")


def _check_channels(
    files: Sequence[Path], parsed: Sequence[Parsed], columns: Sequence[Sequence[Number]], where: Path, has_order: bool
) -> None:
    """Refuse names with a number that looks like a channel, a time or a position and takes several values for each slice.

    In names that are in order by another number, only channels count.
    """
    varying = [i for i, column in enumerate(columns) if len(set(column)) > 1]
    channels, times, positions = (
        [i for i in varying if like.search(parsed[0].skeleton[i])] for like in (CHANNEL_LIKE, TIME_LIKE, POSITION_LIKE)
    )
    rest = [i for i in varying if i not in (*channels, *times, *positions)]
    if len(varying) < 2 or not (channels or (rest and (times or positions) and not has_order)):
        return
    alike = (channels or times or positions)[0]
    if not _alternates(columns[alike], [column for i, column in enumerate(columns) if i in varying and i != alike]):
        return
    slices = (rest or (positions if channels else []))[-1:]
    fields = dict.fromkeys(times[:1], "{t}") | dict.fromkeys((channels or ([] if times else positions))[:1], "{c}")
    fields |= dict.fromkeys(slices, "{z}")
    words = [fields.get(i, "*" if i in varying else word) for i, word in enumerate(parsed[0].words)]
    values = sorted(set(columns[alike]))
    shown = ", ".join([*map(number_text, values[:5]), *(["…"] if len(values) > 5 else [])])
    token = parsed[0].texts[alike].strip(" _-=") or "a number"
    raise _channels_in_names(parsed[0].texts, words, where, f"{len(values)} values of {token} ({shown})", files[0].suffix)


def _alternates(column: Sequence[Number], others: Sequence[Sequence[Number]]) -> bool:
    """True if a number changes back and forth in the order of the other numbers; False if it only counts blocks of slices, as wafers."""
    ordered: list[Number] = [number for *_, number in sorted(zip(*others, column, strict=True))]
    return sum(a != b for a, b in itertools.pairwise(ordered)) >= len({*ordered})


def _check_words(files: Sequence[Path], parsed: Sequence[Parsed], where: Path) -> None:
    """Refuse names in which a word alternates: most numbers occur with each of several words."""
    groups: dict[tuple[str, ...], list[Parsed]] = collections.defaultdict(list)
    for each in parsed:
        groups[each.skeleton].append(each)
    largest, *others = sorted(groups.values(), key=len, reverse=True)
    known = {each.numbers for each in largest}
    kinds = [group for group in others if len(group) > 1 and 2 * len(known & {each.numbers for each in group}) >= len(group)]
    if not kinds:
        return
    kinds = [largest, *kinds]
    firsts = [group[0] for group in kinds]
    places = [i for i, texts in enumerate(zip(*(first.skeleton for first in firsts), strict=True)) if len(set(texts)) > 1]
    if len(places) == 1:
        words = [first.texts[places[0]] for first in firsts]
        start, end = _common(words)
        texts = [*firsts[0].texts]
        texts[places[0]] = f"{words[0][:start]}{{c}}{words[0][len(words[0]) - end :]}"
        varying = [i for i, column in enumerate(zip(*(each.words for each in kinds[0]), strict=True)) if len(set(column)) > 1]
        fields = ["{z}" if i in varying[-1:] else "*" if i in varying else word for i, word in enumerate(firsts[0].words)]
        found = ", ".join(word[start : len(word) - end] or "nothing" for word in words[:5])
        raise _channels_in_names(texts, fields, where, f"each slice with the words {found}", files[0].suffix)


def _channels_in_names(texts: Sequence[str], words: Sequence[str], where: Path, found: str, ending: str) -> InputRefused:
    pattern = texts[0] + "".join(word + text for word, text in zip(words, texts[1:], strict=True)) + ending
    what = "the names say that there are several channels or times of a slice"
    return InputRefused(what, where=where, found=found, fix=f"give --pattern '{pattern}', or move files away")


def _common(words: Sequence[str]) -> tuple[int, int]:
    """Return how many first and how many last letters all words have in common."""
    least = min(map(len, words))
    start = next((i for i in range(least) if len({word[i].casefold() for word in words}) > 1), least)
    end = next((i for i in range(least - start) if len({word[-1 - i].casefold() for word in words}) > 1), least - start)
    return start, end

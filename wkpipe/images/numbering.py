"""Numbering: the numbers in file names, which of them runs, with which step, and which numbers are missing.

Leading zeros, case and the way that umlauts are stored make no difference. A minus sign belongs to a number only if some names have
it and others do not: otherwise it separates. A fraction belongs to a number if all names have one and no whole part is padded.
"""

from __future__ import annotations

import collections
import itertools
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import TypeAlias

Number: TypeAlias = int | Fraction

REGULAR = Fraction(9, 10)

_SIGN = r"(?<!\d)[+-]?"
_DIGITS, _FRACTION = r"\d+", r"(?<![\d.])\d+(?:\.\d+)?(?![.]?\d)"
_SIGNED_FRACTION = re.compile(r"(?<![\d.])[+-]?\d+(?:\.\d+)?(?![.]?\d)")
_HAS_SIGN, _HAS_FRACTION = re.compile(r"(?<!\d)[+-]\d"), re.compile(r"\d\.\d")


@dataclass(frozen=True)
class Parsed:
    """A name as texts and numbers in turn; it begins and ends with a text."""

    texts: tuple[str, ...]
    words: tuple[str, ...]

    @cached_property
    def numbers(self) -> tuple[Number, ...]:
        """The values of the numbers."""
        return tuple(Fraction(word) if "." in word else int(word) for word in self.words)

    @cached_property
    def skeleton(self) -> tuple[str, ...]:
        """The texts as they are compared: in lower case and in one normal form."""
        return tuple(text.casefold() if text.isascii() else unicodedata.normalize("NFC", text).casefold() for text in self.texts)


@dataclass(frozen=True)
class Running:
    """A number that runs through names: its values in order, and their step if it is constant."""

    values: tuple[Number, ...]
    step: Number | None

    @classmethod
    def of(cls, values: Iterable[Number]) -> Running:
        """Return the run of these values, which are all different.

        The step is the most frequent difference, if at least 90 % of the differences (or all but one) are equal to it, and the others
        are multiples of it.

        >>> Running.of(map(Fraction, [1, 2, 4, 5])).missing_text()
        '3'
        >>> Running.of(map(Fraction, [10, 20, 25, 47])).step is None
        True
        """
        ordered = tuple(sorted(values))
        steps = collections.Counter(b - a for a, b in itertools.pairwise(ordered))
        if not steps:
            return cls(ordered, 1)
        step = min(steps, key=lambda each: (-steps[each], each))
        count = sum(steps.values())
        is_regular = (count - steps[step] <= 1 or steps[step] >= REGULAR * count) and all(each % step == 0 for each in steps)
        return cls(ordered, step if is_regular else None)

    @property
    def with_step(self) -> Running:
        """The same with a step: if none is constant, the largest one that leads to all numbers.

        >>> Running.of([0, 1, 3, 5, 8]).step is None, Running.of([0, 1, 3, 5, 8]).with_step.missing_text()
        (True, '2, 4, 6 to 7')
        """
        if self.step is not None:
            return self
        steps = [Fraction(b - a) for a, b in itertools.pairwise(self.values)]
        base = math.lcm(*(step.denominator for step in steps))
        return Running(self.values, Fraction(math.gcd(*(int(step * base) for step in steps)), base))

    @property
    def is_even(self) -> bool:
        """True if there are several numbers, and at least 90 % of the differences are equal."""
        steps = [b - a for a, b in itertools.pairwise(self.values)]
        return self.step is not None and len(steps) > 1 and steps.count(self.step) >= REGULAR * len(steps)

    def gaps(self) -> Iterator[tuple[Number, Number]]:
        """Yield the first and the last number of each run of missing numbers; nothing if there is no constant step."""
        if self.step is not None:
            for a, b in itertools.pairwise(self.values):
                if b - a != self.step:
                    yield a + self.step, b - self.step

    @property
    def missing(self) -> int:
        """How many numbers are missing."""
        return sum(int((last - first) / (self.step or 1)) + 1 for first, last in self.gaps())

    @property
    def text(self) -> str:
        """The first and the last number, and the step unless it is 1."""
        steps = "without a constant step: missing slices are not noticed" if self.step is None else f"step {number_text(self.step)}"
        return f"{number_text(self.values[0])} to {number_text(self.values[-1])}{'' if self.step == 1 else f', {steps}'}"

    def missing_text(self) -> str:
        """Return the missing numbers as ranges."""
        return ranges_text(self.gaps())


def ranges_text(ranges: Iterable[tuple[Number, Number]], most: int = 50) -> str:
    """Return ranges of numbers as a text.

    >>> ranges_text([(Fraction(3), Fraction(3)), (Fraction(7), Fraction(9))])
    '3, 7 to 9'
    """
    texts = [number_text(a) if a == b else f"{number_text(a)} to {number_text(b)}" for a, b in ranges]
    return ", ".join([*texts[:most], *([f"and {len(texts) - most} more"] if len(texts) > most else [])])


def number_text(number: Number) -> str:
    """Return a number as people write it.

    >>> number_text(Fraction("-2.50"))
    '-2.5'
    """
    return str(number.numerator) if number.denominator == 1 else str(Decimal(number.numerator) / number.denominator)


def parse_names(names: Sequence[str]) -> list[Parsed]:
    """Return the parts of names, all cut by the same rule: the first one that fits the largest group of names of one form."""
    plain = [_cut(name, re.compile(_DIGITS)) for name in names]
    largest = len(largest_group(plain))
    for grammar in _grammars(names):
        parsed = [_cut(name, grammar) for name in names]
        group = largest_group(parsed)
        if len(group) >= largest and _is_sound(group):
            return parsed
    return plain


def _grammars(names: Sequence[str]) -> Iterator[re.Pattern[str]]:
    """Yield what else than digits a number may have in these names: sign and fraction, a sign, a fraction."""
    signed, fractional = (any(map(each.search, names)) for each in (_HAS_SIGN, _HAS_FRACTION))
    if signed and fractional:
        yield _SIGNED_FRACTION
    if signed:
        yield re.compile(_SIGN + _DIGITS)
    if fractional:
        yield re.compile(_FRACTION)


def largest_group(parsed: Iterable[Parsed]) -> list[Parsed]:
    """Return the names with the most frequent skeleton; of equally frequent ones, those that come first."""
    groups: dict[tuple[str, ...], list[Parsed]] = {}
    for each in parsed:
        groups.setdefault(each.skeleton, []).append(each)
    return max(groups.values(), key=len, default=[])


def _cut(name: str, grammar: re.Pattern[str]) -> Parsed:
    texts, words, end = [], [], 0
    for found in grammar.finditer(name):
        texts.append(name[end : found.start()])
        words.append(found[0])
        end = found.end()
    return Parsed((*texts, name[end:]), tuple(words))


def _is_sound(group: Sequence[Parsed]) -> bool:
    """True if signs and fractions are parts of numbers in these names, and at least one of either is."""
    used = False
    for column in zip(*(each.words for each in group), strict=True):
        signs = sum(word[0] in "+-" for word in column)
        fractions = [word.lstrip("+-").split(".") for word in column if "." in word]
        is_padded = any(len(whole) > 1 and whole[0] == "0" for whole, _ in fractions)
        negative = sum(word[0] == "-" for word in column)
        if (signs and negative in (0, len(column))) or len(fractions) not in (0, len(column)) or is_padded:
            return False
        used = used or bool(signs) or bool(fractions)
    return used

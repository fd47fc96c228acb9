"""Pattern: the form of the files' names, which says where each file belongs: ``img_{z}_Ch{c}.tif``, ``{z}/{y}/{x}.jpg``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple, TypeAlias

from wkpipe.errors import UsageError
from wkpipe.images.numbering import Number

NUMBERS = ("t", "z", "y", "x")
WORDS = ("c", "name", "zoom")
_FIELD = re.compile(r"\{(\w*)\}|(\*)")
_NUMBER, _WORD = r"[+-]?\d+(?:\.\d+)?", r"[^/]+?"


TilePosition: TypeAlias = tuple[Number, Number, Number, Number]


class ImagePlace(NamedTuple):
    """Where a file belongs: its layer (name and channel), its zoom, and its position along t, z, y, x; 0 along an axis without a field."""

    name: str
    channel: str
    zoom: str
    t: Number
    z: Number
    y: Number
    x: Number

    @property
    def position(self) -> TilePosition:
        """The position along t, z, y, x."""
        return self.t, self.z, self.y, self.x


@dataclass(frozen=True)
class Pattern:
    """The form of the paths of files below a source.

    ``{z}``, ``{t}``, ``{y}`` and ``{x}`` are numbers; ``{c}`` is a channel and ``{name}`` the name of a layer, numbers or words; of several
    ``{zoom}``, the finest is used. ``*`` is any text. Nothing but a slash goes over the border of a folder. Case makes no difference.

    >>> place = Pattern.of("img_{z}_Ch{c}.tif").place("IMG_012_ch1.tif")
    >>> place.z, place.channel
    (Fraction(12, 1), '1')
    """

    text: str
    fields: frozenset[str]

    @classmethod
    def of(cls, text: str) -> Pattern:
        """Return the pattern that a user has written.

        Raises:
            UsageError: it has an unknown field, or none.
        """
        fields = [found[1] for found in _FIELD.finditer(text) if found[2] is None]
        expected = ", ".join(f"{{{field}}}" for field in (*NUMBERS, *WORDS))
        unknown = [field for field in fields if field not in (*NUMBERS, *WORDS)]
        if unknown:
            raise UsageError(f"the pattern {text!r} has the field {{{unknown[0]}}}", expected=expected)
        if not fields or re.search(r"[{}]", _FIELD.sub("", text)):
            raise UsageError(f"the pattern {text!r} has no fields, or braces that are not closed", expected=f"some of {expected}")
        return cls(text.removeprefix("./"), frozenset(fields))

    def place(self, path: str) -> ImagePlace | None:
        """Return where the file with this path below the source belongs; None if the path has another form."""
        found = self._expression.fullmatch(path)
        if found is None:
            return None
        values = found.groupdict()
        name, channel, zoom = (values.get(word) or "" for word in ("name", "c", "zoom"))
        t, z, y, x = (Fraction(values.get(axis) or 0) for axis in NUMBERS)
        return ImagePlace(name, channel, zoom, t, z, y, x)

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        parts, end, seen = [], 0, set()
        for found in _FIELD.finditer(self.text):
            parts.append(re.escape(self.text[end : found.start()]))
            field, end = found[1], found.end()
            if found[2]:
                parts.append("[^/]*")
            elif field in seen:
                parts.append(f"(?P={field})")
            else:
                parts.append(f"(?P<{field}>{_NUMBER if field in NUMBERS else _WORD})")
                seen.add(field)
        return re.compile("".join([*parts, re.escape(self.text[end:])]), re.IGNORECASE)

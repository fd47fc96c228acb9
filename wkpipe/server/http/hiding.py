"""Hiding: find a secret in a server's answer, however it is spelled there.

A text that is shown is cleaned as a whole and then cut: otherwise a part of the secret could be left at its end. Data that
are used are never changed, because a short secret may be a part of any name. Texts in them that contain a real secret become
an `Echo`, which is shown but not used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.entities import html5
from typing import Any

HIDDEN = "***"

MOST_CHARACTERS = 16 << 10
"""The most characters of a text that are cleaned; more are never shown."""

LEAST_LETTERS = 8
"""Shorter secrets are hidden only in one piece: their letters, spread out, are in any text."""

LEAST_BY_CHANCE = 16
"""No name contains a secret of this many letters and digits by chance; the tokens of servers are longer."""

_IN_QUERIES = re.compile(r"(?i)(token=)[^&\s\"'<>]+")
_LONGEST_SPELLING = 16

_PLAIN = re.compile(r"(?P<plain>[!-~])")
_SPELLED = re.compile(
    r"<[^<>]{0,200}>|\\u00(?P<json>[0-9a-f]{2})|\\x(?P<python>[0-9a-f]{2})|%(?:25)*(?P<url>[0-9a-f]{2})"
    r"|&(?:amp;)*(?:#x0*(?P<hexadecimal>[0-9a-f]{1,6})|#0*(?P<decimal>[0-9]{1,7})|(?P<name>[a-z]{2,20}));|(?P<plain>[!-\[\]-~])",
    re.IGNORECASE,
)
"""A letter of a text, however it is spelled, or a tag, which has none. Blanks, line ends and odd characters are not letters."""


class Echo(str):
    """The rest of a text that contained the secret."""


def has_echo(content: Any) -> bool:
    """True if a text in parsed JSON contained the secret."""
    return any(isinstance(text, Echo) for text in _texts(content))


class Hiding:
    """Finds one secret, a word of printable ASCII characters."""

    def __init__(self, secret: str) -> None:
        self._lower = secret.lower()
        self._as_is = re.compile("".join(map(_spellings, secret)))
        keys = {pattern: "".join(letter for letter, *_ in _letters(pattern, secret)) for pattern in (_SPELLED, _PLAIN)}
        self._keys = {pattern: key for pattern, key in keys.items() if len(key) >= LEAST_LETTERS}
        self._length = len(secret)
        is_mixed = any(c.isdigit() for c in secret) and any(c.isalpha() for c in secret)
        self._is_never_by_chance = is_mixed and len(secret) >= LEAST_BY_CHANCE

    def cleaned(self, text: str, is_cut: bool = False) -> str:
        """Return the beginning of a text without the secret, and without the values of ``token=``.

        `is_cut`: the text is the beginning of a longer one. Its end is left out, because it may be the beginning of the secret.
        """
        is_cut = is_cut or len(text) > MOST_CHARACTERS
        text = text[:MOST_CHARACTERS]
        if is_cut:
            letters = list(_letters(_SPELLED, text))
            spare = self._length + _LONGEST_SPELLING
            text = text[: letters[-spare][1]] if len(letters) > spare else ""
        text = self._as_is.sub(HIDDEN, text)
        for pattern, key in self._keys.items():
            text = _without(text, list(_letters(pattern, text)), key)
        return _IN_QUERIES.sub(rf"\1{HIDDEN}", text)

    def with_echoes(self, content: Any) -> Any:
        """Turn texts of parsed JSON that contain the secret, not by chance, into an `Echo`, in place; return the JSON."""
        whole = [content]
        if self._is_never_by_chance and any(self._lower in text.lower() for text in _texts(content)):
            left: list[Any] = [whole]
            while left:
                found = left.pop()
                if isinstance(found, list):
                    found[:] = map(self._or_echo, found)
                    left += found
                elif isinstance(found, dict):
                    items = [(self._or_echo(key), self._or_echo(value)) for key, value in found.items()]
                    found.clear()
                    found.update(items)
                    left += found.values()
        return whole[0]

    def _or_echo(self, value: Any) -> Any:
        return Echo(self.cleaned(value)) if isinstance(value, str) and self._lower in value.lower() else value


def _spellings(character: str) -> str:
    """Return a pattern for all spellings of a character in JSON, addresses and HTML: a part of a secret may be escaped."""
    code = f"{ord(character):02x}"
    return rf"(?:\\?{re.escape(character)}|(?i:\\u00{code}|%{code}|&#x0*{code};|&#0*{ord(character)};))"


def _letters(pattern: re.Pattern[str], text: str) -> Iterator[tuple[str, int, int]]:
    """Yield the letters of a text in lower case, each with its begin and end."""
    for match in pattern.finditer(text):
        letter = _letter(match)
        if "!" <= letter <= "~":
            yield letter.lower(), match.start(), match.end()


def _letter(match: re.Match[str]) -> str:
    kind, found = match.lastgroup, match[match.lastgroup] if match.lastgroup else ""
    if kind is None or kind == "plain":
        return found
    if kind == "name":
        named = html5.get(f"{found};", "")
        return named if len(named) == 1 else ""
    code = int(found, 10 if kind == "decimal" else 16)
    return chr(code) if code < 0x80 else ""


def _without(text: str, letters: list[tuple[str, int, int]], key: str) -> str:
    """Hide the runs of letters that are `key`."""
    joined = "".join(letter for letter, *_ in letters)
    parts, end, at = [], 0, joined.find(key)
    while at >= 0:
        last = at + len(key) - 1
        parts += [text[end : letters[at][1]], HIDDEN]
        end, at = letters[last][2], joined.find(key, last + 1)
    return "".join([*parts, text[end:]])


def _texts(content: Any) -> Iterator[str]:
    """Yield all texts in parsed JSON, keys too, however deep they are."""
    left = [content]
    while left:
        found = left.pop()
        if isinstance(found, str):
            yield found
        elif isinstance(found, dict):
            left += [*found, *found.values()]
        elif isinstance(found, list):
            left += found

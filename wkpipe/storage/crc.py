"""The CRC-32C of a file from the CRC-32C of its parts.

A CRC is a remainder of polynomials over GF(2), so that the CRC of the first part only has to be multiplied by x^(8 n), where n
is the number of bytes of the second one (M. Adler's method, https://stackoverflow.com/a/23126768). Bit 31 of a number stands
for x^0, as RFC 3720 sends it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Final

import google_crc32c

_POLYNOMIAL: Final = 0x82F63B78
_ONE: Final = 1 << 31


def combined_crc32c(first: int, second: int, length: int) -> int:
    """Return the CRC-32C of two parts; `length` is the number of bytes of the second one.

    >>> import google_crc32c
    >>> combined_crc32c(google_crc32c.value(b"head"), google_crc32c.value(b"body"), 4) == google_crc32c.value(b"headbody")
    True
    """
    bit, moved = 3, first
    while length:
        if length & 1:
            moved = _product(_power(bit), moved)
        length >>= 1
        bit += 1
    return moved ^ second


@dataclass
class _Hole:
    """Bytes that are filled last: where they begin, how many they are, and the CRC-32C of those before them."""

    offset: int
    length: int
    before: int
    crc32c: int | None = None


class RunningCrc:
    """The CRC-32C of a file that is written from begin to end, with one hole at most.

    >>> running = RunningCrc()
    >>> running.append(b"head")
    >>> running.add_hole(4, 5)
    >>> running.append(b"body")
    >>> running.overwrite(4, b"index")
    >>> running.value == google_crc32c.value(b"headindexbody")
    True
    """

    def __init__(self) -> None:
        self._crc = self._length = 0  # since the hole
        self._hole: _Hole | None = None
        self._is_known = True

    def append(self, data: Any) -> None:
        """Add bytes at the end."""
        data = data if isinstance(data, bytes) else bytes(data)
        self._crc = google_crc32c.extend(self._crc, data)
        self._length += len(data)

    def add_part(self, crc32c: int, length: int) -> None:
        """Add bytes at the end of which the CRC-32C is known."""
        self._crc = combined_crc32c(self._crc, crc32c, length)
        self._length += length

    def add_hole(self, offset: int, length: int) -> None:
        """Add bytes at the end, which is at `offset`, that are to be overwritten."""
        self._is_known = self._is_known and self._hole is None
        self._hole = _Hole(offset, length, self._crc)
        self._crc = self._length = 0

    def overwrite(self, offset: int, data: Any) -> None:
        """Note that bytes at `offset` are replaced."""
        if self._hole is not None and (offset, memoryview(data).nbytes) == (self._hole.offset, self._hole.length):
            self._hole.crc32c = google_crc32c.value(bytes(data))
        else:
            self._is_known = False

    @property
    def value(self) -> int | None:
        """The CRC-32C; None if it is not known: the hole was not filled at once, or other bytes were replaced."""
        if not self._is_known or self._hole is None:
            return self._crc if self._is_known else None
        if self._hole.crc32c is None:
            return None
        return combined_crc32c(combined_crc32c(self._hole.before, self._hole.crc32c, self._hole.length), self._crc, self._length)


@functools.cache
def _power(bit: int) -> int:
    """Return x^(2^bit)."""
    return _product(half := _power(bit - 1), half) if bit else _ONE >> 1


def _product(a: int, b: int) -> int:
    """Multiply two polynomials."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = (b >> 1) ^ _POLYNOMIAL if b & 1 else b >> 1
    return product

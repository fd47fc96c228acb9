"""The CRC-32C of two parts that follow each other, from the CRC-32C of each.

A CRC is a remainder of polynomials over GF(2), so that the CRC of the first part only has to be multiplied by x^(8 n), where n
is the number of bytes of the second one (M. Adler's method, https://stackoverflow.com/a/23126768). Bit 31 of a number stands
for x^0, as RFC 3720 sends it.
"""

from __future__ import annotations

import functools
from typing import Final

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

"""Segment ids: the integers that datasource-properties.json can hold."""

from __future__ import annotations

import operator
from typing import Final

from wkpipe.errors import InputRefused

LOWEST_ID: Final = -(2**63)
HIGHEST_ID: Final = 2**64 - 1


def checked_segment_id(value: object) -> int:
    """Return a segment id as a plain integer.

    >>> import numpy as np
    >>> checked_segment_id(np.uint64(7))
    7

    Raises:
        InputRefused: it is not an integer of at most 64 bits.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = HIGHEST_ID + 1
    if not LOWEST_ID <= number <= HIGHEST_ID:
        raise InputRefused(f"largest segment id {value!r} is not valid", expected="an integer of at most 64 bits")
    return number

"""Have the C library keep freed memory for the next cube, where it would otherwise give it back and ask for it again."""

from __future__ import annotations

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_KEPT = 64 << 20
_LARGE = 32 << 20


def keep_freed_memory() -> None:
    """Keep up to 64 MB: for processes that do one task and end. Getting pages from the system takes longer than filling them."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT)

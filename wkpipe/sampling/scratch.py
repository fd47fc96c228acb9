"""Buffers: the temporary arrays of a kernel call, allocated once and reused for every piece."""

from __future__ import annotations

import math
import sys
import threading
from typing import Any, TypeAlias

import numpy as np

Voxels: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_WIDER: dict[int, np.dtype[Any]] = {1: np.dtype(np.uint16), 2: np.dtype(np.uint32), 4: np.dtype(np.uint64)}
_UNSIGNED: dict[int, np.dtype[Any]] = {1: np.dtype(np.uint8), **{2 * size: wider for size, wider in _WIDER.items()}}


class Buffers:
    """Named buffers that grow to the largest size that was requested; the same name is the same memory."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, np.dtype[Any]], Voxels] = {}

    def flat(self, name: str, size: int, dtype: np.dtype[Any]) -> Voxels:
        """Return an uninitialised one-dimensional array of `size` elements."""
        buffer = self._buffers.get((name, dtype))
        if buffer is None or buffer.size < size:
            self._buffers[name, dtype] = buffer = np.empty(size, dtype)
        return buffer[:size]

    def array(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Voxels:
        """Return an uninitialised C-contiguous array."""
        return self.flat(name, math.prod(shape), dtype).reshape(shape)

    def rows(self, name: str, count: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> list[Voxels]:
        """Return `count` uninitialised C-contiguous arrays of one shape."""
        return list(self.array(name, (count, *shape), dtype))


_of_thread = threading.local()


def thread_scratch() -> Buffers:
    """Return the calling thread's buffers.

    They are kept from call to call (a few MB, see `sample.working_bytes`): the operating system clears every page of
    fresh memory, which would take longer than most reductions.
    """
    scratch: Buffers | None = getattr(_of_thread, "scratch", None)
    if scratch is None:
        _of_thread.scratch = scratch = Buffers()
    return scratch


def unsigned(itemsize: int) -> np.dtype[Any]:
    """Return the unsigned integer type of 1, 2, 4 or 8 bytes."""
    return _UNSIGNED[itemsize]


def every_nth(source: Voxels, n: int, out: Voxels) -> None:
    """Copy elements 0, n, 2·n, … of the last axis (contiguous, its length a multiple of n) to `out`; n is a power of two.

    To read n elements as one wide integer and keep its low part is several times faster than a strided copy, if there
    is such an integer.
    """
    size = source.dtype.itemsize
    if n == 1 or n * size > 8 or sys.byteorder == "big":
        np.copyto(out, source[..., ::n])
    else:
        np.copyto(out.view(unsigned(size)), source.view(unsigned(n * size)), casting="unsafe")


def repeat_each(source: Voxels, n: int, out: Voxels) -> None:
    """Write every element of the last axis (contiguous) n times in a row to `out`, C-contiguous; n is a power of two."""
    size = source.dtype.itemsize
    if n * size <= 8:
        wide = out.view(unsigned(n * size))
        np.copyto(wide, source.view(unsigned(size)))
        np.multiply(wide, sum(1 << 8 * size * i for i in range(n)), out=wide)
    else:
        groups = out.reshape(*source.shape, n)
        for i in range(n):
            groups[..., i] = source


def split_in_two(source: Voxels, even: Voxels, odd: Voxels, work: Voxels) -> None:
    """Copy elements 0, 2, 4, … of the last axis (contiguous, of even length) to `even` and 1, 3, 5, … to `odd`.

    `work` is a C-contiguous array of the source's shape and dtype, for intermediate values.
    """
    every_nth(source, 2, even)
    size = source.dtype.itemsize
    if size == 8 or sys.byteorder == "big":
        np.copyto(odd, source[..., 1::2])
    else:
        shifted = work.view(_WIDER[size])
        np.right_shift(source.view(_WIDER[size]), 8 * size, out=shifted)
        np.copyto(odd.view(unsigned(size)), shifted, casting="unsafe")

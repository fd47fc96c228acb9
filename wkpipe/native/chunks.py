"""Encode, and decode on the way, the chunks of one array with the native engine. Thread-safe: every thread has a context of its own."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TypeAlias

import numpy as np

from wkpipe.native import liblz4, libzstd
from wkpipe.native.library import CubeJob, Library, int3, native
from wkpipe.native.libzstd import Parameters

Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

NUMBER_KINDS: Final = {"u": 0, "i": 1, "f": 2}
"""The kinds of numbers of a NumPy dtype, as engine.c calls them."""


class StoredAs(IntEnum):
    """How chunks are stored: the kinds of codecs.h."""

    PLAIN = 0
    ZSTD = 1
    LZ4 = 2
    LZ4HC = 3


@dataclass(frozen=True)
class NativeCodec:
    """A codec of the native engine: its kind, with the parameters of libzstd, or the level of LZ4-HC as the only one."""

    kind: StoredAs
    parameters: Parameters = ()

    @property
    def is_read(self) -> bool:
        """True if the engine decodes it: the library that it calls was found."""
        decode, _ = liblz4.functions()
        return _functions() is not None and (self.kind < StoredAs.LZ4 or bool(decode))

    @property
    def is_written(self) -> bool:
        """True if the engine encodes it: the library that it calls was found. Fast LZ4 blocks, which are rare, it only reads."""
        _, encode = liblz4.functions()
        return _functions() is not None and (self.kind < StoredAs.LZ4 or (self.kind is StoredAs.LZ4HC and bool(encode)))


@functools.cache
def _functions() -> ctypes.Array[ctypes.c_void_p] | None:
    """Return the functions of the libraries, as `Functions` of codecs.h; None without libzstd."""
    zstd = libzstd.functions()
    if zstd is None:
        return None
    addresses = (*zstd, *liblz4.functions())
    return (ctypes.c_void_p * len(addresses))(*addresses)


class _Context:
    """The buffers and the libraries' contexts of one thread."""

    def __init__(self, library: Library, codec: NativeCodec, source_bytes: int, target_bytes: int) -> None:
        parameters = codec.parameters
        pairs = (ctypes.c_int32 * (2 * len(parameters)))(*(number for pair in parameters for number in pair))
        self._library = library
        self.address: int | None = library.open_context(_functions(), codec.kind, pairs, len(parameters), source_bytes, target_bytes)
        if self.address is None:
            raise MemoryError("the native engine has no memory for a chunk")

    def __del__(self) -> None:
        self._library.close_context(self.address)


class NativeChunks:
    """The native engine for chunks that have `source_bytes` before they are sampled and `target_bytes` when they are encoded."""

    def __init__(self, library: Library, codec: NativeCodec, source_bytes: int, target_bytes: int) -> None:
        self._library = library
        self._arguments = (library, codec, source_bytes, target_bytes)
        self._own = threading.local()

    @classmethod
    def of(cls, codec: NativeCodec, source_bytes: int, target_bytes: int) -> NativeChunks | None:
        """Return the engine; None if there is none here. The units of a job share it, and each thread its context."""
        library = native()
        if library is None or not codec.is_written:
            return None
        return _shared(library, codec, source_bytes, target_bytes)

    @property
    def _address(self) -> int | None:
        context: _Context | None = getattr(self._own, "context", None)
        if context is None:
            context = self._own.context = _Context(*self._arguments)
        return context.address

    def encode(
        self, voxels: np.ndarray[Any, Any], channels: int, chunk: Sequence[int], grid: Sequence[int], order: Ints, most: int
    ) -> tuple[Ints, bytes]:
        """Encode chunks of a box of whole chunks, in the order of their places in its grid.

        Args:
            voxels: the box, Fortran-contiguous.
            channels: the values of a voxel.
            chunk, grid: the shape of a chunk, and the number of chunks of the box, along x, y, z.
            order: places in the grid, the first axis fastest.
            most: the most bytes of an encoded chunk.

        Returns:
            The sizes of the encoded chunks (0: nothing but zeros), and their bytes.
        """
        lengths = np.zeros(len(order), np.int64)
        frames = np.empty(len(order) * most, np.uint8)
        places = np.ascontiguousarray(order, np.int64)
        used = self._library.encode(
            *(self._address, voxels.ctypes.data, NUMBER_KINDS[voxels.dtype.kind], voxels.itemsize, channels, int3(chunk), int3(grid)),
            *(places.ctypes.data, len(places), frames.ctypes.data, frames.nbytes, lengths.ctypes.data),
        )
        if used < 0:
            raise MemoryError("the native engine cannot encode a chunk")
        return lengths, frames[:used].tobytes()

    def sample(self, cube: CubeJob, count: int, most: int) -> tuple[Ints, bytes] | None:
        """Make the `count` chunks of a cube, as `encode` returns them; None if NumPy must do it: it also says which chunk is damaged."""
        lengths = np.zeros(count, np.int64)
        frames = np.empty(count * most, np.uint8)
        cube.count, cube.lengths, cube.frames, cube.capacity = count, lengths.ctypes.data, frames.ctypes.data, frames.nbytes
        used = self._library.cube(self._address, ctypes.byref(cube))
        return None if used < 0 else (lengths, frames[:used].tobytes())


@functools.lru_cache(maxsize=2)
def _shared(library: Library, codec: NativeCodec, source_bytes: int, target_bytes: int) -> NativeChunks:
    """Return the engine for chunks of these sizes. A context costs 0.1 ms, which is much for a small unit; few are kept in memory."""
    return NativeChunks(library, codec, source_bytes, target_bytes)

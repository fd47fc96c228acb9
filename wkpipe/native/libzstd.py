"""libzstd through its C API: the library that python-zstandard brings along, called by ctypes, which releases the GIL.

python-zstandard cannot set all parameters, and a loop in C needs the functions themselves. Its wheels hold libzstd twice: in
``_cffi``, which exports it, and in ``backend_c``, which does not unless a distribution links it dynamically. Only their file is
loaded; neither is imported.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.machinery
import importlib.util
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from wkpipe.errors import NotWritable, WkpipeError

PACKAGE: Final = "zstandard"
RELEASE: Final = "1.5.7"
"""The only release that writes: another one may find other matches, so that the same voxels get other bytes."""
FIX: Final = "pip install 'zstandard>=0.24,<0.26'"

_FIRST_ERROR: Final = 2**64 - 256
_NO_SIZE: Final = (2**64 - 1, 2**64 - 2)  # a frame that does not say what it holds, and what is no frame
_EXTENSIONS: Final = ("_cffi", "backend_c")

Parameters: TypeAlias = tuple[tuple[int, int], ...]
"""Numbers of ``ZSTD_cParameter`` and their values, in the order in which they are set."""

_size, _pointer, _int = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int
_FUNCTIONS: Final[Mapping[str, tuple[type | None, tuple[type, ...]]]] = {
    "ZSTD_versionString": (ctypes.c_char_p, ()),
    "ZSTD_getErrorName": (ctypes.c_char_p, (_size,)),
    "ZSTD_isError": (ctypes.c_uint, (_size,)),
    "ZSTD_compressBound": (_size, (_size,)),
    "ZSTD_createCCtx": (_pointer, ()),
    "ZSTD_freeCCtx": (_size, (_pointer,)),
    "ZSTD_CCtx_setParameter": (_size, (_pointer, _int, _int)),
    "ZSTD_compress2": (_size, (_pointer, _pointer, _size, _pointer, _size)),
    "ZSTD_createDCtx": (_pointer, ()),
    "ZSTD_freeDCtx": (_size, (_pointer,)),
    "ZSTD_decompressDCtx": (_size, (_pointer, _pointer, _size, _pointer, _size)),
    "ZSTD_getFrameContentSize": (ctypes.c_ulonglong, (_pointer, _size)),
    "ZSTD_findFrameCompressedSize": (_size, (_pointer, _size)),
}

_OF_ENGINE: Final = (
    *("createDCtx", "freeDCtx", "decompressDCtx", "createCCtx", "freeCCtx", "CCtx_setParameter", "compress2"),
    *("isError", "getFrameContentSize", "findFrameCompressedSize"),
)

_contexts = threading.local()


class ZstdFailure(Exception):
    """A function of libzstd failed; the message is the library's."""


@functools.cache
def library() -> ctypes.CDLL:
    """Return libzstd, with the types of the functions that wkpipe calls.

    Raises:
        WkpipeError: python-zstandard is missing, or keeps libzstd to itself.
    """
    spec = importlib.util.find_spec(PACKAGE)
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    names = [f"{name}{ending}" for name in _EXTENSIONS for ending in importlib.machinery.EXTENSION_SUFFIXES]
    for path in (Path(folder, name) for name in names for folder in folders):
        if (loaded := _loaded(path)) is not None:
            return loaded
    where = ", ".join(folders) or "this Python"
    raise WkpipeError("python-zstandard has no extension module that exports libzstd", where=where, fix=FIX)


def _loaded(path: Path) -> ctypes.CDLL | None:
    """Return the libzstd in an extension module or in what it is linked with; None if there is no file, or it hides it."""
    try:
        found = ctypes.CDLL(str(path))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(found, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError):
        return None
    return found


@functools.cache
def release() -> str:
    """Return the release of libzstd, such as 1.5.7."""
    return str(library().ZSTD_versionString().decode())


def addresses() -> dict[str, int]:
    """Return the addresses of the functions by their names, for code that calls them without Python."""
    found = library()
    return {name: ctypes.cast(getattr(found, name), ctypes.c_void_p).value or 0 for name in _FUNCTIONS}


@functools.cache
def functions() -> tuple[int, ...] | None:
    """Return the addresses of the functions that engine.c calls, in the order of its `Functions`; None without libzstd."""
    with contextlib.suppress(WkpipeError):
        found = addresses()
        return tuple(found[f"ZSTD_{name}"] for name in _OF_ENGINE)
    return None


def check_release() -> None:
    """Refuse to write with another release than the one whose bytes are known.

    Raises:
        NotWritable: names the release that was found.
    """
    if release() != RELEASE:
        raise NotWritable("wkpipe writes zstd with one release of libzstd only", found=release(), expected=RELEASE, fix=FIX)


class Compressor:
    """A compression context with fixed parameters; one thread at a time may use it."""

    def __init__(self, parameters: Parameters) -> None:
        found = library()
        self._free, self._compress = found.ZSTD_freeCCtx, found.ZSTD_compress2
        self._context = found.ZSTD_createCCtx()
        if not self._context:
            raise MemoryError("libzstd cannot make a context")
        for parameter, value in parameters:
            _checked(found.ZSTD_CCtx_setParameter(self._context, parameter, value))

    def __del__(self) -> None:
        self._free(self._context)

    def compress(self, sources: Sequence[int], size: int, target: int, room: int) -> list[int]:
        """Compress chunks of `size` bytes into frames that follow each other from `target`, and return their sizes.

        Raises:
            ZstdFailure: there is too little room; `ZSTD_compressBound` bytes for each are always enough.
        """
        compress, context, end = self._compress, self._context, target + room
        sizes = []
        for source in sources:
            sizes.append(_checked(compress(context, target, end - target, source, size)))
            target += sizes[-1]
        return sizes


class Decompressor:
    """A decompression context; one thread at a time may use it."""

    def __init__(self) -> None:
        found = library()
        self._free, self._decompress = found.ZSTD_freeDCtx, found.ZSTD_decompressDCtx
        self._end, self._content_size = found.ZSTD_findFrameCompressedSize, found.ZSTD_getFrameContentSize
        self._context = found.ZSTD_createDCtx()
        if not self._context:
            raise MemoryError("libzstd cannot make a context")

    def __del__(self) -> None:
        self._free(self._context)

    def decompress(self, data: int, offsets: Sequence[int], stored: Sequence[int], target: int, size: int) -> None:
        """Decode frames at offsets from an address, each of which holds `size` bytes, one after the other from `target`.

        Raises:
            ZstdFailure: a frame is damaged, holds more or fewer bytes, or is followed by others.
        """
        end, decompress, context = self._end, self._decompress, self._context
        for offset, length in zip(offsets, stored, strict=True):
            source = data + offset
            if (found := end(source, length)) != length:
                raise ZstdFailure(f"zstd: the frame ends after {_checked(found)} of {length} bytes")
            if (decoded := decompress(context, target, size, source, length)) != size:
                self._refuse(source, length, decoded, size)
            target += size

    def _refuse(self, source: int, length: int, decoded: int, size: int) -> None:
        held = self._content_size(source, length) if decoded >= _FIRST_ERROR else decoded
        if held not in (size, *_NO_SIZE):
            raise ZstdFailure(f"the zstd frame holds {held} bytes, expected {size}")
        _checked(decoded)


def _checked(result: int) -> int:
    """Return the result of a function of libzstd, unless it is an error."""
    if result >= _FIRST_ERROR:
        raise ZstdFailure(f"zstd: {library().ZSTD_getErrorName(result).decode()}")
    return result


def compressor(parameters: Parameters) -> Compressor:
    """Return this thread's compressor with these parameters."""
    known: dict[Parameters, Compressor] = _contexts.__dict__.setdefault("compressors", {})
    found = known.get(parameters)
    if found is None:
        found = known[parameters] = Compressor(parameters)
    return found


def decompressor() -> Decompressor:
    """Return this thread's decompressor."""
    found: Decompressor | None = _contexts.__dict__.get("decompressor")
    if found is None:
        found = _contexts.decompressor = Decompressor()
    return found

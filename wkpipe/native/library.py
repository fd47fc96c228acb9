"""The native engine's library: found once a process, called without the GIL, switched by WKPIPE_NATIVE."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Sequence
from pathlib import Path

from wkpipe.errors import InputRefused
from wkpipe.native.build import NAME, source_digest

VARIABLE = "WKPIPE_NATIVE"
"""0: NumPy does all; 1: an error if the library is absent; else it is used where it is there."""

_HERE = Path(__file__).parent
_INT3 = ctypes.c_int32 * 3


class Reduction(ctypes.Structure):
    """`Reduction` of engine.c."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("mode", "fx", "fy", "fz", "channels")),
        *((name, ctypes.c_long) for name in ("x", "y", "z", "source_line", "source_plane", "target_line", "target_plane")),
    )


class CubeJob(ctypes.Structure):
    """`Cube` of engine.c."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("mode", "kind", "dtype", "itemsize", "channels")),
        *((name, _INT3) for name in ("factors", "chunk", "per_axis", "grid", "low", "high")),
        *((name, ctypes.c_void_p) for name in ("addresses", "sizes", "order")),
        ("count", ctypes.c_int64),
        ("frames", ctypes.c_void_p),
        ("capacity", ctypes.c_int64),
        ("lengths", ctypes.c_void_p),
        ("coarser", ctypes.c_void_p),
        ("coarser_factors", _INT3),
        ("coarser_line", ctypes.c_int64),
        ("coarser_plane", ctypes.c_int64),
    )


def int3(values: Sequence[int]) -> ctypes.Array[ctypes.c_int32]:
    """Return three integers as the library takes them."""
    return _INT3(*values)


class Library:
    """The functions of engine.c."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        self.source = library.wkpipe_source
        self.source.restype = ctypes.c_char_p
        self.processor = library.wkpipe_processor
        self.processor.restype = ctypes.c_char_p
        self.open_context = library.wkpipe_open
        self.open_context.restype = ctypes.c_void_p
        self.open_context.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        self.close_context = library.wkpipe_close
        self.close_context.restype = None
        self.close_context.argtypes = [ctypes.c_void_p]
        self.reduce = library.wkpipe_reduce
        self.reduce.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.POINTER(Reduction), ctypes.c_void_p, ctypes.c_void_p]
        self.cube = library.wkpipe_cube
        self.cube.restype = ctypes.c_int64
        self.cube.argtypes = [ctypes.c_void_p, ctypes.POINTER(CubeJob)]
        self.encode = library.wkpipe_encode
        self.encode.restype = ctypes.c_int64
        self.encode.argtypes = [
            *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int),
            *(ctypes.POINTER(ctypes.c_int32), ctypes.POINTER(ctypes.c_int32), ctypes.c_void_p, ctypes.c_int64),
            *(ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p),
        ]


def native() -> Library | None:
    """Return the library; None if it is absent or switched off.

    Raises:
        InputRefused: WKPIPE_NATIVE is neither 0 nor 1, or it is 1 and the library is absent.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", "0", "1"):
        raise InputRefused(f"{VARIABLE} is {wanted!r}", expected="0 (NumPy does all) or 1 (the native engine is required)")
    if wanted == "0":
        return None
    library, reason = found()
    if library is None and wanted == "1":
        raise InputRefused(
            f"{VARIABLE} is 1, but {reason}",
            fix=f"install wkpipe on a host with a C compiler, or leave {VARIABLE} out: NumPy does the same work",
        )
    return library


def state() -> str:
    """Return in words whether the native engine is in use, and if not why."""
    if os.environ.get(VARIABLE) == "0":
        return f"off ({VARIABLE}=0)"
    library, reason = found()
    if library is None:
        return f"off ({reason})"
    processor = library.processor().decode()
    return "on" if processor == "plain" else f"on, with {processor.upper()}"


@functools.cache
def found() -> tuple[Library | None, str]:
    """Return the library, or why there is none."""
    path = _HERE / NAME
    if not path.exists():
        return None, "it was not built: there was no C compiler when wkpipe was installed"
    try:
        library = Library(path)
    except (OSError, AttributeError) as error:
        return None, f"its library cannot be loaded: {error}"
    if library.source().decode() != source_digest(_HERE):
        return None, "its library was built from other sources; install wkpipe again"
    return library, ""

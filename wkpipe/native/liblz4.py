"""liblz4 through its C API: the functions that python-lz4 and imagecodecs call, for code in C that calls them without Python.

Blocks are decoded by the liblz4 in python-lz4, and LZ4-HC blocks encoded by the one of imagecodecs. Both export it, or are linked with
one that does. Only their files are loaded; neither is imported.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.machinery
import importlib.util
from pathlib import Path
from typing import Final

_FUNCTIONS: Final = (
    ("lz4", "block/_block", "LZ4_decompress_safe"),
    ("imagecodecs", "_lz4", "LZ4_compress_HC"),
)


@functools.cache
def functions() -> tuple[int, ...]:
    """Return the addresses of the functions that engine.c calls, in the order of its `Functions`; 0 if one is not exported."""
    return tuple(_address(package, extension, name) for package, extension, name in _FUNCTIONS)


def _address(package: str, extension: str, name: str) -> int:
    """Return the address of a function that an extension module exports, or a library that it is linked with."""
    spec = importlib.util.find_spec(package)
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    for path in (Path(folder, f"{extension}{ending}") for folder in folders for ending in importlib.machinery.EXTENSION_SUFFIXES):
        try:
            return ctypes.cast(getattr(ctypes.CDLL(str(path)), name), ctypes.c_void_p).value or 0
        except (OSError, AttributeError):
            continue
    return 0

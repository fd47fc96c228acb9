"""liblz4 through its C API: the functions are those that the Python packages call, and their absence leaves the work to NumPy."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.formats.helpers import noise
from wkpipe.formats.codecs import Bytes, Lz4
from wkpipe.native import liblz4
from wkpipe.native.library import VARIABLE, Library


def called(number: int, data: Bytes, room: int, *more: int) -> bytes:
    """Call a function of the engine's table, and return the bytes that it makes."""
    out = np.empty(room, np.uint8)
    kinds = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, *[ctypes.c_int] * len(more)]
    function = ctypes.CFUNCTYPE(ctypes.c_int, *kinds)(liblz4.functions()[number])
    return out[: function(data.ctypes.data, out.ctypes.data, len(data), room, *more)].tobytes()


@pytest.mark.parametrize("size", [512, 4096, 32768, 98304, 131072, 262144])
def test_the_functions_are_those_of_the_packages(size: int) -> None:
    smooth = (np.cumsum(noise((size,), "int8", size, holes=False)) >> 4).astype(np.uint8)
    for data in (noise((size,), "uint8", holes=False), smooth, np.repeat(smooth[: size // 8], 8)):
        codec = Lz4(high=True)
        ((_, level),) = codec.native(size).parameters
        block = called(1, data, codec.max_encoded_size(size), level)
        assert block == codec.encode(data)
        for stored in (block, Lz4(high=False).encode(data)):
            assert called(0, np.frombuffer(stored, np.uint8), size) == data.tobytes()


ASK = """
from wkpipe.formats.codecs import Lz4, Zstd
lz4, zstd = (codec.native(512) for codec in (Lz4(high=True), Zstd(5, False)))
print(lz4.is_read, lz4.is_written, zstd.is_read, zstd.is_written)
"""


@pytest.mark.parametrize("package, extension", [("imagecodecs", "_lz4"), ("lz4", "block/_block")])
def test_a_hidden_library_leaves_the_work_to_numpy(engine: Library, tmp_path: Path, package: str, extension: str) -> None:
    """An extension module without the functions, as a distribution may build it: only blocks of LZ4 are NumPy's then."""
    first = tmp_path / package
    (first / extension).parent.mkdir(parents=True)
    (first / "__init__.py").touch()
    code = f"import sys, lz4.block; sys.path.insert(0, {str(tmp_path)!r}); sys.modules.pop('lz4')\n{ASK}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {VARIABLE: "1"})
    assert done.stdout == f"{package != 'lz4'} {package != 'imagecodecs'} True True\n", done.stderr

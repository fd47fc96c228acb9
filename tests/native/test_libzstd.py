"""libzstd through its C API: where it is found, which release writes, and that its frames are those of other callers."""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zstandard

from wkpipe.formats.codecs import Bytes, Zstd
from wkpipe.native import libzstd

SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]
SIZES = (512, 16384, 16385, 32768, 131072, 131073, 1 << 18)


def chunk(size: int) -> Bytes:
    """Return voxels that are partly noise and partly repeated."""
    rng = np.random.default_rng(size)
    return np.repeat(rng.integers(0, 50, -(-size // 7), np.uint8), rng.integers(1, 14, -(-size // 7)))[:size].copy()


@pytest.mark.parametrize("level", [1, 3, 5, 6, 9, 13, 19])
def test_a_plain_level_is_the_level_of_the_library(level: int) -> None:
    """That the row match finder is named changes nothing on this CPU."""
    for size in SIZES:
        data = chunk(size)
        for checksum in (False, True):
            frame = Zstd(level, checksum).encode(data)
            assert frame == zstandard.ZstdCompressor(level=level, write_checksum=checksum).compress(data.tobytes())
            assert Zstd(level, checksum).decode(frame, len(data)) == data.tobytes()


def test_the_addresses_are_those_of_the_functions() -> None:
    """Code in C calls the functions by their addresses, with the parameters as numbers, and makes the same frames."""
    found = libzstd.addresses()
    assert all(found.values())
    pointer, size_t = ctypes.c_void_p, ctypes.c_size_t
    make = ctypes.CFUNCTYPE(pointer)(found["ZSTD_createCCtx"])
    change = ctypes.CFUNCTYPE(size_t, pointer, ctypes.c_int, ctypes.c_int)(found["ZSTD_CCtx_setParameter"])
    compress = ctypes.CFUNCTYPE(size_t, pointer, pointer, size_t, pointer, size_t)(found["ZSTD_compress2"])
    free = ctypes.CFUNCTYPE(size_t, pointer)(found["ZSTD_freeCCtx"])
    codec, data, out = Zstd(5, checksum=True), chunk(32768), np.empty(40000, np.uint8)
    context = make()
    for parameter, value in codec.parameters(len(data)):
        assert change(context, parameter, value) == value
    size = compress(context, out.ctypes.data, len(out), data.ctypes.data, len(data))
    free(context)
    assert out[:size].tobytes() == codec.encode(data)


def run(code: str, first: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {str(first)!r})\n{code}"], capture_output=True, text=True)


WRITE = "from wkpipe.native.libzstd import check_release; check_release()"
READ = "from wkpipe.formats.codecs import Zstd; print(len(Zstd(5, False).decode(bytes.fromhex({!r}), 512)))"


def other_package(tmp_path: Path, extension: str | None) -> Path:
    """Make a package zstandard whose extension is another library."""
    package = tmp_path / "zstandard"
    package.mkdir()
    (package / "__init__.py").touch()
    if extension is not None:
        shutil.copyfile(extension, package / f"_cffi{SUFFIX}")
    return tmp_path


def test_another_release_reads_but_does_not_write(tmp_path: Path) -> None:
    numcodecs = importlib.util.find_spec("numcodecs.zstd")
    assert numcodecs is not None
    assert numcodecs.origin is not None
    first = other_package(tmp_path, numcodecs.origin)
    frame = Zstd(5, checksum=False).encode(bytes(512)).hex()
    assert run(READ.format(frame), first).stdout == "512\n"
    last = run(WRITE, first).stderr.splitlines()[-1]
    assert "wkpipe writes zstd with one release of libzstd only, found 1.5." in last
    assert last.endswith(f"expected {libzstd.RELEASE}; {libzstd.FIX}")


@pytest.mark.parametrize("extension", [None, "_ctypes"])
def test_a_missing_or_hidden_library_is_named(tmp_path: Path, extension: str | None) -> None:
    spec = None if extension is None else importlib.util.find_spec(extension)
    first = other_package(tmp_path, None if spec is None else spec.origin)
    last = run(WRITE, first).stderr.splitlines()[-1]
    assert "python-zstandard has no extension module that exports libzstd" in last
    assert str(tmp_path / "zstandard") in last
    assert last.endswith(libzstd.FIX)

"""The limit: the time to decode all chunks of mag 1 and to encode all chunks of the coarser mags, and nothing else.

    PYTHON limit.py DATASET RESULT

The dataset's coarser mags are made first, which is not timed. Then a loop in C (`limit.c`, compiled for this) decodes, or encodes
again, chunk by chunk on each core, with the libraries that wkpipe itself uses. What it encodes must be the stored bytes: so the
parameters are those in use. The seconds of all threads are added up; the wall clock is their share of a core, because all threads
end together. The copies from and to the page cache are timed apart (`read`, `write`). Nothing is sampled, checksummed or synced.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final, TypeAlias

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import lz4.block
import numpy as np

from bench.alone_wkpipe import do, plan_of
from bench.contenders import COMPILER
from bench.stopwatch import write
from wkpipe.formats import open_array
from wkpipe.formats.base import StoredArray
from wkpipe.formats.chunked import ChunkedArray
from wkpipe.formats.codecs import LZ4HC_LEVEL
from wkpipe.native import libzstd
from wkpipe.native.libzstd import Parameters

PARTS: Final = ("read", "decode", "encode", "write")
BATCH_BYTES: Final = 64 << 20
"""Decoded bytes of a batch."""
Box: TypeAlias = Sequence[Sequence[int]]

_SIZES = ctypes.POINTER(ctypes.c_int64)


class Work(ctypes.Structure):
    """The struct `work` of limit.c."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("is_zstd", "lz4_level", "parameters", "encodes", "threads", "file")),
        ("pairs", ctypes.POINTER(ctypes.c_int32)),
        *((name, ctypes.c_int64) for name in ("count", "chunk_bytes", "bound")),
        ("offsets", _SIZES),
        ("sizes", _SIZES),
        *((name, ctypes.c_void_p) for name in ("create_cctx", "create_dctx", "free_cctx", "free_dctx")),
        *((name, ctypes.c_void_p) for name in ("set_parameter", "compress2", "decompress", "lz4_compress", "lz4_decompress")),
        ("wall", ctypes.c_double * len(PARTS)),
        ("cpu", ctypes.c_double * len(PARTS)),
        ("different", ctypes.c_int64),
    )


def main(dataset: str, result: str) -> None:
    plan = plan_of(dataset)
    do(plan)
    with tempfile.TemporaryDirectory(dir=dataset) as directory, tempfile.TemporaryFile(dir=dataset) as file:
        loop = Loop(Path(directory), file)
        for layer in plan.layers:
            (found,) = layer.found
            source = open_array(found.path, found.spec.data_format, found.spec.axes, found.spec.shape)
            for batch in _batches(source, layer.mags[0].origin.box):
                loop.run(source, batch, encodes=False)
            for mag in layer.mags:
                path, spec = plan.dataset / layer.name / str(mag.mag), mag.spec
                made = open_array(path, spec.data_format, spec.axes, spec.shape, spec.compression)
                for batch in _batches(made, mag.box):
                    loop.run(made, batch, encodes=True)
    facts = {f"{part}_s": loop.wall[part] for part in PARTS} | {f"{part}_cpu_s": loop.cpu[part] for part in PARTS}
    codecs = ("decode", "encode")
    cpu_s = sum(loop.cpu[part] for part in codecs)
    write(result, {"wall_s": sum(loop.wall[part] for part in codecs), "sync_s": 0.0, "cpu_s": cpu_s, "facts": facts})


class Loop:
    """The compiled loop; `wall` and `cpu` have the seconds of each part so far. `file` is a temporary file for the chunks."""

    def __init__(self, directory: Path, file: IO[bytes]) -> None:
        self._file = file
        self._threads = len(os.sched_getaffinity(0))
        library = directory / "limit.so"
        source = Path(__file__).with_name("limit.c")
        subprocess.run([COMPILER, "-O2", "-shared", "-fPIC", "-pthread", str(source), "-o", str(library)], check=True)
        self._limit = ctypes.CDLL(str(library)).limit
        self._limit.restype = None
        self._libraries = {"zstd": libzstd.library(), "lz4": ctypes.CDLL(lz4.block._block.__file__)}
        self.wall = dict.fromkeys(PARTS, 0.0)
        self.cpu = dict.fromkeys(PARTS, 0.0)

    def run(self, array: StoredArray, batch: Sequence[bytes], encodes: bool) -> None:
        """Decode stored chunks; with `encodes`, decode them untimed, and encode them again."""
        spec = array.spec
        is_zstd = spec.compression.kind == "zstd"
        work = Work(is_zstd=is_zstd, lz4_level=LZ4HC_LEVEL, encodes=encodes)
        pairs = np.array(_parameters(array) if is_zstd else [], np.int32).reshape(-1, 2)
        work.parameters, work.pairs = len(pairs), pairs.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        work.threads, work.count, work.chunk_bytes = self._threads, len(batch), spec.chunk_bytes
        work.bound = spec.chunk_bytes + spec.chunk_bytes // 128 + 1024  # more than what either codec needs
        sizes = np.array([len(data) for data in batch], np.int64)
        offsets = np.cumsum(sizes) - sizes
        work.sizes, work.offsets = (each.ctypes.data_as(_SIZES) for each in (sizes, offsets))
        self._file.seek(0)
        self._file.write(b"".join(batch))
        self._file.flush()
        work.file = self._file.fileno()
        for name, symbol in _SYMBOLS.items():
            setattr(work, name, ctypes.cast(getattr(self._libraries[symbol.split("_")[0].lower()], symbol), ctypes.c_void_p))
        self._limit(ctypes.byref(work))
        if work.different:
            raise SystemExit(f"{work.different} of {len(batch)} chunks are stored with other parameters than those of the limit")
        for index, part in enumerate(PARTS):
            if part == "read" or (part in ("encode", "write")) == encodes:
                self.wall[part] += work.wall[index] / self._threads
                self.cpu[part] += work.cpu[index]


_SYMBOLS: Final = {
    "create_cctx": "ZSTD_createCCtx",
    "create_dctx": "ZSTD_createDCtx",
    "free_cctx": "ZSTD_freeCCtx",
    "free_dctx": "ZSTD_freeDCtx",
    "set_parameter": "ZSTD_CCtx_setParameter",
    "compress2": "ZSTD_compress2",
    "decompress": "ZSTD_decompressDCtx",
    "lz4_compress": "LZ4_compress_HC",
    "lz4_decompress": "LZ4_decompress_safe",
}


def _parameters(array: StoredArray) -> Parameters:
    """Return the parameters of zstd with which wkpipe encodes the chunks of an array."""
    assert isinstance(array, ChunkedArray)
    return array.coder.codec.native(array.spec.chunk_bytes).parameters


def _batches(array: StoredArray, box: Box) -> Iterator[list[bytes]]:
    """Yield the stored chunks of a box (x, y, z), without WKW's blocks of zeros, which only need to be recognised."""
    (channels, *chunk), first, end = array.spec.chunk_shape, *box
    cells = itertools.product(*(range(a // c, -(-b // c)) for a, b, c in zip(first, end, chunk, strict=True)))
    zeros = lz4.block.compress(bytes(array.spec.chunk_bytes), mode="high_compression", compression=LZ4HC_LEVEL, store_size=False)
    stored = (data for cell in cells if (data := array.read_encoded((0, *cell))) is not None and data != zeros)
    assert channels == array.spec.shape[0]
    while batch := list(itertools.islice(stored, max(1, BATCH_BYTES // array.spec.chunk_bytes))):
        yield batch


if __name__ == "__main__":
    main(*sys.argv[1:])

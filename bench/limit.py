"""The limit: what decoding all chunks of mag 1 and encoding all chunks of the coarser mags takes, and nothing else.

    PYTHON limit.py DATASET RESULT

The dataset's coarser mags are made first, which is not timed. Then chunks are brought into memory in batches (not timed),
and decoded, or encoded again with the same codec and level, by all cores. Each batch is done in every way that the libraries
offer; the way that is fastest over all batches counts. Nothing is read, sampled, checksummed, written or synced.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeAlias

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import imagecodecs
import lz4.block
import numpy as np
import zstandard

from bench.alone_wkpipe import do, plan_of
from bench.stopwatch import write
from wkpipe.formats import open_array
from wkpipe.formats.base import ArraySpec, StoredArray
from wkpipe.formats.codecs import LZ4HC_LEVEL

BATCH_BYTES: Final = 64 << 20
"""Decoded bytes of a batch."""
Way: TypeAlias = Callable[[Sequence[bytes]], None]
Box: TypeAlias = Sequence[Sequence[int]]

_kept = threading.local()


def main(dataset: str, result: str) -> None:
    plan = plan_of(dataset)
    do(plan)
    cores = len(os.sched_getaffinity(0))
    decoding: dict[str, float] = defaultdict(float)
    encoding: dict[str, float] = defaultdict(float)
    cpu: dict[str, float] = defaultdict(float)
    with ThreadPoolExecutor(cores) as pool:
        for layer in plan.layers:
            (found,) = layer.found
            assert layer.mags[0].source_box is not None
            source = open_array(found.path, found.spec.data_format, found.spec.axes, found.spec.shape)
            for batch in _batches(source, layer.mags[0].source_box):
                _time_ways(decode_ways(source.spec, pool, cores), batch, decoding, cpu)
            for mag in layer.mags:
                made = open_array(plan.dataset / layer.name / str(mag.mag), mag.spec.data_format, mag.spec.axes, mag.spec.shape)
                for batch in _batches(made, mag.box):
                    _time_ways(encode_ways(made.spec, pool, cores), [_decoded(made.spec, data) for data in batch], encoding, cpu)
    (decode, decode_s), (encode, encode_s) = (min(found.items(), key=lambda item: item[1]) for found in (decoding, encoding))
    facts = {"decode_s": decode_s, "encode_s": encode_s, "decode": dict(decoding), "encode": dict(encoding)}
    write(result, {"wall_s": decode_s + encode_s, "sync_s": 0.0, "cpu_s": cpu[decode] + cpu[encode], "facts": facts})


def _time_ways(ways: dict[str, Way], batch: Sequence[bytes], wall: dict[str, float], cpu: dict[str, float]) -> None:
    for name, way in ways.items():
        start, used = time.perf_counter(), time.process_time()
        way(batch)
        wall[name] += time.perf_counter() - start
        cpu[name] += time.process_time() - used


def _batches(array: StoredArray, box: Box) -> Iterator[list[bytes]]:
    """Yield the stored chunks of a box (x, y, z); WKW's blocks of zeros, which only need to be recognised, are left out."""
    (channels, *chunk), first, end = array.spec.chunk_shape, *box
    cells = itertools.product(*(range(a // c, -(-b // c)) for a, b, c in zip(first, end, chunk, strict=True)))
    zeros = lz4.block.compress(bytes(array.spec.chunk_bytes), mode="high_compression", compression=LZ4HC_LEVEL, store_size=False)
    stored = (data for cell in cells if (data := array.read_encoded((0, *cell))) is not None and data != zeros)
    assert channels == array.spec.shape[0]
    while batch := list(itertools.islice(stored, max(1, BATCH_BYTES // array.spec.chunk_bytes))):
        yield batch


def _decoded(spec: ArraySpec, data: bytes) -> bytes:
    if spec.compression.kind == "zstd":
        return zstandard.ZstdDecompressor().decompress(data)
    decoded: bytes = lz4.block.decompress(data, uncompressed_size=spec.chunk_bytes)
    return decoded


def decode_ways(spec: ArraySpec, pool: ThreadPoolExecutor, cores: int) -> dict[str, Way]:
    """Return the ways to decode a batch of chunks; what comes out is dropped."""
    is_zstd, size = spec.compression.kind == "zstd", spec.chunk_bytes
    into = imagecodecs.zstd_decode if is_zstd else imagecodecs.lz4_decode

    def kept(part: Sequence[bytes]) -> None:
        buffer: Any = _kept.__dict__.get("buffer")
        if buffer is None or len(buffer) != size:
            buffer = _kept.buffer = np.empty(size, np.uint8)
        for data in part:
            into(data, out=buffer)

    def each(part: Sequence[bytes]) -> None:
        for data in part:
            _decoded(spec, data)

    ways = {"decode, kept buffer": _in_threads(kept, pool, cores), "decode, one by one": _in_threads(each, pool, cores)}
    if is_zstd:
        ways["multi_decompress_to_buffer"] = lambda batch: _drop(
            zstandard.ZstdDecompressor().multi_decompress_to_buffer(list(batch), threads=cores)
        )
    return ways


def encode_ways(spec: ArraySpec, pool: ThreadPoolExecutor, cores: int) -> dict[str, Way]:
    """Return the ways to encode a batch of chunks as they are stored; what comes out is dropped."""

    def zstd(part: Sequence[bytes]) -> None:
        compressor = _compressor(spec)
        for data in part:
            compressor.compress(data)

    def lz4hc(part: Sequence[bytes]) -> None:
        for data in part:
            lz4.block.compress(data, mode="high_compression", compression=LZ4HC_LEVEL, store_size=False)

    def newer_lz4hc(part: Sequence[bytes]) -> None:
        for data in part:
            imagecodecs.lz4_encode(data, level=LZ4HC_LEVEL, hc=True)

    if spec.compression.kind != "zstd":
        return {"lz4": _in_threads(lz4hc, pool, cores), "imagecodecs": _in_threads(newer_lz4hc, pool, cores)}
    return {
        "encode, one by one": _in_threads(zstd, pool, cores),
        "multi_compress_to_buffer": lambda batch: _drop(_compressor(spec).multi_compress_to_buffer(list(batch), threads=cores)),
    }


def _compressor(spec: ArraySpec) -> zstandard.ZstdCompressor:
    assert spec.compression.level is not None
    return zstandard.ZstdCompressor(level=spec.compression.level, write_checksum=True, write_content_size=True)


def _in_threads(work: Callable[[Sequence[bytes]], None], pool: ThreadPoolExecutor, cores: int) -> Way:
    return lambda batch: _drop(list(pool.map(work, [batch[i::cores] for i in range(cores)])))


def _drop(_: object) -> None:
    pass


if __name__ == "__main__":
    main(*sys.argv[1:])

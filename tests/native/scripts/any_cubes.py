"""Make cubes of random shapes from sound, damaged and made-up frames with the library of the first argument; buffers have no slack."""

from __future__ import annotations

import ctypes
import random
import sys
from pathlib import Path
from typing import Any

import lz4.block
import numpy as np
import zstandard

from wkpipe.native.chunks import NativeChunks, NativeCodec, StoredAs
from wkpipe.native.library import CubeJob, Library, Reduction, int3

EDGES = (1, 2, 3, 4, 5, 8, 16)
NUMBERS = [(dtype, itemsize) for dtype, sizes in ((0, (1, 2, 4, 8)), (1, (1, 2, 4, 8)), (2, (4, 8))) for itemsize in sizes]
CODECS = [
    NativeCodec(StoredAs.PLAIN),
    NativeCodec(StoredAs.ZSTD, ((100, 5), (200, 1), (201, 1))),
    NativeCodec(StoredAs.LZ4HC, ((0, 9),)),
]


def stored(rng: random.Random, kind: StoredAs, raw: bytes) -> bytes:
    """Return the stored bytes of a chunk."""
    if kind is StoredAs.PLAIN:
        return raw
    if kind is StoredAs.ZSTD:
        return zstandard.ZstdCompressor(write_checksum=rng.random() < 0.5).compress(raw)
    return bytes(lz4.block.compress(raw, store_size=False))


def buffer_of(rng: random.Random, data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the bytes in a buffer that ends with them, at any address."""
    before = rng.randrange(8) if data else 0
    return np.frombuffer(bytearray(bytes(before) + data), np.uint8)[before:]


def frame(rng: random.Random, kind: StoredAs, size: int) -> bytes:
    """Return the stored bytes of a chunk of `size` bytes, a third of the time damaged ones."""
    raw = rng.randbytes(size) if rng.random() < 0.5 else bytes([rng.randrange(4)]) * size
    if rng.random() < 0.3:
        kind = rng.choice(list(StoredAs)) if rng.random() < 0.1 else kind
        raw = bytes(rng.choices(b"\0\x7f\x80\xff\1", k=size))  # of floats: NaNs, infinities, zeros with signs
    damage = rng.random()
    if damage < 0.05:
        return rng.randbytes(rng.randrange(1, 64))
    if damage < 0.1:
        raw = raw[: rng.randrange(1, size + 1)] if damage < 0.07 else raw * 2
    data = bytearray(stored(rng, kind, raw))
    if damage > 0.85:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    if damage > 0.95:
        data = data[: rng.randrange(1, len(data) + 1)]
    return bytes(data)


def one(library: Library, rng: random.Random) -> int:
    """Make one cube; return 1 if the library made it, 0 if it refused."""
    dtype, itemsize = rng.choice(NUMBERS)
    kind, codec, channels = rng.choice(list(StoredAs)), rng.choice(CODECS), rng.choice((1, 1, 2, 3, 5))
    factors = [rng.choice((1, 2, 4)) for _ in range(3)]
    part = [rng.choice(EDGES) for _ in range(3)]
    per_axis = [rng.choice((1, 2)) for _ in range(3)]
    chunk = [p * n for p, n in zip(part, per_axis, strict=True)]
    grid = [rng.randrange(1, 3) for _ in range(3)]
    source_bytes = int(np.prod([p * f for p, f in zip(part, factors, strict=True)])) * itemsize * channels
    target_bytes = int(np.prod(chunk)) * itemsize * channels
    places = int(np.prod(grid)) * int(np.prod(per_axis))
    frames = [frame(rng, kind, source_bytes) if rng.random() < 0.8 else b"" for _ in range(places)]
    buffers = [buffer_of(rng, data) for data in frames]
    addresses = np.array([buffer.ctypes.data if len(buffer) else 0 for buffer in buffers], np.uint64)
    sizes = np.array([len(buffer) for buffer in buffers], np.int64)
    order = np.array(rng.sample(range(int(np.prod(grid))), int(np.prod(grid))), np.int64)
    further = [rng.choice([f for f in (1, 2, 4) if n % f == 0]) for n in chunk]
    blocks = [g * c // f for g, c, f in zip(grid, chunk, further, strict=True)]
    first = [rng.randrange(n) for n in blocks]
    end = [rng.randrange(a + 1, n + 1) for a, n in zip(first, blocks, strict=True)]
    low, high = ([n * f for n, f in zip(corner, further, strict=True)] for corner in (first, end))
    cube = CubeJob(rng.randrange(4), kind, dtype, itemsize, channels, *map(int3, (factors, chunk, per_axis, grid, low, high)))
    cube.addresses, cube.sizes, cube.order = addresses.ctypes.data, sizes.ctypes.data, order.ctypes.data
    if rng.random() < 0.5 and max(further) > 1:
        shape = [b - a for a, b in zip(first, end, strict=True)]
        coarser = np.zeros(int(np.prod(shape)) * itemsize * channels, np.uint8)
        cube.coarser, cube.coarser_factors = coarser.ctypes.data, int3(further)
        cube.coarser_line, cube.coarser_plane = shape[0] * channels, shape[0] * shape[1] * channels
    chunks = NativeChunks(library, codec, source_bytes, target_bytes)
    return int(chunks.sample(cube, len(order), target_bytes + target_bytes // 128 + 1024) is not None)


def reduced(library: Library, rng: random.Random) -> None:
    """Reduce one block that fills its buffer to the last byte."""
    (dtype, size), channels, factors = rng.choice(NUMBERS), rng.choice((1, 2, 3)), [rng.choice((1, 2, 4)) for _ in range(3)]
    shape = [rng.randrange(1, 40) for _ in range(3)]
    source = np.frombuffer(bytearray(rng.randbytes(int(np.prod(shape)) * int(np.prod(factors)) * size * channels)), np.uint8)
    target = np.zeros(int(np.prod(shape)) * size * channels, np.uint8)
    line, target_line = shape[0] * factors[0] * channels, shape[0] * channels
    lines = (line, line * shape[1] * factors[1], target_line, target_line * shape[1])
    reduction = Reduction(rng.randrange(4), *factors, channels, *shape, *lines)
    library.reduce(dtype, size, ctypes.byref(reduction), source.ctypes.data, target.ctypes.data)


def main() -> None:
    library, count = Library(Path(sys.argv[1])), int(sys.argv[2])
    made = 0
    for number in range(count):
        rng = random.Random(number)
        made += one(library, rng)
        reduced(library, rng)
    print(f"{count} cubes, {made} made")
    assert count // 10 < made < count


if __name__ == "__main__":
    main()

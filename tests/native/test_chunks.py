"""The engine's calls on stored chunks: which frames it takes, and what it does with those that are absent or outside of the box."""

from __future__ import annotations

from collections.abc import Sequence

import lz4.block
import numpy as np
import pytest
import zstandard

from wkpipe.native import chunks
from wkpipe.native.chunks import NativeChunks, NativeCodec, StoredAs
from wkpipe.native.library import CubeJob, Library, int3

EDGE = 4
RAW = bytes(range(EDGE**3))
TARGET = NativeCodec(StoredAs.ZSTD, ((100, 5), (200, 1), (201, 1)))


def sampled(
    engine: Library,
    frames: Sequence[bytes],
    low: Sequence[int] = (0, 0, 0),
    high: Sequence[int] | None = None,
    kind: StoredAs = StoredAs.ZSTD,
) -> list[bytes] | None:
    """Take the greatest of each 2 × 2 × 1 voxels of chunks of 4³; return the decoded target chunks, of four chunks each."""
    count = len(frames) // 4
    buffers = [np.frombuffer(bytearray(frame), np.uint8) for frame in frames]
    addresses = np.array([buffer.ctypes.data if len(buffer) else 0 for buffer in buffers], np.uint64)
    sizes = np.array([len(buffer) for buffer in buffers], np.int64)
    order = np.arange(count)
    corner = high or (EDGE * count, EDGE, EDGE)
    cube = CubeJob(3, kind, 0, 1, 1, *map(int3, ((2, 2, 1), (EDGE,) * 3, (2, 2, 1), (count, 1, 1), low, corner)))
    cube.addresses, cube.sizes, cube.order = addresses.ctypes.data, sizes.ctypes.data, order.ctypes.data
    made = NativeChunks(engine, TARGET, EDGE**3, EDGE**3).sample(cube, count, 4096)
    if made is None:
        return None
    ends = np.cumsum(made[0])
    return [zstandard.decompress(made[1][end - size : end]) if size else b"" for end, size in zip(ends, made[0], strict=True)]


def frame(raw: bytes = RAW, size_is_known: bool = True) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=size_is_known).compress(raw)


def test_units_share_the_engine_of_their_chunks(engine: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "native", lambda: engine)  # also where NumPy is to do the work
    one = NativeChunks.of(TARGET, EDGE**3, EDGE**3)
    assert one is not None
    assert NativeChunks.of(TARGET, EDGE**3, EDGE**3) is one
    assert NativeChunks.of(TARGET, 2 * EDGE**3, EDGE**3) is not one


def test_sound_chunks(engine: Library) -> None:
    voxels = np.frombuffer(RAW, np.uint8).reshape((EDGE,) * 3, order="F")
    whole = np.block([[[voxels], [voxels]], [[voxels], [voxels]]]).reshape(2 * EDGE, 2 * EDGE, EDGE)
    expected = whole.reshape(EDGE, 2, EDGE, 2, EDGE).max((1, 3)).tobytes(order="F")
    assert sampled(engine, [frame()] * 4) == [expected]
    assert sampled(engine, [b""] * 4) == [b""]
    clipped = np.frombuffer(expected, np.uint8).reshape((EDGE,) * 3, order="F").copy(order="F")
    clipped[:1], clipped[:, 3:], clipped[:, :, :2] = 0, 0, 0
    assert sampled(engine, [frame()] * 4, (1, 0, 2), (4, 3, 4)) == [clipped.tobytes(order="F")]


@pytest.mark.parametrize(
    "wrong",
    [
        frame() + zstandard.compress(b""),
        frame() + b"\x50\x2a\x4d\x18\x01\x00\x00\x00x",
        frame() + b"x",
        frame()[:-1],
        frame(size_is_known=False),
        frame(RAW[:-1]),
        frame(RAW * 2),
        frame(RAW[:32]) + frame(RAW[32:]),
        b"x",
    ],
    ids=[
        "empty frame after it",
        "skippable frame",
        "a byte more",
        "a byte less",
        "unknown size",
        "short",
        "long",
        "two frames",
        "no frame",
    ],
)
def test_frames_that_are_left_to_numpy(engine: Library, wrong: bytes) -> None:
    """NumPy's way reads them, or has the words for what is wrong."""
    for place in range(4):
        frames = [frame()] * 4
        frames[place] = wrong
        assert sampled(engine, frames) is None


def block(raw: bytes = RAW) -> bytes:
    return bytes(lz4.block.compress(raw, store_size=False))


@pytest.mark.parametrize(
    "kind, good", [(StoredAs.LZ4, block()), (StoredAs.LZ4HC, block()), (StoredAs.PLAIN, RAW)], ids=["lz4", "lz4hc", "plain"]
)
def test_other_codecs(engine: Library, kind: StoredAs, good: bytes) -> None:
    assert sampled(engine, [good] * 4, kind=kind) == sampled(engine, [frame()] * 4)
    for wrong in (block(RAW[:-1]), block(RAW * 2), block() + b"x", RAW[:-1], b"\xff" * 9, b"x"):
        assert sampled(engine, [good, good, wrong, good], kind=kind) is None


def test_a_kind_that_does_not_exist(engine: Library) -> None:
    assert sampled(engine, [frame()] * 4, kind=9) is None  # type: ignore[arg-type]

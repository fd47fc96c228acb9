"""Many chunks decoded at once: each comes back as itself, wherever the library put it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest

from wkpipe.formats.codecs import Codec, Lz4, Zstd, is_one_buffer

SIZE = 4096


@dataclass
class Segment:
    offset: int
    length: int = SIZE

    def __len__(self) -> int:
        return self.length


@pytest.mark.parametrize(
    "offsets, is_one",
    [
        ([0, 1, 2, 3], True),
        ([0, 1, 0, 1], False),  # two threads of the library, a buffer each
        ([0, 0, 0, 0], False),
        ([0, 1, 2, 0], False),
        ([0, 2, 1, 3], False),  # the first and the last are where one buffer has them
        ([1, 2, 3, 4], False),
    ],
)
def test_one_buffer_is_known_by_every_offset(offsets: list[int], is_one: bool) -> None:
    assert is_one_buffer([Segment(offset * SIZE) for offset in offsets], SIZE) is is_one


def test_a_segment_of_another_length_is_no_part_of_one_buffer() -> None:
    assert not is_one_buffer([Segment(0), Segment(SIZE, SIZE - 1), Segment(2 * SIZE)], SIZE)


@pytest.mark.parametrize("codec", [Zstd(5, checksum=False), Lz4(high=False)], ids=["zstd", "lz4"])
def test_chunks_decoded_by_many_threads_are_themselves(codec: Codec) -> None:
    """Buffers of different threads come to lie beside each other by chance: this is tried often, with buffers that go and come."""
    rng = np.random.default_rng(7)
    chunks = rng.integers(0, 4, (16, SIZE), np.uint8)
    frames = [codec.encode(chunk.tobytes()) for chunk in chunks]
    sizes = np.array([len(frame) for frame in frames], np.int64)
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    data = np.frombuffer(b"".join(frames), np.uint8)

    def decode(round_: int) -> bool:
        count = 2 + round_ % 15
        first = round_ % (len(chunks) - count + 1)
        chosen = slice(first, first + count)
        return bool(np.array_equal(codec.decode_many(data, offsets[chosen], sizes[chosen], SIZE), chunks[chosen]))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(decode, range(2000)))

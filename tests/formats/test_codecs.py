"""Codecs: many chunks at once come back unchanged, whatever thread decodes them, and damage is noticed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from wkpipe.formats.codecs import Codec, CodecError, Lz4, NoCodec, Zstd

SIZE = 4096
CODECS = {"zstd": Zstd(5, checksum=False), "lz4": Lz4(high=False), "none": NoCodec()}


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_chunks_of_many_threads_are_themselves(codec: Codec) -> None:
    rng = np.random.default_rng(7)
    chunks = rng.integers(0, 4, (16, SIZE), np.uint8)
    stored, lengths = codec.encode_many(chunks, range(16))
    sizes = np.array(lengths, np.int64)
    offsets = np.cumsum(sizes) - sizes
    data = np.frombuffer(stored, np.uint8)

    def work(round_: int) -> bool:
        count = 1 + round_ % 16
        first = round_ % (len(chunks) - count + 1)
        chosen = slice(first, first + count)
        expected = data[offsets[first] : offsets[first + count - 1] + sizes[first + count - 1]].tobytes()
        is_encoded = codec.encode_many(chunks, range(first, first + count)) == (expected, lengths[chosen])
        return is_encoded and np.array_equal(codec.decode_many(data, offsets[chosen], sizes[chosen], SIZE), chunks[chosen])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(500)))


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_chunks_are_encoded_in_the_wanted_order(codec: Codec) -> None:
    chunks = np.arange(5 * SIZE, dtype="<u4").view(np.uint8).reshape(-1, SIZE)
    stored, sizes = codec.encode_many(chunks, [3, 0, 3])
    assert stored == b"".join(codec.encode(chunks[index]) for index in (3, 0, 3))
    assert sum(sizes) == len(stored)
    assert codec.encode_many(chunks, []) == (b"", [])


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("held", [SIZE - 1, SIZE + 1, 0, 1 << 20])
def test_chunks_of_another_size_are_damage(codec: Codec, held: int) -> None:
    with pytest.raises(CodecError):
        codec.decode(codec.encode(bytes(held)), SIZE)


@pytest.mark.parametrize("change", ["cut", "longer", "other bytes"])
def test_a_damaged_frame_among_others_is_noticed(change: str) -> None:
    codec = Zstd(5, checksum=True)
    frames = [codec.encode(np.random.default_rng(seed).integers(0, 9, SIZE, np.uint8)) for seed in range(3)]
    frames[1] = {"cut": frames[1][:-5], "longer": frames[1] + b"more", "other bytes": frames[1][:99] + b"other" + frames[1][104:]}[change]
    sizes = np.array([len(frame) for frame in frames])
    with pytest.raises(CodecError, match="zstd"):
        codec.decode_many(np.frombuffer(b"".join(frames), np.uint8), np.cumsum(sizes) - sizes, sizes, SIZE)


def test_the_error_names_both_sizes() -> None:
    codec = Zstd(5, checksum=False)
    for held in (SIZE - 1, SIZE + 1):
        with pytest.raises(CodecError, match=f"the zstd frame holds {held} bytes, expected {SIZE}"):
            codec.decode(codec.encode(bytes(held)), SIZE)

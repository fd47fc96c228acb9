"""Chunk codecs: bytes to bytes. They release the GIL, and decoding never makes more bytes than were asked for."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import lz4.block  # type: ignore[import-untyped, unused-ignore]
import numpy as np
import zstandard

from wkpipe.formats.base import Compression

Buffer: TypeAlias = Any
"""A C-contiguous bytes-like object (also a numpy array)."""
Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

LZ4HC_LEVEL = 9
"""The level that makes the same bytes as the wkw library."""

_contexts = threading.local()


class CodecError(Exception):
    """Stored bytes can not be decoded; the message says why, the caller knows where."""


class Codec(ABC):
    """Turns the bytes of a chunk into stored bytes and back. Thread-safe."""

    @property
    @abstractmethod
    def compression(self) -> Compression:
        """The codec's name and level."""

    @property
    @abstractmethod
    def encoder(self) -> str:
        """The name of what decides the stored bytes of a chunk: the set of parameters, and the release of the library."""

    @abstractmethod
    def encode(self, data: Buffer) -> bytes:
        """Return the stored bytes of `data`."""

    @abstractmethod
    def decode(self, data: Buffer, size: int) -> bytes:
        """Return the `size` bytes that `data` stands for.

        Raises:
            CodecError: the data are damaged, or stand for more or fewer bytes.
        """

    def encode_many(self, chunks: Bytes, order: Sequence[int]) -> list[bytes]:
        """Return the stored bytes of chunks (count, bytes), in the order given."""
        return [self.encode(chunks[index]) for index in order]

    def decode_many(self, data: Bytes, offsets: Ints, sizes: Ints, size: int) -> Bytes:
        """Return chunks (count, size), each decoded from the bytes of `data` that `offsets` and `sizes` tell.

        Raises:
            CodecError: one of them is damaged.
        """
        view = data.data
        if len(offsets) == 1:
            offset = int(offsets[0])
            return np.frombuffer(self.decode(view[offset : offset + int(sizes[0])], size), np.uint8)[np.newaxis]
        decoded = np.empty((len(offsets), size), np.uint8)
        for chunk, offset, stored in zip(decoded, offsets.tolist(), sizes.tolist(), strict=True):
            chunk[:] = np.frombuffer(self.decode(view[offset : offset + stored], size), np.uint8)
        return decoded

    @abstractmethod
    def max_encoded_size(self, size: int) -> int:
        """Return how many stored bytes a chunk of `size` bytes can have at most; more are a sign of damage."""


class NoCodec(Codec):
    """Bytes stored as they are."""

    @property
    def compression(self) -> Compression:
        return Compression("none")

    @property
    def encoder(self) -> str:
        return "none"

    def encode(self, data: Buffer) -> bytes:
        return memoryview(data).tobytes()

    def decode(self, data: Buffer, size: int) -> bytes:
        if len(data) != size:
            raise CodecError(f"found {len(data)} bytes, expected {size}")
        return data if isinstance(data, bytes) else bytes(data)

    def max_encoded_size(self, size: int) -> int:
        return size


class Zstd(Codec):
    """One Zstandard frame, written with its content size."""

    def __init__(self, level: int, checksum: bool) -> None:
        self.level = level
        self.checksum = checksum

    @property
    def compression(self) -> Compression:
        return Compression("zstd", self.level)

    @property
    def encoder(self) -> str:
        return f"zstd-{self.level} libzstd {'.'.join(map(str, zstandard.ZSTD_VERSION))}"

    def _compressor(self) -> zstandard.ZstdCompressor:
        """Return this thread's compressor."""
        key = (self.level, self.checksum)
        compressors: dict[tuple[int, bool], zstandard.ZstdCompressor] = _contexts.__dict__.setdefault("compressors", {})
        if key not in compressors:
            compressors[key] = zstandard.ZstdCompressor(level=self.level, write_checksum=self.checksum, write_content_size=True)
        return compressors[key]

    def encode(self, data: Buffer) -> bytes:
        return self._compressor().compress(data)

    def encode_many(self, chunks: Bytes, order: Sequence[int]) -> list[bytes]:
        if len(order) < 2:
            return super().encode_many(chunks, order)
        size = chunks.shape[1]
        extents = np.empty((len(order), 2), "<u8")
        extents[:, 0] = np.asarray(order) * size
        extents[:, 1] = size
        frames = self._compressor().multi_compress_to_buffer(zstandard.BufferWithSegments(chunks.data, extents.tobytes()))
        return [frames[index].tobytes() for index in range(len(frames))]

    def decode_many(self, data: Bytes, offsets: Ints, sizes: Ints, size: int) -> Bytes:
        count = len(offsets)
        if count < 2:
            return super().decode_many(data, offsets, sizes, size)
        extents = np.stack([offsets, sizes], axis=1).astype("<u8")
        expected = np.full(count, size, "<u8").tobytes()
        try:
            frames = _decompressor().multi_decompress_to_buffer(
                zstandard.BufferWithSegments(data.data, extents.tobytes()), decompressed_sizes=expected
            )
        except (zstandard.ZstdError, ValueError, MemoryError) as error:
            raise CodecError(f"zstd: {error}") from error
        segments: list[Any] = [frames[index] for index in range(count)]
        first = np.frombuffer(segments[0], np.uint8)
        if not is_one_buffer(segments, size):
            return np.stack([first, *(np.frombuffer(segment, np.uint8) for segment in segments[1:])])
        # All frames are in one buffer, one after the other; the base of the view keeps it.
        return np.lib.stride_tricks.as_strided(first, (count, size), (size, 1), writeable=False)

    def decode(self, data: Buffer, size: int) -> bytes:
        try:
            # The library makes a buffer of the size that the frame claims, so that claim is checked first (-1: no claim).
            claimed = zstandard.frame_content_size(data)
            if claimed not in (-1, size):
                raise CodecError(f"the zstd frame holds {claimed} bytes, expected {size}")
            decoded = _decompressor().decompress(data, max_output_size=size, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise CodecError(f"zstd: {error}") from error
        except MemoryError as error:
            raise CodecError("zstd: the frame asks for too much memory") from error
        if len(decoded) != size:
            raise CodecError(f"the zstd frame holds {len(decoded)} bytes, expected {size}")
        return decoded

    def max_encoded_size(self, size: int) -> int:
        return size + size // 128 + 1024


def _decompressor() -> zstandard.ZstdDecompressor:
    """Return this thread's decompressor."""
    decompressor: zstandard.ZstdDecompressor | None = _contexts.__dict__.get("decompressor")
    if decompressor is None:
        decompressor = _contexts.decompressor = zstandard.ZstdDecompressor()
    return decompressor


class Segment(Protocol):
    """A part of a buffer, as the library returns its results."""

    @property
    def offset(self) -> int: ...

    def __len__(self) -> int: ...


def is_one_buffer(segments: Sequence[Segment], size: int) -> bool:
    """True if segments of this size follow each other in one buffer.

    The library puts its results into a buffer for each of its threads; every one begins with a segment of offset 0. Addresses
    tell nothing: the first and the last of several buffers may be as far from each other as if all were one.
    """
    return all(segment.offset == index * size and len(segment) == size for index, segment in enumerate(segments))


class Lz4(Codec):
    """One raw LZ4 block without a size in front, as in WKW files."""

    def __init__(self, high: bool) -> None:
        self.high = high

    @property
    def compression(self) -> Compression:
        return Compression("lz4hc" if self.high else "lz4")

    @property
    def encoder(self) -> str:
        return f"{f'lz4hc-{LZ4HC_LEVEL}' if self.high else 'lz4'} liblz4 {lz4.library_version_string()}"

    def encode(self, data: Buffer) -> bytes:
        if not self.high:
            return bytes(lz4.block.compress(data, store_size=False))
        import imagecodecs  # only who writes WKW pays for it; its LZ4 makes the same bytes as lz4's in half the time

        return bytes(imagecodecs.lz4_encode(data, level=LZ4HC_LEVEL, hc=True))

    def decode(self, data: Buffer, size: int) -> bytes:
        try:
            decoded: bytes = lz4.block.decompress(data, uncompressed_size=size)
        except (lz4.block.LZ4BlockError, ValueError, OverflowError) as error:
            raise CodecError(f"lz4: {error}") from error
        if len(decoded) != size:
            raise CodecError(f"the lz4 block holds {len(decoded)} bytes, expected {size}")
        return decoded

    def max_encoded_size(self, size: int) -> int:
        return size + size // 255 + 16

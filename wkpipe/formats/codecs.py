"""Chunk codecs: bytes to bytes. They release the GIL, and decoding never makes more bytes than were asked for."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Any, TypeAlias

import lz4.block  # type: ignore[import-untyped, unused-ignore]
import zstandard

from wkpipe.formats.base import Compression

Buffer: TypeAlias = Any
"""A C-contiguous bytes-like object (also a numpy array)."""

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

    @abstractmethod
    def encode(self, data: Buffer) -> bytes:
        """Return the stored bytes of `data`."""

    @abstractmethod
    def decode(self, data: bytes, size: int) -> bytes:
        """Return the `size` bytes that `data` stands for.

        Raises:
            CodecError: the data are damaged, or stand for more or fewer bytes.
        """

    @abstractmethod
    def max_encoded_size(self, size: int) -> int:
        """Return how many stored bytes a chunk of `size` bytes can have at most; more are a sign of damage."""


class NoCodec(Codec):
    """Bytes stored as they are."""

    @property
    def compression(self) -> Compression:
        return Compression("none")

    def encode(self, data: Buffer) -> bytes:
        return memoryview(data).tobytes()

    def decode(self, data: bytes, size: int) -> bytes:
        if len(data) != size:
            raise CodecError(f"found {len(data)} bytes, expected {size}")
        return data

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

    def encode(self, data: Buffer) -> bytes:
        key = (self.level, self.checksum)
        compressors: dict[tuple[int, bool], zstandard.ZstdCompressor] = _contexts.__dict__.setdefault("compressors", {})
        if key not in compressors:
            compressors[key] = zstandard.ZstdCompressor(level=self.level, write_checksum=self.checksum, write_content_size=True)
        return compressors[key].compress(data)

    def decode(self, data: bytes, size: int) -> bytes:
        decompressor: zstandard.ZstdDecompressor | None = _contexts.__dict__.get("decompressor")
        if decompressor is None:
            decompressor = _contexts.decompressor = zstandard.ZstdDecompressor()
        try:
            # The library makes a buffer of the size that the frame claims, so that claim is checked first (-1: no claim).
            claimed = zstandard.frame_content_size(data)
            if claimed not in (-1, size):
                raise CodecError(f"the zstd frame holds {claimed} bytes, expected {size}")
            decoded = decompressor.decompress(data, max_output_size=size, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise CodecError(f"zstd: {error}") from error
        except MemoryError as error:
            raise CodecError("zstd: the frame asks for too much memory") from error
        if len(decoded) != size:
            raise CodecError(f"the zstd frame holds {len(decoded)} bytes, expected {size}")
        return decoded

    def max_encoded_size(self, size: int) -> int:
        return size + size // 128 + 1024


class Lz4(Codec):
    """One raw LZ4 block without a size in front, as in WKW files."""

    def __init__(self, high: bool) -> None:
        self.high = high

    @property
    def compression(self) -> Compression:
        return Compression("lz4hc" if self.high else "lz4")

    def encode(self, data: Buffer) -> bytes:
        if self.high:
            encoded: bytes = lz4.block.compress(data, mode="high_compression", compression=LZ4HC_LEVEL, store_size=False)
        else:
            encoded = lz4.block.compress(data, store_size=False)
        return encoded

    def decode(self, data: bytes, size: int) -> bytes:
        try:
            decoded: bytes = lz4.block.decompress(data, uncompressed_size=size)
        except (lz4.block.LZ4BlockError, ValueError, OverflowError) as error:
            raise CodecError(f"lz4: {error}") from error
        if len(decoded) != size:
            raise CodecError(f"the lz4 block holds {len(decoded)} bytes, expected {size}")
        return decoded

    def max_encoded_size(self, size: int) -> int:
        return size + size // 255 + 16

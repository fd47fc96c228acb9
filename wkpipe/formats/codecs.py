"""Chunk codecs: bytes to bytes. They release the GIL, and decoding never produces more bytes than the caller asks for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

import lz4.block  # type: ignore[import-untyped, unused-ignore]
import numpy as np

from wkpipe.formats.base import Compression
from wkpipe.formats.zstd_parameters import LEVEL_5, check_frames, level_parameters, set_parameters
from wkpipe.native import libzstd
from wkpipe.native.chunks import NativeCodec, StoredAs
from wkpipe.native.libzstd import Parameters

Buffer: TypeAlias = Any
"""A C-contiguous bytes-like object (also a numpy array)."""
Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

LZ4HC_LEVEL = 9
"""The level that gives the same bytes as the wkw library."""


class CodecError(Exception):
    """Stored bytes cannot be decoded; the message says why, the caller adds the file."""


class Codec(ABC):
    """Turn the bytes of a chunk into stored bytes and back. Thread-safe."""

    @property
    @abstractmethod
    def compression(self) -> Compression:
        """The name and level of the codec."""

    @property
    @abstractmethod
    def encoder(self) -> str:
        """The parameters and the release of the library that decide the stored bytes of a chunk, as a name."""

    @abstractmethod
    def native(self, size: int) -> NativeCodec:
        """Return the codec of the native engine that stores the same bytes, for chunks of `size` bytes."""

    @abstractmethod
    def encode(self, data: Buffer) -> bytes:
        """Return the stored bytes of `data`."""

    @abstractmethod
    def decode(self, data: Buffer, size: int) -> bytes:
        """Decode `data` and return its `size` bytes.

        Raises:
            CodecError: the data is damaged, or decodes to more or fewer bytes.
        """

    def encode_many(self, chunks: Bytes, order: Sequence[int]) -> tuple[bytes, list[int]]:
        """Return the stored bytes of contiguous chunks (count, bytes) in the given order, one after the other, and their sizes."""
        stored = [self.encode(chunks[index]) for index in order]
        return b"".join(stored), list(map(len, stored))

    def decode_many(self, data: Bytes, offsets: Ints, sizes: Ints, size: int) -> Bytes:
        """Return chunks (count, size), each decoded from the bytes of `data` at its offset and of its size.

        Raises:
            CodecError: a chunk is damaged.
        """
        view = data.data
        if len(offsets) == 1:
            offset = int(offsets[0])
            return np.frombuffer(self.decode(view[offset : offset + int(sizes[0])], size), np.uint8)[np.newaxis]
        decoded = np.empty((len(offsets), size), np.uint8)
        for chunk, offset, stored in zip(decoded, offsets.tolist(), sizes.tolist(), strict=True):
            chunk[:] = np.frombuffer(self.decode(view[offset : offset + stored], size), np.uint8)
        return decoded

    def check_writable(self) -> None:  # noqa: B027  (most codecs have nothing to check)
        """Refuse to encode with a library whose bytes are not the known ones.

        Raises:
            NotWritable: names the library.
        """

    @abstractmethod
    def max_encoded_size(self, size: int) -> int:
        """Return the most stored bytes that a chunk of `size` bytes can have; more show damage."""


class NoCodec(Codec):
    """Store bytes as they are."""

    @property
    def compression(self) -> Compression:
        return Compression("none")

    @property
    def encoder(self) -> str:
        return "none"

    def native(self, size: int) -> NativeCodec:  # noqa: ARG002
        return NativeCodec(StoredAs.PLAIN)

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

    def __init__(self, level: int, checksum: bool, named: str | None = None) -> None:
        """Store zstd's own level; with `named`, the set of parameters of this name, see `wkpipe.formats.zstd_parameters`."""
        self.level = level
        self.checksum = checksum
        self.named = named

    @property
    def compression(self) -> Compression:
        return Compression("zstd", self.level, self.named)

    @property
    def encoder(self) -> str:
        return f"zstd-{self.level}{f' {self.named}' if self.named else ''} libzstd {libzstd.release()}"

    def parameters(self, size: int) -> Parameters:
        """Return the parameters for chunks of `size` bytes; the same ones give the same frames, also without Python."""
        if self.named is None:
            return level_parameters(self.level, self.checksum, size)
        return set_parameters(self.named, self.checksum, size)

    def native(self, size: int) -> NativeCodec:
        return NativeCodec(StoredAs.ZSTD, self.parameters(size))

    def check_writable(self) -> None:
        check_frames(self.named or LEVEL_5)

    def encode(self, data: Buffer) -> bytes:
        chunk = np.frombuffer(data, np.uint8)
        return self.encode_many(chunk[np.newaxis], [0])[0]

    def encode_many(self, chunks: Bytes, order: Sequence[int]) -> tuple[bytes, list[int]]:
        size = chunks.shape[1]
        frames = np.empty(len(order) * self.max_encoded_size(size), np.uint8)
        first, step = address(chunks), chunks.strides[0]
        sources = [first + index * step for index in order]
        sizes = libzstd.compressor(self.parameters(size)).compress(sources, size, address(frames), len(frames))
        return frames[: sum(sizes)].tobytes(), sizes

    def decode(self, data: Buffer, size: int) -> bytes:
        stored = np.frombuffer(data, np.uint8) if len(data) else np.empty(0, np.uint8)
        return self.decode_many(stored, np.zeros(1, np.int64), np.array([len(stored)]), size).tobytes()

    def decode_many(self, data: Bytes, offsets: Ints, sizes: Ints, size: int) -> Bytes:
        decoded = np.empty((len(offsets), size), np.uint8)
        first, target = address(data), address(decoded)
        try:
            libzstd.decompressor().decompress(first, offsets.tolist(), sizes.tolist(), target, size)
        except libzstd.ZstdFailure as error:
            raise CodecError(str(error)) from error
        return decoded

    def max_encoded_size(self, size: int) -> int:
        return size + size // 128 + 1024


def address(array: Bytes) -> int:
    """Return where the bytes of an array begin; `array.ctypes` takes five times as long."""
    start: int = array.__array_interface__["data"][0]
    return start


def encoding_as(codec: Codec, wanted: Compression | None) -> Codec:
    """Return a codec that encodes with the wanted set of parameters; the same codec if its level is another one."""
    if wanted is None or wanted.named is None or not isinstance(codec, Zstd) or codec.level != wanted.level:
        return codec
    return Zstd(codec.level, codec.checksum, wanted.named)


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

    def native(self, size: int) -> NativeCodec:  # noqa: ARG002
        return NativeCodec(StoredAs.LZ4HC, ((0, LZ4HC_LEVEL),)) if self.high else NativeCodec(StoredAs.LZ4)

    def encode(self, data: Buffer) -> bytes:
        if not self.high:
            return bytes(lz4.block.compress(data, store_size=False))
        import imagecodecs  # imported only to write WKW; it gives the same bytes as lz4 in half the time

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

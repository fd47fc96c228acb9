"""The identity of content: a digest of digests, which readers and writers compute from parts in any order.

A digest is the text ``xxh3-128/<layout>:<32 hex digits>``. The layout defines what is hashed, and in which order:

* ``shard``: the file's size; offset and size of every chunk in index order (little-endian int64, in C order of the grid;
  offset -1 and size 0 for a chunk that is not stored); the digest of each stored chunk's bytes in index order; the digest of
  all other bytes in file order.
* ``blocks``: the file's size; the digest of each block of 8 MiB.
* ``files``: for each file of a block of chunk files, sorted by key: key, size, and its ``blocks`` digest.

Digests of different layouts are never equal. They detect accidents and replaced files; XXH3 does not protect against forgery
(https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any, Final

import xxhash

ALGORITHM: Final = "xxh3-128"
DIGEST_BYTES: Final = 16
BLOCK_BYTES: Final = 8 << 20

_SIZE = struct.Struct("<q")


def digest_of(data: Any) -> bytes:
    """Return the digest of the bytes of a chunk or of a block."""
    return xxhash.xxh3_128_digest(data)


class RestDigest:
    """The digest of the bytes of a shard that belong to no chunk, added in file order."""

    def __init__(self) -> None:
        self._hash = xxhash.xxh3_128()

    def add(self, data: Any) -> None:
        self._hash.update(data)

    @property
    def value(self) -> bytes:
        return self._hash.digest()


def shard_digest(size: int, index: bytes | memoryview, chunks: bytes, rest: bytes) -> str:
    """Return the identity of a shard from its size, its index, the digests of its chunks and the digest of the rest."""
    return _text("shard", [_SIZE.pack(size), _SIZE.pack(len(index)), index, chunks, rest])


class BlocksDigest:
    """The identity of a file without a known inner layout; bytes are added in file order, any number at a time.

    >>> digest = BlocksDigest()
    >>> digest.add(b"ab")
    >>> digest.add(b"c")
    >>> digest.value == file_digest(b"abc")
    True
    """

    def __init__(self) -> None:
        self._size = 0
        self._blocks: list[bytes] = []
        self._open = xxhash.xxh3_128()

    def add(self, data: Any) -> None:
        view = memoryview(data).cast("B")
        while view:
            taken = min(len(view), BLOCK_BYTES - self._size % BLOCK_BYTES)
            self._open.update(view[:taken])
            self._size += taken
            if self._size % BLOCK_BYTES == 0:
                self._close()
            view = view[taken:]

    def _close(self) -> None:
        self._blocks.append(self._open.digest())
        self._open = xxhash.xxh3_128()

    @property
    def value(self) -> str:
        blocks = self._blocks if self._size % BLOCK_BYTES == 0 else [*self._blocks, self._open.digest()]
        return _text("blocks", [_SIZE.pack(self._size), *blocks])


def digest_of_small_file(size: int, digest: bytes) -> str:
    """Return the ``blocks`` identity of a file of at most `BLOCK_BYTES` from its size and the digest of its bytes."""
    return _text("blocks", [_SIZE.pack(size), digest] if size else [_SIZE.pack(0)])


def file_digest(data: bytes, digest: bytes | None = None) -> str:
    """Return the ``blocks`` identity of a file from its content; `digest` is that of `data`, if it is known."""
    if digest is not None and len(data) <= BLOCK_BYTES:
        return digest_of_small_file(len(data), digest)
    whole = BlocksDigest()
    whole.add(data)
    return whole.value


def value_of_identity(identity: str) -> bytes:
    """Return the hash in an identity.

    >>> file_identity(value_of_identity(file_digest(b"abc"))) == file_digest(b"abc")
    True
    """
    return bytes.fromhex(identity.rpartition(":")[2])


def file_identity(value: bytes) -> str:
    """Return the ``blocks`` identity with this hash."""
    return f"{ALGORITHM}/blocks:{value.hex()}"


def files_digest(files: Mapping[str, tuple[int, str]]) -> str:
    """Return the identity of a block of chunk files from the size and ``blocks`` identity of each, by key."""
    return _text("files", (f"{key}\0{size}\0{digest}\n".encode() for key, (size, digest) in sorted(files.items())))


def table_stamp(files: Mapping[str, tuple[int, int]]) -> str:
    """Return a hash that changes with a block of chunk files, from the size and mtime (ns) of each, by key; no file is read."""
    lines = (f"{key}\0{size}\0{mtime_ns}\n" for key, (size, mtime_ns) in sorted(files.items()))
    return xxhash.xxh3_64_hexdigest("".join(lines).encode())


def _text(layout: str, parts: Iterable[bytes | memoryview]) -> str:
    whole = xxhash.xxh3_128(f"{layout}\n".encode())
    for part in parts:
        whole.update(part)
    return f"{ALGORITHM}/{layout}:{whole.hexdigest()}"

"""The parameters of zstd, each by its number: what is left to the library may depend on the CPU. See docs/design/zstd-parameters.md.

A *set* is level 5 with some parameters changed for one kind of voxels. Mags are recorded with the name of their set, so a name
always stands for the same numbers: other ones get another name.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import xxhash

from wkpipe.errors import NotWritable
from wkpipe.native.libzstd import FIX, Parameters, check_release, compressor, release

LEVEL_OF_SETS: Final = 5
LEVEL_5: Final = "images-fine"
"""The set that is level 5 as it is."""

_LEVEL: Final = 100
_CONTENT_SIZE: Final = 200
_CHECKSUM: Final = 201
_ROW_FINDER: Final = 1011
_ON: Final = 1
_OFF: Final = 2

_GREEDY: Final = 3
_LAZY: Final = 4

_SMALL_BYTES: Final = 16 << 10
"""Chunks up to this size have a window of at most 2^14 bytes, for which zstd does not use the row match finder."""


@dataclass(frozen=True)
class _Search:
    """How matches are searched: logarithms of the sizes of window, hash table and chain table, and of the number of tries; and so on."""

    window: int
    hash: int
    chain: int
    tries: int
    min_match: int
    target: int
    strategy: int
    rows: bool

    def numbered(self) -> Iterator[tuple[int, int]]:
        """Yield the numbers of ``ZSTD_cParameter`` with their values."""
        values = (self.window, self.hash, self.chain, self.tries, self.min_match, self.target, self.strategy)
        yield from enumerate(values, start=101)
        yield _ROW_FINDER, _ON if self.rows else _OFF


_LEVEL_5: Final = (
    (_SMALL_BYTES, _Search(14, 14, 14, 3, 4, 4, _LAZY, rows=False)),
    (128 << 10, _Search(17, 17, 16, 3, 4, 2, _GREEDY, rows=True)),
    (256 << 10, _Search(18, 18, 17, 5, 5, 2, _GREEDY, rows=True)),
    (None, _Search(21, 19, 18, 3, 5, 2, _GREEDY, rows=True)),
)
"""What level 5 of libzstd 1.5.7 uses, for chunks up to these bytes."""

_REST: Final = (
    (130, 0),  # no target for the size of compressed blocks
    (160, _OFF),  # long distance matching
    (202, 0),  # no id of a dictionary
    (400, 0),  # no threads
    (1002, _ON),  # literals are compressed
    (1010, _OFF),  # blocks are not split after their sequences are known
    (1015, 128 << 10),  # the largest block
    (1017, 4),  # blocks are split before, as by default with these strategies
)

SETS: Final = (LEVEL_5, "images-coarse", "labels-fine", "labels-coarse")

_FINE_VOXELS: Final = {"images": 1, "labels": 4}
"""The most voxels of mag 1 in a voxel of a mag that is fine; measured by bench/zstd_sets.py."""


def set_for(is_labels: bool, voxels: int) -> str:
    """Return the set for a mag whose voxels have this many voxels of mag 1."""
    category = "labels" if is_labels else "images"
    return f"{category}-{'fine' if voxels <= _FINE_VOXELS[category] else 'coarse'}"


def _search(name: str, size: int) -> _Search:
    level = next(search for most, search in _LEVEL_5 if most is None or size <= most)
    if size <= _SMALL_BYTES or name == LEVEL_5 or (name == "labels-fine" and size > 128 << 10):
        return level
    if name == "images-coarse":
        return replace(level, tries=5, min_match=5, rows=False)
    min_match = 5 if name == "labels-fine" else level.min_match
    return replace(level, tries=max(level.tries, 4), min_match=min_match, rows=False)


@functools.cache
def set_parameters(name: str, checksum: bool, size: int) -> Parameters:
    """Return the parameters of a set for chunks of `size` bytes."""
    return ((_LEVEL, LEVEL_OF_SETS), *_search(name, size).numbered(), *_REST, (_CONTENT_SIZE, 1), (_CHECKSUM, int(checksum)))


@functools.cache
def level_parameters(level: int, checksum: bool, size: int) -> Parameters:
    """Return zstd's own level for chunks of `size` bytes, as a CPU with vectors of 128 bits uses it: all x86-64 and AArch64 do."""
    rows = _ON if size > _SMALL_BYTES else _OFF
    return ((_LEVEL, level), (_ROW_FINDER, rows), (_CONTENT_SIZE, 1), (_CHECKSUM, int(checksum)))


# -- golden frames --------------------------------------------------------------------------------------------------

GOLDEN_BYTES: Final = 32 << 10

GOLDEN: Final = {
    "images-fine": "953740946ea80b82",
    "images-coarse": "a9d5c5ba444665ea",
    "labels-fine": "a9d5c5ba444665ea",
    "labels-coarse": "d52cf88b7a47eb6c",
}
"""The XXH3-64 of the frame of `made_up_chunk(GOLDEN_BYTES)` with a checksum, for each set."""


def made_up_chunk(size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return bytes that are partly like labels and partly noise, always the same."""
    i = np.arange(size // 4, dtype=np.uint32)
    labels = (i >> 4) % 23 * 977 + (i >> 10)
    noise = i * np.uint32(2654435761) >> 26
    return np.where(i >> 7 & 3 == 0, noise, labels).astype("<u4").view(np.uint8)


def golden_of(name: str, size: int = GOLDEN_BYTES) -> str:
    """Return the hash of the frame of the made-up chunk."""
    chunk, frame = made_up_chunk(size), np.empty(2 * size, np.uint8)
    (length,) = compressor(set_parameters(name, True, size)).compress([chunk.ctypes.data], size, frame.ctypes.data, len(frame))
    return xxhash.xxh3_64_hexdigest(frame[:length].data)


@functools.cache
def check_frames(name: str) -> None:
    """Refuse to write with a libzstd that makes other frames of a set than the recorded ones; once a process, below 1 ms.

    Raises:
        NotWritable: the release is another one, or its frames are others.
    """
    check_release()
    if (found := golden_of(name)) != GOLDEN[name]:
        where = f"parameters {name} of libzstd {release()}"
        raise NotWritable("the made-up chunk gets another frame", where=where, found=found, expected=GOLDEN[name], fix=FIX)

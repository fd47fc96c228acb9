"""Read the files of a unit and return their proof; see `wkpipe.storage.digest` for what a digest covers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import google_crc32c
import numpy as np

from wkpipe.errors import DamagedShard
from wkpipe.formats.base import Voxels
from wkpipe.formats.open_files import Damage, OpenFile, OpenShard, ShardIndex, status_of, unreadable
from wkpipe.storage.commit import FileProof
from wkpipe.storage.digest import DIGEST_BYTES, BlocksDigest, RestDigest, digest_of, files_digest, shard_digest, table_stamp
from wkpipe.storage.proof import FILL, MTIME, MTIMES, Stamp, UnitProof

READ_BYTES = 4 << 20

_REST = -1

Segment = tuple[int, int, int]
"""A part of a shard: the chunk's place in the index (`_REST`: bytes of no chunk), first byte and end."""


def read_file(path: str) -> FileProof | None:
    """Read a file without a known inner layout; None if there is none.

    Raises:
        UnreadableInput, DamagedShard: it cannot be read, or changed while it was read.
    """
    with _explained(path):
        file = _opened(path)
        return None if file is None else _read_blocks(file)


def read_shard(path: str, load: Callable[[OpenFile], OpenShard]) -> FileProof | None:
    """Read a storage shard; None if there is none. One whose index cannot be read has a digest that no sound one has.

    `load` reads and checks the index.

    Raises: as `read_file`.
    """
    with _explained(path):
        file = _opened(path)
        if file is None:
            return None
        try:
            index = load(file).index
        except Damage:
            return _read_blocks(file)
        segments = _segments(index, file.size)
        return _read_blocks(file) if segments is None else _read_shard(file, index, segments)


def _shard_digest(size: int, index: ShardIndex, digests: Voxels, rest: RestDigest) -> str:
    """Return the identity of a shard; `digests` (chunks, 16) are those of its chunks in index order."""
    stored = index.offsets >= 0
    entries = np.stack([np.where(stored, index.offsets, -1), np.where(stored, index.sizes, 0)], axis=-1).astype("<i8")
    return shard_digest(size, entries.tobytes(), digests[stored.ravel()].tobytes(), rest.value)


def _read_shard(file: OpenFile, index: ShardIndex, segments: list[Segment]) -> FileProof:
    digests = np.zeros((index.offsets.size, DIGEST_BYTES), np.uint8)
    rest, crc = RestDigest(), 0
    for together in _read_together(segments):
        low = together[0][1]
        data = file.read(low, together[-1][2] - low)
        crc = google_crc32c.extend(crc, data)
        view = memoryview(data)
        for place, first, end in together:
            if place == _REST:
                rest.add(view[first - low : end - low])
            else:
                digests[place] = np.frombuffer(digest_of(view[first - low : end - low]), np.uint8)
    return FileProof(file.size, crc, file.stat.st_mtime_ns, _shard_digest(file.size, index, digests, rest))


def _segments(index: ShardIndex, size: int) -> list[Segment] | None:
    """Cut a shard into chunks and other bytes, in file order; None if chunks overlap, as no writer of shards leaves them."""
    offsets, sizes = index.offsets.ravel(), index.sizes.ravel()
    places = np.nonzero(offsets >= 0)[0]
    places = places[np.lexsort((sizes[places], offsets[places]))]
    starts, ends = offsets[places], offsets[places] + sizes[places]
    if (starts[1:] < ends[:-1]).any():
        return None
    segments: list[Segment] = []
    at = 0
    for place, first, end in zip(places.tolist(), starts.tolist(), ends.tolist(), strict=True):
        segments += _between(at, first)
        segments.append((place, first, end))
        at = end
    return [*segments, *_between(at, size)]


def _between(first: int, end: int) -> Iterator[Segment]:
    """Yield the parts of a run of bytes that belong to no chunk."""
    return ((_REST, low, min(low + READ_BYTES, end)) for low in range(first, end, READ_BYTES))


def _read_together(segments: list[Segment]) -> Iterator[list[Segment]]:
    """Yield runs of segments that are worth a read."""
    together: list[Segment] = []
    for segment in segments:
        together.append(segment)
        if segment[2] - together[0][1] >= READ_BYTES:
            yield together
            together = []
    if together:
        yield together


def _read_blocks(file: OpenFile) -> FileProof:
    digest, crc = BlocksDigest(), 0
    for offset in range(0, file.size, READ_BYTES):
        data = file.read(offset, min(READ_BYTES, file.size - offset))
        crc = google_crc32c.extend(crc, data)
        digest.add(data)
    return FileProof(file.size, crc, file.stat.st_mtime_ns, digest.value)


def _opened(path: str) -> OpenFile | None:
    if status_of(path) is None:
        return None
    try:
        return OpenFile(path)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unreadable(path, error) from error
    except Damage as error:
        raise DamagedShard(f"{path}: {error}; it changed while it was read") from error


# -- proofs ---------------------------------------------------------------------------------------------------------


def proof_of_file(read: FileProof | None) -> UnitProof | None:
    """Return the proof of a unit that is one file."""
    return None if read is None else UnitProof(1, read.size, read.crc32c, Stamp(MTIME, read.mtime_ns), read.digest)


def proof_of_written(file: FileProof, index: ShardIndex, digests: Voxels, rest: Iterable[bytes]) -> UnitProof:
    """Return the proof of a shard that was just written: `digests` (grid, 16) of its chunks, `rest` all other bytes in file order."""
    others = RestDigest()
    for part in rest:
        others.add(part)
    digest = _shard_digest(file.size, index, digests.reshape(-1, DIGEST_BYTES), others)
    return UnitProof(1, file.size, file.crc32c, Stamp(MTIME, file.mtime_ns), digest)


def proof_of_files(files: Mapping[str, FileProof]) -> UnitProof:
    """Return the proof of a block of chunk files, by key."""
    if not files:
        return FILL
    crc = 0
    for key, read in sorted(files.items()):
        crc = google_crc32c.extend(crc, f"{key} {read.size} {read.crc32c:08x}\n".encode())
    stamp = Stamp(MTIMES, table_stamp({key: (read.size, read.mtime_ns) for key, read in files.items()}))
    digest = files_digest({key: (read.size, read.digest) for key, read in files.items()})
    return UnitProof(len(files), sum(read.size for read in files.values()), crc, stamp, digest)

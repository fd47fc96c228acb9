"""Read the files of a unit and return their proof; see `wkpipe.storage.digest` for what a digest covers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import google_crc32c
import numpy as np

from wkpipe.errors import DamagedShard
from wkpipe.formats.base import Flags, Ints, Voxels
from wkpipe.formats.open_files import OpenShard, ShardIndex
from wkpipe.formats.waiting import read_each
from wkpipe.storage.commit import FileProof
from wkpipe.storage.digest import DIGEST_BYTES, BlocksDigest, RestDigest, digest_of, files_digest, shard_digest, table_stamp
from wkpipe.storage.opened import Damage, unreadable
from wkpipe.storage.place import Opened, Place
from wkpipe.storage.proof import FILL, MTIME, MTIMES, Stamp, UnitProof

READ_BYTES = 4 << 20
MOST_READS = 4
SLOW_SECONDS = 0.008
"""Such reads are done side by side, `MOST_READS` at a time, if they take longer."""

_REST = -1

Segment = tuple[int, int, int]
"""A part of a shard: the chunk's place in the index (`_REST` for bytes of no chunk), first byte and end."""


def read_file(place: Place, key: str) -> FileProof | None:
    """Read a file and return its proof, without regard to what it holds; None if there is no file.

    Raises:
        UnreadableInput, DamagedShard: it cannot be read, or changed while it was read.
    """
    with _explained(f"{place}/{key}"):
        file = place.open(key)
        return None if file is None else _read_blocks(file)


def read_shard(place: Place, key: str, load: Callable[[Opened], OpenShard], known: OpenShard | None = None) -> FileProof | None:
    """Read a storage shard and return its proof; None if there is no file.

    `load` reads and checks the index, unless it is `known`. A shard with an unreadable index gets a digest that no sound shard has.

    Raises: as `read_file`.
    """
    with _explained(f"{place}/{key}"):
        file = place.open(key) if known is None else known.file
        if file is None:
            return None
        try:
            index = (known or load(file)).index
        except Damage:
            return _read_blocks(file)
        segments = _segments(index, file.size)
        return _read_blocks(file) if segments is None else _read_shard(file, index, segments)


def _shard_digest(size: int, index: ShardIndex, digests: Voxels, rest: RestDigest) -> str:
    """Return the digest of a shard; `digests` (chunks, 16) are the digests of its chunks in index order."""
    offsets, sizes = index.offsets.ravel(), index.sizes.ravel()
    places = np.flatnonzero(offsets >= 0)  # few: a small shard has as large an index as any
    entries = np.zeros((offsets.size, 2), "<i8")
    entries[:, 0] = -1
    entries[places, 0], entries[places, 1] = offsets[places], sizes[places]
    return shard_digest(size, entries.data.cast("B"), digests[places].tobytes(), rest.value)


def _read_shard(file: Opened, index: ShardIndex, segments: list[Segment]) -> FileProof:
    places: list[int] = []
    found: list[bytes] = []
    rest, crc = RestDigest(), 0

    def read(together: list[Segment]) -> bytes:
        return file.read(together[0][1], together[-1][2] - together[0][1])

    runs = list(_read_together(segments))
    for together, data in zip(runs, read_each(read, runs, MOST_READS, SLOW_SECONDS), strict=True):
        low = together[0][1]
        crc = google_crc32c.extend(crc, data)
        view = memoryview(data)
        for place, first, end in together:
            if place == _REST:
                rest.add(view[first - low : end - low])
            else:
                places.append(place)
                found.append(digest_of(view[first - low : end - low]))
    digests = np.zeros((index.offsets.size, DIGEST_BYTES), np.uint8)
    digests[places] = np.frombuffer(b"".join(found), np.uint8).reshape(-1, DIGEST_BYTES)
    return FileProof(file.size, crc, file.facts.modified_ns, _shard_digest(file.size, index, digests, rest))


def digest_of_rest(
    place: Place, key: str, load: Callable[[Opened], OpenShard], is_known: Flags, digests: Voxels, known: OpenShard | None = None
) -> str | None:
    """Return the digest of a shard as `read_shard` does, reading only chunks whose `digests` are not known, by their place in the index.

    `load` reads and checks the index, unless it is `known`. None if there is no file, or no sound index.

    Raises: as `read_file`.
    """
    with _explained(f"{place}/{key}"):
        file = place.open(key) if known is None else known.file
        if file is None:
            return None
        try:
            index = (known or load(file)).index
        except Damage:
            return None
        if (chunks := _chunks_in_file_order(index)) is None:
            return None
        places, starts, ends = chunks
        rest, digests = RestDigest(), digests.copy()
        lows, highs = np.append(0, ends), np.append(starts, file.size)
        gaps = np.flatnonzero(lows < highs)
        for low, high in zip(lows[gaps].tolist(), highs[gaps].tolist(), strict=True):
            for _, first, end in _between(low, high):
                rest.add(file.read(first, end - first))
        unread = np.flatnonzero(~is_known[places])
        for at, first, end in zip(places[unread].tolist(), starts[unread].tolist(), ends[unread].tolist(), strict=True):
            digests[at] = np.frombuffer(digest_of(file.read(first, end - first)), np.uint8)
        return _shard_digest(file.size, index, digests, rest)


def _segments(index: ShardIndex, size: int) -> list[Segment] | None:
    """Cut a shard into chunks and other bytes, in file order; None if chunks overlap, which no writer of shards does."""
    if (chunks := _chunks_in_file_order(index)) is None:
        return None
    places, starts, ends = chunks
    segments: list[Segment] = []
    at = 0
    for place, first, end in zip(places.tolist(), starts.tolist(), ends.tolist(), strict=True):
        if at < first:
            segments += _between(at, first)
        segments.append((place, first, end))
        at = end
    return [*segments, *_between(at, size)]


def _chunks_in_file_order(index: ShardIndex) -> tuple[Ints, Ints, Ints] | None:
    """Return the places in the index, first bytes and ends of the stored chunks of a shard; None if chunks overlap."""
    offsets, sizes = index.offsets.ravel(), index.sizes.ravel()
    places = np.flatnonzero(offsets >= 0)
    places = places[np.lexsort((sizes[places], offsets[places]))]
    starts, ends = offsets[places], offsets[places] + sizes[places]
    return None if (starts[1:] < ends[:-1]).any() else (places, starts, ends)


def _between(first: int, end: int) -> Iterator[Segment]:
    """Yield the segments of a run of bytes that belongs to no chunk."""
    return ((_REST, low, min(low + READ_BYTES, end)) for low in range(first, end, READ_BYTES))


def _read_together(segments: list[Segment]) -> Iterator[list[Segment]]:
    """Yield runs of segments, each large enough for one read."""
    together: list[Segment] = []
    for segment in segments:
        together.append(segment)
        if segment[2] - together[0][1] >= READ_BYTES:
            yield together
            together = []
    if together:
        yield together


def _read_blocks(file: Opened) -> FileProof:
    digest, crc = BlocksDigest(), 0

    def read(offset: int) -> bytes:
        return file.read(offset, min(READ_BYTES, file.size - offset))

    for data in read_each(read, range(0, file.size, READ_BYTES), MOST_READS, SLOW_SECONDS):
        crc = google_crc32c.extend(crc, data)
        digest.add(data)
    return FileProof(file.size, crc, file.facts.modified_ns, digest.value)


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unreadable(path, error) from error
    except Damage as error:
        raise DamagedShard(str(error), where=path, fix="it changed while it was read: try again") from error


# -- proofs ---------------------------------------------------------------------------------------------------------


def proof_of_file(read: FileProof | None) -> UnitProof | None:
    """Return the proof of a unit that is one file; None if there is no file."""
    return None if read is None else UnitProof(1, read.size, read.crc32c, Stamp(MTIME, read.mtime_ns), read.digest)


def proof_of_written(file: FileProof, index: ShardIndex, digests: Voxels, rest: Iterable[bytes]) -> UnitProof:
    """Return the proof of a written shard; `digests` (grid, 16) are of its chunks, `rest` is all other bytes in file order."""
    others = RestDigest()
    for part in rest:
        others.add(part)
    digest = _shard_digest(file.size, index, digests.reshape(-1, DIGEST_BYTES), others)
    return UnitProof(1, file.size, file.crc32c, Stamp(MTIME, file.mtime_ns), digest)


def proof_of_files(files: Mapping[str, FileProof]) -> UnitProof:
    """Return the proof of a block of chunk files, by key."""
    if not files:
        return FILL
    crc, files = 0, dict(sorted(files.items()))  # sorted once: it is cheap to sort again
    for key, read in files.items():
        crc = google_crc32c.extend(crc, f"{key} {read.size} {read.crc32c:08x}\n".encode())
    stamp = Stamp(MTIMES, table_stamp({key: (read.size, read.mtime_ns) for key, read in files.items()}))
    digest = files_digest({key: (read.size, read.digest) for key, read in files.items()})
    return UnitProof(len(files), sum(read.size for read in files.values()), crc, stamp, digest)

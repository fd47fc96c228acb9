"""ChunkReader: read one chunk of a file in small pieces, and make sure that the file does not change meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from wkpipe.errors import DamagedShard, IntegrityError, UnreadableInput
from wkpipe.server.upload.datastore import Chunk
from wkpipe.server.upload.source_file import GONE, NO_FILE, WRITTEN, SourceFile, reason_of
from wkpipe.storage.opened import Damage
from wkpipe.storage.place import Opened, Place

PIECE_BYTES: Final = 512 << 10


class ChunkReader:
    """Reads one chunk of a file that must not change meanwhile. `sent` counts the bytes that were read in this attempt."""

    def __init__(self, place: Place, source: SourceFile, chunk: Chunk, count: Callable[[int], None]) -> None:
        self._place = place
        self._path = place.path(source.path)
        self._source = source
        self._chunk = chunk
        self._count = count
        self.sent = 0

    def pieces(self) -> Iterator[bytes]:
        """Yield the chunk's bytes.

        Raises:
            IntegrityError: the file is not the one that the upload began with.
            UnreadableInput: the file cannot be read.
        """
        chunk = self._chunk
        if self._source.content is not None:
            if difference := self._source.differs_in(self._place):
                raise changed(self._path, difference)
            yield self._given(self._source.content[chunk.offset : chunk.offset + chunk.size])
            return
        try:
            yield from map(self._given, self._pieces_of_file())
        except (UnreadableInput, DamagedShard, OSError) as error:
            if not (reason := str(error.strerror or error) if isinstance(error, OSError) else reason_of(error)):
                raise changed(self._path, NO_FILE) from None
            raise UnreadableInput(reason, where=self._path, fix="make it readable, then run the same command: it resumes") from None

    def _pieces_of_file(self) -> Iterator[bytes]:
        opened = self._place.open(self._source.path)
        if opened is None:
            raise changed(self._path, GONE)
        if difference := self._source.difference(opened.facts):
            raise changed(self._path, difference)
        at, end = self._chunk.offset, self._chunk.offset + self._chunk.size
        while at < end:
            try:
                piece = opened.read(at, min(PIECE_BYTES, end - at))
            except Damage:
                self._check_current(opened)
                raise changed(self._path, "it ended early") from None
            at += len(piece)
            if at == end:
                # Before the last bytes are sent: a chunk that the server has as a whole was whole.
                self._check_current(opened)
            yield piece

    def _check_current(self, opened: Opened) -> None:
        """Check that the file is still the one that was opened."""
        if not self._place.is_current(self._source.path, opened):
            raise changed(self._path, self._source.differs_in(self._place) or WRITTEN)

    def _given(self, piece: bytes) -> bytes:
        self.sent += len(piece)
        self._count(len(piece))
        return piece


def changed(path: Path, how: str) -> IntegrityError:
    """Return the error for a file that changed since the upload began."""
    return IntegrityError(
        f"{path} has changed since its upload began: {how}", fix="when the dataset no longer changes, upload it again with --again"
    )

"""Transfer: send missing chunks, several at once, each streamed from the disk in small pieces."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from wkpipe.errors import ServerError
from wkpipe.server.http.answer import Answer
from wkpipe.server.http.background import in_background
from wkpipe.server.http.broken import NoAnswer
from wkpipe.server.http.connection import Patience
from wkpipe.server.http.policy import TRIED_AGAIN
from wkpipe.server.upload.chunk_reader import ChunkReader
from wkpipe.server.upload.datastore import Chunk, Datastore
from wkpipe.server.upload.journal import Journal
from wkpipe.storage.place import Place

LEAST_CHUNK_BYTES = 1 << 20
"""Chunks that a server refuses as too large are not made smaller than this."""

ASK_FROM_BYTES = 64 << 10
"""Chunks of at least this size are sent again, after an attempt that may have arrived, only if the server does not have them."""


class UploadLost(Exception):
    """The server does not know the upload (any more)."""


class Transfer:
    """Sends the files of a journal to a datastore. `moved` is given the bytes that are there or on their way."""

    def __init__(self, place: Place, journal: Journal, datastore: Datastore, jobs: int, moved: Callable[[int, int], None]) -> None:
        self._place = place
        self._journal = journal
        self._datastore = datastore
        self._network = datastore.connection.network
        self._jobs = jobs
        self._moved = moved
        self._patience = Patience(self._network)
        self._lock = threading.Lock()
        self._total = journal.total
        self._bytes = journal.done
        self._broke_off = -1e9

    # -- sending ------------------------------------------------------------------------------------------------

    def send_all(self) -> None:
        """Send all missing chunks; those of the last file (the properties) when all others are on the server.

        Raises:
            IntegrityError: a file changes while it is sent.
            ServerError: the server refuses, or does not answer for too long.
            UploadLost: the server does not know the upload.
        """
        last = len(self._journal.files) - 1
        self._patience.progressed()
        self._moved(self._bytes, self._total)
        self._send_files(range(last))
        self._send_files(range(last, last + 1))

    def settle(self) -> None:
        """Wait until the server must have finished writing the data of attempts that failed."""
        left = self._broke_off + self._network.policy.settle - time.monotonic()
        if left > 0:
            self._network.wait(left)

    def _send_files(self, files: Iterable[int]) -> None:
        schedule = _Schedule(self._journal, files)

        def work() -> None:
            try:
                while (chunk := schedule.take()) is not None:
                    self._send(chunk, schedule)
                    schedule.accepted(chunk[0])
            except BaseException:
                schedule.stop()
                raise

        try:
            in_background(self._network, [work] * self._jobs, lambda: self._moved(self._bytes, self._total))
        finally:
            schedule.stop()

    def _send(self, which: tuple[int, int], schedule: _Schedule) -> None:
        """Send one chunk until the server has it."""
        journal, (file, number) = self._journal, which
        journal.begin(file, number)
        may_be_there = False
        for attempt in itertools.count():
            source = journal.files[file]
            chunk = Chunk(file, source.path, number, journal.chunks_of(file), journal.chunk_bytes[file], journal.bytes_of(file, number))
            if may_be_there and chunk.size >= ASK_FROM_BYTES and self._datastore.ask_has(chunk.path, number):
                self._count(chunk.size)
                break
            reader = ChunkReader(self._place, source, chunk, self._count)
            try:
                answer = self._datastore.send(chunk, source.size, len(journal.files), reader.pieces)
            except BaseException as error:
                self._count(-reader.sent)
                self._broke_off = time.monotonic()
                if not isinstance(error, NoAnswer):
                    raise
                may_be_there = may_be_there or error.was_sent
                why = ServerError(str(error), where=f"{chunk.path}: {self._datastore.connection.base}")
                self._patience.wait(why, attempt=attempt)
                continue
            if answer.is_ok:
                break
            self._count(-reader.sent)
            if answer.status in TRIED_AGAIN:
                may_be_there = True
                self._broke_off = time.monotonic()
                why = ServerError(f"{self._datastore.connection.base} answers {answer}", where=chunk.path)
                self._patience.wait(why, answer.retry_after, attempt)
            elif answer.status == 413:
                self._shrink(chunk, answer, schedule)
            elif answer.status == 400 and self._is_there_after_all(chunk):
                self._count(chunk.size)
                break
            else:
                raise self._datastore.connection.refusal(f"sending {chunk.path}", answer)
        journal.accept(file, number)
        self._patience.progressed()

    def _shrink(self, chunk: Chunk, answer: Answer, schedule: _Schedule) -> None:
        """Halve the chunks of a file that the server has nothing of."""
        smaller = max(LEAST_CHUNK_BYTES, min(chunk.nominal, chunk.size) // 2)
        if self._journal.has_any(chunk.file) or smaller >= chunk.size:
            refusal = self._datastore.connection.refusal(f"sending {chunk.path} in chunks of {chunk.size} bytes", answer)
            raise refusal.but(fix="upload again with a smaller --chunk-size and --again")
        self._journal.resize(chunk.file, smaller)
        schedule.limit = min(schedule.limit, smaller)

    def _is_there_after_all(self, chunk: Chunk) -> bool:
        has = self._datastore.ask_has(chunk.path, chunk.number)
        if has is None:
            raise UploadLost
        return has

    def _count(self, size: int) -> None:
        with self._lock:
            self._bytes += size

    # -- asking -------------------------------------------------------------------------------------------------

    def ask_for(self, chunks: Iterable[tuple[int, int]]) -> bool:
        """Ask the server for chunks (file, number), note in the journal which it has, and return True if it has all.

        Raises:
            UploadLost: the server does not know the upload.
        """
        journal, waiting, answers = self._journal, deque(chunks), set[bool | None]()

        def ask() -> None:
            while waiting and None not in answers:
                try:
                    file, number = waiting.popleft()
                except IndexError:  # another thread was faster
                    return
                has = self._datastore.ask_has(journal.files[file].path, number)
                answers.add(has)
                if has is not None:
                    (journal.accept if has else journal.withdraw)(file, number)

        in_background(self._network, [ask] * self._jobs, lambda: None)
        self._bytes = journal.done
        if None in answers:
            raise UploadLost
        return False not in answers


class _Schedule:
    """Hands out the missing chunks, file by file. Thread-safe.

    The first chunk of a file is sent alone: until the server has accepted it, the size of the file's chunks can be changed.
    """

    def __init__(self, journal: Journal, files: Iterable[int]) -> None:
        self.limit = 1 << 40
        self._journal = journal
        self._files = iter(files)
        self._open: deque[tuple[int, Iterator[int]]] = deque()
        self._alone: set[int] = set()
        self._is_over = False
        self._changed = threading.Condition()

    def take(self) -> tuple[int, int] | None:
        """Return the next chunk (file, number), if needed after waiting for it; None if there are no more."""
        with self._changed:
            while not self._is_over:
                if self._open:
                    file, numbers = self._open[0]
                    number = next(numbers, None)
                    if number is not None:
                        return file, number
                    self._open.popleft()
                elif (next_file := next(self._files, None)) is not None:
                    if (taken := self._begun(next_file)) is not None:
                        return taken
                elif self._alone:
                    self._changed.wait()
                else:
                    break
            return None

    def _begun(self, file: int) -> tuple[int, int] | None:
        """Begin with a file; return its first chunk if that is sent alone."""
        if self._journal.has_any(file):
            self._open.append((file, self._journal.missing(file)))
            return None
        if self._journal.chunk_bytes[file] > self.limit:
            self._journal.resize(file, self.limit)
        self._alone.add(file)
        return file, 1

    def accepted(self, file: int) -> None:
        """Note that a chunk of a file is on the server."""
        with self._changed:
            if file in self._alone:
                self._alone.discard(file)
                if self._journal.chunks_of(file) > 1:
                    self._open.append((file, self._journal.missing(file)))
                self._changed.notify_all()

    def stop(self) -> None:
        """Hand out no more chunks."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

"""Journal: the record of an upload, with which it resumes after any interruption; it never contains the token.

A journal is a directory with two files. ``upload.jsonl`` is written once, as a whole: the target, the upload's id, and the
files in the order in which they are sent. ``<upload id>.log`` grows by a line for every chunk that is begun or accepted and
for every event. Lines end in the CRC-32C of the text before; a line that a crash cut short does not count. Lost lines are
harmless, because the server ignores chunks that it already has. Only an event that must not be lost is synced: that finish
was requested.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from wkpipe.errors import MetadataError, TryAgain
from wkpipe.server.upload.source_file import SourceFile
from wkpipe.server.wk_api import DATASET_ID
from wkpipe.storage.appended import AppendedFile
from wkpipe.storage.holder import Holder
from wkpipe.storage.lines import checked_line, content_of_line, lines_of
from wkpipe.storage.lock import MetadataLock
from wkpipe.storage.opened import TooLarge
from wkpipe.storage.place import Place
from wkpipe.storage.removal import remove_place
from wkpipe.stored.places import place_at

FILE_NAME = "upload.jsonl"
VERSION = 1

_MOST_BYTES: Final = 1 << 30
"""More bytes than the journal of ten million files has."""

_LOG_SUFFIX: Final = ".log"
_MOST_CHUNKS = 1 << 32
_UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_KINDS = {"is_reserved": bool, "finish": int, "expected_id": str, "dataset_id": str, "is_usable": bool, "dead": str}


@dataclass(frozen=True)
class Head:
    """The target of an upload. `before`: the user's datasets of that name that already existed; None = not known."""

    upload_id: str
    url: str
    datastore: str
    api: int
    organization: str
    user_id: str
    name: str
    folder_id: str | None
    before: tuple[str, ...] | None


@dataclass
class Events:
    """The events so far. `finish`: how often it was requested without an answer; `dead`: why the upload cannot be resumed."""

    is_reserved: bool = False
    finish: int = 0
    expected_id: str | None = None
    dataset_id: str | None = None
    is_usable: bool = False
    dead: str | None = None

    def apply(self, events: Mapping[str, Any]) -> None:
        """Accept events of the right types only: the journal came with the dataset, and its ids become parts of addresses."""
        for name, value in events.items():
            kind = _KINDS.get(name)
            is_good = kind is not None and (isinstance(value, kind) or (kind is str and value is None))
            if is_good and (not name.endswith("_id") or value is None or DATASET_ID.fullmatch(value)):
                setattr(self, name, value)


class UploadLock(MetadataLock):
    """Keeps two processes from working on one upload."""

    def __init__(self, directory: Path) -> None:
        super().__init__(place_at(directory.parent), timeout=0.0, name=f"{directory.name}.lock")

    def _busy(self, holder: Holder | None) -> TryAgain:
        who = holder or "an unknown process"
        return TryAgain(f"{who} is working on this upload", where=self.path, fix="wait for it, or remove that file if the process is gone")


class Journal:
    """An open journal; `place` is its directory. Thread-safe."""

    def __init__(self, place: Place, head: Head, files: tuple[SourceFile, ...], chunk_bytes: Iterable[int]) -> None:
        self.head = head
        self.files = files
        self.chunk_bytes = list(chunk_bytes)
        self.events = Events()
        self._accepted: set[int] = set()
        self._begun: set[int] = set()
        self._accepted_of = [0] * len(files)
        self._lock = threading.Lock()
        self._place = place
        self._log = AppendedFile(place, _log_key(head))

    # -- begin and end ------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, place: Place, head: Head, files: tuple[SourceFile, ...], chunk_bytes: int) -> Journal:
        """Create a journal, in place of an old one if there is one."""
        lines = [checked_line({"version": VERSION, "files": len(files), "chunk_bytes": chunk_bytes, **asdict(head)})]
        lines += [checked_line([file.path, file.size, file.stamp]) for file in files]
        place.put(FILE_NAME, b"".join(lines))
        place.remove([name for name in place.names() if name.endswith(_LOG_SUFFIX)])
        return cls(place, head, files, [chunk_bytes] * len(files))

    @classmethod
    def load(cls, place: Place) -> Journal | None:
        """Open the journal in a directory; None if there is none.

        Raises:
            MetadataError: it is damaged.
            UnreadableInput, DamagedShard: it cannot be read.
        """
        damaged = MetadataError("the journal of an upload is damaged", where=place.path(FILE_NAME), fix="upload again with --again")
        try:
            content = place.content(FILE_NAME, _MOST_BYTES)
        except TooLarge:
            raise damaged from None
        if content is None:
            return None
        try:
            first, *rest = map(content_of_line, content.splitlines())
            if first.pop("version") != VERSION:
                raise ValueError
            files = tuple(_source_file(*line) for line in rest)
            count, chunk_bytes = int(first.pop("files")), int(first.pop("chunk_bytes"))
            before = first.pop("before")
            head = Head(**first, before=None if before is None else tuple(before))
            if count != len(files) or chunk_bytes < 1 or not _UPLOAD_ID.fullmatch(head.upload_id):
                raise ValueError
        except (ValueError, TypeError, KeyError, AttributeError):
            raise damaged from None
        journal = cls(place, head, files, [chunk_bytes] * len(files))
        log = place.open(_log_key(head))
        for line in () if log is None else lines_of(log):
            with contextlib.suppress(ValueError, TypeError, KeyError, IndexError):
                journal._apply(content_of_line(line))
        return journal

    def remove(self) -> None:
        """Delete the journal, which forgets the upload."""
        self.close()
        remove_journal(self._place)

    def close(self) -> None:
        with self._lock:
            self._log.close()

    # -- write --------------------------------------------------------------------------------------------------

    def begin(self, file: int, number: int) -> None:
        """Note that chunk `number` (from 1) of a file is about to be sent."""
        self._note({"begin": [file, number]})

    def accept(self, file: int, number: int) -> None:
        """Note that the server has a chunk."""
        self._note({"accept": [file, number]})

    def withdraw(self, file: int, number: int) -> None:
        """Note that the server does not have a chunk that counted as accepted."""
        self._note({"withdraw": [file, number]})

    def resize(self, file: int, chunk_bytes: int) -> None:
        """Note that a file is sent in chunks of another size; the server must have nothing of it yet."""
        self._note({"size": [file, chunk_bytes]})

    def note(self, **events: Any) -> None:
        """Note events (see `Events`), durably."""
        self._note({"event": events})
        with self._lock:
            self._log.sync()

    def _note(self, content: Mapping[str, Any]) -> None:
        with self._lock:
            self._log.add(checked_line(content))
            self._apply(content)

    def _apply(self, content: Mapping[str, Any]) -> None:
        (kind, value), *_ = content.items()
        if kind == "event":
            self.events.apply(value)
            return
        file, number = map(int, value)
        if not 0 <= file < len(self.files) or number < 1:
            raise IndexError
        if kind == "size":
            self.chunk_bytes[file] = number
            return
        key = file * _MOST_CHUNKS + number
        if kind == "begin":
            self._begun.add(key)
        elif kind == "accept" and key not in self._accepted:
            self._accepted.add(key)
            self._accepted_of[file] += 1
            self._begun.discard(key)
        elif kind == "withdraw" and key in self._accepted:
            self._accepted.discard(key)
            self._accepted_of[file] -= 1

    # -- read ---------------------------------------------------------------------------------------------------

    def chunks_of(self, file: int) -> int:
        """Return how many chunks a file has."""
        return -(-self.files[file].size // self.chunk_bytes[file])

    def bytes_of(self, file: int, number: int) -> int:
        """Return the size of a chunk."""
        return min(self.chunk_bytes[file], self.files[file].size - (number - 1) * self.chunk_bytes[file])

    def has(self, file: int, number: int) -> bool:
        """True if the server has accepted a chunk."""
        return file * _MOST_CHUNKS + number in self._accepted

    def has_any(self, file: int) -> bool:
        """True if the server has a part of a file."""
        return self._accepted_of[file] > 0

    def missing(self, file: int) -> Iterator[int]:
        """Yield the chunks of a file that the server has not accepted."""
        count = self.chunks_of(file)
        if self._accepted_of[file] < count:
            yield from (number for number in range(1, count + 1) if not self.has(file, number))

    def in_doubt(self) -> list[tuple[int, int]]:
        """Return the chunks (file, number) that were begun and not accepted: the server may have them."""
        return [divmod(key, _MOST_CHUNKS) for key in sorted(self._begun)]

    def accepted(self) -> Iterator[tuple[int, int]]:
        """Yield the chunks (file, number) that the server has accepted."""
        for file in range(len(self.files)):
            if self._accepted_of[file]:
                yield from ((file, number) for number in range(1, self.chunks_of(file) + 1) if self.has(file, number))

    @property
    def total(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def done(self) -> int:
        """The bytes that the server has accepted."""
        return sum(self.bytes_of(file, number) for file, number in self.accepted())


def remove_journal(place: Place) -> None:
    """Remove a journal, whatever its state."""
    place.remove([FILE_NAME])  # first: without it, the rest is no journal
    remove_place(place, place.path().parents[1])


def _log_key(head: Head) -> str:
    return f"{head.upload_id}{_LOG_SUFFIX}"


def _source_file(path: object, size: object, stamp: object) -> SourceFile:
    """Return a file that a line of a journal describes.

    Raises:
        ValueError: it describes none.
    """
    if isinstance(path, str) and isinstance(size, int) and isinstance(stamp, (int, str)):
        return SourceFile(path, size, stamp)
    raise ValueError

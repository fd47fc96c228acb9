"""Journal: what is known of an upload, so that it goes on after anything; it never holds the token.

A journal is a directory with two files. ``upload.jsonl`` is written once, as a whole: whereto, under which id, and the files
in the order in which they are sent. ``<upload id>.log`` grows by a line for every chunk that is begun and accepted and for
every turn of events. Lines end in the CRC-32C of the text before; one that a crash cut short does not count. To lose lines is
harmless: the server ignores chunks that it has already. Only what must not be forgotten (that finish was asked for) is synced.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import google_crc32c

from wkpipe.errors import MetadataError, TryAgain
from wkpipe.server.selection import SourceFile
from wkpipe.server.wk_api import DATASET_ID
from wkpipe.storage import disk
from wkpipe.storage.commit import Scratch, replace_file
from wkpipe.storage.lock import Holder, MetadataLock

FILE_NAME = "upload.jsonl"
VERSION = 1

_MOST_CHUNKS = 1 << 32
_UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_KINDS = {"is_reserved": bool, "finish": int, "expected_id": str, "dataset_id": str, "is_usable": bool, "dead": str}


@dataclass(frozen=True)
class Head:
    """Whereto an upload goes. `before`: the user's datasets of that name that were there already, None = not known."""

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
    """What has happened. `finish`: how often it was asked for without an answer; `dead`: why it can not go on."""

    is_reserved: bool = False
    finish: int = 0
    expected_id: str | None = None
    dataset_id: str | None = None
    is_usable: bool = False
    dead: str | None = None

    def apply(self, events: Mapping[str, Any]) -> None:
        """Take in what is of the right kind, and nothing else: the journal came with the dataset, and its ids become parts of addresses."""
        for name, value in events.items():
            kind = _KINDS.get(name)
            is_good = kind is not None and (isinstance(value, kind) or (kind is str and value is None))
            if is_good and (not name.endswith("_id") or value is None or DATASET_ID.fullmatch(value)):
                setattr(self, name, value)


class UploadLock(MetadataLock):
    """Keeps two processes from working on one upload."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory.parent, timeout=0.0, name=f"{directory.name}.lock")

    def _busy(self, holder: Holder | None) -> TryAgain:
        who = holder or "an unknown process"
        return TryAgain(f"{self.path}: this upload is under way by {who}; wait for it, or remove that file if the process is gone")


class Journal:
    """A journal that is open. Thread-safe."""

    def __init__(self, directory: Path, head: Head, files: tuple[SourceFile, ...], chunk_bytes: Iterable[int]) -> None:
        self.directory = directory
        self.head = head
        self.files = files
        self.chunk_bytes = list(chunk_bytes)
        self.events = Events()
        self._accepted: set[int] = set()
        self._begun: set[int] = set()
        self._accepted_of = [0] * len(files)
        self._lock = threading.Lock()
        self._descriptor = -1

    # -- begin and end ------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, directory: Path, head: Head, files: tuple[SourceFile, ...], chunk_bytes: int) -> Journal:
        """Begin a new one in place of an old one."""
        lines = [_line({"version": VERSION, "files": len(files), "chunk_bytes": chunk_bytes, **asdict(head)})]
        lines += [_line([file.path, file.size, file.stamp]) for file in files]
        disk.make_directory(directory)
        replace_file(directory / FILE_NAME, b"".join(lines), Scratch(directory))
        for old in directory.glob("*.log"):
            disk.unlink(old)
        return cls(directory, head, files, [chunk_bytes] * len(files))

    @classmethod
    def load(cls, directory: Path) -> Journal | None:
        """Read what is there; None where nothing is.

        Raises:
            MetadataError: it is damaged.
        """
        path = directory / FILE_NAME
        try:
            lines = path.read_bytes().splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            first, *rest = map(_parsed, lines)
            if first.pop("version") != VERSION:
                raise ValueError
            files = tuple(SourceFile(str(name), int(size), int(stamp)) for name, size, stamp in rest)
            count, chunk_bytes = int(first.pop("files")), int(first.pop("chunk_bytes"))
            before = first.pop("before")
            head = Head(**first, before=None if before is None else tuple(before))
            if count != len(files) or chunk_bytes < 1 or not _UPLOAD_ID.fullmatch(head.upload_id):
                raise ValueError
        except (ValueError, TypeError, KeyError, AttributeError):
            raise MetadataError(f"{path}: the journal of an upload is damaged; upload anew with --again") from None
        journal = cls(directory, head, files, [chunk_bytes] * len(files))
        with contextlib.suppress(FileNotFoundError), journal._log.open("rb") as file:
            for line in file:
                with contextlib.suppress(ValueError, TypeError, KeyError, IndexError):
                    journal._apply(_parsed(line))
        return journal

    def remove(self) -> None:
        """Forget the upload."""
        self.close()
        remove_journal(self.directory)

    def close(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                disk.close(self._descriptor, self._log)
                self._descriptor = -1

    # -- what is written ----------------------------------------------------------------------------------------

    def begin(self, file: int, number: int) -> None:
        """Note that chunk `number` (from 1) of a file is about to be sent."""
        self._note({"begin": [file, number]})

    def accept(self, file: int, number: int) -> None:
        """Note that the server has a chunk."""
        self._note({"accept": [file, number]})

    def withdraw(self, file: int, number: int) -> None:
        """Note that the server does not have a chunk, although it had seemed so."""
        self._note({"withdraw": [file, number]})

    def resize(self, file: int, chunk_bytes: int) -> None:
        """Note that a file of which the server has nothing yet is sent in chunks of another size."""
        self._note({"size": [file, chunk_bytes]})

    def note(self, **events: Any) -> None:
        """Note turns of events (see `Events`), durably."""
        self._note({"event": events})
        with self._lock:
            disk.sync(self._descriptor, self._log)

    def _note(self, content: Mapping[str, Any]) -> None:
        with self._lock:
            if self._descriptor < 0:
                self._descriptor = disk.open_append(self._log)
                disk.sync_directory(self.directory)
                # What a crash cut short must not spoil the next line.
                disk.write(self._descriptor, b"\n", self._log)
            disk.write(self._descriptor, _line(content), self._log)
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

    # -- what is known ------------------------------------------------------------------------------------------

    def chunks_of(self, file: int) -> int:
        """Return how many chunks a file has."""
        return -(-self.files[file].size // self.chunk_bytes[file])

    def bytes_of(self, file: int, number: int) -> int:
        """Return the size of a chunk."""
        return min(self.chunk_bytes[file], self.files[file].size - (number - 1) * self.chunk_bytes[file])

    def has(self, file: int, number: int) -> bool:
        """Tell whether the server has accepted a chunk."""
        return file * _MOST_CHUNKS + number in self._accepted

    def has_any(self, file: int) -> bool:
        """Tell whether the server has anything of a file."""
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

    @property
    def _log(self) -> Path:
        return self.directory / f"{self.head.upload_id}.log"


def remove_journal(directory: Path) -> None:
    """Remove a journal, in whatever state it is."""
    if directory.is_dir():
        disk.unlink(directory / FILE_NAME)
        disk.remove_tree(directory, directory.parents[1])
        disk.sync_directory(directory.parent)


def _line(content: Any) -> bytes:
    text = json.dumps(content, separators=(",", ":")).encode()
    return b"%s %08x\n" % (text, google_crc32c.value(text))


def _parsed(line: bytes) -> Any:
    text, _, crc = line.strip().rpartition(b" ")
    if int(crc, 16) != google_crc32c.value(text):
        raise ValueError
    return json.loads(text)

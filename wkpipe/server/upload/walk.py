"""FileWalk: collect the files to send below paths of a dataset, and refuse what cannot be sent."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Final

from wkpipe.errors import DamagedShard, InputRefused, MetadataError, UnreadableInput, one_line
from wkpipe.metadata.properties import PROPERTIES_FILE_NAME
from wkpipe.server.upload.source_file import SourceFile, reason_of
from wkpipe.storage.place import Facts, Place

_HIDDEN_OF_ARRAYS: Final = frozenset({".zarray", ".zattrs", ".zgroup", ".zmetadata"})
_ODD: Final = re.compile(r"[\x00-\x1f\x7f\\]")


class _FileGone(Exception):
    """A file or directory that the properties name does not exist."""


class FileWalk:
    """Collects the files below paths of a dataset. Links are followed within the dataset, but not in circles."""

    def __init__(self, place: Place) -> None:
        self.files: dict[str, SourceFile] = {}
        self._place = place
        self._real = place.real()
        self._left_out: dict[str, list[str]] = {}

    def add(self, path: str, where: str) -> None:
        """Add a file, or all files below a directory."""
        names = path.split("/")
        for count in range(1, len(names) + 1):
            self._check_name(names[count - 1], path)
            prefix = "/".join(names[:count])
            if not self._place.is_inside(prefix):
                self._check_link(prefix)
        try:
            if self._place.is_directory(path):
                self._below(path, (self._place.real(path),))
            else:
                self._file(path, self._facts(path))
        except _FileGone:
            raise MetadataError(
                f"there is no {self._place.path(path)}", where=where, fix=f"restore it, or remove the entry from {PROPERTIES_FILE_NAME}"
            ) from None
        except (UnreadableInput, DamagedShard) as error:
            raise UnreadableInput(reason_of(error) or error.problem, where=f"{where}: {error.where}") from None

    def notices(self) -> Iterator[str]:
        """Yield notices about files that are not sent."""
        for why, paths in self._left_out.items():
            more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
            yield f"left out ({why}): {one_line(', '.join(paths[:3]), 500)}{more}"

    def _below(self, directory: str, above: Sequence[str]) -> None:
        entries = self._place.entries(directory)
        if not entries and not self._place.is_directory(directory):  # it was just removed
            raise _FileGone
        for entry in entries:
            path = f"{directory}/{entry.name}"
            self._check_name(entry.name, path)
            if entry.name.startswith(".") and entry.name not in _HIDDEN_OF_ARRAYS:
                self._leave_out("hidden", path)
                continue
            if entry.is_link:
                self._check_link(path)
            if entry.is_directory:
                real = self._place.real(path) if entry.is_link else f"{above[-1]}/{entry.name}"
                if real in above:
                    raise InputRefused(f"{self._place.path(path)} is a link to a directory that contains it", fix="remove the link")
                self._below(path, (*above, real))
            else:
                self._file(path, entry.facts or self._facts(path))

    def _facts(self, path: str) -> Facts | None:
        """Return the facts of a file; None if it is not a regular one."""
        try:
            facts = self._place.facts(path)
        except DamagedShard as error:
            if reason_of(error):
                raise
            return None
        if facts is None:
            raise _FileGone
        return facts

    def _file(self, path: str, facts: Facts | None) -> None:
        if facts is None:
            self._leave_out("not a regular file", path)
        elif facts.size == 0:
            self._leave_out("empty: a server does not accept it", path)
        else:
            self.files[path] = SourceFile(path, facts.size, facts.stamp.value)

    def _leave_out(self, why: str, path: str) -> None:
        self._left_out.setdefault(why, []).append(path)

    def _check_link(self, path: str) -> None:
        real = self._place.real(path)
        inside = posixpath.relpath(real, self._real)
        if inside.startswith("..") or any(name.startswith(".") and name not in _HIDDEN_OF_ARRAYS for name in inside.split("/")):
            raise InputRefused(
                f"{self._place.path(path)} is a link that leads out of the dataset to {real}",
                fix="put a copy in its place, or leave its layer out with --layer-name",
            )

    def _check_name(self, name: str, path: str) -> None:
        try:
            name.encode()
        except UnicodeEncodeError:
            pass
        else:
            if not _ODD.search(name):
                return
        raise InputRefused(
            "this name cannot be sent (control characters, a backslash, or not UTF-8)", where=self._place.path(path), fix="rename it"
        )

"""PropertiesFile: the datasource-properties.json of a dataset, changed by one process at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from wkpipe.errors import AlreadyExists
from wkpipe.metadata.ome import refresh_group_files
from wkpipe.metadata.properties import PROPERTIES_FILE_NAME, DatasetProperties, read_properties
from wkpipe.storage import disk
from wkpipe.storage.commit import Scratch, replace_file
from wkpipe.storage.lock import MetadataLock

Change: TypeAlias = Callable[[DatasetProperties], DatasetProperties | None]


def properties_copy(state: Path) -> Path:
    """Return where a state directory keeps the properties as wkpipe wrote them last."""
    return state / "copies" / PROPERTIES_FILE_NAME


class PropertiesFile:
    """The properties of the dataset in `dataset_root`.

    Readers need no lock: the file is replaced as a whole. Writers meet at the lock in ``<dataset>/.wkpipe/locks``, whatever
    `state_dir` is (default ``<dataset>/.wkpipe``), which gets a copy of the properties. `timeout`: seconds to wait for the
    lock. `scratch`: where temporary files go, on the dataset's file system.
    """

    def __init__(self, dataset_root: Path, state_dir: Path | None = None, timeout: float = 30.0, scratch: Scratch | None = None) -> None:
        self.root = dataset_root
        self.path = dataset_root / PROPERTIES_FILE_NAME
        self._state = state_dir or dataset_root / ".wkpipe"
        self._timeout = timeout
        self._given_scratch = scratch

    def exists(self) -> bool:
        """Tell whether the file is there."""
        return self.path.is_file()

    def read(self) -> DatasetProperties:
        """Return the properties as they are now.

        Raises:
            UnreadableInput: the file is not there, or can not be read.
            MetadataError: it is broken.
        """
        return read_properties(self.path)

    def update(self, function: Change) -> DatasetProperties:
        """Read the properties under the lock, let `function` change them, save them, and return them.

        `function` returns the new properties, or None to leave them as they are. It must be quick and must not touch
        this file. Nothing is written where the content stays the same; group files are brought up to date anyway.

        Raises:
            UnreadableInput, MetadataError: see `read`.
            TryAgain: another process holds the lock for too long.
            NotWritable: the dataset is read-only, or the disk is full.
        """
        with self._lock() as lock:
            before = self.read()
            after = function(before)
            if after is None:
                return before
            self._save(after, lock)
            return after

    def create(self, properties: DatasetProperties) -> DatasetProperties:
        """Write the properties of a new dataset, making its directory where it is missing.

        Raises:
            AlreadyExists: the file is there already.
            TryAgain, NotWritable: see `update`.
        """
        with self._lock() as lock:
            # lexists: a dangling link is somebody's file too.
            if self.path.exists() or self.path.is_symlink():
                raise AlreadyExists(f"{self.path} exists already; open the dataset, or choose another directory")
            self._save(properties, lock)
            return properties

    def create_or_update(self, properties: DatasetProperties, function: Change) -> DatasetProperties:
        """Update the properties; where there are none yet, begin with the given ones.

        Raises:
            see `update`.
        """
        with self._lock() as lock:
            before = self.read() if self.exists() else properties
            after = function(before) or before
            self._save(after, lock)
            return after

    def _lock(self) -> MetadataLock:
        inside = self.root / ".wkpipe"
        return MetadataLock(inside / "locks", self._given_scratch or Scratch(inside / "tmp"), self._timeout)

    def _save(self, properties: DatasetProperties, lock: MetadataLock) -> None:
        disk.make_directory(self.root)
        scratch = self._given_scratch or Scratch(self.root / ".wkpipe" / "tmp")
        content = properties.to_bytes()
        # The properties come last: by them a run that comes after a crash sees whether there is something left to do.
        refresh_group_files(self.root, properties, scratch)
        if not self.exists() or self.path.read_bytes() != content:
            # What a damaged file is restored from, see `wkpipe verify --repair`.
            replace_file(properties_copy(self._state), content, Scratch(self._state / "tmp"))
            lock.check()
            replace_file(self.path, content, scratch)

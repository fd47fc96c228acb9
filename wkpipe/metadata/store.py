"""PropertiesFile: the datasource-properties.json of a dataset, which one process at a time changes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, TypeAlias

from wkpipe.errors import AlreadyExists, DamagedShard, InputRefused, MetadataError, UnreadableInput
from wkpipe.metadata.json_node import MAX_BYTES, JsonNode
from wkpipe.metadata.ome import encoded, outdated_group_files
from wkpipe.metadata.properties import PROPERTIES_FILE_NAME, DatasetProperties, read_properties
from wkpipe.storage.lock import MetadataLock
from wkpipe.storage.place import Facts, Place
from wkpipe.storage.stored_object import StoredObject, put_in_order

Change: TypeAlias = Callable[[DatasetProperties], DatasetProperties | None]


COPY: Final = f"copies/{PROPERTIES_FILE_NAME}"
"""The key, in the state, of the copy of the properties as wkpipe wrote them last."""


class PropertiesFile:
    """The properties of the dataset in a place.

    Readers need no lock: the file is replaced as a whole. Writers use the lock in ``.wkpipe/locks`` of the dataset, wherever the
    state is. The state gets a copy of the properties. `timeout`: seconds to wait for the lock.
    """

    def __init__(self, data: Place, state: Place, timeout: float = 30.0) -> None:
        self.path = data.path(PROPERTIES_FILE_NAME)
        self._place = data
        self._locks = data.child(".wkpipe").child("locks")
        self._state = state
        self._timeout = timeout

    def is_there(self) -> bool:
        """True if the file exists."""
        try:
            return self._place.facts(PROPERTIES_FILE_NAME) is not None
        except DamagedShard as error:
            if error.__cause__ is not None:  # an error of the disk
                raise
            return False

    def facts(self) -> Facts | None:
        """Return the facts of the file, which change whenever it does; None if it does not exist or cannot be looked at."""
        try:
            return self._place.facts(PROPERTIES_FILE_NAME)
        except (UnreadableInput, DamagedShard):
            return None

    def read(self) -> DatasetProperties:
        """Return the properties as they are now.

        Raises:
            UnreadableInput: the file does not exist, or cannot be read.
            MetadataError: it is broken.
        """
        return read_properties(StoredObject(self._place, PROPERTIES_FILE_NAME))

    def update(self, function: Change) -> DatasetProperties:
        """Change the properties with `function` under the lock, save them, and return them.

        `function` gets the present properties and returns new ones, or None to leave them as they are. It must be quick and
        must not touch this file. If the content stays the same, only outdated group files are written.

        Raises:
            UnreadableInput, MetadataError: see `read`.
            TryAgain: another process holds the lock longer than `timeout`.
            NotWritable: the dataset is read-only, or the disk is full.
        """
        with self._lock() as lock:
            before = self.read()
            after = function(before)
            if after is None:
                return before
            self._save(after, lock, before)
            return after

    def create(self, properties: DatasetProperties) -> DatasetProperties:
        """Write the properties of a new dataset, and create its directory if it is missing.

        Raises:
            AlreadyExists: the file exists already.
            TryAgain, NotWritable: see `update`.
        """
        with self._lock() as lock:
            if PROPERTIES_FILE_NAME in self._place.names():  # a dangling link counts as a file of the user
                raise AlreadyExists(f"{self.path} exists already", fix="open the dataset, or choose another directory")
            self._save(properties, lock)
            return properties

    def create_or_update(self, properties: DatasetProperties, function: Change) -> DatasetProperties:
        """Update the properties; if there are none yet, begin with the given ones.

        Raises:
            see `update`.
        """
        with self._lock() as lock:
            before = self.read() if self.is_there() else properties
            after = function(before) or before
            self._save(after, lock)
            return after

    def _lock(self) -> MetadataLock:
        return MetadataLock(self._locks, self._timeout)

    def check(self, properties: DatasetProperties) -> None:
        """Refuse properties that could not be read again: `update` and `create` do it too, but what belongs to them may be written before.

        Raises:
            InputRefused: a value is not possible.
        """
        self._checked(properties)

    def _checked(self, properties: DatasetProperties, read: DatasetProperties | None = None) -> bytes:
        """Return the content of the file, after reading it again; layers that are just as they were `read` need not be."""
        content = properties.to_bytes()
        known = set(map(id, () if read is None else read.layers))
        changed = tuple(layer for layer in properties.layers if id(layer) not in known)
        if len({layer.name for layer in properties.layers}) == len(properties.layers):
            with contextlib.suppress(MetadataError):  # the error of the whole file names the layer by its place
                self._read_again(replace(properties, layers=changed).to_bytes())
                return content
        try:
            self._read_again(content)
        except MetadataError as error:
            raise InputRefused("this cannot be stored", where=error.where, found=error.found, expected=error.expected) from None
        return content

    def _read_again(self, content: bytes) -> None:
        DatasetProperties.from_json(JsonNode.parse(content, self.path))

    def _save(self, properties: DatasetProperties, lock: MetadataLock, read: DatasetProperties | None = None) -> None:
        content = self._checked(properties, read)
        first = {StoredObject(self._place, key): encoded(values) for key, values in outdated_group_files(self._place, properties)}
        is_changed = not self.is_there() or self._place.content(PROPERTIES_FILE_NAME, MAX_BYTES) != content
        if is_changed:
            # `wkpipe verify --repair` restores a damaged file from this copy.
            first[StoredObject(self._state, COPY)] = content

        def stages() -> Iterator[dict[StoredObject, bytes]]:
            yield first
            # The properties come last: after a crash, the next run sees from them whether something is left to do.
            if is_changed:
                lock.check()
                yield {StoredObject(self._place, PROPERTIES_FILE_NAME): content}

        put_in_order(stages())

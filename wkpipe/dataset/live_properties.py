"""LiveProperties: the properties of a dataset as they are on disk now, and the one way to change them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wkpipe.errors import NotWritable
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.store import Change, PropertiesFile
from wkpipe.storage.commit import Scratch
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.lease import DatasetLease, newest_epoch
from wkpipe.stored.locations import Locations


class LiveProperties:
    """Reads datasource-properties.json anew whenever the file changed; many handles on one dataset see the same.

    path: the dataset's directory. read_only: whether every change is refused.
    """

    def __init__(self, path: Path, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self.locations = Locations.of(path)
        self.file = PropertiesFile(self.locations.dataset, self.locations.state)
        self._known: tuple[tuple[int, int, int], DatasetProperties] | None = None

    def current(self) -> DatasetProperties:
        """Return the properties as they are now.

        Raises:
            UnreadableInput: the file is gone.
            MetadataError: it is broken.
        """
        known = self._known
        try:
            status = self.file.path.stat()
            identity = (status.st_ino, status.st_size, status.st_mtime_ns)
        except OSError:
            identity = (0, 0, 0)
        if known is None or known[0] != identity:
            # The identity was taken before the content: a change in between is seen at the next call.
            known = self._known = (identity, self.file.read())
        return known[1]

    def layer(self, name: str) -> LayerProperties:
        """Return the present entry of a layer.

        Raises:
            LayerNotFound: the dataset has no such layer (any more).
        """
        return self.current().layer(name)

    def stored(self) -> StoredDataset:
        """Return what opens the dataset's arrays."""
        return StoredDataset(self.locations, self.current())

    # -- changing -----------------------------------------------------------------------------------------------

    def check_writable(self) -> None:
        """Refuse a change.

        Raises:
            NotWritable: the dataset was opened read-only.
        """
        if self.read_only:
            raise NotWritable(f"dataset {self.path} is read-only here; open it without read_only=True to change it")

    def check_free(self) -> None:
        """Refuse to touch arrays while a run works on them.

        Raises:
            NotWritable: the dataset was opened read-only.
            UnreadableInput: wkpipe's state of it cannot be read.
            TryAgain: a run holds the dataset's lease.
        """
        self.check_writable()
        self.locations.check_readable()
        DatasetLease(self.locations).check_free()

    def epoch(self) -> int:
        """Return the number of the newest run, which records that are written outside of a run bear too."""
        return newest_epoch(self.locations)

    def update(self, change: Change) -> DatasetProperties:
        """Change the properties under the metadata lock; see `PropertiesFile.update`.

        Raises:
            NotWritable: the dataset is read-only.
            TryAgain: another process holds the lock for too long.
        """
        self.check_writable()
        return self.file.update(change)

    def update_layer(self, name: str, change: Callable[[LayerProperties], LayerProperties]) -> None:
        """Change the entry of one layer under the metadata lock.

        Raises:
            LayerNotFound: the dataset has no such layer.
            NotWritable, TryAgain: see `update`.
        """
        self.update(lambda properties: properties.with_layer(change(properties.layer(name))))

    def scratch(self) -> Scratch:
        """Return where temporary files of arrays go: on the dataset's own file system, as they are renamed into it."""
        return Scratch(self.locations.data_temporary, root=self.locations.dataset)

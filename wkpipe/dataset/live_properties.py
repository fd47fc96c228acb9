"""LiveProperties: the properties of a dataset as they are on disk now, and the only way to change them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from wkpipe.errors import NotWritable, UnreadableInput
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.store import Change
from wkpipe.storage.place import Facts
from wkpipe.storage.scratch import Scratch
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.lease import DatasetLease, newest_epoch
from wkpipe.stored.locations import Locations
from wkpipe.stored.renaming import check_no_renaming


class LiveProperties:
    """Reads datasource-properties.json again whenever the file has changed; all handles on a dataset see the same.

    path: the dataset's directory. read_only: True if every change is refused.
    """

    def __init__(self, path: Path, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self.fixed = Locations.of(path)
        self.file = self.fixed.properties_file()
        self._known: tuple[Facts | None, StoredDataset] | None = None

    def __reduce__(self) -> tuple[type[LiveProperties], tuple[Path, bool]]:
        """Pickle where the dataset is, not what is known of it: handles are sent to other processes."""
        return LiveProperties, (self.path, self.read_only)

    def current(self) -> DatasetProperties:
        """Return the properties as they are now.

        Raises:
            UnreadableInput: the file is gone.
            MetadataError: the file is broken.
        """
        return self.stored().properties

    @property
    def locations(self) -> Locations:
        """The locations of the mags as they are now; `fixed` are those that do not depend on the properties."""
        try:
            return self.stored().locations
        except UnreadableInput:  # a new dataset has none yet
            return self.fixed

    def layer(self, name: str) -> LayerProperties:
        """Return the present entry of a layer.

        Raises:
            LayerNotFound: the dataset has no such layer, or no longer has it.
        """
        return self.current().layer(name)

    def stored(self) -> StoredDataset:
        """Return the stored dataset as it is now, which opens the arrays.

        Raises: as `current`.
        """
        known = self._known
        facts = self.file.facts()
        if known is None or known[0] != facts:
            # The facts are read before the content: the next call sees a change in between.
            known = self._known = (facts, StoredDataset(self.fixed, self.file.read()))
        return known[1]

    # -- changing -----------------------------------------------------------------------------------------------

    def check_writable(self) -> None:
        """Refuse changes if the dataset is read-only.

        Raises:
            NotWritable: the dataset was opened read-only.
        """
        if self.read_only:
            raise NotWritable(f"dataset {self.path} is read-only here", fix="open it without read_only=True to change it")

    def check_free(self) -> None:
        """Refuse to touch arrays while a run works on them.

        Raises:
            NotWritable: the dataset was opened read-only.
            UnreadableInput: wkpipe's state of it cannot be read.
            TryAgain: a run holds the dataset's lease, or the renaming of a layer was stopped.
        """
        self.check_writable()
        self.fixed.check_readable()
        check_no_renaming(self.fixed)
        DatasetLease(self.fixed).check_free()

    def epoch(self) -> int:
        """Return the number of the newest run; records written outside of a run have it too."""
        return newest_epoch(self.fixed)

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
        """Return the place of temporary files of arrays, on the dataset's own file system so that they can be renamed into it."""
        return Scratch(self.fixed.data_temporary, root=self.fixed.dataset)

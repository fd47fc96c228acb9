"""Where things lie in and beside a dataset: arrays, ledgers, locks, temporary files, the files of runs."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from wkpipe.errors import InputRefused
from wkpipe.geometry import Mag
from wkpipe.storage.access import check_readable, exists, is_directory
from wkpipe.storage.commit import Scratch
from wkpipe.storage.inside import refuse_links, refuse_strangers
from wkpipe.storage.lease import Epoch
from wkpipe.stored.dataset_id import state_of

STATE_NAME = ".wkpipe"

REMADE = "remade"
UPLOADS = "uploads"
ARRAYS, LEDGERS = "arrays", "ledger"


@dataclass(frozen=True)
class Locations:
    """The directories of one dataset; `state` is where wkpipe keeps what it knows of it.

    The state may be elsewhere; `locks` are always in the dataset, because they belong to the data that is written.
    `remade` names the mags (layer, mag) that are being made anew beside the old ones: their arrays and ledgers lie apart.
    """

    dataset: Path
    state: Path
    remade: frozenset[tuple[str, Mag]] = frozenset()

    @classmethod
    def of(cls, dataset: Path, state_dir: Path | None = None) -> Locations:
        """Choose the state directory: the given one, else the one inside the dataset; never any other.

        `state_dir` and the variable WKPIPE_STATE_DIR hold the states of many datasets, each keyed by its resolved path, and by the
        dataset's id where another dataset was at that path before.

        Raises:
            InputRefused: there is anything but files and directories in the state; or a path has a line break.
        """
        root = dataset.resolve()
        inside = root / STATE_NAME
        refuse_links(inside, inside / "locks")
        chosen = state_dir or (Path(os.environ["WKPIPE_STATE_DIR"]) if os.environ.get("WKPIPE_STATE_DIR") else None)
        if chosen is None:
            return cls(root, inside)._checked()
        return cls(root, state_of(chosen.resolve() / state_key(root), inside))._checked()

    def _checked(self) -> Locations:
        """Return the locations, if nothing that wkpipe goes by can be led astray by what somebody has put there."""
        if {"\n", "\r"} & {*str(self.dataset), *str(self.state)}:
            raise InputRefused(f"{str(self.dataset)!r}: a path with a line break is not supported; rename the directory")
        for state in {self.state, self.dataset / STATE_NAME}:
            refuse_strangers(state, _UNREAD)
        return self

    def root_of(self, path: Path) -> Path:
        """Return the directory that a path must not leave through a link: the dataset, or a state elsewhere."""
        return self.state if path.is_relative_to(self.state) and not self.state.is_relative_to(self.dataset) else self.dataset

    @property
    def inside(self) -> Path:
        """The directory in the dataset that is wkpipe's own: locks and temporary files, and the state unless that is elsewhere."""
        return self.dataset / STATE_NAME

    @property
    def is_inside(self) -> bool:
        """Whether the state is in the dataset."""
        return self.state == self.inside

    @property
    def has_state(self) -> bool:
        """Whether the state directory holds anything that wkpipe knows of the dataset."""
        return exists(self.conversion) or is_directory(self.ledgers)

    def check_readable(self) -> None:
        """Make sure that the state can be read as far as it exists.

        Raises:
            UnreadableInput: it belongs to somebody who lets nobody else read it.
        """
        check_readable((self.state, *(self.state / name for name in _KNOWLEDGE)), READ_FIX)

    def array(self, layer: str, mag: Mag) -> Path:
        """Return where wkpipe puts a mag's array.

        Raises:
            InputRefused: the layer's or the mag's directory is a link: what it leads to is only read.
        """
        directory = self.dataset / layer
        refuse_links(directory, directory / str(mag))
        if (layer, mag) in self.remade:
            directory = self.remade_data(layer) / ARRAYS
            refuse_links(directory.parent.parent, directory.parent, directory, directory / str(mag))
        return directory / str(mag)

    def ledger(self, layer: str, mag: Mag) -> Path:
        """Return the directory of a mag's ledger.

        Raises:
            InputRefused: it is a link.
            UnreadableInput: it cannot be read.
        """
        if (layer, mag) in self.remade:
            directory = self.remade_state(layer) / LEDGERS
            refuse_links(self.state / REMADE, directory.parent)
        else:
            directory = self.ledgers / layer
        refuse_links(directory, directory / str(mag))
        check_readable((directory, directory / str(mag)), READ_FIX)
        return directory / str(mag)

    @property
    def ledgers(self) -> Path:
        """The directory of the ledgers of all layers."""
        return self.state / "ledger"

    def recipe(self, layer: str, mag: Mag) -> Path:
        """Return the file that says how a mag is made."""
        return self.ledger(layer, mag) / "recipe.json"

    def written(self, layer: str, mag: Mag) -> Path:
        """Return the file that says that a mag was written to by hand, and has no recipe any more."""
        return self.ledger(layer, mag) / "written.json"

    def remade_data(self, layer: str) -> Path:
        """Return where what is made anew of a layer lies, and the old arrays until they are deleted: on the dataset's file system."""
        beside_state = self.state / REMADE / layer
        if layer and is_directory(beside_state / ARRAYS):  # where an earlier version began, if that is another place
            return beside_state
        return self.inside / REMADE / layer

    def remade_state(self, layer: str) -> Path:
        """Return where the ledgers of what is made anew of a layer lie, and the note that it takes the place of the old."""
        return self.state / REMADE / layer

    @property
    def conversion(self) -> Path:
        """The file that says from what the dataset was converted."""
        return self.state / "conversion.json"

    @property
    def conversion_copy(self) -> Path:
        """A copy of that file, from which ``wkpipe verify --repair`` restores it."""
        return self.state / "copies" / "conversion.json"

    @property
    def locks(self) -> Path:
        """The directory of lease, epoch and locks: with the data, wherever the state is."""
        return self.inside / "locks"

    @property
    def earlier_locks(self) -> Path:
        """Where an earlier version kept lease and epoch: with the state."""
        return self.state / "locks"

    @property
    def runs(self) -> Path:
        return self.state / "runs"

    @property
    def uploads(self) -> Path:
        """The directory of the journals of uploads."""
        return uploads_directory(self.state)

    @property
    def temporary(self) -> Path:
        """The directory for temporary files of the state."""
        return self.state / "tmp"

    @property
    def data_temporary(self) -> Path:
        """The directory for temporary files of arrays and properties: a rename cannot leave a file system, nor a mount."""
        return self.inside / "tmp"

    def scratch(self, epoch: Epoch) -> Scratch:
        """Return where the run with this epoch puts temporary files of the state; none gets its name once the lease is lost."""
        return Scratch(self.temporary / _epoch_name(epoch), epoch.check, self.root_of(self.temporary))

    def data_scratch(self, epoch: Epoch) -> Scratch:
        """Return the like for temporary files of arrays and properties."""
        return Scratch(self.data_temporary / _epoch_name(epoch), epoch.check, self.dataset)


READ_FIX = "ask its owner for the right to read it, or give another state directory with --state-dir"

_KNOWLEDGE = ("conversion.json", "copies", "ledger", REMADE)
_UNREAD = ("runs/*", "tmp/*", ".snakemake", f"{REMADE}/*/{ARRAYS}/*", f"{REMADE}/*/old/*")
"""What is only removed, or never used; and arrays, which `Locations.array` looks at: their inner links are followed for reading."""


def state_key(root: Path) -> str:
    """Return the name of a dataset's state among those of other datasets; `root` is resolved."""
    path = str(root).encode(errors="surrogatepass")
    return f"{root.name}-{hashlib.sha256(path).hexdigest()[:16]}"


def uploads_directory(state: Path) -> Path:
    """Return where a state directory keeps the journals of uploads."""
    return state / UPLOADS


def upload_directory(state: Path, key: str) -> Path:
    """Return where a state directory keeps the journal of one upload.

    Raises:
        InputRefused: it is a link.
    """
    directory = uploads_directory(state) / key
    refuse_links(directory)
    return directory


def _epoch_name(epoch: Epoch) -> str:
    return f"{epoch.number:06d}"

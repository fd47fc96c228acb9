"""Where things lie in and beside a dataset: arrays, ledgers, locks, temporary files, the files of runs."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from wkpipe.errors import InputRefused
from wkpipe.geometry import Mag
from wkpipe.storage.commit import Scratch
from wkpipe.storage.lease import Epoch

STATE_NAME = ".wkpipe"

REMADE = "remade"
UPLOADS = "uploads"
ARRAYS, LEDGERS = "arrays", "ledger"


@dataclass(frozen=True)
class Locations:
    """The directories of one dataset; `state` is where wkpipe keeps what it knows of it.

    `remade` names the mags (layer, mag) that are being made anew beside the old ones: their arrays and ledgers lie apart.
    """

    dataset: Path
    state: Path
    remade: frozenset[tuple[str, Mag]] = frozenset()

    @classmethod
    def of(cls, dataset: Path, state_dir: Path | None = None) -> Locations:
        """Choose the state directory: the given one, else inside the dataset, else in the user's state directory.

        `state_dir` and the variable WKPIPE_STATE_DIR hold the states of many datasets, each keyed by its resolved path.

        Raises:
            InputRefused: the state inside of the dataset is a link to somewhere else.
        """
        root = dataset.resolve()
        chosen = state_dir or (Path(os.environ["WKPIPE_STATE_DIR"]) if os.environ.get("WKPIPE_STATE_DIR") else None)
        if chosen is None:
            inside = root / STATE_NAME
            if _can_be_written(inside):
                _refuse_links(inside, *(inside / name for name in _STATE_PARTS))
                return cls(root, inside)
            chosen = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "wkpipe"
        key = hashlib.sha256(str(root).encode()).hexdigest()[:16]
        return cls(root, chosen.resolve() / f"{root.name}-{key}")

    def array(self, layer: str, mag: Mag) -> Path:
        """Return where wkpipe puts a mag's array.

        Raises:
            InputRefused: the layer's or the mag's directory is a link: what it leads to is only read.
        """
        directory = self.dataset / layer
        _refuse_links(directory, directory / str(mag))
        if (layer, mag) in self.remade:
            directory = self.remade_data(layer) / ARRAYS
            _refuse_links(self.data_temporary.parent / REMADE, directory.parent, directory, directory / str(mag))
        return directory / str(mag)

    def ledger(self, layer: str, mag: Mag) -> Path:
        """Return the directory of a mag's ledger.

        Raises:
            InputRefused: it is a link.
        """
        if (layer, mag) in self.remade:
            directory = self.remade_state(layer) / LEDGERS
            _refuse_links(self.state / REMADE, directory.parent)
        else:
            directory = self.ledgers / layer
        _refuse_links(directory, directory / str(mag))
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
        return self.data_temporary.parent / REMADE / layer

    def remade_state(self, layer: str) -> Path:
        """Return where the ledgers of what is made anew of a layer lie, and the note that it takes the place of the old."""
        return self.state / REMADE / layer

    @property
    def identity(self) -> Path:
        """The file with the dataset's id: with the data, wherever the state is."""
        return self.dataset / STATE_NAME / "dataset.json"

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
        """The directory for temporary files of arrays and properties: a rename can not leave a file system."""
        if _device(self.state) == _device(self.dataset):
            return self.temporary
        return self.dataset / STATE_NAME / "tmp"

    def scratch(self, epoch: Epoch) -> Scratch:
        """Return where the run with this epoch puts temporary files of the state; none gets its name once the lease is lost."""
        return Scratch(self.temporary / _epoch_name(epoch), epoch.check)

    def data_scratch(self, epoch: Epoch) -> Scratch:
        """Return the like for temporary files of arrays and properties."""
        return Scratch(self.data_temporary / _epoch_name(epoch), epoch.check, self.dataset)


_STATE_PARTS = ("copies", "ledger", "locks", REMADE, "runs", "tmp", UPLOADS)


def uploads_directory(state: Path) -> Path:
    """Return where a state directory keeps the journals of uploads."""
    return state / UPLOADS


def upload_directory(state: Path, key: str) -> Path:
    """Return where a state directory keeps the journal of one upload.

    Raises:
        InputRefused: it is a link.
    """
    directory = uploads_directory(state) / key
    _refuse_links(directory)
    return directory


def _refuse_links(*paths: Path) -> None:
    """Refuse links where wkpipe writes and removes: they would lead its hand out of the dataset."""
    for path in paths:
        if path.is_symlink():
            raise InputRefused(
                f"{path} is a link that leads out to {os.path.realpath(path)}; wkpipe writes only inside of the dataset: "
                "put a copy in the place of the link, or remove it"
            )


def _epoch_name(epoch: Epoch) -> str:
    return f"{epoch.number:06d}"


def _existing(path: Path) -> Path:
    """Return the path itself or its nearest parent that exists."""
    while not path.exists():
        path = path.parent
    return path


def _device(path: Path) -> int:
    return _existing(path).stat().st_dev


def _can_be_written(state: Path) -> bool:
    """Whether a directory exists and is writable, or can be made below its nearest existing parent."""
    return os.access(_existing(state), os.W_OK | os.X_OK)

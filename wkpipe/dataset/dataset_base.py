"""DatasetBase: what all parts of the class Dataset share."""

from __future__ import annotations

import contextlib
from os import PathLike
from pathlib import Path

from wkpipe.dataset.errors import NotADatasetDirectory
from wkpipe.dataset.live_layer import end_stopped_renaming
from wkpipe.dataset.live_properties import LiveProperties
from wkpipe.errors import NotWritable, TryAgain
from wkpipe.geometry import Mag
from wkpipe.stored.places import place_at


class DatasetBase:
    """A dataset's directory and its properties."""

    _path: Path
    _live: LiveProperties

    def _start(self, path: str | PathLike[str], read_only: bool) -> None:
        self._path = Path(path).absolute()
        place = place_at(self._path)
        if place.has("") and not place.is_directory():
            raise NotADatasetDirectory(f"{path} is a file, but a dataset is a directory")
        self._live = LiveProperties(self._path, read_only)
        if not read_only:
            with contextlib.suppress(NotWritable, TryAgain):  # it can still be read
                end_stopped_renaming(self._live)

    def __eq__(self, other: object) -> bool:
        """True if both are the same directory, by whatever path."""
        return self._real() == other._real() if isinstance(other, DatasetBase) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._real())

    def _real(self) -> str:
        return place_at(self._path).real()

    def __repr__(self) -> str:
        return f"Dataset({str(self._path)!r})"


def all_mags(dataset: DatasetBase) -> tuple[Mag, ...]:
    """Return the mags of all layers of a dataset."""
    return tuple(entry.mag for layer in dataset._live.current().layers for entry in layer.mags)

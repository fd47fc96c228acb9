"""Locations: the places and objects of a dataset and its state: arrays, ledgers, locks, temporary files, the files of runs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from wkpipe.errors import InputRefused
from wkpipe.geometry import Mag
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.store import PropertiesFile
from wkpipe.storage.inside import Looks
from wkpipe.storage.lease import Epoch
from wkpipe.storage.place import Place
from wkpipe.storage.scratch import Scratch
from wkpipe.storage.stored_object import StoredObject
from wkpipe.stored.dataset_id import state_of
from wkpipe.stored.generations import Generations, directory_name, published_generations
from wkpipe.stored.places import place_at

STATE_NAME = ".wkpipe"

STATES_VARIABLE = "WKPIPE_STATE_DIR"
"""The environment variable that stands for --state-dir."""

REMADE = "remade"
ARRAYS, LEDGERS = "arrays", "ledger"
RECIPE = "recipe.json"
COPIES, RUNS, TEMPORARY = "copies", "runs", "tmp"


@dataclass(frozen=True)
class Locations:
    """The places of one dataset; `state` is the path of wkpipe's records.

    The state may be outside the dataset; `locks` are always in it, because they belong to the data that is written.
    `remade` names the mags (layer, mag) that are being rebuilt beside the old ones: their arrays and ledgers are elsewhere.
    `generations` has the directories of mags that were rebuilt where nothing can be renamed. `looks` are the checks for links.
    """

    dataset: Path
    state: Path
    remade: frozenset[tuple[str, Mag]] = frozenset()
    generations: Generations = field(default_factory=dict)
    looks: Looks = field(default_factory=Looks, compare=False, repr=False)

    @classmethod
    def of(cls, dataset: Path, state_dir: Path | None = None) -> Locations:
        """Return the locations of a dataset; the state is in the given directory, or else in the dataset.

        `state_dir` and the variable WKPIPE_STATE_DIR hold the states of many datasets, each keyed by its resolved path, and also by
        the dataset's id if another dataset was at that path before.

        Raises:
            InputRefused: the state has anything but files and directories, or a path has a line break.
        """
        root = Path(place_at(dataset).real())
        place_at(root).refuse_links(STATE_NAME, f"{STATE_NAME}/locks")
        chosen = state_dir or (Path(given) if (given := os.environ.get(STATES_VARIABLE)) else None)
        if chosen is None:
            return cls(root, root / STATE_NAME)._checked()
        states = place_at(Path(place_at(chosen).real()))
        return cls(root, state_of(states, state_key(root), place_at(root / STATE_NAME)))._checked()

    def _checked(self) -> Locations:
        """Return the locations after a check of what others may have put there: no line break in a path, no link in the state."""
        if {"\n", "\r"} & {*str(self.dataset), *str(self.state)}:
            raise InputRefused("a path with a line break is not supported", where=repr(str(self.dataset)), fix="rename the directory")
        for place in {self.store, self.inside}:
            place.refuse_strangers(_UNREAD)
        return self

    # -- dataset and state --------------------------------------------------------------------------------------

    @cached_property
    def data(self) -> Place:
        """The place of the dataset."""
        return place_at(self.dataset)

    @cached_property
    def store(self) -> Place:
        """The place of the state."""
        return place_at(self.state)

    @cached_property
    def inside(self) -> Place:
        """wkpipe's own part of the dataset: locks and temporary files, and the state unless it is elsewhere."""
        return self.data.child(STATE_NAME)

    @property
    def is_inside(self) -> bool:
        """True if the state is in the dataset."""
        return self.state == self.dataset / STATE_NAME

    @property
    def with_state_inside(self) -> Locations:
        """The same dataset with the state in it."""
        return Locations(self.dataset, self.dataset / STATE_NAME)

    @property
    def has_state(self) -> bool:
        """True if the state holds anything that wkpipe knows of the dataset."""
        return self.has_conversion or self.ledgers.is_directory()

    def check_readable(self) -> None:
        """Check that the existing part of the state can be read.

        Raises:
            UnreadableInput: it belongs to another user and cannot be read.
        """
        self.store.check_readable(("", *_KNOWLEDGE), READ_FIX)

    def properties_file(self, scratch: Scratch | None = None, timeout: float = 30.0) -> PropertiesFile:
        """Return the dataset's properties; a run gives its scratch, so that it cannot change them after it lost the lease."""
        data = self.data.writing(scratch or Scratch(self.data_temporary))
        return PropertiesFile(data, self.store.writing(Scratch(self.temporary)), timeout)

    def published(self, properties: DatasetProperties) -> Locations:
        """Return the locations of the mags that the properties name."""
        return replace(self, remade=frozenset(), generations=published_generations(properties))

    @property
    def can_swap(self) -> bool:
        """True if rebuilt mags can take the directories of the old ones."""
        return self.data.can_rename and self.store.can_rename

    def rebuilding(self, layer: str, mags: Iterable[Mag]) -> Locations:
        """Return the locations of a run that rebuilds mags of a layer, by those of the published ones.

        They are rebuilt beside the old ones, and take their place by a rename; or in new directories if that is not possible.
        """
        rebuilt = dict.fromkeys((layer, mag) for mag in mags)
        if self.can_swap:
            others = {key: number for key, number in self.generations.items() if key not in rebuilt}
            return replace(self, remade=self.remade | rebuilt.keys(), generations=others)
        newest = max((number for (name, _), number in self.generations.items() if name == layer), default=0)
        return replace(self, generations=self.generations | dict.fromkeys(rebuilt, newest + 1))

    # -- mags ---------------------------------------------------------------------------------------------------

    def name(self, layer: str, mag: Mag) -> str:
        """Return the name of a mag's directory and of its ledger."""
        return directory_name(mag, self.generations.get((layer, mag), 0))

    def array(self, layer: str, mag: Mag) -> Place:
        """Return the place where wkpipe puts a mag's array.

        Raises:
            InputRefused: the layer's or the mag's directory is a link; wkpipe only reads through links.
        """
        directory = self.array_file(layer, mag, "")
        return directory.place.child(directory.key)

    def array_file(self, layer: str, mag: Mag, name: str) -> StoredObject:
        """Return an object of a mag's array by its key in the array; raises as `array`."""
        directory = f"{layer}/{self.name(layer, mag)}"
        self.looks.at(f"{self.dataset}/{directory}", lambda: self.data.refuse_links(layer, directory))
        if (layer, mag) not in self.remade:
            return StoredObject(self.data, f"{directory}/{name}".rstrip("/"))
        place = self.remade_data(layer)
        place.refuse_links("", ARRAYS, f"{ARRAYS}/{mag}")
        return StoredObject(place, f"{ARRAYS}/{mag}/{name}".rstrip("/"))

    def ledger(self, layer: str, mag: Mag) -> Place:
        """Return the place of a mag's ledger.

        Raises:
            InputRefused: it is a link.
            UnreadableInput: it cannot be read.
        """
        return self.store.child(self._ledger_key(layer, mag))

    def _ledger_key(self, layer: str, mag: Mag) -> str:
        if (layer, mag) in self.remade:
            parent = f"{REMADE}/{layer}/{LEDGERS}"
            self.store.refuse_links(REMADE, f"{REMADE}/{layer}")
        else:
            parent = f"{LEDGERS}/{layer}"
        key = f"{parent}/{self.name(layer, mag)}"
        store, keys = self.store, (parent, key)
        self.looks.at(f"{self.state}/{key}", lambda: store.refuse_links(*keys), lambda: store.check_readable(keys, READ_FIX))
        return key

    def records(self, layer: str, mag: Mag, scratch: Scratch) -> Place:
        """Return a mag's ledger as a place to write records to; raises as `ledger`."""
        return self.ledger(layer, mag).writing(scratch)

    def copied(self, layer: str, mag: Mag) -> StoredObject:
        """Return the object that marks an array as a copy that is not in the properties yet, so that it may be replaced."""
        return self.beside_ledger(layer, mag, "copied.json")

    def attaching(self, layer: str) -> StoredObject:
        """Return the object that names an attachment of a layer that is copied but is not in the properties yet."""
        self.store.refuse_links("attaching")
        return StoredObject(self.store, f"attaching/{layer}")

    @cached_property
    def ledgers(self) -> Place:
        """The place of the ledgers of all layers."""
        return self.store.child(LEDGERS)

    def beside_ledger(self, layer: str, mag: Mag, name: str) -> StoredObject:
        """Return an object that is stored beside a mag's records; raises as `ledger`."""
        return StoredObject(self.store, f"{self._ledger_key(layer, mag)}/{name}")

    def recipe(self, layer: str, mag: Mag) -> StoredObject:
        """Return a mag's recipe."""
        return self.beside_ledger(layer, mag, RECIPE)

    def has_recipe(self, layer: str, mag: Mag) -> bool:
        """True if a mag has a recipe."""
        return self.recipe(layer, mag).is_there()

    def written(self, layer: str, mag: Mag) -> StoredObject:
        """Return the object that marks a mag as written by hand; such a mag has no recipe any more."""
        return self.beside_ledger(layer, mag, "written.json")

    def remade_data(self, layer: str) -> Place:
        """Return the place of a layer's rebuilt arrays, and of old ones until they are deleted; on the dataset's file system."""
        beside_state = self.remade_state(layer)
        if beside_state.is_directory(ARRAYS):  # an earlier version began here, if this is another directory
            return beside_state
        return self.inside.child(f"{REMADE}/{layer}")

    def remade_state(self, layer: str) -> Place:
        """Return the place of the ledgers of a layer's rebuilt mags, and of the note that they take the place of the old ones."""
        return self.store.child(f"{REMADE}/{layer}")

    # -- the whole dataset --------------------------------------------------------------------------------------

    @property
    def has_conversion(self) -> bool:
        """True if a conversion or download of the dataset has begun or ended."""
        return self.conversion.is_there()

    @property
    def conversion(self) -> StoredObject:
        """The object that names the source of the dataset's conversion."""
        return StoredObject(self.store, "conversion.json")

    @property
    def conversion_copy(self) -> StoredObject:
        """A copy of that object, from which ``wkpipe verify --repair`` restores it."""
        return StoredObject(self.store, f"{COPIES}/conversion.json")

    @cached_property
    def locks(self) -> Place:
        """The place of lease, epoch and locks: in the dataset, wherever the state is."""
        return self.inside.child("locks")

    @property
    def earlier_locks(self) -> Place:
        """The place of lease and epoch in an earlier version: in the state."""
        return self.store.child("locks")

    @cached_property
    def runs(self) -> Place:
        """The place of the stored plans, and of what jobs report."""
        return self.store.child(RUNS)

    # -- temporary files ----------------------------------------------------------------------------------------

    @property
    def temporary(self) -> Path:
        """The directory for temporary files of the state."""
        return self.state / TEMPORARY

    @property
    def data_temporary(self) -> Path:
        """The directory for temporary files of arrays and properties: a rename must stay in one file system and mount."""
        return self.dataset / STATE_NAME / TEMPORARY

    def scratch(self, epoch: Epoch) -> Scratch:
        """Return the scratch of a run for files of the state; no file gets its final name once the lease is lost."""
        root = self.dataset if self.state.is_relative_to(self.dataset) else self.state
        return Scratch(self.temporary / f"{epoch.number:06d}", epoch.check, root, ways=epoch.ways)

    def data_scratch(self, epoch: Epoch) -> Scratch:
        """Return the scratch of a run for arrays and properties."""
        return Scratch(self.data_temporary / f"{epoch.number:06d}", epoch.check, self.dataset, ways=epoch.ways)


READ_FIX = "ask its owner for the right to read it, or give another state directory with --state-dir"

_KNOWLEDGE = ("conversion.json", COPIES, LEDGERS, REMADE)
_UNREAD = (f"{RUNS}/*", f"{TEMPORARY}/*", ".snakemake", f"{REMADE}/*/{ARRAYS}/*", f"{REMADE}/*/old/*")
"""Not checked: what is only removed or never used; and arrays, which `Locations.array` checks: links in them are read through."""


def state_key(root: Path) -> str:
    """Return the name of a dataset's state in a directory of many; `root` is resolved."""
    path = str(root).encode(errors="surrogatepass")
    return f"{root.name}-{hashlib.sha256(path).hexdigest()[:16]}"

"""MagOnDisk: a mag of an existing dataset with all that is known of how it came about; opened only to be looked at."""

from __future__ import annotations

import contextlib
import functools
import shlex
from dataclasses import dataclass
from pathlib import Path

from wkpipe.errors import MetadataError, UnreadableInput
from wkpipe.formats.base import Position, StoredArray
from wkpipe.geometry import Mag
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import PROPERTIES_FILE_NAME
from wkpipe.plan.mag_plan import CONVERT, DOWNLOAD, DOWNSAMPLE, MagPlan
from wkpipe.plan.recipe import load_conversion, load_recipe
from wkpipe.plan.survey import units_in_box
from wkpipe.storage.access import is_directory
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.record import MADE
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.identity import MagIdentity, is_replaced, layout_of, recorded_identity
from wkpipe.stored.locations import Locations


def open_to_read(root: Path, state_dir: Path | None = None) -> StoredDataset:
    """Open a dataset that is only looked at.

    A read-only dataset brings the ledger that it was made with in its own ``.wkpipe``: that one is read unless there
    is another one in the state directory.

    Raises:
        UnreadableInput: there is no dataset, or its state cannot be read.
        MetadataError: its properties are broken.
    """
    dataset = StoredDataset.open(root, state_dir)
    return StoredDataset(locations_to_read(dataset.locations), dataset.properties)


def locations_to_read(locations: Locations) -> Locations:
    """Return where the state of a dataset is to be read; see `open_to_read`."""
    inside = Locations(locations.dataset, locations.inside)
    found = inside if inside.has_state and not is_directory(locations.state) else locations
    found.check_readable()
    return found


@dataclass(frozen=True)
class MagOnDisk:
    """A registered mag. `recipe` is how wkpipe makes it, None where it does not; `units` are all that the box touches.

    `is_replaced` tells that another tool has made the mag again: what the state knows is of an earlier one and does not count.
    """

    dataset: StoredDataset
    layer: LayerProperties
    entry: MagProperties
    array: StoredArray
    recipe: MagPlan | None
    units: tuple[Position, ...]
    is_replaced: bool = False

    @classmethod
    def open(cls, dataset: StoredDataset, layer: LayerProperties, entry: MagProperties) -> MagOnDisk:
        """Open a mag's array and look up its recipe.

        Raises:
            InputRefused: the mag lies on a server.
            MetadataError: the array's metadata or the recipe are missing or broken, or do not fit the layer's.
        """
        array = dataset.open_mag(layer, entry)
        recipe = load_recipe(dataset.locations, layer.name, entry.mag)
        recorded = recorded_identity(dataset.locations, layer.name, entry.mag)
        if recorded is None and recipe is not None:
            recorded = MagIdentity("", "", layout_of(recipe.spec))
        replaced = is_replaced(recorded, array, Ledger.load(dataset.locations.ledger(layer.name, entry.mag)))
        if replaced:
            recipe = None
        if recipe is not None and recipe.spec.axes != array.spec.axes:
            found, expected = ",".join(array.spec.axes), ",".join(recipe.spec.axes)
            raise MetadataError(f"{array.path} has the axes {found}, expected {expected} as it was made with")
        return cls(dataset, layer, entry, array, recipe, tuple(units_in_box(layer, entry.mag, array.spec)), replaced)

    def load_ledger(self) -> Ledger:
        """Read what is recorded of the mag."""
        if self.is_replaced:
            return Ledger({})
        return Ledger.load(self.dataset.locations.ledger(self.layer.name, self.entry.mag))

    def is_made(self, ledger: Ledger) -> bool:
        """Whether wkpipe made the mag as a whole, so that every unit of it must be recorded."""
        return self.recipe is not None or any(record.origin == MADE or record.params for record in ledger.records.values())

    def is_made_unit(self, unit: Position) -> bool:
        """True if wkpipe made this unit, if it made the mag: not if the layer's box has grown over it since."""
        return self.recipe is None or self.recipe.kind == DOWNSAMPLE or unit in self._made_units

    @functools.cached_property
    def _made_units(self) -> frozenset[Position]:
        return frozenset() if self.recipe is None else frozenset(self.recipe.units())

    @functools.cached_property
    def makes(self) -> tuple[Mag, ...]:
        """The mags whose recipes say that they are made from this one."""
        made = []
        for entry in self.layer.mags:
            with contextlib.suppress(MetadataError):  # reported where that mag itself is looked at
                recipe = load_recipe(self.dataset.locations, self.layer.name, entry.mag)
                if recipe is not None and recipe.from_mag == self.entry.mag:
                    made.append(entry.mag)
        return tuple(made)

    @property
    def is_derived(self) -> bool:
        """Whether the mag is made from a finer one that is still there."""
        if self.recipe is None or self.recipe.kind != DOWNSAMPLE:
            return False
        return any(entry.mag == self.recipe.from_mag for entry in self.layer.mags)

    # -- mends --------------------------------------------------------------------------------------------------

    @functools.cached_property
    def can_be_made_again(self) -> bool:
        """Whether damaged units can be made again: from a finer mag, or from images that are still there."""
        return self.is_derived or (self.recipe is not None and self.recipe.kind == CONVERT and _source_is_there(self.dataset.locations))

    def mend_unit(self) -> str:
        """Return how a damaged unit is repaired."""
        if self.can_be_made_again:
            return repair_command(self.dataset, self.layer.name, self.entry.mag)
        if self.recipe is not None and self.recipe.kind == CONVERT:
            return "its images are no longer where they were: restore its files from a copy"
        if self.recipe is not None and self.recipe.kind == DOWNLOAD:
            return "delete its file and run the same `wkpipe download` command again, or restore it from a copy"
        if any(entry.mag < self.entry.mag for entry in self.layer.mags):
            again = refresh_command(self.dataset, self.layer, overwrite=True)
            return f"restore its files from a copy; or, if the finest mag is good, make the coarser ones anew: {again}"
        return "restore its files from a copy, or write the region again"


def refresh_command(dataset: StoredDataset, layer: LayerProperties, overwrite: bool = False) -> str:
    """Return the command that brings a layer's derived mags up to date, or makes all anew, without adding coarser ones."""
    coarsest = max(entry.mag for entry in layer.mags)
    words = ["wkpipe", "downsample", str(dataset.locations.dataset), "--layer-name", layer.name, "--coarsest-mag", str(coarsest)]
    return shlex.join([*words, *(["--overwrite-existing"] if overwrite else []), *_state_option(dataset.locations)])


def repair_command(dataset: StoredDataset, layer: str | None = None, mag: Mag | None = None, option: str = "--repair") -> str:
    """Return the command that repairs a dataset, layer or mag."""
    return verify_command(dataset.locations, layer, mag, option)


def verify_command(locations: Locations, layer: str | None, mag: Mag | None, option: str) -> str:
    """Return a command of ``wkpipe verify``."""
    words = ["wkpipe", "verify", str(locations.dataset), *(["--layer-name", layer] if layer else []), *(["--mag", str(mag)] if mag else [])]
    return shlex.join([*words, option, *_state_option(locations)])


def _source_is_there(locations: Locations) -> bool:
    try:
        conversion = load_conversion(locations)
    except MetadataError:
        return False
    return conversion is not None and Path(str(conversion.get("source", ""))).exists()


def _state_option(locations: Locations) -> list[str]:
    return [] if locations.is_inside else ["--state-dir", str(locations.state.parent)]


def is_published(root: Path) -> bool:
    """Tell whether a directory has the properties of a dataset; one that is being converted has none yet.

    Raises:
        UnreadableInput: it is not a directory.
    """
    if not root.is_dir():
        raise UnreadableInput(f"{root} is not a directory; give the path of a dataset (a directory with datasource-properties.json)")
    return (root / PROPERTIES_FILE_NAME).is_file()

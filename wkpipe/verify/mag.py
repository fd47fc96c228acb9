"""MagOnDisk: a mag of an existing dataset and everything known of its origin, opened read-only."""

from __future__ import annotations

import contextlib
import functools
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wkpipe.errors import MetadataError, UnreadableInput, WkpipeError
from wkpipe.formats.base import Position, StoredArray
from wkpipe.geometry import Mag
from wkpipe.images.globs import is_glob
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.plan.mag_plan import MagPlan, Origin
from wkpipe.plan.origins.from_array import FromArray
from wkpipe.plan.origins.from_coarser import FromCoarser
from wkpipe.plan.origins.from_images import FromImages
from wkpipe.plan.origins.from_server import FromServer
from wkpipe.plan.origins.lineage import without_circles
from wkpipe.plan.state.copied import CopiedMag
from wkpipe.plan.state.recipe import load_conversion, load_images, load_recipe
from wkpipe.plan.state.units import units_in_box
from wkpipe.storage.access import exists
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.record import MADE
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.identity import MagIdentity, is_replaced, layout_of, recorded_identity
from wkpipe.stored.images_note import images_note
from wkpipe.stored.locations import STATE_NAME, Locations
from wkpipe.stored.places import place_at


def open_to_read(root: Path, state_dir: Path | None = None) -> StoredDataset:
    """Open a dataset read-only.

    A read-only dataset may have the ledger of its creation in its own ``.wkpipe``: it is used unless the state directory
    has one.

    Raises:
        UnreadableInput: there is no dataset, or its state cannot be read.
        MetadataError: its properties are broken.
    """
    dataset = StoredDataset.open(root, state_dir)
    return StoredDataset(locations_to_read(dataset.locations), dataset.properties)


def locations_to_read(locations: Locations) -> Locations:
    """Return the locations from which to read the state of a dataset; see `open_to_read`."""
    inside = locations.with_state_inside
    found = inside if inside.has_state and not locations.store.is_directory() else locations
    found.check_readable()
    return found


def recipes_of(dataset: StoredDataset, layer: LayerProperties) -> dict[Mag, MagPlan]:
    """Return the recipes of a layer's mags, without those that cannot be read: the check of that mag reports it."""
    recipes = {}
    for entry in layer.mags:
        with contextlib.suppress(MetadataError, UnreadableInput):
            recipe = load_recipe(dataset.locations, layer.name, entry.mag)
            if recipe is not None:
                recipes[entry.mag] = recipe
    return without_circles(recipes)


@dataclass(frozen=True)
class MagOnDisk:
    """A registered mag. `recipe` is how wkpipe makes it, None if it does not; `units` are all that overlap the box.

    `is_replaced` is True if another tool has made the mag again: then the records are of an earlier mag and do not count.
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
            InputRefused: the mag is on a server.
            MetadataError: the array's metadata or the recipe is missing or broken, or does not fit the layer's.
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
            raise MetadataError(where=array.path, found=f"the axes {found}", expected=f"{expected} as it was made with")
        return cls(dataset, layer, entry, array, recipe, tuple(units_in_box(layer, entry.mag, array.spec)), replaced)

    def load_ledger(self) -> Ledger:
        """Read the ledger of the mag."""
        if self.is_replaced:
            return Ledger({})
        return Ledger.load(self.dataset.locations.ledger(self.layer.name, self.entry.mag))

    def is_made(self, ledger: Ledger) -> bool:
        """True if wkpipe made the whole mag, so that every unit must be recorded."""
        return self.recipe is not None or any(record.origin == MADE or record.params for record in ledger.records.values())

    def is_made_unit(self, unit: Position) -> bool:
        """True if wkpipe made this unit when it made the mag; False if the layer's box has grown over it since."""
        return self.recipe is None or self.recipe.source_mag is not None or unit in self._made_units

    @functools.cached_property
    def _made_units(self) -> frozenset[Position]:
        return frozenset() if self.recipe is None else frozenset(self.recipe.units())

    @functools.cached_property
    def makes(self) -> tuple[Mag, ...]:
        """The mags that are made from this one, according to their recipes."""
        return tuple(mag for mag, recipe in self._recipes.items() if recipe.source_mag == self.entry.mag)

    @functools.cached_property
    def _recipes(self) -> dict[Mag, MagPlan]:
        return recipes_of(self.dataset, self.layer)

    @property
    def origin(self) -> Origin[Any] | None:
        """The origin from which wkpipe made the mag; None if it did not."""
        return None if self.recipe is None else self.recipe.origin

    @property
    def is_derived(self) -> bool:
        """True if the mag is made from another one that still exists, and that was not made from it since."""
        if self.recipe is None or all(entry.mag != self.recipe.source_mag for entry in self.layer.mags):
            return False
        return not isinstance(self.origin, FromCoarser) or self.entry.mag in self._recipes

    @property
    def is_converted_with_dataset(self) -> bool:
        """True if the mag comes from the source of the dataset's conversion or download."""
        images = images_note(self.dataset.locations, self.layer.name, self.entry.mag)
        return self.recipe is not None and self.recipe.is_converted and not images.is_there()

    # -- fixes --------------------------------------------------------------------------------------------------

    @functools.cached_property
    def can_be_made_again(self) -> bool:
        """True if damaged units can be made again, from another mag or from images that still exist."""
        return self.is_derived or (isinstance(self.origin, FromImages) and self._images_are_there()) or self._copied_mag_is_there()

    def _images_are_there(self) -> bool:
        locations = self.dataset.locations
        try:
            conversion = load_images(locations, self.layer.name, self.entry.mag) or load_conversion(locations)
        except MetadataError:
            return False
        source = "" if conversion is None else str(conversion.get("source", ""))
        return bool(source) and (exists(source) or is_glob(Path(source)))

    def _copied_mag_is_there(self) -> bool:
        if self.recipe is None or not isinstance(self.origin, FromArray) or self.origin.is_of(self.recipe, self.dataset.locations.dataset):
            return False
        try:
            CopiedMag.of(self.origin)
        except WkpipeError:
            return False
        return True

    def fix_of_unit(self) -> str:
        """Return how to repair a damaged unit."""
        if self.can_be_made_again:
            return repair_command(self.dataset, self.layer.name, self.entry.mag)
        if isinstance(self.origin, FromImages):
            return "its images are no longer where they were: restore its files from a copy"
        if isinstance(self.origin, FromArray) and self.origin.dataset != str(self.dataset.locations.dataset):
            return "delete its file and make the same copy again with exists_ok=True, or restore it"
        if isinstance(self.origin, FromServer):
            return "delete its file and run the same `wkpipe download` command again, or restore it from a copy"
        if any(entry.mag < self.entry.mag for entry in self.layer.mags):
            again = refresh_command(self.dataset, self.layer, overwrite=True)
            return f"restore its files from a copy; or, if the finest mag is good, make the coarser ones again: {again}"
        return "restore its files from a copy, or write the region again"


def without_mag(error: WkpipeError, layer: LayerProperties, entry: MagProperties) -> WkpipeError:
    """Return an error of opening a mag without the name of the mag, for reports that name it anyway."""
    return error.but(where="") if error.where == f"layer {layer.name}, mag {entry.mag}" else error


def refresh_command(dataset: StoredDataset, layer: LayerProperties, overwrite: bool = False) -> str:
    """Return the command that updates a layer's derived mags, or with `overwrite` rebuilds them, without adding coarser ones."""
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


def _state_option(locations: Locations) -> list[str]:
    return [] if locations.is_inside else ["--state-dir", str(locations.state.parent)]


def is_published(root: Path) -> bool:
    """True if a directory has the properties of a dataset; a dataset under conversion has none yet.

    Raises:
        UnreadableInput: it is not a directory.
    """
    if not place_at(root).is_directory():
        raise UnreadableInput(f"{root} is not a directory", fix="give the path of a dataset (a directory with datasource-properties.json)")
    return Locations(root, root / STATE_NAME).properties_file().is_there()

"""Put mags that were made anew in the place of the old ones, so that readers see the old ones, none, or the new ones.

The arrays and ledgers of new mags are made apart, see `Locations.remade`. When all is proven, a note (`Swap`) is written: from
then on there is only one way, onwards. Every step can be done again, so whoever finds the note can go on with it:

1. The old mags leave the properties.
2. Their directories are renamed to where they are deleted later, those of the new mags to their place.
3. The new mags enter the properties (`publish_layers`).
4. The old directories are deleted; the note is renamed, and goes when the run is done with all layers.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wkpipe.errors import TryAgain
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.store import PropertiesFile
from wkpipe.plan.plan import LayerPlan
from wkpipe.storage import disk
from wkpipe.storage.commit import remove_directory, replace_file
from wkpipe.storage.inside import refuse_links
from wkpipe.storage.lease import Epoch
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.locations import ARRAYS, LEDGERS, Locations
from wkpipe.stored.swap import Swap, directory_names, done_file, is_remaking, load_swap, swap_file

_OLD = "old"


def noted_swap(layer: LayerPlan, new: Sequence[MagProperties], file: PropertiesFile, locations: Locations, epoch: Epoch) -> Swap | None:
    """Return the swap that a layer's plan asks for, noting it; or the one that an earlier run has begun.

    Raises:
        TryAgain: an earlier run has begun one since the plan was made.
    """
    if not layer.discarded:
        return None
    begun = load_swap(locations, layer.name)
    if begun is not None and new:
        raise TryAgain(f"layer {layer.name}: another run has put its mags in place since this one was planned; run the same command again")
    if begun is not None or not new:
        return begun
    dataset = StoredDataset(locations, file.read())
    entry = dataset.layer(layer.name)
    old = [mag for mag in entry.mags if mag.mag in layer.discarded and dataset.owns(entry, mag)]
    names = [(mag.mag, dataset.mag_path(entry, mag).resolve().name) for mag in old]
    directories = tuple(name for mag, name in names if name in directory_names(mag))  # under other names, data stay on the disk
    swap = Swap(layer.name, layer.discarded, directories, tuple(new))
    replace_file(swap_file(locations, layer.name), swap.to_bytes(), locations.scratch(epoch))
    return swap


def put_in_place(swaps: Sequence[Swap], file: PropertiesFile, locations: Locations, epoch: Epoch) -> None:
    """Do the steps 1 and 2."""

    def change(properties: DatasetProperties) -> DatasetProperties:
        for swap in swaps:
            properties = properties.with_layer(swap.without_old(properties.layer(swap.layer)))
        return properties

    if any((locations.remade_state(swap.layer) / LEDGERS).exists() for swap in swaps):
        file.update(change)
    for swap in swaps:
        _rename(swap, locations, epoch)


def _rename(swap: Swap, locations: Locations, epoch: Epoch) -> None:
    mags = [entry.mag for entry in swap.new]
    place = replace(locations, remade=frozenset())
    apart = replace(locations, remade=frozenset((swap.layer, mag) for mag in mags))
    old_data, old_state = locations.remade_data(swap.layer) / _OLD, locations.remade_state(swap.layer) / _OLD
    refuse_links(locations.dataset / swap.layer)
    for name in sorted({*swap.directories} - {str(mag) for mag in mags}):
        _set_aside(locations.dataset / swap.layer / name, old_data, epoch)
    for mag in swap.old:
        if mag not in mags:
            _set_aside(place.ledger(swap.layer, mag), old_state, epoch)
    for mag in mags:
        _replace(apart.array(swap.layer, mag), place.array(swap.layer, mag), old_data, epoch)
        _replace(apart.ledger(swap.layer, mag), place.ledger(swap.layer, mag), old_state, epoch)
    for done in (locations.remade_data(swap.layer) / ARRAYS, locations.remade_state(swap.layer) / LEDGERS):
        disk.remove_tree(done, locations.root_of(done))  # they are empty


def _replace(new: Path, place: Path, aside: Path, epoch: Epoch) -> None:
    """Rename a new directory to its place; where there is none, it is in its place already."""
    if not new.is_dir():
        return
    _set_aside(place, aside, epoch)
    disk.make_directory(place.parent)
    epoch.check()
    disk.rename(new, place)
    for directory in (place.parent, new.parent):
        disk.sync_directory(directory)


def _set_aside(path: Path, aside: Path, epoch: Epoch) -> None:
    """Rename what is to be deleted later: that may take long, and the mags are not visible meanwhile."""
    if not os.path.lexists(path):
        return
    disk.make_directory(aside)
    epoch.check()
    disk.rename(path, aside / uuid.uuid4().hex)
    for directory in (aside, path.parent):
        disk.sync_directory(directory)


def end_swap(swap: Swap, locations: Locations, epoch: Epoch) -> None:
    """Do the step 4; the new mags are visible."""
    data, state = locations.remade_data(swap.layer), locations.remade_state(swap.layer)
    for directory in {data / _OLD, state / _OLD}:
        epoch.check()
        disk.remove_tree(directory, locations.root_of(directory))
    if data != state:
        remove_directory(data, locations.data_scratch(epoch))
    disk.rename(swap_file(locations, swap.layer), done_file(locations, swap.layer))
    disk.sync_directory(state)


def forget_done(locations: Locations) -> None:
    """Remove the place for what is made anew, if nothing is on its way there; for the main process, when its jobs have ended."""
    if not is_remaking(locations):
        for directory in {locations.remade_state(""), locations.remade_data("")}:
            disk.remove_tree(directory, locations.root_of(directory))


def remove_abandoned_remakes(layer: LayerPlan, locations: Locations, epoch: Epoch) -> None:
    """Remove what was begun beside a layer's mags and is not what is being made beside them now; a swap that has begun stays."""
    data, state = locations.remade_data(layer.name), locations.remade_state(layer.name)
    if swap_file(locations, layer.name).exists() or done_file(locations, layer.name).exists():
        return
    kept = {str(mag) for name, mag in locations.remade if name == layer.name}
    for parent, scratch in ((data / ARRAYS, locations.data_scratch(epoch)), (state / LEDGERS, locations.scratch(epoch))):
        for entry in sorted(parent.iterdir()) if parent.is_dir() else ():
            if entry.name not in kept:
                remove_directory(entry, scratch)
    remove_directory(data / _OLD, locations.data_scratch(epoch))
    remove_directory(state / _OLD, locations.scratch(epoch))
    if not kept:
        remove_directory(data, locations.data_scratch(epoch))
        remove_directory(state, locations.scratch(epoch))

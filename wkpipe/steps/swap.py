"""Put rebuilt mags in the place of the old ones, so that readers see the old ones, none, or the new ones.

The arrays and ledgers of new mags are made elsewhere, see `Locations.remade`. When all is proven, a note (`Swap`) is written:
from then on the swap must be finished. Every step can be repeated, so any run that finds the note can resume:

1. The old mags leave the properties.
2. Their directories are moved aside to be deleted later; the directories of the new mags are moved to their place.
3. The new mags enter the properties (`publish_layers`).
4. The old directories are deleted; the note is renamed, and removed when the run has finished all layers.

Where nothing can be renamed, new mags are made in new directories of the layer (`wkpipe.stored.generations`). Then there are no
steps 1 and 2: the properties change from the old mags to the new ones at once.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wkpipe.errors import TryAgain
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.store import PropertiesFile
from wkpipe.plan.plan import LayerPlan
from wkpipe.storage.lease import Epoch
from wkpipe.storage.place import Place
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.locations import ARRAYS, LEDGERS, REMADE, Locations
from wkpipe.stored.swap import (
    Swap,
    done_file,
    is_directory_of,
    is_placed,
    is_remaking,
    is_swapped,
    is_swapping,
    load_swap,
    swap_file,
    unpublished,
)

_OLD = "old"


def noted_swap(layer: LayerPlan, new: Sequence[MagProperties], file: PropertiesFile, locations: Locations, epoch: Epoch) -> Swap | None:
    """Return the swap that a layer's plan needs, after writing its note; or the swap that an earlier run has begun.

    Raises:
        TryAgain: another run has begun a swap since the plan was made.
    """
    if not layer.discarded:
        return None
    begun = load_swap(locations, layer.name)
    if begun is not None and new:
        raise TryAgain(
            "another run has put its mags in place since this one was planned",
            where=f"layer {layer.name}",
            fix="run the same command again",
        )
    if begun is not None or not new:
        return begun
    dataset = StoredDataset(locations, file.read())
    entry = dataset.layer(layer.name)
    old = [mag for mag in entry.mags if mag.mag in layer.discarded and dataset.owns(entry, mag)]
    names = [(mag.mag, Path(dataset.mag_place(entry, mag).real()).name) for mag in old]
    directories = tuple(name for mag, name in names if is_directory_of(name, mag))  # data under other names stays on the disk
    swap = Swap(layer.name, layer.discarded, directories, tuple(new))
    swap_file(locations, layer.name).put(swap.to_bytes(), locations.scratch(epoch))
    return swap


def put_in_place(swaps: Sequence[Swap], file: PropertiesFile, locations: Locations, epoch: Epoch) -> None:
    """Do steps 1 and 2."""

    def change(properties: DatasetProperties) -> DatasetProperties:
        for swap in renamed:
            properties = properties.with_layer(swap.without_old(properties.layer(swap.layer)))
        return properties

    renamed = [swap for swap in swaps if not swap.is_by_path]
    if any(locations.remade_state(swap.layer).has(LEDGERS) for swap in renamed):
        file.update(change)
    for swap in renamed:
        _rename(swap, locations, epoch)


def _rename(swap: Swap, locations: Locations, epoch: Epoch) -> None:
    mags = [entry.mag for entry in swap.new]
    placed = replace(locations, remade=frozenset(), generations={})
    apart = replace(placed, remade=frozenset((swap.layer, mag) for mag in mags))
    data, state = _remade(swap.layer, locations, epoch)
    locations.data.refuse_links(swap.layer)
    layer = locations.data.child(swap.layer).writing(locations.data_scratch(epoch))
    for name in sorted({*swap.directories} - {str(mag) for mag in mags}):
        _set_aside(layer.child(name), data)
    ledgers = locations.ledgers.child(swap.layer).writing(locations.scratch(epoch))
    for name in sorted({*swap.old_ledgers} - {str(mag) for mag in mags}):
        _set_aside(ledgers.child(name), state)
    for mag in mags:
        _replace(apart.array(swap.layer, mag).writing(locations.data_scratch(epoch)), placed.array(swap.layer, mag), data)
        _replace(apart.records(swap.layer, mag, locations.scratch(epoch)), placed.ledger(swap.layer, mag), state)
    data.remove_below(ARRAYS)  # both are empty
    state.remove_below(LEDGERS)


def _remade(layer: str, locations: Locations, epoch: Epoch) -> tuple[Place, Place]:
    """Return the places of a layer's rebuilt arrays and ledgers, for changes by a run."""
    data = locations.remade_data(layer).writing(locations.data_scratch(epoch))
    return data, locations.remade_state(layer).writing(locations.scratch(epoch))


def _replace(new: Place, target: Place, aside: Place) -> None:
    """Move a new array or ledger to its place; if it does not exist, it is in its place already."""
    if new.is_directory():
        _set_aside(target, aside)
        new.move_to(target)


def _set_aside(old: Place, remade: Place) -> None:
    """Move an array or a ledger aside to delete it later: deletion may take long, and the mags are not visible meanwhile."""
    if is_placed(old):
        old.move_to(remade.child(_OLD).child(uuid.uuid4().hex))


def end_swap(swap: Swap, locations: Locations, epoch: Epoch) -> None:
    """Do step 4, after the new mags became visible."""
    if swap.is_by_path:
        _remove_old(swap, locations, epoch)
        return
    data, state = _remade(swap.layer, locations, epoch)
    data.remove_below(_OLD)
    state.remove_below(_OLD)
    if data != state:
        data.remove_below()
    note, done = swap_file(locations, swap.layer), done_file(locations, swap.layer)
    state.child(note.key).move_to(state.child(done.key))


def _remove_old(swap: Swap, locations: Locations, epoch: Epoch) -> None:
    layer = locations.data.child(swap.layer).writing(locations.data_scratch(epoch))
    for name in sorted({*swap.directories} - {*swap.new_names}):
        layer.remove_below(name)
    ledgers = locations.ledgers.child(swap.layer).writing(locations.scratch(epoch))
    for name in sorted({*swap.old_ledgers} - {*swap.new_names}):
        ledgers.remove_below(name)
    done_file(locations, swap.layer).put(swap.to_bytes(), locations.scratch(epoch))
    swap_file(locations, swap.layer).remove(locations.scratch(epoch))


def forget_done(locations: Locations, epoch: Epoch) -> None:
    """Remove what is left of rebuilt mags after all swaps; for the main process, after its jobs have ended."""
    if not is_remaking(locations):
        for place, scratch in ((locations.store, locations.scratch(epoch)), (locations.inside, locations.data_scratch(epoch))):
            if place.has(REMADE) or place.is_link(REMADE):
                place.writing(scratch).remove_below(REMADE)


def remove_abandoned_remakes(layers: Sequence[LayerPlan], locations: Locations, epoch: Epoch) -> None:
    """Remove mags that an earlier run began to rebuild and this run does not; a swap that has begun stays."""
    file = locations.properties_file()
    properties = file.read() if layers and file.is_there() else None  # once: this takes 50 ms if there are hundreds of layers
    known = {} if properties is None else {layer.name: layer for layer in properties.layers}
    may_remake = any(place.has(REMADE) or place.is_link(REMADE) for place in (locations.store, locations.inside))
    for layer in layers:
        if not may_remake or not (is_swapping(locations, layer.name) or is_swapped(locations, layer.name)):
            if layer.name in known:
                _remove_unpublished(known[layer.name], locations, epoch)
            if may_remake:
                _remove_remade(layer.name, locations, epoch)


def _remove_unpublished(layer: LayerProperties, locations: Locations, epoch: Epoch) -> None:
    """Remove mags in new directories that an earlier run began to rebuild; the ledger last, because it shows that they are wkpipe's."""
    for mag, generation in unpublished(locations, layer):
        if locations.generations.get((layer.name, mag)) != generation:
            gone = replace(locations, generations={(layer.name, mag): generation})
            gone.array(layer.name, mag).writing(locations.data_scratch(epoch)).remove_below()
            gone.records(layer.name, mag, locations.scratch(epoch)).remove_below()


def _remove_remade(layer: str, locations: Locations, epoch: Epoch) -> None:
    """Remove mags that were rebuilt beside the old ones, except those that this run goes on with."""
    data, state = _remade(layer, locations, epoch)
    kept = {str(mag) for name, mag in locations.remade if name == layer}
    for place, part in ((data, ARRAYS), (state, LEDGERS)):
        for name in sorted({*place.names(part)} - kept):
            place.remove_below(f"{part}/{name}")
        place.remove_below(_OLD)
    if not kept:
        data.remove_below()
        state.remove_below()

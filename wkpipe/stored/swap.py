"""Swap: the note that rebuilt mags are taking the place of the old ones; it exists from the beginning to the end of the swap.

A run that finds the note of an earlier run must finish its swap. But the note came with the dataset, so it is not trusted: it
can do no more than any run with ``--overwrite-existing``, or that stores mags in another way. It names mags of its layer that are
coarser than the finest one, or that all have a new one in their place; their directories by the names that mags have; and new mags
that exist beside them or are already in their place.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from wkpipe.errors import MetadataError, UnreadableInput
from wkpipe.geometry import Mag
from wkpipe.metadata.json_node import JsonNode
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties, mag_from_json
from wkpipe.storage.place import Place
from wkpipe.storage.stored_object import StoredObject
from wkpipe.stored.generations import directory_name, generation_of, mag_of
from wkpipe.stored.locations import LEDGERS, REMADE, Locations

_SWAP: Final = "swap.json"
_DONE: Final = "done.json"


@dataclass(frozen=True)
class Swap:
    """A swap of a layer: `old` mags go, `directories` are the names of their directories in the layer's, `new` mags come."""

    layer: str
    old: tuple[Mag, ...]
    directories: tuple[str, ...]
    new: tuple[MagProperties, ...]

    @property
    def is_by_path(self) -> bool:
        """True if the new mags are in new directories, so that nothing is renamed."""
        return any(generation_of(self.layer, entry) for entry in self.new)

    @property
    def old_ledgers(self) -> list[str]:
        """The names of the ledgers of the old mags."""
        named = {name: found[0] for name in self.directories if (found := mag_of(name)) is not None}
        return [*named, *(str(mag) for mag in self.old if mag not in named.values())]

    @property
    def new_names(self) -> list[str]:
        """The names of the directories of the new mags."""
        return [directory_name(entry.mag, generation_of(self.layer, entry)) for entry in self.new]

    def to_bytes(self) -> bytes:
        values = {
            "old": [mag.to_list() for mag in self.old],
            "directories": list(self.directories),
            "new": [entry.to_json() for entry in self.new],
        }
        return json.dumps(values).encode()

    def without_old(self, layer: LayerProperties) -> LayerProperties:
        """Return the layer's entry while directories are renamed: without the old and the new mags."""
        gone = {*self.old, *(entry.mag for entry in self.new)}
        for mag in [entry.mag for entry in layer.mags if entry.mag in gone]:
            layer = layer.without_mag(mag)
        return layer

    def with_new(self, layer: LayerProperties) -> LayerProperties:
        """Return the layer's entry after the swap."""
        layer = self.without_old(layer)
        for entry in self.new:
            layer = layer.with_mag(entry)
        return layer


def swap_file(locations: Locations, layer: str) -> StoredObject:
    """Return the object of a layer's note."""
    return StoredObject(locations.remade_state(layer), _SWAP)


def is_swapped(locations: Locations, layer: str) -> bool:
    """True if new mags of a layer have taken the place of the old ones, but other layers are not done."""
    return done_file(locations, layer).is_there()


def is_swapping(locations: Locations, layer: str) -> bool:
    """True if a run has begun to put new mags of a layer in the place of the old ones."""
    return swap_file(locations, layer).is_there()


def done_file(locations: Locations, layer: str) -> StoredObject:
    """Return the object that the note is renamed to after the swap, so that the same command leaves this layer alone until all are done."""
    return StoredObject(locations.remade_state(layer), _DONE)


def unpublished(locations: Locations, layer: LayerProperties) -> list[tuple[Mag, int]]:
    """Return mag and generation of a layer's mags that a run has begun to rebuild in new directories."""
    known = {(entry.mag, generation_of(layer.name, entry)) for entry in layer.mags}
    found = (mag_of(name) for name in sorted(locations.ledgers.names(layer.name)))
    return [each for each in found if each is not None and each not in known]


def is_remaking(locations: Locations) -> bool:
    """True if mags of any layer are being rebuilt beside old ones or swapped, or were when a run stopped."""
    remade = locations.store.child(REMADE)
    if any(remade.has(f"{layer}/{LEDGERS}") or remade.has(f"{layer}/{_SWAP}") for layer in remade.names()):
        return True
    file = locations.properties_file()
    return not locations.can_swap and file.is_there() and any(unpublished(locations, layer) for layer in file.read().layers)


def load_swap(locations: Locations, layer: str) -> Swap | None:
    """Return the swap of a layer that is under way; None if there is none.

    Raises:
        MetadataError: the note cannot be read, or wkpipe cannot have written it.
    """
    path = swap_file(locations, layer)
    try:
        node = JsonNode.read(path)
        if node is None:
            return None
        old = tuple(mag_from_json(item) for item in node.child("old").items())
        names = tuple(_directory(item, old) for item in node.child("directories").items())
        new = tuple(_new_mag(item, layer) for item in node.child("new").items())
        if not new:
            raise node.child("new").error("at least one mag")
        swap = Swap(layer, old, names, new)
        _check_coarser(swap, locations, node)
        _check_there(swap, locations, node)
        return swap
    except (MetadataError, UnreadableInput) as error:
        raise MetadataError.of(error.but(fix="remove the file and make the mags again with --overwrite-existing")) from None


def is_directory_of(name: str, mag: Mag) -> bool:
    """True if a mag's directory may have a name: its short or long name, or that of a generation."""
    found = mag_of(name)
    return name in (str(mag), mag.to_long_str()) if found is None else found[0] == mag


def _directory(node: JsonNode, mags: Sequence[Mag]) -> str:
    """Return the name of a directory, which must be a name of one of the given mags."""
    text = node.text()
    if not any(is_directory_of(text, mag) for mag in mags):
        raise node.error("the directory of one of the old mags")
    return text


def _new_mag(node: JsonNode, layer: str) -> MagProperties:
    entry = MagProperties.from_json(node)
    if entry.path != f"./{layer}/{directory_name(entry.mag, generation_of(layer, entry))}":
        raise node.child("path").error(f"./{layer}/{entry.mag}")
    return entry


def _check_coarser(swap: Swap, locations: Locations, node: JsonNode) -> None:
    """Check that the finest mag of the layer stays, because all others are made from it; or that every old mag has a new one."""
    if {*swap.old} == {entry.mag for entry in swap.new}:
        return
    layer = locations.properties_file().read().layer(swap.layer)
    # While directories are renamed, neither old nor new mags are in the properties, but the finest one always is.
    finest = min((entry.mag for entry in layer.mags), default=None)
    named = {*swap.old, *(entry.mag for entry in swap.new)}
    if finest is None or any(mag == finest or any(a < b for a, b in zip(mag, finest, strict=True)) for mag in named):
        raise node.child("old").error(f"mags that are coarser than {finest}, the finest of layer {swap.layer}")


def _check_there(swap: Swap, locations: Locations, node: JsonNode) -> None:
    """Check that the new mags exist: all beside the old ones as long as anything of these is in its place."""
    mags = [entry.mag for entry in swap.new]
    if swap.is_by_path:
        layer = locations.data.child(swap.layer)
        if lost_names := [name for name in swap.new_names if not layer.is_directory(name)]:
            raise node.child("new").error(f"mags that were made: {layer.path(lost_names[0])} does not exist")
        return
    place = replace(locations, remade=frozenset(), generations={})
    apart = replace(place, remade=frozenset((swap.layer, mag) for mag in mags))
    lost = [mag for mag in mags if not _is_there(apart, swap.layer, mag) and not _is_there(place, swap.layer, mag)]
    old = [locations.data.child(swap.layer).child(name) for name in {*swap.directories} - {str(mag) for mag in mags}]
    old += [locations.ledgers.child(swap.layer).child(name) for name in swap.old_ledgers if name not in swap.new_names]
    if any(map(is_placed, old)):  # all of these are set aside before the first new mag gets its place
        lost = [mag for mag in mags if not _is_there(apart, swap.layer, mag)]
    if lost:
        raise node.child("new").error(f"mags that were made: mag {lost[0]} is not in {apart.array(swap.layer, lost[0]).path().parent}")


def _is_there(locations: Locations, layer: str, mag: Mag) -> bool:
    return locations.array(layer, mag).is_directory()


def is_placed(place: Place) -> bool:
    """True if there is anything, also a link that leads nowhere."""
    return place.is_link() or place.has("")

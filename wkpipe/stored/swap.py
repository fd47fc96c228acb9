"""Swap: the note that mags which were made anew take the place of the old ones; while it is there, that has begun and not ended.

A run finds the note that an earlier run has left, and must end what that has begun. But the note came with the dataset: it is
data. So it can do no more than any run with ``--overwrite-existing``: it names mags of its layer that are coarser than the
finest one, their directories by the names that mags have, and new mags that exist beside them or are in their place already.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wkpipe.errors import MetadataError, UnreadableInput
from wkpipe.geometry import Mag
from wkpipe.metadata.json_node import JsonNode
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties, mag_from_json
from wkpipe.metadata.store import PropertiesFile
from wkpipe.stored.locations import LEDGERS, Locations


@dataclass(frozen=True)
class Swap:
    """`old` are the mags of a layer that go, `directories` the names of their directories in the layer's, `new` the mags that come."""

    layer: str
    old: tuple[Mag, ...]
    directories: tuple[str, ...]
    new: tuple[MagProperties, ...]

    def to_bytes(self) -> bytes:
        values = {
            "old": [mag.to_list() for mag in self.old],
            "directories": list(self.directories),
            "new": [entry.to_json() for entry in self.new],
        }
        return json.dumps(values).encode()

    def without_old(self, layer: LayerProperties) -> LayerProperties:
        """Return the layer's entry as it is while directories are renamed: with neither the old mags nor the new ones."""
        gone = {*self.old, *(entry.mag for entry in self.new)}
        for mag in [entry.mag for entry in layer.mags if entry.mag in gone]:
            layer = layer.without_mag(mag)
        return layer

    def with_new(self, layer: LayerProperties) -> LayerProperties:
        """Return the layer's entry as it is in the end."""
        layer = self.without_old(layer)
        for entry in self.new:
            layer = layer.with_mag(entry)
        return layer


def swap_file(locations: Locations, layer: str) -> Path:
    """Return where the note of a layer lies."""
    return locations.remade_state(layer) / "swap.json"


def done_file(locations: Locations, layer: str) -> Path:
    """Return what the note becomes in the end: while other layers are not done, the same command leaves this one as it is."""
    return locations.remade_state(layer) / "done.json"


def is_remaking(locations: Locations) -> bool:
    """Tell whether mags of any layer are being made beside old ones, or take their place; or were, when a run stopped."""
    state = locations.remade_state("")
    layers = state.iterdir() if state.is_dir() else ()
    return any((layer / LEDGERS).exists() or swap_file(locations, layer.name).exists() for layer in layers)


def load_swap(locations: Locations, layer: str) -> Swap | None:
    """Return the swap of a layer that has begun; None where there is none.

    Raises:
        MetadataError: the note can not be read, or no run of wkpipe can have written it.
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
        raise MetadataError(f"{error}; remove the file and make the mags again with --overwrite-existing") from None


def directory_names(mag: Mag) -> tuple[str, str]:
    """Return the names that a mag's directory may have: short and long."""
    return str(mag), mag.to_long_str()


def _directory(node: JsonNode, mags: Sequence[Mag]) -> str:
    """Return the name of a directory, which must be one that the given mags have."""
    text = node.text()
    if text not in {name for mag in mags for name in directory_names(mag)}:
        raise node.error("the directory of one of the old mags")
    return text


def _new_mag(node: JsonNode, layer: str) -> MagProperties:
    entry = MagProperties.from_json(node)
    if entry.path != f"./{layer}/{entry.mag}":
        raise node.child("path").error(f"./{layer}/{entry.mag}")
    return entry


def _check_coarser(swap: Swap, locations: Locations, node: JsonNode) -> None:
    """Make sure that the finest mag of the layer stays: everything else is made of it."""
    layer = PropertiesFile(locations.dataset, locations.state).read().layer(swap.layer)
    # While directories are renamed, neither old nor new mags are in the properties: the finest one always is.
    finest = min((entry.mag for entry in layer.mags), default=None)
    named = {*swap.old, *(entry.mag for entry in swap.new)}
    if finest is None or any(mag == finest or any(a < b for a, b in zip(mag, finest, strict=True)) for mag in named):
        raise node.child("old").error(f"mags that are coarser than {finest}, the finest of layer {swap.layer}")


def _check_there(swap: Swap, locations: Locations, node: JsonNode) -> None:
    """Make sure that the new mags exist: beside the old ones, all of them, as long as anything of the old ones is in its place."""
    mags = [entry.mag for entry in swap.new]
    apart = replace(locations, remade=frozenset((swap.layer, mag) for mag in mags))
    place = replace(locations, remade=frozenset())
    lost = [mag for mag in mags if not apart.array(swap.layer, mag).is_dir() and not place.array(swap.layer, mag).is_dir()]
    old = [locations.dataset / swap.layer / name for name in {*swap.directories} - {str(mag) for mag in mags}]
    old += [place.ledger(swap.layer, mag) for mag in swap.old if mag not in mags]
    if any(map(os.path.lexists, old)):  # these are set aside before the first of the new ones gets its place
        lost = [mag for mag in mags if not apart.array(swap.layer, mag).is_dir()]
    if lost:
        raise node.child("new").error(f"mags that were made: mag {lost[0]} is not in {apart.array(swap.layer, lost[0]).parent}")

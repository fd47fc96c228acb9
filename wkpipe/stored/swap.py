"""Swap: the note that mags which were made anew take the place of the old ones; while it is there, that has begun and not ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from wkpipe.errors import MetadataError, UnreadableInput
from wkpipe.geometry import Mag
from wkpipe.metadata.json_node import JsonNode
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties, mag_from_json
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
        MetadataError: the note can not be read, or is none.
    """
    path = swap_file(locations, layer)
    try:
        node = JsonNode.read(path)
        if node is None:
            return None
        names = tuple(_name(item) for item in node.child("directories").items())
        old = tuple(mag_from_json(item) for item in node.child("old").items())
        return Swap(layer, old, names, tuple(MagProperties.from_json(item) for item in node.child("new").items()))
    except (MetadataError, UnreadableInput) as error:
        raise MetadataError(f"{error}; remove the file and make the mags again with --overwrite-existing") from None


def _name(node: JsonNode) -> str:
    text = node.text()
    if text in ("", ".", "..") or "/" in text or "\0" in text:
        raise node.error("the name of a directory")
    return text

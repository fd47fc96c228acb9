"""Removal of mags and layers: first from the properties, then from the disk."""

from __future__ import annotations

from wkpipe.dataset.live_layer import LiveLayer
from wkpipe.dataset.live_properties import LiveProperties
from wkpipe.errors import InputRefused
from wkpipe.geometry import Mag
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.runs.permission import check_all_removable
from wkpipe.storage.place import Place
from wkpipe.storage.scratch import Scratch
from wkpipe.stored.places import place_at
from wkpipe.stored.published import marker_object


def remove_mag(layer: LiveLayer, mag: Mag) -> None:
    """Take a mag out of the properties, then remove its array and ledger; of a link, only the link is removed.

    Raises:
        MagNotFound: the layer has no such mag.
        InputRefused: its array belongs to another layer too.
        TryAgain: a run works on the dataset.
    """
    live = layer.live
    live.check_free()
    properties = layer.properties
    entry = properties.mag(mag)
    arrays = [] if entry.is_remote else _removable(layer, properties, entry)
    for place in arrays:
        _check_unused(live, place, layer.name)
    gone = [*arrays, live.locations.ledger(layer.name, mag)]
    check_all_removable(gone)
    live.update_layer(layer.name, lambda current: current.without_mag(mag))
    for place in gone:
        place.writing(live.scratch()).remove_below()


def _removable(layer: LiveLayer, properties: LayerProperties, entry: MagProperties) -> list[Place]:
    """Return what is removed with a mag: its array if it is in the layer's directory, else the links there that lead to it."""
    stored = layer.live.stored()
    place = stored.mag_place(properties, entry)
    if stored.owns(properties, entry) or (place.is_link() and place_at(place.path().parent).real() == layer.place.real()):
        return [place]
    if layer.live.fixed.data.is_link(layer.name):
        return []
    links = [layer.place.child(name) for name in dict.fromkeys((str(entry.mag), entry.mag.to_long_str()))]
    return [link for link in links if link.is_link() and link.real() == place.real()]


def remove_layer(live: LiveProperties, name: str) -> None:
    """Take a layer out of the properties, then remove its directory, ledgers and unfinished mags; of a link, only the link is removed.

    Raises:
        LayerNotFound: the dataset has no such layer.
        InputRefused: another layer shows its data.
        TryAgain: a run works on the dataset.
    """
    live.check_free()
    live.layer(name)
    at = live.locations
    _check_unused(live, at.data.child(name), name)
    gone = dict.fromkeys((at.data.child(name), at.remade_data(name), at.remade_state(name), at.ledgers.child(name)))
    check_all_removable(gone)
    live.update(lambda properties: properties.without_layer(name))
    marker_object(at.store, name).remove(Scratch(at.temporary))
    for place in gone:
        place.writing(live.scratch()).remove_below()


def _check_unused(live: LiveProperties, place: Place, name: str) -> None:
    """Refuse to remove a directory of a layer in which another layer has a mag. A link may go: what it leads to stays."""
    if not place.is_link() and (other := live.stored().user_of(place, name)) is not None:
        raise InputRefused(
            f"layer {other} shows the data in {place.path()}, which would be lost",
            where=f"layer {name}",
            fix=f"delete the mags of {other} first, or copy them with add_mag_as_copy",
        )

"""Arrivals: mags become mags of a layer by reference, by a link, or because their array is in the layer's directory.

Everything is checked first. Then, under the metadata lock, arrays grow with the layer's box, the array or the link gets its
name, and the properties change as the last step: a crash before that leaves the layer as it was. What it may leave besides, a link
or the copy of an array without an entry in the properties, is replaced when the call is repeated.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from wkpipe.dataset.arriving_mag import ArrivingMag
from wkpipe.dataset.fitting import grow_array, grow_arrays_of
from wkpipe.dataset.live_layer import LiveLayer
from wkpipe.dataset.new_mag import check_remains, clear_remains
from wkpipe.errors import AlreadyExists, InputRefused
from wkpipe.geometry import Mag
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.plan.state.recipe import load_recipe
from wkpipe.runs.permission import check_all_removable
from wkpipe.storage.copying import bytes_to_copy, copy_all
from wkpipe.storage.links import make_link
from wkpipe.storage.place import Place
from wkpipe.storage.removal import remove_older
from wkpipe.storage.scratch import Scratch
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.lease import DatasetLease, Lookout
from wkpipe.stored.places import place_at

Arriving = Callable[[LayerProperties], ArrivingMag]


@dataclass(frozen=True)
class _Way:
    """How a mag arrives. check: refuses what is not possible, before any change. put: makes what the entry names."""

    check: Callable[[ArrivingMag], None]
    put: Callable[[ArrivingMag], None]


def refer_to(layer: LiveLayer, mag: ArrivingMag, extends_box: bool) -> None:
    """Add a mag that is elsewhere: only the properties name it.

    Raises:
        MagExists, ExistsDifferently: see `ArrivingMag.joined`.
        AlreadyExists: there are other data in the place of the mag.
        TryAgain: a run works on the dataset.
    """
    way = _Way(lambda _: _check_vacant(layer, mag.entry.mag), lambda _: forget_records(layer, mag.entry.mag))
    _check_elsewhere(layer, mag)
    _registered(layer, lambda _: mag.seen_from(layer.live.fixed.data), extends_box, way)


def link_to(layer: LiveLayer, mag: ArrivingMag, extends_box: bool, is_relative: bool) -> None:
    """Add a mag that is elsewhere, with a link to it in the layer's directory; raises as `refer_to`."""
    if mag.entry.is_remote:
        raise InputRefused(f"{mag.entry.path} is remote, and no link leads there", fix="use add_mag_as_ref")
    _check_elsewhere(layer, mag)
    data, real, name = layer.live.fixed.data, str(mag.entry.path), str(mag.entry.mag)

    def check(_: ArrivingMag) -> None:
        data.refuse_links(layer.name)
        if not (layer.place.is_link(name) and layer.place.real(name) == real):
            _check_vacant(layer, mag.entry.mag)
        layer.place.check_writable(fix=_FIX)

    def put(_: ArrivingMag) -> None:
        forget_records(layer, mag.entry.mag)
        make_link(layer.place, name, os.path.relpath(real, layer.place.path()) if is_relative else real)

    named = replace(mag, entry=replace(mag.entry, path=os.path.relpath(real, data.path()))) if is_relative else mag
    _registered(layer, lambda _: named, extends_box, _Way(check, put))


def adopt(layer: LiveLayer, mag: Mag, extends_box: bool) -> None:
    """Add a mag whose array is in the layer's directory already.

    Raises:
        MagExists, ExistsDifferently: see `ArrivingMag.joined`.
        UnreadableInput, MetadataError: there is no array of the layer's format.
        InputRefused: an interrupted run was making it.
        TryAgain: a run works on the dataset.
    """
    names = [name for name in (str(mag), mag.to_long_str()) if layer.place.is_directory(name)]
    directory = names[0] if names else str(mag)

    def arriving(properties: LayerProperties) -> ArrivingMag:
        return ArrivingMag.of_array(layer.place.child(directory), properties, mag, f"./{layer.name}/{directory}")

    _registered(layer, arriving, extends_box, _Way(lambda _: check_finished(layer, mag), lambda _: forget_records(layer, mag)))


def take_over(layer: LiveLayer, mag: Mag, path: Path, is_moved: bool, extends_box: bool) -> None:
    """Copy or move an array into the layer's directory and add it as a mag.

    A moved array is removed from its old place when the mag is registered; until then, both places have its files.

    Raises:
        MagExists, ExistsDifferently: see `ArrivingMag.joined`.
        AlreadyExists: there are other data in the place of the mag.
        UnreadableInput, MetadataError: there is no array of the layer's format.
        InputRefused: the array contains a link, or must not be moved away.
        TryAgain: a run works on the dataset.
    """
    live, at = layer.live, layer.live.fixed
    source = place_at(Path(place_at(path).real()))

    def arriving(properties: LayerProperties) -> ArrivingMag:
        return ArrivingMag.of_array(source, properties, mag, f"./{layer.name}/{mag}")

    def check(_: ArrivingMag) -> None:
        check_remains(layer, mag)

    live.check_free()
    properties = live.current()
    live.file.check(properties.with_layer(arriving(layer.properties).joined(layer.properties, extends_box)))
    check_remains(layer, mag)
    _check_apart(layer, mag, source)
    if is_moved:
        _check_movable(live.stored(), path, source)
    size = bytes_to_copy(source.path())
    is_near = is_moved and source.volume() == at.data.volume()
    if not is_near:
        at.data.check_room(size)
    with DatasetLease(at) as lease:
        scratch = at.data_scratch(lease.epoch)
        remove_older(scratch)
        copy = place_at(scratch.new_path()).writing(scratch)

        def put(_: ArrivingMag) -> None:
            clear_remains(layer, mag)
            live.locations.copied(layer.name, mag).put(b"{}", Scratch(at.temporary))
            copy.move_to(live.locations.array(layer.name, mag))

        try:
            copy_all(source.path(), copy.path(), hard_links=is_near)
            live.update(_change(layer, arriving, extends_box, _Way(check, put)))
            live.locations.copied(layer.name, mag).remove(Scratch(at.temporary))
            if is_moved:
                source.writing(scratch).remove_below()
        finally:
            scratch.remove()


def _registered(layer: LiveLayer, arriving: Arriving, extends_box: bool, way: _Way) -> None:
    """Add a mag to the properties, unless a run works on the dataset."""
    live = layer.live
    live.check_free()
    with Lookout.begin(live.fixed).refusals_checked():
        live.update(_change(layer, arriving, extends_box, way))


def _change(layer: LiveLayer, arriving: Arriving, extends_box: bool, way: _Way) -> Callable[[DatasetProperties], DatasetProperties]:
    """Return the change that adds a mag: all checks, then the box of the other arrays, then the array, then the properties."""
    live = layer.live

    def change(properties: DatasetProperties) -> DatasetProperties:
        before = properties.layer(layer.name)
        mag = arriving(before)
        after = mag.joined(before, extends_box)
        changed = properties.with_layer(after)
        live.file.check(changed)
        check_all_removable((live.locations.ledger(layer.name, mag.entry.mag),))
        way.check(mag)
        grow_arrays_of(live, properties, before, after)
        way.put(mag)
        grow_array(live, changed, after, mag.entry.mag)
        return changed

    return change


def check_finished(layer: LiveLayer, mag: Mag) -> None:
    """Refuse an array that a run has begun to make.

    Raises:
        InputRefused: it has.
    """
    if load_recipe(layer.live.locations, layer.name, mag) is not None:
        raise InputRefused(
            f"mag {mag} is not finished: a run that was making it has stopped",
            where=f"layer {layer.name}",
            fix="run the same command again to resume, or remove the directory",
        )


def forget_records(layer: LiveLayer, mag: Mag) -> None:
    """Remove the records of an earlier mag of this name."""
    layer.live.locations.ledger(layer.name, mag).writing(layer.live.scratch()).remove_below()


def _check_vacant(layer: LiveLayer, mag: Mag) -> None:
    """Refuse a mag that is elsewhere if there is anything by its name in the layer's directory."""
    for name in (str(mag), mag.to_long_str()):
        if layer.place.is_link(name) or layer.place.has(name):
            what = f"{layer.place.path(name)} exists but is not a mag of layer {layer.name}"
            raise AlreadyExists(what, fix="use add_mag_for_existing_files, or remove it")


def _check_elsewhere(layer: LiveLayer, mag: ArrivingMag) -> None:
    """Refuse a reference to an array of the layer itself: it would be deleted with either mag."""
    if not mag.entry.is_remote and Path(str(mag.entry.path)).parent == Path(layer.place.real()):
        raise InputRefused("the array is in the layer's own directory", where=mag.entry.path, fix="add it to another layer")


def _check_apart(layer: LiveLayer, mag: Mag, source: Place) -> None:
    """Refuse to copy an array to where it is."""
    target, path = layer.place.child(str(mag)), source.path()
    place = Path(target.real())
    if place.is_relative_to(path) or path.is_relative_to(place):
        raise InputRefused("the array is in the place of the mag already", where=path, fix="use add_mag_for_existing_files")


def _check_movable(stored: StoredDataset, path: Path, source: Place) -> None:
    """Refuse to move an array away that is a mag of this dataset, or that a link leads to."""
    if place_at(path).is_link():
        raise InputRefused("it is a link, and nothing is moved through a link", where=path, fix="give the path of the array itself")
    for layer in stored.properties.layers:
        for entry in layer.mags:
            if not entry.is_remote and stored.mag_place(layer, entry).real() == source.real():
                raise InputRefused(f"it is mag {entry.mag} of layer {layer.name}", where=path, fix="leave move out to copy it")
    check_all_removable((source,))


_FIX = "ask its owner for the right to write it (as with chmod g+w)"

"""Give a layer another name: its directory, its records, and all that names it follow.

Everything is checked first. Then a note is written (`wkpipe.stored.renaming`); from there on, the renaming must be ended. Each step can
be repeated, so whoever finds the note ends it:

1. The records of the layer are moved. Recipes, also those of other layers that were copied from it, get the new name. They keep the
   name that the layer had when the mags were made, because it is part of the hash in the records (`MagPlan.first_name`).
2. The directory is moved; if it is a link, the link.
3. The properties change.
4. The published marker of the old name is removed, then the note.

Steps 1 to 3 are done under the metadata lock, one right after the other: readers see the old name or the new one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from wkpipe.errors import AlreadyExists, InputRefused, MetadataError
from wkpipe.metadata.attachments import directory_of
from wkpipe.metadata.json_node import MAX_BYTES
from wkpipe.metadata.layer_names import alike, check_new_layer_name
from wkpipe.metadata.properties import PROPERTIES_FILE_NAME, DatasetProperties
from wkpipe.metadata.renamed_layer import with_renamed_layer
from wkpipe.plan.state.recipe import load_recipe, renamed_recipes
from wkpipe.runs.permission import check_writable_state
from wkpipe.storage.lease import Epoch
from wkpipe.storage.lock import WRITING, MetadataLock
from wkpipe.storage.place import Place
from wkpipe.storage.removal import remove_older
from wkpipe.storage.stored_object import put_all
from wkpipe.stored.lease import DatasetLease, Lookout, elsewhere_text, state_elsewhere
from wkpipe.stored.locations import LEDGERS, Locations
from wkpipe.stored.places import place_at
from wkpipe.stored.published import marker_object
from wkpipe.stored.renaming import Renaming, renaming_note
from wkpipe.stored.swap import is_remaking

_FIX: Final = "ask its owner for the right to write it (as with chmod g+w)"


def rename_layer(locations: Locations, old: str, new: str) -> None:
    """Give a layer another name.

    Raises:
        LayerNotFound: there is no layer `old`.
        AlreadyExists: another layer, or another directory, has the name `new`.
        InputRefused: the name is not possible; or a link leads to the layer, or its mags are being rebuilt.
        NotWritable: the dataset or its state cannot be written; nothing was changed.
        TryAgain: a run works on the dataset.
    """
    check_new_layer_name(new)
    with Lookout.begin(locations).refusals_checked():
        _check(locations, old, new)
    with DatasetLease(locations) as lease:
        _await_writers(locations.locks)
        _check(locations, old, new)
        for scratch in (locations.data_scratch(lease.epoch), locations.scratch(lease.epoch)):
            remove_older(scratch)
        # Records of an earlier layer of that name, which is gone.
        locations.ledgers.child(new).writing(locations.scratch(lease.epoch)).remove_below()
        renaming = Renaming(old, new, str(locations.state))
        renaming_note(locations).put(renaming.to_bytes(), locations.data_scratch(lease.epoch))
        _end(renaming, locations, lease.epoch)


def end_renaming(locations: Locations, break_lock: bool = False) -> Renaming | None:
    """End a renaming that was stopped, and return it; None if there is none.

    Raises:
        TryAgain: a run works on the dataset, or the state is another one than that of the renaming.
        AlreadyExists: meanwhile, something else has the new name.
        NotWritable: the dataset cannot be written.
    """
    if not renaming_note(locations).is_there():
        return None
    with DatasetLease(locations, break_lock) as lease:
        if (found := Renaming.load(locations)) is not None:
            _end(found, locations, lease.epoch)
        return found


def _await_writers(locks: Place) -> None:
    """Wait for those who change a storage shard outside of a run; they begin no other one while a run has the lease.

    Raises:
        TryAgain: one of them takes too long.
    """
    for name in locks.names():
        if name.startswith(WRITING) and name.endswith(".lock"):
            with MetadataLock(locks, name=name, lasting=False):
                pass


# -- checks ---------------------------------------------------------------------------------------------------------


def _check(locations: Locations, old: str, new: str) -> None:
    properties = locations.properties_file().read()
    layer = properties.layer(old)
    locations.properties_file().check(_renamed(properties, locations, old, new))
    _check_free_name(locations.data, old, new)
    if (elsewhere := state_elsewhere(locations)) is not None:
        raise InputRefused(elsewhere_text(elsewhere), where=locations.dataset, fix="set WKPIPE_STATE_DIR to that directory")
    if is_remaking(locations):
        what = "mags of the dataset are being rebuilt by a run that was stopped"
        raise InputRefused(what, where=f"layer {old}", fix="complete that with `wkpipe downsample` first")
    for link in _links_to(locations.data, properties, old):
        raise InputRefused(
            f"the link {link} leads to its data, and would lead nowhere",
            where=f"layer {old}",
            fix="remove it first, or use a reference (add_mag_as_ref), which follows",
        )
    published = locations.published(properties)
    for entry in layer.mags:
        load_recipe(published, old, entry.mag)  # raises if it is damaged: it could not follow
    locations.data.check_replaceable(PROPERTIES_FILE_NAME, _FIX)
    locations.data.check_writable(fix=_FIX)
    locations.store.check_writable(LEDGERS, fix=_FIX)
    check_writable_state(locations)


def _check_free_name(data: Place, old: str, new: str) -> None:
    """Refuse the name of anything else in the dataset's directory; the old name in other case is the layer's own."""
    if new in data.names() or (data.has(new) and alike(new, [old]) is None):
        raise AlreadyExists(f"{data.path(new)} exists but is not a layer of the dataset", fix="move it away, or remove it")


def _links_to(data: Place, properties: DatasetProperties, name: str) -> Iterator[Path]:
    """Yield the links in the directories of layers that lead into the directory of one of them."""
    if data.is_link(name) or not data.is_directory(name):  # the data are elsewhere, and stay there
        return
    real = Path(data.real(name))
    for key in _entries_of_layers(data, properties):
        if data.is_link(key) and Path(data.real(key)).is_relative_to(real):
            yield data.path(key)


def _entries_of_layers(data: Place, properties: DatasetProperties) -> Iterator[str]:
    """Yield the directories of the layers, what is in them, and what is in their directories of attachments."""
    for layer in properties.layers:
        yield layer.name
        if data.is_link(layer.name):
            continue
        kinds = {directory_of(kind) for kind, _ in layer.attachments.each()}
        for name in sorted(data.names(layer.name)):
            yield f"{layer.name}/{name}"
            if name in kinds and not data.is_link(f"{layer.name}/{name}"):
                yield from (f"{layer.name}/{name}/{inner}" for inner in sorted(data.names(f"{layer.name}/{name}")))


# -- changes --------------------------------------------------------------------------------------------------------


def _end(renaming: Renaming, locations: Locations, epoch: Epoch) -> None:
    """Do all steps, or those that are left."""
    old, new = renaming.old, renaming.new
    if renaming.state != str(locations.state):
        raise renaming.stopped(locations).but(fix=f"it has its state in {renaming.state}: give that with --state-dir or WKPIPE_STATE_DIR")
    scratch, data_scratch, note = locations.scratch(epoch), locations.data_scratch(epoch), renaming_note(locations)

    def change(properties: DatasetProperties) -> DatasetProperties | None:
        if properties.has_layer(old) == properties.has_layer(new):
            found = f"layers {old} and {new}" if properties.has_layer(old) else f"neither a layer {old} nor a layer {new}"
            raise MetadataError(where=note.path, found=found, expected="one of them", fix="remove the file")
        if properties.has_layer(new):
            return None
        changed = _renamed(properties, locations, old, new)
        file.check(changed)
        _move(locations.ledgers.writing(scratch), old, new)
        put_all(renamed_recipes(locations, old, new), scratch)
        _move(locations.data.writing(data_scratch), old, new)
        return changed

    file = locations.properties_file(data_scratch)
    file.update(change)
    attaching, held = locations.attaching(old), locations.attaching(old).content(MAX_BYTES)
    if held is not None:
        locations.attaching(new).put(held, scratch)
        attaching.remove(scratch)
    for rest, used in ((locations.remade_state(old), scratch), (locations.remade_data(old), data_scratch)):
        rest.writing(used).remove_below()
    marker_object(locations.store, old).remove(scratch)
    note.remove(data_scratch)
    for used in (scratch, data_scratch):
        used.remove()


def _renamed(properties: DatasetProperties, locations: Locations, old: str, new: str) -> DatasetProperties:
    return with_renamed_layer(properties, old, new, lambda path: _moved(path, locations.data, old, new))


def _move(place: Place, old: str, new: str) -> None:
    """Rename a directory, or the link in its place, unless that is done."""
    names = place.names()
    if old not in names:
        return
    if new in names:
        raise AlreadyExists(f"{place.path(new)} exists, so that {old} cannot get that name", fix="move it away, or remove it")
    place.child(old).move_to(place.child(new))


def _moved(path: str, data: Place, old: str, new: str) -> str:
    """Return a path of the properties after the directory `old` of the dataset got the name `new`."""
    for start in ("./", "", f"{data.path()}/"):
        if path == f"{start}{old}" or path.startswith(f"{start}{old}/"):
            return f"{start}{new}{path.removeprefix(f'{start}{old}')}"
    full = Path(os.path.normpath(data.path() / path))
    for parent in full.parents:  # the dataset may be named by another way, as through a link
        inner = full.relative_to(parent)
        if inner.parts[0] == old and place_at(parent).real() == str(data.path()):
            return f"./{new}/{inner.relative_to(old)}"
    return path

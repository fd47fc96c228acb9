"""Check, before the first change, that a run may write and delete all that it must."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from wkpipe.metadata.properties import PROPERTIES_FILE_NAME
from wkpipe.plan.cut.task import PROVE
from wkpipe.plan.plan import Plan
from wkpipe.storage.lease import EPOCH_NAME
from wkpipe.storage.place import Place
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.lease import STATE_NOTE
from wkpipe.stored.locations import COPIES, LEDGERS, RUNS, TEMPORARY, Locations

_DATA_FIX = "ask its owner for the right to write it (as with chmod g+w), or choose another target"
_LOCKS_FIX = "a run keeps its lease there whatever --state-dir says; ask its owner for the right to write it (as with chmod g+w)"
_STATE_FIX = "ask its owner for the right to write it (as with chmod g+w), or use your own state with --state-dir"


def check_permitted(plan: Plan) -> None:
    """Refuse a run that cannot write or delete all that it must; nothing has been changed yet.

    Raises:
        NotWritable: the run cannot; the error names the path, its owner and mode.
    """
    locations = plan.locations
    check_writable_state(locations)
    if not plan.layers:
        return
    locations.data.check_replaceable(PROPERTIES_FILE_NAME, _DATA_FIX)
    for key in (LEDGERS, COPIES):
        locations.store.check_writable(key, fix=_STATE_FIX)
    for layer, mag in {(mag_range.layer, mag_range.mag) for task in plan.tasks if task.rule != PROVE for mag_range in task.ranges}:
        locations.array(layer, mag).check_writable(fix=_DATA_FIX)
    for layer, mag in {(mag_range.layer, mag_range.mag) for task in plan.tasks for mag_range in task.ranges}:
        locations.ledger(layer, mag).check_writable(fix=_STATE_FIX)
    if plan.preparation.remove_target:
        check_emptying(locations)
    check_all_removable(_removed(plan, locations))


def check_writable_state(locations: Locations) -> None:
    """Ensure that a run can write its lease in the dataset, and its state.

    Raises:
        NotWritable: it cannot; the error names the path, its owner and mode.
    """
    for file in (EPOCH_NAME, STATE_NOTE):
        locations.locks.check_replaceable(file, _LOCKS_FIX)
    locations.inside.check_writable(TEMPORARY, fix=_LOCKS_FIX)
    for key in ("", TEMPORARY, RUNS):
        locations.store.check_writable(key, fix=_STATE_FIX)


def check_all_removable(places: Iterable[Place]) -> None:
    """Ensure that places can be removed with all their content.

    Raises:
        NotWritable: one cannot; the error names the path, its owner and mode.
    """
    for place in places:
        place.check_removable(fix="nothing was deleted; ask its owner to remove it, or choose another target")


def check_emptying(locations: Locations) -> None:
    """Ensure that the content of a dataset's directory and state can be deleted.

    Raises:
        NotWritable: something in them cannot be deleted.
    """
    check_all_removable(place.child(name) for place, name in entries_to_delete(locations))


def entries_to_delete(locations: Locations) -> list[tuple[Place, str]]:
    """Return the entries that an emptied target loses: all but the lease, the temporary directories, and the note of the deletion."""
    inside, store = locations.inside, locations.store
    keep = {inside.path(), store.path(), locations.locks.path(), locations.conversion.path, locations.temporary, locations.data_temporary}
    found = [(place, name) for place in dict.fromkeys((locations.data, inside, store)) for name in sorted(place.names())]
    return [(place, name) for place, name in found if place.path(name) not in keep]


def _removed(plan: Plan, locations: Locations) -> Iterator[Place]:
    """Yield the places that a run deletes before its first job, and those that it removes at its end."""
    for layer, mag in plan.preparation.reset:
        yield from (locations.array(layer, mag), locations.ledger(layer, mag))
    for layer_plan in plan.layers:
        yield from (locations.remade_data(layer_plan.name), locations.remade_state(layer_plan.name))
        if layer_plan.discarded:
            yield from discarded_places(locations, layer_plan.name, layer_plan.discarded)


def discarded_places(locations: Locations, layer_name: str, mags: Iterable[object]) -> list[Place]:
    """Return the places of a layer's mags and of their ledgers that new ones replace."""
    stored = StoredDataset(replace(locations, remade=frozenset()), locations.properties_file().read())
    layer, gone = stored.layer(layer_name), set(mags)
    entries = [entry for entry in layer.mags if entry.mag in gone and stored.owns(layer, entry)]
    return [place for entry in entries for place in (stored.mag_place(layer, entry), stored.locations.ledger(layer_name, entry.mag))]

"""Find out, before the first change, whether a run may write and delete all that it has to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from wkpipe.metadata.store import PropertiesFile
from wkpipe.plan.plan import Plan
from wkpipe.plan.task import PROVE
from wkpipe.storage.access import check_removable, check_replaceable, check_writable
from wkpipe.storage.lease import EPOCH_NAME
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.lease import STATE_NOTE
from wkpipe.stored.locations import Locations

_DATA_FIX = "ask its owner for the right to write it (as with chmod g+w), or choose another target"
_LOCKS_FIX = "a run keeps its lease there whatever --state-dir says; ask its owner for the right to write it (as with chmod g+w)"
_STATE_FIX = "ask its owner for the right to write it (as with chmod g+w), or keep a state of your own with --state-dir"


def check_permitted(plan: Plan) -> None:
    """Refuse a run that could not write or delete all that it has to; nothing has been changed yet.

    Raises:
        NotWritable: names the path, its owner and mode.
    """
    locations = plan.locations
    check_writable_state(locations)
    if not plan.layers:
        return
    check_replaceable(PropertiesFile(locations.dataset).path, _DATA_FIX)
    for directory in (locations.ledgers, locations.conversion_copy.parent):
        check_writable(directory, _STATE_FIX)
    for layer, mag in {(part.layer, part.mag) for task in plan.tasks if task.rule != PROVE for part in task.parts}:
        check_writable(locations.array(layer, mag), _DATA_FIX)
    for layer, mag in {(part.layer, part.mag) for task in plan.tasks for part in task.parts}:
        check_writable(locations.ledger(layer, mag), _STATE_FIX)
    if plan.preparation.remove_target:
        check_emptying(locations)
    check_all_removable(_removed(plan, locations))


def check_writable_state(locations: Locations) -> None:
    """Make sure that a run can keep its lease in the dataset, and its state.

    Raises:
        NotWritable: it cannot; names the path, its owner and mode.
    """
    for file in (EPOCH_NAME, STATE_NOTE):
        check_replaceable(locations.locks / file, _LOCKS_FIX)
    check_writable(locations.data_temporary, _LOCKS_FIX)
    for directory in (locations.state, locations.temporary, locations.runs):
        check_writable(directory, _STATE_FIX)


def check_all_removable(paths: Iterable[Path]) -> None:
    """Make sure that files and directories can be removed with all that is in them.

    Raises:
        NotWritable: one cannot; names the path, its owner and mode.
    """
    for path in paths:
        check_removable(path, "nothing was deleted; ask its owner to remove it, or choose another target")


def check_emptying(locations: Locations) -> None:
    """Make sure that all that a dataset's directory and state hold can be deleted.

    Raises:
        NotWritable: something cannot be.
    """
    check_all_removable(entries_to_delete(locations))


def entries_to_delete(locations: Locations) -> list[Path]:
    """Return what goes if a target is emptied: all but the lease, what temporary files need, and the note that it is being deleted."""
    keep = {locations.inside, locations.state, locations.locks, locations.conversion, locations.temporary, locations.data_temporary}
    parents = dict.fromkeys((locations.dataset, locations.inside, locations.state))
    return [entry for parent in parents if parent.is_dir() for entry in sorted(parent.iterdir()) if entry not in keep]


def _removed(plan: Plan, locations: Locations) -> Iterator[Path]:
    """Yield what a run deletes before its first job, and what it puts out of the way at its end."""
    for layer, mag in plan.preparation.reset:
        yield from (locations.array(layer, mag), locations.ledger(layer, mag))
    for layer_plan in plan.layers:
        yield from (locations.remade_data(layer_plan.name), locations.remade_state(layer_plan.name))
        if layer_plan.discarded:
            yield from discarded_directories(locations, layer_plan.name, layer_plan.discarded)


def discarded_directories(locations: Locations, layer_name: str, mags: Iterable[object]) -> list[Path]:
    """Return the directories of a layer's mags, and of their ledgers, that others take the place of."""
    stored = StoredDataset(locations, PropertiesFile(locations.dataset).read())
    layer, gone = stored.layer(layer_name), set(mags)
    entries = [entry for entry in layer.mags if entry.mag in gone and stored.owns(layer, entry)]
    place = Locations(locations.dataset, locations.state)
    return [path for entry in entries for path in (stored.mag_path(layer, entry), place.ledger(layer_name, entry.mag))]

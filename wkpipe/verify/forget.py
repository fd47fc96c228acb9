"""Forget: drop the records of a layer or mag that another tool has made again, so that it is taken as it is."""

from __future__ import annotations

from pathlib import Path

from wkpipe.errors import InputRefused, LayerNotFound, MagNotFound, UsageError
from wkpipe.geometry import Mag
from wkpipe.runs.permission import check_all_removable, check_writable_state
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.lease import DatasetLease, Lookout
from wkpipe.stored.locations import Locations
from wkpipe.stored.swap import is_swapping

_FORM = "LAYER or LAYER/MAG, like em or em/2-2-1"


def parse_forget(text: str) -> tuple[str, Mag | None]:
    """Return the layer and the mag of a text ``LAYER`` or ``LAYER/MAG``.

    >>> parse_forget("em/2-2-1")
    ('em', Mag('2-2-1'))

    Raises:
        UsageError: the text has another form.
    """
    layer, slash, mag = text.partition("/")
    try:
        wanted = Mag(mag) if slash else None
    except ValueError as error:
        raise UsageError(str(error), where=f"--forget {text}", expected=_FORM) from None
    if not layer:
        raise UsageError(where=f"--forget {text}", expected=_FORM)
    return layer, wanted


def forget(root: Path, what: str, *, state_dir: Path | None = None, break_lock: bool = False) -> bool:
    """Drop recipes and records of a layer or of one mag, but no data; return True if there were any.

    Raises:
        LayerNotFound, MagNotFound: there is no such layer or mag, and nothing is recorded of one.
        InputRefused: new mags are taking the place of the old ones.
        NotWritable: the records cannot be removed; nothing was removed.
        TryAgain: another run works on the dataset.
    """
    layer, mag = parse_forget(what)
    locations = Locations.of(root, state_dir)
    with Lookout.begin(locations, break_lock).refusals_checked():
        dataset = StoredDataset.open(root, state_dir)
    locations = dataset.locations
    ledger = locations.ledgers.child(layer) if mag is None else locations.ledger(layer, mag)
    if not ledger.is_directory():
        if not dataset.properties.has_layer(layer):
            raise LayerNotFound(f"{root} has no layer {layer}, and nothing is recorded of one", where=f"--forget {what}")
        if mag is not None and all(entry.mag != mag for entry in dataset.layer(layer).mags):
            raise MagNotFound(f"layer {layer} has no mag {mag}, and nothing is recorded of one", where=f"--forget {what}")
        return False
    check_writable_state(locations)
    check_all_removable([ledger, *([locations.remade_data(layer), locations.remade_state(layer)] if mag is None else [])])
    with DatasetLease(locations, break_lock) as lease:
        if is_swapping(locations, layer):
            problem = "a run was stopped while new mags took the place of the old ones"
            raise InputRefused(problem, where=f"--forget {what}", fix="run `wkpipe downsample` first")
        scratch, data_scratch = locations.scratch(lease.epoch), locations.data_scratch(lease.epoch)
        ledger.writing(scratch).remove_below()
        if mag is None:
            locations.remade_data(layer).writing(data_scratch).remove_below()
            locations.remade_state(layer).writing(scratch).remove_below()
        for used in (scratch, data_scratch):
            used.remove()
    return True

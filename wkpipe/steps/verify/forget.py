"""Forget: drop what the state knows of a layer or mag that another tool has made again, so that it is taken as it is."""

from __future__ import annotations

from pathlib import Path

from wkpipe.errors import InputRefused, LayerNotFound, MagNotFound, UsageError
from wkpipe.geometry import Mag
from wkpipe.steps.permission import check_all_removable, check_writable_state
from wkpipe.storage import disk
from wkpipe.storage.commit import remove_directory
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.lease import DatasetLease, Lookout
from wkpipe.stored.locations import Locations
from wkpipe.stored.swap import swap_file


def parse_forget(text: str) -> tuple[str, Mag | None]:
    """Return layer and mag of ``LAYER`` or ``LAYER/MAG``.

    >>> parse_forget("em/2-2-1")
    ('em', Mag(2-2-1))

    Raises:
        UsageError: it is neither.
    """
    layer, slash, mag = text.partition("/")
    try:
        wanted = Mag(mag) if slash else None
    except ValueError as error:
        raise UsageError(f"--forget {text}: {error}; expected LAYER or LAYER/MAG, like em or em/2-2-1") from None
    if not layer:
        raise UsageError(f"--forget {text}: expected LAYER or LAYER/MAG, like em or em/2-2-1")
    return layer, wanted


def forget(root: Path, what: str, *, state_dir: Path | None = None, break_lock: bool = False) -> bool:
    """Drop recipes and records of a layer, or of one mag; no data are touched. Return whether there were any.

    Raises:
        LayerNotFound, MagNotFound: there is no such layer or mag, and nothing is known of one.
        InputRefused: new mags are just taking the place of the old ones.
        NotWritable: what is recorded cannot be removed; nothing was.
        TryAgain: another run works on the dataset.
    """
    layer, mag = parse_forget(what)
    locations = Locations.of(root, state_dir)
    with Lookout.begin(locations, break_lock).refusals_checked():
        dataset = StoredDataset.open(root, state_dir)
    directory = locations.ledgers / layer if mag is None else locations.ledger(layer, mag)
    if not directory.is_dir():
        if not dataset.properties.has_layer(layer):
            raise LayerNotFound(f"--forget {what}: {root} has no layer {layer}, and nothing is recorded of one")
        if mag is not None and all(entry.mag != mag for entry in dataset.layer(layer).mags):
            raise MagNotFound(f"--forget {what}: layer {layer} has no mag {mag}, and nothing is recorded of one")
        return False
    check_writable_state(locations)
    check_all_removable([directory, *([locations.remade_data(layer), locations.remade_state(layer)] if mag is None else [])])
    with DatasetLease(locations, break_lock) as lease:
        if swap_file(locations, layer).exists():
            raise InputRefused(
                f"--forget {what}: a run was stopped while new mags took the place of the old ones; run `wkpipe downsample` first"
            )
        scratch, data_scratch = locations.scratch(lease.epoch), locations.data_scratch(lease.epoch)
        remove_directory(directory, scratch)
        if mag is None:
            remove_directory(locations.remade_data(layer), data_scratch)
            remove_directory(locations.remade_state(layer), scratch)
        for used in (scratch, data_scratch):
            disk.remove_tree(used.directory, used.root)
    return True

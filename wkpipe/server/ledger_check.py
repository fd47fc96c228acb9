"""Hold the files of a mag against the ledger before they are sent: by number, size and mtime, else by checksum."""

from __future__ import annotations

from wkpipe.errors import DamagedShard, IntegrityError, MissingShard
from wkpipe.formats.base import StoredArray
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.storage.proof import UNKNOWN_CRC, is_other_content
from wkpipe.storage.record import DAMAGED, DIRTY, Record
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.identity import current_ledger


def check_against_ledger(dataset: StoredDataset, layer: LayerProperties, entry: MagProperties) -> None:
    """Compare all that the ledger has of a mag with its files; where it has nothing, there is nothing to compare.

    Raises:
        IntegrityError: a storage shard is missing, is another one, or was left unfinished.
    """
    if not dataset.owns(layer, entry) or not dataset.locations.ledger(layer.name, entry.mag).is_dir():
        return  # nothing is known of it, and it may be stored as wkpipe cannot read it
    array = dataset.open_mag(layer, entry)
    ledger = current_ledger(dataset.locations, layer.name, entry.mag, array)
    if not ledger:
        return
    grid = array.spec.unit_grid
    for unit, record in ledger.records.items():
        if len(unit) == len(grid) and all(position < count for position, count in zip(unit, grid, strict=True)):
            problem = _problem(array, record)
            if problem is not None:
                kind, what = problem
                name = ".".join(map(str, unit))
                raise kind(
                    f"layer {layer.name}, mag {entry.mag}, storage shard {name}: {what}; run `wkpipe verify {dataset.locations.dataset}`, "
                    "nothing was sent"
                )


def _problem(array: StoredArray, record: Record) -> tuple[type[IntegrityError], str] | None:
    if record.origin in (DIRTY, DAMAGED):
        return DamagedShard, "a write or a repair of it has begun and not ended"
    facts, proof = array.unit_facts(record.unit), record.proof
    if record.matches(facts):
        return None
    if facts is None:
        return MissingShard, f"found no file, expected {proof.size} bytes as the ledger recorded"
    if proof.is_fill or (facts.files, facts.size) != (proof.files, proof.size):
        found, expected = f"{facts.size} bytes in {facts.files} files", f"{proof.size} in {proof.files}"
        return DamagedShard, f"found {found}, expected {expected} as the ledger recorded"
    if not proof.is_known and proof.crc32c == UNKNOWN_CRC:  # adopted unread: nothing is known of the content
        return None
    # Another mtime alone is what a copied dataset has.
    now = array.prove_unit(record.unit)
    if now is None or is_other_content(proof, now):
        return DamagedShard, "found another content than the ledger recorded"
    return None

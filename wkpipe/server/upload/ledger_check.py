"""Compare the files of a mag with the ledger before they are sent: by number, size and mtime, else by checksum."""

from __future__ import annotations

from wkpipe.errors import DamagedShard, IntegrityError, MissingShard
from wkpipe.formats.base import StoredArray, unit_name
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.storage.proof import UNKNOWN_CRC, is_other_content
from wkpipe.storage.record import DAMAGED, DIRTY, Record
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.identity import current_ledger


def check_against_ledger(dataset: StoredDataset, layer: LayerProperties, entry: MagProperties) -> None:
    """Compare a mag's files with its records in the ledger, as far as there are any.

    Raises:
        IntegrityError: a storage shard is missing, differs from its record, or was left unfinished.
    """
    if not dataset.owns(layer, entry) or not dataset.locations.ledger(layer.name, entry.mag).is_directory():
        return  # nothing is recorded, and wkpipe may not be able to read its format
    array = dataset.open_mag(layer, entry)
    ledger = current_ledger(dataset.locations, layer.name, entry.mag, array)
    if not ledger:
        return
    grid = array.spec.unit_grid
    for unit, record in ledger.records.items():
        if len(unit) == len(grid) and all(position < count for position, count in zip(unit, grid, strict=True)):
            problem = _problem(array, record)
            if problem is not None:
                where = f"layer {layer.name}, mag {entry.mag}, storage shard {unit_name(unit)}"
                raise problem.within(where).but(fix=f"run `wkpipe verify {dataset.locations.dataset}`; nothing was sent")


def _problem(array: StoredArray, record: Record) -> IntegrityError | None:
    if record.origin in (DIRTY, DAMAGED):
        return DamagedShard("a write or a repair of it was not finished")
    facts, proof = array.unit_facts(record.unit), record.proof
    if record.matches(facts):
        return None
    if facts is None:
        return MissingShard(found="no file", expected=f"{proof.size} bytes as recorded in the ledger")
    if proof.is_fill or (facts.files, facts.size) != (proof.files, proof.size):
        expected = f"{proof.size} in {proof.files} as recorded in the ledger"
        return DamagedShard(found=f"{facts.size} bytes in {facts.files} files", expected=expected)
    if not proof.is_known and proof.crc32c == UNKNOWN_CRC:  # adopted unread: the content is not known
        return None
    # In a copied dataset only the mtime differs.
    now = array.prove_unit(record.unit)
    if now is None or is_other_content(proof, now):
        return DamagedShard(found="another content than that recorded in the ledger")
    return None

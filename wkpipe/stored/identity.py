"""The identity of a mag: ids that bind an array to its records in the state; see docs/design/identity.md.

A dataset has a random id, and so has each mag that wkpipe creates. Both are in the attributes of a Zarr array (`KEY`) and
in the state, beside the mag's ledger. WKW arrays have no attributes, and arrays of other tools are never touched: for
these, the layout takes the place of the id. Nothing depends on inodes, hosts, paths, or anything that other tools rewrite.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Any, Final

from wkpipe.errors import MetadataError, UnreadableInput
from wkpipe.formats.base import ArraySpec, DataFormat, StoredArray
from wkpipe.geometry import Mag
from wkpipe.metadata.json_node import JsonNode
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.place import Place
from wkpipe.storage.record import DAMAGED, DIRTY, OUTDATED
from wkpipe.storage.scratch import Scratch
from wkpipe.storage.stored_object import StoredObject, put_in_order
from wkpipe.stored.dataset_id import FILE_NAME as DATASET_FILE_NAME
from wkpipe.stored.dataset_id import id_in
from wkpipe.stored.locations import Locations

KEY: Final = "wkpipe"
FILE_NAME: Final = "identity.json"

_ATTRIBUTES: Final = {DataFormat.ZARR3: "zarr.json", DataFormat.ZARR: ".zattrs"}


@dataclass(frozen=True)
class MagIdentity:
    """The ids of dataset and mag (empty if there are none) and the digest of the array's layout."""

    dataset: str
    mag: str
    layout: str

    @classmethod
    def new(cls, dataset: str, spec: ArraySpec) -> MagIdentity:
        """Return the identity of a new mag."""
        return cls(dataset, uuid.uuid4().hex, layout_of(spec))

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes that an array gets from it."""
        return {KEY: {"dataset": self.dataset, "mag": self.mag}}

    def to_bytes(self) -> bytes:
        return json.dumps({"dataset": self.dataset, "mag": self.mag, "layout": self.layout}).encode()


def layout_of(spec: ArraySpec) -> str:
    """Return a digest of everything that decides how voxels become bytes, except the array's shape, which may grow."""
    values = [
        spec.data_format.value,
        list(spec.axes),
        spec.dtype.str,
        list(spec.chunk_shape),
        list(spec.shard_shape),
        [spec.compression.kind, spec.compression.level],
        repr(spec.dtype.type(spec.fill_value).item()),
    ]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]


def identity_of_array(place: Place, spec: ArraySpec) -> MagIdentity:
    """Return the identity in an array itself; its ids are empty if the array has none."""
    layout = layout_of(spec)
    name = _ATTRIBUTES.get(spec.data_format)
    if name is None:
        return MagIdentity("", "", layout)
    try:
        node = JsonNode.read(StoredObject(place, name))
        values: Any = None if node is None else node.value
    except (MetadataError, UnreadableInput):
        values = None
    if spec.data_format is DataFormat.ZARR3 and isinstance(values, dict):
        values = values.get("attributes")
    ids = values.get(KEY) if isinstance(values, dict) else None
    found = [ids.get(key) if isinstance(ids, dict) else None for key in ("dataset", "mag")]
    dataset, mag = (each if isinstance(each, str) and len(each) <= 64 else "" for each in found)
    return MagIdentity(dataset, mag, layout)


def identity_file(locations: Locations, layer: str, mag: Mag) -> StoredObject:
    """Return the object of a mag's identity in the state, which is beside the mag's ledger."""
    return locations.beside_ledger(layer, mag, FILE_NAME)


def recorded_identity(locations: Locations, layer: str, mag: Mag) -> MagIdentity | None:
    """Return the identity of a mag when it was made or first read; None if none is recorded."""
    try:
        node = JsonNode.read(identity_file(locations, layer, mag))
    except (MetadataError, UnreadableInput):
        return None
    values = None if node is None else node.value
    if not isinstance(values, dict) or not all(isinstance(values.get(key), str) for key in ("dataset", "mag", "layout")):
        return None
    return MagIdentity(values["dataset"], values["mag"], values["layout"])


def is_same_array(recorded: MagIdentity | None, found: MagIdentity, data_format: DataFormat) -> bool:
    """True if an array can be the one that was recorded, or if none is recorded."""
    if recorded is None:
        return True
    has_id = bool(recorded.mag) and data_format in _ATTRIBUTES
    return recorded.layout == found.layout and (not has_id or recorded.mag == found.mag)


def has_recorded_unit(array: StoredArray, ledger: Ledger) -> bool:
    """True if any unit with files has its recorded stamp: an array that took the place of another has no such unit."""
    return any(
        not record.proof.is_fill and len(unit) == len(array.spec.axes) and record.matches(array.unit_facts(unit))
        for unit, record in ledger.records.items()
    )


def is_replaced(recorded: MagIdentity | None, array: StoredArray, ledger: Ledger) -> bool:
    """True if another tool has put another array in the place of the recorded one."""
    found = identity_of_array(array.place, array.spec)
    if is_same_array(recorded, found, array.spec.data_format):
        return not found.mag and was_replaced(array, ledger)
    return not has_recorded_unit(array, ledger)


def was_replaced(array: StoredArray, ledger: Ledger) -> bool:
    """True if sizes show that another tool made an array without an id again: units are gone, and no recorded one is left.

    If files are merely lost, others of the recorded size remain. Blocks of chunk files that lost some are not evidence.
    """
    is_other = is_gone = False
    for unit, record in ledger.records.items():
        if len(unit) != len(array.spec.axes) or record.origin in (DIRTY, DAMAGED, OUTDATED):
            continue
        facts = array.unit_facts(unit)
        if facts is None:
            is_gone |= not record.proof.is_fill
        elif facts.files < record.proof.files or facts.size == record.proof.size:
            return False
        else:
            is_other = True
    return is_other and is_gone


def current_ledger(locations: Locations, layer: str, mag: Mag, array: StoredArray) -> Ledger:
    """Return the ledger of a mag's array; empty if another tool has replaced the array."""
    ledger = Ledger.load(locations.ledger(layer, mag))
    return Ledger({}) if is_replaced(recorded_identity(locations, layer, mag), array, ledger) else ledger


# -- the dataset ----------------------------------------------------------------------------------------------------


def dataset_id(locations: Locations, data_scratch: Scratch, scratch: Scratch) -> tuple[str, dict[StoredObject, bytes]]:
    """Return the id of a dataset, a new one if it has none, and the objects to write it into; a state elsewhere keeps a copy."""
    found = id_in(locations.inside) or id_in(locations.store) or uuid.uuid4().hex
    places = {locations.inside: data_scratch, locations.store: scratch}
    content = json.dumps({"id": found}).encode()
    return found, {StoredObject(place, DATASET_FILE_NAME).writing(used): content for place, used in places.items() if id_in(place) != found}


def ensure_dataset_id(locations: Locations, data_scratch: Scratch, scratch: Scratch) -> str:
    """Return the id of a dataset, after giving it one if it has none."""
    found, objects = dataset_id(locations, data_scratch, scratch)
    put_in_order([objects])
    return found

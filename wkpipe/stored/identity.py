"""Whose mag it is: the ids that bind an array to what the state knows of it; see docs/design/identity.md.

A dataset has a random id, and so has each mag that wkpipe creates. Both are in the attributes of a Zarr array (`KEY`) and
in the state, beside the mag's ledger. WKW arrays have no attributes, and another tool's are never touched: for these the
layout stands for the id. Nothing here depends on inodes, hosts, paths, or what other tools and servers rewrite.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from wkpipe.errors import MetadataError, UnreadableInput
from wkpipe.formats.base import ArraySpec, DataFormat, StoredArray
from wkpipe.geometry import Mag
from wkpipe.metadata.json_node import JsonNode
from wkpipe.storage.commit import Scratch, replace_file
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.record import DAMAGED, DIRTY
from wkpipe.stored.dataset_id import FILE_NAME as DATASET_FILE_NAME
from wkpipe.stored.dataset_id import id_in
from wkpipe.stored.locations import Locations

KEY: Final = "wkpipe"
FILE_NAME: Final = "identity.json"

_ATTRIBUTES: Final = {DataFormat.ZARR3: "zarr.json", DataFormat.ZARR: ".zattrs"}


@dataclass(frozen=True)
class MagIdentity:
    """The ids of dataset and mag (empty where there are none) and the digest of the array's layout."""

    dataset: str
    mag: str
    layout: str

    @classmethod
    def new(cls, dataset: str, spec: ArraySpec) -> MagIdentity:
        """Return the identity of a mag that is created."""
        return cls(dataset, uuid.uuid4().hex, layout_of(spec))

    @property
    def attributes(self) -> dict[str, Any]:
        """What an array's attributes hold of it."""
        return {KEY: {"dataset": self.dataset, "mag": self.mag}}

    def to_bytes(self) -> bytes:
        return json.dumps({"dataset": self.dataset, "mag": self.mag, "layout": self.layout}).encode()


def layout_of(spec: ArraySpec) -> str:
    """Return a digest of all that decides how voxels become bytes; an array's shape is not part of it, as it may grow."""
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


def identity_of_array(path: Path, spec: ArraySpec) -> MagIdentity:
    """Return what an array itself says of whose it is; ids are empty where it says nothing."""
    layout = layout_of(spec)
    name = _ATTRIBUTES.get(spec.data_format)
    if name is None:
        return MagIdentity("", "", layout)
    try:
        node = JsonNode.read(path / name)
        values: Any = None if node is None else node.value
    except (MetadataError, UnreadableInput):
        values = None
    if spec.data_format is DataFormat.ZARR3 and isinstance(values, dict):
        values = values.get("attributes")
    ids = values.get(KEY) if isinstance(values, dict) else None
    found = [ids.get(key) if isinstance(ids, dict) else None for key in ("dataset", "mag")]
    dataset, mag = (each if isinstance(each, str) and len(each) <= 64 else "" for each in found)
    return MagIdentity(dataset, mag, layout)


def identity_file(locations: Locations, layer: str, mag: Mag) -> Path:
    """Return where the state keeps the identity of a mag: it goes along with the mag's ledger."""
    return locations.ledger(layer, mag) / FILE_NAME


def recorded_identity(locations: Locations, layer: str, mag: Mag) -> MagIdentity | None:
    """Return the identity that a mag had when it was made or first read; None if none is recorded."""
    try:
        node = JsonNode.read(identity_file(locations, layer, mag))
    except (MetadataError, UnreadableInput):
        return None
    values = None if node is None else node.value
    if not isinstance(values, dict) or not all(isinstance(values.get(key), str) for key in ("dataset", "mag", "layout")):
        return None
    return MagIdentity(values["dataset"], values["mag"], values["layout"])


def is_same_array(recorded: MagIdentity | None, found: MagIdentity, data_format: DataFormat) -> bool:
    """True if an array can be the one that was recorded. Where nothing is recorded, nothing speaks against it."""
    if recorded is None:
        return True
    has_id = bool(recorded.mag) and data_format in _ATTRIBUTES
    return recorded.layout == found.layout and (not has_id or recorded.mag == found.mag)


def has_recorded_unit(array: StoredArray, ledger: Ledger) -> bool:
    """True if any unit with files is the recorded one by its stamp: an array in another's place has none."""
    return any(
        not record.proof.is_fill and len(unit) == len(array.spec.axes) and record.matches(array.unit_facts(unit))
        for unit, record in ledger.records.items()
    )


def is_replaced(recorded: MagIdentity | None, array: StoredArray, ledger: Ledger) -> bool:
    """True if another tool has put another array in the place of the recorded one."""
    found = identity_of_array(array.path, array.spec)
    if is_same_array(recorded, found, array.spec.data_format):
        return not found.mag and was_replaced(array, ledger)
    return not has_recorded_unit(array, ledger)


def was_replaced(array: StoredArray, ledger: Ledger) -> bool:
    """True if an array without an id was made again by another tool, as far as sizes show: units are gone, and no other one is left.

    Files that are merely lost leave others of the recorded size. Blocks of chunk files that lost some are no evidence.
    """
    is_other = is_gone = False
    for unit, record in ledger.records.items():
        if len(unit) != len(array.spec.axes) or record.origin in (DIRTY, DAMAGED):
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
    """Return the ledger of a mag's array; an empty one if another tool has put another array in its place."""
    ledger = Ledger.load(locations.ledger(layer, mag))
    return Ledger({}) if is_replaced(recorded_identity(locations, layer, mag), array, ledger) else ledger


# -- the dataset ----------------------------------------------------------------------------------------------------


def ensure_dataset_id(locations: Locations, data_scratch: Scratch, scratch: Scratch) -> str:
    """Return the id of a dataset, giving it one if it has none yet; a state elsewhere keeps a copy."""
    found = id_in(locations.inside) or id_in(locations.state) or uuid.uuid4().hex
    content = json.dumps({"id": found}).encode()
    for directory, used in {locations.inside: data_scratch, locations.state: scratch}.items():
        if id_in(directory) != found:
            replace_file(directory / DATASET_FILE_NAME, content, used)
    return found

"""Look for damage in wkpipe's own records of a dataset: ledgers, recipes, the number of the newest run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wkpipe.errors import DamagedShard, MetadataError, WkpipeError
from wkpipe.geometry import Mag
from wkpipe.metadata.json_node import MAX_BYTES, JsonNode
from wkpipe.metadata.properties import PROPERTIES_FILE_NAME
from wkpipe.metadata.store import COPY
from wkpipe.plan.state.recipe import conversion_identity, load_conversion
from wkpipe.storage.lease import EPOCH_NAME
from wkpipe.storage.ledger import SEGMENT_SUFFIX, Ledger
from wkpipe.storage.lines import lines_of
from wkpipe.storage.place import Place
from wkpipe.storage.record import DIRTY, WRITTEN, Record
from wkpipe.storage.stored_object import StoredObject
from wkpipe.stored.lease import recorded_epoch
from wkpipe.stored.locations import Locations
from wkpipe.verify.mag import MagOnDisk
from wkpipe.verify.report import Kind


@dataclass(frozen=True)
class StateDamage:
    """A problem in the state directory; `path` is the file."""

    kind: Kind
    path: Path
    what: str
    is_lost: bool = False
    """True if nothing is left that could be repaired."""


@dataclass(frozen=True)
class BadLines:
    """Lines of a mag's ledger that do not count: torn by a crash at the end of a segment, or damaged anywhere else."""

    torn: int = 0
    damaged: int = 0
    first: Path | None = None


def bad_lines(place: Place) -> BadLines:
    """Return the lines of a ledger that are not records."""
    torn = damaged = 0
    first = None
    for name in sorted(name for name in place.names() if name.endswith(SEGMENT_SUFFIX)):
        try:
            file = place.open(name)
        except DamagedShard:  # not a regular file
            damaged += 1
            first = first or place.path(name)
            continue
        for line in () if file is None else lines_of(file):
            if Record.from_line(line) is not None:
                continue
            # In every version, a folded segment was complete before it got its name, so a crash cannot have torn it.
            if not line.endswith(b"\n") and "-folded-" not in name and line[:1] != b"\0":
                torn += 1
            else:
                damaged += 1
                first = first or place.path(name)
    return BadLines(torn, damaged, first)


def ledger_damage(mag: MagOnDisk, ledger: Ledger) -> Iterator[StateDamage]:
    """Yield the problems of a mag's ledger and recipe as a whole; missing records of single units are reported with the units."""
    locations, name = mag.dataset.locations, mag.layer.name
    place, where = locations.ledger(name, mag.entry.mag), locations.recipe(name, mag.entry.mag).path
    bad = bad_lines(place) if ledger.damaged_lines else BadLines()
    if bad.first is not None:
        what = f"found {bad.damaged} damaged lines in its ledger, the first in {bad.first}, expected none"
        yield StateDamage(Kind.LEDGER, bad.first, what)
    params = {record.params for record in ledger.records.values() if record.params}
    if mag.recipe is None and params and not is_written(locations, name, mag.entry.mag, ledger):
        yield StateDamage(Kind.RECIPE, where, f"found no recipe {where}, expected the one that its storage shards were made with")
    elif mag.recipe is not None and mag.recipe.source_mag is None and params and mag.recipe.params not in params:
        yield StateDamage(Kind.RECIPE, where, f"found another recipe in {where} than the one that its storage shards were made with")
    if mag.recipe is None and not ledger and not mag.is_replaced and (made := mag.makes):
        directory = place.path()
        what = f"found no ledger in {directory}, expected one because mag {', '.join(map(str, made))} was made from it"
        yield StateDamage(Kind.LEDGER, directory, what, is_lost=True)


def is_written(locations: Locations, layer: str, mag: Mag, ledger: Ledger) -> bool:
    """True if a mag was written to by hand: it has no recipe any more, and must not get one again."""
    written = any(record.origin == DIRTY or (record.origin == WRITTEN and not record.proof.is_fill) for record in ledger.records.values())
    return written or locations.written(layer, mag).is_there()


def state_damage(locations: Locations, newest: int, is_converted: bool) -> Iterator[StateDamage]:
    """Yield the problems of the files for the whole dataset.

    `newest` is the highest number of a run in any record; `is_converted` is True if any mag's recipe is of a conversion or download.
    """
    path = locations.locks.path(EPOCH_NAME)
    if newest and (known := recorded_epoch(locations)) < newest:
        what = f"found run {known} as the newest in {path}, expected {newest} or a later one"
        yield StateDamage(Kind.EPOCH, path, what)
    if not is_converted:
        return
    path = locations.conversion.path
    try:
        found = load_conversion(locations)
    except MetadataError as error:
        yield StateDamage(Kind.CONVERSION, path, str(error.but(fix="")))
        return
    if found is None or not isinstance(found.get("source"), str) or not isinstance(found.get("params"), dict):
        what = f"{'nothing' if found is None else 'no source and parameters'} in {path}"
        yield StateDamage(Kind.CONVERSION, path, f"found {what}, expected what the dataset was converted from")
    elif (copy := _read(locations.conversion_copy)) is not None and not _is_same(copy, found):
        what = f"found another source or parameters in {path} than the conversion had"
        yield StateDamage(Kind.CONVERSION, path, what)


def _is_same(copy: object, found: Mapping[str, object]) -> bool:
    return isinstance(copy, dict) and conversion_identity(copy) == conversion_identity(found)


def copy_notes(locations: Locations) -> list[str]:
    """Return what the copy of datasource-properties.json in the state says, as notes: it is damaged, or the file was edited."""
    try:
        copy = locations.store.content(COPY, MAX_BYTES)
    except DamagedShard as error:
        return [f"the copy of datasource-properties.json is damaged: {error.problem}; the next change replaces it"]
    if copy is None or copy == locations.data.content(PROPERTIES_FILE_NAME, MAX_BYTES):
        return []
    return ["datasource-properties.json is not what wkpipe wrote last: a person or another tool edited it"]


def _read(file: StoredObject) -> object:
    """Return the value in a JSON file; None if there is none, or if it is damaged."""
    with contextlib.suppress(WkpipeError):
        node = JsonNode.read(file)
        return None if node is None else node.value
    return None

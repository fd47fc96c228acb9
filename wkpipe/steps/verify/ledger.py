"""Look for damage in what wkpipe itself keeps of a dataset: ledgers, recipes, the number of the newest run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wkpipe.errors import MetadataError
from wkpipe.geometry import Mag
from wkpipe.plan.mag_plan import CONVERT, DOWNLOAD
from wkpipe.plan.recipe import load_conversion
from wkpipe.steps.verify.mag import MagOnDisk
from wkpipe.steps.verify.report import Kind
from wkpipe.storage.disk import read_small
from wkpipe.storage.lease import EPOCH_NAME
from wkpipe.storage.ledger import MOST_LINE_BYTES, SEGMENT_SUFFIX, Ledger
from wkpipe.storage.record import DIRTY, WRITTEN, Record
from wkpipe.stored.lease import recorded_epoch
from wkpipe.stored.locations import Locations


@dataclass(frozen=True)
class StateDamage:
    """Something that is wrong in the state directory; `path` is the file."""

    kind: Kind
    path: Path
    what: str


@dataclass(frozen=True)
class BadLines:
    """Lines of a mag's ledger that do not count. A crash cuts short the end of a segment; nothing but damage does the others."""

    torn: int = 0
    damaged: int = 0
    first: Path | None = None


def bad_lines(directory: Path) -> BadLines:
    """Look for lines that are no records."""
    torn = damaged = 0
    first = None
    for segment in sorted(directory.glob(f"*{SEGMENT_SUFFIX}")):
        if not segment.is_file():
            damaged += 1
            first = first or segment
            continue
        with segment.open("rb") as file:
            while line := file.readline(MOST_LINE_BYTES):
                if Record.from_line(line) is not None:
                    continue
                # A folded segment was complete before it got its name.
                if not line.endswith(b"\n") and "-folded-" not in segment.name and line[:1] != b"\0":
                    torn += 1
                else:
                    damaged += 1
                    first = first or segment
                if not line.endswith(b"\n"):
                    break
    return BadLines(torn, damaged, first)


def ledger_damage(mag: MagOnDisk, ledger: Ledger) -> Iterator[StateDamage]:
    """Yield what is wrong with a mag's ledger and recipe as such; what single units lack shows up with them."""
    locations, name = mag.dataset.locations, mag.layer.name
    directory, where = locations.ledger(name, mag.entry.mag), locations.recipe(name, mag.entry.mag)
    bad = bad_lines(directory) if ledger.damaged_lines else BadLines()
    if bad.first is not None:
        what = f"found {bad.damaged} damaged lines in its ledger, the first in {bad.first}, expected none"
        yield StateDamage(Kind.LEDGER, bad.first, what)
    params = {record.params for record in ledger.records.values() if record.params}
    if mag.recipe is None and params and not is_written(locations, name, mag.entry.mag, ledger):
        yield StateDamage(Kind.RECIPE, where, f"found no recipe {where}, expected the one that its storage shards were made by")
    elif mag.recipe is not None and mag.recipe.kind in (CONVERT, DOWNLOAD) and params and mag.recipe.params not in params:
        yield StateDamage(Kind.RECIPE, where, f"found another recipe in {where} than the one that its storage shards were made by")
    if mag.recipe is None and not ledger and not mag.is_replaced and (made := mag.makes):
        what = f"found no ledger in {directory}, expected one because mag {', '.join(map(str, made))} was made from it"
        yield StateDamage(Kind.LEDGER, directory, what)


def is_written(locations: Locations, layer: str, mag: Mag, ledger: Ledger) -> bool:
    """True if a mag has been written to by hand: it has no recipe any more, and must not get one again."""
    written = any(record.origin == DIRTY or (record.origin == WRITTEN and not record.proof.is_fill) for record in ledger.records.values())
    return written or locations.written(layer, mag).exists()


def state_damage(locations: Locations, newest: int, is_converted: bool) -> Iterator[StateDamage]:
    """Yield what is wrong with the files that hold for the whole dataset.

    `newest` is the highest number of a run among all records; `is_converted` tells that a mag's recipe is a conversion's, or a download's.
    """
    path = locations.locks / EPOCH_NAME
    if newest and (known := recorded_epoch(locations)) < newest:
        what = f"found run {known} as the newest in {path}, expected {newest} or a later one"
        yield StateDamage(Kind.EPOCH, path, what)
    if not is_converted:
        return
    try:
        found = load_conversion(locations)
    except MetadataError as error:
        yield StateDamage(Kind.CONVERSION, locations.conversion, str(error).split(";")[0])
        return
    if found is None or not isinstance(found.get("source"), str) or not isinstance(found.get("params"), dict):
        what = f"{'nothing' if found is None else 'no source and parameters'} in {locations.conversion}"
        yield StateDamage(Kind.CONVERSION, locations.conversion, f"found {what}, expected what the dataset was converted from")
    elif (copy := _read(locations.conversion_copy)) is not None and copy != found:
        what = f"found another source or parameters in {locations.conversion} than the conversion had"
        yield StateDamage(Kind.CONVERSION, locations.conversion, what)


def _read(path: Path) -> object:
    try:
        return json.loads(read_small(path))
    except (OSError, ValueError, RecursionError):
        return None

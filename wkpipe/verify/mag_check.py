"""The check of one mag in verify: its units, and the problems of the mag as a whole."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Collection
from dataclasses import dataclass, field

from wkpipe.formats.base import Position, unit_name
from wkpipe.geometry import Mag
from wkpipe.plan.state.emptiness import finer_that_shows_loss
from wkpipe.storage.ledger import Ledger
from wkpipe.verify.deep import DeepCheck
from wkpipe.verify.files import stray_files
from wkpipe.verify.findings import Findings
from wkpipe.verify.freshness import freshness, read_tokens
from wkpipe.verify.ledger import bad_lines, ledger_damage
from wkpipe.verify.mag import MagOnDisk, refresh_command, repair_command, verify_command
from wkpipe.verify.metadata import ends_with_partial_voxels, is_not_as_made, metadata_problems, missing_extent
from wkpipe.verify.neighbours import Neighbours
from wkpipe.verify.properties import property_findings
from wkpipe.verify.report import Kind
from wkpipe.verify.unit import UnitCheck


@dataclass
class MagCheck:
    """The check of one mag: its records, the units to check, and their results.

    `bare` counts the units, in a mag without a ledger, that have no files at their place or around it: they are not checked.
    """

    mag: MagOnDisk
    ledger: Ledger
    units: list[Position]
    as_whole: bool
    deep: DeepCheck | None = None
    deep_units: set[Position] = field(default_factory=set)
    neighbours: Neighbours | None = None
    bare: int = 0
    empty: int = 0
    touched: int = 0
    written: int = 0
    shows_changes: bool = False

    @property
    def is_made(self) -> bool:
        return self.mag.is_made(self.ledger)

    @functools.cached_property
    def lost_against(self) -> Mag | None:
        """The finer mag that proves that this one, which has no file at all, has lost its files; None if there is no such proof."""
        return None if self.is_made else finer_that_shows_loss(self.mag.dataset, self.mag.layer, self.mag.entry.mag)

    def check(self, unit: Position) -> UnitCheck:
        must_be_recorded = self.is_made and self.mag.is_made_unit(unit)
        deep = self.deep if unit in self.deep_units else None
        shows_up = self.shows_changes and bool(self.mag.makes)
        return UnitCheck(self.mag, unit, self.ledger.get(unit), must_be_recorded, deep, shows_up=shows_up)


def check_as_whole(check: MagCheck, findings: Findings, other: Collection[Position]) -> None:
    """Check metadata, ledger, files and freshness of a mag; `other` are the changed units of its source mag."""
    mag, ledger = check.mag, check.ledger
    if mag.is_replaced:
        forget = verify_command(mag.dataset.locations, None, None, "--forget")
        findings.note(
            mag, f"another tool has made it again, its records do not count; `{forget} {mag.layer.name}/{mag.entry.mag}` drops them"
        )
    for damage in ledger_damage(mag, ledger):
        findings.state_problem(damage, mag)
    if ledger.damaged_lines and (torn := bad_lines(mag.dataset.locations.ledger(mag.layer.name, mag.entry.mag)).torn):
        findings.note(mag, f"{torn} lines of the ledger were cut short, as a crash leaves them, and do not count")
    for what in metadata_problems(mag):
        again = repair_command(mag.dataset, mag.layer.name, mag.entry.mag)
        is_repairable = is_not_as_made(mag)
        fix = again if is_repairable else f"restore the metadata of {mag.array.path}, or correct datasource-properties.json"
        findings.problem(mag, Kind.ARRAY, what, fix, is_repairable)
    for finding in property_findings(mag, ledger):
        if finding.fix is None:
            findings.note(mag, finding.what)
        else:
            findings.problem(mag, Kind.PROPERTIES, finding.what, finding.fix)
    if mag.recipe is None and (missing := missing_extent(mag)) and ends_with_partial_voxels(mag) and mag.entry.mag != Mag(1):
        findings.note(mag, f"found an array of {', '.join(missing)}: it lacks voxels that the layer's box covers in part")
    if (finer := check.lost_against) is not None:
        what = f"found no storage shard at all, expected some because the finer mag {finer} has data that must show in it"
        fix = f"restore its files from a copy; or, if the finest mag is good, {refresh_command(mag.dataset, mag.layer)} --repair"
        findings.problem(mag, Kind.LOST_MAG, what, fix, True)
    _check_files(check, findings)
    _check_freshness(check, findings, other)


def _check_files(check: MagCheck, findings: Findings) -> None:
    mag = check.mag
    outside, strange, first = 0, 0, ""
    for file in stray_files(mag):
        if file.unit is not None and (not check.is_made or check.ledger.get(file.unit) is not None):
            outside += 1
        elif check.is_made:
            why = "belongs to no storage shard" if file.unit is None else "is outside the layer's box and is not recorded"
            what = f"found the unexpected file {file.path}, which {why}"
            findings.problem(mag, Kind.STRAY, what, f"rm {shlex.quote(str(file.path))}", shard=file.shard)
        else:
            strange, first = strange + 1, first or file.key
    if outside:
        findings.note(mag, f"{outside} files are outside the layer's box and were not verified")
    if strange:
        findings.note(mag, f"{strange} files are not part of the array, such as {first}")


def _check_freshness(check: MagCheck, findings: Findings, other: Collection[Position]) -> None:
    mag = check.mag
    if mag.recipe is None or (from_mag := mag.recipe.source_mag) is None:
        return
    if not mag.is_derived:
        is_there = any(entry.mag == from_mag for entry in mag.layer.mags)
        why = "which was made from it since" if is_there else "which is no longer there to compare with"
        findings.note(mag, f"it was made from mag {from_mag}, {why}")
        return
    fresh = freshness(mag, check.ledger, read_tokens(other))
    if fresh is None:
        return
    if fresh.stale:
        what = f"found {len(fresh.stale)} of {len(mag.units)} storage shards stale, expected them made from what mag {from_mag} holds now"
        findings.problem(mag, Kind.STALE, what, refresh_command(mag.dataset, mag.layer), True, unit_name(fresh.stale[0]))
    if fresh.unknown:
        findings.note(mag, f"{fresh.unknown} storage shards may be stale or not: there is no record of their source, mag {from_mag}")

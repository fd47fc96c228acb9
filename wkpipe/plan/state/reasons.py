"""Why units are pending: counted for every mag, and as ranges of units with the cause."""

from __future__ import annotations

import enum
import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from wkpipe.formats.base import Position, unit_name
from wkpipe.geometry import Mag

MOST_RANGES = 20
"""At most this many ranges are kept for each mag, and this many lines are shown in all."""

MOST_CAUSES = 4
"""At most this many changed units of the finer mag are named."""


class Reason(enum.StrEnum):
    """Why a unit is pending."""

    NEW = "new"
    SOURCE = "source changed"
    PARAMETERS = "parameters changed"
    GONE = "file gone"
    UNPROVEN = "to be proven"
    UNPROVEN_SOURCE = "source to be proven"
    WRITTEN = "written to"
    DAMAGED = "damaged"
    OVERWRITE = "overwritten"


@dataclass(frozen=True)
class PendingRange:
    """Units that are made one after the other and are pending for the same reason.

    `causes` are units of the finer mag that have changed or are themselves pending, for the first few units of the range.
    """

    reason: Reason
    first: Position
    last: Position
    count: int
    causes: tuple[Position, ...] = ()


@dataclass(frozen=True)
class MagReasons:
    """Why the units of one mag are pending; `ranges` are the first of the `range_count` ranges whose units are not new."""

    layer: str
    mag: Mag
    from_mag: Mag | None
    counts: Mapping[Reason, int]
    ranges: tuple[PendingRange, ...]
    range_count: int

    def __str__(self) -> str:
        """Return the counts, as in ``3 new, 2 source changed``."""
        return ", ".join(f"{count} {reason}" for reason, count in self.counts.items())

    def lines(self) -> list[str]:
        """Return a line for every range that was kept."""
        lines = []
        for part in self.ranges:
            units = f"storage shard {unit_name(part.first)}"
            if part.count > 1:
                units = f"{part.count} storage shards from {unit_name(part.first)} to {unit_name(part.last)}"
            finer = "images" if self.from_mag is None else f"mag {self.from_mag}"
            named = ", ".join(map(unit_name, part.causes[:MOST_CAUSES])) + (", …" if len(part.causes) > MOST_CAUSES else "")
            lines.append(f"layer {self.layer}, mag {self.mag}: {units}: {part.reason}{f' ({finer}: {named})' if named else ''}")
        return lines


def reasons_of(
    layer: str,
    mag: Mag,
    from_mag: Mag | None,
    units: Sequence[Position],
    reasons: Mapping[Position, Reason],
    causes: Callable[[Position], Sequence[Position]],
) -> MagReasons:
    """Count the reasons why units are pending.

    `units` are all units of the mag, in the order in which they are made; units without a reason are not pending. `causes` is
    called for few of them.
    """
    counts = Counter(reasons.values())
    ranges: list[PendingRange] = []
    range_count = 0
    for reason, run in itertools.groupby(units, key=reasons.get):
        if reason is None or reason is Reason.NEW:
            continue
        range_count += 1
        if len(ranges) == MOST_RANGES:
            continue
        members = list(run)
        asked = members[:MOST_CAUSES] if reason is Reason.SOURCE else []
        found = dict.fromkeys(cause for unit in asked for cause in causes(unit))
        ranges.append(PendingRange(reason, members[0], members[-1], len(members), tuple(found)))
    return MagReasons(layer, mag, from_mag, dict(counts.most_common()), tuple(ranges), range_count)


def reason_lines(found: Sequence[MagReasons]) -> list[str]:
    """Return up to `MOST_RANGES` lines about pending units that are not new, and one line for the rest."""
    lines = [line for reasons in found for line in reasons.lines()]
    shown = lines[:MOST_RANGES]
    left = sum(reasons.range_count for reasons in found) - len(shown)
    return [*shown, f"… and {left} more ranges"] if left else shown

"""Plan minus ledger: which units of a mag are proven, and which are pending. No voxel is read.

The state of a mag is its proven units with the tokens of their content, and the set of pending units. A unit is proven
if the ledger has a record with the same parameters and the same inputs, and its files are still the recorded ones by
number, size and stamp. If only the stamp differs, the unit is *doubtful*: a job compares its digest (see
`wkpipe.steps.prove`), and units that may depend on it are pending meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field

from wkpipe.errors import DamagedShard, MissingShard
from wkpipe.formats.base import Position, StoredArray, UnitFacts, UnitProof, unit_name
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.state.reasons import Reason
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.proof import unread
from wkpipe.storage.record import ADOPTED, DAMAGED, DIRTY, MADE, OUTDATED, WRITTEN, Record, content_token

Identity = Callable[[Position], "str | None"]
"""Returns the identity of a unit's inputs; None if an input is itself pending."""


@dataclass
class MagState:
    """What is known of a mag's units before the run: the content of the proven ones, and why the others are pending.

    `doubtful` maps the units that a job must prove to their stored bytes. `foreign` are units of a mag made by wkpipe that
    another tool wrote. `written` maps units to the time (ns) when the library last wrote them. `filled` of the proven units
    have files, of `stored_bytes` together. `replaced_bytes` is the recorded size of pending units.
    """

    tokens: dict[Position, str] = field(default_factory=dict)
    pending: dict[Position, Reason] = field(default_factory=dict)
    doubtful: dict[Position, int] = field(default_factory=dict)
    foreign: list[Position] = field(default_factory=list)
    adopted: list[Record] = field(default_factory=list)
    absent: int = 0
    gone: int = 0
    written: dict[Position, int] = field(default_factory=dict)
    filled: int = 0
    stored_bytes: int = 0
    replaced_bytes: int = 0

    @property
    def may_be_unchanged(self) -> bool:
        """True if the mag has units to prove, and none that will certainly be made again."""
        return all(reason in (Reason.UNPROVEN, Reason.UNPROVEN_SOURCE) for reason in self.pending.values())

    def count_bytes(self, facts: UnitFacts | UnitProof | None) -> None:
        """Count the files of a proven unit."""
        if facts is not None and facts.size:
            self.filled += 1
            self.stored_bytes += facts.size


def made_state(plan: MagPlan, array: StoredArray | None, ledger: Ledger, identity: Identity, source: MagState) -> MagState:
    """Compare a mag that wkpipe makes with its ledger.

    `array` is None if nothing was written yet. `source` is the state of the mag that it is made from.
    """
    state = MagState()
    params = plan.params
    for unit in plan.units():
        record = ledger.get(unit)
        inputs = identity(unit)
        if record is None:
            state.pending[unit] = Reason.NEW
            continue
        facts = None if array is None else array.unit_facts(unit)
        is_recorded = array is not None and record.matches(facts)
        if is_recorded and inputs is not None and record.is_made_by(params) and record.inputs == inputs:
            state.tokens[unit] = record.token
            state.count_bytes(record.proof)
            continue
        state.pending[unit] = _reason(record, params, inputs, is_recorded or facts is None)
        if inputs is None and state.pending[unit] is Reason.SOURCE and source.may_be_unchanged:
            state.pending[unit] = Reason.UNPROVEN_SOURCE
        if facts is None:
            state.gone += array is not None and not record.proof.is_fill
            continue
        state.replaced_bytes += record.proof.size
        if record.origin == WRITTEN and is_recorded:
            state.foreign.append(unit)
        elif facts.files < record.proof.files:
            state.gone += 1
        elif not is_recorded and record.origin not in (DAMAGED, OUTDATED):
            state.doubtful[unit] = facts.size
    return state


def _reason(record: Record, params: str, inputs: str | None, is_recorded_or_gone: bool) -> Reason:
    """Return why a recorded unit is made again; an earlier reason also explains the later ones."""
    if record.origin == DAMAGED:
        return Reason.DAMAGED
    if record.origin in (WRITTEN, DIRTY):
        return Reason.WRITTEN
    if record.params != params:
        return Reason.PARAMETERS
    if record.inputs != inputs or record.origin == OUTDATED:
        return Reason.SOURCE
    return Reason.GONE if is_recorded_or_gone else Reason.UNPROVEN


def found_state(
    array: StoredArray,
    ledger: Ledger,
    units: Iterable[Position],
    where: str,
    missing_is_error: bool,
    is_doubtful: bool = False,
    made: Container[Position] | None = None,
) -> MagState:
    """Return the state of an existing mag that this plan only reads.

    With `is_doubtful`, units without a record are proven too. `made` are the units that wkpipe made, if these are known: other
    units may have no file, as after the layer's box grew.

    Raises:
        MissingShard: the files of a recorded unit are gone, or a unit has no file and `missing_is_error`.
        DamagedShard: the repair of a unit is not complete.
    """
    state = MagState()
    stored = set(array.stored_units())
    was_made = any(record.origin == MADE for record in ledger.records.values())
    for unit in units:
        record = ledger.get(unit)
        facts = array.unit_facts(unit) if unit in stored else None
        state.count_bytes(facts)
        if record is not None and record.origin in (WRITTEN, DIRTY):
            state.written[unit] = record.time_ns
        if record is None and facts is not None and is_doubtful:
            state.doubtful[unit] = facts.size
        elif record is None:
            if facts is None and (missing_is_error or (was_made and (made is None or unit in made))):
                raise MissingShard(
                    f"storage shard {unit_name(unit)} has no file and no proof that it is empty", where=where, fix=_fix(was_made)
                )
            _adopt(state, unit, facts)
        elif record.origin == DAMAGED:
            raise DamagedShard(
                f"storage shard {unit_name(unit)} was found damaged", where=where, fix="repair it first, with `wkpipe verify --repair`"
            )
        elif record.origin != DIRTY and record.matches(facts):
            state.tokens[unit] = record.token
            state.absent += facts is None
        elif facts is None and record.origin == DIRTY:
            _adopt(state, unit, facts)
        else:
            state.doubtful[unit] = _size_to_prove(unit, record, facts, where, _fix(was_made))
    return state


def _size_to_prove(unit: Position, record: Record, facts: UnitFacts | None, where: str, fix: str) -> int:
    """Return the bytes of a unit's files, which differ from the recorded ones.

    Raises:
        MissingShard: some of the files are gone.
    """
    if facts is None:
        lost = f"{record.proof.size} bytes"
        raise MissingShard(f"storage shard {unit_name(unit)} is gone, the ledger recorded {lost}", where=where, fix=fix)
    if facts.files < record.proof.files:
        gone = f"{record.proof.files - facts.files} of the {record.proof.files} chunk files"
        raise MissingShard(f"{gone} that the ledger recorded for block {unit_name(unit)} are gone", where=where, fix=fix)
    return facts.size


def _fix(was_made: bool) -> str:
    again = "or, if another tool made the mag again, `wkpipe verify --forget LAYER/MAG`"
    if was_made:
        return f"convert its source again, or restore the file; {again}"
    return f"restore the file, or let missing shards count as empty (without `--missing-shards error`); {again}"


def _adopt(state: MagState, unit: Position, facts: UnitFacts | None) -> None:
    proof = unread(facts)
    state.absent += facts is None
    state.tokens[unit] = content_token(proof)
    state.adopted.append(Record(unit, ADOPTED, proof, state.tokens[unit]))

"""Plan minus ledger: which units of a mag are proven, and which are still to be made. No voxel is read.

The state of a mag is its proven units with the tokens of their content, and the set of pending ones. A unit is proven
when the ledger holds a record with the same parameters and the same inputs, and its files are still the recorded ones by
number, size and stamp. Where the stamp is another one, the unit is *doubtful*: a job proves by its digest what it is (see
`wkpipe.steps.prove`), and what may depend on that is pending meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field

from wkpipe.errors import DamagedShard, MissingShard
from wkpipe.formats.base import ArraySpec, Position, StoredArray, UnitFacts, UnitProof
from wkpipe.plan.mag_plan import MagPlan, identity_of
from wkpipe.plan.reasons import Reason
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.proof import unread
from wkpipe.storage.record import ADOPTED, DAMAGED, DIRTY, MADE, WRITTEN, Record, content_token

Identity = Callable[[Position], "str | None"]
"""Gives the identity of a unit's inputs; None where an input is itself still to be made."""


@dataclass
class MagState:
    """What is known of a mag's units before the run: the content of the proven ones, and why the others are pending.

    `doubtful` gives the stored bytes of the units that are to be proven by a job. `foreign` are those of a mag that wkpipe
    makes which somebody else wrote. `written` tells when (ns) units were last written through the library. `filled` of the
    proven units have files, of `stored_bytes` together; `replaced_bytes` is what pending units had when they were recorded.
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
        """True if the mag has units to be proven, and none that will be made again for sure."""
        return all(reason in (Reason.UNPROVEN, Reason.UNPROVEN_SOURCE) for reason in self.pending.values())

    def count_bytes(self, facts: UnitFacts | UnitProof | None) -> None:
        """Count the files of a proven unit."""
        if facts is not None and facts.size:
            self.filled += 1
            self.stored_bytes += facts.size


def made_state(plan: MagPlan, array: StoredArray | None, ledger: Ledger, identity: Identity, source: MagState) -> MagState:
    """Compare a mag that wkpipe makes with its ledger.

    `array` is None where nothing was written yet; `source` is the state of the mag that it is made from.
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
        elif not is_recorded and record.origin != DAMAGED:
            state.doubtful[unit] = facts.size
    return state


def _reason(record: Record, params: str, inputs: str | None, is_recorded_or_gone: bool) -> Reason:
    """Return why a recorded unit is to be made again; what comes first also explains what comes after."""
    if record.origin == DAMAGED:
        return Reason.DAMAGED
    if record.origin in (WRITTEN, DIRTY):
        return Reason.WRITTEN
    if record.params != params:
        return Reason.PARAMETERS
    if record.inputs != inputs:
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
    """Look at a mag that is there already and that this plan only reads.

    With `is_doubtful`, units without a record are proven too. `made` are the units that wkpipe made, if that is known: others, as
    where the layer's box grew, may have no file.

    Raises:
        MissingShard: the ledger knows a unit whose files are gone, or `missing_is_error` and there is no file.
        DamagedShard: a repair of a unit has not ended.
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
        if record is None:
            if facts is None and (missing_is_error or (was_made and (made is None or unit in made))):
                raise MissingShard(f"{where}: storage shard {_name(unit)} has no file and no proof that it is empty; {_mend(was_made)}")
            if facts is not None and is_doubtful:
                state.doubtful[unit] = facts.size
            else:
                _adopt(state, unit, facts)
        elif record.origin == DAMAGED:
            raise DamagedShard(f"{where}: storage shard {_name(unit)} was found damaged; repair it first, with `wkpipe verify --repair`")
        elif record.origin != DIRTY and record.matches(facts):
            state.tokens[unit] = record.token
            state.absent += facts is None
        elif facts is None:
            if record.origin != DIRTY:
                lost = f"{record.proof.size} bytes"
                raise MissingShard(f"{where}: storage shard {_name(unit)} is gone, the ledger recorded {lost}; {_mend(was_made)}")
            _adopt(state, unit, facts)
        elif facts.files < record.proof.files:
            gone = f"{record.proof.files - facts.files} of the {record.proof.files} chunk files"
            raise MissingShard(f"{where}: {gone} that the ledger recorded for block {_name(unit)} are gone; {_mend(was_made)}")
        else:
            state.doubtful[unit] = facts.size
    return state


def _mend(was_made: bool) -> str:
    again = "or, if another tool made the mag again, `wkpipe verify --forget LAYER/MAG`"
    if was_made:
        return f"convert its source again, or restore the file; {again}"
    return f"restore the file, or take missing shards as empty (without `--missing-shards error`); {again}"


def _name(unit: Position) -> str:
    return ".".join(map(str, unit))


def _adopt(state: MagState, unit: Position, facts: UnitFacts | None) -> None:
    proof = unread(facts)
    state.absent += facts is None
    state.tokens[unit] = content_token(proof)
    state.adopted.append(Record(unit, ADOPTED, proof, state.tokens[unit]))


def source_identity(plan: MagPlan, unit: Position, source: ArraySpec, tokens: Mapping[Position, str]) -> str | None:
    """Return the identity of what a downsampled unit is made from; None where a source unit has no token yet."""
    names = [tokens.get(source_unit) for source_unit in plan.source_units(unit, source)]
    known = [name for name in names if name is not None]
    return identity_of(known) if len(known) == len(names) else None

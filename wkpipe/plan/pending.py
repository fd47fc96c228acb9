"""Plan minus ledger: which units of a mag are proven, and which are still to be made.

The state of a mag is its proven units with the tokens of their content, and the set of pending ones. A unit is proven
when the ledger holds a record with the same parameters and the same inputs, and its files are still the recorded
ones: size and mtime agree, or, where they differ, the checksum does (the record is then renewed: *adopted*).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from wkpipe.errors import DamagedShard, MissingShard
from wkpipe.formats.base import ArraySpec, Position, StoredArray, UnitFacts, UnitProof
from wkpipe.plan.mag_plan import MagPlan, identity_of
from wkpipe.plan.reasons import Reason
from wkpipe.storage.ledger import ADOPTED, DAMAGED, DIRTY, MADE, WRITTEN, Ledger, Record, content_token

UNKNOWN_CRC = -1

Identity = Callable[[Position], "str | None"]
"""Gives the identity of a unit's inputs; None where an input is itself still to be made."""


@dataclass
class MagState:
    """What is known of a mag's units before the run: the content of the proven ones, and why the others are pending.

    `written` tells when (ns) units were last written through the library. `filled` of the proven units have files, of
    `stored_bytes` together; `replaced_bytes` is what pending units had when they were recorded.
    """

    tokens: dict[Position, str] = field(default_factory=dict)
    pending: dict[Position, Reason] = field(default_factory=dict)
    adopted: list[Record] = field(default_factory=list)
    absent: int = 0
    changed: list[Position] = field(default_factory=list)
    written: dict[Position, int] = field(default_factory=dict)
    filled: int = 0
    stored_bytes: int = 0
    replaced_bytes: int = 0

    def count_bytes(self, facts: UnitFacts | UnitProof | None) -> None:
        """Count the files of a proven unit."""
        if facts is not None and facts.size:
            self.filled += 1
            self.stored_bytes += facts.size


def made_state(plan: MagPlan, array: StoredArray | None, ledger: Ledger, identity: Identity) -> MagState:
    """Compare a mag that wkpipe makes with its ledger.

    `array` is None where nothing was written yet.
    """
    state = MagState()
    params = plan.params
    for unit in plan.units():
        record = ledger.get(unit)
        inputs = identity(unit)
        if record is None:
            state.pending[unit] = Reason.NEW
            continue
        if not record.is_made_by(params) or inputs is None or record.inputs != inputs or array is None:
            state.pending[unit] = _reason(record, params, inputs)
        elif record.matches(facts := array.unit_facts(unit)):
            state.tokens[unit] = record.token
        elif facts is not None and (renewed := _renewed(record, facts, array)):
            state.tokens[unit] = record.token
            state.adopted.append(renewed)
        else:
            state.pending[unit] = Reason.GONE if facts is None or facts.files < record.proof.files else Reason.CONTENT
            state.changed.append(unit)
        if unit in state.tokens:
            state.count_bytes(record.proof)
        elif array is not None:
            state.replaced_bytes += record.proof.size
    return state


def _reason(record: Record, params: str, inputs: str | None) -> Reason:
    """Tell why a recorded unit is to be made again; what comes first also explains what comes after."""
    if record.origin == DAMAGED:
        return Reason.DAMAGED
    if record.origin in (WRITTEN, DIRTY):
        return Reason.WRITTEN
    if record.params != params:
        return Reason.PARAMETERS
    return Reason.SOURCE if record.inputs != inputs else Reason.GONE


def found_state(array: StoredArray, ledger: Ledger, units: Iterable[Position], where: str, missing_is_error: bool) -> MagState:
    """Look at a mag that is there already and that this plan only reads.

    Units that changed since they were recorded are decoded once before they are accepted anew.

    Raises:
        MissingShard: the ledger knows a unit whose files are gone, or `missing_is_error` and there is no file.
        DamagedShard: a changed unit can not be decoded, or a repair of one has not ended.
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
            if facts is None and (was_made or missing_is_error):
                raise MissingShard(f"{where}: storage shard {_name(unit)} has no file and no proof that it is empty; {_mend(was_made)}")
            _adopt(state, unit, facts)
        elif record.origin == DAMAGED:
            raise DamagedShard(f"{where}: storage shard {_name(unit)} was found damaged; repair it first, with `wkpipe verify --repair`")
        elif record.origin == DIRTY:
            _adopt_checked(state, unit, array, WRITTEN)
        elif record.matches(facts):
            state.tokens[unit] = record.token
            state.absent += facts is None
        elif facts is None:
            raise MissingShard(
                f"{where}: storage shard {_name(unit)} is gone, the ledger recorded {record.proof.size} bytes; {_mend(was_made)}"
            )
        elif facts.files < record.proof.files:
            gone = f"{record.proof.files - facts.files} of the {record.proof.files} chunk files"
            raise MissingShard(f"{where}: {gone} that the ledger recorded for block {_name(unit)} are gone; {_mend(was_made)}")
        elif renewed := _renewed(record, facts, array):
            state.tokens[unit] = record.token
            state.adopted.append(renewed)
        else:
            state.changed.append(unit)
            _adopt_checked(state, unit, array, ADOPTED)
    return state


def _mend(was_made: bool) -> str:
    if was_made:
        return "convert its source again, or restore the file"
    return "restore the file, or take missing shards as empty (without `--missing-shards error`)"


def _name(unit: Position) -> str:
    return ".".join(map(str, unit))


def _renewed(record: Record, facts: UnitFacts, array: StoredArray) -> Record | None:
    """Return the record with new facts if the content is still the recorded one."""
    if record.proof.crc32c == UNKNOWN_CRC or record.proof.size != facts.size or record.proof.files != facts.files:
        return None
    proof = array.prove_unit(record.unit)
    return replace(record, proof=proof) if proof is not None and proof.crc32c == record.proof.crc32c else None


def _adopt(state: MagState, unit: Position, facts: UnitFacts | None) -> None:
    if facts is None:
        proof, token = UnitProof(0, 0, 0, 0), "fill"
        state.absent += 1
    else:
        proof = UnitProof(facts.files, facts.size, UNKNOWN_CRC, facts.mtime_ns)
        token = identity_of([f"{facts.files} {facts.size} {facts.mtime_ns}"])
    state.tokens[unit] = token
    state.adopted.append(Record(unit, ADOPTED, proof, token))


def _adopt_checked(state: MagState, unit: Position, array: StoredArray, origin: str) -> None:
    array.check_unit(unit)
    proof = array.prove_unit(unit) or UnitProof(0, 0, 0, 0)
    state.tokens[unit] = content_token(proof)
    state.adopted.append(Record(unit, origin, proof, state.tokens[unit]))


def source_identity(plan: MagPlan, unit: Position, source: ArraySpec, tokens: Mapping[Position, str]) -> str | None:
    """Return the identity of what a downsampled unit is made from; None where a source unit has no token yet."""
    names = [tokens.get(source_unit) for source_unit in plan.source_units(unit, source)]
    known = [name for name in names if name is not None]
    return identity_of(known) if len(known) == len(names) else None

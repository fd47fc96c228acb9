"""The record of one unit, and its line in a ledger: ``<crc32c of the JSON, 8 hex digits> <JSON>\\n``.

A line of version 2 has ``"v": 2``. Lines of version 1 have a CRC-32C instead of the digest. They are read as records
without a digest, which are valid only while size and mtime stay the same.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from wkpipe.storage.change import Change, changes_of
from wkpipe.storage.lines import checked_line, content_of_line
from wkpipe.storage.proof import MTIME, Position, Stamp, UnitFacts, UnitProof

VERSION = 2

MADE = "made"  # by a task of wkpipe, with parameters and inputs
WRITTEN = "written"  # by hand: through the library's `write`, or by another tool into a mag that wkpipe made
ADOPTED = "adopted"  # found without a record; identified by its stamp, and by its digest once it was read
DIRTY = "dirty"  # a write has started and not ended: the content is not known
DAMAGED = "damaged"  # verify found other files than the recorded ones and has started to make the unit again

OUTDATED = "outdated"  # a run has started to make it again, because its source changed: its files may be newer than the record


_NO_STATS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Record:
    """The facts of one unit.

    `params` is the hash of what defines its voxels and layout, `inputs` the identity of what it was made from.
    Units that are made from it know its content by `token`, which changes unless the content is provably the same. `stats` has
    the facts about the voxels that later steps need (smallest and largest value). `encoder` names the codec's parameters and the
    release of its library, `mag` the id of the mag that the unit belongs to; both are empty if they are not known. `sources` names the
    contents that it was made from, in their order, and `changes` says where it differs from earlier contents (`wkpipe.storage.change`).
    """

    unit: Position
    origin: str
    proof: UnitProof
    token: str
    params: str = ""
    inputs: str = ""
    stats: Mapping[str, Any] = field(default_factory=lambda: _NO_STATS)
    epoch: int = 0
    time_ns: int = 0
    encoder: str = ""
    mag: str = ""
    sources: str = ""
    changes: tuple[Change, ...] = ()

    @property
    def age(self) -> tuple[int, int]:
        """The order of the records of one unit: the largest is the newest."""
        return (self.epoch, self.time_ns)

    def matches(self, facts: UnitFacts | None) -> bool:
        """True if files with these facts can be the recorded ones, see `UnitProof.matches`."""
        return self.proof.matches(facts)

    def is_made_by(self, params: str) -> bool:
        """True if a task made the unit with these parameters, or `verify --adopt` accepted it as such."""
        return self.origin in (MADE, ADOPTED) and self.params == params

    def to_line(self) -> bytes:
        proof = self.proof
        values = {
            "unit": self.unit,
            "v": VERSION,
            "origin": self.origin,
            "proof": [proof.files, proof.size, proof.crc32c],
            "digest": proof.digest,
            "stamp": proof.stamp,
            "token": "" if self.token == proof.digest else self.token,
            "params": self.params,
            "encoder": self.encoder,
            "mag": self.mag,
            "inputs": self.inputs,
            "stats": dict(self.stats),
            "epoch": self.epoch,
            "time": self.time_ns,
        }
        if self.sources:
            values["sources"] = self.sources
        if self.changes:
            values["changes"] = self.changes
        return checked_line(values)

    @classmethod
    def from_line(cls, line: bytes) -> Record | None:
        """Parse a line of either version; None if it was cut short or damaged."""
        try:
            values = content_of_line(line)
            stats = values["stats"] or _NO_STATS
            proof = _proof_of(values)
            digest, token = proof.digest, values["token"]
            encoder, mag = values.get("encoder", ""), values.get("mag", "")
            sources, changes = values.get("sources", ""), changes_of(values["changes"]) if "changes" in values else ()
            if (
                set(map(type, (*values["unit"], values["epoch"], values["time"]))) != {int}
                or set(map(type, (values["origin"], token, values["params"], values["inputs"], encoder, mag, sources))) != {str}
                or not set(map(type, stats.values())) <= {int, float}
            ):
                return None
            return cls(
                unit=tuple(values["unit"]),
                origin=sys.intern(values["origin"]),
                proof=proof,
                token=token or digest,
                params=sys.intern(values["params"]),
                inputs=values["inputs"],
                stats=stats,
                epoch=values["epoch"],
                time_ns=values["time"],
                encoder=sys.intern(encoder),
                mag=sys.intern(mag),
                sources=sources,
                changes=changes,
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None


def _proof_of(values: Mapping[str, Any]) -> UnitProof:
    """Return the proof in the values of a line.

    Raises:
        ValueError, KeyError, TypeError: there is no valid one.
    """
    if "v" not in values:
        files, size, crc32c, mtime_ns = values["proof"]
        digest, kind, value = "", MTIME, mtime_ns
    elif values["v"] == VERSION:
        files, size, crc32c = values["proof"]
        digest, (kind, value) = values["digest"], values["stamp"]
    else:
        raise ValueError("a record of a later version")
    if set(map(type, (files, size, crc32c))) != {int} or set(map(type, (digest, kind))) != {str} or type(value) not in (int, str):
        raise TypeError("not a proof")
    return UnitProof(files, size, crc32c, Stamp(sys.intern(kind), value), digest)


def with_token_of_same_voxels(made: Record, before: Record | None) -> Record:
    """Return the record of a unit that was made again, with the token of the earlier one if only the encoder differs.

    Then the stored bytes may differ and the voxels do not, so that units that are made from them stay up to date.
    """
    if before is None or before.origin not in (MADE, DAMAGED, OUTDATED) or before.encoder in ("", made.encoder):
        return made
    return replace(made, token=before.token) if (before.params, before.inputs) == (made.params, made.inputs) else made


def content_token(proof: UnitProof) -> str:
    """Return the token of a unit's content: its digest, or its stamp if the content was not read."""
    if proof.is_fill:
        return "fill"
    return proof.digest or f"{proof.files} {proof.size} {proof.stamp.kind} {proof.stamp.value}"

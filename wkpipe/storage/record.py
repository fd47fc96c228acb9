"""What is known of one unit, and the line of a ledger that holds it: ``<crc32c of the JSON, 8 hex digits> <JSON>\\n``.

A line of version 2 has ``"v": 2``. Lines of version 1 have a CRC-32C in the place of the digest: they are read as records
without a digest, which hold as long as size and mtime do, and prove nothing after that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import google_crc32c

from wkpipe.storage.proof import MTIME, Position, Stamp, UnitFacts, UnitProof

VERSION = 2

MADE = "made"  # by a task of wkpipe, with parameters and inputs
WRITTEN = "written"  # by hand: through the library's `write`, or by another tool into a mag that wkpipe made
ADOPTED = "adopted"  # found without a record; known by its stamp, and by its digest once it was read
DIRTY = "dirty"  # a write has begun and not ended: the content is not known
DAMAGED = "damaged"  # verify found other files than the recorded ones and has begun to make the unit again


_NO_STATS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one unit.

    `params` is the hash of what defines its voxels and layout, `inputs` the identity of what it was made from,
    `token` the name of its content for what is made from it, which stays while the content provably stays. `stats` holds
    facts on the voxels that later steps need (smallest and largest value). `encoder` names the codec's parameters and the
    release of its library, `mag` the id of the mag that the unit belongs to; both are empty where they are not known.
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

    @property
    def age(self) -> tuple[int, int]:
        """Orders the records of one unit: the largest is the newest."""
        return (self.epoch, self.time_ns)

    def matches(self, facts: UnitFacts | None) -> bool:
        """True if files with these facts can be the recorded ones, see `UnitProof.matches`."""
        return self.proof.matches(facts)

    def is_made_by(self, params: str) -> bool:
        """Tell whether a task made the unit with these parameters, or `verify --adopt` took it for such a one."""
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
        text = json.dumps(values, separators=(",", ":")).encode()
        return b"%08x %s\n" % (google_crc32c.value(text), text)

    @classmethod
    def from_line(cls, line: bytes) -> Record | None:
        """Parse a line of either version; None if it was cut short or damaged."""
        try:
            crc, text = line.rstrip(b"\n").split(b" ", 1)
            if int(crc, 16) != google_crc32c.value(text):
                return None
            values = json.loads(text)
            stats = values["stats"] or _NO_STATS
            proof = _proof_of(values)
            digest, token = proof.digest, values["token"]
            encoder, mag = values.get("encoder", ""), values.get("mag", "")
            if (
                set(map(type, (*values["unit"], values["epoch"], values["time"]))) != {int}
                or set(map(type, (values["origin"], token, values["params"], values["inputs"], encoder, mag))) != {str}
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
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None


def _proof_of(values: Mapping[str, Any]) -> UnitProof:
    """Return the proof that a line holds.

    Raises:
        ValueError, KeyError, TypeError: it holds none.
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


def content_token(proof: UnitProof) -> str:
    """Return the token of a unit whose content is known; of one that was not read, its stamp stands for the content."""
    if proof.is_fill:
        return "fill"
    return proof.digest or f"{proof.files} {proof.size} {proof.stamp.kind} {proof.stamp.value}"

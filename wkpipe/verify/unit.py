"""Prove one unit: compare its files with its record and decode every chunk; in pieces, for many threads."""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from wkpipe.errors import WkpipeError, one_line
from wkpipe.formats.base import Position, UnitFacts, UnitProof, unit_name
from wkpipe.formats.chunked import ChunkedArray
from wkpipe.storage.proof import UNKNOWN_CRC, is_other_content
from wkpipe.storage.record import ADOPTED, DAMAGED, DIRTY, OUTDATED, WRITTEN, Record
from wkpipe.verify.deep import DeepCheck, Difference
from wkpipe.verify.mag import MagOnDisk, refresh_command
from wkpipe.verify.report import Kind, Problem

PIECE_BYTES = 64 << 20
"""Units with more decoded bytes are decoded in pieces of about this size, side by side."""

CUBE_BYTES = 8 << 20


@dataclass(frozen=True)
class UnitVerdict:
    """The result of checking a unit: the bytes that were read, the problem, and whether it is absent or only looks changed.

    `is_proven` is True if a digest was recorded to compare it with (or if it holds nothing but the fill value). `is_other` is
    True if its content is not the recorded one, perhaps on purpose, `is_written` if its stamp is another one too. `proof` is
    the present proof of its files, if it was asked for.
    """

    unit: Position
    bytes_read: int = 0
    problem: Problem | None = None
    is_absent: bool = False
    is_touched: bool = False
    is_proven: bool = False
    is_other: bool = False
    is_written: bool = False
    proof: UnitProof | None = None


@dataclass(frozen=True)
class _Files:
    """The result of looking at a unit's files: what is wrong with them, and the fix if it is a special one."""

    facts: UnitFacts | None = None
    wrong: str | None = None
    fix: str | None = None
    proof: UnitProof | None = None
    is_other: bool = False


Found = _Files | Difference | str | None
Piece = Callable[[], Found]


@dataclass(frozen=True)
class UnitCheck:
    """The check of one unit. `deep` compares its voxels with a finer mag; `prove` asks for the proof of its files.

    With `shows_up`, a unit of another tool that was written since is not a problem: the units made from it are stale, which is one.
    """

    mag: MagOnDisk
    unit: Position
    record: Record | None
    must_be_recorded: bool
    deep: DeepCheck | None = None
    prove: bool = False
    shows_up: bool = False

    def pieces(self) -> Iterator[Piece]:
        """Yield functions to call in any order; each returns its findings. Each needs little memory."""
        yield self._look_at_files
        yield from self._decoding()
        if self.deep is not None:
            yield from self.deep.pieces(self.mag.array, self.unit)

    def verdict(self, found: Sequence[Found]) -> UnitVerdict:
        """Return the verdict from the results of all pieces."""
        files = next(result for result in found if isinstance(result, _Files))
        if files.fix is not None:
            return UnitVerdict(self.unit, problem=self._problem(files.wrong or "", files.fix, False))
        decoding = next((result for result in found if isinstance(result, str)), None)
        what = [text for text in (files.wrong, decoding) if text]
        differences = [result for result in found if isinstance(result, Difference)]
        if not what and self.deep is not None and (difference := self.deep.described(differences)) is not None:
            what = [difference]
        record, facts = self.record, files.facts
        is_written = self._may_be_meant(files, decoding is not None) and record is not None and not record.matches(facts)
        if is_written and self.shows_up:
            what = []
        is_touched = not what and record is not None and facts is not None and not record.matches(facts) and not record.proof.is_known
        return UnitVerdict(
            unit=self.unit,
            bytes_read=facts.size if facts is not None else 0,
            problem=self._problem("; ".join(what), *self._fix(files, decoding is not None)) if what else None,
            is_absent=facts is None and record is None,
            is_touched=is_touched,
            is_proven=record is not None and record.proof.is_known,
            is_written=is_written,
            is_other=self._may_be_meant(files, decoding is not None),
            proof=files.proof,
        )

    def _problem(self, what: str, fix: str, is_repairable: bool) -> Problem:
        mag = self.mag
        return Problem(Kind.UNIT, mag.layer.name, str(mag.entry.mag), unit_name(self.unit), what, fix, is_repairable, self.unit)

    def _may_be_meant(self, files: _Files, is_broken: bool) -> bool:
        """True if a user may have changed the unit on purpose: it decodes, and wkpipe does not make it."""
        record = self.record
        is_foreign = record is not None and not record.params and record.origin in (ADOPTED, WRITTEN)
        return is_foreign and files.is_other and files.facts is not None and not is_broken

    def _fix(self, files: _Files, is_broken: bool) -> tuple[str, bool]:
        """Return the fix of the unit, and whether `--repair` does it."""
        mag = self.mag
        if self._may_be_meant(files, is_broken):
            return f"restore its files from a copy; or, if the change was meant, {refresh_command(mag.dataset, mag.layer)}", False
        return mag.fix_of_unit(), mag.can_be_made_again

    # -- files --------------------------------------------------------------------------------------------------

    def _look_at_files(self) -> Found:
        array = self.mag.array
        try:
            facts = array.unit_facts(self.unit)
            unreadable = next((key for key in array.unit_keys(self.unit) if not array.place.is_readable(key)), None)
            if unreadable is not None:
                locked = array.place.path(unreadable)
                fix = f"make it readable: chmod u+r {shlex.quote(str(locked))}"
                return _Files(facts, f"{locked} cannot be read: permission denied", fix)
            return self._compared(facts)
        except (WkpipeError, OSError) as error:
            return _Files(None, _reason(error))

    def _compared(self, facts: UnitFacts | None) -> _Files:
        """Compare the files with the record."""
        record = self.record
        if self.prove:
            return _Files(facts, proof=self.mag.array.prove_unit(self.unit))
        if record is None:
            what = f"found {_amount(facts)} and no record of it in the ledger, expected a record of every storage shard"
            return _Files(facts, what if self.must_be_recorded else None)
        if record.origin == DIRTY:
            return _Files(facts, f"found {_amount(facts)} that a write began to change and did not finish, expected a finished write")
        if record.origin == DAMAGED or (record.origin == OUTDATED and not record.matches(facts)):
            who = "repair" if record.origin == DAMAGED else "run"
            return _Files(facts, f"found {_amount(facts)} that a {who} began to make again and did not finish")
        proof = record.proof
        is_other = (facts is None) != proof.is_fill or (facts is not None and (facts.files, facts.size) != (proof.files, proof.size))
        if is_other:
            return _Files(facts, f"found {_amount(facts)}, expected {_recorded(record)} as the ledger recorded", is_other=True)
        if facts is None or (not proof.is_known and proof.crc32c == UNKNOWN_CRC):
            return _Files(facts)
        found = self.mag.array.prove_unit(self.unit)
        if found is None or is_other_content(proof, found):
            now = "no file" if found is None else f"the content {found.digest}"
            expected = proof.digest or f"one with the CRC-32C {proof.crc32c:08x}"
            return _Files(facts, f"found {now}, expected {expected} as the ledger recorded", is_other=True)
        return _Files(facts)

    # -- chunks -------------------------------------------------------------------------------------------------

    def _decoding(self) -> Iterator[Piece]:
        """Yield the functions that decode the unit's chunks."""
        spec = self.mag.array.spec
        first = [u * n for u, n in zip(self.unit, spec.unit_shape, strict=True)]
        inside = [max(0, min(n, whole - f)) for f, n, whole in zip(first, spec.unit_shape, spec.shape, strict=True)]
        is_small = spec.is_sharded and math.prod(inside) * spec.dtype.itemsize <= PIECE_BYTES
        if is_small or not isinstance(self.mag.array, ChunkedArray):
            yield self._decode_all
            return
        # Blocks of a WKW file beyond the array's shape count too.
        size = inside if self.mag.array.is_bounded else list(spec.unit_shape)
        cube = _grown(spec.chunk_shape, size, CUBE_BYTES // spec.dtype.itemsize)
        starts = itertools.product(*(range(f, f + n, c) for f, n, c in zip(first, size, cube, strict=True)))
        batch = max(1, PIECE_BYTES // (math.prod(cube) * spec.dtype.itemsize))
        while corners := list(itertools.islice(starts, batch)):
            yield lambda corners=corners: self._decode_cubes(corners, cube)  # type: ignore[misc]

    def _decode_all(self) -> Found:
        try:
            self.mag.array.check_unit(self.unit)
        except (WkpipeError, OSError) as error:
            return _reason(error)
        return None

    def _decode_cubes(self, corners: Sequence[Sequence[int]], cube: Sequence[int]) -> Found:
        array = self.mag.array
        try:
            for corner in corners:
                if not array.is_fill(corner, cube):
                    array.read(corner, cube)
        except (WkpipeError, OSError) as error:
            return _reason(error)
        return None


def _grown(chunk: Sequence[int], most: Sequence[int], voxels: int) -> list[int]:
    """Return a multiple of the chunk's shape with about `voxels` voxels, not larger than `most` rounded up."""
    shape = list(chunk)
    while math.prod(shape) * 2 <= voxels:
        axis = min((axis for axis, n in enumerate(shape) if n < most[axis]), key=lambda axis: shape[axis], default=None)
        if axis is None:
            break
        shape[axis] *= 2
    return shape


def _amount(facts: UnitFacts | None) -> str:
    if facts is None:
        return "no file"
    return f"{facts.size} bytes" if facts.files == 1 else f"{facts.size} bytes in {facts.files} files"


def _recorded(record: Record) -> str:
    proof = record.proof
    if proof.is_fill:
        return "no file (nothing but the fill value)"
    return f"{proof.size} bytes" if proof.files == 1 else f"{proof.size} bytes in {proof.files} files"


def _reason(error: Exception) -> str:
    """Return an error in one line without its fix: the problem has a better one."""
    return str(error.but(fix="")) if isinstance(error, WkpipeError) else one_line(error)

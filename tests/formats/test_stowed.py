"""Chunks that forked processes encode and write give the same files as chunks that one process appends, whatever is left out."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.formats.helpers import files_of, leftovers, new_array, noise, scratch_of
from tests.formats.test_round_trip import KINDS
from wkpipe.formats.base import EncodedChunks, StoredArray, UnitWriter
from wkpipe.formats.unit_writer import parts_of_head, stowed_head
from wkpipe.geometry.grid import morton_order

EDGE = 4
SKIPPED, ZEROS, NOISE, COPIED = range(4)
"""What a test does with a chunk; a copied one is appended by the process itself, as chunks of a kept part are."""

UNIT = (0, 0, 0, 0)
POSITIONS = [(0, *cell) for cell in morton_order((EDGE,) * 3).tolist()]


def array_in(folder: Path, kind: str) -> StoredArray:
    data_format, compression = KINDS[kind]
    return new_array(folder / "a", data_format, (1, *[8 * EDGE] * 3), "uint16", shard=8 * EDGE, compression=compression)


def encoded(writer: UnitWriter, run: list[int], states: list[int]) -> EncodedChunks:
    """Return the chunks of a run, by their numbers in Morton order."""
    chunks = [None if states[n] == ZEROS else writer.encode(noise((1, 8, 8, 8), "uint16", n, holes=False)) for n in run]
    return EncodedChunks.of(np.array([POSITIONS[n] for n in run]), chunks)


def stow(writer: UnitWriter, made: EncodedChunks) -> tuple[memoryview, int] | None:
    """Append chunks as those of a forked process; return what the process must write, and where."""
    receipt, body = writer.stow(made)
    sizes, digests, receipt = parts_of_head(stowed_head(made, receipt), len(made.positions))
    offset = writer.append_stowed(made.positions, sizes, digests, receipt, memoryview(body))
    return None if offset is None else (memoryview(body), offset)


def runs_of(states: list[int], length: int, joins: bool) -> list[list[int]]:
    """Cut the chunks that are not skipped into runs of at most that many, each either copied or not. `joins`: also over skipped ones."""
    runs: list[list[int]] = []
    for n, state in enumerate(states):
        if state == SKIPPED:
            continue
        last = runs[-1] if runs else []
        is_next = last and (joins or last[-1] == n - 1) and len(last) < length and (states[last[-1]] == COPIED) == (state == COPIED)
        runs[-1:] = [[*last, n]] if is_next else [*runs[-1:], [n]]
    return runs


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(sorted(KINDS)), st.integers(1, 9), st.booleans())
def test_the_same_file_whoever_writes_it(data: st.DataObject, kind: str, length: int, joins: bool) -> None:
    weights = data.draw(st.sampled_from([(SKIPPED, ZEROS), (SKIPPED, NOISE), (ZEROS, NOISE), (SKIPPED, ZEROS, NOISE, COPIED)]))
    states = data.draw(st.lists(st.sampled_from(weights), min_size=EDGE**3, max_size=EDGE**3))
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        plain, forked = array_in(Path(one), kind), array_in(Path(other), kind)
        with plain.unit_writer(UNIT, scratch_of(plain.path)) as writer:
            for run in runs_of(states, length, joins):
                for position, chunk, digest in encoded(writer, run, states).each():
                    writer.append(position, chunk, digest)
            proof = writer.commit()
        with forked.unit_writer(UNIT, scratch_of(forked.path)) as writer:
            writer.come_in_order()
            write = writer.begin_stowing()
            left = []
            for run in runs_of(states, length, joins):
                made = encoded(writer, run, states)
                if states[run[0]] == COPIED:
                    writer.append_all(made)
                elif (part := stow(writer, made)) is not None:
                    left.append(part)
            for body, offset in reversed(left):
                assert write is not None
                write([body], offset)
                writer.filled(body.nbytes)
            stowed = writer.commit()
        assert files_of(forked.path) == files_of(plain.path)
        assert (stowed.files, stowed.size, stowed.crc32c, stowed.digest) == (proof.files, proof.size, proof.crc32c, proof.digest)
        assert forked.prove_unit(UNIT) == (None if stowed.is_fill else stowed)
        assert leftovers(forked.path) == []


def test_blocks_after_a_gap_within_a_run_are_kept(tmp_path: Path) -> None:
    """They wait for the chunk before them, until a later run shows that it was skipped."""
    array, states = array_in(tmp_path, "wkw"), [NOISE] * EDGE**3
    with array.unit_writer(UNIT, scratch_of(array.path)) as writer:
        writer.come_in_order()
        write = writer.begin_stowing()
        for run in ([3, 5, 6], [8, 9]):
            if (part := stow(writer, encoded(writer, run, states))) is not None:
                assert write is not None
                write([part[0]], part[1])
                writer.filled(part[0].nbytes)
        writer.commit()
    for n in range(12):
        chunk = array.read([8 * p for p in POSITIONS[n]], (1, 8, 8, 8))
        assert (chunk == (noise((1, 8, 8, 8), "uint16", n, holes=False) if n in (3, 5, 6, 8, 9) else 0)).all(), n


@pytest.mark.parametrize("is_stowed", [True, False])
def test_a_chunk_that_comes_after_its_turn_is_refused(tmp_path: Path, is_stowed: bool) -> None:
    array = array_in(tmp_path, "wkw")
    states = [NOISE] * EDGE**3
    with array.unit_writer(UNIT, scratch_of(array.path)) as writer:
        writer.come_in_order()
        writer.begin_stowing()
        writer.append_all(encoded(writer, [5, 6], states))
        with pytest.raises(ValueError, match="a chunk was appended twice"):
            stow(writer, encoded(writer, [4], states)) if is_stowed else writer.append_all(encoded(writer, [4], states))
        with pytest.raises(ValueError, match=r"chunk \(0, 0, 0, 1\) was appended twice"):
            writer.append((0, 0, 0, 1), writer.encode(noise((1, 8, 8, 8), "uint16", holes=False)))


@pytest.mark.parametrize("kind", ["wkw", "zarr3"])
def test_chunks_outside_of_the_unit_are_named(tmp_path: Path, kind: str) -> None:
    array = array_in(tmp_path, kind)
    with array.unit_writer(UNIT, scratch_of(array.path)) as writer:
        writer.begin_stowing()
        for position in ((0, 0, EDGE, 0), (0, 0, 0, -1), (1, 0, 0, 0)):
            made = EncodedChunks.of(np.array([position]), [b"bytes"])
            with pytest.raises(ValueError, match=re.escape(f"no chunk at {position}")):
                stow(writer, made)

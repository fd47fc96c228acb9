"""Mode: the most frequent value of each block of one piece.

The value whose first occurrence comes first wins a tie, with a block visited y fastest, then x, then z: position
dy + fy·dx + fx·fy·dz. Zero counts like any value. A NaN equals nothing, itself included; -0.0 equals 0.0, and the
occurrence seen first is the one written.

Most blocks of a segmentation hold one value only. They are found by comparing whole lines of memory, and get their
first voxel; only the others are gathered and put to the vote.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from wkpipe.sampling.scratch import Scratch, Voxels, every_second, unsigned

Indices: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]

_ROUNDS = 8
"""So many candidates are tried before the blocks that are still undecided are sorted."""
_VOTE_ELEMENTS = 1 << 16
"""So many voxels are put to the vote at once, so that they stay in the cache."""


def mode_piece(source: Voxels, factors: tuple[int, int, int], out: Voxels, scratch: Scratch) -> None:
    """Write the mode of every block of `source` (z, y, x), x contiguous, to `out`; factors are (fz, fy, fx)."""
    fz, fy, fx = factors
    firsts = source[::fz, ::fy]
    _first_voxels(firsts, fx, out)
    n = fz * fy * fx
    if n <= 2:
        return  # two different values are a tie, and the first one wins
    mixed = np.flatnonzero(_mixed_blocks(source, factors, scratch))
    if not mixed.size:
        return
    if not source.flags.c_contiguous:
        source = np.ascontiguousarray(source)
    flat = source.reshape(-1)
    _, height, width = source.shape
    places = np.array([(dz * height + dy) * width + dx for dz in range(fz) for dx in range(fx) for dy in range(fy)], np.intp)
    corners = _corners(mixed, out.shape, source.shape, factors)
    winners = np.empty(mixed.size, source.dtype)
    step = max(_VOTE_ELEMENTS // n, 16)
    for start in range(0, mixed.size, step):
        some = slice(start, start + step)
        winners[some] = _few(flat, corners[some], places, scratch) if n <= 8 else _many(flat, corners[some], places, scratch)
    if out.flags.c_contiguous:
        out.reshape(-1)[mixed] = winners
    else:
        out[np.unravel_index(mixed, out.shape)] = winners


def _first_voxels(firsts: Voxels, fx: int, out: Voxels) -> None:
    if fx == 1:
        np.copyto(out, firsts)
    elif fx == 2:
        every_second(firsts, out)
    else:
        np.copyto(out, firsts[..., ::fx])


def _mixed_blocks(source: Voxels, factors: tuple[int, int, int], scratch: Scratch) -> Voxels:
    """Return a boolean array, one value per block in C order: whether it holds more than one bit pattern.

    Equal patterns are one winner whatever they mean, so the voxels of a block that follow each other along x can be
    compared at once, as one unsigned integer.
    """
    fz, fy, fx = factors
    plain = source.view(unsigned(source.itemsize))
    words = plain.view(unsigned(min(fx * source.itemsize, 8)))
    first_words, first_voxels = words[::fz, ::fy], plain[::fz, ::fy]
    found: Voxels | None = None
    if fz * fy > 1:
        differs = scratch.array("differs", first_words.shape, np.dtype(np.bool_))
        more = scratch.array("more", first_words.shape, np.dtype(np.bool_))
        others = [(dz, dy) for dz in range(fz) for dy in range(fy)][1:]
        for count, (dz, dy) in enumerate(others):
            np.not_equal(first_words, words[dz::fz, dy::fy], out=more if count else differs)
            if count:
                np.logical_or(differs, more, out=differs)
        found = _any_of_group(differs, first_words.shape[2] * fx // first_voxels.shape[2])
    if fx == 1:
        assert found is not None
        return found
    # each voxel and its neighbour along x; the last voxel of a group has none in its group
    unlike = scratch.array("unlike", first_voxels.shape, np.dtype(np.bool_))
    np.not_equal(first_voxels[..., :-1], first_voxels[..., 1:], out=unlike[..., :-1])
    if fx > 2:
        unlike[..., fx - 1 :: fx] = False
        along_x = _any_of_group(unlike, fx)
    else:
        along_x = scratch.flat("along_x", unlike.size // 2, np.dtype(np.bool_))
        every_second(unlike.view(np.uint8), along_x.view(np.uint8).reshape(*unlike.shape[:2], -1))
    return along_x if found is None else np.logical_or(along_x, found, out=found)


def _any_of_group(flags: Voxels, size: int) -> Voxels:
    """Return whether any of each `size` successive booleans is set, flattened; a group is read as one integer."""
    groups = flags.reshape(-1)
    if size > 8:
        return np.asarray(groups.reshape(-1, size).any(axis=1))
    if size > 1:
        groups = np.not_equal(groups.view(unsigned(size)), 0)
    return groups


def _corners(blocks: Indices, shape: tuple[int, ...], source_shape: tuple[int, ...], factors: tuple[int, int, int]) -> Indices:
    """Return where the first voxel of each block lies in the flattened source; `blocks` index the flattened target."""
    _, rows, columns = shape
    _, height, width = source_shape
    fz, fy, fx = factors
    lines = blocks // columns
    layers = lines // rows
    # blocks = (layer * rows + row) * columns + column, and likewise in the source
    return (layers * (fz * height - fy * rows) + lines * fy) * width + (blocks - lines * columns) * fx


def _few(flat: Voxels, corners: Indices, places: Indices, scratch: Scratch) -> Voxels:
    """Return the mode of blocks of 4 or 8 voxels, held as one array per place."""
    values = scratch.array("values", (len(places), corners.size), flat.dtype)
    for row, place in zip(values, places, strict=True):
        flat[place:].take(corners, out=row, mode="clip")
    if len(places) == 4:
        return _vote_of_four(*values)
    hits = np.zeros(corners.size, np.uint8)
    for row in values[1:]:
        hits += (row == values[0]).view(np.uint8)
    # with half of all voxels the first value can not be beaten
    is_open = np.flatnonzero(hits < len(places) // 2 - 1)
    winner: Voxels = values[0].copy()
    if is_open.size:
        winner[is_open] = _vote_by_counts(values.take(is_open, axis=1))
    return winner


def _vote_of_four(a: Voxels, b: Voxels, c: Voxels, d: Voxels) -> Voxels:
    # With a repeated, no other value can have more than two. Else b wins if repeated, else c; else all differ.
    winner: Voxels = a.copy()
    np.copyto(winner, c, where=c == d)
    np.copyto(winner, b, where=(b == c) | (b == d))
    np.copyto(winner, a, where=(a == b) | (a == c) | (a == d))
    return winner


def _vote_by_counts(values: Voxels) -> Voxels:
    # Equal values that come later are enough: the first occurrence of each value has its full count, later ones less.
    winner: Voxels = values[0].copy()
    best = np.zeros(winner.size, np.uint8)
    for i in range(len(values) - 1):
        count = (values[i] == values[i + 1]).view(np.uint8)
        for later in values[i + 2 :]:
            count += (values[i] == later).view(np.uint8)
        np.copyto(winner, values[i], where=count > best)
        np.maximum(best, count, out=best)
    return winner


def _many(flat: Voxels, corners: Indices, places: Indices, scratch: Scratch) -> Voxels:
    """Return the mode of blocks of 16 voxels and more, held as one row per block.

    The candidates are counted in the order of their first occurrences, until none of the rest can win.
    """
    n, k = len(places), corners.size
    where = scratch.array("where", (k, n), np.dtype(np.intp))
    np.add(corners[:, None], places, out=where)
    values = scratch.array("values", (k, n), flat.dtype)
    flat.take(where, out=values, mode="clip")
    winner: Voxels = values[:, 0].copy()
    blocks = np.arange(k)
    candidate, leader, leader_count = winner, winner, np.zeros(k, np.intp)
    rest = np.full(k, n)
    unseen: Voxels | None = None
    for _ in range(_ROUNDS):
        hits = values == candidate[:, None]
        count = _row_sums(hits)
        np.maximum(count, 1, out=count)  # a NaN equals nothing, but has one vote, its own
        rest -= count
        leader = np.where(count > leader_count, candidate, leader)
        leader_count = np.maximum(count, leader_count)
        winner[blocks] = leader
        is_open = np.flatnonzero(rest > leader_count)
        if not is_open.size:
            return winner
        values, blocks = values.take(is_open, axis=0), blocks.take(is_open)
        leader, leader_count, rest = leader.take(is_open), leader_count.take(is_open), rest.take(is_open)
        if flat.dtype.kind == "f" and np.isnan(values).any():
            break
        unseen = np.logical_not(hits.take(is_open, axis=0)) if unseen is None else np.greater(unseen, hits).take(is_open, axis=0)
        candidate = values[np.arange(is_open.size), unseen.argmax(axis=1)]
    winner[blocks] = _vote_by_sorting(values)
    return winner


def _row_sums(flags: Voxels) -> Indices:
    """Count the set booleans of each row; rows are 16, 32 or a multiple of 64 long."""
    k, n = flags.shape
    bits = np.packbits(flags.reshape(-1)).view(unsigned(min(n // 8, 8)))
    return np.asarray(np.bitwise_count(bits).reshape(k, -1).sum(axis=1, dtype=np.intp))


def _vote_by_sorting(rows: Voxels) -> Voxels:
    """Sort each block, stably, and take the longest run; of equally long ones that which starts earliest in the block."""
    k, n = rows.shape
    order = np.argsort(rows, axis=1, kind="stable")
    ranked = np.take_along_axis(rows, order, axis=1)
    starts = np.ones((k, n), np.bool_)
    np.not_equal(ranked[:, 1:], ranked[:, :-1], out=starts[:, 1:])
    begin = np.flatnonzero(starts)
    length = np.diff(begin, append=k * n)
    # order is stable, so the first element of a run is the value's first occurrence; one number ranks length, then position
    merit = length * n + (n - 1 - order.reshape(-1)[begin])
    block = begin // n
    first_run = np.flatnonzero(np.diff(block, prepend=-1))
    best = np.maximum.reduceat(merit, first_run)
    place: Voxels = n - 1 - best % n
    return rows[np.arange(k), place]


def mode_bytes(factors: Sequence[int], piece: int, dtype: np.dtype[Any]) -> int:
    """Return an upper estimate of the temporary memory of `mode_piece` (all blocks mixed), for factors (fx, fy, fz) and
    `piece` source bytes."""
    fx, fy, fz = (int(f) for f in factors)
    n = fx * fy * fz
    voxels = piece // dtype.itemsize
    flags = voxels + 4 * (voxels // (fy * fz))
    blocks = voxels // n
    if n <= 2:
        return voxels
    vote = min(max(_VOTE_ELEMENTS, 16 * n), voxels)
    per_voxel = dtype.itemsize * 2 + 6 if n <= 8 else 3 * dtype.itemsize + 48
    return flags + blocks * (6 * 8 + dtype.itemsize) + vote * per_voxel

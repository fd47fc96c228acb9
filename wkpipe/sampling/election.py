"""Election: the most frequent value of each of many blocks, whose values are given in their order for ties.

Which way is fastest depends on how many voxels a block has and on how many of its values are rare; all ways give the same.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from wkpipe.sampling.scratch import Buffers, Voxels

_BOOL = np.dtype(np.bool_)
_BYTE = np.dtype(np.uint8)
PAIRS_ALWAYS = 16
"""The most voxels of blocks that are decided by comparing all pairs, without rounds of candidates before."""
BYTE_LIMIT = 128
"""The most voxels of blocks whose counts and places fit a byte; larger blocks of many values are sorted."""


def elected(values: Voxels, scratch: Buffers) -> Voxels:
    """Return the mode of each block; the values (n, blocks) are in their order for ties."""
    n = len(values)
    if n == 4:
        return _of_four(values)
    if n > PAIRS_ALWAYS and values.dtype.kind != "f":  # NaN would be a candidate for ever
        return _by_rounds(values, scratch)
    return _by_pairs(values, scratch) if n <= BYTE_LIMIT else _by_sorting(values.T)


def _of_four(values: Voxels) -> Voxels:
    a, b, c, d = values
    # a wins unless it is alone and two of the others are equal: either b is one of them, or they are the last two
    by_second = (b == c) | (b == d)
    last_two = (c == d) & ~by_second
    outvoted = (a != b) & (a != c) & (a != d) & (by_second | last_two)
    return _at(values, outvoted.view(_BYTE) << last_two.view(_BYTE))


def _by_pairs(values: Voxels, scratch: Buffers) -> Voxels:
    """Compare all values with all, those at one distance at once. The first of equal values counts all of them, later ones fewer."""
    equal = scratch.array("flags", values.shape, _BOOL)
    votes = scratch.array("pair_votes", values.shape, _BYTE)
    votes[...] = 0
    for distance in range(1, len(values)):
        np.equal(values[:-distance], values[distance:], out=equal[:-distance])
        np.add(votes[:-distance], equal[:-distance].view(_BYTE), out=votes[:-distance])
    np.equal(votes, votes.max(axis=0), out=equal)
    return _at(values, _first_set(equal, scratch))


def _by_rounds(values: Voxels, scratch: Buffers) -> Voxels:
    """Count candidates in the order of their first occurrences, until none of the rest can win."""
    n, k = values.shape
    winners: Voxels = values[0].copy()
    blocks = np.arange(k)
    leader = candidate = np.zeros(k, counter(n))
    most = np.zeros(k, counter(n))
    seen = np.zeros((n, k), np.bool_)
    for tried in itertools.count(1):
        flags = scratch.array("flags", values.shape, _BOOL)
        np.equal(values, _at(values, candidate), out=flags)
        count = np.add.reduce(flags.view(_BYTE), axis=0, dtype=most.dtype)
        np.logical_or(seen, flags, out=seen)
        leader = np.where(count > most, candidate, leader)
        np.maximum(most, count, out=most)
        rest = n - np.add.reduce(seen.view(_BYTE), axis=0, dtype=most.dtype)
        is_open = np.flatnonzero(rest > most)
        if 2 * is_open.size < blocks.size:
            winners[blocks] = _at(values, leader)
            if not is_open.size:
                break
            values, seen, blocks = values.take(is_open, axis=1), seen.take(is_open, axis=1), blocks.take(is_open)
            leader, most, rest, count = leader.take(is_open), most.take(is_open), rest.take(is_open), count.take(is_open)
        if tried > 1 and rest.sum() > n // 4 * count.sum():  # the rounds still needed would take longer
            winners[blocks] = _of_many_values(values, scratch)
            break
        candidate = _first_set(np.logical_not(seen, out=scratch.array("flags", values.shape, _BOOL)), scratch)
    return winners


def _of_many_values(values: Voxels, scratch: Buffers) -> Voxels:
    """Return the mode of blocks in which most values are rare; the first voxel if no value occurs twice."""
    n, k = values.shape
    if n > BYTE_LIMIT:
        return _by_sorting(values.T)
    rows = values.T.copy()  # also of a single block, whose transpose is contiguous
    rows.sort(axis=1)
    flat = rows.reshape(-1)
    repeats = scratch.array("flags", (k, n), _BOOL)
    np.equal(flat[1:], flat[:-1], out=repeats.reshape(-1)[:-1])
    repeats[:, -1] = False  # the next value belongs to another block
    blocks = np.flatnonzero(repeats.view(np.uint64).any(axis=1))
    del rows, flat
    winners: Voxels = values[0].copy()
    if blocks.size:
        some = values.take(blocks, axis=1)
        winners[blocks] = _by_pairs(some, scratch) if blocks.size > n // 2 else _by_sorting(some.T)
    return winners


def _first_set(flags: Voxels, scratch: Buffers) -> Voxels:
    """Return the first row that is set in each column of flags (n, k), or row n - 1."""
    n = len(flags)
    ranks = scratch.array("ranks", flags.shape, counter(n))
    np.multiply(flags.view(_BYTE), np.arange(n, 0, -1, dtype=ranks.dtype)[:, np.newaxis], out=ranks)
    return np.asarray(np.minimum(n - ranks.max(axis=0), n - 1))


def _at(values: Voxels, places: Voxels) -> Voxels:
    """Return the value at a place of each column of values (n, k)."""
    _, k = values.shape
    index = np.arange(k)
    index += places.astype(np.intp) * k
    return values.reshape(-1).take(index)


def counter(n: int) -> np.dtype[Any]:
    """Return the type in which blocks of n voxels are counted."""
    return _BYTE if n <= BYTE_LIMIT else np.dtype(np.uint32)


def _by_sorting(rows: Voxels) -> Voxels:
    """Sort each block, stably, and take the longest run; of equally long ones the one that starts earliest in the block."""
    k, n = rows.shape
    order = np.argsort(rows, axis=1, kind="stable")
    ranked = np.take_along_axis(rows, order, axis=1)
    starts = np.ones((k, n), np.bool_)
    np.not_equal(ranked[:, 1:], ranked[:, :-1], out=starts[:, 1:])
    begin = np.flatnonzero(starts)
    length = np.diff(begin, append=k * n)
    # the order is stable, so the first element of a run is the value's first occurrence; merit ranks length, then position
    merit = length * n + (n - 1 - order.reshape(-1)[begin])
    block = begin // n
    first_run = np.flatnonzero(np.diff(block, prepend=-1))
    best = np.maximum.reduceat(merit, first_run)
    place: Voxels = n - 1 - best % n
    return rows[np.arange(k), place]

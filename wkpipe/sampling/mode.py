"""Mode: the most frequent value of each block of one piece.

The value whose first occurrence comes first wins a tie, with a block visited y fastest, then x, then z: position
dy + fy·dx + fx·fy·dz. Zero counts like any value. A NaN equals nothing, itself included; -0.0 equals 0.0, and the
occurrence seen first is the one written.

Most blocks of a segmentation are won by their first voxel. So that is what every block gets; comparing whole lines of memory
then finds the blocks whose first voxel does not win (four voxels) or may not win (more), and only these are looked at one by
one. Choices are made by arithmetic: where the data are noisy, a branch is foretold wrongly every other time, which takes
longer than dozens of comparisons.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from wkpipe.sampling.scratch import Scratch, Voxels, every_nth, repeat_each, unsigned

Indices: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]

_BOOL = np.dtype(np.bool_)
_BYTE = np.dtype(np.uint8)
_VOTE_VOXELS = 1 << 17
"""So many voxels are put to the vote at once, so that they and what is counted stay in the cache."""
_MANY = 0.25
"""If more blocks of four than this share are left after the first comparison, it is cheaper to go on comparing all of them."""
_MOST = 0.5
"""If more blocks than this share are put to the vote, it is cheaper to let all of them vote."""
_PAIRS_ALWAYS = 16
"""Blocks of up to so many voxels are decided by comparing all pairs, without rounds of candidates before."""
_BYTE_LIMIT = 128
"""Counts and places of blocks of up to so many voxels fit a byte; larger blocks of many values are sorted."""


def mode_piece(source: Voxels, factors: tuple[int, int, int], out: Voxels, scratch: Scratch) -> None:
    """Write the mode of every block of `source` (z, y, x) to `out`, both C-contiguous; factors are (fz, fy, fx)."""
    fz, fy, fx = factors
    n = fz * fy * fx
    every_nth(source[::fz, ::fy], fx, out)
    if n <= 2:
        return  # two different values are a tie, and the first one wins
    if n == 4:
        _correct_fours(source, factors, out, scratch)
    else:
        _vote(source, factors, _set(_votes_of_first(source, factors, out, scratch) < n // 2), out, scratch)


def _vote(source: Voxels, factors: tuple[int, int, int], blocks: Indices, out: Voxels, scratch: Scratch) -> None:
    """Write the modes of some blocks; they are the only ones that may have another mode than `out` says."""
    if blocks.size > _MOST * out.size:
        _vote_everywhere(source, factors, out, scratch)
        return
    fz, fy, fx = factors
    n = fz * fy * fx
    flat, winners = source.reshape(-1), out.reshape(-1)
    places = _places(factors, *source.shape[1:])
    step = _blocks_at_once(n)
    for start in range(0, blocks.size, step):
        some = blocks[start : start + step]
        corners = _corners(some, out.shape, factors)
        values = scratch.array("values", (n, some.size), flat.dtype)
        for row, place in zip(values, places, strict=True):
            flat[place:].take(corners, out=row, mode="clip")
        winners[some] = _elected(values, scratch)


def _vote_everywhere(source: Voxels, factors: tuple[int, int, int], out: Voxels, scratch: Scratch) -> None:
    fz, fy, fx = factors
    n = fz * fy * fx
    layers, rows, columns = out.shape
    split = source.reshape(layers, fz, rows, fy, columns, fx).transpose(1, 5, 3, 0, 2, 4)
    at_once = _blocks_at_once(n)
    steps = max(at_once // (rows * columns), 1), max(min(at_once // columns, rows), 1), min(at_once, columns)
    for corner in itertools.product(*(range(0, size, step) for size, step in zip(out.shape, steps, strict=True))):
        z, y, x = (slice(at, at + step) for at, step in zip(corner, steps, strict=True))
        target = out[z, y, x]
        values = scratch.array("values", (n, target.size), source.dtype)
        np.copyto(values.reshape(fz, fx, fy, *target.shape), split[:, :, :, z, y, x])
        target[...] = _elected(values, scratch).reshape(target.shape)


def _blocks_at_once(n: int) -> int:
    """Return how many blocks of n voxels are put to the vote at once; sorting takes the fourfold memory."""
    return max(_VOTE_VOXELS // n if n <= _BYTE_LIMIT else _VOTE_VOXELS // (4 * n), 1)


def _places(factors: tuple[int, int, int], height: int, width: int) -> list[int]:
    """Return where a block's voxels lie in the flattened source, seen from its first one, in their order for ties."""
    fz, fy, fx = factors
    return [(dz * height + dy) * width + dx for dz in range(fz) for dx in range(fx) for dy in range(fy)]


def _corners(blocks: Indices, shape: tuple[int, ...], factors: tuple[int, int, int]) -> Indices:
    """Return where the first voxel of each block lies in the flattened source; `blocks` index the flattened target."""
    _, rows, columns = shape
    fz, fy, fx = factors
    number = blocks.astype(np.uint32)  # divided several times faster than 64 bits
    corners = number * np.uint32(fx)
    # from one line or plane of blocks to the next there are so many voxels more than the blocks' own first lines have
    for factor, blocks_in_one, voxels_in_one in ((fy, columns, columns * fx), (fz, rows * columns, rows * fy * columns * fx)):
        if factor > 1:
            skipped = number // np.uint32(blocks_in_one)
            skipped *= np.uint32((factor - 1) * voxels_in_one)
            corners += skipped
    return corners.astype(np.intp)


def _set(flags: Voxels) -> Indices:
    """Return the indices of the flags that are set; faster than `numpy.flatnonzero` alone where these are few and together."""
    if flags.size % 8:
        return np.flatnonzero(flags)
    words = flags.view(np.uint64)
    some = np.flatnonzero(words != 0)
    if 2 * some.size > words.size:
        return np.flatnonzero(flags)
    found = np.flatnonzero(words.take(some).view(_BOOL))
    indices = some.take(found >> 3)
    indices <<= 3
    found &= 7
    indices += found
    return indices


def _correct_fours(source: Voxels, factors: tuple[int, int, int], out: Voxels, scratch: Scratch) -> None:
    """Blocks of four voxels a, b, c, d: a wins unless it is alone and two of the others are equal.

    Pairs are compared for all positions of a plane at once, as if a block began at each: long runs of memory are worth more
    than what is saved by visiting only the positions at which a block does begin. A pair that lies to each other as another
    one does, only elsewhere in the block, is the same comparison.
    """
    fz, fy, fx = factors
    _, height, width = source.shape
    plane = height * width
    planes = source.reshape(-1, fz, plane)
    whole = (len(planes), plane)
    places = _places(factors, height, width)
    length = plane - max(place % plane for place in places)
    compared: dict[tuple[int, int, int], Voxels] = {}

    def differ(one: int, other: int) -> Voxels:
        (z, at), (other_z, other_at) = divmod(places[one], plane), divmod(places[other], plane)
        start, key = min(at, other_at), (z, other_z, other_at - at)
        if key not in compared:
            size = plane - abs(other_at - at)
            compared[key] = scratch.array(f"differ{len(compared)}", whole, _BOOL)
            first, second = planes[:, z, at - start :], planes[:, other_z, other_at - start :]
            np.not_equal(first[:, :size], second[:, :size], out=compared[key][:, :size])
        return compared[key][:, start : start + length]

    def at_blocks(name: str, positions: Voxels) -> Voxels:
        flags = scratch.array(name, out.shape, _BYTE)
        every_nth(positions.view(_BYTE).reshape(-1, height, width)[:, ::fy], fx, flags)
        return flags.reshape(-1)

    alone = scratch.array("alone", whole, _BOOL)
    alone[:, :length] = differ(0, 3)
    some = at_blocks("some", alone).view(_BOOL)
    if np.count_nonzero(some) <= _MANY * out.size:
        blocks = _set(some)
        corners, flat = _corners(blocks, out.shape, factors), source.reshape(-1)
        first = out.reshape(-1).take(blocks)
        differs = first != flat[places[1] :].take(corners)
        differs &= first != flat[places[2] :].take(corners)
        _vote(source, factors, blocks.take(np.flatnonzero(differs)), out, scratch)
        return
    work = scratch.array("work", whole, _BOOL)
    flags, others = alone[:, :length], work[:, :length]
    np.logical_and(differ(1, 2), differ(1, 3), out=others)
    np.logical_and(others, differ(2, 3), out=others)
    np.greater(flags, others, out=flags)
    for other in (1, 2):
        np.logical_and(flags, differ(0, other), out=flags)
    # where a is outvoted, c has won if it equals d, else b
    np.greater(flags, differ(2, 3), out=others)
    outvoted, by_third = at_blocks("some", alone), at_blocks("third", work)
    flat, result = source.reshape(-1), out.reshape(-1)
    step = _VOTE_VOXELS // 4
    for begin in range(0, out.size, step):
        blocks = _set(outvoted[begin : begin + step].view(_BOOL))
        blocks += begin
        winners = by_third.take(blocks) * np.intp(places[2] - places[1])
        winners += places[1]
        winners += _corners(blocks, out.shape, factors)
        result[blocks] = flat.take(winners)


def _votes_of_first(source: Voxels, factors: tuple[int, int, int], firsts: Voxels, scratch: Scratch) -> Voxels:
    """Count the voxels of each block that equal its first one (which a NaN does not); flattened."""
    fz, fy, fx = factors
    n = fz * fy * fx
    lines = firsts
    if fx > 1:
        lines = scratch.array("firsts", (*firsts.shape[:2], source.shape[2]), source.dtype)
        repeat_each(firsts, fx, lines)
    count_type = _counter(n)
    votes = scratch.array("votes", lines.shape, count_type)
    equal = scratch.array("equal", lines.shape, _BOOL)
    for number, (dz, dy) in enumerate((dz, dy) for dz in range(fz) for dy in range(fy)):
        is_first = number == 0
        np.equal(source[dz::fz, dy::fy], lines, out=votes.view(_BOOL) if is_first and count_type == _BYTE else equal)
        if not is_first:
            np.add(votes, equal.view(_BYTE), out=votes)
        elif count_type != _BYTE:
            np.copyto(votes, equal)
    if fx == 1:
        return votes.reshape(-1)
    if count_type != _BYTE or fx > 8:
        return np.asarray(votes.reshape(-1, fx).sum(axis=1, dtype=np.uint32))
    # the bytes of a group, read as one integer, are summed in its highest byte by a multiplication
    groups = votes.reshape(-1).view(unsigned(fx))
    np.multiply(groups, groups.dtype.type(int.from_bytes(b"\1" * fx, "little")), out=groups)
    np.right_shift(groups, groups.dtype.type(8 * (fx - 1)), out=groups)
    return groups.astype(_BYTE)


def _elected(values: Voxels, scratch: Scratch) -> Voxels:
    """Return the mode of each block; values (n, blocks), in their order for ties."""
    n = len(values)
    if n == 4:
        return _of_four(values)
    if n > _PAIRS_ALWAYS and values.dtype.kind != "f":  # candidates that are NaN would be without end
        return _by_rounds(values, scratch)
    return _by_pairs(values, scratch) if n <= _BYTE_LIMIT else _by_sorting(values.T)


def _of_four(values: Voxels) -> Voxels:
    a, b, c, d = values
    # a wins unless it is alone and two of the others are equal: these are the last two, or b is one of them
    last_two = c == d
    outvoted = (a != b) & (a != c) & (a != d) & ((b == c) | (b == d) | last_two)
    return _at(values, outvoted.view(_BYTE) << last_two.view(_BYTE))


def _by_pairs(values: Voxels, scratch: Scratch) -> Voxels:
    """Compare all with all, those at one distance at once. The first of equal values counts all of them, later ones fewer."""
    equal = scratch.array("flags", values.shape, _BOOL)
    votes = scratch.array("pair_votes", values.shape, _BYTE)
    votes[...] = 0
    for distance in range(1, len(values)):
        np.equal(values[:-distance], values[distance:], out=equal[:-distance])
        np.add(votes[:-distance], equal[:-distance].view(_BYTE), out=votes[:-distance])
    np.equal(votes, votes.max(axis=0), out=equal)
    return _at(values, _first_set(equal, scratch))


def _by_rounds(values: Voxels, scratch: Scratch) -> Voxels:
    """Count candidates in the order of their first occurrences, until none of the rest can win."""
    n, k = values.shape
    winners: Voxels = values[0].copy()
    blocks = np.arange(k)
    leader = candidate = np.zeros(k, _counter(n))
    most = np.zeros(k, _counter(n))
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
        if tried > 1 and rest.sum() > n // 4 * count.sum():  # so many rounds more would take longer
            winners[blocks] = _of_many_values(values, scratch)
            break
        candidate = _first_set(np.logical_not(seen, out=scratch.array("flags", values.shape, _BOOL)), scratch)
    return winners


def _of_many_values(values: Voxels, scratch: Scratch) -> Voxels:
    """Return the mode of blocks most of whose values are rare: of the first voxel if no value comes twice."""
    n, k = values.shape
    if n > _BYTE_LIMIT:
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


def _first_set(flags: Voxels, scratch: Scratch) -> Voxels:
    """Return for each column of flags (n, k) its first row that is set, or row n - 1."""
    n = len(flags)
    ranks = scratch.array("ranks", flags.shape, _counter(n))
    np.multiply(flags.view(_BYTE), np.arange(n, 0, -1, dtype=ranks.dtype)[:, np.newaxis], out=ranks)
    return np.asarray(np.minimum(n - ranks.max(axis=0), n - 1))


def _at(values: Voxels, places: Voxels) -> Voxels:
    """Return the value at a place of each column of values (n, k)."""
    _, k = values.shape
    index = np.arange(k)
    index += places.astype(np.intp) * k
    return values.reshape(-1).take(index)


def _counter(n: int) -> np.dtype[Any]:
    """Return the type in which blocks of n voxels are counted."""
    return _BYTE if n <= _BYTE_LIMIT else np.dtype(np.uint32)


def _by_sorting(rows: Voxels) -> Voxels:
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
    """Return an upper estimate of the temporary memory of `mode_piece`, for factors (fx, fy, fz) and `piece` source bytes.

    It holds for the worst of data, and is what a vote in all blocks takes, or (four voxels) all comparisons.
    """
    fx, fy, fz = (int(f) for f in factors)
    n, size = fx * fy * fz, dtype.itemsize
    voxels = piece // size
    blocks = voxels // n
    if n <= 2:
        return 0
    if n == 4:
        arrays = {1: 4 if fx == fy else 3, 2: 5, 4: 6}[fz] + 2
        some = min(blocks, _VOTE_VOXELS // 4)
        compared = arrays * voxels // fz + 2 * blocks + some * (36 + size // 2)
        looked_up = 2 * voxels // fz + blocks + int(_MANY * blocks) * (34 + 2 * size)
        return max(compared, looked_up)
    counted = voxels // (fz * fy) * (2 + (size if fx > 1 else 0)) + 8 * blocks
    at_once = min(blocks, _blocks_at_once(n))
    per_voxel = size + 3
    if n > _BYTE_LIMIT:
        per_voxel += 66 + 2 * size
    elif n > _PAIRS_ALWAYS and dtype.kind != "f":
        per_voxel += size + 2
    return counted + at_once * (n * per_voxel + 36 + size)

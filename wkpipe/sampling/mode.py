"""Mode: the most frequent value of each block of one piece.

In a tie, the value that occurs first wins. A block is visited y fastest, then x, then z: position
dy + fy·dx + fx·fy·dz. Zero counts like any value. A NaN equals nothing, not even itself; -0.0 equals 0.0, and the
occurrence that comes first is written.

In a segmentation the first voxel of most blocks wins, so every block gets it at first. Comparisons of whole lines of memory
then find the blocks whose first voxel does not win (four voxels) or may not win (more), and only these are computed one by
one. Choices are made by arithmetic: in noisy data a processor predicts every other branch wrongly, which takes longer than
dozens of comparisons.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from wkpipe.sampling.election import BYTE_LIMIT, PAIRS_ALWAYS, counter, elected
from wkpipe.sampling.scratch import Buffers, Voxels, every_nth, repeat_each, unsigned

Indices: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]

_BOOL = np.dtype(np.bool_)
_BYTE = np.dtype(np.uint8)
_VOTE_VOXELS = 1 << 17
"""Voxels that vote at once, so that they and their counts stay in the cache."""
_MANY = 0.25
"""If more than this share of the blocks of four is left after the first comparison, it is cheaper to compare all of them again."""
_MOST = 0.5
"""If more than this share of the blocks has to vote, it is cheaper to let all of them vote."""


def mode_piece(source: Voxels, factors: tuple[int, int, int], out: Voxels, scratch: Buffers) -> None:
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


def _vote(source: Voxels, factors: tuple[int, int, int], blocks: Indices, out: Voxels, scratch: Buffers) -> None:
    """Write the modes of some blocks to `out`, which is right for all others already."""
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
        winners[some] = elected(values, scratch)


def _vote_everywhere(source: Voxels, factors: tuple[int, int, int], out: Voxels, scratch: Buffers) -> None:
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
        target[...] = elected(values, scratch).reshape(target.shape)


def _blocks_at_once(n: int) -> int:
    """Return how many blocks of n voxels vote at once; sorting takes four times the memory."""
    return max(_VOTE_VOXELS // n if n <= BYTE_LIMIT else _VOTE_VOXELS // (4 * n), 1)


def _places(factors: tuple[int, int, int], height: int, width: int) -> list[int]:
    """Return the positions of a block's voxels in the flattened source, relative to its first one, in their order for ties."""
    fz, fy, fx = factors
    return [(dz * height + dy) * width + dx for dz in range(fz) for dx in range(fx) for dy in range(fy)]


def _corners(blocks: Indices, shape: tuple[int, ...], factors: tuple[int, int, int]) -> Indices:
    """Return the position of each block's first voxel in the flattened source; `blocks` index the flattened target."""
    _, rows, columns = shape
    fz, fy, fx = factors
    number = blocks.astype(np.uint32)  # several times faster to divide than 64 bits
    corners = number * np.uint32(fx)
    # from one line or plane of blocks to the next there are more voxels than those of the blocks' own first lines
    for factor, blocks_in_one, voxels_in_one in ((fy, columns, columns * fx), (fz, rows * columns, rows * fy * columns * fx)):
        if factor > 1:
            skipped = number // np.uint32(blocks_in_one)
            skipped *= np.uint32((factor - 1) * voxels_in_one)
            corners += skipped
    return corners.astype(np.intp)


def _set(flags: Voxels) -> Indices:
    """Return the indices of the flags that are set; faster than `numpy.flatnonzero` alone if these are few and together."""
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


def _correct_fours(source: Voxels, factors: tuple[int, int, int], out: Voxels, scratch: Buffers) -> None:
    """Correct `out` for blocks of four voxels a, b, c, d: a wins unless it is alone and two of the others are equal.

    Pairs are compared for all positions of a plane at once, as if a block began at each: long runs of memory are worth more
    than skipping the positions at which no block begins. Two pairs with the same offset between their voxels share one
    comparison.
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
    # if a is outvoted, b has won if it equals c or d, else c; of zeros that are equal, the first one is written
    np.greater(flags, differ(2, 3), out=others)
    if source.dtype.kind == "f":
        np.logical_and(others, differ(1, 2), out=others)
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


def _votes_of_first(source: Voxels, factors: tuple[int, int, int], firsts: Voxels, scratch: Buffers) -> Voxels:
    """Count the voxels of each block that equal its first one (which a NaN does not); flattened."""
    fz, fy, fx = factors
    n = fz * fy * fx
    lines = firsts
    if fx > 1:
        lines = scratch.array("firsts", (*firsts.shape[:2], source.shape[2]), source.dtype)
        repeat_each(firsts, fx, lines)
    count_type = counter(n)
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
    # a multiplication sums the bytes of a group, read as one integer, in its highest byte
    groups = votes.reshape(-1).view(unsigned(fx))
    np.multiply(groups, groups.dtype.type(int.from_bytes(b"\1" * fx, "little")), out=groups)
    np.right_shift(groups, groups.dtype.type(8 * (fx - 1)), out=groups)
    return groups.astype(_BYTE)


def mode_bytes(factors: Sequence[int], piece: int, dtype: np.dtype[Any]) -> int:
    """Return an upper estimate of the temporary memory of `mode_piece`, for factors (fx, fy, fz) and `piece` source bytes.

    It is valid for the worst of data: a vote in all blocks or, for four voxels, all comparisons.
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
    if n > BYTE_LIMIT:
        per_voxel += 66 + 2 * size
    elif n > PAIRS_ALWAYS and dtype.kind != "f":
        per_voxel += size + 2
    return counted + at_once * (n * per_voxel + 36 + size)

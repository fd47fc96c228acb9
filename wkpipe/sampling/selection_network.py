"""Selection networks: sort and select across arrays, element by element, with minimum and maximum only.

A *list* is a Python list of arrays of one shape; it is sorted if at every position the elements ascend along the
list. Networks do the same work whatever the values are, so numpy runs them at the speed of its vector units.
NaN spreads from any input to every output that depends on it, as `numpy.minimum` and `numpy.maximum` pass it on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wkpipe.sampling.scratch import Voxels


def merge(first: Sequence[Voxels], second: Sequence[Voxels], rows: list[Voxels]) -> list[Voxels]:
    """Merge two sorted lists of length m (a power of two) into one of length 2m, elementwise.

    Batcher's odd-even merge (K. E. Batcher, Sorting networks and their applications, 1968): m·log2(m) + 1
    comparators. The inputs are only read.

    Args:
        rows: 2m + 1 arrays for the result; the one that is left over serves as swap space.

    Returns:
        The sorted list, 2m of `rows`.
    """
    m = len(first)
    for i in range(m):
        np.minimum(first[i], second[i], out=rows[i])
        np.maximum(first[i], second[i], out=rows[m + i])
    spare = rows[2 * m]
    step = m // 2
    while step:
        for group in range(step, 2 * m - step, 2 * step):
            for i in range(group, group + step):
                low, high = rows[i], rows[i + step]
                np.minimum(low, high, out=spare)
                np.maximum(low, high, out=high)
                rows[i], spare = spare, low
        step //= 2
    return rows[: 2 * m]


def middle_two(first: Sequence[Voxels], second: Sequence[Voxels], low: Voxels, high: Voxels, swap: Voxels) -> None:
    """Select elements m - 1 and m of the merged order of two sorted lists of length m into `low` and `high`.

    One stage of a bitonic merge: of every pair first[i], second[m - 1 - i] the lesser is among the m least of all,
    so the greatest of these is element m - 1, and the least of the others is element m.
    """
    m = len(first)
    np.minimum(first[0], second[m - 1], out=low)
    np.maximum(first[0], second[m - 1], out=high)
    for i in range(1, m):
        np.minimum(first[i], second[m - 1 - i], out=swap)
        np.maximum(low, swap, out=low)
        np.maximum(first[i], second[m - 1 - i], out=swap)
        np.minimum(high, swap, out=high)

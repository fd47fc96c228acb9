"""Selection networks: sort and select across arrays, element by element, with minimum and maximum only.

A *list* is an array whose first axis is the list. It is sorted if at every position of the other axes the elements
ascend along the first. Networks do the same work whatever the values are, so numpy runs them at the speed of the
vector units; a whole stage is two calls. NaN spreads from any input to every output that depends on it, because
`numpy.minimum` and `numpy.maximum` pass it on.
"""

from __future__ import annotations

import numpy as np

from wkpipe.sampling.scratch import Voxels


def merge(first: Voxels, second: Voxels, into: Voxels, other: Voxels) -> tuple[Voxels, Voxels]:
    """Merge two sorted lists of length m (a power of two) into one of length 2m.

    Bitonic merge (K. E. Batcher, Sorting networks and their applications, 1968): log2(2m) stages of m comparators. The
    stages alternate between two C-contiguous arrays (2m, …). The inputs may be in `other`, not in `into`.

    Returns:
        The sorted list, and the array that is free.
    """
    m = len(first)
    np.minimum(first, second[::-1], out=into[:m])
    np.maximum(first, second[::-1], out=into[m:])
    step = m // 2
    while step:
        pairs = into.reshape(-1, 2, step, *into.shape[1:])
        sorted_pairs = other.reshape(pairs.shape)
        np.minimum(pairs[:, 0], pairs[:, 1], out=sorted_pairs[:, 0])
        np.maximum(pairs[:, 0], pairs[:, 1], out=sorted_pairs[:, 1])
        into, other = other, into
        step //= 2
    return into, other


def lower_middle(first: Voxels, second: Voxels, work: Voxels) -> Voxels:
    """Return element m - 1 of the merged order of two sorted lists of length m, an array within `work` (m, …).

    It takes one stage of a bitonic merge: of every pair first[i], second[m - 1 - i] the lesser is among the m least of
    all, and element m - 1 is the greatest of these.
    """
    np.minimum(first, second[::-1], out=work)
    return _fold(np.maximum, work)


def upper_middle(first: Voxels, second: Voxels, work: Voxels) -> Voxels:
    """Return element m of the merged order of two sorted lists of length m, an array within `work` (m, …)."""
    np.maximum(first, second[::-1], out=work)
    return _fold(np.minimum, work)


def _fold(pick: np.ufunc, work: Voxels) -> Voxels:
    half = len(work) // 2
    while half:
        pick(work[:half], work[half : 2 * half], out=work[:half])
        half //= 2
    result: Voxels = work[0]
    return result

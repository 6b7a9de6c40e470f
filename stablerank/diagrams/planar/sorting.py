"""One stable sort for coordinates and for edge lengths: a pass of buckets, then insertion.

Linear when the keys spread over the buckets, as those of most clouds do; when they do not, a
counter stops the insertion and a merge sort ends the work in n log n, whatever the keys.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stablerank.diagrams.planar.compiling import inner

_BUCKETS_PER_KEY = 2  # the room that callers give `counts` depends on it
_SHIFTS_PER_KEY = 12  # insertion may shift so many keys for each one before the merge sort helps
_FEW = 24  # so few keys are put in order by insertion alone


@njit(nogil=True)
def sort_pairs(
    keys: NDArray[np.float64],
    tags: NDArray[np.uint32],
    n: int,
    sorted_keys: NDArray[np.float64],
    sorted_tags: NDArray[np.uint32],
    slots: NDArray[np.uint32],
    counts: NDArray[np.uint32],
    geometric: bool,
) -> None:
    """Write n keys in ascending order, each with its tag; equal keys stay in their order.

    Parameters
    ----------
    keys, tags : ndarray of shape (>= n,), float64 and uint32
        Finite keys and what each belongs to. Overwritten.
    sorted_keys, sorted_tags : ndarray of shape (>= n,), float64 and uint32
        The result.
    slots, counts : ndarray of shape (>= n,) and (>= 2 n,), uint32
        Room for the bucket of each key and the size of each bucket.
    geometric : bool
        Buckets of equal ratio (keys must be positive) in place of equal width: for lengths, which
        differ by orders of magnitude in a cloud of clusters.
    """
    if n <= _FEW:
        for i in range(n):
            sorted_keys[i], sorted_tags[i] = keys[i], tags[i]
        _insert(sorted_keys, sorted_tags, n, n * n)
        return
    n_buckets = _BUCKETS_PER_KEY * n
    for i in range(n_buckets):
        counts[i] = 0
    if geometric:
        # The bits of a positive float, read as a whole number, grow as its logarithm does.
        bits = keys.view(np.int64)
        first, last = bits[0], bits[0]
        for i in range(1, n):
            first, last = min(first, bits[i]), max(last, bits[i])
        factor = (n_buckets - 1) / max(np.float64(last - first), 1.0)
        for i in range(n):
            slot = int(np.float64(bits[i] - first) * factor)
            slots[i] = min(slot, n_buckets - 1)
            counts[slots[i]] += np.uint32(1)
    else:
        lowest, highest = keys[0], keys[0]
        for i in range(1, n):
            lowest, highest = min(lowest, keys[i]), max(highest, keys[i])
        # Where this overflows (keys a few subnormal numbers apart) one bucket has to do: infinity
        # times zero would become a slot out of bounds.
        factor = (n_buckets - 1) / max(highest - lowest, 1e-290)
        for i in range(n):
            slot = int((keys[i] - lowest) * factor)
            slots[i] = min(slot, n_buckets - 1)
            counts[slots[i]] += np.uint32(1)
    total = np.uint32(0)
    for i in range(n_buckets):
        size = counts[i]
        counts[i] = total
        total += size
    for i in range(n):
        place = counts[slots[i]]
        counts[slots[i]] = place + np.uint32(1)
        sorted_keys[place] = keys[i]
        sorted_tags[place] = tags[i]
    if not _insert(sorted_keys, sorted_tags, n, _SHIFTS_PER_KEY * n):
        merge_sort(sorted_keys, sorted_tags, n, keys, tags)


@inner()
def _insert(keys: NDArray[np.float64], tags: NDArray[np.uint32], n: int, budget: int) -> bool:
    """Insertion sort; False, with the pairs permuted but not yet sorted, once over the budget."""
    for i in range(1, n):
        key = keys[i]
        if keys[i - 1] <= key:
            continue
        tag = tags[i]
        j = i
        while j > 0 and keys[j - 1] > key:
            keys[j] = keys[j - 1]
            tags[j] = tags[j - 1]
            j -= 1
        keys[j] = key
        tags[j] = tag
        budget -= i - j
        if budget < 0:
            return False
    return True


@inner()
def merge_sort(
    keys: NDArray[np.float64],
    tags: NDArray[np.uint32],
    n: int,
    spare_keys: NDArray[np.float64],
    spare_tags: NDArray[np.uint32],
) -> None:
    """Sort n keys in place, each with its tag; equal keys stay in their order."""
    width = 1
    while width < n:
        for start in range(0, n, 2 * width):
            middle = min(start + width, n)
            stop = min(start + 2 * width, n)
            left, right = start, middle
            for place in range(start, stop):
                if left < middle and (right >= stop or keys[left] <= keys[right]):
                    spare_keys[place] = keys[left]
                    spare_tags[place] = tags[left]
                    left += 1
                else:
                    spare_keys[place] = keys[right]
                    spare_tags[place] = tags[right]
                    right += 1
        for i in range(n):
            keys[i] = spare_keys[i]
            tags[i] = spare_tags[i]
        width *= 2

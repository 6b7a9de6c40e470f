"""The one order in which diagrams are kept, for millions of bars: compiled, and without the GIL.

Longest first, then by birth and by death, bars of length zero dropped: so equal diagrams are equal
arrays. Workers put their own diagrams in order; who gathers them finds nothing left to do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stablerank.diagrams.planar.compiling import digest_of_sources, inner, outer
from stablerank.diagrams.planar.sorting import merge_sort, sort_pairs


def first_bad_bar(bars: NDArray[np.float64]) -> int | None:
    """The row of the first bar whose birth, death or length is not finite, or which is negative.

    Parameters
    ----------
    bars : ndarray of shape (n_bars, 2), float64

    Returns
    -------
    int or None
    """
    row = int(
        _first_bad_bar(np.require(bars, np.float64, ["C", "W"]))
    )  # one compiled version will do
    return None if row < 0 else row


def canonical_bars(
    bars: NDArray[np.float64], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Drop bars of length zero; sort each diagram longest first, then by birth and death.

    Parameters
    ----------
    bars : ndarray of shape (n_bars, 2), float64
        Checked: finite, and no death before its birth.
    offsets : ndarray of shape (n_clouds + 1,), int64
        Cloud i has the rows ``offsets[i]:offsets[i + 1]``.

    Returns
    -------
    bars, offsets : ndarray of shape (n_bars_left, 2) and (n_clouds + 1,)
        New arrays.
    """
    bars, offsets = (
        np.require(bars, np.float64, ["C", "W"]),
        np.require(offsets, np.int64, ["C", "W"]),
    )
    ordered, ends = np.empty((len(bars), 2)), np.zeros(len(offsets), dtype=np.int64)
    _canonical_bars(bars, offsets, ordered, ends)
    return (ordered if ends[-1] == len(bars) else ordered[: ends[-1]].copy()), ends


def bars_from_deaths(
    deaths: NDArray[np.float64], offsets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The bars of H0, born at 0, of clouds whose deaths are non-decreasing: the longest first.

    Parameters
    ----------
    deaths : ndarray of shape (n_bars,), float64
        Of all clouds, one after the other; non-decreasing within a cloud.
    offsets : ndarray of shape (n_clouds + 1,), int64
        Cloud i has the deaths ``offsets[i]:offsets[i + 1]``.

    Returns
    -------
    ndarray of shape (n_bars, 2), float64

    Examples
    --------
    >>> bars_from_deaths(np.array([1.0, 2.0, 5.0]), np.array([0, 2, 3]))
    array([[0., 2.],
           [0., 1.],
           [0., 5.]])
    """
    bars = np.zeros((len(deaths), 2))
    _reverse(deaths, offsets, bars)
    return bars


def _build_kernels(digest: str) -> tuple[Any, Any, Any]:
    """Compile, or load from numba's cache (see `digest_of_sources`)."""

    def first_bad(bars: NDArray[np.float64]) -> int:
        for i in range(bars.shape[0]):
            birth, death = bars[i, 0], bars[i, 1]
            length = death - birth  # an overflowing length is bad as well, and so is NaN
            if not (abs(birth) < np.inf and abs(death) < np.inf and 0.0 <= length < np.inf):
                return i
        return -1

    def canonical(
        bars: NDArray[np.float64],
        offsets: NDArray[np.int64],
        ordered: NDArray[np.float64],
        ends: NDArray[np.int64],
    ) -> None:
        _ = digest
        room = 0
        for i in range(offsets.size - 1):
            room = max(room, offsets[i + 1] - offsets[i])
        unsorted = np.empty((room, 2))
        keys, tags = np.empty(room), np.empty(room, np.uint32)
        spare_keys, spare_tags = np.empty(room), np.empty(room, np.uint32)
        slots, counts = np.empty(room, np.uint32), np.empty(2 * room, np.uint32)
        stop = 0
        for i in range(offsets.size - 1):
            start = stop
            in_order = True
            for j in range(offsets[i], offsets[i + 1]):
                if bars[j, 1] - bars[j, 0] > 0.0:
                    ordered[stop, 0], ordered[stop, 1] = bars[j, 0], bars[j, 1]
                    in_order &= stop == start or not _comes_before(ordered, stop, stop - 1)
                    stop += 1
            if not in_order:
                _sort(
                    ordered[start:stop], unsorted, keys, tags, spare_keys, spare_tags, slots, counts
                )
            ends[i + 1] = stop

    def reverse(
        deaths: NDArray[np.float64], offsets: NDArray[np.int64], bars: NDArray[np.float64]
    ) -> None:
        for i in range(offsets.size - 1):
            last = offsets[i] + offsets[i + 1] - 1
            for j in range(offsets[i], offsets[i + 1]):
                bars[j, 1] = deaths[last - j]

    return outer(first_bad), outer(canonical), outer(reverse)


@inner()
def _comes_before(bars: NDArray[np.float64], i: int, j: int) -> bool:
    length, other = bars[i, 1] - bars[i, 0], bars[j, 1] - bars[j, 0]
    if length != other:
        return length > other
    if bars[i, 0] != bars[j, 0]:
        return bars[i, 0] < bars[j, 0]
    return bars[i, 1] < bars[j, 1]


@inner()
def _sort(
    bars: NDArray[np.float64],
    unsorted: NDArray[np.float64],
    keys: NDArray[np.float64],
    tags: NDArray[np.uint32],
    spare_keys: NDArray[np.float64],
    spare_tags: NDArray[np.uint32],
    slots: NDArray[np.uint32],
    counts: NDArray[np.uint32],
) -> None:
    """Sort one diagram in place: by length, and within equal lengths by death, then by birth."""
    n = bars.shape[0]
    for i in range(n):
        unsorted[i, 0], unsorted[i, 1] = bars[i, 0], bars[i, 1]
    # Shortest first and backwards on the way in and out, so that equal bars stay in their order.
    for i in range(n):
        keys[i], tags[i] = bars[n - 1 - i, 1] - bars[n - 1 - i, 0], n - 1 - i
    sort_pairs(keys, tags, n, spare_keys, spare_tags, slots, counts, True)
    for i in range(n):
        keys[i], tags[i] = spare_keys[n - 1 - i], spare_tags[n - 1 - i]
    first = 0
    while first < n:
        last = first + 1
        while last < n and keys[last] == keys[first]:
            last += 1
        for column in (1, 0):
            if last - first > 1:
                for i in range(first, last):
                    keys[i] = unsorted[np.int64(tags[i]), column]
                merge_sort(keys[first:], tags[first:], last - first, spare_keys, spare_tags)
        first = last
    for i in range(n):
        row = np.int64(tags[i])
        bars[i, 0], bars[i, 1] = unsorted[row, 0], unsorted[row, 1]


_first_bad_bar, _canonical_bars, _reverse = _build_kernels(digest_of_sources())

"""Positions and windows that are given, or lie on quantiles of the training bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def midpoint_quantiles(bars: NDArray[np.float64], n_positions: int) -> NDArray[np.float64]:
    """The quantiles (j + 1/2)/n_positions of the midpoints of bars; 0 if there are none."""
    if len(bars) == 0:
        return np.zeros(n_positions)
    # halved first: a sum of two large numbers overflows
    return np.quantile((bars / 2).sum(axis=1), _levels(n_positions))


def quantile_windows(bars: NDArray[np.float64], n_windows: int) -> NDArray[np.float64]:
    """Rows (birth, death, half length) that follow the bars, shape (n_windows, 3).

    The bars are cut by their births into as many equal parts as the root of `n_windows` says;
    rows have the middle birth of a part, and quantiles of its lengths. Zeros if there are no bars.
    """
    if len(bars) == 0:
        bars = np.zeros((1, 2))
    lengths = bars[:, 1] - bars[:, 0]
    # by length where births are equal, as in H0: then the parts are quantiles of lengths
    bars = bars[np.lexsort((lengths, bars[:, 0]))]
    n_parts = min(int(np.sqrt(n_windows)), len(bars))
    sizes = np.diff(np.linspace(0, n_windows, n_parts + 1).astype(int))
    rows = []
    for part, size in zip(np.array_split(bars, n_parts), sizes, strict=True):
        births = np.full(size, np.median(part[:, 0]))
        halves = np.quantile(part[:, 1] - part[:, 0], _levels(size)) / 2
        rows.append(np.column_stack([births, births + 2 * halves, halves]))
    return np.concatenate(rows)


def numbers_of(
    name: str, given: Any, dimension: int, shape: tuple[str, ...]
) -> NDArray[np.float64]:
    """What the user gave for one homology dimension, or for all, as an array.

    Raises
    ------
    ValueError
        If it is not of the shape, which is ("n",) or ("n", "3"), or not finite.
    """
    if isinstance(given, Mapping):
        if dimension not in given:
            raise ValueError(
                f"{name} has entries for {sorted(given)}, none for H{dimension}: give every "
                f"homology dimension of the diagrams one."
            )
        given = given[dimension]
    expected = f"finite numbers of shape ({', '.join(shape)}{',' * (len(shape) == 1)})"
    try:
        numbers = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}={given!r}: expected {expected}.") from None
    fits = numbers.ndim == len(shape) and numbers.size > 0 and numbers.shape[1:] in ((), (3,))
    if not fits or not np.isfinite(numbers).all():
        raise ValueError(f"{name}={given!r}: expected {expected}, at least one row.")
    return numbers


def _levels(n: int) -> NDArray[np.float64]:
    return (np.arange(n) + 0.5) / n

"""Padded blocks of bars, and the boxes in which an adversary can move them (fact R5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stablerank.diagrams.ball import DiagramBall
from stablerank.diagrams.batch import DiagramBatch
from stablerank.stability import BOTTLENECK

BATCH_BARS = 200_000
"""How many numbers a block of padded diagrams may have, whatever the number of clouds: few enough
that they stay in the processor's cache, which is twice as fast as ten times as many."""


@dataclass(frozen=True)
class BarBoxes:
    """Where the birth and death of each bar of some clouds can be, unless the bar vanishes.

    Attributes
    ----------
    births_low, births_high, deaths_low, deaths_high : Tensor of shape (n_clouds, n_bars), float64
        Padding is 0. Rounded to nearest, and still they contain every computed birth and death:
        a float64 number x <= b + r is at most the float64 number nearest to b + r. Wherever a bar
        can vanish, ``deaths_low <= births_high``, for the same reason.
    reach : Tensor of shape (n_clouds,), float64
        Of the ball.
    lowest : float
        No bar is born before.
    births_move : bool
        Whether the ball is one of the bottleneck distance: then any bars of at most twice the
        reach may appear; otherwise births are 0, and bars that appear die within the reach.
    """

    births_low: Tensor
    births_high: Tensor
    deaths_low: Tensor
    deaths_high: Tensor
    reach: Tensor
    lowest: float
    births_move: bool


def bar_boxes(
    ball: DiagramBall, dimension: int, clouds: slice, longest: int | None = None
) -> BarBoxes:
    """The boxes of the bars of some clouds in one homology dimension.

    Parameters
    ----------
    ball : DiagramBall
        What the adversary can bring about.
    dimension : int
        Homology dimension.
    clouds : slice
        Which clouds; of step 1.
    longest : int, optional
        Where births stay at 0, only so many bars of each cloud: those that die last. To the last
        bit they have the largest values of whatever does not fall with the death, wherever in
        their boxes all bars are. Where births move, all bars are kept.

    Returns
    -------
    BarBoxes

    Examples
    --------
    >>> batch = DiagramBatch.from_diagrams([{1: [[1, 3]]}])
    >>> boxes = bar_boxes(
    ...     DiagramBall(batch, {1: np.array([2.0])}, {1: BOTTLENECK}), 1, slice(0, 1)
    ... )
    >>> boxes.births_low, boxes.births_high  # nothing is born before 0
    (tensor([[0.]], dtype=torch.float64), tensor([[3.]], dtype=torch.float64))
    """
    births_move = ball.metrics[dimension] == BOTTLENECK
    kept = None if births_move else longest
    births, deaths, counts = _flat(ball.diagrams, dimension, clouds, kept)
    reach = ball.reach[dimension][clouds]
    each = np.repeat(reach, counts)
    moved = each if births_move else np.zeros_like(each)
    lowest = ball.lowest if births_move else 0.0
    return BarBoxes(
        births_low=_padded(np.maximum(births - moved, lowest), counts),
        births_high=_padded(births + moved, counts),
        deaths_low=_padded(np.maximum(deaths - each, lowest), counts),
        deaths_high=_padded(deaths + each, counts),
        reach=torch.tensor(reach, dtype=torch.float64),
        lowest=lowest,
        births_move=births_move,
    )


def padded_bars(batch: DiagramBatch, dimension: int, clouds: slice) -> tuple[Tensor, Tensor]:
    """Births and deaths of some clouds, shape (n_clouds, n_bars) each, padded with bars (0, 0)."""
    births, deaths, counts = _flat(batch, dimension, clouds)
    return _padded(births, counts), _padded(deaths, counts)


def latest_bars(ball: DiagramBall, dimension: int, n_bars: int) -> int | None:
    """So many bars where births stay at 0, and all of them (None) where births move."""
    return None if ball.metrics[dimension] == BOTTLENECK else n_bars


def blocks(
    batch: DiagramBatch, dimension: int, n_columns: int = 1, longest: int | None = None
) -> Iterator[slice]:
    """Cut the clouds so that no block has more than `BATCH_BARS` padded bars times `n_columns`.

    Of each cloud only the `longest` bars are counted, if that is given.
    """
    width = int(batch.n_bars(dimension).max(initial=0))
    width = width if longest is None else min(width, longest)
    step = max(1, BATCH_BARS // max(width * n_columns, 1))
    return (slice(start, start + step) for start in range(0, len(batch), step))


def _flat(
    batch: DiagramBatch, dimension: int, clouds: slice, longest: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Births, deaths, and the number of bars of each cloud; batches keep bars longest first."""
    ends = batch.offsets[dimension]
    start, stop, _ = clouds.indices(len(batch))
    bars, counts = batch.bars[dimension], np.diff(ends[start : stop + 1])
    if longest is None or counts.max(initial=0) <= longest:
        bars = bars[ends[start] : ends[stop]]
    else:
        counts = np.minimum(counts, longest)
        before = np.cumsum(counts) - counts
        bars = bars[np.repeat(ends[start:stop] - before, counts) + np.arange(counts.sum())]
    return bars[:, 0], bars[:, 1], counts


def _padded(flat: NDArray[np.float64], counts: NDArray[np.int64]) -> Tensor:
    width = int(counts.max(initial=0))
    padded = np.zeros((len(counts), width))
    padded[np.arange(width) < counts[:, None]] = flat
    return torch.from_numpy(padded)

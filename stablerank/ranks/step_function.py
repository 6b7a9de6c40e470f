"""Piecewise-constant functions with any values: means of stable ranks, and their bands."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stablerank.ranks.stable_rank import check_exponent

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class StepFunction:
    """A right-continuous, piecewise-constant function on [0, ∞).

    Parameters
    ----------
    starts : array-like of shape (n_pieces,)
        Where the pieces begin, ``0 = starts[0] < starts[1] < …``, in the unit of the filtration.
    values : array-like of shape (n_pieces,)
        ``values[i]`` is taken on ``[starts[i], starts[i + 1])``, the last one for ever. Neighbours
        with equal values become one piece, so equal functions are equal arrays.

    Raises
    ------
    ValueError
        If they are not finite, not of one length, or `starts` does not increase from 0.

    See Also
    --------
    stablerank.ranks.mean_rank : The pointwise mean of stable ranks.
    stablerank.ranks.StableRankFunction : Those that fall by whole numbers to 0.

    Examples
    --------
    >>> mean = StepFunction([0, 3, 5], [2, 0.5, 0])
    >>> mean([0, 2.9, 3, 5])
    array([2. , 2. , 0.5, 0. ])
    """

    def __init__(self, starts: ArrayLike, values: ArrayLike) -> None:
        begins, heights = np.array(starts, dtype=np.float64), np.array(values, dtype=np.float64)
        legal = begins.ndim == 1 and begins.size > 0 and np.isfinite(begins).all()
        if not legal or begins[0] != 0 or (np.diff(begins) <= 0).any():
            raise ValueError(
                f"starts={starts!r}: expected one row of finite numbers that increases from 0."
            )
        if heights.shape != begins.shape or not np.isfinite(heights).all():
            raise ValueError(
                f"values={values!r}: expected a finite number for each of {len(begins)} starts."
            )
        changes = np.append(True, heights[1:] != heights[:-1])
        # adding 0 makes −0 the one zero there is
        self.starts: NDArray[np.float64] = begins[changes] + 0.0
        self.values: NDArray[np.float64] = heights[changes] + 0.0
        self.starts.setflags(write=False)
        self.values.setflags(write=False)

    def __call__(self, t: ArrayLike) -> NDArray[np.float64]:
        """The value at every t >= 0.

        Raises
        ------
        ValueError
            If a t is negative or NaN.
        """
        points = np.asarray(t, dtype=np.float64)
        if not (points >= 0).all():
            raise ValueError(f"t={t!r}: a step function is one of t >= 0.")
        values = self.values[np.searchsorted(self.starts, points, side="right") - 1]
        return np.asarray(values, dtype=np.float64)

    def lq_distance(self, other: StepFunction, q: float = 1.0) -> float:
        """``(∫ |f − g|^q dt)^{1/q}``; the largest difference of values for q = ∞.

        Parameters
        ----------
        other : StepFunction
            The g.
        q : float, default=1.0
            Exponent, 1 <= q <= inf.

        Returns
        -------
        float
            Infinite for q < ∞ if the last values differ.

        Raises
        ------
        ValueError
            If q is below 1 or NaN.

        Examples
        --------
        >>> StepFunction([0, 4], [3, 0]).lq_distance(StepFunction([0], [0]), q=2)
        6.0
        """
        check_exponent(q, "q")
        ends = np.union1d(self.starts, other.starts)
        heights = np.abs(self(ends) - other(ends))
        largest = float(heights.max())
        if q == math.inf or largest == 0.0:
            return largest
        if heights[-1] > 0:
            return math.inf
        # powers of numbers <= 1 cannot overflow
        return float(largest * ((heights[:-1] / largest) ** q @ np.diff(ends)) ** (1 / q))

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """Draw the function and return the axes; `style` goes to ``Axes.step``."""
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots()
        last = self.starts[-1]
        ax.step(
            np.append(self.starts, last * 1.1 + (last == 0)),
            np.append(self.values, self.values[-1]),
            where="post",
            **style,
        )
        ax.set_xlabel("t")
        return ax

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, StepFunction)
            and np.array_equal(self.starts, other.starts)
            and np.array_equal(self.values, other.values)
        )

    def __hash__(self) -> int:
        return hash((self.starts.tobytes(), self.values.tobytes()))

    def __repr__(self) -> str:
        return f"StepFunction({self.starts.tolist()}, {self.values.tolist()})"

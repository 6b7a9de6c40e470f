"""The stable rank as what it is: a non-increasing step function, with its distances."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stablerank.ranks.contours import Contour, bar_lengths, check_contour
from stablerank.ranks.stable_rank import check_exponent, stable_ranks
from stablerank.ranks.step_function import StepFunction

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class StableRankFunction:
    """A stable rank t ↦ how many bars are needed to come within t of the diagram.

    Parameters
    ----------
    jumps : array-like of shape (n_bars,)
        The jump points t_0 >= t_1 >= … >= 0; the value on [t_k, t_{k−1}) is k.

    Raises
    ------
    ValueError
        If the jump points are not finite, negative or not sorted.

    Examples
    --------
    >>> rank = StableRankFunction([5.0, 3.0])
    >>> rank([0.0, 2.9, 3.0, 4.9, 5.0])
    array([2, 2, 1, 1, 0])
    """

    def __init__(self, jumps: ArrayLike) -> None:
        array = np.array(jumps, dtype=np.float64)
        legal = array.ndim == 1 and np.isfinite(array).all() and (array >= 0).all()
        if not legal or (np.diff(array) > 0).any():
            raise ValueError(
                f"jumps={jumps!r}: expected one row of finite numbers >= 0 that do not increase."
            )
        self.jumps: NDArray[np.float64] = array[array > 0]
        self.jumps.setflags(write=False)

    def __call__(self, t: ArrayLike) -> NDArray[np.int64]:
        """The value at every t >= 0: the number of jump points above t.

        Raises
        ------
        ValueError
            If a t is negative or NaN.
        """
        points = np.asarray(t, dtype=np.float64)
        if not (points >= 0).all():
            raise ValueError(f"t={t!r}: a stable rank is a function of t >= 0.")
        values = len(self.jumps) - np.searchsorted(self.jumps[::-1], points, side="right")
        return np.asarray(values, dtype=np.int64)

    def interleaving_distance(self, other: StableRankFunction) -> float:
        """The least ε with f(t+ε) <= g(t) and g(t+ε) <= f(t) for all t.

        Between stable ranks it is the sup norm of the difference of the jump points, padded with
        zeros: f(t+ε) <= g(t) says that the k-th jump of f is at most ε later than that of g.
        """
        f, g = _pad(self.jumps, other.jumps)
        return float(np.abs(f - g).max(initial=0.0))

    def lq_distance(self, other: StableRankFunction | StepFunction, q: float = 1.0) -> float:
        """``(∫ |f − g|^q dt)^{1/q}``; the largest difference of values for q = ∞.

        Parameters
        ----------
        other : StableRankFunction or StepFunction
            The g; for example the mean of many.
        q : float, default=1.0
            Exponent, 1 <= q <= inf.
        """
        g = other.to_steps() if isinstance(other, StableRankFunction) else other
        return self.to_steps().lq_distance(g, q)

    def to_steps(self) -> StepFunction:
        """The same function, as one whose values may be any numbers.

        Examples
        --------
        >>> StableRankFunction([5, 3, 3]).to_steps()
        StepFunction([0.0, 3.0, 5.0], [3.0, 1.0, 0.0])
        """
        ends, counts = np.unique(self.jumps, return_counts=True)
        at_or_after = counts[::-1].cumsum()[::-1]
        return StepFunction(np.append(0.0, ends), np.append(at_or_after, 0))

    @classmethod
    def from_steps(cls, steps: StepFunction) -> StableRankFunction:
        """The inverse of :meth:`to_steps`.

        Raises
        ------
        ValueError
            If the function does not fall by whole numbers, ending at 0.

        Examples
        --------
        >>> StableRankFunction.from_steps(StepFunction([0, 3, 5], [3, 1, 0]))
        StableRankFunction([5.0, 3.0, 3.0])
        """
        falls = -np.diff(steps.values)
        # whole differences of huge numbers need not be those of whole numbers
        whole = (steps.values == np.floor(steps.values)).all() and steps.values[0] < 2**53
        if not whole or (falls < 0).any() or steps.values[-1] != 0:
            raise ValueError(
                f"{steps!r} is no stable rank: expected whole numbers that do not increase and end "
                f"with 0."
            )
        return cls(np.repeat(steps.starts[1:], falls.astype(np.int64))[::-1])

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """Draw the step function and return the axes; `style` goes to ``Axes.step``."""
        ax = self.to_steps().plot(ax, **style)
        ax.set_ylabel("stable rank")
        return ax

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StableRankFunction) and np.array_equal(self.jumps, other.jumps)

    def __hash__(self) -> int:
        return hash(self.jumps.tobytes())

    def __repr__(self) -> str:
        return f"StableRankFunction({self.jumps.tolist()})"


def stable_rank_function(
    diagram: ArrayLike, p: float = math.inf, contour: Contour | Literal["standard"] = "standard"
) -> StableRankFunction:
    """The Wasserstein stable rank of one persistence diagram, as a function.

    Parameters
    ----------
    diagram : array-like of shape (n_bars, 2)
        Rows (birth, death), finite; bars of length zero are ignored.
    p : float, default=inf
        Exponent, 1 <= p <= inf.
    contour : "standard" or Contour, default="standard"
        How the length of a bar is measured.

    Returns
    -------
    StableRankFunction
        In the unit of the filtration.

    Raises
    ------
    ValueError
        For bars that are infinite, NaN or die before they are born, and bad parameters; the message
        names the bar.

    Examples
    --------
    >>> stable_rank_function([[0, 3], [1, 5]], p=2)
    StableRankFunction([5.0, 3.0])
    """
    check_exponent(p)
    measure = check_contour(contour)
    bars = np.asarray(diagram, dtype=np.float64)
    if bars.size == 0:
        return StableRankFunction([])
    if bars.ndim != 2 or bars.shape[1] != 2:
        raise ValueError(
            f"diagram has shape {bars.shape}: expected (n_bars, 2), a row (birth, death) a bar."
        )
    bad = np.flatnonzero(~(np.isfinite(bars).all(axis=1) & (bars[:, 0] <= bars[:, 1])))
    if bad.size:
        raise ValueError(
            f"diagram[{bad[0]}] is the bar {bars[bad[0]].tolist()}: expected finite numbers, birth "
            f"<= death. Remove bars that never die, the same way from every diagram."
        )
    lengths = bar_lengths(bars, measure)
    return StableRankFunction(stable_ranks(lengths, p, len(bars)).numpy())


def _pad(
    f: NDArray[np.float64], g: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    width = max(len(f), len(g))
    return np.pad(f, (0, width - len(f))), np.pad(g, (0, width - len(g)))

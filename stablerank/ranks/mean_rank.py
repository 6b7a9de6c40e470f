"""The pointwise mean of stable ranks, and a bootstrap band around it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stablerank.ranks.boxes import BATCH_BARS
from stablerank.ranks.jumps import check_jumps
from stablerank.ranks.step_function import StepFunction

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def mean_rank(X: Any) -> StepFunction:
    """The function t ↦ mean of f(t) over the stable ranks f in X.

    Parameters
    ----------
    X : sequence of StableRankFunction, or array-like of shape (n_ranks, n_jumps)
        Functions, or their jump points as :func:`~stablerank.ranks.rank_jumps` gives them.

    Returns
    -------
    StepFunction
        Non-increasing, and 0 in the end. Its values are exact but for one division.

    Raises
    ------
    ValueError, TypeError
        If a row is not the jump points of a stable rank; its index is named.

    Notes
    -----
    As stable as what it is a mean of. If each f moves by at most ε in interleaving distance, to f′,
    then f(t + ε) <= f′(t), and so for the means; in L_q the mean moves by at most the mean of the
    distances.

    Examples
    --------
    >>> mean_rank([[5, 3], [3, 1]])
    StepFunction([0.0, 1.0, 3.0, 5.0], [2.0, 1.5, 0.5, 0.0])
    """
    jumps = check_jumps(X)
    ends, counts = np.unique(jumps[jumps > 0], return_counts=True)
    at_or_after = counts[::-1].cumsum()[::-1]
    return StepFunction(np.append(0.0, ends), np.append(at_or_after, 0) / len(jumps))


@dataclass(frozen=True)
class RankBand:
    """A confidence band of the mean of stable ranks.

    Attributes
    ----------
    mean : StepFunction
        Of the sample.
    lower, upper : StepFunction
        ``mean − half_width``, not below 0 where no mean is, and ``mean + half_width``.
    half_width : float
        A number of bars.
    level : float
        With which probability the expected function is between them for all t at once, as the
        sample grows.
    """

    mean: StepFunction
    lower: StepFunction
    upper: StepFunction
    half_width: float
    level: float

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """Draw mean and band and return the axes; `style` goes to ``Axes.step``."""
        ax = self.mean.plot(ax, **style)
        t, _ = ax.get_lines()[-1].get_data()
        colour = ax.get_lines()[-1].get_color()
        ax.fill_between(t, self.lower(t), self.upper(t), step="post", color=colour, alpha=0.2)
        ax.set_ylabel("mean stable rank")
        return ax


def mean_rank_band(
    X: Any, level: float = 0.95, *, n_bootstrap: int = 1000, random_state: Any = None
) -> RankBand:
    """A band that contains the expected stable rank for all t at once, by the bootstrap.

    With f̄ the mean of the n stable ranks, and f̄* that of n drawn from them with replacement, the
    half width is the `level` quantile of ``sup_t |f̄*(t) − f̄(t)|``.

    Parameters
    ----------
    X : sequence of StableRankFunction, or array-like of shape (n_ranks, n_jumps)
        Of independent clouds of one distribution, at least two: functions, or their jump points as
        :func:`~stablerank.ranks.rank_jumps` gives them.
    level : float, default=0.95
        Probability that the band is to have, strictly between 0 and 1.
    n_bootstrap : int, default=1000
        How many means are drawn, B. The quantile is the ⌈level (B + 1)⌉-th smallest of their
        distances, the next larger one where it lies between two.
    random_state : int, Generator or None, default=None
        What :func:`numpy.random.default_rng` takes.

    Returns
    -------
    RankBand

    Raises
    ------
    ValueError
        If a parameter is out of range, `n_bootstrap` is too small for the level, or there is only
        one rank.
    ValueError, TypeError
        If a row is not the jump points of a stable rank; its index is named.

    Notes
    -----
    Asymptotic: the probability tends to `level` with n; for few clouds it is usually below. It is
    about the mean over clouds, not about single ones, and has no adversary: no certificate.

    Why it tends there [1]_: let F(f) = f(0) be the number of bars, of finite second moment. The
    functions f ↦ f(t), t >= 0, lie under F and fall with t, so their subgraphs are nested, a class
    of Vapnik–Chervonenkis index 2. Such a class is Donsker, √n (f̄ − E f) tends to a Gaussian
    process, and √n (f̄* − f̄) to the same one (Theorems 2.6.8 and 3.6.2; rational t do for the sup).
    The like is done for landscapes in [2]_.

    All jumps of the sample are sorted once; f̄* − f̄ is then the sum of (times drawn − 1)/n over the
    jumps after t, in whole numbers.

    References
    ----------
    .. [1] van der Vaart, Wellner (1996), "Weak convergence and empirical processes", Springer.
    .. [2] Chazal, Fasy, Lecci, Rinaldo, Singh, Wasserman (2013), "On the bootstrap for persistence
       diagrams and landscapes", arXiv:1311.0376.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> band = mean_rank_band(rng.uniform(0, 2, (100, 1)), level=0.9, random_state=0)
    >>> t = np.linspace(0, 3, 7)
    >>> expected = np.maximum(1 - t / 2, 0)  # one bar, of length uniform on [0, 2]
    >>> bool(((band.lower(t) <= expected) & (expected <= band.upper(t))).all())
    True
    """
    jumps = check_jumps(X)
    n = len(jumps)
    _check_band(level, n_bootstrap, n)
    rng = np.random.default_rng(random_state)
    owner, last = _sorted_jumps(jumps)
    step = max(1, BATCH_BARS // max(1, owner.size))
    suprema = np.zeros(n_bootstrap, dtype=np.int64)
    for start in range(0, n_bootstrap, step):
        size = min(step, n_bootstrap - start)
        times_drawn = rng.multinomial(n, np.full(n, 1 / n), size=size)
        sums = np.cumsum((times_drawn - 1)[:, owner], axis=1)[:, last]
        suprema[start : start + size] = np.abs(sums).max(axis=1, initial=0)
    rank = math.ceil(level * (n_bootstrap + 1)) - 1
    half_width = float(np.sort(suprema)[rank] / n)
    mean = mean_rank(jumps)
    return RankBand(
        mean,
        StepFunction(mean.starts, np.maximum(mean.values - half_width, 0.0)),
        StepFunction(mean.starts, mean.values + half_width),
        half_width,
        float(level),
    )


def _check_band(level: Any, n_bootstrap: Any, n_ranks: int) -> None:
    real = isinstance(level, (int, float, np.floating)) and not isinstance(level, bool)
    if not real or not 0 < level < 1:
        raise ValueError(f"level={level!r}: expected a probability strictly between 0 and 1.")
    whole = isinstance(n_bootstrap, (int, np.integer)) and not isinstance(n_bootstrap, bool)
    if not whole or n_bootstrap < 1:
        raise ValueError(f"n_bootstrap={n_bootstrap!r}: expected an integer >= 1.")
    if math.ceil(level * (n_bootstrap + 1)) > n_bootstrap:
        raise ValueError(
            f"n_bootstrap={n_bootstrap!r} is too small for level={level!r}: expected at least "
            f"level/(1 − level), {math.ceil(level / (1 - level))}."
        )
    if n_ranks < 2:
        raise ValueError("X holds one stable rank: expected two or more, to see how they vary.")


def _sorted_jumps(jumps: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Whose each jump is, latest first, and where a run of equal ones ends: between runs lies t."""
    owner, column = np.nonzero(jumps)
    values = jumps[owner, column]
    order = np.argsort(-values, kind="stable")
    values = values[order]
    return owner[order], np.flatnonzero(np.append(values[1:] != values[:-1], values.size > 0))

"""Wasserstein stable ranks of persistence diagrams, by their jump points (facts R1 to R3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from stablerank.diagrams.batch import DiagramBatch, check_diagrams
from stablerank.ranks.contours import UNIT_ROUNDOFF, Contour, bar_lengths, check_contour
from stablerank.stability import (
    BOTTLENECK,
    ORDERED_DEATHS,
    Bound,
    Parallel,
    Space,
    StabilityError,
)

_BATCH_BARS = 2_000_000


def stable_ranks(lengths: Tensor, p: float, n_ranks: int, max_bars: int | None = None) -> Tensor:
    """Jump points of the Wasserstein stable ranks of a batch of diagrams.

    Entry k is t_k = ``||(l[k], l[k+1], ...)||_p`` over the lengths sorted from longest to shortest:
    the least that can be left, in the algebraic W_p distance, when k bars are kept [1]_. With p=∞
    these are the sorted lengths.

    Parameters
    ----------
    lengths : Tensor of shape (..., n_bars)
        Non-negative; pad ragged diagrams with zeros.
    p : float
        Exponent, 1 <= p <= inf.
    n_ranks : int
        How many jump points, k = 0, ..., n_ranks − 1; padded with zeros.
    max_bars : int, optional
        Only the longest `max_bars` bars count, the others are as if absent; all by default.

    Returns
    -------
    Tensor of shape (..., n_ranks)
        Non-increasing along the last axis, in the unit of `lengths`. Differentiable; where a tail
        is 0 its gradient is 0 if p < ∞.

    Raises
    ------
    ValueError
        If p is below 1 or NaN, a count is negative, or a length is negative, infinite or NaN.

    Notes
    -----
    Lengths are divided by the longest, so that no power overflows. For p = 1 and 2 the powers and
    roots are exact to the last place; for other p the tails are summed as logarithms, because the
    powers of short bars underflow: at p = 64 a bar 2^-17 as long as the longest would be lost.

    References
    ----------
    .. [1] Agerberg, Guidolin, Ren, Scolamiero (2023), "Algebraic Wasserstein distances and stable
       homological invariants of data", arXiv:2301.06484.

    Examples
    --------
    >>> stable_ranks(torch.tensor([3.0, 4.0]), p=2, n_ranks=3)
    tensor([5., 3., 0.])
    """
    check_exponent(p)
    for name, count in (("n_ranks", n_ranks), ("max_bars", 0 if max_bars is None else max_bars)):
        if not _is_count(count, least=0):
            raise ValueError(f"{name}={count!r}: expected an integer >= 0.")
    if not bool(((lengths >= 0) & (lengths < math.inf)).all()):
        bad = lengths[~((lengths >= 0) & (lengths < math.inf))]
        raise ValueError(
            f"lengths has {bad.numel()} entries that are negative, infinite or NaN (first: "
            f"{bad[0].item()!r}): expected lengths of bars, padded with zeros."
        )
    n_bars = lengths.shape[-1]
    kept = n_bars if max_bars is None else min(n_bars, max_bars)
    if p == math.inf:
        kept = min(kept, n_ranks)
    if kept < n_bars:
        longest = torch.topk(lengths, kept, dim=-1).values
    else:
        longest = torch.sort(lengths, dim=-1, descending=True).values
    if p != math.inf and kept > 0:
        longest = _tail_norms(longest, float(p), n_ranks)
    longest = longest[..., :n_ranks]
    return torch.nn.functional.pad(longest, (0, n_ranks - longest.shape[-1]))


class StableRank(TransformerMixin, BaseEstimator):
    """Vectors of stable ranks: for each homology dimension the jump points t_0 >= t_1 >= ….

    Parameters
    ----------
    p : float, default=inf
        Exponent of the algebraic Wasserstein distance, 1 <= p <= inf. ``inf`` gives the sorted
        lengths.
    contour : "standard" or Contour, default="standard"
        How the length of a bar is measured.
    n_ranks : int or dict of int to int, default=100
        Jump points for each homology dimension; a dict gives each dimension its own number.
    max_bars : int, optional
        The longest bars that enter a tail when p < inf: the constant from the bottleneck distance
        grows like ``max_bars ** (1/p)``. By default as many as the largest training diagram has,
        in each dimension.

    Attributes
    ----------
    homology_dimensions_ : tuple of int
        Those of the training diagrams.
    n_ranks_, max_bars_ : dict of int to int
        For each homology dimension.
    n_features_out_ : int
        Length of the vectors.

    References
    ----------
    .. [1] Agerberg, Guidolin, Ren, Scolamiero (2023), "Algebraic Wasserstein distances and stable
       homological invariants of data", arXiv:2301.06484.

    Examples
    --------
    >>> diagrams = [{0: [[0, 3], [0, 4]]}, {0: [[0, 1]]}]
    >>> StableRank(p=2, n_ranks=3).fit_transform(diagrams)
    array([[5., 3., 0.],
           [1., 0., 0.]])
    """

    def __init__(
        self,
        p: float = math.inf,
        contour: Contour | Literal["standard"] = "standard",
        n_ranks: int | Mapping[int, int] = 100,
        max_bars: int | None = None,
    ) -> None:
        self.p = p
        self.contour = contour
        self.n_ranks = n_ranks
        self.max_bars = max_bars

    def fit(self, X: Any, y: Any = None) -> StableRank:
        """Check the parameters and remember homology dimensions and numbers of bars.

        Parameters
        ----------
        X : DiagramBatch or list of dict of int to ndarray of shape (n_bars, 2)
            The training diagrams.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad parameters.
        """
        check_exponent(self.p)
        check_contour(self.contour)
        batch = check_diagrams(X)
        self.homology_dimensions_ = batch.homology_dimensions
        self.n_ranks_ = {k: self._n_ranks(k) for k in self.homology_dimensions_}
        if self.max_bars is not None and not _is_count(self.max_bars):
            raise ValueError(f"max_bars={self.max_bars!r}: expected an integer >= 1 or None.")
        self.max_bars_ = {
            k: int(self.max_bars or max(1, batch.n_bars(k).max()))
            for k in self.homology_dimensions_
        }
        self.n_features_out_ = sum(self.n_ranks_.values())
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Compute the vectors.

        Parameters
        ----------
        X : DiagramBatch or list of dict of int to ndarray of shape (n_bars, 2)
            Diagrams with at least the homology dimensions of the training diagrams.

        Returns
        -------
        ndarray of shape (n_clouds, n_features), float64
            Homology dimensions ascending, each non-increasing; in the unit of the filtration. The
            vector of a cloud does not depend, to the last bit, on the clouds beside it.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        ValueError
            If a homology dimension of the training diagrams is missing.
        """
        check_is_fitted(self, "n_ranks_")
        batch = check_diagrams(X)
        contour = check_contour(self.contour)
        vectors = []
        for dimension, n_ranks in self.n_ranks_.items():
            out = np.empty((len(batch), n_ranks))
            width = int(batch.n_bars(dimension).max())
            step = max(1, _BATCH_BARS // max(width, 1))
            for start in range(0, len(batch), step):
                lengths = _padded_lengths(batch, dimension, start, start + step, contour)
                ranks = stable_ranks(lengths, self.p, n_ranks, self._tail(dimension))
                out[start : start + step] = ranks.numpy()
            vectors.append(out)
        return np.concatenate(vectors, axis=1)

    def from_bars(self, bars: Mapping[int, tuple[Tensor, Tensor]]) -> Tensor:
        """The vectors of padded diagrams, differentiable in births and deaths.

        Parameters
        ----------
        bars : dict of int to (Tensor, Tensor)
            For each homology dimension births and deaths, shape (n_clouds, n_bars) each, padded
            with bars (0, 0) of length zero.

        Returns
        -------
        Tensor of shape (n_clouds, n_features)
            What :meth:`transform` returns for the same diagrams.
        """
        check_is_fitted(self, "n_ranks_")
        contour = check_contour(self.contour)
        vectors = []
        for dimension, n_ranks in self.n_ranks_.items():
            lengths = contour.lengths(*bars[dimension])
            vectors.append(stable_ranks(lengths, self.p, n_ranks, self._tail(dimension)))
        return torch.cat(vectors, dim=-1)

    def stability(self, source: Space) -> Parallel:
        """Bounds from the diagrams to the vector, with a constant for each coordinate.

        Parameters
        ----------
        source : Space
            A product, by homology dimension ("H0", "H1", …), of diagram metrics: ordered deaths,
            bottleneck, or Wasserstein W_p with ground norm ℓ_q; or one diagram metric for all.

        Returns
        -------
        Parallel
            Joined into one ℓ∞ vector.

        Raises
        ------
        StabilityError
            For other metrics, or a product without one of the homology dimensions.

        Notes
        -----
        K is the contour's constant, B = ``max_bars_``, and t_k = ‖(l_{k+1}, …, l_B)‖_p. By
        Minkowski |t_k − t′_k| is at most the p-norm of the differences of sorted lengths
        k+1, …, B, and sorting does not increase p-norms, so:

        - ordered deaths (H0 of alpha, Čech, Rips; births 0): each sorted length moves by at most K
          times their bound, t_k by (B−k)^{1/p} K (R3);
        - bottleneck: a matched length moves by at most 2K d_B, and an unmatched one is at most
          that long: (B−k)^{1/p} 2K (R3);
        - W_r with ground norm ℓ_q: |Δl| <= K (|Δb|+|Δd|) <= K 2^{1−1/q} ‖Δ‖_q, and a bar's
          distance to the diagonal is l/2^{1−1/q}; in p-norm over the matching this is
          K 2^{1−1/q} W_r for r <= p (R2), and pays (B−k)^{1/p−1/r} for r > p.
        """
        check_is_fitted(self, "n_ranks_")
        check_exponent(self.p)
        branches = {}
        parts = dict(source.parts)
        for dimension, n_ranks in self.n_ranks_.items():
            name = f"H{dimension}"
            space = parts.get(name) if parts else source
            if space is None:
                raise StabilityError(
                    f"StableRank was fitted on {name}, but the product {source} has no {name}: "
                    f"fit it on the homology dimensions of the stage before."
                )
            factor, exponent, theorem = self._factor(space)
            left = np.maximum(self.max_bars_[dimension] - np.arange(n_ranks), 0)
            constants = _power_up(left, exponent) * np.where(left > 0, factor, 0.0)
            if self.p == math.inf:
                constants = np.full(n_ranks, factor)
            stage = f"stable rank p={self.p:g}"
            branches[name] = Bound.by_coordinate(space, constants, theorem, stage=stage)
        return Parallel(branches, joined=True)

    def rounding(self, X: Any, relative: float, reach: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far computed vectors can be from exact ones, for all diagrams near those given.

        Parameters
        ----------
        X : DiagramBatch or list of dict
            The diagrams.
        relative : float
            Births and deaths are right up to this relative error, at most 0.1.
        reach : ndarray of shape (n_clouds,)
            How far births and deaths may have moved from those given.

        Returns
        -------
        ndarray of shape (n_clouds,), float64
            A bound on the error of every coordinate.

        Raises
        ------
        ValueError
            If `relative` is out of range.

        Notes
        -----
        A length is off by K times what births and deaths are off, and by the contour's own
        rounding. Of B = ``max_bars_`` such errors the p-norm is at most B^{1/p} times the largest.
        Then the norm itself is computed, with these errors relative to B^{1/p} times the longest
        bar, u = 2^-53: one for each addition if p = 1 or 2. Otherwise, with the tail's sum
        S <= B in units of the longest bar: logarithms of lengths 3 u |log r| r <= 3/e u each, B
        in a tail; every step of the running log S 4 u + u |log S|, divided by p.
        """
        check_is_fitted(self, "n_ranks_")
        if not 0 <= relative <= 0.1:
            raise ValueError(f"relative={relative!r}: expected an error between 0 and 0.1.")
        batch = check_diagrams(X)
        contour = check_contour(self.contour)
        worst = np.zeros(len(batch))
        for dimension in self.n_ranks_:
            # what is computed for nearby diagrams is off by `relative`, and so is what is given
            largest = (_largest_values(batch, dimension) + reach) * (1 + 4 * relative)
            each = 2 * contour.constant * relative * largest + contour.rounding(largest)
            if self.p != math.inf:
                bars = self.max_bars_[dimension]
                steps = bars + 32.0
                if self.p not in (1, 2):
                    steps += bars * (2 + (math.log(bars) + 4) / self.p) + math.log(bars)
                root = bars ** (1 / self.p)
                each = root * each + steps * UNIT_ROUNDOFF * root * 2 * contour.constant * largest
            worst = np.maximum(worst, each)
        # the error bounds were computed in floating point themselves
        return worst * (1 + 64 * UNIT_ROUNDOFF) + 1e-300

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names such as ``H1_rank12``: homology dimension and the k of t_k."""
        check_is_fitted(self, "n_ranks_")
        names = [f"H{d}_rank{k}" for d, n_ranks in self.n_ranks_.items() for k in range(n_ranks)]
        return np.array(names, dtype=object)

    def _factor(self, space: Space) -> tuple[float, float, str]:
        constant = check_contour(self.contour).constant
        inverse = 1 / self.p
        if space == ORDERED_DEATHS:
            return constant, inverse, "R3: sorted lengths follow ordered deaths"
        if space == BOTTLENECK:
            return 2 * constant, inverse, "R3: a length has two ends"
        if space.kind == "diagram" and space.p is not None and space.q is not None:
            factor = constant * float(_power_up(np.array(2.0), 1 - 1 / space.q))
            # never exactly 0 when the rank's p is smaller, so that the power is rounded up
            paid = max(inverse - 1 / space.p, 5e-324) if self.p < space.p else 0.0
            return factor, paid, "R2: Agerberg, Guidolin, Ren, Scolamiero 2023"
        raise StabilityError(
            f"StableRank knows constants from ordered deaths, bottleneck and Wasserstein distances "
            f"between diagrams, not from {space}."
        )

    def _n_ranks(self, dimension: int) -> int:
        value = self.n_ranks
        if isinstance(value, Mapping):
            if dimension not in value:
                raise ValueError(
                    f"n_ranks={dict(value)!r} has no entry for H{dimension}: give every homology "
                    f"dimension of the diagrams one."
                )
            value = value[dimension]
        if not _is_count(value):
            raise ValueError(f"n_ranks={self.n_ranks!r}: expected integers >= 1.")
        return int(value)

    def _tail(self, dimension: int) -> int | None:
        return self.max_bars_[dimension] if self.p != math.inf else None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


def check_exponent(p: Any, name: str = "p") -> None:
    """Raise unless p is the exponent of a norm."""
    real = isinstance(p, (int, float, np.integer, np.floating)) and not isinstance(p, bool)
    if not real or not p >= 1:
        raise ValueError(f"{name}={p!r} is not the exponent of a norm: expected 1 <= p <= inf.")


def _is_count(value: Any, least: int = 1) -> bool:
    integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return bool(integer and value >= least)


def _tail_norms(longest: Tensor, p: float, n_ranks: int) -> Tensor:
    """The p-norms, p < inf, of the first tails of lengths sorted from longest to shortest."""
    positive = longest > 0
    ones = torch.ones_like(longest)
    # a diagram without bars is divided by 1
    scale = torch.where(positive, longest, ones)[..., :1].detach()
    ratios = longest / scale
    if p in (1.0, 2.0):
        tails = (ratios**p).flip(-1).cumsum(-1).flip(-1)[..., :n_ranks]
        positive = tails > 0
        roots = torch.where(positive, tails, ones[..., :n_ranks]) ** (1 / p)
    else:
        positive = positive & (ratios > 0)
        # zeros enter as the least normal number, whose powers are lost beside any bar's
        least = torch.finfo(longest.dtype).tiny
        logarithms = p * torch.where(positive, ratios, ones * least).log()
        tails = logarithms.flip(-1).logcumsumexp(-1).flip(-1)[..., :n_ranks]
        positive = positive[..., :n_ranks]
        roots = (torch.where(positive, tails, torch.zeros_like(tails)) / p).exp()
    return _non_increasing(scale * torch.where(positive, roots, torch.zeros_like(roots)))


def _non_increasing(values: Tensor) -> Tensor:
    """Lift what rounding put below a later value, and leave the gradient as it is."""
    with torch.no_grad():
        lift = values.flip(-1).cummax(-1).values.flip(-1) - values
    return values + lift


def _padded_lengths(
    batch: DiagramBatch, dimension: int, start: int, stop: int, contour: Contour
) -> Tensor:
    """Lengths of some clouds' bars, shape (n_clouds, n_bars), padded with zeros."""
    ends = batch.offsets[dimension][start : stop + 1]
    counts = torch.from_numpy(np.diff(ends))
    width = int(counts.max())
    padded = torch.zeros((len(counts), width), dtype=torch.float64)
    bars = batch.bars[dimension][ends[0] : ends[-1]]
    padded[torch.arange(width) < counts[:, None]] = bar_lengths(bars, contour)
    return padded


def _largest_values(batch: DiagramBatch, dimension: int) -> NDArray[np.float64]:
    """Of each cloud the largest absolute value of a birth or death, shape (n_clouds,)."""
    largest = np.zeros(len(batch))
    clouds = np.repeat(np.arange(len(batch)), batch.n_bars(dimension))
    np.maximum.at(largest, clouds, np.abs(batch.bars[dimension]).max(axis=1, initial=0.0))
    return largest


def _power_up(base: NDArray[Any], exponent: float) -> NDArray[np.float64]:
    """Powers of numbers, not below the exact ones; exact for exponents 0 and 1.

    The exponent may be off by 3 u, u = 2^-53, and the power by a few units in the last place.
    """
    base = np.asarray(base, dtype=np.float64)
    if exponent in (0.0, 1.0):
        return np.power(base, exponent)
    return np.power(base, exponent) * (1 + (16 + 4 * np.log(np.maximum(base, 1))) * UNIT_ROUNDOFF)

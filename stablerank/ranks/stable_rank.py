"""Wasserstein stable ranks of persistence diagrams, by their jump points (facts R1 to R3, D7)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from stablerank.diagrams.ball import DiagramBall
from stablerank.diagrams.batch import DiagramBatch, check_diagrams
from stablerank.ranks.boxes import BarBoxes, bar_boxes, blocks, latest_bars, padded_bars
from stablerank.ranks.contours import UNIT_ROUNDOFF, Contour, StandardContour, check_contour
from stablerank.stability import (
    BOTTLENECK,
    L2,
    LINF,
    ORDERED_DEATHS,
    ORDERED_DEATHS_L2,
    Bound,
    Parallel,
    Space,
    StabilityError,
    root_sum_squares_up,
)

ContourChoice: TypeAlias = Contour | Literal["standard"]


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
    contour : "standard" or Contour, or dict of int to such, default="standard"
        How the length of a bar is measured; a dict gives each homology dimension its own contour.
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
        contour: ContourChoice | Mapping[int, ContourChoice] = "standard",
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
        batch = check_diagrams(X)
        for dimension in batch.homology_dimensions:
            contour_of(self.contour, dimension)
        self.homology_dimensions_ = batch.homology_dimensions
        self.n_ranks_ = check_counts("n_ranks", self.n_ranks, self.homology_dimensions_)
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
        vectors = []
        for dimension, n_ranks in self.n_ranks_.items():
            contour = self._contour(dimension)
            if self.p == math.inf and type(contour) is StandardContour:
                vectors.append(batch.padded_lengths(dimension, n_ranks))  # in order already
                continue
            out = np.empty((len(batch), n_ranks))
            for clouds in blocks(batch, dimension):
                lengths = contour.lengths(*padded_bars(batch, dimension, clouds))
                ranks = stable_ranks(lengths, self.p, n_ranks, self._tail(dimension))
                out[clouds] = ranks.numpy()
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
        vectors = []
        for dimension, n_ranks in self.n_ranks_.items():
            lengths = self._contour(dimension).lengths(*bars[dimension])
            vectors.append(stable_ranks(lengths, self.p, n_ranks, self._tail(dimension)))
        return torch.cat(vectors, dim=-1)

    def stability(self, source: Space) -> Parallel:
        """Bounds from the diagrams to the vector, with a constant for each coordinate.

        Parameters
        ----------
        source : Space
            A product, by homology dimension ("H0", "H1", …), of diagram metrics: ordered deaths,
            bottleneck, or Wasserstein W_p with ground norm ℓ_q; or one diagram metric for all.
            Ordered deaths in ℓ2 may be among them.

        Returns
        -------
        Parallel
            Joined into one ℓ∞ vector; into one ℓ2 vector if ordered deaths in ℓ2 are among the
            metrics.

        Raises
        ------
        StabilityError
            For other metrics, or a product without one of the homology dimensions.

        Notes
        -----
        K is the constant of the dimension's contour, B = ``max_bars_``, and
        t_k = ‖(l_{k+1}, …, l_B)‖_p. By Minkowski |t_k − t′_k| is at most the p-norm of the
        differences of sorted lengths k+1, …, B, and sorting does not increase p-norms, so:

        - ordered deaths (H0 of alpha, Čech, Rips; births 0): each sorted length moves by at most K
          times their bound, t_k by (B−k)^{1/p} K (R3);
        - bottleneck: a matched length moves by at most 2K d_B, and an unmatched one is at most
          that long: (B−k)^{1/p} 2K (R3);
        - W_r with ground norm ℓ_q: |Δl| <= K (|Δb|+|Δd|) <= K 2^{1−1/q} ‖Δ‖_q, and a bar's
          distance to the diagonal is l/2^{1−1/q}; in p-norm over the matching this is
          K 2^{1−1/q} W_r for r <= p (R2), and pays (B−k)^{1/p−1/r} for r > p;
        - ordered deaths in ℓ2 (D7): |Δt_k| is at most the p-norm of the B−k differences, and their
          2-norm is at most K times that of the deaths: K (B−k)^{max(0, 1/p−1/2)}. All together
          move by K if p = ∞, since the n longest are a part of the differences, and else by the
          root of the sum of the squares of these constants, √min(n, B) K for p >= 2.

        In ℓ2 a dimension with constants c_i of its coordinates moves by ‖c‖₂ at most, whatever its
        metric, and several dimensions by the root of the sum of the squares of theirs. A diagonal
        map with factors f_i >= 0 behind it (R6) moves one by max f times as much, and by ‖(f_i
        c_i)‖₂: the smaller of the two counts, in each dimension (:class:`Block`).
        """
        check_is_fitted(self, "n_ranks_")
        check_exponent(self.p)
        branches = {}
        spaces = {dimension: part_of(source, dimension, self) for dimension in self.n_ranks_}
        target = L2 if ORDERED_DEATHS_L2 in spaces.values() else LINF
        for dimension, space in spaces.items():
            n_ranks = self.n_ranks_[dimension]
            factor, exponent, theorem = self._factor(space, dimension)
            left = np.maximum(self.max_bars_[dimension] - np.arange(n_ranks), 0)
            constants = _power_up(left, exponent) * np.where(left > 0, factor, 0.0)
            if self.p == math.inf:
                constants = np.full(n_ranks, factor)
            stage = f"stable rank p={self.p:g}"
            each = tuple(constants.tolist())
            largest = root_sum_squares_up(constants) if target == L2 else max(each)
            if self.p == math.inf and space == ORDERED_DEATHS_L2:
                largest = factor
            branches[f"H{dimension}"] = Bound(space, target, largest, theorem, stage, each)
        return Parallel(branches, joined=True)

    def bounds(self, ball: DiagramBall) -> tuple[Tensor, Tensor]:
        """Boxes that contain the computed vectors of all diagrams in balls.

        Parameters
        ----------
        ball : DiagramBall
            With at least the homology dimensions of the training diagrams.

        Returns
        -------
        lower, upper : Tensor of shape (n_clouds, n_features), float64
            Never wider than :meth:`stability` says, but for rounding.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        ValueError
            If a homology dimension of the training diagrams is missing.

        Notes
        -----
        Fact R5. A contour does not fall with the death nor rise with the birth, so the length of a
        bar lies between those at two corners of its box; the lower one is 0 where the bar can
        vanish. Any number of bars with d − b <= 2r, r the reach, may appear, none longer than 2Kr
        (with ordered deaths: only bars (0, d), d <= r). So the i-th longest bar of a diagram in the
        ball lies between a_i, the i-th largest of the lower ends, and c_i, the i-th largest of
        the upper ends or what may appear, if that is longer. Tails ‖(l_{k+1}, …, l_B)‖_p,
        B = ``max_bars_``, do not fall with any l_i, so they lie between those of a and of c; all B
        places of c may be taken by bars that appear. That is at most (B−k)^{1/p} 2Kr more than the
        tail of the given diagram, since c_i <= l_i + 2Kr.

        For p < inf computed norms are off by as much as in :meth:`rounding`, relative to the
        longest bar c_1: once in the vector that is bounded, and once in the bound.
        """
        check_is_fitted(self, "n_ranks_")
        check_exponent(self.p)
        parts = []
        for dimension, n_ranks in self.n_ranks_.items():
            ball.diagrams.n_bars(dimension)  # names a dimension that is missing
            contour = self._contour(dimension)
            ends = torch.empty((2, len(ball), n_ranks), dtype=torch.float64)
            kept = n_ranks if self.p == math.inf else self.max_bars_[dimension]
            # the lengths of other contours may fall with the death by a last place
            standard = type(contour) is StandardContour
            late = latest_bars(ball, dimension, kept) if standard else None
            for clouds in blocks(ball.diagrams, dimension, longest=late):
                boxes = bar_boxes(ball, dimension, clouds, late)
                shortest, longest = _sorted_ends(boxes, contour, kept)
                if self.p == math.inf:
                    ends[0, clouds], ends[1, clouds] = shortest, longest
                    continue
                # the bound of this error is computed in floating point as well
                relative = _norm_rounding(self.p, kept) * (1 + 64 * UNIT_ROUNDOFF)
                error = 2 * relative * longest[:, :1] + 1e-300
                n_tails = min(n_ranks, kept)
                ends[:, clouds] = 0.0
                lower = _tail_norms(shortest, float(self.p), n_ranks) - error
                ends[0, clouds, :n_tails] = lower.clamp_min(0.0)
                ends[1, clouds, :n_tails] = _tail_norms(longest, float(self.p), n_ranks) + error
            parts.append(ends)
        lower, upper = torch.cat(parts, dim=-1)
        return lower, upper

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
        worst = np.zeros(len(batch))
        for dimension in self.n_ranks_:
            contour = self._contour(dimension)
            # what is computed for nearby diagrams is off by `relative`, and so is what is given
            largest = (largest_values(batch, dimension) + reach) * (1 + 4 * relative)
            each = 2 * contour.constant * relative * largest + contour.rounding(largest)
            if self.p != math.inf:
                bars = self.max_bars_[dimension]
                longest = 2 * contour.constant * largest
                each = bars ** (1 / self.p) * each + _norm_rounding(self.p, bars) * longest
            worst = np.maximum(worst, each)
        # the error bounds were computed in floating point themselves
        return worst * (1 + 64 * UNIT_ROUNDOFF) + 1e-300

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names such as ``H1_rank12``: homology dimension and the k of t_k."""
        check_is_fitted(self, "n_ranks_")
        names = [f"H{d}_rank{k}" for d, n_ranks in self.n_ranks_.items() for k in range(n_ranks)]
        return np.array(names, dtype=object)

    def _contour(self, dimension: int) -> Contour:
        """How bars of one homology dimension are measured."""
        return contour_of(self.contour, dimension)

    def _factor(self, space: Space, dimension: int) -> tuple[float, float, str]:
        constant = self._contour(dimension).constant
        inverse = 1 / self.p
        if space == ORDERED_DEATHS:
            return constant, inverse, "R3: sorted lengths follow ordered deaths"
        if space == ORDERED_DEATHS_L2:
            # never exactly 0 when p is below 2, so that the power is rounded up
            paid = max(inverse - 0.5, 5e-324) if self.p < 2 else 0.0
            return constant, paid, "D7: sorting does not increase ℓ2 distances"
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


def contour_of(contour: Any, dimension: int) -> Contour:
    """The contour of one homology dimension, from a contour for all or a dict.

    Raises
    ------
    ValueError
        If a dict has none for the dimension, and for what is no contour.
    """
    if isinstance(contour, Mapping):
        if dimension not in contour:
            raise ValueError(
                f"contour has entries for {list(contour)}, none for H{dimension}: give every "
                f"homology dimension of the diagrams one."
            )
        contour = contour[dimension]
    return check_contour(contour)


def check_counts(name: str, value: Any, dimensions: tuple[int, ...]) -> dict[int, int]:
    """One number >= 1 for each homology dimension, from a number for all or a dict.

    Raises
    ------
    ValueError
        For anything else.
    """
    counts = {}
    for dimension in dimensions:
        if isinstance(value, Mapping) and dimension not in value:
            raise ValueError(
                f"{name}={dict(value)!r} has no entry for H{dimension}: give every homology "
                f"dimension of the diagrams one."
            )
        count = value[dimension] if isinstance(value, Mapping) else value
        if not _is_count(count):
            raise ValueError(f"{name}={value!r}: expected integers >= 1.")
        counts[dimension] = int(count)
    return counts


def part_of(source: Space, dimension: int, vectorizer: Any) -> Space:
    """The metric of one homology dimension, of a product or of one metric for all.

    Raises
    ------
    StabilityError
        If a product has none.
    """
    name = f"H{dimension}"
    space = dict(source.parts).get(name) if source.parts else source
    if space is None:
        raise StabilityError(
            f"{type(vectorizer).__name__} was fitted on {name}, but the product {source} has no "
            f"{name}: fit it on the homology dimensions of the stage before."
        )
    return space


def largest_values(batch: DiagramBatch, dimension: int) -> NDArray[np.float64]:
    """Of each cloud the largest absolute value of a birth or death, shape (n_clouds,)."""
    largest = np.zeros(len(batch))
    some = np.flatnonzero(batch.n_bars(dimension))  # names a dimension that is missing
    ends, bars = batch.offsets[dimension], batch.bars[dimension]
    if some.size:
        each = np.maximum(np.abs(bars[:, 0]), np.abs(bars[:, 1]))
        largest[some] = np.maximum.reduceat(each, ends[some])
    return largest


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


def _sorted_ends(boxes: BarBoxes, contour: Contour, kept: int) -> tuple[Tensor, Tensor]:
    """What the longest lengths lie between, shape (n_clouds, kept) each, longest first."""
    shortest, longest = contour.bounds(
        boxes.births_low, boxes.births_high, boxes.deaths_low, boxes.deaths_high
    )
    appearing = (
        contour.longest(2 * boxes.reach)
        if boxes.births_move
        else contour.bounds(*(torch.zeros_like(boxes.reach),) * 3, boxes.reach)[1]
    )
    # padding, which rounding may have lengthened, is in place of bars that appear
    longest = torch.where(boxes.deaths_high > boxes.births_low, longest, torch.zeros_like(longest))
    lower, upper = (
        torch.nn.functional.pad(
            torch.topk(ends, min(kept, ends.shape[-1]), dim=-1).values,
            (0, max(0, kept - ends.shape[-1])),
        )
        for ends in (shortest, longest)
    )
    return lower, torch.maximum(upper, appearing[:, None])


def _norm_rounding(p: float, bars: int) -> float:
    """How far norms of the tails of so many bars are off, in units of the longest bar."""
    steps = bars + 32.0
    if p not in (1, 2):
        steps += bars * (2 + (math.log(bars) + 4) / p) + math.log(bars)
    return float(steps * UNIT_ROUNDOFF * bars ** (1 / p))


def _power_up(base: NDArray[Any], exponent: float) -> NDArray[np.float64]:
    """Powers of numbers, not below the exact ones; exact for exponents 0 and 1.

    The exponent may be off by 3 u, u = 2^-53, and the power by a few units in the last place.
    """
    base = np.asarray(base, dtype=np.float64)
    if exponent in (0.0, 1.0):
        return np.power(base, exponent)
    return np.power(base, exponent) * (1 + (16 + 4 * np.log(np.maximum(base, 1))) * UNIT_ROUNDOFF)

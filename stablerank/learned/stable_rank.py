"""The learned stable rank: contours trained end to end with a Lipschitz network, then frozen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from sklearn.utils.validation import check_is_fitted

from stablerank.diagrams.batch import DiagramBatch, check_diagrams
from stablerank.learned.contours import KINDS
from stablerank.learned.fronts import Front, LearnableRanks
from stablerank.learned.training import (
    check_at_least,
    check_choice,
    check_training,
    learn,
    source_of,
)
from stablerank.ranks.contours import Contour
from stablerank.ranks.stable_rank import StableRank
from stablerank.stability import StabilityChain


class LearnedStableRank(StableRank):
    """Vectors of stable ranks, by contours that were trained for the labels, of a constant held.

    `fit` trains a contour for each homology dimension and a Lipschitz network behind the ranks as
    one, by gradients through sorting and tails [1]_. Then the contours are frozen into float64, and
    this is a :class:`~stablerank.ranks.StableRank` with those: vectors, constants, boxes and
    rounding are what they are there. The network of the training is discarded: what stands behind
    this step in a pipeline is trained on vectors that no longer change, and on small ORBIT5K it
    then was as accurate, and certified as much, as the one that was trained with the contours.

    Parameters
    ----------
    p : float, default=inf
        As of :class:`~stablerank.ranks.StableRank`.
    n_ranks : int or dict of int to int, default=100
        Jump points for each homology dimension.
    max_bars : int, optional
        As of :class:`~stablerank.ranks.StableRank`.
    contour : {"step", "distance", "shift"}, default="step"
        What is learned: the values of a step function whose integral from birth to death is the
        length (:class:`~stablerank.ranks.StepDistanceContour`); centres, widths and weights of
        Gaussians, and a floor, in its place (:class:`~stablerank.ranks.DistanceContour`); or the
        values of a step function by whose inverse integral lengths are measured
        (:class:`~stablerank.ranks.StepShiftContour`).
    n_components : int, default=8
        Steps or Gaussians for each homology dimension, at least 2.
    constant : float, default=1.0
        K of every contour, from 1e-100 to 1e100: what the training cannot change.
    epsilon : float, optional
        The perturbation to train for, in the unit of the diagrams; see
        :class:`~stablerank.nn.LipschitzClassifier`, as for all that follow.
    loss : {"cross-entropy", "margin", "offset"}, default="cross-entropy"
        Of the training.
    temperature, offset : float, default=1.0, 0.25
        Of the loss.
    hidden, layer, activation : default=(128, 128, 128), "linf", "maxmin"
        The network of the training.
    max_epochs, lr, batch_size : default=60, 0.01, None
        Of the training.
    random_state : int, Generator, RandomState or None, default=None
        Seed of the training.
    verbose : int, default=0
        skorch's table of epochs.

    Attributes
    ----------
    contours_ : dict of int to Contour
        The frozen contour of each homology dimension.
    homology_dimensions_, n_ranks_, max_bars_, n_features_out_
        As of :class:`~stablerank.ranks.StableRank`.

    Notes
    -----
    In the training every coordinate is divided by its own constant (R6), from ordered deaths where
    all births are 0, and from the bottleneck distance elsewhere. These do not depend on what is
    learned. Lengths shrink where the density falls, so that an `epsilon` by default, a share of
    how much the vectors vary, is smaller behind contours that were learned: give both steps the
    same `epsilon` when contours are to be compared. The loss has many local minima: bars that are
    beyond the first `n_ranks`, or in steps of height 0, have no gradient.

    References
    ----------
    .. [1] Agerberg, Guidolin, Martinelli, Roos Hoefgeest, Eklund, Scolamiero (2025), "Certifying
       robustness via topological representations", arXiv:2501.10876.

    Examples
    --------
    Only what lies between 1 and 2 tells the classes apart:

    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(40) % 2
    >>> births = np.where(rng.random((40, 8)) < 0.5, 0.0, 3.0)
    >>> noise = np.stack([births, births + rng.uniform(0, 1, (40, 8))], axis=2)
    >>> diagrams = [{1: np.vstack([bars, [1, 1.3 + 0.4 * label]])} for bars, label in zip(noise, y)]
    >>> rank = LearnedStableRank(n_ranks=1, n_components=4, hidden=(8,), random_state=0)
    >>> rank.fit(diagrams, y).contours_[1].constant
    1.0
    """

    def __init__(
        self,
        p: float = math.inf,
        n_ranks: int | Mapping[int, int] = 100,
        max_bars: int | None = None,
        contour: Literal["step", "distance", "shift"] = "step",
        n_components: int = 8,
        constant: float = 1.0,
        epsilon: float | None = None,
        loss: Literal["cross-entropy", "margin", "offset"] = "cross-entropy",
        temperature: float = 1.0,
        offset: float | Sequence[float] = 0.25,
        hidden: Sequence[int] = (128, 128, 128),
        layer: str = "linf",
        activation: str = "maxmin",
        max_epochs: int = 60,
        lr: float = 0.01,
        batch_size: int | None = None,
        random_state: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.p = p
        self.n_ranks = n_ranks
        self.max_bars = max_bars
        self.contour: Any = contour
        self.n_components = n_components
        self.constant = constant
        self.epsilon = epsilon
        self.loss = loss
        self.temperature = temperature
        self.offset = offset
        self.hidden = hidden
        self.layer = layer
        self.activation = activation
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> LearnedStableRank:
        """Train the contours together with a network, and freeze them.

        Parameters
        ----------
        X : DiagramBatch or list of dict of int to ndarray of shape (n_bars, 2)
            The training diagrams.
        y : array-like of shape (n_clouds,)
            Labels. Diagrams without any bar need none: there is nothing to learn, and contours are
            those with which training begins.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad parameters and labels, or without labels.
        KeyboardInterrupt
            At Ctrl-C.

        Notes
        -----
        Whatever is raised, the estimator is as it was before, with an earlier fit if there was one.
        """
        before = self.__dict__.copy()
        try:
            self._fit(check_diagrams(X), y)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        return self

    def _fit(self, batch: DiagramBatch, y: Any) -> None:
        check_choice("contour", self.contour, KINDS)
        check_at_least("n_components", self.n_components, 2)
        _check_constant(self.constant)
        check_training(self)
        fixed = StableRank(self.p, n_ranks=self.n_ranks, max_bars=self.max_bars).fit(batch)
        for name in ("homology_dimensions_", "n_ranks_", "max_bars_", "n_features_out_"):
            setattr(self, name, getattr(fixed, name))
        parts = {
            k: LearnableRanks(
                KINDS[self.contour](batch.bars[k], self.constant, self.n_components),
                float(self.p),
                self.n_ranks_[k],
                fixed._tail(k),
            )
            for k in self.homology_dimensions_
        }
        # those of the coordinates stay what they are with the contours that training begins with
        self.contours_ = {k: part.contour.frozen() for k, part in parts.items()}
        constants = StabilityChain(self.stability(source_of(batch))).constants
        learn(self, Front(parts), batch, y, constants)
        self.contours_ = {k: part.contour.frozen() for k, part in parts.items()}

    def _contour(self, dimension: int) -> Contour:
        check_is_fitted(self, "contours_")
        return self.contours_[dimension]


def _check_constant(value: Any) -> None:
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not real or not 1e-100 <= value <= 1e100:
        raise ValueError(f"constant={value!r}: expected a number from 1e-100 to 1e100.")

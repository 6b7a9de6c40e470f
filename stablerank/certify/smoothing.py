"""Randomized smoothing: what a classifier says on average when noise is added to the points.

The certificate is against Frobenius norm on the points, is about the smoothed classifier, not about
the one inside it, and holds with a stated probability over the draws (DESIGN §4, beyond Lipschitz).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special
from sklearn.base import BaseEstimator, ClassifierMixin

from stablerank.certify.certificate import Certificates
from stablerank.certify.certificate_files import Provenance
from stablerank.certify.confidence import (
    binomial_lower,
    binomial_upper,
    majority_pvalue,
    mean_lower,
)
from stablerank.certify.draws import Draws
from stablerank.certify.inputs import study
from stablerank.certify.smoothed_radii import label_radii, score_radii
from stablerank.certify.threats import threat_space
from stablerank.checker.file_format import cloud_digest
from stablerank.diagrams.clouds import Cloud, check_clouds
from stablerank.diagrams.workers import check_workers, map_chunks
from stablerank.stability import FROBENIUS, L2, LINF, Space, StabilityChain, StabilityError
from stablerank.stages import pipeline_stages

_SELECTION, _ESTIMATION, _PREDICTION = range(3)  # each has draws of its own
_POINTS_AT_ONCE = 50_000
_LEAST_NOISE = 1e-9  # relative to coordinates, whose rounding must not be noise of its own
_FAR = 9.0  # deviations beyond which the norm of the noise is with probability e^(-9²/2)
_FAR_PROBABILITY = 3e-18


class SmoothedClassifier(ClassifierMixin, BaseEstimator):
    """Predicts what a fitted classifier says most of when Gaussian noise moves the points.

    Any classifier of clouds will do: nothing needs to be known of it. It should have been trained
    on clouds with such noise, or it will not know them.

    Parameters
    ----------
    estimator : classifier of clouds
        Fitted; ``predict`` takes a list of clouds, ``classes_`` are its labels. It is not cloned.
    sigma : float
        Standard deviation of the noise of every coordinate, in the units of the points.
    n_samples : int, default=1000
        Noisy copies of each cloud, for a prediction and for a certificate. No radius can be above
        ``σ Φ⁻¹(α^(1/n))``: 2.5 σ for 1000 copies, 3.8 σ for 100 000.
    n_selection : int, default=100
        Further copies, by which :meth:`certify` chooses the label that it then certifies.
    alpha : float, default=0.001
        Probability, for each cloud, with which its certificate or its prediction may be wrong.
    temperature : float, optional
        With it, not labels are averaged but softmax(temperature · logits) of a pipeline of this
        package, whose constant in Frobenius norm sharpens the certificate. A smaller temperature
        makes use of the constant, and asks for larger margins; a larger one counts labels.
    random_state : int or None, default=None
        Seed. A cloud's draws depend on the seed and on the cloud alone, not on those beside it,
        nor on its place; certificates hold for clouds that were chosen without knowing the seed.
    n_jobs : int or None, default=None
        Number of workers, as in joblib; None is 1, -1 is all cores. Results do not depend on it.

    Notes
    -----
    Of labels, [1]_: the label A is chosen by one sample. In another, of n draws, with c labels, p_A
    has the exact lower bound of level α/2, and each other label an exact upper bound of level
    α/(2(c − 1)); all hold together with probability 1 − α. The radius is σ/2 (Φ⁻¹(p_A) − Φ⁻¹(p_B))
    with p_B the largest of these, and at most 1 − p_A. Of two labels only p_A is bounded, at level
    α, and p_B = 1 − p_A.

    Of scores F, after [2]_: for each other label j the average of h = (F_A − F_j + 1)/2 has an
    empirical Bernstein bound of level α/(c − 1). With D such that z_i − z_j moves by at most D r
    when the cloud moves by r in Frobenius norm, F_A − F_j is τD/2-Lipschitz, since its differential
    is Σ_i F_A F_i (dz_A − dz_i) − Σ_i F_j F_i (dz_j − dz_i), which is largest where F_A = F_j = ½.
    So h has slopes of at most τD/4, and :func:`~.smoothed_radii.score_radii` tells how far it stays
    above ½. The one temperature is given beforehand: [2]_ takes the best of many maps to the
    simplex for each input, each of which is another smoothed classifier.

    What numpy's generator and the rounding of noisy coordinates lack of independent normal numbers
    is not charged [3]_. How scores are rounded is.

    References
    ----------
    .. [1] Cohen, Rosenfeld, Kolter (2019), "Certified adversarial robustness via randomized
       smoothing", ICML, arXiv:1902.02918.
    .. [2] Delattre, Araujo, Barthélemy, Allauzen (2024), "The Lipschitz-variance-margin tradeoff
       for enhanced randomized smoothing", ICLR, arXiv:2309.16883.
    .. [3] Voráček, Hein (2023), "Sound randomized smoothing in floating-point arithmetic", ICLR,
       arXiv:2207.07209.

    Examples
    --------
    Is the mean of a cloud to the right? Fifty points 2 to the right of the border are √50 · 2 from
    it in Frobenius norm, and all draws agree.

    >>> class Side:
    ...     classes_ = np.array(["left", "right"])
    ...     def predict(self, X):
    ...         return self.classes_[[int(cloud[:, 0].mean() > 0) for cloud in X]]
    >>> cloud = np.column_stack([np.full(50, 2.0), np.zeros(50)])
    >>> smoothed = SmoothedClassifier(Side(), sigma=1.0, random_state=0)
    >>> smoothed.predict([cloud, 0 * cloud])
    array(['right', None], dtype=object)
    >>> smoothed.certify([cloud, 0 * cloud]).radius.round(3)
    array([2.463, 0.   ])
    """

    def __init__(
        self,
        estimator: Any,
        sigma: float,
        n_samples: int = 1000,
        n_selection: int = 100,
        alpha: float = 0.001,
        temperature: float | None = None,
        random_state: int | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.sigma = sigma
        self.n_samples = n_samples
        self.n_selection = n_selection
        self.alpha = alpha
        self.temperature = temperature
        self.random_state = random_state
        self.n_jobs = n_jobs

    @property
    def classes_(self) -> NDArray[Any]:
        """The labels of the classifier inside, shape (n_classes,)."""
        return np.asarray(self.estimator.classes_)

    def predict(self, X: Any) -> NDArray[Any]:
        """The labels, and None where too few draws agree to tell.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.

        Returns
        -------
        ndarray of shape (n_clouds,), object
            A label that is not None is that of the smoothed classifier with probability 1 − α:
            of labels by the binomial test that its two most frequent ones are equally likely; of
            scores if the average is above that of every other label, by bounds of level α/(c − 1).
        """
        votes = self._all_votes(X)
        top, clear = self._winners(votes)
        labels = self.classes_[top].astype(object)
        labels[~clear] = None
        return labels

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The average of votes or scores over the draws, shape (n_clouds, n_classes)."""
        return np.array([own.mean(axis=0) for own in self._all_votes(X)])

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The share of clouds whose label is predicted; to abstain is no such prediction."""
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        return float(np.average(self.predict(X) == np.asarray(y), weights=weights))

    def certify(self, X: Any) -> Certificates:
        """How far, in Frobenius norm, the points may move before the smoothed label can change.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.

        Returns
        -------
        Certificates
            With ``threat="frobenius"``, and `draws` that say what they rest on. Each radius holds
            with probability 1 − α over the draws; 0 is to abstain. The margin is that of the
            averages, the route ``"smoothing"``.

        Raises
        ------
        ValueError
            For bad parameters and clouds, noise that drowns in the rounding of coordinates, and
            labels that are not among `classes_`.
        StabilityError
            With a `temperature`, if a stage of the pipeline has no constant.
        """
        clouds = self._check(X)
        studied = map_chunks(
            partial(_each, self._study),
            clouds,
            n_jobs=self.n_jobs,
            prefer="threads",
            description="certifying by noise",
        )
        top = np.array([cloud.top for cloud in studied])
        means = np.array([cloud.mean for cloud in studied])
        rows = np.arange(len(top))
        if self.temperature is None:
            radii = self._label_radii(studied, top)
        else:
            radii = self._score_radii(studied, top, clouds)
        others = means.copy()
        others[rows, top] = -np.inf
        draws = Draws(
            sigma=float(self.sigma),
            alpha=float(self.alpha),
            n_samples=int(self.n_samples),
            n_selection=int(self.n_selection),
            temperature=None if self.temperature is None else float(self.temperature),
            random_state=None if self.random_state is None else int(self.random_state),
            counts=np.array([cloud.counts for cloud in studied]),
        )
        threat = "frobenius"
        return Certificates(
            radius=radii,
            prediction=self.classes_[top],
            margin=np.maximum(means[rows, top] - others.max(axis=1), 0.0),
            threat=threat,
            unit=threat_space(threat)[1],
            chain=None,
            method="smoothing",
            provenance=Provenance.of(self.estimator, X, None, None),
            draws=draws,
        )

    def stability(self, source: Space) -> StabilityChain:
        """Refused: what is known of the smoothed classifier is known of a cloud, by draws.

        Raises
        ------
        StabilityError
            Always.
        """
        raise StabilityError(
            "A SmoothedClassifier has no constant: its certificates are those of its own "
            'certify(X), for threat="frobenius".'
        )

    def _check(self, X: Any) -> list[Cloud]:
        for name, least in (("n_samples", 2), ("n_selection", 1)):
            value = getattr(self, name)
            if not _is_whole(value) or value < least:
                raise ValueError(f"{name}={value!r}: expected an integer >= {least}.")
        _check_positive("sigma", self.sigma)
        if self.temperature is not None:
            _check_positive("temperature", self.temperature)
        if not (_is_real(self.alpha) and 0 < self.alpha < 1):
            raise ValueError(f"alpha={self.alpha!r}: expected a probability between 0 and 1.")
        seed = self.random_state
        if seed is not None and not (_is_whole(seed) and seed >= 0):
            raise ValueError(f"random_state={seed!r}: expected an integer >= 0, or None.")
        check_workers(self.n_jobs)
        if len(self.classes_) < 2:
            raise ValueError(f"The classifier knows one label only, {self.classes_.tolist()[0]!r}.")
        clouds = check_clouds(X)
        for i, cloud in enumerate(clouds):
            largest = float(np.abs(cloud).max())
            if self.sigma < _LEAST_NOISE * largest:
                raise ValueError(
                    f"sigma={self.sigma!r} is so small beside coordinates of X[{i}] of "
                    f"{largest!r} that rounding would be part of the noise: subtract the mean from "
                    f"each cloud first, in training too, or take more noise."
                )
        return clouds

    def _all_votes(self, X: Any) -> list[NDArray[np.float64]]:
        """Of each cloud the votes of all draws, shape (n_samples, n_classes)."""
        return map_chunks(
            partial(_each, partial(self._votes, purpose=_PREDICTION, n=self.n_samples)),
            self._check(X),
            n_jobs=self.n_jobs,
            prefer="threads",
            description="predicting by noise",
        )

    def _winners(
        self, votes: Sequence[NDArray[np.float64]]
    ) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """The first of the labels with the largest average, and whether it is sure to be that."""
        means = np.array([own.mean(axis=0) for own in votes])
        top = means.argmax(axis=1)
        if self.temperature is None:
            counts = np.sort([own.sum(axis=0) for own in votes], axis=1)
            pvalues = majority_pvalue(counts[:, -1], counts[:, -2])
            return top, np.asarray(pvalues <= self.alpha)
        gaps = [_gaps(own, label) for own, label in zip(votes, top, strict=True)]
        lower = self._mean_lower(*np.swapaxes(gaps, 0, 1))
        least = np.where(_others(top, lower.shape[1]), lower, 1.0).min(axis=1)
        return top, np.asarray(least > 0.5)

    def _study(self, cloud: Cloud) -> _Studied:
        selection = self._votes(cloud, purpose=_SELECTION, n=self.n_selection)
        top = int(selection.mean(axis=0).argmax())
        votes = self._votes(cloud, purpose=_ESTIMATION, n=self.n_samples)
        mean, variance = _gaps(votes, top)
        winners = np.bincount(votes.argmax(axis=1), minlength=votes.shape[1])
        return _Studied(top, winners, votes.mean(axis=0), mean, variance)

    def _votes(self, cloud: Cloud, purpose: int, n: int) -> NDArray[np.float64]:
        """One-hot labels, or scores, of n noisy copies; shape (n, n_classes)."""
        parts = []
        for copies in self._noisy(cloud, purpose, n):
            if self.temperature is None:
                parts.append(self._labels(copies)[:, None] == np.arange(len(self.classes_)))
            else:
                logits = _logits(self.estimator, copies)
                parts.append(special.softmax(self.temperature * logits, axis=1))
        return np.concatenate(parts).astype(np.float64)

    def _noisy(self, cloud: Cloud, purpose: int, n: int) -> Iterator[list[Cloud]]:
        """Noisy copies in parts, the same however large these are."""
        seed = None
        if self.random_state is not None:
            seed = [int(self.random_state), int(cloud_digest(cloud), 16), purpose]
        rng = np.random.default_rng(seed)
        at_once = max(1, _POINTS_AT_ONCE // len(cloud))
        for start in range(0, n, at_once):
            noise = rng.normal(size=(min(at_once, n - start), *cloud.shape))
            yield list(cloud + self.sigma * noise)

    def _labels(self, copies: list[Cloud]) -> NDArray[np.intp]:
        predicted = np.asarray(self.estimator.predict(copies))
        known = predicted[:, None] == self.classes_
        strange = np.flatnonzero(~known.any(axis=1))
        if strange.size:
            raise ValueError(
                f"{type(self.estimator).__name__} predicts {predicted[strange[0]]!r}, which is "
                f"none of its labels {self.classes_.tolist()}."
            )
        return np.asarray(known.argmax(axis=1))

    def _label_radii(
        self, studied: Sequence[_Studied], top: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        counts, n = np.array([cloud.counts for cloud in studied]), int(self.n_samples)
        others = _others(top, counts.shape[1])
        rivals = counts.shape[1] - 1
        won = counts[~others]
        if rivals == 1:
            lower = binomial_lower(won, n, self.alpha)
            return label_radii(lower, 1 - lower, self.sigma)
        lower = binomial_lower(won, n, self.alpha / 2)
        each = binomial_upper(counts, n, self.alpha / (2 * rivals))
        upper = np.where(others, each, 0.0).max(axis=1)
        return label_radii(lower, np.minimum(upper, 1 - lower), self.sigma)

    def _score_radii(
        self, studied: Sequence[_Studied], top: NDArray[np.intp], clouds: list[Cloud]
    ) -> NDArray[np.float64]:
        lower = self._mean_lower(
            np.array([cloud.gap for cloud in studied]),
            np.array([cloud.variance for cloud in studied]),
        )
        least = np.where(_others(top, lower.shape[1]), lower, np.inf).min(axis=1)
        constant, logit_error = _constant_and_rounding(self.estimator, clouds)
        slope = float(self.temperature or 0.0) * constant / 4 * (1 + 1e-9)
        # all that is asked of lies within this, but for draws that hardly ever happen
        coordinates = np.array([cloud.size for cloud in clouds])
        reach = self.sigma * (np.sqrt(coordinates) + _FAR)
        reach += score_radii(least, slope, self.sigma) * (1 + 1e-9)
        error = float(self.temperature or 0.0) * logit_error(reach) / 2
        error += _FAR_PROBABILITY + 64 * lower.shape[1] * 2.0**-52  # of softmax as computed
        return score_radii(least, slope, self.sigma, error)

    def _mean_lower(
        self, mean: NDArray[np.float64], variance: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        return mean_lower(mean, variance, int(self.n_samples), self.alpha / (mean.shape[1] - 1))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags


@dataclass(frozen=True, eq=False)
class _Studied:
    """What the draws say of one cloud: the label chosen, and then counts, averages and gaps."""

    top: int
    counts: NDArray[np.intp]
    mean: NDArray[np.float64]
    gap: NDArray[np.float64]
    variance: NDArray[np.float64]


def _each(function: Any, clouds: Sequence[Cloud]) -> list[Any]:
    return [function(cloud) for cloud in clouds]


def _gaps(votes: NDArray[np.float64], top: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of (F_top − F_j + 1)/2 for every j."""
    gaps = (votes[:, [top]] - votes + 1) / 2
    return gaps.mean(axis=0), gaps.var(axis=0, ddof=1)


def _others(top: NDArray[np.intp], n_classes: int) -> NDArray[np.bool_]:
    return np.arange(n_classes) != top[:, None]


def _logits(pipeline: Any, clouds: Any) -> NDArray[np.float64]:
    *before, classifier = pipeline_stages(pipeline)
    if not hasattr(classifier, "logits"):
        raise StabilityError(
            f"{type(classifier).__name__} has no logits: leave out `temperature`, and labels are "
            f"counted."
        )
    for stage in before:
        clouds = stage.transform(clouds)
    logits: NDArray[np.float64] = classifier.logits(clouds)
    return logits


def _constant_and_rounding(pipeline: Any, clouds: list[Cloud]) -> tuple[float, Any]:
    """How far differences of logits move with the cloud, and a bound of how logits are rounded."""
    *before, classifier = pipeline_stages(pipeline)
    studied = study(before, clouds, FROBENIUS)
    chain = studied.chain()
    features = chain.then(classifier.feature_stability(chain.target)).constant
    constants = [features * classifier.pairwise_constants(LINF).max()]
    try:
        l2_features = studied.l2_chain().then(classifier.feature_stability(L2)).constant
        constants.append(l2_features * classifier.pairwise_constants(L2).max())
    except StabilityError:
        pass  # there is the other one
    largest = np.abs(studied.vectors).max(axis=1, initial=0.0)

    def logit_error(reach: NDArray[np.float64]) -> NDArray[np.float64]:
        vector_error = studied.error(reach)
        magnitude = (largest + vector_error + chain.constant * reach) * (1 + 1e-12)
        bound: NDArray[np.float64] = classifier.rounding(magnitude, vector_error)
        return bound

    return float(min(constants)), logit_error


def _check_positive(name: str, value: Any) -> None:
    if not (_is_real(value) and 0 < value < math.inf):
        raise ValueError(f"{name}={value!r}: expected a positive finite number.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_real(value: Any) -> bool:
    return _is_whole(value) or isinstance(value, (float, np.floating))

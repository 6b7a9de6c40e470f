"""Votes of sub-clouds to which points are hashed: few changed points change few votes.

The certificate needs nothing of the classifier whose votes are counted, no constant and no box. It
is the rule that certificates by persistence are to be compared with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted

from stablerank.diagrams.clouds import Cloud, check_clouds

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class HashedVotes(ClassifierMixin, BaseEstimator):
    """Splits every cloud by a hash of its points, and predicts what most of its parts vote for.

    Each point is sent to one of `n_parts` sub-clouds by the bits of its own coordinates, wherever
    it stands in the list and whatever the other points are. So a point that is added or deleted
    changes one sub-cloud, and with it one vote [1]_.

    One model votes for all sub-clouds: it is trained on all sub-clouds of all training clouds, with
    the labels of these, so that it sees clouds as small as those it will judge.

    Parameters
    ----------
    estimator : classifier of clouds
        Its ``predict`` takes a list of clouds. It is cloned.
    n_parts : int, default=50
        How many votes there are. More of them certify more changes, with smaller sub-clouds.
    min_points : int, default=1
        Sub-clouds of fewer points, the empty ones among them, are not shown to the model: their
        vote is `fixed_vote_`.
    random_state : int, default=0
        Seed of the hash, from 0 to 2^64 - 1. Certificates hold against adversaries who know it.

    Attributes
    ----------
    estimator_ : classifier
        The fitted clone.
    classes_ : ndarray of shape (n_classes,)
        The labels.
    fixed_vote_ : int
        The index of the most frequent training label, of several the first.
    dimension_ : int
        The dimension of the space that was fitted.

    Notes
    -----
    Votes are functions of sub-clouds alone, bit for bit: points are sorted before the model sees
    them, and it sees one sub-cloud at a time, since the last bits of matrix products depend on how
    many rows they have. Equal points lie in one sub-cloud, and 0.0 and -0.0 are equal.

    References
    ----------
    .. [1] Zhang, Jia, Gong, Liu (2023), "PointCert: point cloud classification with deterministic
       certified robustness guarantees", CVPR.

    Examples
    --------
    >>> class Side:
    ...     def get_params(self, deep=True):
    ...         return {}
    ...     def fit(self, X, y):
    ...         return self
    ...     def predict(self, X):
    ...         return np.array([cloud[:, 0].mean() > 0 for cloud in X])
    >>> rng = np.random.default_rng(0)
    >>> left, right = rng.normal(-2, 1, size=(400, 2)), rng.normal(2, 1, size=(400, 2))
    >>> votes = HashedVotes(Side(), n_parts=21).fit([left, right], [False, True])
    >>> votes.predict([left, right])
    array([False,  True])
    >>> from stablerank import certify
    >>> certify(votes, [left, right], threat="deletion").radius
    array([10., 10.])
    """

    def __init__(
        self, estimator: Any, n_parts: int = 50, min_points: int = 1, random_state: int = 0
    ) -> None:
        self.estimator = estimator
        self.n_parts = n_parts
        self.min_points = min_points
        self.random_state = random_state

    def fit(self, X: Any, y: ArrayLike) -> HashedVotes:
        """Train the model on all sub-clouds that are large enough.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.
        y : array-like of shape (n_clouds,)
            Labels.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad parameters, clouds and labels, and if a class has no sub-cloud that is large
            enough.
        """
        self._check_parameters()
        clouds = check_clouds(X)
        labels = np.asarray(y)
        if labels.shape != (len(clouds),):
            raise ValueError(
                f"y has shape {labels.shape}, but X has {len(clouds)} clouds: expected one label a "
                f"cloud."
            )
        classes, encoded = np.unique(labels, return_inverse=True)
        parts, owners = [], []
        for cloud, label in zip(clouds, encoded, strict=True):
            large = [part for part in self._split(cloud) if len(part) >= self.min_points]
            parts += large
            owners += [label] * len(large)
        missing = np.setdiff1d(np.arange(len(classes)), owners)
        if missing.size:
            raise ValueError(
                f"Class {classes[missing[0]].item()!r} has no sub-cloud of {self.min_points} "
                f"points: take fewer parts than n_parts={self.n_parts}."
            )
        self.estimator_ = clone(self.estimator, safe=False).fit(parts, classes[owners])
        self.classes_ = classes
        self.fixed_vote_ = int(np.bincount(encoded).argmax())
        self.dimension_ = int(clouds[0].shape[1])
        return self

    def votes(self, X: Any) -> NDArray[np.intp]:
        """How many sub-clouds of each cloud vote for each class.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.

        Returns
        -------
        ndarray of shape (n_clouds, n_classes), int
            Rows add up to `n_parts`.
        """
        check_is_fitted(self, "estimator_")
        clouds = check_clouds(X, dimension=self.dimension_)
        known: dict[bytes, int] = {}  # an adversary's clouds have most sub-clouds in common
        counts = np.zeros((len(clouds), len(self.classes_)), dtype=np.intp)
        for i, cloud in enumerate(clouds):
            for part in self._split(cloud):
                vote = self.fixed_vote_
                if len(part) >= self.min_points:
                    key = part.tobytes()
                    if key not in known:
                        known[key] = self._vote(part)
                    vote = known[key]
                counts[i, vote] += 1
        return counts

    def predict(self, X: Any) -> NDArray[Any]:
        """The label with most votes, of several the first in `classes_`; shape (n_clouds,)."""
        return np.asarray(self.classes_[self.votes(X).argmax(axis=1)])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The shares of the votes, shape (n_clouds, n_classes)."""
        counts = self.votes(X)
        return np.asarray(counts / counts.sum(axis=1, keepdims=True))

    def _check_parameters(self) -> None:
        for name, value in (("n_parts", self.n_parts), ("min_points", self.min_points)):
            whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if not whole or value < 1:
                raise ValueError(f"{name}={value!r}: expected an integer >= 1.")
        seed = self.random_state
        if not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
            raise ValueError(f"random_state={seed!r}: expected an integer from 0 to 2^64 - 1.")

    def _split(self, cloud: Cloud) -> list[Cloud]:
        """The sub-clouds, each with its points in lexicographic order."""
        cloud = cloud + 0.0  # -0.0 becomes 0.0
        ordered = cloud[np.lexsort(cloud.T[::-1])]
        parts = hash_points(ordered, int(self.random_state)) % np.uint64(self.n_parts)
        by_part = np.argsort(parts, kind="stable")
        ends = np.searchsorted(parts[by_part], np.arange(1, self.n_parts, dtype=np.uint64))
        return np.split(ordered[by_part], ends)

    def _vote(self, part: Cloud) -> int:
        label = np.asarray(self.estimator_.predict([part]))[0]
        found = np.flatnonzero(self.classes_ == label)
        if found.size == 0:
            raise ValueError(
                f"{type(self.estimator_).__name__} predicts {label.item()!r}, which is none of the "
                f"labels {self.classes_.tolist()} that it was trained with."
            )
        return int(found[0])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags


def certified_changes(votes: NDArray[np.intp], threat: str = "points") -> NDArray[np.intp]:
    """How many points may change before the winner can lose its place, whichever they are.

    Parameters
    ----------
    votes : ndarray of shape (n_clouds, n_classes), int
        From :meth:`HashedVotes.votes`.
    threat : {"points", "deletion"}, default="points"
        "deletion": points are deleted. "points": each change adds a point, deletes one, or replaces
        one by another.

    Returns
    -------
    ndarray of shape (n_clouds,), int

    Notes
    -----
    Let t win with v_t votes, and v_j be those of another class j. Class j goes before t in a tie if
    it stands before t, so t stays ahead of it as long as v_t − v_j >= [j < t]. A point that is
    added or deleted changes the one sub-cloud that its hash names; a point that is replaced leaves
    one and enters another, so it may change two. One changed vote lowers v_t − v_j by at most 2,
    from t to j. With g = min_j (v_t − v_j − [j < t]), k deletions leave t its place if 2k <= g, and
    k changes that may be replacements if 4k <= g. Nothing better holds for all models: one that
    votes as it likes turns votes of t into votes of j.

    Examples
    --------
    Eight votes lead three by 5. Two changed votes leave 6 : 5, three 5 : 6.

    >>> certified_changes(np.array([[8, 3], [3, 8]]), "deletion")
    array([2, 2])
    >>> certified_changes(np.array([[8, 3], [3, 8]]), "points")
    array([1, 1])
    """
    rows, winners = np.arange(len(votes)), votes.argmax(axis=1)
    first = np.arange(votes.shape[1]) < winners[:, None]
    gaps = votes[rows, winners][:, None] - votes - first
    gaps[rows, winners] = votes[rows, winners]  # least where there is one class only
    changed_votes = {"deletion": 1, "points": 2}[threat]
    return np.asarray(gaps.min(axis=1) // (2 * changed_votes))


def hash_points(points: Cloud, seed: int) -> NDArray[np.uint64]:
    """64 bits for each point, by the bits of its coordinates and the seed.

    Parameters
    ----------
    points : ndarray of shape (n_points, d), float64
        Without -0.0, whose bits are not those of 0.0.
    seed : int
        From 0 to 2^64 - 1.

    Returns
    -------
    ndarray of shape (n_points,), uint64
        The same on every machine.

    Notes
    -----
    The finalizer of SplitMix64 [1]_, a bijection of 64 bits, over one coordinate after the other.
    Certificates ask only that it is a function; that parts are of about the same size asks that it
    mixes well.

    References
    ----------
    .. [1] Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators", OOPSLA.
    """
    state = np.full(len(points), seed, dtype=np.uint64)
    for column in np.ascontiguousarray(points.T).view(np.uint64):
        state = _mix((state ^ column) + _GOLDEN)
    return state


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))

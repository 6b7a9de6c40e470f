"""Certificates whose radius is a number of points: any k deleted, or added, deleted and replaced.

Three ways lead there. Deleting k points moves a cloud by at most h_k in Hausdorff distance (D6), so
a Hausdorff radius will do. A filtration that knows what k changed points do to its diagrams (D5)
gives balls of diagrams, and what is behind it certifies these; a stage from clouds to vectors gives
boxes of these itself. And whoever lets sub-clouds vote
counts votes, see ``votes.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline

from stablerank.certify.certificate import Certificates
from stablerank.certify.inputs import Box
from stablerank.certify.threats import COUNTING_THREATS, threat_space
from stablerank.certify.votes import HashedVotes, certified_changes
from stablerank.diagrams.clouds import Cloud, check_clouds
from stablerank.diagrams.deletion import deletion_distances
from stablerank.stability import BOTTLENECK, StabilityError
from stablerank.stages import (
    LipschitzUnion,
    computes_diagrams,
    computes_vectors,
    starts_from_inputs,
)

Keeps = Callable[[int, NDArray[np.intp]], NDArray[np.bool_]]


def certify_counts(
    stages: Sequence[Any], X: Any, *, threat: str, method: str, certify: Callable[..., Certificates]
) -> Certificates:
    """The largest k of each cloud for which any k changed points keep its class.

    Parameters
    ----------
    stages : sequence
        Fitted, from the clouds to the classifier.
    X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
        The clouds.
    threat : {"deletion", "points"}
        What may be done to k points.
    method : str
        As in :func:`stablerank.certify`.
    certify : callable
        That function, for the threats that measure distances.

    Returns
    -------
    Certificates
        Closed: radius k is about exactly k points as well as about fewer. At most so many that the
        first stage has enough points left, and at least one.

    Raises
    ------
    StabilityError
        If no way is open; the message says which would be.

    Notes
    -----
    "deletion", with constants from Hausdorff distance: the largest k with h_k below the certified
    Hausdorff radius, whichever method gave that (D6).

    For both threats, each filtration says in which ball of diagrams its own stays when k points
    change (:meth:`Filtration.bounds_points`), and a stage without diagrams in which box its vector
    does (:meth:`DistanceField.bounds_points`). ``"global"``, of one filtration: the ball's reach is
    below the radius that is certified at its centre for changes of the diagram, in bottleneck
    distance, and the class there is the predicted one. ``"interval"``, ``"linear"``: the box of
    vectors, for a ball the one that belongs to it, keeps the class. These hold at a k for all that
    is done with k points or fewer, and k is found by doubling and bisection; nothing is assumed of
    how they depend on k. Of all ways the largest k counts.
    """
    reasons: list[StabilityError] = []
    found: list[Certificates] = []
    if threat == "deletion":
        try:
            near = certify(make_pipeline(*stages), X, threat="hausdorff", method=method)
            found.append(_by_distance(near, check_clouds(X)))
        except StabilityError as reason:
            reasons.append(reason)
    for name in ("global", "linear") if method == "best" else (method,):
        try:
            start = found[0].radius if found else None
            found.append(_by_balls(stages, X, threat, name, certify, start))
        except StabilityError as reason:
            reasons.append(reason)
    if not found:
        raise reasons[-1]
    radii = np.stack([claims.radius for claims in found])
    best = radii.argmax(axis=0)  # of equal radii the first
    routes = np.stack([np.asarray(claims.route) for claims in found])
    everyone = np.arange(len(best))
    return replace(
        found[0], radius=radii[best, everyone], method=method, route=routes[best, everyone]
    )


def certify_votes(voters: HashedVotes, X: Any, *, threat: str) -> Certificates:
    """The largest k of each cloud for which any k changed points leave the winner its majority.

    Parameters
    ----------
    voters : HashedVotes
        Fitted.
    X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
        The clouds.
    threat : {"deletion", "points"}
        What may be done to k points.

    Returns
    -------
    Certificates
        Closed, below the number of points. The margin is that of the shares of votes.

    Raises
    ------
    StabilityError
        For other threats.

    Notes
    -----
    By :func:`~stablerank.certify.votes.certified_changes`.
    """
    if threat not in COUNTING_THREATS:
        raise StabilityError(
            f"HashedVotes has no certificate for threat={threat!r}: a point that moves at all may "
            f'move to another sub-cloud. Use threat="deletion" or "points".'
        )
    votes = voters.votes(X)
    top_two = np.sort(votes / voters.n_parts, axis=1)[:, -2:]
    most = [len(cloud) - 1 for cloud in X]
    return _certificates(
        np.minimum(certified_changes(votes, threat), most),
        voters.classes_[votes.argmax(axis=1)],
        top_two[:, -1] - top_two[:, 0],
        threat,
        "votes",
        "votes",
    )


def _by_distance(near: Certificates, clouds: Sequence[Cloud]) -> Certificates:
    counts = [_deletions_within(cloud, r) for cloud, r in zip(clouds, near.radius, strict=True)]
    return _certificates(
        np.array(counts), near.prediction, near.margin, "deletion", near.method, near.route, near
    )


def _deletions_within(cloud: Cloud, radius: float) -> int:
    """The largest k with h_k < radius."""
    n_others, most = len(cloud) - 1, 1
    if not radius > 0 or n_others == 0:
        return 0
    while True:
        distances = deletion_distances(cloud, min(most, n_others))
        count = int((distances < radius).sum())  # they do not decrease with k
        if count < most or most >= n_others:
            return count
        most *= 2


def _by_balls(
    stages: Sequence[Any],
    X: Any,
    threat: str,
    method: str,
    certify: Callable[..., Certificates],
    certified: NDArray[np.float64] | None,
) -> Certificates:
    *before, classifier = stages
    clouds = check_clouds(X)
    first = _first_stages(before)
    logits = classifier.logits(np.asarray(_transform(before, clouds), dtype=np.float64))
    predicted = logits.argmax(axis=1)
    top_two = np.sort(logits, axis=1)[:, -2:]
    clear = top_two[:, 1] > top_two[:, 0]  # False for NaN
    fewest = max(stage.fewest_points for stage in first)
    most = np.array([max(len(cloud) - fewest, 0) for cloud in clouds]) * clear
    keeps = (
        _keeps_by_reach(before, classifier, clouds, threat, predicted, certify)
        if method == "global"
        else _keeps_by_box(before, classifier, clouds, threat, predicted, method)
    )
    start = np.zeros(len(clouds)) if certified is None else certified
    return _certificates(
        largest_counts(keeps, most, np.minimum(start, most).astype(np.intp)),
        classifier.classes_[predicted],
        top_two[:, 1] - top_two[:, 0],
        threat,
        method,
        method,
    )


def _keeps_by_reach(
    before: Sequence[Any],
    classifier: Any,
    clouds: Sequence[Cloud],
    threat: str,
    predicted: NDArray[np.intp],
    certify: Callable[..., Certificates],
) -> Keeps:
    filtration, *behind = before
    if computes_vectors(filtration):
        raise StabilityError(
            f"{type(filtration).__name__} has a box of vectors for points that are changed, and no "
            f'constant: use method="interval" or "linear".'
        )
    if not computes_diagrams(filtration):
        raise StabilityError(
            f"{type(filtration).__name__} joins several filtrations, whose diagrams move "
            f'differently: use method="interval" or "linear".'
        )
    rest = make_pipeline(*behind, classifier)

    def keeps(count: int, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        ball = filtration.bounds_points([clouds[i] for i in rows], count, threat=threat)
        if any(metric != BOTTLENECK for metric in ball.metrics.values()):
            raise StabilityError(
                f"{type(filtration).__name__}: not all of its balls are in {BOTTLENECK}, and there "
                f"is no radius for several metrics at once."
            )
        reach = np.maximum.reduce(list(ball.reach.values()))
        centre = certify(rest, ball.diagrams, threat="bottleneck", method="global")
        same = centre.prediction == classifier.classes_[predicted[rows]]
        return np.asarray(same & (reach < centre.radius))

    return keeps


def _keeps_by_box(
    before: Sequence[Any],
    classifier: Any,
    clouds: Sequence[Cloud],
    threat: str,
    predicted: NDArray[np.intp],
    relaxation: str,
) -> Keeps:
    if not hasattr(classifier, "margin_bounds"):
        raise StabilityError(
            f"{type(classifier).__name__} has no margin_bounds(): what it makes of boxes is not "
            f'known. Use method="global".'
        )

    def keeps(count: int, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        lower, upper = _box(before, [clouds[i] for i in rows], count, threat)
        margins = classifier.margin_bounds(lower, upper, predicted[rows], method=relaxation)
        return np.asarray(margins > 0)  # False for NaN

    return keeps


def largest_counts(
    keeps: Keeps, most: NDArray[np.intp], start: NDArray[np.intp] | None = None
) -> NDArray[np.intp]:
    """The largest count of each row that was verified, by doubling and then bisection.

    Parameters
    ----------
    keeps : callable
        From a count and the rows that are asked about to whether it holds for each.
    most : ndarray of shape (n,), int
        The largest count of each row that makes sense; 0 for rows that are not asked about.
    start : ndarray of shape (n,), int, optional
        Counts that are verified otherwise; 0 by default.

    Returns
    -------
    ndarray of shape (n,), int
        `start` where nothing more was verified.

    Examples
    --------
    >>> limits = np.array([0, 5, 100])
    >>> largest_counts(lambda count, rows: count <= limits[rows], np.array([9, 9, 70]))
    array([ 0,  5, 70])
    """
    verified = np.zeros(len(most), dtype=np.intp) if start is None else start.copy()
    refuted = np.asarray(most + 1, dtype=np.intp)
    doubling = np.ones(len(most), dtype=bool)
    while True:
        rows = np.flatnonzero(refuted - verified > 1)
        if rows.size == 0:
            return verified
        middle = (verified + refuted) // 2
        doubled = np.minimum(np.maximum(2 * verified, 1), most)
        tried = np.where(doubling, doubled, middle)[rows]
        for count in np.unique(tried):
            asked = rows[tried == count]
            good = keeps(int(count), asked)
            verified[asked[good]] = count
            refuted[asked[~good]] = count
            doubling[asked[~good]] = False


def _box(stages: Sequence[Any], clouds: Sequence[Cloud], count: int, threat: str) -> Box:
    """The box of all vectors, as computed, of clouds with `count` changed points."""
    first = stages[0]
    if isinstance(first, LipschitzUnion):
        boxes = [_box(own, clouds, count, threat) for _, own in first.branches()]
        lower, upper = zip(*boxes, strict=True)
        return torch.cat(lower, dim=1), torch.cat(upper, dim=1)
    if computes_vectors(first):
        ends: Box = first.bounds_points(clouds, count, threat=threat)
        return ends
    filtration, vectorizer = stages
    if not hasattr(vectorizer, "bounds"):
        raise StabilityError(
            f"{type(vectorizer).__name__} has no bounds(): its constant is known, but no box of "
            f'what an adversary can bring about. Use method="global".'
        )
    box: Box = vectorizer.bounds(filtration.bounds_points(clouds, count, threat=threat))
    return box


def _transform(stages: Sequence[Any], clouds: Any) -> Any:
    """The vectors; a refusal of stages whose order is not a filtration and then a vectorizer."""
    union = isinstance(stages[0], LipschitzUnion) and starts_from_inputs(stages[0])
    if len(stages) != (1 if union or computes_vectors(stages[0]) else 2):
        names = ", ".join(type(stage).__name__ for stage in stages)
        raise StabilityError(
            f"The steps before the classifier are {names}: points are counted through a filtration "
            f"and one vectorizer, a DistanceField alone, or a union of such."
        )
    if union:
        for _, own in stages[0].branches():
            _first_stages(own)
            if len(own) != (1 if computes_vectors(own[0]) else 2):
                raise StabilityError(
                    "A branch of a LipschitzUnion is a filtration and one vectorizer, or a "
                    "DistanceField alone."
                )
    for stage in stages:
        clouds = stage.transform(clouds)
    return clouds


def _first_stages(stages: Sequence[Any]) -> list[Any]:
    """The stages that take the clouds."""
    first = stages[0]
    if isinstance(first, LipschitzUnion):
        return [stage for _, own in first.branches() for stage in _first_stages(own)]
    if not hasattr(first, "bounds_points"):
        raise StabilityError(
            f"{type(first).__name__} has no bounds_points(): what some points more or less do to "
            f"what it makes of a cloud is not known. Use DistanceToMeasurePersistence, or a "
            f"DistanceField."
        )
    return [first]


def _certificates(
    counts: NDArray[Any],
    prediction: NDArray[Any],
    margin: NDArray[np.float64],
    threat: str,
    method: str,
    route: Any,
    near: Certificates | None = None,
) -> Certificates:
    return Certificates(
        radius=np.asarray(counts, dtype=np.float64),
        prediction=prediction,
        margin=margin,
        threat=threat,
        unit=threat_space(threat)[1],
        chain=None if near is None else near.chain,
        method=method,
        route=np.broadcast_to(np.asarray(route), (len(counts),)).copy(),
        closed=True,
    )

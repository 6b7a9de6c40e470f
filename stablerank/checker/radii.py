"""How far an input may move, or how many of its points may change: by constants and by boxes.

N3 and N4 for distances; D5 and D6 for points that are counted, by what Hausdorff distance or balls
of diagrams say of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stablerank.checker import spectral
from stablerank.checker.chain import by_coordinate
from stablerank.checker.claims import ClaimError, NotChecked
from stablerank.checker.diagrams import Diagram, moved
from stablerank.checker.inputs import Input, deletion_distance, fewest_points
from stablerank.checker.links import BOTTLENECK, ORDERED, links_to_vectors
from stablerank.checker.model_file import Stage
from stablerank.checker.network import Distances, Network
from stablerank.checker.relaxation import least_gap
from stablerank.checker.rounding import down, times_up
from stablerank.checker.threats import Space
from stablerank.checker.vectors import (
    Balls,
    Box,
    Boxes,
    box,
    homology_dimensions,
    pairs,
    slopes,
)

_HAUSDORFF: Space = {"kind": "points", "metric": "hausdorff"}
_BOXES = ("interval", "linear")
ROUTES = ("global", "l2", *_BOXES)


@dataclass(frozen=True, eq=False)
class Subject:
    """One input, and the exact function of vectors and logits that a model's file describes.

    Attributes
    ----------
    stages : tuple of Stage
        From the input to the vectors.
    network : Network
        From there on.
    item : Input
        The input.
    """

    stages: tuple[Stage, ...]
    network: Network
    item: Input

    def boxes(self, balls: Balls, of_fields: Boxes) -> list[Box]:
        """Of all diagrams in balls, and fields in boxes, the vectors', and those of each layer.

        Raises
        ------
        ClaimError
            If the network takes vectors of another length.
        """
        lower, upper = box(self.stages, balls, of_fields)
        if lower.shape != self.network.center.shape:
            raise ClaimError("network", "the vectors are not of its length")
        return self.network.boxes(lower, upper)

    def own_boxes(self) -> list[Box]:
        """Of the input as it is."""
        return self.boxes(
            lambda f: {k: moved(own, 0.0) for k, own in self.item.diagrams(f).items()},
            self.item.field,
        )

    def boxes_within(self, space: Space, radius: float) -> list[Box]:
        """Of all inputs within a radius."""
        return self.boxes(
            lambda filtration: self.item.within(filtration, space, radius),
            lambda stage: self.item.field(stage, space, radius),
        )


def check_radius(subject: Subject, space: Space, route: str, radius: float, top: int) -> None:
    """No input that is nearer than the radius has another class than `top`.

    Raises
    ------
    ClaimError
        If that does not follow, by the route that is named.
    """
    if route in ("global", "l2"):
        by = _global_radius if route == "global" else _l2_radius
        derived = by(subject, space, top)
        if not derived >= radius:
            raise ClaimError(
                "radius",
                "the constants give less" if route == "global" else "the constants in ℓ2 give less",
                claimed=repr(radius),
                derived=repr(derived),
            )
        return
    _check_boxes(subject, subject.boxes_within(space, radius), route, repr(radius), top)


def check_count(subject: Subject, threat: str, route: str, radius: float, top: int) -> None:
    """No input that so many changed points make, or fewer, has another class than `top`.

    Raises
    ------
    ClaimError
        If that does not follow, in any of the ways that the route may mean.
    """
    count = int(radius) if radius < 2**53 else 0
    fewest = max(fewest_points(filtration) for filtration, _ in pairs(subject.stages))
    if count != radius or count > len(subject.item.item) - fewest:
        raise ClaimError(
            "radius", "it is no number of points, or too few are left", claimed=repr(radius)
        )
    ways = [_by_ball, *([_by_distance] if threat == "deletion" else [])]
    reasons: list[ClaimError] = []
    for way in ways:
        try:
            return way(subject, threat, route, count, top)
        except ClaimError as reason:
            reasons.append(reason)
    known = [reason for reason in reasons if not isinstance(reason, NotChecked)]
    raise (known or reasons)[0]


def _by_distance(subject: Subject, threat: str, route: str, count: int, top: int) -> None:
    """The cloud moves by at most so much in Hausdorff distance (D6)."""
    moves = deletion_distance(subject.item.item, count)
    if route != "global":
        boxes = subject.boxes_within(_HAUSDORFF, moves)
        return _check_boxes(subject, boxes, route, str(count), top)
    derived = _global_radius(subject, _HAUSDORFF, top)
    if not derived > moves:
        raise ClaimError(
            "radius",
            f"so many deleted points move the cloud by up to {moves!r}, and the constants give "
            f"{derived!r}",
            claimed=str(count),
            derived="less",
        )


def _by_ball(subject: Subject, threat: str, route: str, count: int, top: int) -> None:
    """The diagrams stay in balls; by constants, their centres' margins are larger than that."""
    balls: dict[int, dict[int, tuple[Diagram, float]]] = {}

    def ball(filtration: Stage | None) -> dict[int, tuple[Diagram, float]]:
        if id(filtration) not in balls:
            balls[id(filtration)] = subject.item.after_changes(filtration, count, threat)
        return balls[id(filtration)]

    def no_field(stage: Stage) -> Box:
        raise NotChecked("threat", f"by constants {stage.kind!r} is not known for changed points")

    if route != "global":
        boxes = subject.boxes(
            lambda f: {k: moved(*own) for k, own in ball(f).items()},
            lambda stage: subject.item.changed_field(stage, count, threat),
        )
        return _check_boxes(subject, boxes, route, str(count), top)
    centre = subject.boxes(
        lambda f: {k: moved(own, 0.0) for k, (own, _) in ball(f).items()}, no_field
    )
    gaps = subject.network.gaps(centre[-1], top)[0]
    moves = []
    for filtration, vectorizer in pairs(subject.stages):
        if vectorizer is None:
            continue  # of fields it has been said that nothing is known
        for k in homology_dimensions(vectorizer):
            diagram, reach = ball(filtration)[k]
            space = ORDERED if diagram.ordered else BOTTLENECK
            moves.append(times_up(slopes(vectorizer, k, space), reach))
    features = subject.network.constant(np.concatenate(moves))
    lost = times_up(subject.network.steepness(top), features)
    if not (np.delete(gaps, top) > np.delete(lost, top)).all():
        raise ClaimError(
            "radius",
            "at the centre of what so many changed points make no class is that far ahead",
            claimed=str(count),
            derived="less",
        )


def _global_radius(subject: Subject, space: Space, top: int) -> float:
    """The least margin over how fast it falls, in the adversary's metric (N3)."""
    network = subject.network
    coordinates = by_coordinate(links_to_vectors(subject.stages, space))
    if coordinates.shape != network.center.shape:
        raise ClaimError("network", "the vectors are not of its length")
    lower = network.gaps(subject.own_boxes()[-1], top)[0]
    steepness = times_up(network.steepness(top), network.constant(coordinates))
    with np.errstate(divide="ignore"):
        radii = down(np.delete(lower, top) / np.delete(steepness, top))
    return float(radii.min())


def _l2_radius(subject: Subject, space: Space, top: int) -> float:
    """By all deaths of H0 together (D7), which is known against the Frobenius norm."""
    if space["metric"] != "frobenius":
        raise NotChecked("route", f"'l2' is not known from {space['metric']!r}")
    coordinates = by_coordinate(links_to_vectors(subject.stages, space))
    gaps = subject.network.gaps(subject.own_boxes()[-1], top)[0]
    d = subject.item.item.shape[1]
    return spectral.radius(subject.stages, subject.network, coordinates, d, top, gaps)


def _check_boxes(subject: Subject, boxes: list[Box], route: str, claimed: str, top: int) -> None:
    if route not in _BOXES:
        raise NotChecked("route", f"{route!r} is not known here")
    network = subject.network
    gap = least_gap(network, boxes, top, linear=route == "linear")
    if gap > 0:
        return
    if route == "linear" and any(isinstance(layer, Distances) for layer in network.layers):
        raise NotChecked("route", "distance neurons are not relaxed here, and intervals give less")
    within = f" within {gap!r}" if math.isfinite(gap) else " as near as it likes"
    raise ClaimError(
        "radius",
        f"the box of this size lets another class come{within}",
        claimed=claimed,
        derived="less",
    )

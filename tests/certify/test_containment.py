"""What an adversary can make of a cloud has its vector in the box: sharper than changes of class.

A box that is too small by little seldom costs a prediction, but it leaks. Clouds have ties, doubles
and scales from 1e-200 to 1e150; they are moved by ulps and by half their size, and points of them
are deleted, added and replaced where it hurts. Filtrations of clouds and of their linear images,
with every kind of vectorizer and contour behind them, and fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

import stablerank.diagrams.anisotropic as anisotropic_module
import stablerank.diagrams.filtration as filtration_module
from stablerank import AlphaPersistence, DistanceContour, RipsPersistence, StableRank
from stablerank.certify.inputs import Box
from stablerank.diagrams import (
    AnisotropicPersistence,
    DiagramBall,
    DistanceToMeasurePersistence,
    squeeze,
)
from stablerank.diagrams.filtration import Filtration
from stablerank.fields import CloudVectorizer, DistanceField, SortedNeighbourDistances
from stablerank.ranks import (
    ExponentialContour,
    HalfLengths,
    Landscapes,
    ShiftContour,
    StepDistanceContour,
    StepShiftContour,
    Windows,
)
from stablerank.stability import FROBENIUS, HAUSDORFF, PER_POINT, Space, StabilityError

Cloud = NDArray[np.float64]
Generator = np.random.Generator
Twins = tuple[Box, NDArray[np.float64]]
"""A box, and the vectors of clouds that the adversary can make."""

N_CLOUDS, N_TWINS = 60, 12
MOST_CLOUDS = 1200  # before spoilt code counts as undetected
SCALES = (1.0, 1.0, 1e-200, 1e-20, 1e150)


def leaks(twins: Callable[[Generator], Twins | None], seed: int, n_clouds: int = N_CLOUDS) -> bool:
    """Whether some cloud that the adversary can make has a vector outside of the box."""
    rng = np.random.default_rng(seed)
    judged = 0
    for _ in range(n_clouds):
        made = twins(rng)
        if made is None:
            continue
        (lower, upper), vectors = made
        if not ((lower.numpy() <= vectors) & (vectors <= upper.numpy())).all():  # NaN leaks, too
            return True
        judged += len(vectors)
    assert judged > n_clouds  # most clouds had some
    return False


def moved(name: str, source: Space) -> Callable[[Generator], Twins | None]:
    """Clouds whose points are moved by at most ε in that metric, from an ulp to half the size."""

    def twins(rng: Generator) -> Twins | None:
        scale, filtration, vectorizer, cloud = _subject(name, rng)
        share = float(rng.choice([1e-16, 1e-12, 1e-6, 1e-3, 0.05, 0.4]))
        clouds = _moved_clouds(cloud, share, scale, source, rng)
        if not clouds:
            return None
        ball = filtration.bounds([cloud], share * scale, source=source)
        return vectorizer.bounds(ball), vectorizer.transform(filtration.transform(clouds))

    return twins


def changed(name: str, threat: Any) -> Callable[[Generator], Twins | None]:
    """Clouds of which some points are deleted, added or replaced."""

    def twins(rng: Generator) -> Twins | None:
        scale, filtration, vectorizer, cloud = _subject(name, rng)
        most = len(cloud) - filtration.fewest_points
        if most < 1:
            return None
        count = int(rng.integers(1, min(most, 6) + 1))
        try:
            ball = filtration.bounds_points([cloud], count, threat=threat)
        except StabilityError:  # too few points are left for any bound
            return None
        clouds = [_changed(cloud, count, threat, scale, rng) for _ in range(N_TWINS)]
        return vectorizer.bounds(ball), vectorizer.transform(filtration.transform(clouds))

    return twins


def moved_in(name: str, source: Space) -> Callable[[Generator], Twins | None]:
    """As :func:`moved`, for fields, which need no diagrams."""

    def twins(rng: Generator) -> Twins | None:
        scale, cloud = _scaled_cloud(rng)
        field = _field(name, source, scale, cloud, rng).fit([cloud])
        share = float(rng.choice([1e-16, 1e-12, 1e-6, 1e-3, 0.05, 0.4]))
        clouds = _moved_clouds(cloud, share, scale, source, rng)
        if not clouds:
            return None
        return field.bounds([cloud], share * scale, source=source), field.transform(clouds)

    return twins


def changed_in(name: str, threat: Any) -> Callable[[Generator], Twins | None]:
    """As :func:`changed`, for fields, which need no diagrams."""

    def twins(rng: Generator) -> Twins | None:
        scale, cloud = _scaled_cloud(rng)
        field: Any = _field(name, PER_POINT, scale, cloud, rng).fit([cloud])
        most = len(cloud) - field.fewest_points
        if most < 1:
            return None
        count = int(rng.integers(1, min(most, 6) + 1))
        try:
            box = field.bounds_points([cloud], count, threat=threat)
        except StabilityError:
            return None
        clouds = [_changed(cloud, count, threat, scale, rng) for _ in range(N_TWINS)]
        return box, field.transform(clouds)

    return twins


CASES = {
    "alpha, hausdorff": moved("alpha", HAUSDORFF),
    "alpha, frobenius": moved("alpha", FROBENIUS),
    "alpha, deletion": changed("alpha", "deletion"),
    "Rips, hausdorff": moved("Rips", HAUSDORFF),
    "Rips, frobenius": moved("Rips", FROBENIUS),
    "Rips, deletion": changed("Rips", "deletion"),
    "measure, per point": moved("measure", PER_POINT),
    "measure, frobenius": moved("measure", FROBENIUS),
    "measure, deletion": changed("measure", "deletion"),
    "measure, points": changed("measure", "points"),
    "images under alpha, hausdorff": moved("images under alpha", HAUSDORFF),
    "images under alpha, frobenius": moved("images under alpha", FROBENIUS),
    "images under alpha, deletion": changed("images under alpha", "deletion"),
    "images under Rips, hausdorff": moved("images under Rips", HAUSDORFF),
    "images under measure, per point": moved("images under measure", PER_POINT),
    "images under measure, frobenius": moved("images under measure", FROBENIUS),
    "images under measure, points": changed("images under measure", "points"),
}
FIELDS = {
    "distances, per point": moved_in("distance", PER_POINT),
    "distances, hausdorff": moved_in("distance", HAUSDORFF),
    "measure without persistence, per point": moved_in("measure", PER_POINT),
    "measure without persistence, frobenius": moved_in("measure", FROBENIUS),
    "neighbours, per point": moved_in("neighbours", PER_POINT),
    "neighbours, frobenius": moved_in("neighbours", FROBENIUS),
}
CASES |= FIELDS | {
    "distances, points": changed_in("distance", "points"),
    "distances, deletion": changed_in("distance", "deletion"),
    "measure without persistence, points": changed_in("measure", "points"),
    "measure without persistence, deletion": changed_in("measure", "deletion"),
}


@pytest.mark.parametrize("name", CASES)
def test_no_vector_leaks(name: str, seed: int) -> None:
    assert not leaks(CASES[name], seed)


# The law can fail.


def _one_neighbour_nearer(o: Any) -> Any:
    return lambda cloud, most: np.array([0.0, *o(cloud, most)])[:most]


def _one_rank_less(o: Any) -> Any:
    return lambda self, clouds, n_changes, threat: o(self, clouds, n_changes - 1, threat)


def _one_change_less(o: Any) -> Any:
    return lambda self, X, n_changes, *, threat: o(self, X, n_changes - 1, threat=threat)


SPOILT = {
    "alpha, deletion": (filtration_module, "deletion_distances", _one_neighbour_nearer),
    "Rips, deletion": (filtration_module, "deletion_distances", _one_neighbour_nearer),
    "measure, points": (DistanceToMeasurePersistence, "_changed_fields", _one_rank_less),
    "measure, deletion": (DistanceToMeasurePersistence, "_changed_fields", _one_rank_less),
    "images under measure, points": (
        DistanceToMeasurePersistence,
        "_changed_fields",
        _one_rank_less,
    ),
    "distances, points": (DistanceField, "bounds_points", _one_change_less),
    "distances, deletion": (DistanceField, "bounds_points", _one_change_less),
    "measure without persistence, points": (DistanceField, "bounds_points", _one_change_less),
}


@pytest.mark.parametrize("name", SPOILT)
def test_bounds_of_counted_points_that_are_too_small_leak(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, what, spoil = SPOILT[name]
    monkeypatch.setattr(where, what, spoil(getattr(where, what)))
    assert leaks(CASES[name], seed, MOST_CLOUDS)


@pytest.mark.parametrize("name", ["alpha, hausdorff", "Rips, hausdorff", "measure, per point"])
def test_reaches_that_are_too_small_leak(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Filtration.ball

    def smaller(self: Filtration, *arguments: Any, **settings: Any) -> DiagramBall:
        ball = whole(self, *arguments, **settings)
        return ball.with_reach({k: 0.4 * reach for k, reach in ball.reach.items()})

    monkeypatch.setattr(Filtration, "ball", smaller)
    assert leaks(CASES[name], seed, MOST_CLOUDS)


@pytest.mark.parametrize("kind", ["alpha, hausdorff", "Rips, hausdorff", "measure, per point"])
def test_images_that_are_said_to_move_no_further_than_points_leak(
    kind: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anisotropic_module, "operator_norm", lambda matrix: 1.0)
    assert leaks(CASES[f"images under {kind}"], seed, MOST_CLOUDS)


@pytest.mark.parametrize("name", FIELDS)
def test_fields_that_are_said_to_move_half_as_far_leak(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = CloudVectorizer.vector_box

    def smaller(
        self: CloudVectorizer, vectors: Any, largest: Any, epsilon: Any, **rest: Any
    ) -> Any:
        return whole(self, vectors, largest, 0.5 * np.asarray(epsilon), **rest)

    monkeypatch.setattr(CloudVectorizer, "vector_box", smaller)
    assert leaks(CASES[name], seed, MOST_CLOUDS)


def _scaled_cloud(rng: Generator) -> tuple[float, Cloud]:
    scale, d = float(rng.choice(SCALES)), int(rng.choice([2, 2, 3]))
    return scale, scale * _cloud(rng, d, int(rng.integers(4, 26)))


def _subject(name: str, rng: Generator) -> tuple[float, Filtration, Any, Cloud]:
    """A scale, a fitted filtration, a vectorizer fitted behind it, and a cloud of that scale."""
    scale, cloud = _scaled_cloud(rng)
    *images, kind = name.split("images under ")
    filtration = _filtration(kind, scale, cloud, rng)
    if images:
        filtration = AnisotropicPersistence(filtration, _matrix(cloud.shape[1], rng))
    diagrams = filtration.fit([cloud]).transform([cloud])
    vectorizers = list(_vectorizers(scale))
    return scale, filtration, vectorizers[rng.integers(len(vectorizers))].fit(diagrams), cloud


def _filtration(name: str, scale: float, cloud: Cloud, rng: Generator) -> Filtration:
    if name == "alpha":
        return AlphaPersistence()
    if name == "Rips":
        return RipsPersistence()
    return DistanceToMeasurePersistence(
        int(rng.integers(1, min(len(cloud), 8) + 1)),
        cap=0.5 * scale if rng.random() < 0.4 else None,
        **_grid(scale, cloud.shape[1], rng),
    )


def _grid(scale: float, d: int, rng: Generator) -> dict[str, Any]:
    return {
        "q": 1 if rng.random() < 0.5 else 2,
        "resolution": int(rng.integers(3, 9 if d == 2 else 6)),
        "box": ([-1.5 * scale] * d, [1.5 * scale] * d),
        "periodic": bool(rng.random() < 0.35),
    }


def _matrix(d: int, rng: Generator) -> NDArray[np.float64]:
    """It stretches, turns, shrinks, or does all of it."""
    kind = rng.integers(3)
    if kind == 0 and d == 2:
        return squeeze(float(rng.uniform(0, 180)), float(rng.choice([0.2, 0.7])))
    turned = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return turned * 3.0 if kind == 1 else rng.normal(size=(d, d))


def _field(name: str, source: Space, scale: float, cloud: Cloud, rng: Generator) -> CloudVectorizer:
    most = len(cloud) - 1
    ks = [1] if source == HAUSDORFF else [1, int(rng.integers(2, min(most, 8) + 1))]
    if name == "neighbours":
        return SortedNeighbourDistances(ks, blocks=int(rng.integers(1, most + 1)))
    kind: Literal["distance", "measure"] = "measure" if name == "measure" else "distance"
    values: Literal["raw", "sorted"] = "raw" if rng.random() < 0.5 else "sorted"
    blocks = 3 if values == "sorted" and rng.random() < 0.5 else None
    grid = _grid(scale, cloud.shape[1], rng)
    return DistanceField(ks, kind=kind, values=values, blocks=blocks, **grid)


def _vectorizers(scale: float) -> Iterator[Any]:
    yield StableRank(n_ranks=6)
    yield StableRank(p=2.0, n_ranks=5, max_bars=7)
    yield HalfLengths(6)
    yield Landscapes(positions=np.linspace(0, 1.5, 6) * scale, n_levels=4)
    yield Windows(windows=np.array([[0.1, 0.6, 0.5], [0.0, 0.4, 0.4]]) * scale, n_levels=4)
    mixture = [0.3 * scale], [0.2 * scale], [0.3 * scale]
    edges = [0.2 * scale, 0.5 * scale]
    for contour in (
        DistanceContour(*mixture, floor=0.2),
        ShiftContour(*mixture, floor=0.2),
        ExponentialContour(start=0.1 * scale, rate=2.0),
        StepDistanceContour(edges, steps=[0.3, 2.0, 0.0]),
        StepShiftContour(edges, steps=[2.0, 0.5, 1.0]),
    ):
        yield StableRank(p=3.0, n_ranks=4, max_bars=9, contour=contour)
        yield StableRank(n_ranks=5, contour=contour)


def _cloud(rng: Generator, d: int, n: int) -> Cloud:
    kind = rng.integers(5)
    if kind == 0:
        return rng.normal(size=(n, d))
    if kind == 1:  # a shell
        cloud = rng.normal(size=(n, d))
        return cloud / np.linalg.norm(cloud, axis=1, keepdims=True) + 0.05 * rng.normal(size=(n, d))
    if kind == 2:  # ties
        return rng.integers(0, 4, size=(n, d)).astype(np.float64)
    if kind == 3:  # doubles
        return np.repeat(rng.normal(size=((n + 1) // 2, d)), 2, axis=0)[:n]
    flat = 1e-9 * rng.normal(size=(n, d))
    flat[:, 0] = rng.uniform(-1, 1, size=n)
    return flat


def _moved_clouds(
    cloud: Cloud, share: float, scale: float, source: Space, rng: Generator
) -> list[Cloud]:
    clouds = [
        twin
        for twin in (_displaced(cloud, share, scale, source, rng) for _ in range(N_TWINS))
        if _displacement(cloud, twin, scale, source) <= share
    ]
    if source == HAUSDORFF:  # a point of another cloud may stand there twice, or where one was
        clouds += [np.vstack([cloud, twin]) for twin in clouds[:3]]
    return clouds


def _displaced(cloud: Cloud, share: float, scale: float, source: Space, rng: Generator) -> Cloud:
    kind, steps = rng.integers(4), rng.normal(size=cloud.shape)
    if kind == 1:  # from the middle, or towards it
        steps = rng.choice([-1, 1]) * (cloud - cloud.mean(axis=0))
    elif kind == 2:  # two points along the line between them
        i, j = rng.integers(len(cloud), size=2)
        steps = np.zeros(cloud.shape)
        steps[i], steps[j] = cloud[i] - cloud[j], cloud[j] - cloud[i]
    steps = steps / max(float(np.abs(steps).max()), 1e-300)  # squares neither vanish nor overflow
    axis = None if source == FROBENIUS else 1
    norms = np.linalg.norm(steps, axis=axis, keepdims=True)
    unit = np.where(norms > 0, steps / np.where(norms > 0, norms, 1.0), 0.0)
    twin: Cloud = cloud + share * (1 - 1e-9) * scale * unit
    return twin


def _displacement(cloud: Cloud, twin: Cloud, scale: float, source: Space) -> float:
    """In units of the scale, rounded up by far: the sum in `_displaced` may round away from ε."""
    steps = (twin - cloud) / scale  # near enough numbers have an exact difference
    norms = np.linalg.norm(steps, axis=None if source == FROBENIUS else 1)
    return float(np.max(norms)) * (1 + 1e-12)


def _changed(cloud: Cloud, count: int, threat: str, scale: float, rng: Generator) -> Cloud:
    n, d = cloud.shape
    number = int(rng.integers(1, count + 1))
    somewhere = scale * rng.uniform(-1.5, 1.5, size=d)
    place = cloud[rng.integers(n)] if rng.random() < 0.6 else somewhere
    distances = np.abs(cloud - place).max(axis=1)
    around = rng.random() < 0.7
    chosen = (
        np.argsort(distances, kind="stable")[:number] if around else rng.permutation(n)[:number]
    )
    kind = "delete" if threat == "deletion" else rng.choice(["delete", "add", "replace"])
    if kind == "delete":
        return np.delete(cloud, chosen, axis=0)
    far = 50 * scale * rng.normal(size=(number, d))
    new = (np.tile(place, (number, 1)), np.tile(somewhere, (number, 1)), far)[rng.integers(3)]
    if kind == "add":
        return np.vstack([cloud, new])
    replaced = cloud.copy()
    replaced[chosen] = new
    return replaced

"""Gradients of bars against central differences, to a millionth; Rips edges without collapse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gudhi
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stablerank.attack.generators import generated_bars
from stablerank.attack.gradients import bars_with_gradients, flatten
from stablerank.diagrams import (
    AlphaPersistence,
    AnisotropicPersistence,
    CubicalPersistence,
    DistanceToMeasurePersistence,
    LandmarkPersistence,
    RipsPersistence,
    rips,
    squeeze,
)

Array = NDArray[np.float64]
TOLERANCE = 1e-6


def clouds(d: int) -> Callable[[np.random.Generator], list[Array]]:
    return lambda rng: [rng.uniform(-1, 1, size=(n, d)) for n in (14, 9)]


def images(rng: np.random.Generator) -> list[Array]:
    return [rng.normal(size=(7, 6)), rng.normal(size=(5, 8))]


def measure(q: int, d: int) -> DistanceToMeasurePersistence:
    box = ([-1.0] * d, [1.0] * d)
    return DistanceToMeasurePersistence(3, q=q, box=box, resolution=7)


FILTRATIONS: dict[str, tuple[Any, Callable[[np.random.Generator], list[Array]]]] = {
    "alpha in the plane": (AlphaPersistence(), clouds(2)),
    "alpha by GUDHI": (AlphaPersistence(engine="gudhi"), clouds(2)),
    "alpha in space": (AlphaPersistence((0, 1, 2)), clouds(3)),
    "Rips in the plane": (RipsPersistence(), clouds(2)),
    "Rips in space": (RipsPersistence((0, 1, 2)), clouds(3)),
    "cubical": (CubicalPersistence(), images),
    "distance to measure, q = 1": (measure(1, 2), clouds(2)),
    "distance to measure, q = 2": (measure(2, 2), clouds(2)),
    "distance to measure in space": (measure(2, 3), clouds(3)),
    "anisotropic alpha": (AnisotropicPersistence(AlphaPersistence(), squeeze(30, 0.6)), clouds(2)),
    "anisotropic Rips": (AnisotropicPersistence(RipsPersistence(), squeeze(70, 0.5)), clouds(2)),
    "landmarks of alpha": (LandmarkPersistence(AlphaPersistence(), (8, 0, 3, 4, 7, 2)), clouds(2)),
    "landmarks of Rips": (LandmarkPersistence(RipsPersistence(), (8, 0, 3, 4, 7, 2)), clouds(2)),
}


def excess(name: str, seed: int, spoil: float = 1.0) -> float:
    """How far slopes are beside central differences at worst, relative, less the tolerance.

    Along directions that have a good part of the gradient. Those along which a tie is crossed are
    left out: there the two one-sided quotients differ by far more than curvature makes them.
    """
    filtration, make = FILTRATIONS[name]
    rng = np.random.default_rng(seed)
    inputs = make(rng)
    on_pixels = isinstance(filtration, CubicalPersistence)
    rows, offsets = flatten([x.reshape(-1, 1) if on_pixels else x for x in inputs])
    shapes = [x.shape for x in inputs]
    tensor = torch.tensor(rows, requires_grad=True)
    bars = bars_with_gradients(filtration.fit(inputs), tensor, offsets, shapes)
    weights = {k: rng.uniform(0.5, 1.5, size=(*b.shape, 2)) for k, (b, _) in bars.items()}
    total = sum(
        (torch.stack(ends, dim=-1) * torch.from_numpy(weights[k])).sum() for k, ends in bars.items()
    )
    (gradient,) = torch.autograd.grad(total, tensor)
    slopes = spoil * gradient.numpy()

    def value(moved: Array) -> float:
        parts = np.split(moved, offsets[1:-1])
        diagrams = filtration.transform([p.reshape(s) for p, s in zip(parts, shapes, strict=True)])
        return sum(float((diagrams.padded(k) * w).sum()) for k, w in weights.items())

    # truncation is of the order h² = 1e-12, rounding 1e-15 / h = 1e-9
    h, here, found = 1e-6, value(rows), []
    for _ in range(6):
        noise = rng.normal(size=rows.shape)
        direction = slopes / np.linalg.norm(slopes) + noise / np.linalg.norm(noise)
        direction /= np.linalg.norm(direction)
        ahead, behind = (value(rows + s * h * direction) for s in (1, -1))
        slope = float((slopes * direction).sum())
        if abs(ahead + behind - 2 * here) / h > 1e-3 * slope:
            continue
        found.append(abs((ahead - behind) / (2 * h) - slope) / slope - TOLERANCE)
    assert len(found) >= 3
    return max(found)


@pytest.mark.parametrize("name", FILTRATIONS)
def test_slopes_are_central_differences_to_a_millionth(name: str, seed: int) -> None:
    assert excess(name, seed) <= 0


@pytest.mark.parametrize("name", FILTRATIONS)
def test_the_law_above_notices_two_millionths(name: str, seed: int) -> None:
    assert excess(name, seed, spoil=1 + 2.5e-6) > 0


# Rips: edges are found in the distance matrix, by lengths that no collapse has changed.


class Collapsed(Exception):
    """Somebody asked for an edge collapse."""


def refuse_collapses(monkeypatch: pytest.MonkeyPatch) -> None:
    ripser = rips.GudhiRips

    def watched(**settings: Any) -> Any:
        if settings.get("num_collapses") != 0:  # by default there is one
            raise Collapsed
        return ripser(**settings)

    def refused(*args: Any, **settings: Any) -> None:
        raise Collapsed

    monkeypatch.setattr(rips, "GudhiRips", watched)
    monkeypatch.setattr(gudhi.SimplexTree, "collapse_edges", refused)
    monkeypatch.setattr(gudhi.RipsComplex, "create_simplex_tree", refused)


@pytest.mark.parametrize("d", [2, 3])
def test_rips_generators_are_never_combined_with_edge_collapse(
    d: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_collapses(monkeypatch)
    points, offsets = flatten(clouds(d)(np.random.default_rng(seed)))
    found = generated_bars(RipsPersistence((0, 1, 2)), points, offsets)
    assert len(found[0].births) > 0
    for k, bars in found.items():
        ends = [(bars.deaths, bars.death_simplices)]
        if k > 0:
            ends.append((bars.births, bars.birth_simplices))
        for values, edges in ends:  # the generator is an edge of that length
            lengths = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
            np.testing.assert_allclose(lengths, values, rtol=1e-14)


def test_a_collapse_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_collapses(monkeypatch)
    watched = rips.GudhiRips
    monkeypatch.setattr(rips, "GudhiRips", lambda **s: watched(**{**s, "num_collapses": 1}))
    points, offsets = flatten(clouds(2)(np.random.default_rng(0)))
    with pytest.raises(Collapsed):
        generated_bars(RipsPersistence(), points, offsets)

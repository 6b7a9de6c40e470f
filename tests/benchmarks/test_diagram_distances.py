"""Sliced Wasserstein and persistence Fisher distances: GUDHI's values, limits, gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gudhi.representations import PersistenceFisherDistance, SlicedWassersteinDistance
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances

from benchmarks.baselines import PersistenceFisher, SlicedWasserstein
from benchmarks.baselines.persistence_fisher import fisher_distance
from stablerank.diagrams import DiagramBatch

METRICS = {"sliced Wasserstein": SlicedWasserstein(1), "Fisher": PersistenceFisher(1, 0.3)}


def make_batch(seed: int, n_clouds: int = 8, n_bars: int = 20) -> DiagramBatch:
    """Diagrams of 1 to 20 bars; the last one is empty."""
    rng = np.random.default_rng(seed)
    diagrams: list[dict[int, Any]] = []
    for _ in range(n_clouds):
        births = rng.random(rng.integers(1, n_bars + 1))
        diagrams.append({1: np.column_stack([births, births + rng.exponential(size=len(births))])})
    diagrams[-1] = {1: np.empty((0, 2))}
    return DiagramBatch.from_diagrams(diagrams)


def all_distances(metric: Any, batch: DiagramBatch) -> NDArray[np.float64]:
    vectors = metric.vectors(batch)
    distances: NDArray[np.float64] = metric.distances(vectors, vectors)
    return distances


def gudhis_sliced_wasserstein(batch: DiagramBatch) -> NDArray[np.float64]:
    diagrams = [batch.diagram(i, 1) for i in range(len(batch))]
    distance = SlicedWassersteinDistance(num_directions=10)
    return np.array([[distance(a, b) for b in diagrams] for a in diagrams])


def with_edges_at_the_projections(batch: DiagramBatch) -> SlicedWasserstein:
    """Bins that end wherever a step function jumps: a difference keeps its sign in each."""
    metric = SlicedWasserstein().fit(batch)
    places = [batch.bars[1] @ matrix for matrix in (metric._lines, metric._diagonals)]
    metric.edges_ = np.sort(np.ascontiguousarray(np.concatenate(places).T), axis=1)
    return metric


def test_sliced_wasserstein_distances_are_gudhis_where_bins_end_at_jumps(seed: int) -> None:
    batch = make_batch(seed)
    found = all_distances(with_edges_at_the_projections(batch), batch)
    np.testing.assert_allclose(found, gudhis_sliced_wasserstein(batch), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("fault", ["directions", "every eighth edge"])
def test_the_comparison_above_can_fail(fault: str, seed: int) -> None:
    batch = make_batch(seed)
    metric = with_edges_at_the_projections(batch)
    if fault == "directions":
        metric._lines = metric._lines * (1 + 1e-6)
    else:
        metric.edges_ = metric.edges_[:, ::8].copy()
    error = np.abs(all_distances(metric, batch) - gudhis_sliced_wasserstein(batch))
    assert error.max() > 1e-9


def test_bins_never_exaggerate_and_converge(seed: int) -> None:
    batch = make_batch(seed)
    exact = gudhis_sliced_wasserstein(batch)
    errors = []
    for n_bins in (4, 16, 64, 256):
        found = all_distances(SlicedWasserstein(n_bins=n_bins).fit(batch), batch)
        assert (found <= exact * (1 + 1e-12) + 1e-15).all()
        errors.append((exact - found).max() / exact.max())
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[3] < 1e-3


def densities(bars: Any, theta: Any, bandwidth: float) -> tuple[Any, Any]:
    """The densities of a diagram, and of its bars on the diagonal, at the points of theta."""
    twins = np.repeat(bars.mean(axis=1, keepdims=True), 2, axis=1)
    return tuple(
        np.exp(-(pairwise_distances(theta, points) ** 2) / (2 * bandwidth**2)).sum(axis=1)
        for points in (bars, twins)
    )


def test_fisher_distances_are_gudhis_at_its_points(seed: int) -> None:
    batch, bandwidth = make_batch(seed), 0.3
    for i in range(len(batch) - 1):
        for j in range(i):
            a, b = batch.diagram(i, 1), batch.diagram(j, 1)
            twins = [np.repeat(d.mean(axis=1, keepdims=True), 2, axis=1) for d in (a, b)]
            theta = np.concatenate([a, b, *twins])
            pair = (*densities(a, theta, bandwidth), *densities(b, theta, bandwidth))
            exact = PersistenceFisherDistance(bandwidth=bandwidth)(a, b)
            # the arccos of a number below 1 by c is the root of 2c
            assert abs(fisher_distance(*pair) - exact) < 1e-9 / exact
            wrong = fisher_distance(pair[0], pair[3], pair[2], pair[1])  # twins of the wrong one
            assert abs(wrong - exact) > 1e-6


def test_fisher_distances_converge_to_the_integral_over_the_plane(seed: int) -> None:
    """A slow reference: densities by their formula on a fine even grid, of births and deaths."""
    batch, bandwidth = make_batch(seed, n_clouds=5), 0.3
    low, high = batch.bars[1].min() - 6 * bandwidth, batch.bars[1].max() + 6 * bandwidth
    axis = np.arange(low, high, bandwidth / 4)
    theta = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    parts = [densities(batch.diagram(i, 1), theta, bandwidth) for i in range(len(batch) - 1)]
    exact = np.array([[fisher_distance(*a, *b) for b in parts] for a in parts])
    apart = ~np.eye(len(exact), dtype=bool)
    errors = []
    for resolution in (8, 32, 128):
        metric = PersistenceFisher(1, bandwidth, resolution).fit(batch)
        found = all_distances(metric, batch[:-1])
        errors.append((np.abs(found - exact) / np.where(apart, exact, 1.0))[apart].max())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.01


@pytest.mark.parametrize("name", METRICS)
def test_axioms_of_the_matrix(name: str, seed: int) -> None:
    batch = make_batch(seed)
    metric = METRICS[name].fit(batch)
    vectors = metric.vectors(batch)
    distances = metric.distances(vectors, vectors)
    assert (np.diag(distances) == 0).all()
    np.testing.assert_array_equal(distances, distances.T)
    assert (distances[~np.eye(len(batch), dtype=bool)] > 0).all()  # the empty one's too
    other = metric.distances(vectors, vectors.copy())
    np.testing.assert_allclose(other, distances, rtol=1e-12, atol=1e-7)
    alone = np.concatenate([metric.vectors(batch[[i]]) for i in range(len(batch))])
    np.testing.assert_allclose(alone, vectors, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", METRICS)
def test_two_empty_diagrams_are_equal(name: str) -> None:
    empty = DiagramBatch.from_diagrams([{1: []}, {1: []}])
    metric = METRICS[name].fit(empty)
    assert (all_distances(metric, empty) == 0).all()


@pytest.mark.parametrize("name", METRICS)
def test_torch_has_the_same_values_and_the_slopes_of_differences(name: str, seed: int) -> None:
    batch = make_batch(seed)
    metric = METRICS[name].fit(make_batch(seed + 1000))  # no bar is at an edge, where slopes jump
    vectors = metric.vectors(batch)
    bars = batch.to_tensor(1)
    births, deaths = bars[..., 0].clone().requires_grad_(), bars[..., 1].clone().requires_grad_()
    computed = metric.from_bars(births, deaths)
    np.testing.assert_allclose(computed.detach().numpy(), vectors, rtol=1e-9, atol=1e-12)
    others = vectors[::-1].copy()  # of 8 clouds none is compared with itself
    distances = metric.distances_with_gradients(computed, others)
    expected = metric.distances(vectors, others)
    # the arccos of a number as near to 1 as rounding can bring it is 1e-8
    np.testing.assert_allclose(distances.detach().numpy(), expected, rtol=1e-9, atol=3e-8)
    rng = np.random.default_rng(seed)
    weights = torch.from_numpy(rng.normal(size=expected.shape) * (expected > 1e-6))
    (distances * weights).sum().backward()
    assert births.grad is not None
    assert deaths.grad is not None
    present = (bars[..., 1] > bars[..., 0]).numpy()
    step = rng.normal(size=(2, *present.shape)) * present
    slope = float((births.grad.numpy() * step[0] + deaths.grad.numpy() * step[1]).sum())
    height = 1e-6

    def value(sign: float) -> float:
        ends = (bars + sign * height * torch.from_numpy(step).permute(1, 2, 0)).unbind(2)
        moved = metric.from_bars(*ends).numpy()
        return float((metric.distances(moved, others) * weights.numpy()).sum())

    difference = (value(1) - value(-1)) / (2 * height)
    assert slope == pytest.approx(difference, rel=1e-5)
    assert abs(slope) > 1e-3

"""Contours that are trained: gradients, the constant held whatever is learned, and freezing."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stablerank.learned.contours import KINDS, LearnableContour
from stablerank.learned.fronts import LearnableRanks
from stablerank.ranks import Contour, StandardContour

Array = NDArray[np.float64]

CONSTANTS = (1.0, 0.3, 7.0, 1e-6)


def some_bars(rng: np.random.Generator, n: int = 30) -> Array:
    births = rng.uniform(0, 2, n)
    return np.column_stack([births, births + rng.exponential(size=n)])


def draw(module: Any, rng: np.random.Generator, size: float) -> None:
    """Whatever an optimizer could have made of the parameters."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.from_numpy(size * rng.normal(size=parameter.shape)))


def learnable(kind: str, bars: Array, constant: float = 1.0, n: int = 6) -> LearnableContour:
    contour: LearnableContour = KINDS[kind](bars, constant, n)
    return contour


def lengths(contour: Contour, births: Any, deaths: Any) -> Array:
    b, d = (torch.tensor(np.array(x), dtype=torch.float64) for x in (births, deaths))
    return contour.lengths(b, d).numpy()


# Closed form.


@pytest.mark.parametrize("kind", ["step", "shift"])
def test_training_begins_with_the_standard_contour_times_the_constant(kind: str, seed: int) -> None:
    bars = some_bars(np.random.default_rng(seed))
    found = lengths(learnable(kind, bars, 3.0).frozen(), *bars.T)
    assert found == pytest.approx(3 * (bars[:, 1] - bars[:, 0]), rel=1e-12)


def test_a_mixture_begins_with_half_of_the_constant_for_its_floor(seed: int) -> None:
    bars = some_bars(np.random.default_rng(seed))
    frozen = KINDS["distance"](bars, 3.0, 5).frozen()
    assert frozen.floor == pytest.approx(1.5, rel=1e-6)
    peaks = [
        w / (s * math.sqrt(2 * math.pi)) for w, s in zip(frozen.weights, frozen.scales, strict=True)
    ]
    assert peaks == pytest.approx([0.3] * 5, rel=1e-5)
    assert all(bars.min() <= mean <= bars.max() for mean in frozen.means)


# The constant is held, exactly.


@pytest.mark.parametrize(("kind", "constant"), [*itertools.product(KINDS, CONSTANTS)])
def test_the_constant_is_what_was_asked_for_whatever_was_learned(
    kind: str, constant: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    for size in (0.0, 0.1, 3.0, 100.0):
        contour = learnable(kind, some_bars(rng), constant)
        draw(contour, rng, size if kind != "distance" else min(size, 3.0))
        frozen = contour.frozen()
        assert constant * (1 - 1e-12) < frozen.constant <= constant
        if kind == "step":
            assert frozen.constant == constant


def excess(contour: Contour, constant: float, bars: Array, rng: np.random.Generator) -> float:
    """How far lengths move beyond the constant times births and deaths, at worst."""
    worst = -math.inf
    for scale in (1e-3, 0.1, 1.0):
        births, deaths = np.repeat(bars, 40, axis=0).T
        moved_b = births + rng.choice([-scale, 0, scale], births.size)
        moved_d = np.maximum(deaths + rng.choice([-scale, 0, scale], deaths.size), moved_b)
        allowed = constant * (np.abs(moved_b - births) + np.abs(moved_d - deaths))
        size = max(np.abs(moved_b).max(), np.abs(moved_d).max())
        gap = np.abs(lengths(contour, births, deaths) - lengths(contour, moved_b, moved_d))
        worst = max(worst, float((gap - allowed - 4 * contour.rounding(size)).max()))
    return worst


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_never_move_further_than_the_constant_and_that_can_fail(
    kind: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    halved = []
    for _ in range(8):
        bars = some_bars(rng)
        contour = learnable(kind, bars, 2.0)
        draw(contour, rng, 0.1)
        assert excess(contour.frozen(), 2.0, bars, rng) <= 0
        halved.append(excess(contour.frozen(), 1.0, bars, rng))
    # the test of the test: some bars lie where the slope is the constant
    assert max(halved) > 0 or kind == "distance"  # whose peaks are not all in one place


@pytest.mark.parametrize("kind", KINDS)
def test_the_constant_is_attained(kind: str) -> None:
    # all of a mixture's peaks in one component, which is steepest at its centre
    bars = np.array([[0.0, 1.0], [0.25, 2.0], [0.5, 4.0]])
    contour: Any = learnable(kind, bars, 2.0)
    with torch.no_grad():
        if kind == "distance":
            contour.shares[3] = 5.0
        else:
            contour.heights[2] += 0.2 if kind == "step" else -0.2
    frozen: Any = contour.frozen()
    if kind == "distance":
        place, step = frozen.means[2], 1e-4 * frozen.scales[2]
    else:
        place, step = np.mean(frozen._ends[1:3]), 1e-3 * np.diff(frozen._ends[1:3])[0]
    slope = lengths(frozen, [place - step], [place + step]) / (2 * step)
    assert slope == pytest.approx(2.0, rel=1e-6)


# Gradients, against differences.


@pytest.mark.parametrize(("kind", "p"), [*itertools.product(KINDS, (1, 2, 3, math.inf))])
def test_gradients_of_learnable_ranks_are_their_differences(kind: str, p: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    bars = some_bars(rng, 7)
    ranks = LearnableRanks(learnable(kind, bars, 1.5, 4), p, 6, None).double()
    draw(ranks, rng, 0.05)
    b, d = torch.from_numpy((bars - ranks.origin) / ranks.unit).T
    weights = torch.from_numpy(rng.normal(size=6))

    def value() -> torch.Tensor:
        return (ranks(b[None], d[None]) @ weights).sum()

    parameters = list(ranks.parameters())
    gradients = torch.autograd.grad(value(), parameters)
    h = 1e-6
    for parameter, gradient in zip(parameters, gradients, strict=True):
        for i in range(parameter.numel()):
            with torch.no_grad():
                parameter[i] += h
                above = value().item()
                parameter[i] -= 2 * h
                below = value().item()
                parameter[i] += h
            # at a maximum of steps the derivative is from one side, but nowhere else
            assert (above - below) / (2 * h) == pytest.approx(
                gradient[i].item(), rel=1e-5, abs=1e-7 * ranks.unit
            )
    assert any(bool((gradient != 0).any()) for gradient in gradients)


# The contract.


@pytest.mark.parametrize(
    ("kind", "unit", "origin"),
    [
        *itertools.product(KINDS, (1.0, 1e-5, 1e6), (0.0, -3.0)),
    ],
)
def test_the_frozen_contour_is_the_one_that_was_trained(
    kind: str, unit: float, origin: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    bars = unit * (some_bars(rng) + origin)
    ranks = LearnableRanks(learnable(kind, bars, 2.0), math.inf, 30, None)
    draw(ranks, rng, 0.1)
    inputs = torch.from_numpy(((bars - ranks.origin) / ranks.unit).astype(np.float32))
    trained = ranks(*inputs.T[:, None]).detach()[0].numpy()
    frozen = np.sort(lengths(ranks.contour.frozen(), *bars.T))[::-1]
    assert trained == pytest.approx(frozen, abs=1e-5 * unit * 10)


@pytest.mark.parametrize("bars", [np.empty((0, 2)), np.full((5, 2), 0.25), [[0.0, 1e-3]]], ids=len)
@pytest.mark.parametrize("kind", KINDS)
def test_few_bars_or_none_make_a_contour_all_the_same(kind: str, bars: Any) -> None:
    frozen = learnable(kind, np.asarray(bars), 2.0, 8).frozen()
    assert 2 * (1 - 1e-12) < frozen.constant <= 2
    ones = lengths(frozen, [0.0, 0.3], [0.0, 0.3])
    assert ones.tolist() == [0.0, 0.0]
    assert lengths(frozen, [0.0], [1.0]) > 0


def test_two_bars_that_differ_by_a_last_place_have_edges_that_increase() -> None:
    bars = np.array([[1.0, 1.0], [1.0, math.nextafter(1, 2)]])
    for kind in ("step", "shift"):
        frozen: Any = learnable(kind, bars, 1.0, 8).frozen()
        assert (np.diff(frozen.edges) > 0).all()
        b, d = bars[1]
        assert lengths(frozen, [b], [d]) <= lengths(StandardContour(), [b], [d]) * (1 + 1e-12)

"""No vector of a diagram in a ball leaves the checker's box, by the package's vectorizers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stablerank import HalfLengths, Landscapes, StableRank, Windows
from stablerank.checker import diagrams, inputs, vectors
from stablerank.checker.file_format import diagram_rows
from stablerank.checker.inputs import Input
from stablerank.checker.model_file import Stage
from stablerank.ranks import PersistenceImages

from .conftest import CONTOURS, space_of, stages_of

Array = NDArray[np.float64]

VECTORIZERS: dict[str, Callable[[], Any]] = {
    "ranks": lambda: StableRank(n_ranks=9),
    "ranks, p=3": lambda: StableRank(p=3.0, n_ranks=5, max_bars=12),
    **{
        f"{name} contour": lambda contour=contour: StableRank(n_ranks=9, contour=contour)
        for name, contour in CONTOURS.items()
    },
    "half lengths": lambda: HalfLengths(9),
    "landscapes": lambda: Landscapes(5, 4),
    "windows": lambda: Windows(5, 4),
    "images": lambda: PersistenceImages(5, tau=0.1),
}


def random_bars(rng: np.random.Generator) -> Array:
    births = rng.uniform(0, 2, size=rng.integers(11))
    return np.column_stack([births, births + rng.exponential(0.5, size=len(births))])


def random_move(rng: np.random.Generator, diagram: Array, epsilon: float, new: int) -> Array:
    """Ends moved by up to ε, short bars left out, and as short ones put in."""
    short = np.diff(diagram)[:, 0] <= 2 * epsilon
    moved = diagram[~(short & (rng.random(len(diagram)) < 0.5))]
    moved = moved + rng.choice([-epsilon, epsilon, 0], size=moved.shape)
    births = rng.uniform(0, 3, size=new)
    lengths = 2 * epsilon * rng.choice([0.3, 1.0], size=new)
    rows = np.concatenate([moved, np.column_stack([births, births + lengths])])
    return rows[rows[:, 1] > rows[:, 0]]


def box_within(stages: tuple[Stage, ...], diagram: Array, epsilon: float) -> tuple[Array, Array]:
    own, space = Input(diagram_rows({1: diagram}), {1}), space_of("bottleneck")
    return vectors.box(stages, lambda filtration: own.within(filtration, space, epsilon), own.field)


def farthest_outside(vectorizer: Any, seed: int) -> float:
    """By how much a vector left the box of its ball at worst, beyond the rounding of both."""
    trials = 40 if getattr(vectorizer, "contour", None) == CONTOURS["shift"] else 150  # it is slow
    rng, worst = np.random.default_rng(seed), -math.inf
    vectorizer.fit([{1: random_bars(rng)} for _ in range(5)])
    stages = stages_of(vectorizer)
    for _ in range(trials):
        diagram, epsilon = random_bars(rng), float(rng.choice([1e-3, 0.02, 0.09]))
        after = random_move(rng, diagram, epsilon, int(rng.integers(5)))
        (vector,) = vectorizer.transform([{1: after}])
        lower, upper = box_within(stages, diagram, epsilon)
        worst = max(worst, float(np.maximum(lower - vector, vector - upper).max()))
    return worst - 1e-13


@pytest.mark.parametrize("name", VECTORIZERS)
def test_no_vector_leaves_its_box(name: str, seed: int) -> None:
    assert farthest_outside(VECTORIZERS[name](), seed) <= 0


@pytest.mark.parametrize("name", VECTORIZERS)
def test_a_smaller_reach_would_let_vectors_out(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = inputs.moved
    monkeypatch.setattr(inputs, "moved", lambda diagram, reach: original(diagram, 0.8 * reach))
    assert farthest_outside(VECTORIZERS[name](), seed) > 0


# those that may appear have weight 0 in images, as long as 2ε is at most 2τ
@pytest.mark.parametrize("name", sorted(set(VECTORIZERS) - {"images"}))
def test_bars_that_appear_have_to_be_shorter(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = inputs.moved

    def halved(diagram: diagrams.Diagram, reach: float) -> diagrams.Bars:
        bars = original(diagram, reach)
        return dataclasses.replace(bars, longest_new=bars.longest_new / 2)

    monkeypatch.setattr(inputs, "moved", halved)
    assert farthest_outside(VECTORIZERS[name](), seed) > 0


def test_images_without_end() -> None:
    """Beyond 2τ any number of bars may appear, and each of them counts."""
    images = PersistenceImages(1, tau=0.1, pixels=[[0.0, 1.0, 1.0]])
    diagram = np.array([[0.0, 1.0]])
    stages = stages_of(images.fit([{1: diagram}]))
    for epsilon, bounded in ((0.0999, True), (0.1001, False)):
        _, upper = box_within(stages, diagram, epsilon)
        assert bool(np.isfinite(upper).all()) is bounded

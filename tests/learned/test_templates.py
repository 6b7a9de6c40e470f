"""Learned templates: 1-Lipschitz whatever was learned, and at most half the length (R4, R5)."""

from __future__ import annotations

import math
import pickle
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone

from stablerank.diagrams import DiagramBatch
from stablerank.diagrams.ball import DiagramBall
from stablerank.learned import LearnedTemplates
from stablerank.learned.fronts import Front
from stablerank.learned.templates import LearnableTemplates, NetworkTemplate
from stablerank.ranks.boxes import BarBoxes
from stablerank.stability import BOTTLENECK, ORDERED_DEATHS, Space, StabilityChain
from stablerank.stage_files import plain_stage, read_stage

Array = NDArray[np.float64]

QUICK: dict[str, Any] = {"width": 6, "hidden": (8,), "max_epochs": 6, "random_state": 0}


def some_bars(rng: np.random.Generator, n: int) -> Array:
    births = rng.uniform(0, 2, n)
    return np.column_stack([births, births + rng.exponential(0.7, n)])


def problem(seed: int = 0) -> tuple[list[dict[int, Array]], NDArray[np.int64]]:
    rng, y = np.random.default_rng(seed), np.arange(40) % 2
    diagrams = []
    for label in y:
        h0 = np.column_stack([np.zeros(5), rng.exponential(size=5)])
        diagrams.append({0: h0, 1: some_bars(rng, 9) + 0.5 * label})
    return diagrams, y


def template(seed: int, n: int = 5, width: int = 8, size: float = 1.0) -> NetworkTemplate:
    """With weights as an optimizer could have made them."""
    rng = np.random.default_rng(seed)
    learnable = LearnableTemplates(some_bars(rng, 20), n, 3, width)
    with torch.no_grad():
        for layer in learnable.net[::2]:
            weight = layer.parametrizations.weight.original
            weight.copy_(torch.from_numpy(rng.normal(size=weight.shape)))
            layer.bias.copy_(torch.from_numpy(size * rng.normal(size=layer.bias.shape)))
    return NetworkTemplate(learnable.frozen(), n, width)


def values(phi: NetworkTemplate, bars: Array) -> Array:
    births, deaths = torch.from_numpy(np.ascontiguousarray(bars.T))
    return phi.values(births, deaths).numpy().T


def exact_values(phi: NetworkTemplate, bar: Array) -> list[Fraction]:
    """The definition, in rational numbers."""
    x = [Fraction(float(value)) for value in bar]
    for layer in phi.layers:
        rows = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
        x = [
            sum((Fraction(w) * v for w, v in zip(row, x, strict=True)), Fraction(b))
            for row, b in rows
        ]
        if layer is not phi.layers[-1]:
            x = [f(x[i : i + 2]) for i in range(0, len(x), 2) for f in (max, min)]
    half = (Fraction(float(bar[1])) - Fraction(float(bar[0]))) / 2
    return [max(Fraction(0), min(half, v)) for v in x]


def test_values_are_those_of_the_definition_up_to_the_rounding_that_is_charged(seed: int) -> None:
    rng, used = np.random.default_rng(seed), 0.0
    for scale in (1e-3, 1.0, 1e6):
        phi = template(seed, size=scale)
        bars = scale * some_bars(rng, 20)
        for bar, found in zip(bars, values(phi, bars), strict=True):
            error = phi.rounding(float(bar.max()))
            for value, exact in zip(found.tolist(), exact_values(phi, bar), strict=True):
                off = abs(float(Fraction(value) - exact))
                assert off <= error
                used = max(used, off / error)
    assert used > 1e-3  # of the right order


def excess(phi: NetworkTemplate, seed: int) -> float:
    """How far values move beyond the maximum norm of (b, d), or exceed half the length."""
    rng, worst = np.random.default_rng(seed), -math.inf
    for scale in (1e-3, 0.1, 1.0):
        bars = some_bars(rng, 500)
        moved = bars + scale * rng.choice([-1.0, 1.0], bars.shape)
        moved[:, 1] = np.maximum(moved[:, 1], moved[:, 0])
        allowed = np.abs(moved - bars).max(axis=1)[:, None]
        gap = np.abs(values(phi, moved) - values(phi, bars)) - allowed
        above = values(phi, bars) - ((bars[:, 1] - bars[:, 0]) / 2)[:, None]
        worst = max(worst, float(gap.max()), float(above.max()))
    return worst - 2 * float(phi.rounding(10.0))


def test_a_template_is_1_lipschitz_and_at_most_half_the_length_and_that_can_fail(seed: int) -> None:
    assert max(excess(template(seed + i), seed) for i in range(10)) <= 0
    broken = [template(seed + i) for i in range(10)]
    for phi in broken:
        for layer in phi.layers:
            layer.weight.mul_(3.0)
    assert max(excess(phi, seed) for phi in broken) > 0


def test_boxes_hold_what_is_computed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    phi, outside_of_half = template(seed), 0
    bars, r = some_bars(rng, 50), rng.choice([1e-6, 0.01, 0.5], 50)
    births, deaths = torch.from_numpy(bars.T[:, None].copy())
    reach = torch.from_numpy(r)[None]
    boxes = BarBoxes(
        births - reach, births + reach, deaths - reach, deaths + reach, torch.zeros(1), 0.0, True
    )
    lower, upper = (end[0].numpy().T for end in phi.bounds(boxes))
    for kind in range(300):
        sign = rng.choice([-1.0, 1.0], bars.shape) if kind % 2 else rng.uniform(-1, 1, bars.shape)
        moved = bars + r[:, None] * sign
        living = moved[:, 1] >= moved[:, 0]
        found = values(phi, moved)
        assert (lower <= found)[living].all()
        assert (found <= upper)[living].all()
        center, quarter = (lower + upper) / 2, (upper - lower) / 4
        outside_of_half += int((np.abs(found - center) > quarter)[living].sum())
    assert outside_of_half > 0
    # never wider than the constant says, but for rounding
    middle = values(phi, bars)
    rounding = 1e-12 * (1 + np.abs(bars).max())
    assert (upper - middle <= r[:, None] + rounding).all()
    assert (middle - lower <= r[:, None] + rounding).all()


def test_short_bars_are_no_higher_than_the_reach(seed: int) -> None:
    rng, phi = np.random.default_rng(seed), template(seed)
    reach = torch.tensor([0.25])
    births = rng.uniform(0, 3, 200)
    found = values(phi, np.column_stack([births, births + 0.5]))
    assert (found <= phi.short_bars(reach, 0.0).numpy()).all()


@pytest.fixture(scope="module")
def fitted() -> LearnedTemplates:
    return LearnedTemplates(6, 5, **QUICK).fit(*problem())


def test_the_frozen_templates_are_those_that_were_trained(seed: int) -> None:
    diagrams, _ = problem(seed)
    for shift, scale in ((0.0, 1.0), (5.0, 1e-4), (-2.0, 1e5)):
        batch = DiagramBatch.from_diagrams(
            [{1: scale * (diagram[1] + shift)} for diagram in diagrams]
        )
        torch.manual_seed(seed)
        part = LearnableTemplates(batch.bars[1], 4, 6, 8)
        front = Front({1: part})
        trained = front(front.inputs(batch)).detach().numpy()
        stage = LearnedTemplates(4, 6, width=8)
        stage.homology_dimensions_, stage.n_levels_ = (1,), {1: 6}
        stage.weights_, stage.n_features_out_ = {1: part.frozen()}, 24
        assert trained == pytest.approx(stage.transform(batch), abs=1e-5 * scale)


def test_gradients_are_differences(fitted: LearnedTemplates, seed: int) -> None:
    rng = np.random.default_rng(seed)
    bars = {
        k: torch.from_numpy(some_bars(rng, 4)).T[:, None].contiguous().requires_grad_()
        for k in (0, 1)
    }
    weights = torch.from_numpy(rng.normal(size=60))

    def value() -> torch.Tensor:
        return (fitted.from_bars({k: (b[0], b[1]) for k, b in bars.items()})[0] @ weights).sum()

    gradients = torch.autograd.grad(value(), list(bars.values()))
    for own, gradient in zip(bars.values(), gradients, strict=True):
        for index in np.ndindex(*own.shape):
            with torch.no_grad():
                own[index] += 1e-6
                above = value().item()
                own[index] -= 2e-6
                below = value().item()
                own[index] += 1e-6
            assert (above - below) / 2e-6 == pytest.approx(gradient[index].item(), abs=1e-6)


def test_diagrams_and_their_vectors(fitted: LearnedTemplates, seed: int) -> None:
    rng = np.random.default_rng(seed)
    diagrams, _ = problem()
    batch = DiagramBatch.from_diagrams(diagrams)
    source = Space("product", parts=(("H0", ORDERED_DEATHS), ("H1", BOTTLENECK)))
    constants = StabilityChain(fitted.stability(source)).constants
    assert (constants == 1).all()
    before, farthest = fitted.transform(batch), 0.0
    for r in (1e-3, 0.1):
        reach = dict.fromkeys((0, 1), np.full(40, r * (1 + 1e-9)))
        ball = DiagramBall(batch, reach, {0: ORDERED_DEATHS, 1: BOTTLENECK})
        lower, upper = (end.numpy() for end in fitted.bounds(ball))
        for _ in range(130):
            moved = []
            for diagram in diagrams:
                h0 = diagram[0] + r * rng.choice([-1.0, 1.0], (5, 1)) * [0, 1]
                h1 = diagram[1] + r * rng.choice([-1.0, 1.0], (9, 2))
                new = np.add(rng.uniform(0, 3, (4, 1)), [0, 2 * r])
                h0, h1 = np.maximum(h0, 0), np.concatenate([np.maximum(h1, 0), new])
                moved.append({0: h0, 1: h1[h1[:, 1] >= h1[:, 0]]})
            vectors = fitted.transform(moved)
            assert (lower <= vectors).all()
            assert (vectors <= upper).all()
            assert (np.abs(vectors - before) <= r + 1e-12).all()
            farthest = max(farthest, float(np.abs(vectors - before).max() / r))
    assert farthest > 0.5


def test_a_clouds_bits_do_not_depend_on_those_beside_it(fitted: LearnedTemplates) -> None:
    diagrams, _ = problem(3)
    together = fitted.transform(diagrams)
    alone = np.concatenate([fitted.transform([diagram]) for diagram in diagrams])
    assert np.array_equal(together, alone)


def test_seeds_clone_pickle_and_files(fitted: LearnedTemplates) -> None:
    diagrams, y = problem()
    before = torch.random.get_rng_state()
    again = clone(fitted).fit(diagrams, y)
    assert torch.equal(torch.random.get_rng_state(), before)
    vectors = fitted.transform(diagrams)
    for same in (again, pickle.loads(pickle.dumps(fitted)), read_stage(plain_stage(fitted))):
        assert np.array_equal(same.transform(diagrams), vectors)
    other = clone(fitted).set_params(random_state=1).fit(diagrams, y)
    assert not np.array_equal(other.transform(diagrams), vectors)
    assert fitted.get_feature_names_out()[-1] == "H1_template5_level4"


def test_diagrams_without_bars() -> None:
    nothing = [{1: np.empty((0, 2))}] * 3
    stage = LearnedTemplates(2, 3, **QUICK).fit(nothing)
    assert stage.transform(nothing).tolist() == [[0.0] * 6] * 3
    diagrams, y = problem()
    diagrams[0] = {0: np.empty((0, 2)), 1: np.empty((0, 2))}
    assert not LearnedTemplates(2, 3, **QUICK).fit_transform(diagrams, y)[0].any()


def test_weights_that_are_no_templates_are_refused(fitted: LearnedTemplates) -> None:
    plain = plain_stage(fitted)
    spoilt = fitted.weights_[1].copy()
    spoilt[0] += 1.0
    for weights, message in (
        (spoilt, "layer 0 has a row of ℓ1 norm"),
        (spoilt[:-1], "expected (102,) finite numbers"),
        (np.full(102, np.nan), "expected (102,) finite numbers"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            NetworkTemplate(weights, 6, 6)
    values = plain["fitted"]["weights_"]["items"][1][1]["array"]["values"]
    values[0] = (2.0).hex()
    with pytest.raises(ValueError, match="norm 2"):
        read_stage(plain)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_templates": 0}, "n_templates=0: expected an integer >= 1"),
        ({"width": 5}, "width=5: expected an even number"),
        ({"n_levels": 0}, "n_levels=0: expected integers >= 1"),
        ({"loss": "box"}, "loss='box': expected one of"),
        ({"hidden": (3,)}, "hidden=(3,): expected positive integers, multiples of 2"),
    ],
)
def test_bad_parameters_are_named(settings: dict[str, Any], message: str) -> None:
    stage = LearnedTemplates(**{**QUICK, **settings})
    with pytest.raises(ValueError, match=re.escape(message)):
        stage.fit(*problem())
    assert not hasattr(stage, "weights_")

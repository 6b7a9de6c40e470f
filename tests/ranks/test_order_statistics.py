"""Landscapes, windows and half lengths: by hand, by a slow reference, and their constants (R4)."""

from __future__ import annotations

import functools
import itertools
import math
import pickle
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import gudhi.hera
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks

from stablerank.diagrams.batch import DiagramBatch
from stablerank.ranks import HalfLengths, Landscapes, OrderStatistics, Windows, boxes
from stablerank.stability import (
    BOTTLENECK,
    HAUSDORFF,
    LINF,
    ORDERED_DEATHS,
    Space,
    StabilityChain,
    StabilityError,
)

Array = NDArray[np.float64]

INF = math.inf
POSITIONS = [0.0, 0.2, 0.5, 1.0, 1.7, 3.0]
WINDOWS = [[0.0, 0.5, 0.25], [0.0, 1.0, 2.0], [0.5, 1.5, 0.5], [1.0, 1.25, 1.0], [2.0, 2.5, 0.4]]
EVERY: dict[str, OrderStatistics] = {
    "half lengths": HalfLengths(n_levels=9),
    "landscapes": Landscapes(positions=POSITIONS, n_levels=9),
    "windows": Windows(windows=WINDOWS, n_levels=9),
}


def random_diagram(rng: np.random.Generator, n_bars: int) -> Array:
    births = rng.uniform(0, 2, n_bars)
    return np.column_stack([births, births + rng.exponential(size=n_bars)])


def random_batch(
    rng: np.random.Generator, n_clouds: int, most: int
) -> tuple[list[dict[int, Array]], DiagramBatch]:
    clouds = [
        {k: random_diagram(rng, int(rng.integers(0, most + 1))) for k in (0, 1)}
        for _ in range(n_clouds)
    ]
    return clouds, DiagramBatch.from_diagrams(clouds)


# Closed form.


def test_half_lengths_by_hand() -> None:
    vectors = HalfLengths(n_levels={0: 3, 1: 1}).fit_transform([{0: [[0, 3], [0, 4]], 1: [[1, 2]]}])
    assert vectors.tolist() == [[2, 1.5, 0, 0.5]]


def test_landscapes_by_hand() -> None:
    # t = 1: (0, 3) has min(1, 2), (0, 1.5) has min(1, 0.5), (2, 4) is not yet born; t = 3: the
    # first has just died, (2, 4) is at its midpoint; t = 5 is after all of them
    bars = {1: [[0, 3], [0, 1.5], [2, 4]]}
    vectors = Landscapes(positions=[1, 3, 5], n_levels=2).fit_transform([bars])
    assert vectors.tolist() == [[1, 0.5, 1, 0, 0, 0]]


def test_windows_by_hand() -> None:
    # centre (1, 3), size 2: (1, 3) itself has its half length 1; (0, 4) is 1 away and has
    # min(2, 2 - 1); (1, 1.5) is 1.5 away: min(0.25, 0.5); (5, 9) is outside
    bars = {1: [[1, 3], [0, 4], [1, 1.5], [5, 9]]}
    vectors = Windows(windows=[[1, 3, 2]], n_levels=4).fit_transform([bars])
    assert vectors.tolist() == [[1, 1, 0.25, 0]]


def test_positions_are_quantiles_of_midpoints() -> None:
    # midpoints 1, 2, 3, 4, 5: the quantiles 1/4 and 3/4 are 2 and 4
    diagrams = [{1: [[m - 1, m + 1] for m in (1, 4, 2)]}, {1: [[2, 4]]}, {1: [[4, 6]]}]
    fitted = Landscapes(n_positions=2, n_levels=1).fit(diagrams)
    assert fitted.positions_[1].tolist() == [2, 4]
    assert Landscapes(n_positions=2).fit([{1: []}]).positions_[1].tolist() == [0, 0]


def test_windows_lie_on_quantiles_of_births_and_lengths() -> None:
    # two parts: births 0, 1, 2 with lengths 2, 4, 6, and births 10, 11, 12 with lengths 20, 40, 60;
    # the quantiles 1/4 and 3/4 of 2, 4, 6 are 3 and 5
    lengths = [2, 4, 6, 20, 40, 60]
    bars = [[b, b + length] for b, length in zip((0, 1, 2, 10, 11, 12), lengths, strict=True)]
    fitted = Windows(n_windows=4).fit([{1: bars[:4]}, {1: bars[4:]}])
    assert fitted.windows_[1].tolist() == [[1, 4, 1.5], [1, 6, 2.5], [11, 41, 15], [11, 61, 25]]
    # all births equal: parts of the lengths themselves
    fitted = Windows(n_windows=4).fit([{0: [[0, d] for d in (6, 2, 4, 60, 20, 40)]}])
    assert fitted.windows_[0][:, 1].tolist() == [3, 5, 30, 50]
    for n_windows, n_bars in itertools.product((1, 2, 3, 5, 32), (0, 1, 2, 50)):
        bars_ = random_diagram(np.random.default_rng(0), n_bars)
        windows = Windows(n_windows=n_windows, n_levels=2).fit([{1: bars_}]).windows_[1]
        assert windows.shape == (n_windows, 3)
        assert ((windows[:, 2] > 0) == (n_bars > 0)).all()


# A slow reference.


def exact_value(kind: str, column: int, b: Fraction, d: Fraction) -> Fraction:
    """R4 in rational numbers."""
    if kind == "half lengths":
        return (d - b) / 2
    if kind == "landscapes":
        t = Fraction(POSITIONS[column])
        return max(min(t - b, d - t), Fraction(0))
    cb, cd, s = map(Fraction, WINDOWS[column])
    return max(min((d - b) / 2, s - max(abs(b - cb), abs(d - cd))), Fraction(0))


def exact_vector(kind: str, n_columns: int, bars: Any, n_levels: int) -> list[Fraction]:
    vector = []
    for column in range(n_columns):
        values = sorted((exact_value(kind, column, b, d) for b, d in bars), reverse=True)
        vector += (values + [Fraction(0)] * n_levels)[:n_levels]
    return vector


def rounding_used(
    kind: str, diagram: Array, *, relative: float = 0.0, reach: float = 0.0, seed: int = 0
) -> float:
    """The largest error of a coordinate, in units of what `rounding` grants it."""
    rng = np.random.default_rng(seed)
    stage = EVERY[kind].fit([{1: diagram}])
    granted = stage.rounding([{1: diagram}], relative, np.array([reach]))[0]
    exact = diagram + reach
    wrong = np.sort(exact * (1 + relative * rng.choice([-1, 1], exact.shape)), axis=1)
    found = stage.transform([{1: wrong}])[0]
    bars = [(Fraction(b), Fraction(d)) for b, d in exact.tolist()]
    expected = exact_vector(kind, len(found) // 9, bars, 9)
    errors = [abs(Fraction(a) - b) for a, b in zip(found.tolist(), expected, strict=True)]
    return float(max(errors) / Fraction(granted))


@pytest.mark.parametrize("relative", [0.0, 1e-15, 1e-9, 0.1])
@pytest.mark.parametrize("kind", EVERY)
def test_vectors_are_exact_up_to_the_rounding_that_is_granted(
    kind: str, relative: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    for n_bars, shift, reach in itertools.product((0, 1, 20), (0, -3, 1000), (0.0, 2.0)):
        diagram = random_diagram(rng, n_bars) + shift
        assert rounding_used(kind, diagram, relative=relative, reach=reach, seed=seed) <= 1


def test_rounding_is_no_larger_than_it_need_be() -> None:
    # the half length of (1, 2), errors r and 2r, is off by 3r/2; 2r (1 + 4r) is granted
    diagram = np.array([[1.0, 2.0]])
    stage = HalfLengths(n_levels=1).fit([{1: diagram}])
    granted = stage.rounding([{1: diagram}], 0.01, np.zeros(1))[0]
    assert granted == pytest.approx(0.0208, rel=1e-9)
    # and for exact bars, a few units in the last place
    for one in EVERY.values():
        granted = one.fit([{1: diagram}]).rounding([{1: diagram}], 0.0, np.zeros(1))[0]
        assert 0 < granted < 1e-15


@pytest.mark.parametrize("kind", EVERY)
def test_rounding_would_be_exceeded_if_the_diagrams_error_were_forgotten(kind: str) -> None:
    diagram = random_diagram(np.random.default_rng(0), 60)
    stage = EVERY[kind].fit([{1: diagram}])
    granted = [stage.rounding([{1: diagram}], r, np.zeros(1))[0] for r in (0.0, 1e-9)]
    assert rounding_used(kind, diagram, relative=1e-9) * granted[1] > granted[0]


# The constants.


Pair = tuple[Array, Array]


@functools.lru_cache(maxsize=2)
def random_pairs(seed: int) -> list[Pair]:
    """Diagrams, and near copies where bars were moved, and short ones come and go."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(800):
        first = random_diagram(rng, int(rng.integers(0, 13)))
        size = rng.choice([1e-4, 1e-2, 0.3])
        # all bars longer, all in one direction, or each in its own
        signs = [np.array([-1, 1]), np.array([1, 1]), rng.uniform(-1, 1, first.shape)]
        second = first + size * signs[rng.integers(3)]
        second = np.maximum(second, 0)
        second = second[second[:, 1] > second[:, 0]]
        births = rng.choice([*POSITIONS, 1.2], rng.integers(0, 3))
        noise = np.column_stack([births, births + 2 * size])
        pairs.append((first, np.concatenate([second, noise])))
    return pairs


def wasserstein(a: Array, b: Array, p: float, q: float) -> float:
    """Exact up to rounding: a linear assignment; (b, d) is l/2 * 2^(1/q) from the diagonal."""
    n, m = len(a), len(b)
    cost = np.zeros((n + m, m + n))
    cost[:n, :m] = np.linalg.norm(a[:, None] - b[None, :], ord=q, axis=2)
    cost[:n, m:] = ((a[:, 1] - a[:, 0]) / 2 * 2 ** (1 / q))[:, None]
    cost[n:, :m] = ((b[:, 1] - b[:, 0]) / 2 * 2 ** (1 / q))[None, :]
    return float((cost**p)[linear_sum_assignment(cost**p)].sum() ** (1 / p))


def ordered_deaths(a: Array, b: Array) -> float:
    deaths = np.zeros((2, max(len(a), len(b))))
    for row, diagram in zip(deaths, (a, b), strict=True):
        row[: len(diagram)] = np.sort(diagram[:, 1])[::-1]
    return float(np.abs(deaths[0] - deaths[1]).max(initial=0.0))


def at_birth_zero(diagram: Array) -> Array:
    return np.column_stack([np.zeros(len(diagram)), diagram[:, 1]])


SPACES: dict[str, tuple[Space, Callable[[Array, Array], float]]] = {
    "bottleneck": (BOTTLENECK, lambda a, b: gudhi.hera.bottleneck_distance(a, b, 0.0)),
    "ordered deaths": (ORDERED_DEATHS, ordered_deaths),
    **{
        f"W_{p} on l_{q}": (
            Space("diagram", "wasserstein", p=p, q=q),
            functools.partial(wasserstein, p=p, q=q),
        )
        for p, q in ((1, 1), (2, 1), (2, 2), (4, INF))
    },
}


def constant_of(stage: OrderStatistics, space: Space) -> float:
    constants = StabilityChain(stage.stability(space)).constants
    if constants is None:
        pytest.fail("order statistics know the constant of each coordinate")
    assert len(set(constants.tolist())) == 1
    return float(constants[0])


def excess(kind: str, space: str, pairs: list[Pair], *, charged: float = 1.0) -> float:
    """The largest |v - v'| - constant * distance; a value is off by 2^-53 of numbers up to 10."""
    if space == "ordered deaths":
        pairs = [(at_birth_zero(a), at_birth_zero(b)) for a, b in pairs]
    metric, distance = SPACES[space]
    batch = DiagramBatch.from_diagrams([{1: d} for d in itertools.chain(*pairs)])
    stage = EVERY[kind].fit(batch)
    vectors = stage.transform(batch)
    change = np.abs(vectors[0::2] - vectors[1::2]).max(axis=1)
    moved = np.array([distance(a, b) for a, b in pairs])
    return float((change - charged * constant_of(stage, metric) * moved).max() - 1e-13)


def test_constants_by_hand() -> None:
    diagrams = [{1: [[0, 1]]}]
    for name, expected in {
        "bottleneck": (1, 1, 1),
        "ordered deaths": (0.5, 1, 1),
        "W_1 on l_1": (0.5, 1, 1),
        "W_2 on l_2": (math.sqrt(0.5), 1, 1),
        "W_4 on l_inf": (1, 1, 1),
    }.items():
        for stage, constant in zip(EVERY.values(), expected, strict=True):
            found = constant_of(stage.fit(diagrams), SPACES[name][0])
            assert found >= Fraction(constant)
            assert found == pytest.approx(constant, rel=1e-14)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", EVERY)
def test_vectors_move_at_most_as_the_constants_say(kind: str, space: str, seed: int) -> None:
    assert excess(kind, space, random_pairs(seed)) <= 0


# One bar that moves. Its half length by both ends; at t = 1 the death 1.5 falls towards t; the
# window at c = (0, 0.5) of size 0.25 gives deaths 0.65 and 0.7 the values 0.1 and 0.05.
TIGHT: dict[str, Pair] = {
    "half lengths": (np.array([[0.5, 2.0]]), np.array([[0.4, 2.1]])),
    "landscapes": (np.array([[0.0, 1.5]]), np.array([[0.0, 1.6]])),
    "windows": (np.array([[0.0, 0.65]]), np.array([[0.0, 0.7]])),
}


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", EVERY)
def test_constants_are_attained_and_fail_when_lowered(kind: str, space: str) -> None:
    assert excess(kind, space, [TIGHT[kind]]) <= 0
    assert excess(kind, space, [TIGHT[kind]], charged=1 - 1e-9) > 0
    assert excess(kind, space, [TIGHT[kind]], charged=0.5) > 0


@pytest.mark.parametrize("kind", EVERY)
def test_a_bar_that_vanishes_costs_its_half_length(kind: str) -> None:
    # t = 1.7 and the window at (2, 2.5) of size 0.4 see bars around them whole
    bar = np.array([[2.0, 2.5]]) if kind == "windows" else np.array([[1.45, 1.95]])
    pair = (bar, np.empty((0, 2)))
    assert excess(kind, "bottleneck", [pair]) <= 0
    assert excess(kind, "bottleneck", [pair], charged=1 - 1e-9) > 0


def test_the_law_fails_for_a_template_beyond_half_a_length(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    # windows without the cap l/2: a short bar at the centre would jump from s to 0
    def uncapped(self: Any, births: torch.Tensor, deaths: torch.Tensor) -> torch.Tensor:
        births, deaths = births[..., None, :], deaths[..., None, :]
        inside = torch.maximum((births - self.births).abs(), (deaths - self.deaths).abs())
        present = (deaths > births).double()
        return (self.sizes - inside).clamp_min(0) * present

    monkeypatch.setattr("stablerank.ranks.templates.Window.values", uncapped)
    assert excess("windows", "bottleneck", random_pairs(seed)) > 0


# Gradients.


@pytest.mark.parametrize("kind", EVERY)
def test_from_bars_is_transform_with_gradients(kind: str, seed: int) -> None:
    _, batch = random_batch(np.random.default_rng(seed), 12, 9)
    stage = EVERY[kind].fit(batch)
    bars = {k: (batch.to_tensor(k)[..., 0], batch.to_tensor(k)[..., 1]) for k in (0, 1)}
    assert (stage.from_bars(bars).numpy() == stage.transform(batch)).all()
    single = {k: (births.float(), deaths.float()) for k, (births, deaths) in bars.items()}
    assert stage.from_bars(single).dtype == torch.float32
    assert stage.from_bars(single).numpy() == pytest.approx(stage.transform(batch), abs=1e-5)


@pytest.mark.parametrize("kind", EVERY)
def test_gradients_away_from_ties(kind: str) -> None:
    births = torch.tensor([[0.03, 0.31, 1.13], [0.47, 1.21, 0.11]], dtype=torch.float64)
    deaths = births + torch.tensor([[1.7, 0.83, 0.92], [1.19, 2.3, 0.57]], dtype=torch.float64)
    stage = EVERY[kind].fit([{1: [[0, 1]]}])
    ends = (births.requires_grad_(), deaths.detach().requires_grad_())
    assert torch.autograd.gradcheck(lambda b, d: stage.from_bars({1: (b, d)}), ends)


# The contract.


@pytest.mark.parametrize(
    "check",
    [
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_estimator_tags_renamed",
        "check_get_params_invariance",
        "check_mixin_order",
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_set_params",
        "check_valid_tag_types",
    ],
)
@pytest.mark.parametrize("kind", [HalfLengths, Landscapes, Windows])
def test_the_checks_of_scikit_learn_that_need_no_arrays(
    kind: type[OrderStatistics], check: str
) -> None:
    getattr(estimator_checks, check)(kind.__name__, kind())


def test_fit_learns_dimensions_levels_and_names() -> None:
    diagrams: list[Any] = [{0: [[0, 1]], 1: []}, {1: [[1, 2]], 0: [[0, 3], [0, 4]]}]
    stage = Landscapes(positions={0: [1], 1: [2, 3], 7: [9]}, n_levels={0: 2, 1: 1})
    assert stage.fit(diagrams) is stage
    assert stage.homology_dimensions_ == (0, 1)
    assert stage.n_levels_ == {0: 2, 1: 1}
    assert stage.n_features_out_ == 4
    assert stage.get_feature_names_out().tolist() == [
        "H0_landscape0_level0",
        "H0_landscape0_level1",
        "H1_landscape0_level0",
        "H1_landscape1_level0",
    ]
    assert HalfLengths(n_levels=1).fit(diagrams).get_feature_names_out().tolist() == [
        "H0_half_length0_level0",
        "H1_half_length0_level0",
    ]
    assert Windows(n_windows=1, n_levels=1).fit(diagrams).get_feature_names_out().tolist() == [
        "H0_window0_level0",
        "H1_window0_level0",
    ]


@pytest.mark.parametrize("kind", EVERY)
def test_clouds_without_bars_give_zeros(kind: str) -> None:
    empty: dict[int, Any] = {0: [], 1: np.empty((0, 2))}
    stage = clone(EVERY[kind])
    vectors = stage.fit_transform([empty, empty])
    assert vectors.shape == (2, stage.n_features_out_)
    assert (vectors == 0).all()
    assert (stage.transform([empty, {0: [[0, 1]], 1: [[1, 1]]}])[0] == 0).all()


@pytest.mark.parametrize("kind", EVERY)
def test_a_clouds_bits_do_not_depend_on_those_beside_it(
    kind: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    clouds, batch = random_batch(rng, 30, 40)
    stage = EVERY[kind].fit(batch)
    whole = stage.transform(batch)
    assert whole.dtype == np.float64
    for bars in (1, 500):
        monkeypatch.setattr(boxes, "BATCH_BARS", bars)
        assert (stage.transform(batch) == whole).all()
    assert all((stage.transform([c])[0] == v).all() for c, v in zip(clouds, whole, strict=True))
    shuffled = [{k: rng.permutation(d) for k, d in cloud.items()} for cloud in clouds]
    assert (stage.transform(shuffled) == whole).all()


@pytest.mark.parametrize("stage", [HalfLengths(), Landscapes(), Windows()])
def test_copies_and_pickles_give_the_same_bits(stage: OrderStatistics, seed: int) -> None:
    clouds, batch = random_batch(np.random.default_rng(seed), 10, 20)
    vectors = stage.fit_transform(batch)
    copy = pickle.loads(pickle.dumps(stage))
    assert (copy.transform(batch) == vectors).all()
    assert copy.stability(BOTTLENECK) == stage.stability(BOTTLENECK)
    assert (clone(stage).fit(clouds).transform(clouds) == vectors).all()
    for cloud in clouds:
        for diagram in cloud.values():
            diagram.setflags(write=False)
    assert (stage.transform(clouds) == vectors).all()
    single = [{k: d.astype(np.float32) for k, d in cloud.items()} for cloud in clouds]
    assert stage.transform(single) == pytest.approx(vectors, abs=1e-5)


def test_stability_speaks_of_every_dimension() -> None:
    stage = HalfLengths(n_levels=2).fit([{0: [[0, 1]], 1: [[1, 2]]}])
    source = Space.product({"H0": ORDERED_DEATHS, "H1": BOTTLENECK, "H2": BOTTLENECK})
    bound = stage.stability(source)
    assert bound.target == LINF
    assert bound.branches["H0"].constant == 0.5
    assert bound.branches["H1"].constant == 1


# Errors.


@pytest.mark.parametrize("n", [0, -1, 2.0, "3", True, None, {0: 1}])
def test_bad_numbers_are_named(n: Any) -> None:
    diagrams: list[Any] = [{0: [[0, 1]], 1: []}]
    for stage in (HalfLengths(n_levels=n), Landscapes(n_positions=n), Windows(n_windows=n)):
        with pytest.raises(ValueError, match=r"n_(levels|positions|windows)=.*(>= 1|no entry for)"):
            stage.fit(diagrams)


@pytest.mark.parametrize("bad", [[], [[1.0]], ["a"], [math.nan], [INF], 3.0, [1, [2]]])
def test_bad_positions_are_named(bad: Any) -> None:
    message = f"positions={bad!r}: expected finite numbers of shape (n_positions,)"
    with pytest.raises(ValueError, match=re.escape(message)):
        Landscapes(positions=bad).fit([{0: [[0, 1]]}])


@pytest.mark.parametrize("bad", [[], [1.0, 2, 3], [[1, 2]], [[1, 2, math.nan]], "abc"])
def test_bad_windows_are_named(bad: Any) -> None:
    message = f"windows={bad!r}: expected finite numbers of shape (n_windows, 3)"
    with pytest.raises(ValueError, match=re.escape(message)):
        Windows(windows=bad).fit([{0: [[0, 1]]}])


def test_what_is_missing_or_has_no_size_is_named() -> None:
    with pytest.raises(ValueError, match=re.escape("windows[1] in H0 is [1.0, 2.0, 0.0]: expect")):
        Windows(windows=[[0, 1, 1], [1, 2, 0]]).fit([{0: [[0, 1]]}])
    with pytest.raises(ValueError, match=re.escape("positions has entries for [1], none for H0")):
        Landscapes(positions={1: [1]}).fit([{0: [[0, 1]]}])
    stage = Landscapes().fit([{0: [[0, 1]], 1: []}])
    for call in (stage.transform, lambda X: stage.rounding(X, 0.0, np.zeros(1))):
        with pytest.raises(ValueError, match=re.escape("There is no H1 in this batch")):
            call([{0: [[0, 1]]}])


@pytest.mark.parametrize("kind", [HalfLengths, Landscapes, Windows])
def test_nothing_works_before_fit(kind: type[OrderStatistics]) -> None:
    diagrams = [{0: [[0, 1]]}]
    stage = kind()
    for call in (
        lambda: stage.transform(diagrams),
        lambda: stage.stability(BOTTLENECK),
        lambda: stage.rounding(diagrams, 0.0, np.zeros(1)),
        lambda: stage.from_bars({}),
        stage.get_feature_names_out,
    ):
        with pytest.raises(NotFittedError, match=kind.__name__):
            call()


@pytest.mark.parametrize("space", [HAUSDORFF, LINF, Space("diagram", "L1")])
def test_unknown_spaces_are_refused(space: Space) -> None:
    stage = Landscapes().fit([{0: [[0, 1]], 1: []}])
    message = "Landscapes knows constants from ordered deaths, bottleneck and Wasserstein distances"
    with pytest.raises(StabilityError, match=re.escape(message) + ".*" + re.escape(str(space))):
        stage.stability(space)
    message = "Landscapes was fitted on H1, but the product H0:diagram[bottleneck] has no H1"
    with pytest.raises(StabilityError, match=re.escape(message)):
        stage.stability(Space.product({"H0": BOTTLENECK}))


@pytest.mark.parametrize("relative", [-1e-9, 0.5, math.nan])
def test_a_relative_error_out_of_range_is_refused(relative: float) -> None:
    stage = HalfLengths().fit([{0: [[0, 1]]}])
    with pytest.raises(ValueError, match=re.escape(f"relative={relative!r}: expected an error")):
        stage.rounding([{0: [[0, 1]]}], relative, np.zeros(1))

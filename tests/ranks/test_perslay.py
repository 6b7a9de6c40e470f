"""PersLay with sums: by hand, by a slow reference, its constants from W_1, certificates, files."""

from __future__ import annotations

import math
import pickle
import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from stablerank.attack import attack
from stablerank.certify import certify
from stablerank.diagrams import AlphaPersistence, DiagramBall, DiagramBatch
from stablerank.nn import LipschitzClassifier
from stablerank.ranks import PersistenceImages, PersLaySums, perslay
from stablerank.stability import BOTTLENECK, ORDERED_DEATHS, Space, StabilityError
from stablerank.stage_files import plain_stage, read_stage

Array = NDArray[np.float64]

KINDS = ("triangle", "gaussian", "hat", "line")
SIZED = [[0.0, 0.5, 0.3], [0.0, 1.0, 2.0], [0.5, 1.5, 0.5], [1.0, 3.0, 0.1]]
FUNCTIONS: dict[str, Any] = {
    "triangle": [0.5, 1.0, 1.7, 2.5],
    "gaussian": SIZED,
    "hat": SIZED,
    "line": [[1.0, -2.0, 0.5], [0.0, 1.0, -1.0]],
}
GROUND_NORMS = (1.0, 1.5, 2.0, 3.0, math.inf)


def w1(q: float) -> Space:
    return Space("diagram", "wasserstein", p=1.0, q=q)


def fitted(kind: Any, tau: float = 0.25, batch: Any = None) -> PersLaySums:
    sums = PersLaySums(kind, tau=tau, functions=FUNCTIONS[kind])
    return sums.fit([{1: []}] if batch is None else batch)


def random_batch(rng: np.random.Generator, n_clouds: int) -> DiagramBatch:
    births = [rng.uniform(0, 2, rng.integers(0, 30)) for _ in range(n_clouds)]
    return DiagramBatch.from_diagrams(
        [{1: np.column_stack([b, b + rng.exponential(size=b.size)])} for b in births]
    )


def slow_term(kind: str, row: Any, tau: Any, b: Any, d: Any) -> Any:
    """What one bar adds, in the arithmetic of its arguments."""
    weight = min(max((d - b) / (2 * tau) - 1, b * 0), b * 0 + 1)
    if kind == "triangle":
        return weight * max(min(row - b, d - row), b * 0)
    x, y, size = row
    if kind == "line":
        return weight * (x * b + y * d + size)
    if kind == "gaussian":
        return weight * np.exp(-((b - x) ** 2 + (d - y) ** 2) / (2 * size**2))
    far = (abs(b - x) + abs(d - y)) / size
    return weight * (1 / (1 + far) - 1 / (1 + abs(1 - far)))


# Closed form.


@pytest.mark.parametrize(
    ("kind", "row", "value"),
    [
        # tau = 1: (0, 3) weighs 3/2 − 1, (0, 4) and longer 1, (5, 7) nothing
        ("triangle", 1.0, 0.5 * 1 + 1 * 1),
        ("gaussian", [0, 3, 1], 0.5 + math.exp(-0.5)),
        ("hat", [0, 3, 1], 0.5 * 0.5 + 1 * (0.5 - 1)),  # at x = 0 and x = 1
        ("hat", [0, 1, 1], 0.5 * (1 / 3 - 1 / 2) + (1 / 4 - 1 / 3)),  # at x = 2 and x = 3
        ("line", [9, 2, -1], 0.5 * 5 + 7),
    ],
)
def test_sums_by_hand(kind: Any, row: Any, value: float) -> None:
    sums = PersLaySums(kind, tau=1.0, functions=[row])
    found = sums.fit_transform([{1: [[0, 3], [0, 4], [5, 7]]}])
    assert found.tolist() == [[pytest.approx(value, rel=1e-14)]]


@pytest.mark.parametrize("kind", KINDS)
def test_sums_are_those_of_the_slow_reference(kind: Any, seed: int) -> None:
    batch = random_batch(np.random.default_rng(seed), 20)
    found = fitted(kind).transform(batch)
    for i in range(len(batch)):
        bars = batch.diagram(i, 1).tolist()
        for row, value in zip(FUNCTIONS[kind], found[i], strict=True):
            exact = math.fsum(slow_term(kind, row, 0.25, b, d) for b, d in bars)
            assert value == pytest.approx(exact, rel=1e-12, abs=1e-13)


def test_boxes_by_hand() -> None:
    # τ = 1, (0, 3) by 1/2, births not below 0: lengths in [2, 3.5] weigh between 0 and 3/4; at
    # t = 1 the triangle is at most 1, and −d at least −3.5; bars of length 1 do not count
    ball = one_ball([[0, 3]], 0.5)
    assert box(PersLaySums("triangle", tau=1.0, functions=[1.0]), ball) == [
        [pytest.approx(0, abs=1e-14)],
        [pytest.approx(0.75, rel=1e-13)],
    ]
    assert box(PersLaySums("line", tau=1.0, functions=[[0, -1, 0]]), ball) == [
        [pytest.approx(-0.75 * 3.5, rel=1e-13)],
        [pytest.approx(0, abs=1e-13)],
    ]
    # the hat at c = (0, 6), s = 1: (0, 6) by 1/4 has x in [0, 1/2], and weighs 1
    hat = PersLaySums("hat", tau=1.0, functions=[[0, 6, 1]])
    assert box(hat, one_ball([[0, 6]], 0.25)) == [
        [pytest.approx(0, abs=1e-13)],
        [pytest.approx(0.5, rel=1e-13)],
    ]


def one_ball(bars: Any, reach: float, metric: Space = BOTTLENECK) -> DiagramBall:
    batch = DiagramBatch.from_diagrams([{1: bars}])
    return DiagramBall(batch, {1: np.array([reach])}, {1: metric}, 0.0)


def box(sums: PersLaySums, ball: DiagramBall) -> list[list[float]]:
    return [end[0].tolist() for end in sums.fit(ball.diagrams).bounds(ball)]


@pytest.mark.parametrize("kind", KINDS)
def test_beyond_tau_there_is_no_box(kind: Any) -> None:
    below = -math.inf if kind in ("hat", "line") else 0.0
    for metric, last in ((BOTTLENECK, 0.25), (ORDERED_DEATHS, 0.5)):
        bars = [[0, 3]]
        lower, upper = fitted(kind).bounds(one_ball(bars, last, metric))
        assert torch.isfinite(lower).all()
        assert torch.isfinite(upper).all()
        lower, upper = fitted(kind).bounds(one_ball(bars, np.nextafter(last, 1), metric))
        assert (upper == math.inf).all()
        assert (lower == below).all() if below else (lower >= 0).all()


# The law: constants from W_1.


def steepest(kind: Any, q: float, seed: int) -> Array:
    """How much of its constant each function uses at worst, over pairs of single bars."""
    rng, n = np.random.default_rng(seed), 20_000
    worst = []
    for tau in (0.02, 0.25, 1.0):
        sums = fitted(kind, tau)
        births = rng.uniform(0, 3, n)
        rising = rng.uniform(1.9, 4.1, n) * tau
        lengths = np.where(rng.random(n) < 0.5, rising, rng.uniform(0, 4, n))
        u = np.column_stack([births, births + lengths])
        # at and around the functions' own centres too
        if kind != "triangle":
            u[: n // 4] = np.array(FUNCTIONS[kind])[rng.integers(0, 4, n // 4), :2]
            u[: n // 4] += rng.normal(scale=0.5, size=(n // 4, 2))
        else:
            u[: n // 4] = rng.choice(FUNCTIONS[kind], n // 4)[:, None] + tau * np.array([-2.0, 2.0])
        directions = [[1, 0], [0, 1], [1, 1], [-1, 1], [0.3, -1]]
        step = rng.choice(directions, n) * rng.choice([1e-3, -1e-3, 0.3], (n, 1)) * tau
        v = u + step
        good = (u[:, 1] > u[:, 0]) & (v[:, 1] > v[:, 0])
        u, v = u[good], v[good]
        moved = np.abs(value_of(sums, u) - value_of(sums, v))
        size = np.linalg.norm(u - v, ord=q, axis=1)[:, None]
        constants = sums.stability(w1(q)).branches["H1"].constants
        worst.append(np.max((moved - 1e-13) / (np.asarray(constants) * size), axis=0))
    return np.max(worst, axis=0)


def value_of(sums: PersLaySums, bars: Array) -> Array:
    births, deaths = torch.from_numpy(bars.T.copy())[..., None]
    return sums.from_bars({1: (births, deaths)}).numpy()


@pytest.mark.parametrize("q", GROUND_NORMS)
@pytest.mark.parametrize("kind", KINDS[:3])
def test_one_bar_moves_the_sum_no_further_than_the_constant(kind: Any, q: float, seed: int) -> None:
    assert steepest(kind, q, seed).max() <= 1


def test_constants_are_near_what_happens(seed: int) -> None:
    # triangles: a bar around t that grows at both ends, just below the length 4τ: tight for q = ∞
    assert steepest("triangle", math.inf, seed).max() > 0.99
    assert steepest("gaussian", 2.0, seed).max() > 0.5
    assert steepest("hat", math.inf, seed).max() > 0.5


@pytest.mark.parametrize("kind", KINDS[:3])
def test_the_law_above_can_fail(kind: Any, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    own: Any = perslay._TRANSFORMATIONS[kind]
    constants = own.constants
    monkeypatch.setattr(own, "constants", lambda self, q, tau: constants(self, q, tau) / 2)
    assert steepest(kind, math.inf, seed).max() > 1


@pytest.mark.parametrize("q", GROUND_NORMS)
@pytest.mark.parametrize("kind", KINDS[:3])
def test_diagrams_move_the_sum_no_further_than_w1(kind: Any, q: float, seed: int) -> None:
    # by matchings: what they cost is at least W_1
    rng = np.random.default_rng(seed)
    for _ in range(50):
        batch = random_batch(rng, 1)
        bars = batch.diagram(0, 1)
        moved = bars + rng.normal(scale=rng.choice([1e-3, 0.3]), size=bars.shape)
        kept = (rng.random(len(bars)) < 0.8) & (moved[:, 1] > moved[:, 0])
        births = rng.uniform(0, 2, rng.integers(0, 5))
        new = np.column_stack([births, births + rng.exponential(size=births.size)])
        single = np.concatenate([bars[~kept], new])
        cost = np.linalg.norm(moved[kept] - bars[kept], ord=q, axis=1).sum()
        cost += (2 ** (1 / q - 1) * (single[:, 1] - single[:, 0])).sum()
        sums = fitted(kind)
        before, after = sums.transform([{1: bars}, {1: np.concatenate([moved[kept], new])}])
        constants = np.asarray(sums.stability(w1(q)).branches["H1"].constants)
        assert (np.abs(before - after) <= constants * cost + 1e-13).all()


def test_rounding_is_never_below_that_of_long_doubles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen = dict.fromkeys(KINDS[:3], 0.0)
    for kind in KINDS[:3]:
        for scale in (1e-3, 1.0, 1e3):
            batch = random_batch(rng, 10)
            batch = DiagramBatch({1: batch.bars[1] * scale}, batch.offsets)
            functions = np.array(FUNCTIONS[kind]) * scale
            sums = PersLaySums(kind, tau=0.1 * scale, functions=functions).fit(batch)
            found, allowed = sums.transform(batch), sums.rounding(batch, 0.0, np.zeros(10))
            for i in range(10):
                bars = batch.diagram(i, 1).astype(np.longdouble)
                for row, value in zip(functions.astype(np.longdouble), found[i], strict=True):
                    tau = np.longdouble(0.1 * scale)
                    terms = [slow_term(kind, row, tau, b, d) for b, d in bars]
                    error = abs(float(value - sum(terms, np.longdouble(0))))
                    assert error <= allowed[i]
                    seen[kind] = max(seen[kind], error / allowed[i])
    assert min(seen.values()) > 1e-4  # it is charged for what happens, not for anything


# Refusals.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "source", [BOTTLENECK, ORDERED_DEATHS, Space("diagram", "wasserstein", p=2.0, q=2.0)], ids=str
)
def test_other_metrics_are_refused(kind: Any, source: Space) -> None:
    with pytest.raises(StabilityError, match=re.escape("their number is not bounded. From W_1")):
        fitted(kind).stability(source)


def test_why_they_are_refused() -> None:
    # n bars (0, 2) that all move by 0.1: d_B is 0.1 and W_2 √n/10, and the sum moves by n times
    sums = PersLaySums("gaussian", tau=0.1, functions=[[0, 2, 1]]).fit([{1: []}])
    moved = []
    for n in (1, 10, 1000):
        before, after = sums.transform([{1: [[0, 2]] * n}, {1: [[0, 2.1]] * n}])
        moved.append(float(before[0] - after[0]))
    assert moved == pytest.approx([moved[0] * n for n in (1, 10, 1000)], rel=1e-9)
    # one line, one bar of length 3τ at height b that grows by 0.1: b times 0.1/(2τ)
    line = PersLaySums("line", tau=1.0, functions=[[1, 0, 0]]).fit([{1: []}])
    moved = [float(np.ptp(value_of(line, np.array([[b, b + 3], [b, b + 3.1]])))) for b in (1, 1e6)]
    assert moved == pytest.approx([0.05, 0.05e6])
    with pytest.raises(StabilityError, match="a line grows with the birth"):
        line.stability(w1(2.0))


def test_rounding_of_computed_bars_is_refused() -> None:
    with pytest.raises(StabilityError, match="any number of bars may be off"):
        fitted("gaussian").rounding([{1: [[0, 1]]}], 1e-16, np.zeros(1))


@pytest.mark.parametrize("tau", [-1.0, 0.0, math.nan, math.inf, "1", True, {0: 1.0}])
def test_bad_taus_are_named(tau: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"tau={tau!r}: expected a finite number")):
        PersLaySums(tau=tau).fit([{1: [[0, 1]]}])


@pytest.mark.parametrize("kind", ["gauss", None, 3, ["gaussian"]])
def test_bad_transformations_are_named(kind: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"transformation={kind!r}: expected one of [")):
        PersLaySums(kind).fit([{1: [[0, 1]]}])


def test_bad_functions_are_named() -> None:
    for kind in ("gaussian", "hat"):
        with pytest.raises(ValueError, match=re.escape("functions[1] in H1 is [1.0, 2.0, 0.0]: ")):
            PersLaySums(kind, functions=[[1, 2, 1], [1, 2, 0]]).fit([{1: [[0, 1]]}])
    with pytest.raises(ValueError, match=re.escape("of shape (n_functions,)")):
        PersLaySums("triangle", functions=SIZED).fit([{1: [[0, 1]]}])
    with pytest.raises(ValueError, match=re.escape("of shape (n_functions, 3)")):
        PersLaySums("line", functions=[1.0]).fit([{1: [[0, 1]]}])
    with pytest.raises(ValueError, match=re.escape("n_functions=0: expected integers >= 1.")):
        PersLaySums(n_functions=0).fit([{1: [[0, 1]]}])


def test_nothing_works_before_fit_and_missing_dimensions_are_named() -> None:
    sums = PersLaySums()
    for call in (
        lambda: sums.transform([{1: [[0, 1]]}]),
        lambda: sums.from_bars({}),
        lambda: sums.stability(w1(1.0)),
        lambda: sums.rounding([{1: []}], 0.0, np.zeros(1)),
        lambda: sums.bounds(one_ball([], 0.1)),
        sums.get_feature_names_out,
    ):
        with pytest.raises(NotFittedError, match="PersLaySums"):
            call()
    with pytest.raises(ValueError, match=re.escape("There is no H1 in this batch")):
        fitted("line").transform([{0: [[0, 1]]}])


# The contract.


def test_defaults_follow_the_training_bars() -> None:
    # lengths 1, 2, 3, 7, 9: τ is 3/2, and functions follow the bars of lengths 7 and 9
    batch = [{1: [[0, 1], [0, 2], [0, 3], [1, 8], [2, 11]]}]
    for kind in ("gaussian", "hat"):
        sums = PersLaySums(kind, n_functions=4).fit(batch)
        images = PersistenceImages(n_pixels=4).fit(batch)
        assert sums.tau_ == images.tau_ == {1: 1.5}
        assert (sums.functions_[1] == images.pixels_[1]).all()
    triangles = PersLaySums("triangle", n_functions=2).fit(batch)
    assert triangles.functions_[1].tolist() == [5, 6]  # quartiles of the midpoints 4.5 and 6.5
    lines = PersLaySums("line").fit(batch)
    assert lines.functions_[1].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert lines.get_feature_names_out().tolist() == ["H1_line0", "H1_line1", "H1_line2"]
    for kind in KINDS:
        empty = PersLaySums(kind, n_functions={0: 2, 1: 3}).fit([{0: [], 1: [[0, 1]]}])
        assert empty.tau_ == {0: 1.0, 1: 0.5}
        assert empty.transform([{0: [], 1: []}]).tolist() == [[0.0] * empty.n_features_out_]


@pytest.mark.parametrize("kind", KINDS)
def test_from_bars_is_transform_with_gradients(kind: Any, seed: int) -> None:
    batch = random_batch(np.random.default_rng(seed), 9)
    sums = fitted(kind)
    births, deaths = batch.to_tensor(1).unbind(-1)
    assert (sums.from_bars({1: (births, deaths)}).numpy() == sums.transform(batch)).all()
    births = torch.tensor([[0.3, 1.1, 0.1]], dtype=torch.float64, requires_grad=True)
    deaths = torch.tensor([[1.1, 1.2, 2.6]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda b, d: sums.from_bars({1: (b, d)}), (births, deaths))


@pytest.mark.parametrize(
    "check",
    [
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_get_params_invariance",
        "check_mixin_order",
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_set_params",
        "check_valid_tag_types",
    ],
)
def test_the_checks_of_scikit_learn_that_need_no_arrays(check: str) -> None:
    getattr(estimator_checks, check)("PersLaySums", PersLaySums())


@pytest.mark.parametrize("kind", KINDS)
def test_copies_pickles_and_files_give_the_same_bits(kind: Any, seed: int) -> None:
    batch = random_batch(np.random.default_rng(seed), 9)
    for sums in (PersLaySums(kind, n_functions=5), fitted(kind), PersistenceImages(n_pixels=3)):
        vectors = sums.fit_transform(batch)
        assert (pickle.loads(pickle.dumps(sums)).transform(batch) == vectors).all()
        assert (clone(sums).fit_transform(list(batch)) == vectors).all()
        again = read_stage(plain_stage(sums))
        assert (again.transform(batch) == vectors).all()
        assert repr(again) == repr(sums)


def test_files_that_were_tampered_with_are_refused() -> None:
    def broken(sums: Any, name: str, value: Any) -> Any:
        setattr(sums, name, {1: value})
        return plain_stage(sums)

    for plain in (
        broken(fitted("gaussian"), "tau_", 0.0),
        broken(fitted("gaussian"), "tau_", -1.0),
        broken(fitted("gaussian"), "tau_", math.nan),
        broken(fitted("gaussian"), "tau_", 1),
        broken(fitted("hat"), "functions_", np.array([[0.0, 1, -1]] * 4)),
        broken(fitted("triangle"), "functions_", np.array([math.nan] * 4)),
        broken(fitted("triangle"), "functions_", np.array([1.0])),
        broken(PersistenceImages(n_pixels=1).fit([{1: []}]), "pixels_", np.array([[0.0, 1, 0]])),
    ):
        with pytest.raises(ValueError, match=r"tau_|functions_|pixels_|claims|entries"):
            read_stage(plain)


# Certificates.


def test_certificates_of_diagrams_from_w1(seed: int) -> None:
    # class 1 has a bar more around (1, 3)
    rng = np.random.default_rng(seed)
    y = np.arange(40) % 2
    few = [np.sort(rng.random((4, 2)), axis=1) for _ in y]
    more = [np.append(bars, [[1.0, 3.0]], axis=0) for bars in few]
    without = DiagramBatch.from_diagrams([{1: bars} for bars in few])
    batch = DiagramBatch.from_diagrams([{1: more[i] if y[i] else few[i]} for i in range(40)])
    for kind in ("gaussian", "triangle", "hat"):
        pipeline = make_pipeline(
            PersLaySums(kind, tau=0.3, functions=[1.8] if kind == "triangle" else [[1, 3, 1]]),
            LipschitzClassifier(epsilon=0.1, max_epochs=80, random_state=seed, hidden=(8,)),
        ).fit(batch, y)
        assert pipeline.score(batch, y) == 1
        claims = certify(pipeline, batch, threat="wasserstein", p=1, q=math.inf, method="global")
        assert (claims.radius > 0).all()
        # deleting the bar, at distance 1 from the diagonal, makes class 0 of class 1
        flipped = pipeline.predict(without) != pipeline.predict(batch)
        assert flipped[y == 1].all()
        assert (claims.radius[y == 1] < 1).all()
        boxes = certify(pipeline, batch, threat="bottleneck", method="linear")
        assert (boxes.radius > 0).any()
        assert (boxes.radius <= 0.3 * (1 + 1e-9)).all()
        with pytest.raises(StabilityError, match="PersLaySums"):
            certify(pipeline, batch, threat="bottleneck", method="global")


def test_certificates_of_clouds_hold_against_gradients(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angles = 2 * np.pi * np.arange(24) / 24
    clouds, y = [], np.arange(12) % 2
    for label in y:
        size = 1.0 if label else 0.55
        ring = size * np.column_stack([np.cos(angles), np.sin(angles)])
        clouds.append(ring + rng.normal(scale=0.02, size=ring.shape))
    pipeline = make_pipeline(
        AlphaPersistence((1,)),
        PersLaySums("gaussian", tau=0.1, functions=[[0.15, 1.0, 0.4], [0.1, 0.5, 0.4]]),
        LipschitzClassifier(epsilon=0.02, max_epochs=120, random_state=seed, hidden=(8,)),
    ).fit(clouds, y)
    assert pipeline.score(clouds, y) == 1
    claims = certify(pipeline, clouds, threat="per_point")
    assert (claims.radius > 0.01).mean() > 0.5
    assert (claims.radius <= 0.1).all()  # τ
    radius = float(np.median(claims.radius))
    result = attack(pipeline, clouds, y, threat="per_point", radius=radius, random_state=seed)
    assert not (result.success & (claims.radius >= radius)).any()
    far = attack(pipeline, clouds, y, threat="per_point", radius=0.4, random_state=seed)
    assert far.success.any()

"""The neural baselines: what they learn and compute, their gradients, the contract, refusals."""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from benchmarks.baselines import DiagramTransformer, PersLay, PointNet
from benchmarks.baselines.cloud_network import CloudNetwork
from benchmarks.baselines.diagram_network import DiagramNetwork
from stablerank.attack.gradients import flatten
from stablerank.diagrams import AlphaPersistence, DiagramBatch, RipsPersistence

Clouds = list[NDArray[np.float64]]

MODELS: dict[str, CloudNetwork] = {
    "PersLay": PersLay(n_bars=30, max_epochs=12, random_state=0),
    "transformer": DiagramTransformer(n_bars=12, width=16, max_epochs=15, random_state=0),
    "PointNet": PointNet(
        point_widths=(16, 32), hidden=(16,), n_sampled=16, max_epochs=15, random_state=0
    ),
}
VARIANTS: dict[str, CloudNetwork] = {
    **MODELS,
    "gaussians of PersLay": PersLay(
        transformation="gaussian", operation="sum", n_bars=30, max_epochs=2, random_state=0
    ),
    "hats of PersLay": PersLay(
        transformation="hat", weight="power", operation="max", n_bars=30, max_epochs=2
    ),
    "lines of PersLay": PersLay(
        transformation="line", weight="power", hidden=8, n_bars=30, max_epochs=2
    ),
    "transformer of Rips": DiagramTransformer(
        RipsPersistence(), n_bars=12, width=16, max_epochs=2, random_state=0
    ),
}


def make_clouds(n: int, seed: int = 0) -> tuple[Clouds, NDArray[np.str_]]:
    """Noisy circles and discs, of 12 to 30 points, so that both holes and radii tell them apart."""
    rng = np.random.default_rng(seed)
    clouds, labels = [], rng.permutation(["circle", "disc"] * (n // 2))
    for label in labels:
        size = rng.integers(12, 31)
        angles = 2 * np.pi * (np.arange(size) + rng.uniform(-0.4, 0.4, size)) / size
        radii = np.ones(size) if label == "circle" else np.sqrt(rng.uniform(size=size))
        cloud = radii[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])
        clouds.append(5 + cloud + rng.normal(scale=0.05, size=cloud.shape))
    return clouds, labels


@pytest.fixture(scope="module")
def fitted() -> dict[str, CloudNetwork]:
    X, y = make_clouds(60)
    return {name: clone(model).fit(X, y) for name, model in VARIANTS.items()}


def in_double(model: CloudNetwork) -> CloudNetwork:
    """A copy that computes in float64, so that only the mathematics is left to differ."""
    copy = pickle.loads(pickle.dumps(model))
    copy.network_.double()
    return copy


def logits_of(model: CloudNetwork, clouds: Clouds) -> torch.Tensor:
    points, offsets = flatten(clouds)
    return model.differentiable_logits(torch.from_numpy(points), offsets)


def distance(a: Any, b: Any) -> float:
    """The largest difference of two arrays of logits, seen from the largest logit."""
    return float(np.abs(np.asarray(a) - np.asarray(b)).max() / np.abs(np.asarray(b)).max())


@pytest.mark.parametrize("name", MODELS)
def test_learns_to_tell_circles_from_discs(name: str, fitted: dict[str, CloudNetwork]) -> None:
    X, y = make_clouds(60, seed=1)
    assert fitted[name].score(X, y) >= 0.9


@pytest.mark.parametrize("name", VARIANTS)
def test_the_order_of_points_and_bars_does_not_matter(
    name: str, fitted: dict[str, CloudNetwork], seed: int
) -> None:
    model, rng = in_double(fitted[name]), np.random.default_rng(seed)
    X, _ = make_clouds(6, seed=seed)
    scores = model.decision_function(X)
    assert distance(model.decision_function([rng.permutation(x) for x in X]), scores) < 1e-6
    rows = model._inputs(X).double()  # those of the points, or the bars of each homology dimension
    n_dimensions = len(model.homology_dimensions_) if isinstance(model, DiagramNetwork) else 1
    blocks = rows.chunk(n_dimensions, dim=1)
    mixed = [block[:, torch.from_numpy(rng.permutation(block.shape[1]))] for block in blocks]
    assert distance(model._logits(torch.cat(mixed, dim=1)), scores) < 1e-6


@pytest.mark.parametrize("name", VARIANTS)
def test_padding_does_not_matter(name: str, fitted: dict[str, CloudNetwork], seed: int) -> None:
    """Alone a cloud has no padding; beside larger ones and smaller ones it has."""
    model = in_double(fitted[name])
    X, _ = make_clouds(20, seed=seed)
    X += [np.zeros((1, 2)), X[0][:2], np.concatenate(X[:3])]
    alone = np.concatenate([model.decision_function([x]) for x in X])
    assert distance(model.decision_function(X), alone) < 1e-9


@pytest.mark.parametrize("name", ["PersLay", "transformer"])
def test_what_padding_holds_would_matter_as_a_bar(
    name: str, fitted: dict[str, CloudNetwork]
) -> None:
    """The two tests above can fail: a row that counts changes the logits."""
    model = in_double(fitted[name])
    rows = model._inputs(make_clouds(4)[0]).double()
    one_more = rows.clone()
    one_more[:, -1, 2] = 1
    assert distance(model._logits(one_more), model._logits(rows)) > 1e-6


def test_perslay_is_its_formula(fitted: dict[str, CloudNetwork], seed: int) -> None:
    """The permutation-equivariant layers and the grid's weights, bar by bar, from the paper."""
    model = in_double(fitted["PersLay"])
    assert isinstance(model, PersLay)
    X, _ = make_clouds(2, seed=seed)
    batch = model.filtration_.transform(X)
    vectors = []
    for k, channel in zip((0, 1), model.network_.channels, strict=True):  # type: ignore[arg-type]
        p = {name: value.numpy() for name, value in channel.state_dict().items()}
        x = (batch.diagram(0, k)[:30] - model.shift_[k]) / model.scale_[k]
        first = x @ p["transformation.first.weight"].T + p["transformation.first.bias"]
        second = first @ p["transformation.second.weight"].T + p["transformation.second.bias"]
        second -= p["transformation.of_largest.weight"] @ first.max(axis=0)
        births, deaths = np.clip(np.floor(10 * x), 0, 9).astype(int).T
        values = second * p["weight.cells"][10 * births + deaths][:, None]
        top = np.zeros((5, 25))
        top[: len(values)] = np.sort(values, axis=0)[::-1][:5]
        vectors.append(top.T.ravel())
    features = torch.from_numpy(np.concatenate(vectors))[None]
    # inputs are stored in float32, which may move a bar by 2^-24
    assert distance(model.network_.head(features), model.decision_function(X)[:1]) < 1e-5


@pytest.mark.parametrize("name", VARIANTS)
def test_differentiable_logits_are_the_scores(name: str, fitted: dict[str, CloudNetwork]) -> None:
    model = fitted[name]
    X, _ = make_clouds(12, seed=3)
    X += [np.zeros((1, 2)), X[0][:2]]  # without bars, and with one
    logits = logits_of(model, X)
    assert logits.dtype == torch.float64
    assert distance(logits, model.decision_function(X)) < 1e-5
    assert (model.predict(X) == model.classes_[logits.argmax(dim=1).numpy()]).all()


def slope_error(model: CloudNetwork, clouds: Clouds, seed: int, factor: float = 1.0) -> float:
    """How far directional derivatives are from central differences, relative to the largest."""
    points, offsets = flatten(clouds)
    direction = torch.from_numpy(np.random.default_rng(seed).normal(size=points.shape))
    start = torch.from_numpy(points).requires_grad_()
    logits = model.differentiable_logits(start, offsets)
    slopes, step = [], 1e-7
    for logit in logits.sum(dim=0):
        (gradient,) = torch.autograd.grad(logit, start, retain_graph=True)
        slopes.append(float((gradient * direction).sum()) * factor)
    with torch.no_grad():
        ahead, behind = (
            model.differentiable_logits(start + sign * step * direction, offsets).sum(dim=0)
            for sign in (1, -1)
        )
    return distance(slopes, (ahead - behind) / (2 * step))


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_are_finite_differences(
    name: str, fitted: dict[str, CloudNetwork], seed: int
) -> None:
    model = in_double(fitted[name])
    X, _ = make_clouds(4, seed=10 + seed)
    assert slope_error(model, X, seed) < 1e-4
    assert slope_error(model, X, seed, factor=1.001) > 1e-4  # the comparison can fail


@pytest.mark.parametrize("name", MODELS)
def test_contract(name: str) -> None:
    X, y = make_clouds(33 * 2)  # 66 clouds in batches of 13 would leave one for the last
    model = clone(MODELS[name]).set_params(max_epochs=1, batch_size=13)
    with pytest.raises(NotFittedError):
        model.predict(X)
    parameters, state = model.get_params(), torch.get_rng_state()
    kept = [x.copy() for x in X]
    model.fit([x.astype(np.float32).astype(np.float64) for x in X], y)
    assert model.get_params() == parameters
    assert torch.equal(torch.get_rng_state(), state)
    scores = model.decision_function(X)
    assert all((a == b).all() for a, b in zip(X, kept, strict=True))
    assert scores.shape == (66, 2)
    assert scores.dtype == np.float64
    assert model.n_parameters_ == sum(p.numel() for p in model.network_.parameters()) > 100
    np.testing.assert_array_equal(model.predict(X), model.classes_[scores.argmax(axis=1)])
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.decision_function(X), scores)


@pytest.mark.parametrize("name", MODELS)
def test_a_seed_is_a_network(name: str) -> None:
    X, y = make_clouds(20)
    models = [
        clone(MODELS[name])
        .set_params(max_epochs=1, random_state=seed)
        .fit(X, y)
        .decision_function(X)
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(models[0], models[1])
    assert distance(models[0], models[2]) > 1e-3


@pytest.mark.parametrize("name", ["PersLay", "transformer"])
def test_no_diagram_has_a_bar(name: str) -> None:
    X, y = [np.full((1, 2), float(i)) for i in range(6)], [0, 1, 2] * 2
    scores = clone(MODELS[name]).set_params(max_epochs=1).fit(X, y).decision_function(X)
    assert np.isfinite(scores).all()
    assert (scores == scores[0]).all()


def test_longest_bars_are_kept() -> None:
    X, y = make_clouds(10)
    model = PersLay(AlphaPersistence((0,)), n_bars=3, n_kept=9, max_epochs=1, random_state=0)
    rows = model.fit(X, y)._inputs(X)
    deaths = np.stack([model.filtration_.transform([x]).diagram(0, 0)[:3, 1] for x in X])
    scaled = (deaths - model.shift_[0][1]) / model.scale_[0][1]
    np.testing.assert_allclose(rows[..., 1], scaled, atol=1e-6)
    assert isinstance(model.filtration_.transform(X), DiagramBatch)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (PersLay(transformation="lines"), "transformation='lines': expected one of"),  # type: ignore[arg-type]
        (PersLay(weight="linear"), "weight='linear': expected one of ['grid', 'power']."),  # type: ignore[arg-type]
        (PersLay(operation="mean"), "operation='mean': expected one of"),  # type: ignore[arg-type]
        (PersLay(n_functions=0), "n_functions=0: expected an integer >= 1."),
        (PersLay(hidden=-1), "hidden=-1: expected an integer >= 1."),
        (PersLay(n_bars=0), "n_bars=0: expected an integer >= 1."),
        (DiagramTransformer(width=10, n_heads=4), "width=10 is no multiple of n_heads=4"),
        (DiagramTransformer(lr=0.0), "lr=0.0: expected a positive finite number."),
        (PointNet(point_widths=()), "point_widths=(): expected a layer at least."),
        (PointNet(dropout=1.0), "dropout=1.0: expected a number from 0 to below 1."),
        (PointNet(weight_decay=-1.0), "weight_decay=-1.0: expected a finite number >= 0."),
        (PointNet(max_epochs=0), "max_epochs=0: expected an integer >= 1."),
        (PointNet(random_state="a"), "random_state='a'"),  # type: ignore[arg-type]
    ],
)
def test_bad_parameters(model: CloudNetwork, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        model.fit(*make_clouds(4))


@pytest.mark.parametrize("name", MODELS)
def test_bad_data(name: str, fitted: dict[str, CloudNetwork]) -> None:
    X, y = make_clouds(4)
    with pytest.raises(ValueError, match=re.escape("y has shape (3,), but X has 4 clouds")):
        clone(MODELS[name]).fit(X, y[:3])
    with pytest.raises(ValueError, match="y has only one class"):
        clone(MODELS[name]).fit(X, ["a"] * 4)
    with pytest.raises(ValueError, match=re.escape("X[1] has 1 of")):
        clone(MODELS[name]).fit([X[0], X[1] * [[np.nan, 1]] ** np.eye(len(X[1]))[:, :1]], y[:2])
    with pytest.raises(ValueError, match=re.escape("X[0] lies in R^3")):
        fitted[name].predict([np.zeros((5, 3))])

"""LipschitzClassifier: a scikit-learn classifier whose float64 bits predict and are certified."""

from __future__ import annotations

import os
import pickle
import re
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks
from skorch.callbacks import Callback, EarlyStopping
from skorch.dataset import Dataset, ValidSplit

from stablerank.nn import (
    CertificateRegularization,
    GloRoCrossEntropy,
    HingeLoss,
    HingeMixture,
    HKRLoss,
    LipschitzClassifier,
    LogitAnnealing,
    StableRankNetwork,
    classifier,
)
from stablerank.nn.losses import (
    BoxCrossEntropy,
    CertifiedMarginLoss,
    OffsetCrossEntropy,
    TemperatureCrossEntropy,
)
from stablerank.nn.network import leaf_layers
from stablerank.nn.training import TensorBatches
from stablerank.progress import ProgressBar
from stablerank.stability import LINF

Data = tuple[NDArray[np.float64], NDArray[Any]]
METHODS: tuple[Literal["interval", "linear"], ...] = ("interval", "linear")
LOSSES = {
    "cross-entropy": TemperatureCrossEntropy,
    "margin": CertifiedMarginLoss,
    "offset": OffsetCrossEntropy,
    "box": BoxCrossEntropy,
}
QUICK: dict[str, Any] = {"hidden": (8,), "max_epochs": 3, "batch_size": 20, "random_state": 0}


def blobs(n: int = 60, n_classes: int = 3, seed: int = 0) -> Data:
    """Classes that are far apart in one coordinate, beside three that say nothing."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    X = rng.normal(size=(n, 4)) * [0.1, 1.0, 0.01, 0.0]
    X[:, 0] += y
    return X, y


X, Y = blobs()


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Let Ctrl-C interrupt, even where the shell started the tests in the background without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def fitted() -> LipschitzClassifier:
    model = LipschitzClassifier(
        hidden=(16, 8), max_epochs=20, batch_size=20, lr=0.05, random_state=0
    )
    return model.fit(X, Y)


def bits(model: LipschitzClassifier, vectors: NDArray[np.float64] = X) -> bytes:
    return model.logits(vectors).tobytes()


# scikit-learn's own tests of the contract.


@parametrize_with_checks([LipschitzClassifier(hidden=(8,), max_epochs=5)])  # type: ignore[untyped-decorator, unused-ignore]
def test_scikit_learn_finds_no_fault(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


# Closed form.


def test_epsilon_is_a_twentieth_of_the_largest_deviation() -> None:
    # Columns 0 and 1 in halves: deviation 1/2; over their constants 1/4 and 1/8. So ε = 1/80,
    # and one unit of the network's input is ε times the constant.
    vectors = np.array([[0.0, 5.0], [1.0, 6.0]] * 10)
    model = LipschitzClassifier(constants=[2.0, 4.0], **QUICK).fit(vectors, [0, 1] * 10)
    assert model.epsilon_ == 0.05 * 0.25
    assert model.network_.standardize.center.tolist() == [0.5, 5.5]
    np.testing.assert_allclose(model.network_.standardize.factor, [40.0, 20.0], rtol=1e-15)
    chain = model.stability()
    assert chain.elements[0].constants == tuple(model.network_.standardize.factor.tolist())  # type: ignore[union-attr]
    assert (model.n_features_in_, model.temperature_) == (2, 1.0)


def test_epsilon_can_be_given_and_coordinates_that_cannot_move_keep_the_scale() -> None:
    model = LipschitzClassifier(epsilon=0.5, constants=[2.0, 0.0], **QUICK)
    model.fit(np.array([[0.0, 5.0], [1.0, 6.0]] * 10), [0, 1] * 10)
    assert model.epsilon_ == 0.5
    assert model.network_.standardize.factor.tolist() == [1.0, 2.0]


def test_probabilities_are_the_softmax_of_temperature_times_logits(
    fitted: LipschitzClassifier,
) -> None:
    warm = pickle.loads(pickle.dumps(fitted))
    warm.temperature_ = 0.25
    for model, temperature in ((fitted, 1.0), (warm, 0.25)):
        z = np.exp(temperature * model.logits(X))
        np.testing.assert_allclose(model.predict_proba(X), z / z.sum(1, keepdims=True), rtol=1e-12)


def test_two_classes_have_one_decision_value() -> None:
    vectors, y = blobs(n_classes=2)
    model = LipschitzClassifier(**QUICK).fit(vectors, y)
    z = model.logits(vectors)
    assert (model.decision_function(vectors) == z[:, 1] - z[:, 0]).all()
    assert model.predict_proba(vectors).shape == (60, 2)


# The law.


def test_logits_move_no_further_than_the_constant(fitted: LipschitzClassifier, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = X[rng.integers(len(X), size=200)]
    b = a + rng.choice([1e-5, 0.1, 10.0], size=(200, 1)) * rng.choice([-1.0, 0.0, 1.0], a.shape)
    moved = np.abs(fitted.logits(a) - fitted.logits(b)).max(axis=1)
    constant, zero = fitted.stability().constant, np.zeros(200)
    rounding = sum(fitted.rounding(np.abs(v).max(axis=1), zero) for v in (a, b))
    assert (moved <= constant * np.abs(a - b).max(axis=1) * (1 + 1e-14) + rounding).all()


@pytest.mark.parametrize("exponent", [-900, -30, 30, 900])
def test_a_change_of_units_changes_no_bit(exponent: int) -> None:
    # Squares of the deviations used to overflow, or to vanish: ε was then infinite, or 1.
    here = LipschitzClassifier(**QUICK).fit(X, Y)
    there = LipschitzClassifier(**QUICK).fit(np.ldexp(X, exponent), Y)
    assert there.epsilon_ == np.ldexp(here.epsilon_, exponent)
    assert bits(there, np.ldexp(X, exponent)) == bits(here)


# A slow reference.


def test_logits_by_plain_loops(fitted: LipschitzClassifier) -> None:
    network = fitted.network_
    z = (X - network.standardize.center.numpy()) * network.standardize.factor.numpy()
    layers: list[Any] = [*leaf_layers(network.body), network.head]
    for layer in layers:
        if hasattr(layer, "weight"):
            z = np.einsum("ij,nj->ni", layer.weight.numpy(), z) + layer.bias.numpy()
        else:  # MaxMin
            z = np.sort(z.reshape(len(z), -1, 2))[:, :, ::-1].reshape(len(z), -1)
    np.testing.assert_allclose(fitted.logits(X), z, rtol=1e-12, atol=1e-12)
    assert (fitted.predict(X) == z.argmax(axis=1)).all()


def test_batches_hold_every_sample_once() -> None:
    vectors, labels = np.arange(20.0).reshape(10, 2), np.arange(10)
    dataset = Dataset(vectors, labels)
    torch.manual_seed(0)
    shuffled = TensorBatches(dataset, batch_size=4, shuffle=True)
    assert len(shuffled) == 3
    first, second = [list(shuffled) for _ in range(2)]
    for batches in (first, second, list(TensorBatches(dataset, batch_size=4))):
        assert [len(x) for x, _ in batches] == [4, 4, 2]
        for x, y in batches:
            assert (x.numpy() == vectors[y.numpy()]).all()
        assert sorted(torch.cat([y for _, y in batches]).tolist()) == list(range(10))
    assert [y.tolist() for _, y in first] != [y.tolist() for _, y in second]
    half = torch.utils.data.Subset(torch.utils.data.Subset(dataset, [9, 7, 5, 3]), [0, 2])
    ((x, y),) = TensorBatches(half, batch_size=4)
    assert (x.tolist(), y.tolist()) == ([[18, 19], [10, 11]], [9, 5])

    class Plain(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, i: int) -> Any:
            return torch.tensor([float(i)]), i

    ((x, y),) = TensorBatches(Plain(), batch_size=4)
    assert (x.tolist(), y.tolist()) == ([[0], [1], [2]], [0, 1, 2])


@pytest.mark.parametrize("max_epochs", range(1, 13))
def test_few_steps_are_enough(max_epochs: int) -> None:
    # Nine steps used to be a division by zero in torch's schedule.
    model = LipschitzClassifier(hidden=(4,), batch_size=60, max_epochs=max_epochs, random_state=0)
    history = model.fit(X, Y).net_.history
    rates = [batch["event_lr"] for epoch in history[:, "batches"] for batch in epoch]
    assert len(rates) == max_epochs
    assert 0 < max(rates) <= 0.01 * (1 + 1e-9)


# The contract beyond scikit-learn's.


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"loss": "margin", "temperature": 3.0},
        {"layer": "linf-distance", "hidden": (7,), "max_epochs": 50, "lr": 0.2},
        {"loss": "offset", "offset": 1.0},
        {"loss": "box"},
        {"layer": "free", "activation": "relu"},
        {"layer": "free", "activation": "maxmin", "loss": "box"},
        {"activation": "groupsort"},
        {"activation": "abs", "hidden": (5,), "max_epochs": 50, "lr": 0.1},
        {"hidden": ()},
        {"batch_size": None},
        {"optimizer": torch.optim.SGD, "lr": 0.5},
        {"optimizer": torch.optim.Adagrad, "lr": 0.1},  # has no momentum to cycle
    ],
    ids=str,
)
def test_it_learns_what_is_to_be_learned(settings: dict[str, Any]) -> None:
    model = LipschitzClassifier(**{**QUICK, "max_epochs": 25, "lr": 0.05, **settings}).fit(X, Y)
    assert model.score(X, Y) > 0.9
    # from where the ramp ends; before it, a loss asks for ever more
    losses = model.net_.history[:, "train_loss"]
    assert losses[-1] < losses[0 if "loss" not in settings else len(losses) // 2]
    assert type(model.net_.criterion_) is LOSSES[settings.get("loss", "cross-entropy")]


def test_one_seed_one_model_whatever_happens_to_the_global_generators(
    fitted: LipschitzClassifier,
) -> None:
    def fit(random_state: Any) -> bytes:
        return bits(LipschitzClassifier(**{**QUICK, "random_state": random_state}).fit(X, Y))

    def generators() -> tuple[list[int], list[int]]:
        numpy_state: Any = np.random.get_state()  # noqa: NPY002 (to see that nothing draws from it)
        return torch.get_rng_state().tolist(), numpy_state[1].tolist()

    torch.rand(1)
    before = generators()
    first = fit(0)
    assert generators() == before
    torch.rand(1)
    assert fit(0) == fit(np.int64(0)) == first != fit(1)
    assert fit(None) != fit(None)
    for make in (np.random.default_rng, np.random.RandomState, np.random.SeedSequence):
        assert fit(make(5)) == fit(make(5))
        generator = make(5)
        assert make is np.random.SeedSequence or fit(generator) != fit(generator)
    refitted = clone(fitted).fit(X, Y)
    assert bits(refitted) == bits(fitted)
    assert bits(refitted.fit(X, Y)) == bits(fitted)


def test_pickling_keeps_every_bit(fitted: LipschitzClassifier) -> None:
    # The trained net could not be pickled, and so no model could.
    other = pickle.loads(pickle.dumps(fitted))
    assert bits(other) == bits(fitted)
    assert other.stability() == fitted.stability()
    vectors = torch.tensor(X)
    assert torch.equal(other.net_.module_(vectors), fitted.net_.module_(vectors))
    assert len(other.net_.history) == 20


def test_what_was_trained_can_still_be_used(fitted: LipschitzClassifier) -> None:
    # Folding a copy took the weights out of the network that skorch holds.
    assert isinstance(fitted.net_.module_, StableRankNetwork)
    logits = fitted.net_.module_(torch.tensor(X)).detach().numpy()
    np.testing.assert_allclose(logits, fitted.logits(X), rtol=1e-3, atol=1e-3)
    assert (fitted.net_.predict(X) == fitted.predict(X)).mean() > 0.9


@pytest.mark.parametrize(
    "labels",
    [
        ["no", "yes", "Ünsicher"],
        [3, 1, 2],
        [-5, 0, 7],
        [10**12, -(10**12), 1],
        [2.0, 0.0, -1.0],
        np.array([1, 2, 3], dtype=np.uint8),
        np.array(["a", "b", "c"], dtype=object),
    ],
    ids=str,
)
def test_labels_of_any_kind(labels: Any, fitted: LipschitzClassifier) -> None:
    names = np.asarray(labels)
    y = names[Y]
    model = clone(fitted).fit(X, y)
    assert model.classes_.tolist() == sorted(names.tolist())
    assert model.score(X, y) > 0.9
    assert set(model.predict(X).tolist()) <= set(names.tolist())
    assert (model.classes_[model.predict_proba(X).argmax(axis=1)] == model.predict(X)).all()


def test_booleans() -> None:
    vectors, y = blobs(n_classes=2)
    model = LipschitzClassifier(**{**QUICK, "max_epochs": 10, "lr": 0.05}).fit(vectors, y == 1)
    assert model.predict(vectors).dtype == bool
    assert model.score(vectors, y == 1) == 1.0


def test_rare_classes_and_single_samples() -> None:
    vectors = (
        np.concatenate([np.zeros((95, 1)), np.ones((5, 1))]) + np.linspace(0, 0.1, 100)[:, None]
    )
    y = np.repeat([0, 1], [95, 5])
    model = LipschitzClassifier(**{**QUICK, "max_epochs": 40, "lr": 0.05}).fit(vectors, y)
    assert model.score(vectors, y) == 1.0
    lone = LipschitzClassifier(**{**QUICK, "max_epochs": 60}).fit(np.eye(4), list("abcd"))
    assert lone.predict(np.eye(4)).tolist() == list("abcd")


def test_constant_features() -> None:
    # The mean of ten times 0.1 is not 0.1: its rounding used to be taken for a deviation.
    same = np.full((10, 2), 0.1)
    model = LipschitzClassifier(**QUICK).fit(same, [0, 1] * 5)
    assert model.epsilon_ == 1.0
    assert np.isfinite(model.logits(same)).all()
    assert (LipschitzClassifier(**QUICK).fit(np.zeros((4, 2)), [0, 1, 0, 1]).epsilon_) == 1.0


@pytest.mark.parametrize(
    "variant",
    [
        lambda v: v.astype(np.float32).astype(np.float64),
        lambda v: v.astype(np.float32),
        lambda v: v.astype(np.float32).tolist(),
        lambda v: np.asfortranarray(v.astype(np.float32)),
        lambda v: v.astype(np.float32)[::-1][::-1],
        lambda v: np.ascontiguousarray(v.astype(np.float32)[:, ::-1])[:, ::-1],  # runs backwards
    ],
)
def test_vectors_come_in_every_layout(variant: Callable[[Any], Any]) -> None:
    expected = LipschitzClassifier(**QUICK).fit(X.astype(np.float32), Y)
    vectors = variant(X)
    if isinstance(vectors, np.ndarray):
        vectors.flags.writeable = False
    model = LipschitzClassifier(**QUICK).fit(vectors, Y)
    assert bits(model, vectors) == bits(expected, X.astype(np.float32))
    assert model.logits(vectors).dtype == np.float64


def test_parameters_are_as_they_were_after_fit() -> None:
    constants = [1.0, 2.0, 0.0, 1.0]
    model = LipschitzClassifier(constants=constants, **QUICK)
    before = model.get_params()
    model.fit(X, Y)
    assert model.get_params() == before
    assert constants == [1.0, 2.0, 0.0, 1.0]
    # what was fitted does not follow the parameters
    logits, probabilities = bits(model), model.predict_proba(X)
    model.set_params(hidden=(2,), temperature=9.0, constants=None)
    assert bits(model) == logits
    assert (model.predict_proba(X) == probabilities).all()


def test_a_grid_search() -> None:
    search = GridSearchCV(
        LipschitzClassifier(**QUICK), {"lr": [1e-9, 0.05], "hidden": [(4,), (8,)]}, cv=2
    )
    search.fit(X, Y)
    assert search.best_params_["lr"] == 0.05
    assert search.score(X, Y) == search.best_estimator_.score(X, Y)


# Callbacks, and the end of training.


class At(Callback):  # type: ignore[misc, unused-ignore]
    """Does something at the end of an epoch, or of its first batch."""

    def __init__(self, epoch: int, action: Callable[[], None], *, in_batch: bool = False) -> None:
        self.epoch, self.action, self.in_batch = epoch, action, in_batch

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if len(net.history) == self.epoch and not self.in_batch:
            self.action()

    def on_batch_end(self, net: Any, **kwargs: Any) -> None:
        if len(net.history) == self.epoch and self.in_batch:
            self.action()


def stop() -> None:
    raise KeyboardInterrupt


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_early_stopping() -> None:
    settings = {**QUICK, "max_epochs": 50, "lr": 1e-9}
    model = LipschitzClassifier(
        **settings,
        callbacks=[EarlyStopping(monitor="valid_loss", patience=4, threshold=0.1)],
        train_split=ValidSplit(0.25, stratified=True, random_state=0),
    )
    model.fit(X, Y)
    assert 4 <= len(model.net_.history) < 50
    assert model.predict(X).shape == Y.shape
    assert "valid_loss" in model.net_.history[-1]
    # in a thread, where no signals are told of
    other, errors = clone(model), []

    def fit() -> None:
        try:
            other.fit(X, Y)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()
    assert errors == []
    assert bits(other) == bits(model)


@pytest.mark.parametrize("held_out", [None, ValidSplit(0.5, random_state=0)])
def test_the_learning_rate_ends_at_nothing(held_out: Any) -> None:
    # With samples held out the cycle used to be as long as without, and was never finished.
    settings = {**QUICK, "max_epochs": 10, "batch_size": 10}
    model = LipschitzClassifier(**settings, train_split=held_out)
    rates = [
        batch["event_lr"]
        for epoch in model.fit(X, Y).net_.history[:, "batches"]
        for batch in epoch
        if "event_lr" in batch
    ]
    assert len(rates) == 10 * (6 if held_out is None else 3)
    assert max(rates) == pytest.approx(0.01, rel=0.02)
    assert rates[-1] < 1e-4


@pytest.mark.parametrize("loss", ["margin", "offset", "box", "certified", "gloro", "mixture"])
def test_losses_are_ramped_over_half_of_the_epochs(loss: Any) -> None:
    seen = []

    class Look(Callback):  # type: ignore[misc, unused-ignore]
        def on_batch_begin(self, net: Any, **kwargs: Any) -> None:
            seen.append(net.criterion_.progress)

    settings = {**QUICK, "max_epochs": 8, "batch_size": 60}
    LipschitzClassifier(**settings, loss=loss, callbacks=[Look()]).fit(X, Y)
    assert seen == sorted(seen)
    assert seen[0] <= 0.25
    assert seen[4:] == [1.0] * 4


OTHER_LOSSES: dict[str, tuple[Any, dict[str, float]]] = {
    "hinge": (HingeLoss, {"margin": 2.0}),
    "hkr": (HKRLoss, {"margin": 2.0, "alpha": 10 / 11}),
    "certified": (CertificateRegularization, {"temperature": 0.5, "weight": 0.1}),
    "annealing": (LogitAnnealing, {"temperature": 0.5, "offset": 2.0, "beta": 5.0}),
    "gloro": (GloRoCrossEntropy, {"temperature": 0.5, "offset": 1.0}),
    "mixture": (HingeMixture, {"temperature": 0.5, "margin": 2.0}),
}


@pytest.mark.parametrize("loss", OTHER_LOSSES)
def test_each_loss_trains(loss: str) -> None:
    """With the settings that the classifier's own lead to, and better than it began."""
    settings: dict[str, Any] = {**QUICK, "max_epochs": 25, "temperature": 0.5, "offset": 1.0}
    model = LipschitzClassifier(**settings, loss=loss).fit(X, Y)
    kind, expected = OTHER_LOSSES[loss]
    assert type(model.net_.criterion_) is kind
    for name, value in expected.items():
        assert getattr(model.net_.criterion_, name) == pytest.approx(value)
    assert model.score(X, Y) > 0.85  # by chance a third
    assert clone(model).fit(X, Y).predict(X).tolist() == model.predict(X).tolist()


def test_options_of_a_loss() -> None:
    options = {"beta": 1.0, "offset": 0.5}
    model = LipschitzClassifier(**QUICK, loss="annealing", loss_options=options).fit(X, Y)
    assert (model.net_.criterion_.beta, model.net_.criterion_.offset) == (1.0, 0.5)
    search = GridSearchCV(
        LipschitzClassifier(**QUICK, loss="hkr"),
        {"loss_options": [{"alpha": 0.5}, {"alpha": 0.9}]},
        cv=2,
    ).fit(X, Y)
    assert search.best_params_["loss_options"]["alpha"] in (0.5, 0.9)


# Training for boxes.


def boxes_seen(
    monkeypatch: pytest.MonkeyPatch, ends: tuple[Any, Any] = (None, None), **settings: Any
) -> list[tuple[float, NDArray[np.float64], NDArray[np.float64]]]:
    """Progress, lower and upper ends in each step, of batches that hold all samples in order."""
    seen = []
    plain = StableRankNetwork.box_margins

    def look(self: Any, lower: Any, upper: Any, target: Any) -> Any:
        order = torch.argsort(lower[:, 1] + upper[:, 1])
        seen.append((lower[order].numpy(), upper[order].numpy()))
        return plain(self, lower, upper, target)

    monkeypatch.setattr(StableRankNetwork, "box_margins", look)
    model = LipschitzClassifier(
        **{**QUICK, "loss": "box", "max_epochs": 8, "batch_size": 60, **settings}
    ).fit(X, Y, *ends)
    shares = [min(1.0, 2 * i / 8) for i in range(1, 9)]
    assert model.net_.criterion_.progress == 1.0
    return [(share, *box) for share, box in zip(shares, seen, strict=True)]


def test_boxes_are_epsilon_times_the_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    constants = np.array([1.0, 2.0, 0.5, 3.0])
    in_order = X[np.argsort(X[:, 1])]
    for share, lower, upper in boxes_seen(monkeypatch, epsilon=0.1, constants=constants):
        np.testing.assert_allclose(lower, in_order - share * 0.1 * constants, atol=1e-14)
        np.testing.assert_allclose(upper, in_order + share * 0.1 * constants, atol=1e-14)


def test_boxes_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    below, above = rng.exponential(size=(2, *X.shape))
    below[:, 1] = above[:, 1] = 0.0  # the tests sorts by that
    order = np.argsort(X[:, 1])
    for share, lower, upper in boxes_seen(monkeypatch, (X - below, X + above)):
        np.testing.assert_allclose(lower, (X - share * below)[order], atol=1e-14)
        np.testing.assert_allclose(upper, (X + share * above)[order], atol=1e-14)


def test_given_boxes_that_are_the_default_train_the_same_network() -> None:
    settings: dict[str, Any] = {**QUICK, "loss": "box", "epsilon": 0.25}
    default = LipschitzClassifier(**settings).fit(X, Y)
    given = LipschitzClassifier(**settings).fit(X, Y, X - 0.25, X + 0.25)
    np.testing.assert_allclose(given.logits(X), default.logits(X), atol=1e-5)
    assert (given.net_.predict(X) == given.network_(torch.tensor(X)).argmax(1).numpy()).all()


def certified_share(model: LipschitzClassifier, epsilon: float, method: Any = "linear") -> float:
    predicted = np.searchsorted(model.classes_, model.predict(X))
    margins = model.margin_bounds(X - epsilon, X + epsilon, predicted, method)
    return float(((margins > 0) & (predicted == Y)).mean())


@pytest.mark.parametrize("activation", ["relu", "maxmin"])
def test_free_networks_are_certified_if_they_are_trained_for_it(activation: str) -> None:
    # classes are 1 apart in the first coordinate, where the noise is half of ε
    settings: dict[str, Any] = {"layer": "free", "activation": activation, "epsilon": 0.2}
    settings |= {"hidden": (16, 8), "max_epochs": 40, "batch_size": 30, "random_state": 0}
    plain = LipschitzClassifier(**settings, temperature=20.0).fit(X, Y)
    boxes = LipschitzClassifier(**settings, loss="box").fit(X, Y)
    assert plain.score(X, Y) == boxes.score(X, Y) == 1.0
    assert certified_share(boxes, 0.2, "interval") > 0.75
    assert certified_share(plain, 0.2, "interval") < certified_share(boxes, 0.2, "interval")


def test_the_clean_weight_trades() -> None:
    # boxes so large that they hold several classes: only the clean part can learn them
    settings: dict[str, Any] = {**QUICK, "loss": "box", "epsilon": 3.0, "max_epochs": 20}
    settings |= {"lr": 0.05, "temperature": 20.0}
    scores = [LipschitzClassifier(**settings, clean_weight=k).fit(X, Y).score(X, Y) for k in (0, 1)]
    assert scores[0] < 0.8
    assert scores[1] == 1.0


def test_boxes_with_early_stopping_and_a_held_out_part() -> None:
    model = LipschitzClassifier(
        **{**QUICK, "max_epochs": 6},
        loss="box",
        train_split=ValidSplit(0.5, random_state=0),
        callbacks=[EarlyStopping(patience=50)],
    ).fit(X, Y, X - 0.1, X + 0.1)
    assert len(model.net_.history[:, "valid_loss"]) == 6
    assert np.isfinite(model.net_.history[:, "valid_loss"]).all()
    assert 0 <= model.net_.history[-1, "valid_acc"] <= 1


def test_no_vector_in_a_box_has_other_margins(fitted: LipschitzClassifier, seed: int) -> None:
    rng = np.random.default_rng(seed)
    radius = rng.exponential(scale=0.1, size=X.shape)
    predicted = fitted.logits(X).argmax(1)
    lower, upper = (end.numpy() for end in fitted.bounds(X - radius, X + radius))
    margins = {m: fitted.margin_bounds(X - radius, X + radius, predicted, m) for m in METHODS}
    for _ in range(50):
        logits = fitted.logits(X + radius * rng.uniform(-1, 1, size=X.shape).round())
        assert (lower <= logits).all()
        assert (logits <= upper).all()
        others = np.where(np.eye(3, dtype=bool)[predicted], -np.inf, logits).max(1)
        apart = logits[np.arange(len(X)), predicted] - others
        assert (apart >= margins["linear"]).all()
    assert (margins["linear"] >= margins["interval"]).all()
    assert (margins["linear"] > 0).any()


INTERRUPTS: dict[str, list[Callback]] = {
    "in the midst of an epoch": [At(2, press_ctrl_c, in_batch=True)],
    "while callbacks run": [At(2, press_ctrl_c)],
    "once after a callback asked for the end": [At(2, press_ctrl_c), At(2, stop)],
}


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C by a signal")
@pytest.mark.parametrize("callbacks", INTERRUPTS.values(), ids=list(INTERRUPTS))
def test_ctrl_c_interrupts(callbacks: list[Callback]) -> None:
    # skorch swallows it, and the half-trained network used to pass for a fitted one.
    handler = signal.getsignal(signal.SIGINT)
    model = LipschitzClassifier(**QUICK, callbacks=callbacks)
    for action in (lambda: model.fit(X, Y), lambda: clone(model).fit(X, Y)):
        with pytest.raises(KeyboardInterrupt):
            action()
        assert signal.getsignal(signal.SIGINT) is handler
    with pytest.raises(NotFittedError):
        model.predict(X)
    assert [name for name in vars(model) if name.endswith("_")] == []


def test_an_interrupt_from_elsewhere_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    # as from a debugger or a watchdog, in the midst of a forward pass
    monkeypatch.setattr(TemperatureCrossEntropy, "forward", lambda *_: stop())
    model = LipschitzClassifier(**QUICK)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert not hasattr(model, "network_")


def test_a_handler_that_swallows_ctrl_c_is_respected() -> None:
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        model = LipschitzClassifier(
            **{**QUICK, "max_epochs": 9},
            callbacks=[At(1, press_ctrl_c, in_batch=True), At(4, stop)],
        ).fit(X, Y)
    finally:
        signal.signal(signal.SIGINT, before)
    assert pressed
    assert len(model.net_.history) == 4


def fail() -> None:
    raise RuntimeError("the disk is full")


@pytest.mark.parametrize(
    ("callbacks", "error"),
    [([At(2, fail)], RuntimeError), ([At(2, press_ctrl_c)], KeyboardInterrupt), ([], None)],
)
def test_the_progress_bar_is_closed(
    callbacks: Any, error: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At errors it used to stay open, and to eat what was printed afterwards.
    seen: list[str] = []

    class Recorded(ProgressBar):
        def __enter__(self) -> ProgressBar:
            seen.append("open")
            return super().__enter__()

        def __exit__(self, *arguments: Any) -> None:
            seen.append("closed")
            super().__exit__(*arguments)

        def advance(self, steps: int = 1) -> None:
            seen.append("epoch")
            super().advance(steps)

    monkeypatch.setattr(classifier, "ProgressBar", Recorded)
    model = LipschitzClassifier(**QUICK, callbacks=callbacks)
    if error is None:
        model.fit(X, Y)
    else:
        with pytest.raises(error):
            model.fit(X, Y)
    epochs = 3 if error is None else 2
    assert seen == ["open", *["epoch"] * epochs, "closed"]


BAD_REFITS: dict[str, tuple[dict[str, Any], NDArray[Any], Any]] = {
    "vectors": ({}, X * np.nan, Y),
    "another width, too few labels": ({}, X[:, :2], Y[:5]),
    "one class": ({}, X[:, :2], np.zeros(60)),
    "parameters": ({"lr": -1}, X[:, :2], Y),
    "constants": ({"constants": [1.0]}, X[:, :2], Y),
    "an error in training": ({"callbacks": [At(2, fail)]}, X[:, :2], Y % 2),
    "Ctrl-C": ({"callbacks": [At(2, press_ctrl_c)]}, X[:, :2], Y % 2),
}


@pytest.mark.parametrize("bad", BAD_REFITS.values(), ids=list(BAD_REFITS))
def test_after_a_failed_refit_the_earlier_fit_is_whole(bad: Any) -> None:
    # n_features_in_ and the classes used to be those of the failed fit already.
    model = LipschitzClassifier(**QUICK).fit(X, Y)
    before, fitted = bits(model), {n: v for n, v in vars(model).items() if n.endswith("_")}
    parameters, vectors, labels = bad
    model.set_params(**parameters)
    with pytest.raises((ValueError, RuntimeError, KeyboardInterrupt)):
        model.fit(vectors, labels)
    assert bits(model) == before
    now = {n: v for n, v in vars(model).items() if n.endswith("_")}
    assert now.keys() == fitted.keys()
    assert all(now[name] is value for name, value in fitted.items())


# Errors.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": 0}, "epsilon=0: expected a positive finite number"),
        ({"epsilon": -1.0}, "epsilon=-1.0: expected"),
        ({"epsilon": np.nan}, "epsilon=nan: expected"),
        ({"epsilon": np.inf}, "epsilon=inf: expected"),
        ({"epsilon": "a"}, "epsilon='a': expected a positive finite number"),
        ({"epsilon": True}, "epsilon=True: expected"),
        ({"temperature": 0.0}, "temperature=0.0: expected a positive finite number"),
        ({"temperature": "warm"}, "temperature='warm': expected"),
        ({"offset": -1.0, "loss": "margin"}, "offset=-1.0: expected a finite number >= 0"),
        ({"offset": None}, "offset=None: expected"),
        ({"lr": 0.0}, "lr=0.0: expected a positive finite number"),
        ({"lr": [0.1]}, "lr=[0.1]: expected"),
        ({"max_epochs": 0}, "max_epochs=0: expected an integer >= 1"),
        ({"max_epochs": 2.0}, "max_epochs=2.0: expected"),
        ({"max_epochs": True}, "max_epochs=True: expected"),
        ({"batch_size": 0}, "batch_size=0: expected"),
        ({"batch_size": -1}, "batch_size=-1: expected"),
        ({"loss": "focal"}, "loss='focal': expected one of ('cross-entropy', 'margin', 'offset'"),
        ({"loss": "margin", "layer": "free"}, "loss='margin' trains the radius of a body that is"),
        ({"loss": "offset", "layer": "free"}, 'use loss="box" or "cross-entropy"'),
        ({"loss": "gloro", "layer": "free"}, "loss='gloro' trains the radius of a body that is"),
        ({"loss": "certified", "layer": "free"}, "loss='certified' trains the radius of a body"),
        (
            {"loss": "hkr", "loss_options": {"beta": 1.0}},
            "loss_options has 'beta', but loss='hkr' takes ['alpha', 'margin']",
        ),
        ({"loss": "hkr", "loss_options": {"alpha": 2}}, "alpha=2: expected a number from 0 to 1"),
        ({"loss": "hinge", "offset": 0.0}, "margin=0.0: expected a positive finite number"),
        ({"clean_weight": 1.5}, "clean_weight=1.5: expected a number from 0 to 1"),
        ({"clean_weight": None}, "clean_weight=None: expected"),
        ({"hidden": (7,)}, "hidden=(7,): expected positive integers, multiples of 2"),
        ({"hidden": 8}, "hidden=8: expected a tuple of widths"),
        ({"layer": "dense"}, "layer='dense': expected"),
        ({"activation": "tanh"}, "activation='tanh': expected one of"),
        ({"constants": [1.0] * 3}, "constants has shape (3,), but X has 4 features"),
        ({"constants": 1.0}, "constants has shape (), but X has 4 features"),
        ({"constants": [1.0, -1.0, 1, 1]}, "constants[1] is -1.0: expected finite numbers >= 0"),
        ({"constants": [1.0, 1, np.nan, 1]}, "constants[2] is nan"),
        ({"constants": [1.0, 1, 1, np.inf]}, "constants[3] is inf"),
        ({"random_state": -1}, "random_state=-1: expected an integer >= 0, a NumPy generator"),
        ({"random_state": "zero"}, "random_state='zero': expected"),
    ],
    ids=str,
)
def test_parameters_out_of_range(settings: dict[str, Any], message: str) -> None:
    model = LipschitzClassifier(**{**QUICK, **settings})  # the constructor only stores
    with pytest.raises(ValueError, match=re.escape(message)):
        model.fit(X, Y)
    assert not hasattr(model, "n_features_in_")


@pytest.mark.parametrize(
    ("vectors", "labels", "message"),
    [
        (X, Y[:-1], "inconsistent numbers of samples"),
        (X, np.full(60, "a"), "y has only one class, 'a': a classifier needs at least two"),
        (X, np.linspace(0, 1, 60), "Unknown label type: continuous"),
        (X, np.where(Y == 0, np.nan, Y), "Input y contains NaN"),
        (X, None, "requires y to be passed"),
        (X[0], Y[:1], "Expected 2D array, got 1D array"),
        (np.where(X > 1, np.inf, X), Y, "Input X contains infinity"),
        (X.astype(str) + "a", Y, "could not convert string to float"),
    ],
)
def test_data_out_of_range(vectors: Any, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        LipschitzClassifier(**QUICK).fit(vectors, labels)


@pytest.mark.parametrize(
    ("loss", "lower", "upper", "message"),
    [
        ("box", X, None, "lower and upper are the two ends of boxes: give both, or none"),
        ("margin", X, X, "are boxes to train on, for loss=\"box\", but loss='margin'"),
        ("box", X[1:], X, "lower has shape (59, 4), but X (60, 4)"),
        ("box", X, np.where(np.arange(60)[:, None] == 7, X - 1, X), "upper[7] is not a finite end"),
        ("box", np.full_like(X, np.nan), X, "lower[0] is not a finite end of a box around"),
        ("box", np.full_like(X, -np.inf), X, "lower[0] is not a finite end"),
    ],
)
def test_boxes_out_of_range(loss: Any, lower: Any, upper: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        LipschitzClassifier(**QUICK, loss=loss).fit(X, Y, lower, upper)


def test_ends_on_the_wrong_side(fitted: LipschitzClassifier) -> None:
    for ask in (fitted.bounds, lambda a, b: fitted.margin_bounds(a, b, Y)):
        with pytest.raises(ValueError, match=re.escape("above upper[0, 0]")):
            ask(X + 1, X)


def test_nothing_is_answered_before_fit() -> None:
    model = LipschitzClassifier()
    zero = np.zeros(1)
    for ask in (
        lambda: model.predict(X),  # used to be an AttributeError on classes_
        lambda: model.predict_proba(X),
        lambda: model.decision_function(X),
        lambda: model.logits(X),
        model.stability,
        model.feature_stability,
        model.pairwise_constants,
        lambda: model.rounding(zero, zero),
        lambda: model.bounds(X, X),
        lambda: model.margin_bounds(X, X, Y),
    ):
        with pytest.raises(NotFittedError, match="LipschitzClassifier instance is not fitted"):
            ask()


def test_vectors_of_another_length(fitted: LipschitzClassifier) -> None:
    with pytest.raises(
        ValueError, match="X has 3 features, but LipschitzClassifier is expecting 4"
    ):
        fitted.predict(X[:, :3])
    with pytest.raises(ValueError, match="contains NaN"):
        fitted.predict(X * np.nan)


def test_the_stages_speak_of_one_network(fitted: LipschitzClassifier) -> None:
    assert fitted.stability(LINF) == fitted.network_.stability()
    assert fitted.feature_stability() == fitted.network_.feature_stability()
    assert (fitted.pairwise_constants() == fitted.network_.pairwise_constants()).all()
    assert classifier.parameter_count(fitted.network_) == 4 * 16 + 16 + 16 * 8 + 8 + 8 * 3 + 3


@pytest.mark.parametrize(("layer", "order"), [("linf", 1.0), ("bro", 2.0)])
def test_losses_see_the_head_in_the_norm_of_its_features(layer: str, order: float) -> None:
    X = np.random.default_rng(0).normal(size=(40, 4))
    classifier = LipschitzClassifier(
        layer=layer, hidden=(4,), loss="margin", max_epochs=1, random_state=0
    ).fit(X, np.arange(40) % 2)
    assert classifier.net_.criterion_.order == order

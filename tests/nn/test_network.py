"""Networks: the chain of their layers, what no chain is given for, and rounding end to end."""

from __future__ import annotations

import copy
import io
import itertools
import math
import pickle
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stablerank.nn import (
    Abs,
    ConvexPotential,
    GroupSort,
    Householder,
    LinfDistance,
    LinfLinear,
    MaxMin,
    SDPResidual,
    SortNet,
    StableRankNetwork,
    Standardize,
    chain_of_layers,
)
from stablerank.nn.network import layer_bound, layer_rounding, leaf_layers
from stablerank.stability import HAUSDORFF, L2, LINF, Bound, Space, StabilityError

N_FEATURES = 8
KINDS: dict[str, dict[str, Any]] = {
    "maxmin": {"hidden": (12, 8)},
    "groupsort": {"hidden": (12, 8), "activation": "groupsort"},
    "abs": {"hidden": (7, 5), "activation": "abs"},
    "linf-distance": {"hidden": (7, 5), "layer": "linf-distance"},
    "free relu": {"hidden": (7, 5), "layer": "free", "activation": "relu"},
    "free maxmin": {"hidden": (12, 8), "layer": "free"},
    "no hidden layer": {"hidden": ()},
    "sortnet": {"hidden": (7, 5), "layer": "sortnet"},
    "cayley": {"hidden": (12, 8), "layer": "cayley"},
    "exponential abs": {"hidden": (7, 5), "layer": "exponential", "activation": "abs"},
    "bjorck relu": {"hidden": (7, 5), "layer": "bjorck", "activation": "relu"},
    "bro householder": {"hidden": (12, 8), "layer": "bro", "activation": "householder"},
    "aol": {"hidden": (12, 8), "layer": "aol"},
    "gram groupsort": {"hidden": (12, 8), "layer": "gram", "activation": "groupsort"},
    "spectral": {"hidden": (12, 8), "layer": "spectral"},
    "sll": {"hidden": (8, 5), "layer": "sll"},
    "cpl": {"hidden": (7, 7), "layer": "cpl"},
    "bro, no hidden layer": {"hidden": (), "layer": "bro"},
}


def trained(kind: str, seed: int) -> StableRankNetwork:
    """Some steps of Adam in float32, from weights of that seed."""
    rng = np.random.default_rng(seed)
    network = StableRankNetwork(
        N_FEATURES,
        3,
        center=rng.normal(size=N_FEATURES),
        scale=rng.uniform(0.1, 4, size=N_FEATURES),
        **KINDS[kind],
    )
    x = torch.tensor(3 * rng.normal(size=(64, N_FEATURES)))
    y = torch.tensor(rng.integers(3, size=64))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.tensor(rng.normal(size=parameter.shape)))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def networks() -> dict[str, StableRankNetwork]:
    return {kind: trained(kind, 0) for kind in KINDS}


# Closed form.


def test_a_network_by_hand() -> None:
    # (x − 1)/2 = (2, −1); rows (1, 0), (0, −1), (1/2, 1/2), (0, 0) give (2, 1, 0.5, 0), which
    # MaxMin leaves; the head's rows (1/2, 1/2, 0, 0) and (0, 0, 1, 0) give (1.5, 0.5).
    network = StableRankNetwork(2, 2, hidden=(4,), center=[1.0, 1.0], scale=[2.0, 2.0])
    layer: Any = network.body[0]
    layer.weight = torch.tensor([[1.0, 0.0], [0.0, -1.0], [0.5, 0.5], [0.0, 0.0]])
    network.head.weight = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    assert network(torch.tensor([[5.0, -1.0]])).tolist() == [[1.5, 0.5]]
    # the input is halved, and rows have norm 1; the head's rows are 2 apart
    chain = network.stability()
    assert [getattr(element, "stage", "") for element in chain] == [
        "standardize",
        "LinfLinear",
        "MaxMin",
        "LinfLinear",
    ]
    assert chain.constant == 0.5
    assert (chain.source, chain.target) == (LINF, LINF)
    assert network.feature_stability().constant == 0.5
    assert network.pairwise_constants()[0, 1] == pytest.approx(2.0, rel=1e-14)
    assert network.pairwise_constants()[0, 0] == 0


def test_a_row_of_norm_2_is_charged_2() -> None:
    layer = nn.Linear(2, 2)
    layer.weight = nn.Parameter(torch.tensor([[1.0, -1.0], [0.5, 0.0]]))
    assert layer_bound(layer, LINF).constant == 2.0
    chain = chain_of_layers(nn.Sequential(layer, nn.ReLU(), nn.Identity(), nn.Sequential(layer)))
    assert chain.constant == pytest.approx(4.0, rel=1e-14)
    assert len(chain) == 4


# The law, end to end.


def moved_and_by(
    network: nn.Module, a: Tensor, b: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    with torch.no_grad():
        moved = (network(a) - network(b)).abs().amax(1)
    return moved.numpy(), (a - b).abs().amax(1).numpy()


def pairs(network: StableRankNetwork, seed: int) -> tuple[Tensor, Tensor]:
    """Vectors near and far: at random, and along the signs of the gradient of each logit."""
    rng = np.random.default_rng(seed)
    x = torch.tensor(rng.normal(size=(60, N_FEATURES)) * 10.0 ** rng.uniform(-2, 2, size=(60, 1)))
    steps = torch.tensor(rng.choice([1e-6, 1e-2, 10.0], size=(60, 1)))
    ends = [x + steps * torch.tensor(rng.choice([-1.0, 0.0, 1.0], size=x.shape))]
    x.requires_grad_()
    for j in range(network.n_classes):
        (gradient,) = torch.autograd.grad(network(x)[:, j].sum(), x)
        ends.append(x.detach() + steps * gradient.sign())
    return x.detach().repeat(len(ends), 1), torch.cat(ends)


def excess(network: StableRankNetwork, constant: float, seed: int) -> float:
    """How far logits moved beyond `constant` times the input, all rounding granted."""
    a, b = pairs(network, seed)
    moved, by = moved_and_by(network, a, b)
    zero = np.zeros(len(a))
    sizes = (a.abs().amax(1).numpy(), b.abs().amax(1).numpy())
    rounding = sum(network.rounding(size, zero) for size in sizes)
    return float((moved - constant * by * (1 + 1e-15) - rounding).max())


@pytest.mark.parametrize("kind", KINDS)
def test_no_logit_moves_further_than_the_constant(
    kind: str, networks: dict[str, StableRankNetwork], seed: int
) -> None:
    folded = networks[kind].folded()
    assert excess(folded, folded.stability().constant, seed) <= 0


@pytest.mark.parametrize("kind", KINDS)
def test_that_a_hundredth_of_the_constant_is_exceeded(
    kind: str, networks: dict[str, StableRankNetwork], seed: int
) -> None:
    folded = networks[kind].folded()
    assert excess(folded, 0.01 * folded.stability().constant, seed) > 0


@pytest.mark.parametrize("activation", ["maxmin", "groupsort", "abs"])
def test_the_constant_of_a_whole_network_is_attained(activation: str) -> None:
    # All rows pass the first coordinate on: it moves the first logit by 1/scale.
    network = StableRankNetwork(4, 2, (8, 8), activation=activation, scale=[0.5, 1, 1, 1])
    for layer in (*leaf_layers(network.body), network.head):
        if isinstance(layer, LinfLinear):
            layer.weight = torch.eye(*layer.weight.shape)
            layer.weight = torch.zeros_like(layer.weight).index_fill(1, torch.tensor([0]), 1.0)
    folded = network.folded()
    moved, by = moved_and_by(folded, 1 + torch.eye(1, 4).double(), 1 + 3 * torch.eye(1, 4).double())
    assert folded.stability().constant == 2.0
    assert moved / by == 2.0


# Rounding end to end, against rational arithmetic on the same bits.


def fractions(values: Any) -> list[Fraction]:
    return [Fraction(value) for value in values.tolist()]


def exact_logits(network: StableRankNetwork, x: NDArray[np.float64]) -> list[Fraction]:
    center, factor = fractions(network.standardize.center), fractions(network.standardize.factor)
    z = [(a - c) * f for a, c, f in zip(fractions(x), center, factor, strict=True)]
    for layer in (*leaf_layers(network.body), network.head):
        if isinstance(layer, nn.Linear):
            z = [
                sum((w * a for w, a in zip(fractions(row), z, strict=True)), bias)
                for row, bias in zip(layer.weight, fractions(layer.bias), strict=True)
            ]
        elif isinstance(layer, LinfDistance):
            z = [
                max(abs(a - w) for a, w in zip(z, fractions(row), strict=True)) + bias
                for row, bias in zip(layer.weight, fractions(layer.bias), strict=True)
            ]
        elif isinstance(layer, GroupSort):
            size = layer.group_size
            groups = [sorted(z[i : i + size], reverse=True) for i in range(0, len(z), size)]
            z = list(itertools.chain.from_iterable(groups))
        elif isinstance(layer, nn.ReLU):
            z = [max(a, Fraction(0)) for a in z]
        elif isinstance(layer, SortNet):
            order = fractions(layer.order)
            z = [
                sum(
                    (
                        o * d
                        for o, d in zip(
                            order,
                            sorted(
                                (abs(a - w) for a, w in zip(z, fractions(row), strict=True)),
                                reverse=True,
                            ),
                            strict=False,
                        )
                    ),
                    bias,
                )
                for row, bias in zip(layer.weight, fractions(layer.bias), strict=True)
            ]
        elif isinstance(layer, Householder):
            pairs_ = zip(z[0::2], z[1::2], map(fractions, layer.direction), strict=True)
            reflected = ((a, b, v, min(v[0] * a + v[1] * b, Fraction(0))) for a, b, v in pairs_)
            z = [
                one - 2 * behind * w
                for a, b, v, behind in reflected
                for one, w in ((a, v[0]), (b, v[1]))
            ]
        elif isinstance(layer, (SDPResidual, ConvexPotential)):
            rows = [fractions(row) for row in layer.weight]
            hidden = [
                max(sum((w * a for w, a in zip(row, z, strict=True)), bias), Fraction(0))
                for row, bias in zip(rows, fractions(layer.bias), strict=True)
            ]
            z = [
                a - sum((h * row[i] for h, row in zip(hidden, rows, strict=True)), Fraction(0))
                for i, a in enumerate(z)
            ]
        else:
            assert isinstance(layer, Abs)
            z = [abs(a) for a in z]
    return z


def worst_share(
    network: StableRankNetwork,
    seed: int,
    rounding: Callable[..., NDArray[np.float64]],
    batch: int = 3,
    error: float = 0.0,
) -> float:
    """The largest |computed − exact logit| in units of the bound, over inputs of all sizes."""
    rng = np.random.default_rng(seed)
    scales = np.array([0.0, 1e-310, 1e-150, 1e-8, 1.0, 1e8, 1e150, 1e290])
    x = rng.uniform(-1, 1, size=(len(scales), N_FEATURES)) * scales[:, None]
    sizes = np.abs(x).max(axis=1)
    given = x + error * sizes[:, None] * rng.choice([-1.0, 1.0], size=x.shape)
    off = np.abs(given - x).max(axis=1) * (1 + 1e-15)
    with torch.no_grad():
        computed = torch.cat([network(part) for part in torch.tensor(given).split(batch)])
    worst = 0.0
    for row, logits, bound in zip(x, computed, rounding(sizes, off), strict=True):
        for a, b in zip(fractions(logits), exact_logits(network, row), strict=True):
            worst = max(worst, float(abs(a - b) / Fraction(bound)) if bound else math.inf)
    return worst


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_as_exact_as_the_bound_says(
    kind: str, networks: dict[str, StableRankNetwork], seed: int
) -> None:
    folded = networks[kind].folded()
    for batch in (1, 3, 64):
        assert worst_share(folded, seed, folded.rounding, batch) <= 1
    assert worst_share(folded, seed, folded.rounding, error=1e-6) <= 1
    # a thousandth of it is not enough, and a bound of 0 is none
    # row norms of 3 to 7 in three layers, of which an input meets a few
    too_small = 1e3 if folded.layer in ("linf", "linf-distance", "sortnet") else 1e5
    assert worst_share(folded, seed, lambda m, e: folded.rounding(m, e) / too_small) > 1
    assert worst_share(folded, seed, lambda m, e: np.zeros_like(m)) > 1


# Layers that are not known have no constant: nothing defaults to 1.


class Doubled(nn.Linear):
    """Looks like a linear layer, and moves twice as far."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Residual(nn.Sequential):
    """Looks like a sequence, and adds its input."""

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + super().forward(x)
        return added


class Doubling(nn.ReLU):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


UNKNOWN: list[nn.Module] = [
    nn.Tanh(),
    nn.BatchNorm1d(4),
    nn.LayerNorm(4),
    nn.Dropout(),
    nn.Softmax(dim=-1),
    Doubled(4, 4),
    Residual(nn.Linear(4, 4)),
    Doubling(),
]


@pytest.mark.parametrize("layer", UNKNOWN, ids=lambda layer: type(layer).__name__)
def test_unknown_layers_have_no_constant(layer: nn.Module) -> None:
    # Subclasses of known layers used to get the constant of what they are derived from.
    message = f"{type(layer).__name__} has no proven Lipschitz constant from {LINF}"
    with pytest.raises(StabilityError, match=re.escape(message)):
        chain_of_layers(nn.Sequential(LinfLinear(4, 4), nn.Sequential(MaxMin(), layer)))
    with pytest.raises(StabilityError, match="does not say how it rounds"):
        layer_rounding(layer, np.ones(1), np.zeros(1))


def test_a_network_with_an_unknown_layer_has_no_chain_and_no_rounding() -> None:
    network = StableRankNetwork(4, 2, (4,)).folded()
    network.body.append(nn.Tanh())
    assert network(torch.zeros(1, 4)).shape == (1, 2)
    for ask in (network.stability, network.feature_stability):
        with pytest.raises(StabilityError, match="Tanh has no proven"):
            ask()
    with pytest.raises(StabilityError, match="Tanh does not say how it rounds"):
        network.rounding(np.ones(1), np.zeros(1))


def test_a_layer_of_your_own_names_its_constant() -> None:
    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / 2

        def stability(self, source: Space = LINF) -> Bound:
            return Bound(source, source, 0.5, "a half", "Half")

        def rounding(self, magnitude: Any, error: Any) -> Any:
            return magnitude / 2, error / 2

    chain = chain_of_layers(nn.Sequential(LinfLinear(4, 4), Half(), Half()))
    assert chain.constant == pytest.approx(0.25, rel=1e-6)
    magnitude, error = layer_rounding(Half(), np.array([4.0]), np.array([2.0]))
    assert (magnitude.item(), error.item()) == (2.0, 1.0)


def test_known_layers_of_torch_know_no_constant_between_points() -> None:
    with pytest.raises(StabilityError, match="ReLU has no proven Lipschitz constant from points"):
        layer_bound(nn.ReLU(), HAUSDORFF)
    with pytest.raises(StabilityError, match="Linear knows its constant from vector"):
        layer_bound(nn.Linear(2, 2), HAUSDORFF)
    assert layer_bound(nn.ReLU(), L2).constant == 1.0
    magnitude, error = layer_rounding(nn.ReLU(), np.array([4.0]), np.array([2.0]))
    assert (magnitude.item(), error.item()) == (4.0, 2.0)


# The contract.


@pytest.mark.parametrize("kind", KINDS)
def test_copies_compute_the_same_and_are_others(
    kind: str, networks: dict[str, StableRankNetwork]
) -> None:
    network = networks[kind]
    x = torch.tensor(np.random.default_rng(0).normal(size=(5, N_FEATURES)))
    fresh = StableRankNetwork(N_FEATURES, 3, **KINDS[kind]).eval()
    fresh.load_state_dict(network.state_dict())
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network)), loaded, fresh):
        assert torch.equal(other(x), network(x))
        assert other.stability() == network.stability()
    folded, again = networks[kind].folded(), fresh.folded()
    again.load_state_dict(folded.state_dict())
    assert torch.equal(again(x), folded(x))
    assert again.stability() == folded.stability()
    before = network(x)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.zero_()
    assert torch.equal(network(x), before)


@pytest.mark.parametrize("kind", KINDS)
def test_folding_gives_a_float64_copy(kind: str, networks: dict[str, StableRankNetwork]) -> None:
    network = networks[kind]
    x = torch.tensor(np.random.default_rng(0).normal(size=(5, N_FEATURES)))
    before = network(x)
    folded = network.folded()
    # Folding a copy used to take the weights from the original.
    assert torch.equal(network(x), before)
    assert {p.dtype for p in folded.state_dict().values()} == {torch.float64}
    assert not any(p.requires_grad for p in folded.parameters())
    assert not folded.training
    assert not any("parametrizations" in name for name in folded.state_dict())
    torch.testing.assert_close(folded(x), before.double(), rtol=1e-4, atol=1e-4)
    largest = float(network.standardize.factor.max())
    if network.layer in ("linf", "linf-distance", "sortnet"):
        assert folded.stability().constant <= largest * (1 + 1e-14)
    elif network.layer != "free" and network.hidden:
        features = folded.feature_stability()
        loose = 1.05 if network.layer == "spectral" else 1 + 1e-6
        assert (features.source, features.target) == (LINF, L2)
        assert features.constant <= largest * math.sqrt(N_FEATURES) * loose**3
        assert folded.feature_stability(L2).constant <= largest * loose**3
    twice = folded.folded()
    assert torch.equal(twice(x), folded(x))


def test_a_network_in_double_precision(networks: dict[str, StableRankNetwork]) -> None:
    network = copy.deepcopy(networks["maxmin"]).double()
    x = torch.tensor(np.random.default_rng(0).normal(size=(5, N_FEATURES)))
    assert network(x).dtype == torch.float64
    torch.testing.assert_close(network(x), network.folded()(x), rtol=1e-12, atol=1e-12)
    assert (network.rounding(np.ones(2), np.zeros(2)) > 0).all()


def test_float32_networks_do_not_know_their_rounding(
    networks: dict[str, StableRankNetwork],
) -> None:
    with pytest.raises(StabilityError, match=re.escape("use StableRankNetwork.folded()")):
        networks["maxmin"].rounding(np.ones(1), np.zeros(1))


def test_compiling_changes_nothing(networks: dict[str, StableRankNetwork]) -> None:
    # what torch's compiler sees of the network, run by its interpreter: no graph breaks
    folded = networks["maxmin"].folded()
    x = torch.tensor(np.random.default_rng(0).normal(size=(5, N_FEATURES)))
    compiled = torch.compile(folded, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x), folded(x))


def test_inputs_of_float32_are_standardised_in_float64() -> None:
    network = StableRankNetwork(1, 2, (), center=[1e6], scale=[1e-3])
    x = torch.tensor([[1e6 + 1e-3]], dtype=torch.float64)
    assert not torch.equal(network(x), network(x - 1e-3))


def test_layers_of_nested_sequences_in_order() -> None:
    a, b, c = nn.ReLU(), nn.Identity(), nn.ReLU()
    assert list(leaf_layers(nn.Sequential(a, nn.Sequential(nn.Sequential(b)), c))) == [a, b, c]
    assert list(leaf_layers(a)) == [a]


# Errors.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": (8, 7)}, "hidden=(8, 7): expected positive integers, multiples of 2 for"),
        ({"hidden": (6,), "activation": "groupsort"}, "multiples of 4 for activation='groupsort'"),
        ({"hidden": (0,)}, "expected positive integers"),
        ({"hidden": (-2,)}, "expected positive integers"),
        ({"hidden": (8.0,)}, "expected positive integers"),
        ({"hidden": (True,), "activation": "abs"}, "expected positive integers"),
        ({"hidden": 8}, "hidden=8: expected a tuple of widths, such as (128, 128)"),
        ({"hidden": "88"}, "expected a tuple of widths"),
        ({"activation": "tanh"}, "activation='tanh': expected one of ['abs', 'groupsort'"),
        ({"hidden": (7,), "layer": "free"}, "hidden=(7,): expected positive integers, multiples"),
        ({"gain": [1.0], "layer": "free"}, "gain has shape (1,), but the layer has 4 inputs"),
        ({"activation": ["abs"]}, "activation=['abs']: expected one of"),
        (
            {"layer": "l2"},
            "layer='l2': expected one of ['linf', 'linf-distance', 'sortnet',",
        ),
        ({"n_classes": 1}, "n_classes=1: expected an integer >= 2"),
        ({"n_features": 0}, "n_features=0: expected an integer >= 1"),
        ({"n_features": 2.0}, "n_features=2.0: expected an integer >= 1"),
        ({"center": [0.0]}, "center has shape (1,) and scale (4,)"),
        ({"center": [0.0], "scale": [1.0]}, "center and scale have 1 entries, but n_features=4"),
        ({"scale": [1.0, 0.0, 1.0, 1.0]}, "scale[1] is 0.0"),
        ({"gain": [1.0, 1.0]}, "gain has shape (2,), but the layer has 4 inputs"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        StableRankNetwork(**{"n_features": 4, "n_classes": 2, "hidden": (8,), **settings})


def test_distances_need_no_even_widths() -> None:
    network = StableRankNetwork(4, 2, (7, 3), layer="linf-distance")
    assert network(torch.zeros(1, 4)).shape == (1, 2)


def test_free_layers_start_with_norm_1_and_are_not_held_there() -> None:
    network = StableRankNetwork(4, 2, (8,), layer="free", activation="relu", gain=[1.0, 0, 0, 0.5])
    first: Any = network.body[0]
    assert type(first) is nn.Linear
    torch.testing.assert_close(first.weight.abs().sum(1), torch.ones(8))
    assert (first.weight[:, 1:3] == 0).all()
    assert network.stability().constant == pytest.approx(1.0, rel=1e-6)
    with torch.no_grad():
        first.weight.mul_(3)
    assert network.stability().constant == pytest.approx(3.0, rel=1e-6)


def test_vectors_of_another_length() -> None:
    network = StableRankNetwork(4, 2, (8,))
    with pytest.raises(ValueError, match=re.escape("has shape (5, 3), but the network was made")):
        network(torch.zeros(5, 3))


def test_standardizing_is_where_the_chain_starts() -> None:
    network = StableRankNetwork(2, 2, (), scale=[0.5, 4.0])
    assert isinstance(network.standardize, Standardize)
    with pytest.raises(StabilityError, match="Standardize knows its constant from"):
        network.stability(HAUSDORFF)
    assert network.stability(L2).source == L2

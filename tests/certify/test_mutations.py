"""The law that certificates stay below the distance to a planted twin fails for spoilt code.

Each mutation is one that an author could make: a factor dropped, rounding forgotten, an estimate in
place of a bound. Before it the law holds, and with it a certificate reaches beyond the twin.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline
from torch import nn

from stablerank import (
    AlphaPersistence,
    DiagramBatch,
    LipschitzClassifier,
    RipsPersistence,
    StableRank,
    StableRankNetwork,
    certify,
)
from stablerank.diagrams.ball import DiagramBall
from stablerank.diagrams.filtration import Filtration
from stablerank.nn import affine, linf, network, relaxation
from stablerank.nn.linf import Standardize
from stablerank.ranks import Landscapes, boxes, order_statistics, stable_rank
from stablerank.ranks.boxes import BarBoxes, bar_boxes
from stablerank.ranks.templates import Tent
from stablerank.stability import FROBENIUS, Bound, Parallel, StabilityError
from stablerank.stages import LipschitzUnion

MakeTwins = Callable[..., Any]
Patch = pytest.MonkeyPatch
BOTTLENECK_THREAT = {"threat": "bottleneck"}
PER_POINT_THREAT = {"threat": "per_point"}


def bars(*rows: tuple[float, float]) -> DiagramBatch:
    return DiagramBatch.from_diagrams([{1: np.array(rows).reshape(-1, 2)}])


def ranks(dimension: int = 1, n_ranks: int = 1) -> StableRank:
    return StableRank(n_ranks=n_ranks).fit([{dimension: [[0, 1]] * 4}])


def pair(apart: float) -> list[NDArray[np.float64]]:
    return [np.array([[apart / 2, 1.0], [-apart / 2, 1.0]])]


def a_longer_bar(make_twins: MakeTwins) -> Any:
    return make_twins([ranks()], bars((1, 2)), bars((0.9, 2.1)), 0.1, BOTTLENECK_THREAT)


def a_bar_that_vanishes(make_twins: MakeTwins) -> Any:
    return make_twins([ranks()], bars((1, 2)), bars(), 0.5, BOTTLENECK_THREAT)


def a_bar_that_appears(make_twins: MakeTwins) -> Any:
    landscape = Landscapes(positions=[3.5], n_levels=1).fit([{1: [[0, 1]]}])
    return make_twins([landscape], bars(), bars((3, 4)), 0.5, BOTTLENECK_THREAT)


def two_bars_together(make_twins: MakeTwins) -> Any:
    longer = bars((0.9, 2.1), (0.9, 2.1))
    steps = [ranks(n_ranks=2)]
    return make_twins(
        steps, bars((1, 2), (1, 2)), longer, 0.1, BOTTLENECK_THREAT, weights=[1.0, 1.0]
    )


def two_points_in_frobenius_norm(make_twins: MakeTwins) -> Any:
    steps = [AlphaPersistence((0,)).fit(pair(1.0)), ranks(0)]
    return make_twins(steps, pair(1.6), pair(2.0), 0.2 * math.sqrt(2), {"threat": "frobenius"})


def a_union(make_twins: MakeTwins) -> Any:
    X = pair(1.6)
    kinds = {"alpha": AlphaPersistence, "rips": RipsPersistence}
    union = LipschitzUnion(
        [(name, make_pipeline(kind((0,)).fit(X), ranks(0))) for name, kind in kinds.items()]
    )
    return make_twins(
        [union], X, pair(2.0), 0.2, PER_POINT_THREAT, weights=[0.0, 1.0], scale=[4.0, 2.0]
    )


def scaled(bounds: Parallel, factors: dict[str, float]) -> Parallel:
    """The same bounds, some with other constants."""
    changed: dict[str, Any] = {}
    for name, bound in bounds.branches.items():
        assert isinstance(bound, Bound)
        factor = factors.get(name, 1.0)
        constants = tuple(factor * value for value in bound.constants or ())
        changed[name] = replace(
            bound, constant=factor * bound.constant, constants=constants or None
        )
    return Parallel(changed, bounds.joined)


def without_the_factor_2_of_h1(patch: Patch) -> None:
    original = StableRank.stability
    patch.setattr(StableRank, "stability", lambda self, s: scaled(original(self, s), {"H1": 0.5}))


def boxes_of_half_the_reach(patch: Patch) -> None:
    def broken(ball: DiagramBall, *rest: Any) -> BarBoxes:
        return bar_boxes(ball.with_reach({k: r / 2 for k, r in ball.reach.items()}), *rest)

    patch.setattr(stable_rank, "bar_boxes", broken)


def boxes_that_forget_vanishing_bars(patch: Patch) -> None:
    def broken(ball: DiagramBall, *rest: Any) -> BarBoxes:
        found = bar_boxes(ball, *rest)
        still = bar_boxes(ball.with_reach({k: 0 * r for k, r in ball.reach.items()}), *rest)
        gone = found.deaths_low <= found.births_high
        return replace(
            found,
            births_high=torch.where(gone, still.births_low, found.births_high),
            deaths_low=torch.where(gone, still.deaths_low, found.deaths_low),
        )

    patch.setattr(stable_rank, "bar_boxes", broken)


def boxes_in_which_no_bar_appears(patch: Patch) -> None:
    patch.setattr(Tent, "short_bars", lambda self, reach, lowest: torch.zeros(len(reach), 1))


def rows_by_their_l2_norm(patch: Patch) -> None:
    # what power iteration finds, and it is below the l1 norm, which is the one of l-infinity
    patch.setattr(affine, "row_norms_upper", lambda w: np.linalg.norm(w.detach().numpy(), axis=1))


def rows_by_one_step_of_power_iteration(patch: Patch) -> None:
    def estimate(weight: torch.Tensor) -> NDArray[np.float64]:
        rows = weight.detach().numpy()
        start = np.random.default_rng(0).uniform(-1, 1, size=rows.shape[1])
        return np.abs(rows @ start)

    patch.setattr(affine, "row_norms_upper", estimate)


def pairs_of_rows_by_their_l2_norm(patch: Patch) -> None:
    def broken(weight: torch.Tensor, *_: Any) -> NDArray[np.float64]:
        rows = weight.detach().numpy()
        return np.linalg.norm(rows[:, None] - rows[None], axis=2) / 2

    patch.setattr(network, "pairwise_norms_upper", broken)


def half_in_frobenius_norm(patch: Patch) -> None:
    original = AlphaPersistence.stability

    def broken(self: AlphaPersistence, source: Any) -> Parallel:
        bounds = original(self, source)
        return scaled(bounds, {"H0": math.sqrt(0.5)}) if source == FROBENIUS else bounds

    patch.setattr(AlphaPersistence, "stability", broken)


def branches_with_each_others_constants(patch: Patch) -> None:
    original = LipschitzUnion.stability

    def broken(self: LipschitzUnion, source: Any) -> Any:
        honest = self.branches()
        swapped = dict(zip([name for name, _ in honest], [s for _, s in honest][::-1], strict=True))
        patch.setattr(LipschitzUnion, "branches", lambda self: list(swapped.items()))
        try:
            return original(self, source)
        finally:
            patch.setattr(LipschitzUnion, "branches", lambda self: honest)

    patch.setattr(LipschitzUnion, "stability", broken)


MUTATIONS: list[tuple[Callable[[MakeTwins], Any], str, Callable[[Patch], None]]] = [
    (a_longer_bar, "global", without_the_factor_2_of_h1),
    (a_longer_bar, "best", without_the_factor_2_of_h1),
    (a_longer_bar, "interval", boxes_of_half_the_reach),
    (a_longer_bar, "linear", boxes_of_half_the_reach),
    (a_bar_that_vanishes, "interval", boxes_that_forget_vanishing_bars),
    (a_bar_that_vanishes, "best", boxes_that_forget_vanishing_bars),
    (a_bar_that_appears, "linear", boxes_in_which_no_bar_appears),
    (two_bars_together, "global", rows_by_their_l2_norm),
    (two_bars_together, "global", rows_by_one_step_of_power_iteration),
    (two_bars_together, "global", pairs_of_rows_by_their_l2_norm),
    (two_points_in_frobenius_norm, "global", half_in_frobenius_norm),
    (two_points_in_frobenius_norm, "linear", half_in_frobenius_norm),
    (a_union, "global", branches_with_each_others_constants),
]


@pytest.mark.parametrize(
    ("twins", "method", "mutation"),
    MUTATIONS,
    ids=[f"{mutation.__name__}, {method}" for _, method, mutation in MUTATIONS],
)
def test_the_law_fails(
    twins: Callable[[MakeTwins], Any],
    method: str,
    mutation: Callable[[Patch], None],
    make_twins: MakeTwins,
    monkeypatch: Patch,
) -> None:
    honest = twins(make_twins)
    assert honest.share(method) < 1
    mutation(monkeypatch)
    assert honest.share(method) > 1


# Rounding. Computed logits are the float next to x + 2^53, less 2^53: 0 for x < 1, and 2 beyond.


@pytest.fixture
def coarse(
    make_twins: MakeTwins, around: Callable[[StableRankNetwork], LipschitzClassifier]
) -> Any:
    """A bar of length 0.9 against a threshold of 1.9, which rounding carries one of 1.2 across."""
    twins = make_twins([ranks()], bars((1, 1.9)), bars((0.85, 2.05)), 0.15, BOTTLENECK_THREAT)
    rounded = StableRankNetwork(1, 2, hidden=(1,), layer="free", activation="relu").double()
    rounded.body[0].weight.data.fill_(1.0)
    rounded.body[0].bias.data.fill_(2.0**53)
    rounded.head.weight.data = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    rounded.head.bias.data = torch.tensor([1.9, -(2.0**53)], dtype=torch.float64)
    return replace(twins, pipeline=make_pipeline(twins.pipeline[0], around(rounded)))


@pytest.mark.parametrize("method", ["best", "global", "interval", "linear"])
def test_without_a_charge_for_rounding_the_law_fails(
    method: str, coarse: Any, monkeypatch: Patch
) -> None:
    assert coarse.share(method) < 1
    for module in (affine, linf, relaxation):
        monkeypatch.setattr(module, "gamma", lambda n: 0.0)
    for name in ("round_down", "round_up"):
        monkeypatch.setattr(affine, name, lambda x: x)
    assert coarse.share(method) > 1


def test_boxes_without_the_rounding_of_the_filtration_are_too_small(monkeypatch: Patch) -> None:
    # The computed death of some twin is a last place beyond what its exact one can be.
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(2, 2)) for _ in range(2000)]
    filtration = AlphaPersistence((0,)).fit(X)
    epsilon = 0.125
    apart = [cloud + epsilon * _outward(cloud) for cloud in X]

    def outside() -> int:
        ball = filtration.bounds(X, epsilon)
        deaths = ball.intervals(0)[1][:, 0]
        found = filtration.transform(apart).padded(0)[:, 0, 1]
        return int((found > deaths[:, 1]).sum())

    assert outside() == 0
    monkeypatch.setattr(AlphaPersistence, "relative_rounding", lambda self: 0.0)
    assert outside() > 0


def _outward(cloud: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors away from each other."""
    along = (cloud[0] - cloud[1]) / np.linalg.norm(cloud[0] - cloud[1])
    return np.array([along, -along])


# Relaxation: from above a ReLU lies below its chord, not below a tangent.


@pytest.fixture
def kinked(
    make_twins: MakeTwins, around: Callable[[StableRankNetwork], LipschitzClassifier]
) -> Any:
    """A class that loses against a ReLU, which is off at the bar and on at the twin.

    With x = length − 1.1 the logits are 0.3 and max(x, 0): from a length of 1 to one of 1.4.
    """
    twins = make_twins([ranks()], bars((1, 2)), bars((0.7999, 2.2001)), 0.2001, BOTTLENECK_THREAT)
    kink = StableRankNetwork(1, 2, hidden=(1,), layer="free", activation="relu").double()
    kink.body[0].weight.data.fill_(1.0)
    kink.body[0].bias.data.fill_(-1.1)
    kink.head.weight.data = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    kink.head.bias.data = torch.tensor([0.3, 0.0], dtype=torch.float64)
    return replace(twins, pipeline=make_pipeline(twins.pipeline[0], around(kink)))


def test_with_chord_and_tangent_swapped_the_law_fails(kinked: Any, monkeypatch: Patch) -> None:
    assert 0.99 < kinked.share("linear") < 1
    original = relaxation._lines

    def swapped(lower: Any, upper: Any) -> Any:
        tangent, chord, gap = original(lower, upper)
        return chord, tangent, gap

    monkeypatch.setattr(relaxation, "_lines", swapped)
    assert kinked.share("linear") > 1


# Statistics of the batch: a prediction must not depend on the clouds beside it.


def test_a_live_batch_norm_is_refused(make_twins: MakeTwins) -> None:
    honest = a_longer_bar(make_twins)
    network_ = honest.pipeline[-1].network_
    network_.body = nn.Sequential(nn.BatchNorm1d(1).double(), *network_.body)
    both = DiagramBatch.concatenate([honest.X, honest.twin])
    for method in ("best", "global", "interval", "linear"):
        with pytest.raises(StabilityError, match="BatchNorm1d"):
            certify(honest.pipeline, both, method=method, **honest.threat)


def test_a_batch_statistic_in_a_known_layer_is_seen(
    make_twins: MakeTwins, monkeypatch: Patch
) -> None:
    # Beside a bar of length 3 the mean is 2, and what a bar of length 1 is above it has changed.
    honest = a_longer_bar(make_twins)
    both = DiagramBatch.concatenate([honest.X, bars((1, 4))])

    def moved_by_the_others() -> bool:
        alone = certify(honest.pipeline, honest.X, **honest.threat)
        beside = certify(honest.pipeline, both, **honest.threat)
        return bool(abs(alone.margin[0] - beside.margin[0]) > 1e-9)

    assert not moved_by_the_others()
    original = Standardize.forward
    monkeypatch.setattr(
        Standardize, "forward", lambda self, x: original(self, x) - x.mean(dim=0, keepdim=True)
    )
    assert moved_by_the_others()


def test_the_bounds_that_are_spoilt_are_those_that_certify_asks_for() -> None:
    assert boxes.bar_boxes is stable_rank.bar_boxes is order_statistics.bar_boxes
    assert isinstance(AlphaPersistence(), Filtration)

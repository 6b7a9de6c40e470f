"""Vectors of stable ranks: by brute force, against 50 digits, and as a transformer (R2)."""

from __future__ import annotations

import itertools
import math
import pickle
import re
from typing import Any

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from stablerank.diagrams.batch import DiagramBatch
from stablerank.ranks import (
    Contour,
    DistanceContour,
    StableRank,
    StandardContour,
    boxes,
    stable_ranks,
)
from stablerank.ranks.contours import bar_lengths
from stablerank.stability import BOTTLENECK, HAUSDORFF, LINF, ORDERED_DEATHS, Space, StabilityError

Array = NDArray[np.float64]

INF = math.inf
PS = (1, 1.5, 2, 4, INF)
CONTOURS: dict[str, Contour] = {
    "standard": StandardContour(),
    "mixture": DistanceContour([1.0, 1.3], [0.8, 0.3], [2.0, 1.0], floor=0.2),
}


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


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


def test_vectors_by_hand() -> None:
    # lengths 4, 3: p = 1 gives 4+3, 3; p = 2 gives 5, 3; p = inf gives 4, 3
    diagrams = [{0: [[0, 3], [0, 4]], 1: []}, {0: [[0, 1]], 1: [[1, 3]]}]
    expected = {1: [7, 3, 0], 2: [5, 3, 0], INF: [4, 3, 0]}
    for p, row in expected.items():
        vectors = StableRank(p=p, n_ranks=3).fit_transform(diagrams)
        assert vectors.tolist() == [[*row, 0, 0, 0], [1, 0, 0, 2, 0, 0]]


def test_equal_bars_have_the_tails_of_roots() -> None:
    # n bars of length l: t_k = (n-k)^(1/p) l
    for p in (1, 1.5, 2, 4, 50):
        ranks = stable_ranks(torch.full((9,), 0.25, dtype=torch.float64), p, 10)
        assert ranks.numpy() == pytest.approx(np.arange(9, -1, -1) ** (1 / p) * 0.25, rel=1e-14)


def test_max_bars_cuts_the_tails_and_not_the_sorted_lengths() -> None:
    # lengths 4, 3, 2, 1; the two longest: p = 1 gives 7, 3; with p = inf nothing is cut
    diagrams = [{0: [[0, 1], [0, 2], [0, 3], [0, 4]]}]
    for p, row in ((1, [7, 3, 0]), (2, [5, 3, 0]), (INF, [4, 3, 2])):
        rank = StableRank(p=p, n_ranks=3, max_bars=2).fit(diagrams)
        assert rank.transform(diagrams).tolist() == [row]
    assert stable_ranks(tensor([4.0, 3, 2, 1]), 1, 3, max_bars=2).tolist() == [7, 3, 0]
    assert stable_ranks(tensor([4.0, 3, 2, 1]), 1, 1, max_bars=0).tolist() == [0]


# Slow references.


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
@pytest.mark.parametrize("p", PS)
def test_each_jump_is_the_least_that_is_left_when_k_bars_are_kept(
    p: float, contour: Contour, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    diagrams = [random_diagram(rng, n) for n in (0, 1, 2, 5, 7)]
    vectors = StableRank(p=p, contour=contour, n_ranks=8).fit_transform([{1: d} for d in diagrams])
    for diagram, vector in zip(diagrams, vectors, strict=True):
        lengths = bar_lengths(diagram, contour).numpy()
        for k, jump in enumerate(vector):
            left = max(len(lengths) - k, 0)
            least = min(
                np.linalg.norm(rest, ord=p) if rest else 0.0
                for rest in itertools.combinations(lengths.tolist(), left)
            )
            assert jump == pytest.approx(least, rel=1e-13)


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
def test_at_infinity_vectors_are_the_sorted_lengths(contour: Contour, seed: int) -> None:
    clouds, batch = random_batch(np.random.default_rng(seed), 20, 30)
    vectors = StableRank(contour=contour, n_ranks={0: 5, 1: 40}).fit_transform(batch)
    for cloud, vector in zip(clouds, vectors, strict=True):
        for k, n, part in ((0, 5, vector[:5]), (1, 40, vector[5:])):
            lengths = np.sort(bar_lengths(cloud[k], contour).numpy())[::-1]
            assert part.tolist() == np.pad(lengths, (0, 40))[:n].tolist()


def exact_ranks(lengths: list[mpmath.mpf], p: float, n_ranks: int) -> list[mpmath.mpf]:
    """Tails to 50 digits."""
    lengths = sorted(lengths, reverse=True)
    if p == INF:
        tails = lengths
    else:
        powers = [length ** mpmath.mpf(p) for length in lengths]
        sums = list(itertools.accumulate(reversed(powers)))[::-1]
        tails = [total ** (1 / mpmath.mpf(p)) for total in sums]
    return (tails + [mpmath.mpf(0)] * n_ranks)[:n_ranks]


@pytest.mark.parametrize("p", [1.01, 3, 20, 64, 1000.5])
def test_short_bars_survive_large_exponents(p: float, seed: int) -> None:
    # their powers underflow: at p = 64 a bar 1e-6 as long as the longest used to vanish
    lengths = 10 ** np.random.default_rng(seed).uniform(-12, 2, 40)
    ranks = stable_ranks(tensor(lengths), p, 40).tolist()
    with mpmath.workdps(50):
        exact = exact_ranks([mpmath.mpf(length) for length in lengths], p, 40)
        assert all(abs(a / b - 1) < 1e-13 for a, b in zip(ranks, exact, strict=True))


def exact_length(contour: Contour, birth: float, death: float) -> mpmath.mpf:
    b, d = mpmath.mpf(birth), mpmath.mpf(death)
    if not isinstance(contour, DistanceContour):
        return d - b
    parts = zip(contour.means, contour.scales, contour.weights, strict=True)
    return contour.floor * (d - b) + mpmath.fsum(
        w * (mpmath.ncdf((d - mpmath.mpf(m)) / s) - mpmath.ncdf((b - mpmath.mpf(m)) / s))
        for m, s, w in parts
    )


def rounding_used(
    p: float,
    contour: Contour,
    diagrams: list[Array],
    *,
    relative: float = 0.0,
    reach: float = 0.0,
    seed: int = 0,
) -> float:
    """The largest error of a coordinate, in units of what `StableRank.rounding` grants it.

    Rounding is asked of `diagrams`; judged are diagrams moved by `reach`, whose births and deaths
    are then wrong by `relative`.
    """
    rng = np.random.default_rng(seed)
    rank = StableRank(p=p, contour=contour, n_ranks=30).fit([{1: d} for d in diagrams])
    granted = rank.rounding([{1: d} for d in diagrams], relative, np.full(len(diagrams), reach))
    used = 0.0
    for diagram, allowed in zip(diagrams, granted, strict=True):
        exact = diagram + reach
        wrong = exact * (1 + relative * rng.choice([-1, 1], exact.shape))
        wrong = np.sort(wrong, axis=1)
        with mpmath.workdps(50):
            lengths = [exact_length(contour, b, d) for b, d in exact.tolist()]
            tails = exact_ranks(lengths, p, 30)
            found = rank.transform([{1: wrong}])[0].tolist()
            error = max(abs(a - b) for a, b in zip(found, tails, strict=True))
            used = max(used, float(error / allowed))
    return used


def diagrams_for_rounding(seed: int) -> list[Array]:
    """Up to 300 bars: random, long and short, equal, far from zero, and of both signs."""
    rng = np.random.default_rng(seed)
    spread = np.sort(10 ** rng.uniform(-9, 1, (200, 2)), axis=1)
    equal = np.tile([[0.1, 0.1 + 1 / 3]], (300, 1))
    far = 1000 + random_diagram(rng, 50)
    return [random_diagram(rng, 300), spread, equal, far, random_diagram(rng, 100) - 3]


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
@pytest.mark.parametrize("p", [1, 1.5, 2, 4, 64, INF])
def test_rounding_is_never_exceeded(p: float, contour: Contour, seed: int) -> None:
    for diagram in diagrams_for_rounding(seed):
        assert rounding_used(p, contour, [diagram]) <= 1


@pytest.mark.parametrize("relative", [1e-15, 1e-9, 0.1])
@pytest.mark.parametrize("p", [1, 2, 64, INF])
def test_rounding_covers_wrong_diagrams_that_have_moved(
    p: float, relative: float, seed: int
) -> None:
    for contour in CONTOURS.values():
        rng = np.random.default_rng(seed)
        diagrams = [random_diagram(rng, n) for n in (1, 20, 60)]
        for reach in (0.0, 3.0):
            used = rounding_used(p, contour, diagrams, relative=relative, reach=reach, seed=seed)
            assert used <= 1


def test_rounding_is_no_larger_than_it_need_be() -> None:
    # one bar (1, 2), relative error r: birth and death off by r and 2r, the length by 3r at worst;
    # 4r (1 + 4r) is granted. For 300 bars and p = 2, below 1e-12 of the longest bar.
    rank = StableRank(n_ranks=1).fit([{1: [[1, 2]]}])
    assert rank.rounding([{1: [[1, 2]]}], 0.01, np.zeros(1))[0] == pytest.approx(0.0416, rel=1e-9)
    diagram = random_diagram(np.random.default_rng(0), 300)
    rank = StableRank(p=2, n_ranks=1).fit([{1: diagram}])
    granted = rank.rounding([{1: diagram}], 0.0, np.zeros(1))[0]
    assert 0 < granted < 1e-12 * math.sqrt(300) * diagram.max()


def test_rounding_would_be_exceeded_if_the_diagrams_error_were_forgotten() -> None:
    diagrams = [random_diagram(np.random.default_rng(0), 60)]
    for p in (1, 2, INF):
        rank = StableRank(p=p, n_ranks=30).fit([{1: d} for d in diagrams])
        forgotten = rank.rounding([{1: d} for d in diagrams], 0.0, np.zeros(1))
        charged = rank.rounding([{1: d} for d in diagrams], 1e-9, np.zeros(1))
        used = rounding_used(p, CONTOURS["standard"], diagrams, relative=1e-9)
        assert used * charged[0] > forgotten[0]


def test_rounding_of_negative_births_is_charged_by_their_size() -> None:
    # the largest death used to be taken, which is 0 or less for bars below zero
    diagrams = [np.array([[-7.3, -0.1], [-1 / 3, 0.0]])]
    for p in (1, 2, INF):
        assert 0 < rounding_used(p, CONTOURS["standard"], diagrams, relative=1e-12) <= 1


def test_rounding_of_clouds_is_their_own() -> None:
    rng = np.random.default_rng(0)
    clouds, batch = random_batch(rng, 6, 5)
    clouds[2] = {0: np.empty((0, 2)), 1: np.empty((0, 2))}
    batch = DiagramBatch.from_diagrams(clouds)
    rank = StableRank(p=2).fit(batch)
    reach = rng.random(6)
    together = rank.rounding(batch, 1e-12, reach)
    assert together.shape == (6,)
    alone = [rank.rounding([cloud], 1e-12, reach[[i]])[0] for i, cloud in enumerate(clouds)]
    assert together.tolist() == alone
    assert np.isnan(rank.rounding(batch, 1e-12, np.full(6, np.nan))).all()


# The law: non-increasing, homogeneous, blind to order and to padding.


@pytest.mark.parametrize("p", [*PS, 1.001, 7, 300.0])
def test_ranks_do_not_increase_nor_depend_on_order_or_padding(p: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = 10 ** rng.uniform(-17, 1, (50, 40)) * (rng.random((50, 40)) < 0.8)
    ranks = stable_ranks(tensor(lengths), p, 40)
    assert (ranks.diff(dim=-1) <= 0).all()
    assert (ranks >= 0).all()
    shuffled = stable_ranks(tensor(rng.permuted(lengths, axis=1)), p, 40)
    assert torch.equal(shuffled, ranks)
    padded = stable_ranks(tensor(np.pad(lengths, ((0, 0), (0, 9)))), p, 55)
    assert (padded[:, 40:] == 0).all()
    assert padded[:, :40].numpy() == pytest.approx(ranks.numpy(), rel=1e-14)
    # powers of two scale exactly
    assert torch.equal(stable_ranks(tensor(4 * lengths), p, 40), 4 * ranks)


@pytest.mark.parametrize("scale", [1e-300, 1e300])
@pytest.mark.parametrize("p", PS)
def test_ranks_of_extreme_lengths_neither_overflow_nor_vanish(p: float, scale: float) -> None:
    ranks = stable_ranks(tensor([3.0, 4.0]) * scale, p, 3).tolist()
    whole = (3**p + 4**p) ** (1 / p) if p < INF else 4
    assert ranks == pytest.approx([whole * scale, 3 * scale, 0], rel=1e-14)


# Gradients.


@pytest.mark.parametrize("max_bars", [None, 4])
@pytest.mark.parametrize("p", [*PS, 7.0])
def test_gradients_away_from_ties(p: float, max_bars: int | None) -> None:
    lengths = tensor([[0.3, 1.1, 0.7, 0.1, 0.9, 2.0], [1.0, 0.5, 0.25, 3.0, 0.75, 2.0]])
    lengths.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: stable_ranks(x, p, 6, max_bars), (lengths,))


@pytest.mark.parametrize("p", [*PS, 1.0001, 7.0, 500.0])
def test_gradients_are_finite_everywhere(p: float) -> None:
    rows = [
        [0.0, 0.0, 0.0, 0.0],
        [1.0, 0.0, 0.0, 0.0],
        [1.0, 1.0, 1.0, 1.0],
        [1.0, 1e-30, 1e-200, 1e-300],
        [1e300, 1e300, 1e-300, 0.0],
        [1.0, 5e-324, 5e-324, 0.0],
        [5e-324, 5e-324, 0.0, 0.0],
    ]
    for row in rows:
        for k in range(5):
            lengths = tensor(row).requires_grad_()
            jump = stable_ranks(lengths, p, 5)[k]
            (gradient,) = torch.autograd.grad(jump, lengths)
            assert torch.isfinite(gradient).all()
            # t_k is non-decreasing, and 1-Lipschitz in the p-norm: no partial derivative above 1;
            # products with subnormal numbers know that to few bits only
            assert ((gradient >= 0) & (gradient <= (1 + 1e-9 if 5e-324 not in row else 4))).all()
            if jump == 0 and p < INF:
                assert (gradient == 0).all()


@pytest.mark.parametrize("p", [1, 1.5, 2, 4, 7.0])
def test_the_gradient_of_a_tail_by_hand(p: float) -> None:
    # dt_k/dl_j = (l_j/t_k)^(p-1) in the tail and 0 outside
    lengths = tensor([3.0, 1.0, 4.0, 2.0]).requires_grad_()
    ranks = stable_ranks(lengths, p, 4)
    (gradient,) = torch.autograd.grad(ranks[1], lengths)
    tail = (3**p + 1 + 2**p) ** (1 / p)
    expected = [(3 / tail) ** (p - 1), (1 / tail) ** (p - 1), 0, (2 / tail) ** (p - 1)]
    assert gradient.tolist() == pytest.approx(expected, rel=1e-13)


# The contract: a tensor function.


def test_stable_ranks_keep_dtype_and_leading_shape() -> None:
    lengths = torch.rand((2, 3, 7), generator=torch.Generator().manual_seed(0))
    before = lengths.clone()
    for p in (*PS, 30.0):
        ranks = stable_ranks(lengths, p, 4)
        assert ranks.shape == (2, 3, 4)
        assert ranks.dtype == torch.float32
        precise = stable_ranks(lengths.double(), p, 4)
        assert ranks.numpy() == pytest.approx(precise.numpy(), rel=1e-5)
        assert stable_ranks(lengths[:0], p, 4).shape == (0, 3, 4)
        assert stable_ranks(lengths[..., :0], p, 4).tolist() == [[[0.0] * 4] * 3] * 2
        assert stable_ranks(lengths, p, 0).shape == (2, 3, 0)
    assert torch.equal(lengths, before)


# The contract: a transformer.


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
def test_the_checks_of_scikit_learn_that_need_no_arrays(check: str) -> None:
    getattr(estimator_checks, check)("StableRank", StableRank())


def test_clone_and_set_params_do_not_look_at_the_values() -> None:
    rank = StableRank(p=0.5, contour="none", n_ranks={1: 0}, max_bars=-3)  # type: ignore[arg-type]
    copy = clone(rank).set_params(max_bars=None)
    assert copy.get_params() == {"p": 0.5, "contour": "none", "n_ranks": {1: 0}, "max_bars": None}
    contour = CONTOURS["mixture"]
    assert clone(StableRank(contour=contour)).contour == contour


def test_fit_learns_dimensions_widths_and_bars() -> None:
    diagrams = [
        {0: [[0, 1], [0, 2]], 2: np.empty((0, 2)), 1: [[1, 2]]},
        {0: [[0, 3]], 2: [], 1: [[1, 2], [1, 3], [2, 3]]},
    ]
    rank = StableRank(p=2, n_ranks={0: 2, 1: 4, 2: 1, 7: 9})
    assert rank.fit(diagrams) is rank
    assert rank.homology_dimensions_ == (0, 1, 2)
    assert rank.n_ranks_ == {0: 2, 1: 4, 2: 1}
    assert rank.max_bars_ == {0: 2, 1: 3, 2: 1}
    assert rank.n_features_out_ == 7
    names = ["H0_rank0", "H0_rank1", *(f"H1_rank{k}" for k in range(4)), "H2_rank0"]
    assert rank.get_feature_names_out().tolist() == names
    assert StableRank(max_bars=5).fit(diagrams).max_bars_ == {0: 5, 1: 5, 2: 5}
    assert rank.set_params(n_ranks=1).fit(diagrams).n_features_out_ == 3


def test_a_diagram_larger_than_those_of_training_is_cut_in_the_tails() -> None:
    rank = StableRank(p=1, n_ranks=3).fit([{0: [[0, 1]]}])
    assert rank.transform([{0: [[0, 1], [0, 4], [0, 3]]}]).tolist() == [[4, 0, 0]]


@pytest.mark.parametrize("p", PS)
def test_clouds_without_bars_give_zeros(p: float) -> None:
    empty: dict[int, Any] = {0: [], 1: np.empty((0, 2))}
    rank = StableRank(p=p, n_ranks=3)
    assert rank.fit_transform([empty, empty]).tolist() == [[0.0] * 6] * 2
    some = rank.transform([empty, {0: [[0, 1]], 1: [[2, 2]]}, empty])
    assert some.tolist() == [[0.0] * 6, [1, 0, 0, 0, 0, 0], [0.0] * 6]


def test_lists_of_dicts_and_batches_give_the_same_bits(seed: int) -> None:
    clouds, batch = random_batch(np.random.default_rng(seed), 12, 9)
    copies = [{k: diagram.copy() for k, diagram in cloud.items()} for cloud in clouds]
    for p, contour in itertools.product(PS, CONTOURS.values()):
        rank = StableRank(p=p, contour=contour, n_ranks=5).fit(batch)
        vectors = rank.transform(batch)
        assert vectors.dtype == np.float64
        assert vectors.flags.c_contiguous
        assert (rank.transform(clouds) == vectors).all()
        assert (rank.transform(tuple(batch)) == vectors).all()
        extra = [{**cloud, 5: np.empty((0, 2))} for cloud in clouds]
        assert (rank.transform(extra) == vectors).all()
    for cloud, copy in zip(clouds, copies, strict=True):
        assert all((cloud[k] == copy[k]).all() for k in copy)
    assert batch == DiagramBatch.from_diagrams(copies)


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
@pytest.mark.parametrize("p", [*PS, 1.1, 3, 30.0])
def test_a_clouds_bits_do_not_depend_on_those_beside_it(
    p: float, contour: Contour, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    # powers computed eight at a time used to differ in the last bit from those computed alone
    rng = np.random.default_rng(seed)
    clouds, batch = random_batch(rng, 40, 40)
    rank = StableRank(p=p, contour=contour, n_ranks=10).fit(batch)
    whole = rank.transform(batch)
    for bars in (1, 79, 1000):
        monkeypatch.setattr(boxes, "BATCH_BARS", bars)
        assert (rank.transform(batch) == whole).all()
    order = rng.permutation(40)
    assert (rank.transform(batch[order]) == whole[order]).all()
    assert all((rank.transform([c])[0] == row).all() for c, row in zip(clouds, whole, strict=True))


def test_pickled_ranks_give_the_same_bits_and_constants(seed: int) -> None:
    _, batch = random_batch(np.random.default_rng(seed), 10, 20)
    for contour in CONTOURS.values():
        rank = StableRank(p=1.5, contour=contour, n_ranks={0: 3, 1: 4}).fit(batch)
        copy = pickle.loads(pickle.dumps(rank))
        assert (copy.transform(batch) == rank.transform(batch)).all()
        assert copy.stability(BOTTLENECK) == rank.stability(BOTTLENECK)


def test_the_default_output_can_be_asked_for() -> None:
    diagrams = [{0: [[0, 3]]}]
    rank = StableRank(n_ranks=2).set_output(transform="default").fit(diagrams)
    assert type(rank.transform(diagrams)) is np.ndarray
    assert rank.transform(diagrams).tolist() == [[3, 0]]


def test_a_grid_search_sets_its_parameters() -> None:
    # class 1 has one long bar in H1, class 0 has none, so one number tells them apart
    rng = np.random.default_rng(0)
    y = np.arange(20) % 2
    diagrams = [{1: [[0, 0.1 * rng.random() + label]]} for label in y]
    pipeline = make_pipeline(StableRank(), LogisticRegression(C=100))
    grid = {"stablerank__p": [1, 2, INF], "stablerank__n_ranks": [1, {1: 3}]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise")
    search.fit(DiagramBatch.from_diagrams(diagrams), y)
    assert (search.cv_results_["mean_test_score"] == 1).all()
    assert search.best_estimator_[0].n_features_out_ == search.best_estimator_[1].n_features_in_


def test_parameters_set_after_fit_are_checked_too() -> None:
    rank = StableRank(p=2).fit([{0: [[0, 1]]}]).set_params(p=0.5)
    for call in (lambda: rank.transform([{0: [[0, 1]]}]), lambda: rank.stability(BOTTLENECK)):
        with pytest.raises(ValueError, match=re.escape("p=0.5 is not the exponent of a norm")):
            call()


def test_stability_speaks_of_every_dimension() -> None:
    rank = StableRank(n_ranks={0: 2, 1: 1}).fit([{0: [[0, 1]], 1: [[1, 2]]}])
    source = Space.product({"H0": ORDERED_DEATHS, "H1": BOTTLENECK, "H2": BOTTLENECK})
    bound = rank.stability(source)
    assert bound.target == LINF
    assert dict(bound.source.parts) == {"H0": ORDERED_DEATHS, "H1": BOTTLENECK}
    assert bound.branches["H0"].constant == 1
    assert bound.branches["H1"].constant == 2
    both = rank.stability(BOTTLENECK)
    assert both.source_fits(BOTTLENECK)
    assert [branch.constant for branch in both.branches.values()] == [2, 2]


# Errors.


FITTED = StableRank(n_ranks=2).fit([{0: [[0, 1]], 1: [[1, 2]]}])


@pytest.mark.parametrize("p", [0.5, 0, -INF, math.nan, "2", True, np.True_, None, 2j])
def test_bad_exponents_are_named(p: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"p={p!r} is not the exponent of a norm")):
        StableRank(p=p).fit([{0: [[0, 1]]}])
    with pytest.raises(ValueError, match=re.escape(f"p={p!r} is not the exponent of a norm")):
        stable_ranks(tensor([1.0]), p, 1)


@pytest.mark.parametrize("p", [1, np.int64(2), np.float32(1.5), np.float64("inf"), 1e300])
def test_exponents_may_be_any_real_number(p: Any) -> None:
    rank = StableRank(p=p, n_ranks=1).fit([{0: [[0, 3]]}])
    assert rank.transform([{0: [[0, 3]]}]) == pytest.approx(3, rel=1e-14)
    assert rank.stability(BOTTLENECK).branches["H0"].constant == pytest.approx(2, rel=1e-14)


@pytest.mark.parametrize("n_ranks", [0, -1, 2.0, "3", True, None, {0: 0}, {0: 1.5}])
def test_bad_numbers_of_ranks_are_named(n_ranks: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"n_ranks={n_ranks!r}: expected integers >= 1")):
        StableRank(n_ranks=n_ranks).fit([{0: [[0, 1]]}])


def test_a_dimension_without_a_number_of_ranks_is_named() -> None:
    with pytest.raises(ValueError, match=re.escape("n_ranks={0: 3} has no entry for H1: give ev")):
        StableRank(n_ranks={0: 3}).fit([{0: [[0, 1]], 1: []}])


@pytest.mark.parametrize("max_bars", [0, -1, 2.0, "3", True, {0: 1}])
def test_bad_numbers_of_bars_are_named(max_bars: Any) -> None:
    message = f"max_bars={max_bars!r}: expected an integer >= 1 or None."
    with pytest.raises(ValueError, match=re.escape(message)):
        StableRank(max_bars=max_bars).fit([{0: [[0, 1]]}])


def test_a_bad_contour_is_named() -> None:
    wrong: Any = "gaussian"
    with pytest.raises(ValueError, match=re.escape("contour='gaussian': expected")):
        StableRank(contour=wrong).fit([{0: [[0, 1]]}])


@pytest.mark.parametrize("X", [np.zeros((3, 2, 2)), [np.zeros((5, 2))], None, "X", {0: []}])
def test_what_is_no_list_of_diagrams_is_refused(X: Any) -> None:
    for call in (StableRank().fit, FITTED.transform, StableRank().fit_transform):
        with pytest.raises(TypeError, match=r"^X is a .*expected a DiagramBatch, or a list with"):
            call(X)


def test_an_empty_list_is_refused() -> None:
    for call in (StableRank().fit, FITTED.transform):
        with pytest.raises(ValueError, match=re.escape("X is empty: there is no cloud in it.")):
            call([])


def test_transform_names_a_missing_dimension() -> None:
    with pytest.raises(ValueError, match=re.escape("There is no H1 in this batch")):
        FITTED.transform([{0: [[0, 1]]}])
    with pytest.raises(ValueError, match=re.escape("There is no H1 in this batch")):
        FITTED.rounding([{0: [[0, 1]]}], 0.0, np.zeros(1))


@pytest.mark.parametrize(
    "call",
    [
        lambda rank: rank.transform([{0: [[0, 1]]}]),
        lambda rank: rank.stability(BOTTLENECK),
        lambda rank: rank.rounding([{0: [[0, 1]]}], 0.0, np.zeros(1)),
        lambda rank: rank.get_feature_names_out(),
    ],
)
def test_nothing_works_before_fit(call: Any) -> None:
    rank: BaseEstimator = StableRank()
    with pytest.raises(NotFittedError, match="StableRank"):
        call(rank)


@pytest.mark.parametrize(
    "space", [HAUSDORFF, LINF, Space("points", "wasserstein", p=1, q=1), Space("diagram", "L1")]
)
def test_unknown_spaces_are_refused(space: Space) -> None:
    message = "knows constants from ordered deaths, bottleneck and Wasserstein distances between "
    with pytest.raises(StabilityError, match=re.escape(message) + ".*" + re.escape(str(space))):
        FITTED.stability(space)
    with pytest.raises(StabilityError, match=re.escape(str(space))):
        FITTED.stability(Space.product({"H0": BOTTLENECK, "H1": space}))


def test_a_product_without_one_of_the_dimensions_is_refused() -> None:
    message = "StableRank was fitted on H1, but the product H0:diagram[bottleneck] has no H1"
    with pytest.raises(StabilityError, match=re.escape(message)):
        FITTED.stability(Space.product({"H0": BOTTLENECK}))


@pytest.mark.parametrize("relative", [-1e-9, 0.5, math.nan])
def test_a_relative_error_out_of_range_is_refused(relative: float) -> None:
    with pytest.raises(ValueError, match=re.escape(f"relative={relative!r}: expected an error")):
        FITTED.rounding([{0: [[0, 1]], 1: []}], relative, np.zeros(1))


@pytest.mark.parametrize("bad", [-1.0, math.nan, INF])
@pytest.mark.parametrize("p", [1, 1.5, INF])
def test_lengths_that_are_none_are_named(p: float, bad: float) -> None:
    # NaN used to become 0 for p < inf
    message = f"lengths has 2 entries that are negative, infinite or NaN (first: {bad!r})"
    with pytest.raises(ValueError, match=re.escape(message)):
        stable_ranks(tensor([[1.0, bad], [bad, 0.0]]), p, 1)


@pytest.mark.parametrize("count", [-1, 1.0, True, "1"])
def test_counts_that_are_none_are_named(count: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"n_ranks={count!r}: expected an integer >= 0")):
        stable_ranks(tensor([1.0]), 1, count)
    with pytest.raises(
        ValueError, match=re.escape(f"max_bars={count!r}: expected an integer >= 0")
    ):
        stable_ranks(tensor([1.0]), 1, 1, count)

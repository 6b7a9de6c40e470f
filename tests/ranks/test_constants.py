"""The constants of R2 and R3: never exceeded on thousands of pairs of diagrams, and attained.

Every constant is read from ``StableRank.stability``. Distances are computed here, exactly, by
matchings of SciPy; hera checks them.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import gudhi.hera
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from stablerank.diagrams.batch import DiagramBatch
from stablerank.ranks import Contour, DistanceContour, StableRank, StandardContour
from stablerank.stability import BOTTLENECK, ORDERED_DEATHS, Space, StabilityChain

Array = NDArray[np.float64]
Pair = tuple[Array, Array]

INF = math.inf
EPS = float(np.finfo(float).eps)
PS = (1.0, 2.0, 4.0, INF)
QS = (1.0, 2.0, INF)
THREATS = [(p, q) for p in PS for q in QS]
RANKS = (1.0, 1.5, 2.0, 4.0, INF)
CONTOURS: dict[str, Contour] = {
    "standard": StandardContour(),
    # two components with one mean: the sum of their peaks is the supremum of the density
    "mixture": DistanceContour([1.0, 1.0], [1.0, 0.5], [1.5, 0.5], floor=0.1),
}


# Diagrams and their distances.


def random_diagram(rng: np.random.Generator, n_bars: int) -> Array:
    births = rng.uniform(0, 2, n_bars)
    return np.column_stack([births, births + rng.exponential(size=n_bars) + 1e-3])


def near_copy(rng: np.random.Generator, diagram: Array) -> Array:
    """Every birth and death moved a little, or all lengths grown; short bars come or go."""
    size = rng.choice([1e-5, 1e-3, 1e-1])
    if rng.random() < 0.5:
        moved = diagram + size * rng.uniform(-1, 1, diagram.shape)
    else:
        moved = diagram + size * np.array([-1.0, 1.0])
    moved = moved[moved[:, 1] > moved[:, 0]]
    births = rng.uniform(0, 2, rng.integers(0, 3))
    noise = np.column_stack([births, births + size * rng.uniform(0.1, 2, births.size)])
    return rng.permutation(np.concatenate([moved, noise]))


@functools.lru_cache(maxsize=2)
def random_pairs(seed: int, n_pairs: int = 1500) -> list[Pair]:
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(n_pairs):
        first = random_diagram(rng, int(rng.integers(0, 13)))
        kind = rng.random()
        if kind < 0.25:
            second = random_diagram(rng, int(rng.integers(0, 13)))
        elif kind < 0.5:  # around the common mean of the mixture, where the density is largest
            first = 1 + rng.uniform(0.01, 0.05, (len(first), 1)) * np.array([-1.0, 1.0])
            second = near_copy(rng, first)
        else:
            second = near_copy(rng, first)
        pairs.append((first, second))
    return pairs


def costs(a: Array, b: Array, q: float) -> Array:
    """Of matching bars with each other, or with the diagonal, in the ground norm.

    The nearest point of the diagonal is (m, m), m = (b+d)/2, at distance l/2 * 2^(1/q).
    """
    n, m = len(a), len(b)
    matrix = np.zeros((n + m, m + n))
    matrix[:n, :m] = np.linalg.norm(a[:, None] - b[None, :], ord=q, axis=2)
    matrix[:n, m:] = ((a[:, 1] - a[:, 0]) / 2 * 2 ** (1 / q))[:, None]
    matrix[n:, :m] = ((b[:, 1] - b[:, 0]) / 2 * 2 ** (1 / q))[None, :]
    return matrix


def wasserstein(a: Array, b: Array, p: float, q: float) -> float:
    """Exact up to rounding: a linear assignment, or for p = inf a threshold search."""
    matrix = costs(a, b, q)
    if matrix.size == 0:
        return 0.0
    if p < INF:
        scale = matrix.max()
        powers = (matrix / scale) ** p
        return float(scale * powers[linear_sum_assignment(powers)].sum() ** (1 / p))
    values = np.unique(matrix)
    low, high = 0, len(values) - 1  # the least value below which a perfect matching exists
    while low < high:
        middle = (low + high) // 2
        graph = csr_array((matrix <= values[middle]).astype(np.int8))
        if (maximum_bipartite_matching(graph) >= 0).all():
            high = middle
        else:
            low = middle + 1
    return float(values[low])


@functools.lru_cache(maxsize=4 * len(THREATS))
def distances(seed: int, p: float, q: float) -> Array:
    return np.array([wasserstein(a, b, p, q) for a, b in random_pairs(seed)])


# How far the code goes beyond its own constants.


def batch_of(pairs: Sequence[Pair]) -> DiagramBatch:
    """First and second diagrams in turn."""
    return DiagramBatch.from_diagrams([{1: d} for d in itertools.chain(*pairs)])


@functools.lru_cache(maxsize=2)
def random_batch(seed: int) -> DiagramBatch:
    return batch_of(random_pairs(seed))


def vectors_of(
    batch: DiagramBatch, p: float, contour: Contour, n_ranks: int, max_bars: int | None
) -> tuple[StableRank, Array, Array]:
    rank = StableRank(p=p, contour=contour, n_ranks=n_ranks, max_bars=max_bars).fit(batch)
    vectors = rank.transform(batch)
    return rank, vectors[0::2], vectors[1::2]


def constants_of(rank: StableRank, space: Space) -> Array:
    """One for each coordinate, by the public way."""
    constants = StabilityChain(rank.stability(space)).constants
    if constants is None:
        pytest.fail("a stable rank knows the constant of each coordinate")
    return constants


def worst_excess(
    batch: DiagramBatch,
    moved: Array,
    p: float,
    space: Space,
    *,
    contour: Contour = CONTOURS["standard"],
    max_bars: int | None = None,
    slope: float = 1.0,
    charged: float = 1.0,
) -> float:
    """The largest |t - t'| - constant * distance over pairs and coordinates, rounding granted.

    A tail of 15 bars takes at most 15 (3 + (log 15 + 4)/p) + 32 <= 180 roundings of 2^-53 (see
    ``StableRank.rounding``), the distance fewer; the mixture's lengths, each below 8 and computed
    to 24 roundings, are off by 15 times as much in the 1-norm of a tail.
    """
    rank, first, second = vectors_of(batch, p, contour, 14, max_bars)
    allowed = charged * constants_of(rank, space)[None, :] * moved[:, None]
    change = slope * np.abs(first - second)
    granted = 90 * EPS * (first + second + allowed) + 15 * 12 * 8 * EPS
    return float((change - allowed - granted).max())


# Closed form: one bar, by hand.


def test_the_constant_of_each_ground_norm() -> None:
    # 2^(1-1/q) is 1, √2, 2; rounding upwards adds a few units in the last place, never less
    rank = StableRank(n_ranks=2).fit([{1: [[0, 1]]}])
    for q, exact in ((1, 1.0), (2, math.sqrt(2)), (INF, 2.0)):
        for p in PS:
            constants = constants_of(rank, Space("diagram", "wasserstein", p=p, q=q))
            assert (exact <= constants).all()
            assert constants == pytest.approx([exact, exact], rel=20 * EPS)


def test_constants_of_tails_by_hand() -> None:
    # B = 4 bars, p = 2: (B-k)^(1/2) is 2, √3, √2, 1, and 0 where nothing is left
    rank = StableRank(p=2, n_ranks=6, max_bars=4).fit([{0: [[0, 1]]}])
    roots = np.sqrt([4, 3, 2, 1, 0, 0])
    assert constants_of(rank, BOTTLENECK) == pytest.approx(2 * roots, rel=40 * EPS)
    assert constants_of(rank, ORDERED_DEATHS) == pytest.approx(roots, rel=40 * EPS)
    # from W_4 with q = 2: (B-k)^(1/2-1/4) √2; from W_1 and W_2 nothing is paid
    fourth = Space("diagram", "wasserstein", p=4, q=2)
    assert constants_of(rank, fourth) == pytest.approx(np.sqrt(2 * roots), rel=40 * EPS)
    for p in (1, 2):
        first = Space("diagram", "wasserstein", p=p, q=1)
        assert constants_of(rank, first).tolist() == [1, 1, 1, 1, 0, 0]


def test_one_bar_against_none() -> None:
    # W((b, d), {}) = l/2^(1-1/q) for every p, and t_0 = l: the constant of R2 is attained
    pair = (np.array([[1.0, 4.0]]), np.empty((0, 2)))
    for (p, q), rank_p in itertools.product(THREATS, RANKS):
        moved = wasserstein(*pair, p, q)
        assert moved == pytest.approx(3 / 2 ** (1 - 1 / q), rel=4 * EPS)
        rank, first, second = vectors_of(batch_of([pair]), rank_p, CONTOURS["standard"], 1, 1)
        constant = constants_of(rank, Space("diagram", "wasserstein", p=p, q=q))[0]
        assert abs(first - second)[0, 0] == pytest.approx(constant * moved, rel=40 * EPS)


# The law of R2, and that it is tight.


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
@pytest.mark.parametrize("rank_p", RANKS)
@pytest.mark.parametrize(("p", "q"), THREATS)
def test_stable_ranks_move_at_most_as_r2_says(
    p: float, q: float, rank_p: float, contour: Contour, seed: int
) -> None:
    space = Space("diagram", "wasserstein", p=p, q=q)
    moved = distances(seed, p, q)
    assert worst_excess(random_batch(seed), moved, rank_p, space, contour=contour) <= 0


@pytest.mark.parametrize("max_bars", [1, 3, 7])
@pytest.mark.parametrize(
    ("rank_p", "p"), [(1.0, 1.0), (2.0, 2.0), (1.0, 2.0), (1.5, 4.0), (2, INF)]
)
def test_the_law_holds_for_diagrams_larger_than_max_bars(
    rank_p: float, p: float, max_bars: int, seed: int
) -> None:
    batch = random_batch(seed)
    assert (batch.n_bars(1) > max_bars).sum() > 600
    for q in QS:
        space = Space("diagram", "wasserstein", p=p, q=q)
        moved = distances(seed, p, q)
        assert worst_excess(batch, moved, rank_p, space, max_bars=max_bars) <= 0


def tight_pair(k: int, n_bars: int, step: float) -> Pair:
    """k long bars at rest, and n_bars - k short ones that each grow by `step` at both ends.

    Every moved bar moves by (-a, a), a = `step`, in norm 2^(1/q) a, and gets 2a longer, which is
    2^(1-1/q) times as much. Their lengths are equal, so t_k, whose tail is all of them, grows by
    (n_bars-k)^(1/p_rank) 2a, and W_p is (n_bars-k)^(1/p) 2^(1/q) a, staying matched being cheaper
    than the diagonal: a is small beside the length.

    For a contour with density f it is K 2a up to a factor near 1 when all births and deaths are
    near the supremum of f at 1, which half a length of 0.02 grants beside scales of 0.5.
    """
    long, short = np.array([[0.9, 1.1]]), np.array([[0.98, 1.02]])
    first = np.concatenate([np.repeat(long, k, axis=0), np.repeat(short, n_bars - k, axis=0)])
    second = first + np.repeat([[0.0, 0.0], [-step, step]], [k, n_bars - k], axis=0)
    return first, second


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
@pytest.mark.parametrize("rank_p", RANKS)
@pytest.mark.parametrize(("p", "q"), THREATS)
def test_r2_is_attained_in_every_coordinate(
    p: float, q: float, rank_p: float, contour: Contour
) -> None:
    n_bars, space = 6, Space("diagram", "wasserstein", p=p, q=q)
    for k in range(n_bars):
        # a rank with larger p than the threat's is attained where one bar moves
        last = k + 1 if rank_p > p else n_bars
        pair = tight_pair(k, last, 1e-3)
        rank, first, second = vectors_of(batch_of([pair]), rank_p, contour, n_bars, last)
        constant = constants_of(rank, space)[k]
        ratio = abs(first - second)[0, k] / wasserstein(*pair, p, q)
        assert 0.99 * constant < ratio < constant * (1 + 1e-9)


def test_a_smaller_p_than_the_threats_is_charged_by_the_number_of_bars() -> None:
    # p_rank = 1, threat W_4, q = 2, 16 bars: (16-k)^(1-1/4) √2, at k = 0 8 √2
    rank = StableRank(p=1, n_ranks=1, max_bars=16).fit([{1: [[0, 1]]}])
    space = Space("diagram", "wasserstein", p=4, q=2)
    assert constants_of(rank, space)[0] == pytest.approx(8 * math.sqrt(2), rel=40 * EPS)
    assert constants_of(rank, space)[0] >= 8 * math.sqrt(2)
    # p_rank barely below p_threat: still upwards, though the exponent is lost in rounding
    near = Space("diagram", "wasserstein", p=math.nextafter(2, 3), q=1)
    constant = StabilityChain(StableRank(p=2, n_ranks=1).fit([{1: [[0, 1]] * 9}]).stability(near))
    assert 1 < constant.constant < 1 + 1e-13


# The laws of R3.


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
@pytest.mark.parametrize("max_bars", [None, 3])
@pytest.mark.parametrize("p", RANKS)
def test_from_bottleneck_each_coordinate_has_its_constant(
    p: float, max_bars: int | None, contour: Contour, seed: int
) -> None:
    batch, moved = random_batch(seed), distances(seed, INF, INF)
    assert worst_excess(batch, moved, p, BOTTLENECK, contour=contour, max_bars=max_bars) <= 0


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
@pytest.mark.parametrize("p", RANKS)
def test_from_bottleneck_each_constant_is_attained(p: float, contour: Contour) -> None:
    # d_B = a for bars that move by (-a, a), which makes each 2a longer: t_k by (B-k)^(1/p) 2a
    n_bars = 6
    for k in range(n_bars):
        pair = tight_pair(k, n_bars, 1e-3)
        rank, first, second = vectors_of(batch_of([pair]), p, contour, n_bars, None)
        constant = constants_of(rank, BOTTLENECK)[k]
        ratio = abs(first - second)[0, k] / gudhi.hera.bottleneck_distance(*pair, 0.0)
        assert 0.99 * constant < ratio < constant * (1 + 1e-9)


@functools.lru_cache(maxsize=2)
def ordered_deaths(seed: int, n_pairs: int = 2000) -> tuple[list[Pair], DiagramBatch, Array]:
    """Births 0, deaths moved by less than `step` in their order; the distance by definition."""
    rng = np.random.default_rng(seed)
    pairs: list[Pair] = []
    moved = []
    for _ in range(n_pairs):
        deaths = np.sort(rng.exponential(size=12)) * (np.arange(12) >= rng.integers(0, 13))
        step = rng.choice([1e-5, 1e-3, 1e-1, 1.0])
        mode = rng.choice([1.0, rng.uniform(-1, 1)])
        other = np.sort(np.maximum(deaths + mode * step * rng.uniform(0.9, 1, 12), 0.0))
        first, second = (np.column_stack([np.zeros(12), d])[d > 0] for d in (deaths, other))
        pairs.append((first, second))
        moved.append(np.abs(deaths - other).max())
    return pairs, batch_of(pairs), np.array(moved)


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
@pytest.mark.parametrize("max_bars", [None, 3])
@pytest.mark.parametrize("p", RANKS)
def test_from_ordered_deaths_each_coordinate_has_its_constant(
    p: float, max_bars: int | None, contour: Contour, seed: int
) -> None:
    _, batch, moved = ordered_deaths(seed)
    assert worst_excess(batch, moved, p, ORDERED_DEATHS, contour=contour, max_bars=max_bars) <= 0


@pytest.mark.parametrize("contour", CONTOURS.values(), ids=CONTOURS)
@pytest.mark.parametrize("p", RANKS)
def test_from_ordered_deaths_each_constant_is_attained(p: float, contour: Contour) -> None:
    # deaths of one size around 1, the mixture's mean, all move by a: t_k by (B-k)^(1/p) K a
    n_bars, step = 6, 1e-3
    for k in range(n_bars):
        deaths = np.where(np.arange(n_bars) < k, 2.0, 1.0)
        a, b = (np.column_stack([np.zeros(n_bars), d]) for d in (deaths, deaths + step))
        rank, first, second = vectors_of(batch_of([(a, b)]), p, contour, n_bars, None)
        constant = constants_of(rank, ORDERED_DEATHS)[k]
        ratio = abs(first - second)[0, k] / step
        assert 0.99 * constant < ratio < constant * (1 + 1e-9)


def test_what_bottleneck_allows_is_more_than_ordered_deaths_do() -> None:
    # {(0, 2)} and {} are 1 apart in d_B and 2 in ordered deaths; t_0 moves by 2, so a constant of
    # K = 1 from d_B would be wrong
    pair = (np.array([[0.0, 2.0]]), np.empty((0, 2)))
    rank, first, second = vectors_of(batch_of([pair]), INF, CONTOURS["standard"], 1, None)
    assert gudhi.hera.bottleneck_distance(*pair, 0.0) == 1.0
    assert (first - second)[0, 0] == 2.0 == constants_of(rank, BOTTLENECK)[0]
    assert constants_of(rank, ORDERED_DEATHS)[0] == 1.0


# Slow references: the distances themselves.


@pytest.mark.parametrize("q", QS)
@pytest.mark.parametrize("p", [1.0, 2.0, 4.0])
def test_the_assignment_agrees_with_hera(p: float, q: float, seed: int) -> None:
    # hera's relative error is at most delta, granted both ways. Of diagrams that nearly agree it
    # never returns (gudhi 3.13, distances 1e-5 between bars of length 1): independent ones only.
    rng, delta = np.random.default_rng(seed), 1e-6
    for _ in range(200):
        a, b = (random_diagram(rng, int(rng.integers(0, 13))) for _ in range(2))
        hera = gudhi.hera.wasserstein_distance(a, b, order=p, internal_p=q, delta=delta)
        assert hera == pytest.approx(wasserstein(a, b, p, q), rel=delta + 1e-12)


def test_the_threshold_search_agrees_with_hera(seed: int) -> None:
    for (a, b), value in zip(random_pairs(seed), distances(seed, INF, INF), strict=True):
        hera = gudhi.hera.bottleneck_distance(a, b, 0.0)
        assert hera == pytest.approx(value, rel=4 * EPS, abs=4 * EPS)


@pytest.mark.parametrize("q", QS)
def test_the_threshold_search_agrees_with_all_matchings(q: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(40):
        matrix = costs(a := random_diagram(rng, 2), b := random_diagram(rng, 3), q)
        rows = np.arange(5)
        best = min(matrix[rows, list(order)].max() for order in itertools.permutations(range(5)))
        assert wasserstein(a, b, INF, q) == best


# The test of the test.


def squared(pairs: list[Pair]) -> list[Pair]:
    return [(a**2, b**2) for a, b in pairs]


def without_short_bars(pairs: list[Pair]) -> list[Pair]:
    a, b = ([d[d[:, 1] - d[:, 0] > 0.5] for d in side] for side in zip(*pairs, strict=True))
    return list(zip(a, b, strict=True))


def unspoiled(pairs: list[Pair]) -> list[Pair]:
    return pairs


# What happens to the diagrams, the factor on vectors and the factor on constants.
BROKEN: dict[str, tuple[Callable[[list[Pair]], list[Pair]], float, float]] = {
    "one percent too steep": (unspoiled, 1.01, 1.0),
    "squared filtration": (squared, 1.0, 1.0),
    "dropped short bars": (without_short_bars, 1.0, 1.0),
    "halved constant": (unspoiled, 1.0, 0.5),
    "one percent off the constant": (unspoiled, 1.0, 0.99),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize(("p", "q"), [*THREATS, (INF, None)])
def test_the_laws_above_can_fail(p: float, q: float | None, broken: str, seed: int) -> None:
    spoil, slope, charged = BROKEN[broken]
    space = BOTTLENECK if q is None else Space("diagram", "wasserstein", p=p, q=q)
    moved = distances(seed, p, INF if q is None else q)
    batch = batch_of(spoil(random_pairs(seed)))
    assert worst_excess(batch, moved, p, space, slope=slope, charged=charged) > 0


@pytest.mark.parametrize("broken", BROKEN)
def test_the_law_of_ordered_deaths_can_fail(broken: str, seed: int) -> None:
    spoil, slope, charged = BROKEN[broken]
    pairs, _, moved = ordered_deaths(seed)
    batch, space = batch_of(spoil(pairs)), ORDERED_DEATHS
    assert worst_excess(batch, moved, INF, space, slope=slope, charged=charged) > 0


def test_the_law_of_the_mixture_fails_below_its_constant(seed: int) -> None:
    # a contour that claims the larger of its two peaks instead of their sum
    class LargestPeak(DistanceContour):
        @property
        def constant(self) -> float:
            peaks = [w / s for w, s in zip(self.weights, self.scales, strict=True)]
            return self.floor + max(peaks) / math.sqrt(2 * math.pi)

    contour = LargestPeak([1.0, 1.0], [1.0, 0.5], [1.5, 0.5], floor=0.1)
    for p, q in THREATS:
        space = Space("diagram", "wasserstein", p=p, q=q)
        moved = distances(seed, p, q)
        assert worst_excess(random_batch(seed), moved, p, space, contour=contour) > 0

"""Bounds compose only where spaces fit, and a chain's constant is never below the true product."""

from __future__ import annotations

import json
import math
import pickle
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stablerank.stability import (
    BOTTLENECK,
    FROBENIUS,
    HAUSDORFF,
    L2,
    LINF,
    ORDERED_DEATHS,
    PER_COORDINATE,
    PER_POINT,
    SUP,
    Bound,
    Parallel,
    Space,
    StabilityChain,
    StabilityError,
    conversion,
    multiply_exact_or_up,
    multiply_up,
    root_sum_squares_up,
    sqrt_up,
)

WASSERSTEIN = Space("diagram", "wasserstein", p=2.0, q=math.inf)
# One unit in the last place up, at most twice a half: what an operation rounded up may cost.
ONE_STEP = Fraction(1) + Fraction(2) ** -51

FILTRATION = Parallel(
    {
        "H0": Bound(HAUSDORFF, ORDERED_DEATHS, 1.0, "D3", "alpha"),
        "H1": Bound(HAUSDORFF, BOTTLENECK, 1.0, "D1", "alpha"),
    }
)
RANKS = Parallel(
    {
        "H0": Bound.by_coordinate(ORDERED_DEATHS, [1.0, 1.0], "R3", stage="ranks"),
        "H1": Bound.by_coordinate(BOTTLENECK, [2.0, 4.0, 0.0], "R3", stage="ranks"),
    },
    joined=True,
)
SCALING = Bound.by_coordinate(
    LINF, [1.0, 0.5, 0.25, 0.25, 8.0], "diagonal", stage="scaling", coordinatewise=True
)
NETWORK = Bound(LINF, LINF, 1.0, "N1", "network")


# Closed form.


def test_constants_multiply_along_a_chain() -> None:
    chain = StabilityChain(
        Bound(HAUSDORFF, BOTTLENECK, 1.0, "D1"), Bound(BOTTLENECK, LINF, 2.0, "R3")
    )
    assert chain.constant == 2.0
    assert (chain.source, chain.target, chain.constants) == (HAUSDORFF, LINF, None)


def test_branches_side_by_side_keep_their_own_constants() -> None:
    # H0: 1·(1, 1); H1: 1·(2, 4, 0); the joined vector lists them in the order of the branches.
    chain = StabilityChain(FILTRATION, RANKS)
    assert chain.constants is not None
    assert chain.constants.tolist() == [1, 1, 2, 4, 0]
    assert (chain.constant, chain.source, chain.target) == (4, HAUSDORFF, LINF)


def test_coordinatewise_bounds_multiply_coordinate_by_coordinate() -> None:
    # (1, 1, 2, 4, 0)·(1, 1/2, 1/4, 1/4, 8) = (1, 1/2, 1/2, 1, 0), not 4·8; the largest is then 1.
    # Products of 1 are exact, the others (1/2, 1/2, 1) are rounded up by one step.
    chain = StabilityChain(FILTRATION, RANKS, SCALING)
    assert chain.constants is not None
    up = math.nextafter
    assert chain.constants.tolist() == [1, 0.5, up(0.5, 1), up(1, 2), 0]
    assert chain.then(NETWORK).constant == up(1, 2)


def test_a_full_layer_sees_the_largest_coordinate() -> None:
    layer = Bound.by_coordinate(LINF, [0.5, 1.0], "rows", stage="layer")
    chain = StabilityChain(FILTRATION, RANKS, layer)
    assert chain.constants is not None
    np.testing.assert_allclose(chain.constants, [2, 4], rtol=1e-15)


def test_a_parallel_of_unequal_branches_has_the_largest_constant() -> None:
    rips = {"H0": 2.0, "H1": 3.0}
    chain = StabilityChain(
        Parallel({n: Bound(HAUSDORFF, BOTTLENECK, c, "D2") for n, c in rips.items()})
    )
    assert (chain.constant, chain.constants) == (3.0, None)


def test_joined_vectors_in_l2_add_their_squares() -> None:
    # Two parts that move by 3 and by 4: the concatenation moves by 5.
    parts = {"a": 3.0, "b": 4.0}
    joined = Parallel({n: Bound(HAUSDORFF, L2, c, "") for n, c in parts.items()}, joined=True)
    assert 5 < StabilityChain(joined).constant < 5 * (1 + 1e-15)


def test_joined_scalars_and_coordinates_take_the_largest() -> None:
    parts = {"a": Bound(PER_POINT, LINF, 3.0, ""), "b": Bound.by_coordinate(PER_POINT, [1, 2], "")}
    chain = StabilityChain(Parallel(parts, joined=True))
    assert (chain.constant, chain.constants) == (3.0, None)


@pytest.mark.parametrize(
    ("source", "target", "dimension", "squared"),
    [
        (PER_COORDINATE, PER_POINT, 2, 2),  # the diagonal of the unit square
        (PER_COORDINATE, PER_POINT, 3, 3),
        (PER_COORDINATE, PER_POINT, 4, 4),
        (LINF, L2, 1000, 1000),
        (L2, LINF, None, 1),
        (PER_POINT, HAUSDORFF, None, 1),
        (FROBENIUS, PER_POINT, None, 1),
        (WASSERSTEIN, BOTTLENECK, None, 1),
    ],
    ids=str,
)
def test_conversions(source: Space, target: Space, dimension: int | None, squared: int) -> None:
    bound = conversion(source, target, dimension=dimension)
    assert (bound.source, bound.target) == (source, target)
    assert squared <= Fraction(bound.constant) ** 2 <= squared * ONE_STEP**2
    if math.isqrt(squared) ** 2 == squared:
        assert bound.constant == math.isqrt(squared)


# The law: rounding goes up, whatever the numbers.

positive = st.floats(min_value=0, max_value=1e308, allow_nan=False)


def below_the_product(multiply: Callable[[float, float], Any], a: float, b: float) -> bool:
    result = float(multiply(a, b))
    return result != math.inf and Fraction(result) < Fraction(a) * Fraction(b)


@given(positive, positive)
def test_products_are_rounded_up_and_not_far(a: float, b: float) -> None:
    for multiply in (multiply_up, multiply_exact_or_up):
        assert not below_the_product(multiply, a, b)
        exact = Fraction(a) * Fraction(b)
        result = float(multiply(a, b))
        if exact == 0:
            assert result == 0
        elif Fraction(2.0**-1000) < exact < Fraction(1e308):
            assert Fraction(result) <= exact * ONE_STEP


@given(st.integers(1, 10**40))
def test_roots_are_rounded_up_and_not_far(value: int) -> None:
    assert value <= Fraction(sqrt_up(value)) ** 2 <= value * ONE_STEP**4


@pytest.mark.parametrize("root", [1, 2, 3, 94906267, 2**28 + 3, 2**40])
def test_roots_of_squares_are_exact(root: int) -> None:
    assert sqrt_up(root**2) == root


def random_chain(rng: np.random.Generator) -> tuple[StabilityChain, list[Fraction]]:
    """A chain of every kind of element, and its coordinates' constants in exact arithmetic."""

    def draw(n: int) -> list[float]:
        return list(rng.exponential(size=n) * 2.0 ** rng.integers(-30, 30, size=n))

    names = [f"H{k}" for k in range(rng.integers(1, 4))]
    first = {name: draw(1)[0] for name in names}
    second = {name: draw(int(rng.integers(1, 4))) for name in names}
    exact = [Fraction(first[name]) * Fraction(c) for name in names for c in second[name]]
    elements: list[Any] = [
        Parallel({n: Bound(HAUSDORFF, BOTTLENECK, first[n], "") for n in names}),
        Parallel(
            {n: StabilityChain(Bound.by_coordinate(BOTTLENECK, second[n], "")) for n in names},
            joined=True,
        ),
    ]
    for _ in range(rng.integers(0, 5)):
        kind = rng.integers(3)
        if kind == 0:
            factors = draw(len(exact))
            elements.append(Bound.by_coordinate(LINF, factors, "", coordinatewise=True))
            exact = [Fraction(f) * e for f, e in zip(factors, exact, strict=True)]
        elif kind == 1:
            factors = draw(int(rng.integers(1, 5)))
            elements.append(Bound.by_coordinate(LINF, factors, ""))
            exact = [Fraction(f) * max(exact) for f in factors]
        else:
            factor = draw(1)[0]
            elements.append(Bound(LINF, LINF, factor, ""))
            exact = [Fraction(factor) * max(exact)]
    return StabilityChain(*elements), exact


def test_chains_are_above_their_exact_constants(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(100):
        chain, exact = random_chain(rng)
        assert max(exact) <= Fraction(chain.constant) <= max(exact) * ONE_STEP**6
        if chain.constants is not None:
            got = [Fraction(value) for value in chain.constants.tolist()]
            assert all(e <= g <= e * ONE_STEP**6 for e, g in zip(exact, got, strict=True))


def test_l2_joins_are_above_their_exact_constants(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for n_parts in range(1, 30):
        parts = rng.exponential(size=n_parts)
        joined = Parallel(
            {str(i): Bound(PER_POINT, L2, c, "") for i, c in enumerate(parts)}, joined=True
        )
        exact = sum(Fraction(c) ** 2 for c in parts)
        bound = Fraction(StabilityChain(joined).constant) ** 2
        assert exact <= bound <= exact * (1 + Fraction(n_parts + 4) * Fraction(2) ** -50)


def test_norms_are_rounded_up_and_not_far(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for n in (1, 2, 7, 100):
        for scale in (1e-300, 1e-160, 1.0, 1e160, 1e300):
            values = rng.exponential(size=n) * scale
            exact = sum(Fraction(value) ** 2 for value in values)
            bound = Fraction(root_sum_squares_up(values)) ** 2
            assert exact <= bound <= exact * (1 + Fraction(2) ** -46)
    assert root_sum_squares_up([]) == root_sum_squares_up([0.0, 0.0]) == 0
    assert root_sum_squares_up([0.0, 0.3]) == 0.3
    assert root_sum_squares_up([math.inf, 1.0]) == math.inf
    assert root_sum_squares_up([3.0, 4.0]) == pytest.approx(5.0, rel=1e-14)


# Blocks of coordinates in ℓ2.

TOGETHER = Parallel(
    {
        "H0": Bound(FROBENIUS, L2, 2.0, "D7", "deaths", (1.0, 1.0, 1.0, 1.0, 1.0)),
        "H1": Bound(FROBENIUS, L2, 5.0, "D6", "bars", (3.0, 4.0)),
    },
    joined=True,
)


def diagonal(*factors: float) -> Bound:
    return Bound.by_coordinate(L2, factors, "diagonal", stage="scaling", coordinatewise=True)


def test_blocks_move_together_and_each_by_its_own() -> None:
    chain = StabilityChain(TOGETHER)
    assert chain.blocks is not None
    assert [block.together for block in chain.blocks] == [2.0, 5.0]
    assert chain.constant == pytest.approx(math.sqrt(4 + 25), rel=1e-15)
    assert chain.constants is not None
    assert chain.constants.tolist() == [1, 1, 1, 1, 1, 3, 4]
    # H0 by 2 · 1/2, not by √5/2; H1 by √((4 · 3)² + (3/4 · 4)²), not by 5 · 4
    scaled = chain.then(diagonal(*(0.5,) * 5, 4.0, 0.75))
    assert scaled.constant == pytest.approx(math.sqrt(1 + 144 + 9), rel=1e-14)
    # by its coordinates where only one of them is large: √(3² + 4 · 0.1²) in place of 2 · 3
    scaled = chain.then(diagonal(3.0, *(0.1,) * 4, 0.0, 0.0))
    assert scaled.constant == pytest.approx(math.sqrt(9.04), rel=1e-14)
    assert scaled.then(Bound(L2, L2, 10.0, "N2")).constant == pytest.approx(10 * math.sqrt(9.04))
    assert scaled.then(Bound(L2, L2, 10.0, "N2")).blocks is None
    assert StabilityChain.from_json(scaled.to_json()) == scaled
    # from a ball in ℓ2 of which no more is known
    assert StabilityChain(diagonal(0.5, 3.0)).constant == 3
    with pytest.raises(StabilityError, match=r"scaling acts on 2 coordinates, .* give 7"):
        _ = chain.then(diagonal(1.0, 1.0)).constant


def test_blocks_hold_what_moves_within_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    attained = 0.0
    for _ in range(200):
        n, factors = int(rng.integers(1, 9)), rng.exponential(size=9)
        change = rng.normal(size=9) * (rng.uniform(size=9) < 0.5)
        each = np.abs(change) * rng.choice([1.0, 2.0], size=9)
        parts = {}
        for name, rows in (("a", slice(0, n)), ("b", slice(n, 9))):
            together = max(float(np.linalg.norm(change[rows])), *each[rows])
            parts[name] = Bound(FROBENIUS, L2, together, "", constants=tuple(each[rows]))
        chain = StabilityChain(Parallel(parts, joined=True), diagonal(*factors))
        moved = float(np.linalg.norm(factors * change))
        assert moved <= chain.constant * (1 + 1e-14)
        attained = max(attained, moved / chain.constant if moved else 0.0)
    assert attained > 0.9


def test_the_law_of_rounding_can_fail(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = rng.exponential(size=(100, 2)).tolist()
    assert any(below_the_product(lambda a, b: a * b, a, b) for a, b in pairs)
    assert any(Fraction(math.sqrt(value)) ** 2 < value for value in range(1, 100))


# The contract: JSON, pickle, equality, tables.

EVERYTHING = StabilityChain(
    conversion(PER_COORDINATE, PER_POINT, dimension=3),
    conversion(PER_POINT, HAUSDORFF),
    FILTRATION,
    RANKS,
    SCALING,
    NETWORK,
    conversion(LINF, L2, dimension=5),
)
WASSERSTEIN_CHAIN = StabilityChain(
    Parallel(
        {
            "H0": Bound(Space("diagram", "wasserstein", p=math.inf, q=2), LINF, 0.1, "R2"),
            "H1": StabilityChain(
                conversion(WASSERSTEIN, BOTTLENECK), Bound(BOTTLENECK, LINF, 2, "R3")
            ),
        },
        joined=True,
    )
)


@pytest.mark.parametrize("chain", [EVERYTHING, WASSERSTEIN_CHAIN, StabilityChain()])
def test_json_and_pickle_give_the_same_chain(chain: StabilityChain) -> None:
    for copy in (StabilityChain.from_json(chain.to_json()), pickle.loads(pickle.dumps(chain))):
        assert copy == chain
        assert hash(copy) == hash(chain)
        assert copy.to_json() == chain.to_json()
        assert str(copy) == str(chain)
        if len(chain):
            assert copy.constant == chain.constant
            assert (copy.source, copy.target) == (chain.source, chain.target)


def test_json_keeps_every_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(20):
        chain, _ = random_chain(rng)
        copy = StabilityChain.from_json(chain.to_json())
        assert copy.constant == chain.constant
        if chain.constants is not None:
            assert copy.constants is not None
            assert copy.constants.tolist() == chain.constants.tolist()


@pytest.mark.parametrize("p", [1, 2.0, 1.1, np.float64(3), math.inf])
@pytest.mark.parametrize("q", [1, math.inf])
def test_spaces_come_back_from_json(p: float, q: float) -> None:
    space = Space.product({"H0": ORDERED_DEATHS, "H1": Space("diagram", "wasserstein", p=p, q=q)})
    text = json.dumps(space.to_dict(), allow_nan=False)
    assert Space.from_dict(json.loads(text)) == space
    assert json.dumps(Space.from_dict(json.loads(text)).to_dict()) == text


def test_equal_bounds_are_equal_in_json() -> None:
    # Integers and -0.0 used to give other text than the floats they equal.
    one, other = (
        Bound(LINF, LINF, 2, "", constants=(float(np.float32(2)), -0.0)),
        Bound(LINF, LINF, 2.0, "", constants=(2.0, 0.0)),
    )
    assert StabilityChain(one) == StabilityChain(other)
    assert hash(StabilityChain(one)) == hash(StabilityChain(other))


def test_chains_are_flattened_and_extended() -> None:
    halves = StabilityChain(StabilityChain(FILTRATION), StabilityChain(RANKS, SCALING))
    assert halves == StabilityChain(FILTRATION).then(RANKS).then(StabilityChain(SCALING))
    assert len(halves) == 3
    assert list(halves) == [FILTRATION, RANKS, SCALING]
    assert halves != "a chain"


def test_a_parallel_does_not_change_with_the_dict_it_came_from() -> None:
    branches: dict[str, Any] = {"H0": FILTRATION.branches["H0"]}
    parallel = Parallel(branches)
    branches["H1"] = NETWORK
    assert set(parallel.branches) == {"H0"}


def test_dissimilarities_are_one_space_for_all_branches() -> None:
    # The source used to be the product H0:matrix[sup] × H1:matrix[sup].
    rips = Parallel({f"H{k}": Bound(SUP, BOTTLENECK, 1.0, "D2") for k in (0, 1)})
    assert rips.source == SUP
    assert StabilityChain(rips).source == SUP


def test_diagrams_of_several_dimensions_are_a_product() -> None:
    ranks = Parallel({f"H{k}": Bound(BOTTLENECK, LINF, 2.0, "R3") for k in (0, 1)}, joined=True)
    assert str(ranks.source) == "H0:diagram[bottleneck] × H1:diagram[bottleneck]"
    assert ranks.target == LINF


def test_the_table_has_a_line_for_each_stage() -> None:
    lines = str(EVERYTHING).splitlines()
    assert len(lines) == 2 + 9 + 1  # head, rule, a row for each bound, the end-to-end constant
    assert lines[0].split() == ["stage", "from", "to", "constant", "rests", "on"]
    assert re.match(r"H1 · ranks +diagram\[bottleneck\] +vector\[linf\] +0 … 4 +R3", lines[7])
    assert lines[-1] == f"end to end: {EVERYTHING.constant:.6g}"
    assert repr(EVERYTHING) == str(EVERYTHING)


def test_html_is_escaped() -> None:
    evil = "<script>alert('&')</script>"
    chain = StabilityChain(
        Parallel({evil: Bound(Space(evil, evil), Space(evil, evil), 1.0, evil, evil)})
    )
    page = chain._repr_html_()
    assert "<script" not in page
    # branch and stage; kind and metric of the source, and of the target; theorem
    assert page.count("&lt;script&gt;") == 2 + 2 + 2 + 1
    assert "alert(&#x27;&amp;&#x27;)" in page


def test_an_empty_chain_can_be_shown_but_not_used() -> None:
    # repr() used to raise.
    empty = StabilityChain()
    assert repr(empty) == "StabilityChain()"
    assert "StabilityChain()" in empty._repr_html_()
    for name in ("constant", "constants", "source", "target"):
        with pytest.raises(StabilityError, match="An empty chain has no space and no constant"):
            getattr(empty, name)


# Errors.


def test_composition_refuses_and_names_both_spaces() -> None:
    alpha = Bound(HAUSDORFF, BOTTLENECK, 1.0, "D1", "alpha")
    network = Bound(LINF, LINF, 1.0, "N1", "network")
    message = (
        "Cannot compose: alpha ends in diagram[bottleneck], but network starts from vector[linf]. "
        "Insert an explicit conversion"
    )
    with pytest.raises(StabilityError, match=re.escape(message)):
        StabilityChain(alpha, network)
    with pytest.raises(StabilityError, match=re.escape(message)):
        StabilityChain(alpha).then(network)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (FILTRATION, Bound(BOTTLENECK, LINF, 1.0, "")),  # a product is not one diagram
        (FILTRATION, Parallel({"H0": Bound(ORDERED_DEATHS, LINF, 1.0, "")})),  # H1 is left over
        (  # ordered deaths are not bottleneck
            FILTRATION,
            Parallel({f"H{k}": Bound(BOTTLENECK, LINF, 1.0, "") for k in (0, 1)}),
        ),
        (Bound(HAUSDORFF, BOTTLENECK, 1.0, ""), RANKS),
        (
            Bound(HAUSDORFF, WASSERSTEIN, 1.0, ""),
            Bound(Space("diagram", "wasserstein", 1, 2), L2, 1.0, ""),
        ),
        (conversion(LINF, L2, dimension=2), NETWORK),
        (Bound(PER_POINT, PER_POINT, 1.0, ""), FILTRATION),
    ],
)
def test_composition_refuses(before: Any, after: Any) -> None:
    with pytest.raises(StabilityError) as error:
        StabilityChain(before, after)
    assert str(before.target) in str(error.value)
    assert str(after.source) in str(error.value)


@pytest.mark.parametrize("value", [math.nan, -1.0, math.inf, -math.inf, -5e-324])
def test_what_is_no_constant_is_refused(value: float) -> None:
    expected = f"net: a Lipschitz constant must be finite and not negative, got {value!r} from"
    with pytest.raises(StabilityError, match=re.escape(expected)):
        Bound(LINF, LINF, value, "N1", "net")
    expected = f"must be finite and not negative, got {value!r} for coordinate 1 from vector[linf]"
    with pytest.raises(StabilityError, match=re.escape(expected)):
        Bound(LINF, LINF, 1.0, "N1", "net", constants=(1.0, value))
    with pytest.raises(StabilityError, match="must be finite and not negative"):
        Bound.by_coordinate(LINF, [value], "N1")
    text = EVERYTHING.to_json().replace("8.0", json.dumps(value), 1)
    assert text != EVERYTHING.to_json()
    with pytest.raises(StabilityError):
        StabilityChain.from_json(text)


def test_constants_of_coordinates_must_fit() -> None:
    with pytest.raises(StabilityError, match=r"constant 1\.0 is not the largest .* 2\.0"):
        Bound(LINF, LINF, 1.0, "", constants=(1.0, 2.0))
    # The chain used to take max(constants) = 2 for the constant into ℓ2, below the true 5.
    assert StabilityChain(Bound(HAUSDORFF, L2, 5.0, "", constants=(1.0, 2.0))).constant == 5
    with pytest.raises(StabilityError, match=r"constant 1\.5 is not the largest .* 2\.0"):
        Bound(HAUSDORFF, L2, 1.5, "", constants=(1.0, 2.0))
    message = r"need the target vector\[linf\] or vector\[l2\], got diagram"
    with pytest.raises(StabilityError, match=message):
        Bound(HAUSDORFF, BOTTLENECK, 5.0, "", constants=(1.0, 2.0))
    for bad in (
        {"source": LINF, "constants": None},
        {"source": HAUSDORFF, "constants": (1.0,)},
    ):
        with pytest.raises(StabilityError, match="needs constants and one space on both sides"):
            Bound(target=LINF, constant=1.0, theorem="", coordinatewise=True, **bad)
    wrong = Bound.by_coordinate(LINF, [1.0] * 4, "", stage="scaling", coordinatewise=True)
    chain = StabilityChain(FILTRATION, RANKS, wrong)
    with pytest.raises(StabilityError, match=r"scaling acts on 4 coordinates, .* give 5"):
        _ = chain.constant


def test_a_product_beyond_float64_is_infinite_and_zero_stays_zero() -> None:
    # 0 · inf used to become NaN, with a warning.
    steep = Bound(LINF, LINF, 1e200, "")
    assert StabilityChain(steep, steep).constant == math.inf
    assert StabilityChain(steep, steep, Bound(LINF, LINF, 0.0, "")).constant == 0
    assert multiply_up(5e-324, 5e-324) == 5e-324


def test_the_root_of_almost_a_square_is_rounded_up() -> None:
    # root * root rounds to value here, so this used to return root, 7/(2·root) below the truth.
    root = 2**28 + 3
    value = root**2 + 7
    assert float(root) * float(root) == value
    assert Fraction(sqrt_up(value)) ** 2 >= value


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (HAUSDORFF, PER_POINT),  # the converse of a conversion
        (BOTTLENECK, WASSERSTEIN),
        (PER_COORDINATE, HAUSDORFF),  # only in two explicit steps
        (BOTTLENECK, ORDERED_DEATHS),  # false, see D3
        (LINF, BOTTLENECK),
        (LINF, LINF),
    ],
    ids=str,
)
def test_unknown_conversions_are_refused(source: Space, target: Space) -> None:
    expected = f"There is no conversion from {source} to {target}."
    with pytest.raises(StabilityError, match=re.escape(expected)):
        conversion(source, target, dimension=2)


@pytest.mark.parametrize("dimension", [None, 0, -1, math.nan])
def test_conversions_by_dimension_need_one(dimension: Any) -> None:
    with pytest.raises(
        StabilityError, match=r"points\[per-point\] costs the root of the dimension"
    ):
        conversion(PER_COORDINATE, PER_POINT, dimension=dimension)


@pytest.mark.parametrize(
    "exponents",
    [
        {},
        {"p": 1.0},
        {"q": 1.0},
        {"p": 0.5, "q": 1.0},
        {"p": math.nan, "q": 1.0},
        {"p": 1.0, "q": math.nan},
    ],
)
def test_a_wasserstein_metric_names_both_exponents(exponents: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"names its exponent p|is not the exponent of a norm"):
        Space("diagram", "wasserstein", **exponents)


@pytest.mark.parametrize("exponents", [{"p": 2.0}, {"q": 2.0}, {"p": 2.0, "q": 2.0}])
def test_other_metrics_have_no_exponents(exponents: dict[str, Any]) -> None:
    # One exponent alone used to pass.
    with pytest.raises(ValueError, match=r"a Wasserstein metric, and no other"):
        Space("points", "hausdorff", **exponents)


def test_only_vectors_in_one_norm_are_joined() -> None:
    with pytest.raises(StabilityError, match="Parallel needs at least one branch"):
        Parallel({})
    with pytest.raises(StabilityError, match=re.escape("H0: diagram[ordered deaths], H1: diagram")):
        Parallel(FILTRATION.branches, joined=True)
    mixed = {"a": Bound(PER_POINT, LINF, 1.0, ""), "b": Bound(PER_POINT, L2, 1.0, "")}
    with pytest.raises(StabilityError, match=r"a: vector\[linf\], b: vector\[l2\]\. Convert them"):
        Parallel(mixed, joined=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "5",
        "null",
        "[5]",
        "[{}]",
        '[{"branches": 3, "joined": true}]',
        '[{"branches": {}, "joined": false}]',
        '[{"source": {"kind": "a"}, "target": {"kind": "b"}, "constant": "x", "theorem": ""}]',
        '[{"source": {"kind": "a", "p": "1"}, "target": {"kind": "b"}, "constant": 1}]',
        '[{"source": {"kind": "a"}, "target": {"kind": "b"}, "constant": NaN, "theorem": ""}]',
        '{"a": 1}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:20],
)
def test_hostile_json_is_refused(text: str) -> None:
    with pytest.raises(StabilityError):
        StabilityChain.from_json(text)

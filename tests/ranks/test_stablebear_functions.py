"""Functions of stablebear: there and back bit for bit, and its own means, distances and kernels."""

from __future__ import annotations

import importlib
import math
import re
from typing import Any

import numpy as np
import pytest

from stablerank.ranks import (
    StableRankFunction,
    StepFunction,
    from_stablebear,
    linear_rank_kernel,
    lq_distances,
    mean_rank,
    rank_jumps,
    stablebear_functions,
    to_stablebear,
)


@pytest.fixture
def stablebear() -> Any:
    return pytest.importorskip("stablebear", reason="it is an optional package")


def random_ranks(seed: int) -> list[StableRankFunction]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 9, 12)
    return [StableRankFunction(np.sort(rng.exponential(size=n))[::-1]) for n in sizes]


def test_functions_go_there_and_back(stablebear: Any, seed: int) -> None:
    ranks = random_ranks(seed)
    tensor = to_stablebear(ranks)
    assert isinstance(tensor, stablebear.PcfTensor)
    assert tensor.dtype == stablebear.float64 or tensor.dtype == stablebear.pcf64
    back = from_stablebear(tensor)
    assert [StableRankFunction.from_steps(steps) for steps in back] == ranks
    assert from_stablebear(to_stablebear(ranks[0])) == ranks[0].to_steps()
    steps = StepFunction([0, 0.1, 3], [-1 / 3, 2, 7])
    assert from_stablebear(to_stablebear(steps)) == steps
    assert from_stablebear(to_stablebear([steps, ranks[0]])) == [steps, ranks[0].to_steps()]
    assert from_stablebear(to_stablebear(np.array([[5.0, 3.0, 0.0]]))) == [
        StepFunction([0, 3, 5], [2, 1, 0])
    ]


def test_it_computes_the_same_means_distances_and_kernels(stablebear: Any, seed: int) -> None:
    ranks = random_ranks(seed)
    tensor = to_stablebear(ranks)
    (mean,) = from_stablebear(stablebear.mean(tensor))
    assert mean.lq_distance(mean_rank(ranks), math.inf) < 1e-14
    gram = np.asarray(stablebear.l2_kernel(tensor).to_dense())
    assert gram == pytest.approx(linear_rank_kernel(ranks), rel=1e-13, abs=1e-13)
    for q in (1, 2, 3):
        theirs = np.asarray(stablebear.pdist(tensor, p=q).to_dense())
        assert theirs == pytest.approx(lq_distances(ranks, q=q), rel=1e-12, abs=1e-13)


def test_it_computes_the_same_stable_ranks(stablebear: Any, seed: int) -> None:
    persistence = importlib.import_module("stablebear.persistence")
    bars = np.sort(np.random.default_rng(seed).random((9, 2)), axis=1)
    theirs = from_stablebear(persistence.barcode_to_stable_rank(persistence.Barcode(bars)))
    assert StableRankFunction.from_steps(theirs).jumps == pytest.approx(
        rank_jumps([{1: bars}], 1)[0]
    )


def test_other_precisions_are_taken(stablebear: Any) -> None:
    for dtype in (np.float32, np.float64, np.int32, np.int64):
        function = stablebear.Pcf(np.array([[0, 2], [3, 1], [5, 0]], dtype=dtype))
        assert from_stablebear(function) == StepFunction([0, 3, 5], [2, 1, 0])
    twice = stablebear.Pcf(np.array([[0.0, 3.0], [1.0, 5.0], [1.0, 1.0]]))
    assert twice(1.0) == from_stablebear(twice)(1.0) == 1


def test_what_is_no_function_is_named(stablebear: Any) -> None:
    with pytest.raises(TypeError, match=re.escape("functions is a list: expected a stablebear")):
        from_stablebear([1])
    with pytest.raises(
        ValueError, match=re.escape("functions has shape (2, 2): expected one axis")
    ):
        from_stablebear(stablebear.zeros((2, 2), dtype=stablebear.pcf64))
    with pytest.raises(ValueError, match=re.escape("functions[0] is [1.0, 2.0]: expected the")):
        to_stablebear([[1, 2]])
    with pytest.raises(ValueError, match=re.escape("functions is empty")):
        to_stablebear([])


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(stablebear_functions, "import_module", missing)
    for call in (lambda: to_stablebear([[1]]), lambda: from_stablebear(None)):
        with pytest.raises(ImportError, match=re.escape("pip install stablebear")):
            call()

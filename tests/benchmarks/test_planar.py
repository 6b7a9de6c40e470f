"""The fuzz of the kernel finds nothing in it, and finds every fault that is put in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.planar import FAMILIES, _flatten, _n_points, compare, run_fuzz
from stablerank.diagrams.planar import PlanarAlphaBatch, planar_alpha


def test_a_hundred_clouds_agree_and_are_counted(seed: int) -> None:
    done = run_fuzz(100, seed, write=False)
    assert done["failures"] == 0, done["failed"]
    assert done["clouds"] == 100 == done["compared"] + done["gave_up"]
    assert sum(row["clouds"] for row in done["families"].values()) == 100


def without_last_bar(answer: PlanarAlphaBatch) -> PlanarAlphaBatch:
    ends = answer.h1_offsets.copy()
    ends[-1] -= 1
    return replace(
        answer,
        h1_births=answer.h1_births[:-1],
        h1_deaths=answer.h1_deaths[:-1],
        h1_edges=answer.h1_edges[:-1],
        h1_triangles=answer.h1_triangles[:-1],
        h1_offsets=ends,
    )


def with_another_edge(answer: PlanarAlphaBatch) -> PlanarAlphaBatch:
    return replace(answer, h0_edges=np.roll(answer.h0_edges, 1, axis=0))


def off(name: str, factor: float) -> Callable[[PlanarAlphaBatch], PlanarAlphaBatch]:
    def spoil(answer: PlanarAlphaBatch) -> PlanarAlphaBatch:
        values: NDArray[np.float64] = getattr(answer, name).copy()
        values[len(values) // 2] *= factor
        return replace(answer, **{name: values})

    return spoil


FAULTS = {
    "a death in H0 off by 3e-12": off("h0_deaths", 1 + 3e-12),
    "a birth in H1 off by 3e-12": off("h1_births", 1 - 3e-12),
    "a death in H1 off by 3e-12": off("h1_deaths", 1 + 3e-12),
    "a death in H1 that is not its triangle's": off("h1_deaths", 1 + 1e-13),
    "a bar too few": without_last_bar,
    "an edge that is not the bar's": with_another_edge,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found(fault: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    clouds = [rng.random((30, 2)) for _ in range(3)]
    answer = planar_alpha(*_flatten(clouds))
    assert compare(clouds, answer) == []
    assert compare(clouds, FAULTS[fault](answer))


def test_what_was_given_up_is_not_compared() -> None:
    cloud = np.array([[1.0, 1.0], [1e-300, 1e-200], [1e-250, 1e-130]])
    answer = planar_alpha(*_flatten([cloud]))
    assert answer.gave_up[0]
    assert compare([cloud], answer) == []


def test_sizes_are_mostly_small_and_sometimes_large(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.array([_n_points(rng) for _ in range(20_000)])
    assert set(range(3, 31)) <= set(sizes)
    assert (sizes <= 30).mean() > 0.95
    assert (sizes == 1000).any()
    assert ((sizes > 30) & (sizes <= 150)).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_families_have_finite_points_in_the_plane(family: str, seed: int) -> None:
    cloud = FAMILIES[family](np.random.default_rng(seed), 50)
    assert cloud.shape[1] == 2
    assert len(cloud) >= 50
    assert np.isfinite(cloud).all()

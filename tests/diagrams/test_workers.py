"""map_chunks: every cloud once, in order, whoever does the work."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any, Literal

import joblib
import numpy as np
import pytest
from numpy.typing import NDArray

from stablerank.diagrams import workers
from stablerank.diagrams.workers import _runs, map_chunks, run_chunks

PREFER: tuple[Literal["processes", "threads"], ...] = ("processes", "threads")


def clouds(n: int) -> list[NDArray[np.float64]]:
    return [np.full((1 + i % 4, 2), float(i)) for i in range(n)]


def total(chunk: Sequence[NDArray[np.float64]]) -> list[float]:
    return [float(cloud.sum()) for cloud in chunk]


def thread_of(chunk: Sequence[NDArray[np.float64]]) -> list[str]:
    return [f"{os.getpid()} {threading.get_ident()}" for _ in chunk]


def refuse_cloud_13(chunk: Sequence[NDArray[np.float64]]) -> list[float]:
    if any(cloud[0, 0] == 13 for cloud in chunk):
        raise ZeroDivisionError("cloud 13")
    return total(chunk)


def nested(n_jobs: int) -> list[float]:
    """What a worker of a grid search does whose estimator has n_jobs of its own."""
    return map_chunks(total, clouds(9), n_jobs=n_jobs, prefer="processes", description="")


# Closed form: where the runs are cut.


@pytest.mark.parametrize(
    ("sizes", "n_runs", "expected"),
    [
        ([5, 5], 2, [(0, 1), (1, 2)]),
        ([5, 5], 1, [(0, 2)]),
        ([5, 5], 9, [(0, 1), (1, 2)]),
        ([1, 1, 1, 1, 4, 4], 3, [(0, 4), (4, 5), (5, 6)]),
        ([100, 1, 1, 1], 2, [(0, 1), (1, 4)]),
        ([1], 8, [(0, 1)]),
    ],
)
def test_runs_by_hand(sizes: list[int], n_runs: int, expected: list[tuple[int, int]]) -> None:
    assert _runs(sizes, n_runs) == expected


# The law.


def test_runs_cover_everything_once_in_balance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(200):
        sizes = rng.integers(1, 50, size=rng.integers(1, 60)).tolist()
        n_runs = int(rng.integers(1, 40))
        runs = _runs(sizes, n_runs)
        assert [i for start, stop in runs for i in range(start, stop)] == list(range(len(sizes)))
        assert len(runs) <= n_runs
        # A run ends at the first cloud that reaches its share, so it has less than one too many.
        assert max(sum(sizes[a:b]) for a, b in runs) <= sum(sizes) / n_runs + max(sizes) + 1


@pytest.mark.parametrize("prefer", PREFER)
@pytest.mark.parametrize("n_jobs", [None, 1, 2])
@pytest.mark.parametrize("n", [1, 2, 3, 100])
def test_results_come_in_order(n: int, n_jobs: int | None, prefer: Any) -> None:
    got = map_chunks(total, clouds(n), n_jobs=n_jobs, prefer=prefer, description="")
    assert got == [2.0 * i * (1 + i % 4) for i in range(n)]


def test_chunks_have_a_bounded_number_of_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_POINTS_PER_CHUNK", 10)
    sizes: list[int] = []

    def record(chunk: Sequence[NDArray[np.float64]]) -> list[int]:
        sizes.append(sum(map(len, chunk)))
        return [0 for _ in chunk]

    map_chunks(record, clouds(100), n_jobs=1, prefer="threads", description="")
    assert sum(sizes) == 250
    assert max(sizes) <= 10 + 4 + 1


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_what_a_chunk_gives_is_handed_over_whole(n_jobs: int) -> None:
    # Diagrams come as one batch a chunk; taking batches apart cloud by cloud used to cost two
    # threads more than both gained.
    given = clouds(100)
    parts = run_chunks(tuple, given, n_jobs=n_jobs, prefer="threads", description="")
    assert all(type(part) is tuple for part in parts)
    assert 1 < len(parts) < 100
    assert all(a is b for a, b in zip([c for part in parts for c in part], given, strict=True))


# The contract: who works.


def test_one_worker_is_this_thread() -> None:
    for n_jobs in (None, 1):
        places = map_chunks(thread_of, clouds(5), n_jobs=n_jobs, prefer="processes", description="")
        assert set(places) == {f"{os.getpid()} {threading.get_ident()}"}


def test_processes_and_threads() -> None:
    def processes(prefer: Literal["processes", "threads"]) -> set[int]:
        places = map_chunks(thread_of, clouds(20), n_jobs=2, prefer=prefer, description="")
        return {int(place.split()[0]) for place in places}

    assert processes("threads") == {os.getpid()}
    assert os.getpid() not in processes("processes")


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing", "sequential"])
def test_a_chosen_backend_is_used(backend: str) -> None:
    # multiprocessing used to be refused by joblib: it cannot return a generator.
    with joblib.parallel_config(backend=backend, n_jobs=2):
        for n_jobs in (None, 2):
            places = map_chunks(
                thread_of, clouds(20), n_jobs=n_jobs, prefer="threads", description=""
            )
            here = {int(place.split()[0]) for place in places} == {os.getpid()}
            assert here == (backend in ("threading", "sequential"))


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_inside_workers(backend: str) -> None:
    results = joblib.Parallel(n_jobs=2, backend=backend)(
        joblib.delayed(nested)(2) for _ in range(3)
    )
    assert results == [nested(1)] * 3


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("prefer", PREFER)
def test_errors_come_through(n_jobs: int, prefer: Any) -> None:
    with pytest.raises(ZeroDivisionError, match="cloud 13"):
        map_chunks(refuse_cloud_13, clouds(40), n_jobs=n_jobs, prefer=prefer, description="")

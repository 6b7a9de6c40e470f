"""A cluster is a joblib backend: two Dask workers, and one of them dies on the way.

One cluster serves the whole file, since its workers take seconds to start. Everything that they
run is defined inside functions: it travels by value, and workers cannot import this file.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from distributed import Client, LocalCluster
from numpy.typing import NDArray

from stablerank.diagrams import AlphaPersistence, RipsPersistence
from stablerank.diagrams.workers import run_chunks

Clouds = list[NDArray[np.float64]]

# What Dask and tornado warn of on some Python or other is theirs, and not of this package.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def started() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        Client(local) as client,
    ):
        yield client


@pytest.fixture
def cluster(started: Client) -> Client:
    started.wait_for_workers(2, timeout=60)  # joblib would work here itself rather than with one
    return started


@pytest.fixture
def X() -> Clouds:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, 2)) for n in rng.integers(1, 100, size=100)]


def test_both_workers_of_a_cluster_work(cluster: Client) -> None:
    def places(chunk: Sequence[Any]) -> list[int]:
        return [os.getpid() for _ in chunk]

    clouds = [np.zeros((1, 2))] * 50
    with joblib.parallel_config("dask"):
        parts = run_chunks(places, clouds, n_jobs=None, prefer="threads", description="")
    pids = [pid for part in parts for pid in part]
    assert len(pids) == 50
    assert set(pids) <= set(cluster.run(os.getpid).values())
    assert os.getpid() not in pids


def test_a_chunk_that_kills_its_worker_is_done_by_another(cluster: Client, tmp_path: Path) -> None:
    # Dask starts the worker again, and gives a chunk up only when four have died of it.
    def total(chunk: Sequence[Any]) -> list[float]:
        assert os.getpid() != here
        if any(cloud[0, 0] == 30 for cloud in chunk) and len(list(tmp_path.iterdir())) < 3:
            (tmp_path / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [float(cloud.sum()) for cloud in chunk]

    here = os.getpid()
    clouds = [np.full((5, 2), float(i)) for i in range(50)]
    with joblib.parallel_config("dask"):
        parts = run_chunks(total, clouds, n_jobs=None, prefer="threads", description="")
    assert len(list(tmp_path.iterdir())) == 3
    assert [result for part in parts for result in part] == [10.0 * i for i in range(50)]


def test_diagrams_are_the_same_though_a_worker_dies(
    cluster: Client, X: Clouds, tmp_path: Path
) -> None:
    here, killed = os.getpid(), tmp_path / "killed"
    fatal = len(X[60])  # after some have been done already

    class Deadly(AlphaPersistence):
        def _diagrams(self, clouds: Any) -> Any:
            assert os.getpid() != here
            if any(len(cloud) == fatal for cloud in clouds) and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super()._diagrams(clouds)

    expected = AlphaPersistence().fit_transform(X)
    with joblib.parallel_config("dask"):
        assert Deadly().fit(X).transform(X) == expected
        assert killed.exists()
        for model in (AlphaPersistence(engine="gudhi"), RipsPersistence((0,))):
            model.fit(X)
            with joblib.parallel_config("sequential"):
                expected = model.transform(X)
            assert model.transform(X) == expected


def test_errors_of_a_cluster_come_through(cluster: Client) -> None:
    def refuse(chunk: Sequence[Any]) -> list[Any]:
        raise ZeroDivisionError("cloud 13")

    with (
        joblib.parallel_config("dask"),
        pytest.raises(ZeroDivisionError, match="cloud 13"),
    ):
        run_chunks(refuse, [np.zeros((1, 2))] * 4, n_jobs=2, prefer="threads", description="")

"""CachedPersistence: the bits of its filtration, each diagram computed once, whatever happens."""

from __future__ import annotations

import os
import pickle
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from stablerank import AlphaPersistence, RipsPersistence, StableRankClassifier, certify
from stablerank.diagrams import (
    CachedPersistence,
    CloudDiagrams,
    DiagramBall,
    cache,
    digests,
    transform_to_shards,
)
from stablerank.diagrams.digests import array_digest, filtration_digest
from stablerank.stability import HAUSDORFF, SUP, Space

Cloud = NDArray[np.float64]
posix = pytest.mark.skipif(os.name != "posix", reason="kill -9 is of POSIX")


def random_clouds(n: int, seed: int = 0) -> list[Cloud]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(int(rng.integers(1, 30)), 2)) for _ in range(n)]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of clouds of each chunk whose diagrams are computed from now on."""
    counts: list[int] = []
    original = AlphaPersistence._diagrams

    def count(self: AlphaPersistence, clouds: Any) -> Any:
        counts.append(len(clouds))
        return original(self, clouds)

    monkeypatch.setattr(AlphaPersistence, "_diagrams", count)
    return counts


# Closed form.


def test_two_clouds_by_hand(tmp_path: Path, computed: list[int]) -> None:
    # Two points at distance 2i merge at radius i; of two equal clouds one is computed.
    pair = [[[0.0, 0.0], [2.0 * i, 0.0]] for i in (1, 2)]
    persistence = CachedPersistence(AlphaPersistence((0,)), tmp_path).fit(pair)
    first = persistence.transform([pair[0], pair[1], pair[0]])
    assert first.bars[0][:, 1].tolist() == [1, 2, 1]
    assert sum(computed) == 2
    assert persistence.transform(pair[::-1]).bars[0][:, 1].tolist() == [2, 1]
    assert sum(computed) == 2


# The law: bit for bit what the filtration computes, whatever has been asked before.


@pytest.mark.parametrize("filtration", [AlphaPersistence(), RipsPersistence((1,))])
def test_cached_diagrams_are_those_of_the_filtration(
    tmp_path: Path, filtration: Any, seed: int
) -> None:
    rng, X = np.random.default_rng(seed), random_clouds(12, seed)
    cached = CachedPersistence(filtration, tmp_path).fit(X)
    plain = clone(filtration).fit(X)
    for _ in range(6):
        some = [X[i] for i in rng.integers(12, size=rng.integers(1, 12))]
        assert cached.transform(some) == plain.transform(some)


def test_a_key_is_all_that_a_diagram_depends_on(tmp_path: Path, computed: list[int]) -> None:
    X = [np.arange(12.0).reshape(6, 2) ** 2]

    def ask(filtration: Any, clouds: Any) -> int:
        before = sum(computed)
        CachedPersistence(filtration, tmp_path).fit_transform(clouds)
        return sum(computed) - before

    assert ask(AlphaPersistence(), X) == 1
    for same in (AlphaPersistence(n_jobs=2), AlphaPersistence((1, 0)), AlphaPersistence([0, 1])):
        assert ask(same, [X[0].astype(np.float32)]) == 0
    for other in (AlphaPersistence((0,)), AlphaPersistence(engine="gudhi")):
        assert ask(other, X) == 1
    assert ask(AlphaPersistence(), [np.nextafter(X[0], np.inf)]) == 1
    assert ask(AlphaPersistence(), [X[0][::-1]]) == 1
    assert ask(AlphaPersistence(), [X[0].reshape(4, 3)]) == 1  # the same bytes


def test_a_new_version_computes_anew(
    tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    X, current = random_clouds(3), digests.versions()
    CachedPersistence(AlphaPersistence(), tmp_path).fit_transform(X)
    monkeypatch.setattr(digests, "versions", lambda: {**current, "stablerank": "99"})
    CachedPersistence(AlphaPersistence(), tmp_path).fit_transform(X)
    assert sum(computed) == 6


def test_the_test_of_keys_can_fail(
    tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "array_digest", lambda cloud: bytes(len(cloud)))
    a, b = np.zeros((3, 2)), np.arange(6.0).reshape(3, 2)
    persistence = CachedPersistence(AlphaPersistence(), tmp_path).fit([a])
    wrong = persistence.transform([a]), persistence.transform([b])
    assert wrong[0] == wrong[1]
    assert sum(computed) == 1


def test_digests_tell_arrays_apart() -> None:
    arrays = [
        np.zeros(2),
        np.zeros((2, 1)),
        np.zeros((1, 2)),
        np.zeros(2, dtype=np.int64),
        np.zeros(4, dtype=np.float32),
        np.array([0.0, -0.0]),
        np.zeros(3),
    ]
    assert len({array_digest(array) for array in arrays}) == len(arrays)
    assert array_digest(np.zeros(2), np.zeros(1)) != array_digest(np.zeros(1), np.zeros(2))
    assert array_digest(np.arange(8.0)[::2]) == array_digest(np.arange(0.0, 8.0, 2))


# What it is for: a grid search.


def test_a_grid_search_computes_each_diagram_once(tmp_path: Path, computed: list[int]) -> None:
    X = random_clouds(24)
    y = [i % 2 for i in range(24)]
    grid = {"ranks__p": [1.0, 2.0], "network__hidden": [(4,), (6,)]}

    def best(persistence: Any) -> Any:
        model = StableRankClassifier(persistence=persistence, max_epochs=2, random_state=0)
        return GridSearchCV(model, grid, cv=3).fit(X, y)

    cached = best(CachedPersistence(AlphaPersistence(), tmp_path))
    assert sum(computed) == 24
    computed.clear()
    plain = best(AlphaPersistence())
    assert sum(computed) == 24 * (4 * 3 + 1)  # four settings, each cloud in three folds, refit
    for name in ("mean_test_score", "std_test_score"):
        assert np.array_equal(cached.cv_results_[name], plain.cv_results_[name])
    radii = [search.best_estimator_.certify(X).radius for search in (cached, plain)]
    assert np.array_equal(*radii)


# Kills, damage and neighbours.

_WRITER = """
import os, signal, sys
import numpy as np
from stablerank import AlphaPersistence
from stablerank.diagrams import CachedPersistence, cache
folder, seed, kill = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "kill"
rng = np.random.default_rng(seed)
X = [rng.normal(size=(int(rng.integers(1, 30)), 2)) for _ in range(40)]
persistence = CachedPersistence(AlphaPersistence(), folder).fit(X)
persistence.transform(X[:20])
if kill:
    original = cache._Store._attempt
    def attempt(self, work):
        def worked(connection):
            result = work(connection)
            if connection.in_transaction:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        return original(self, worked)
    cache._Store._attempt = attempt
for i in range(20, 40):
    persistence.transform(X[i:i + 1])
"""


def _start(folder: Path, seed: int, kill: str = "live") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _WRITER, str(folder), str(seed), kill])


@posix
def test_a_killed_writer_leaves_what_it_had_finished(tmp_path: Path, computed: list[int]) -> None:
    assert _start(tmp_path, 0, "kill").wait(timeout=120) == -signal.SIGKILL
    X = random_clouds(40)
    got = CachedPersistence(AlphaPersistence(), tmp_path).fit_transform(X)
    assert sum(computed) == 20  # the first twenty are there, the transaction at the kill is not
    assert got == AlphaPersistence().fit_transform(X)


def test_two_processes_share_a_folder(tmp_path: Path, computed: list[int]) -> None:
    writers = [_start(tmp_path, 0), _start(tmp_path, 0)]
    assert [writer.wait(timeout=240) for writer in writers] == [0, 0]
    X = random_clouds(40)
    got = CachedPersistence(AlphaPersistence(), tmp_path).fit_transform(X)
    assert computed == []
    assert got == AlphaPersistence().fit_transform(X)


def _edit_rows(change: Callable[[bytes], Any]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        connection = sqlite3.connect(path)
        rows = connection.execute("SELECT key, value FROM diagrams").fetchall()
        for key, value in rows:
            connection.execute("UPDATE diagrams SET value = ? WHERE key = ?", (change(value), key))
        connection.commit()
        connection.close()

    return edit


def _exchange(path: Path) -> None:
    """Every diagram under another key: each entry is whole, but none is where it belongs."""
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT key, value FROM diagrams").fetchall()
    for (key, _), (_, value) in zip(rows, rows[1:] + rows[:1], strict=True):
        connection.execute("UPDATE diagrams SET value = ? WHERE key = ?", (value, key))
    connection.commit()
    connection.close()


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "a bit of each entry": _edit_rows(lambda value: value[:-1] + bytes([value[-1] ^ 1])),
    "entries cut": _edit_rows(lambda value: value[:-16]),
    "entries empty": _edit_rows(lambda value: b""),
    "entries of another type": _edit_rows(lambda value: "text"),
    "entries exchanged": _exchange,
    "no database": lambda path: path.write_bytes(b"no database" * 1000),
    "empty file": lambda path: path.write_bytes(b""),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2 + 100),
    "zeros": lambda path: path.write_bytes(path.read_bytes()[:4096] + bytes(8192)),
    "no table": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_is_computed_again(
    tmp_path: Path, computed: list[int], damage: Callable[[Path], Any]
) -> None:
    X = [np.random.default_rng(i).normal(size=(30 + i, 2)) for i in range(20)]
    expected = AlphaPersistence().fit_transform(X)
    persistence = CachedPersistence(AlphaPersistence(), tmp_path).fit(X)
    persistence.transform(X)
    computed.clear()
    damage(tmp_path / "diagrams.sqlite")
    assert persistence.transform(X) == expected
    assert 0 < sum(computed) <= 20
    computed.clear()
    assert persistence.transform(X) == expected
    assert computed == []  # and is whole again


def test_the_test_of_damage_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoDigest:
        def digest(self) -> bytes:
            return bytes(32)

    X = random_clouds(5)
    persistence = CachedPersistence(AlphaPersistence(), tmp_path).fit(X)
    original = cache._Store.write

    def write(self: Any, diagrams: Any, dimensions: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(cache.hashlib, "sha256", lambda data: NoDigest())
            original(self, diagrams, dimensions)

    monkeypatch.setattr(cache._Store, "write", write)
    first = persistence.transform(X)
    _exchange(tmp_path / "diagrams.sqlite")
    assert persistence.transform(X) == first  # entries without a digest are never taken

    monkeypatch.setattr(cache, "_decode", _decode_without_check)
    persistence.transform(X)
    _exchange(tmp_path / "diagrams.sqlite")
    assert persistence.transform(X) != first


def _decode_without_check(key: bytes, value: bytes, dimensions: list[int]) -> Any:
    n = len(dimensions)
    counts = np.frombuffer(value, dtype="<i8", offset=32, count=n)
    bars = np.frombuffer(value, dtype="<f8", offset=32 + 8 * n).reshape(-1, 2)
    return dict(zip(dimensions, np.split(bars, np.cumsum(counts)[:-1]), strict=True))


def test_a_locked_database_is_an_error_and_not_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = random_clouds(3)
    persistence = CachedPersistence(AlphaPersistence(), tmp_path).fit(X)
    persistence.transform(X[:1])
    monkeypatch.setattr(cache, "_PATIENCE_SECONDS", 0.01)
    other = sqlite3.connect(tmp_path / "diagrams.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        persistence.transform(X)
    other.execute("ROLLBACK")
    other.close()
    assert len(persistence.transform(X)) == 3


# The contract: a stage like the filtration itself.


def test_it_answers_as_its_filtration(tmp_path: Path) -> None:
    X = random_clouds(6)
    plain = AlphaPersistence().fit(X)
    cached = CachedPersistence(AlphaPersistence(), tmp_path).fit(X)
    assert cached.homology_dimensions == (0, 1)
    assert cached.dimension_ == 2
    assert cached.lowest_value == 0.0
    assert cached.stability().to_dict() == plain.stability(HAUSDORFF).to_dict()
    assert cached.relative_rounding() == plain.relative_rounding()
    assert np.array_equal(cached.largest_values(X), plain.largest_values(X))
    assert not hasattr(cached, "metric")
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        cached.nothing  # noqa: B018
    matrices = [np.abs(np.subtract.outer(x[:, 0], x[:, 0])) for x in X]
    rips = CachedPersistence(RipsPersistence(metric="precomputed"), tmp_path).fit(matrices)
    assert rips.metric == "precomputed"
    assert (
        rips.stability(SUP).to_dict() == RipsPersistence(metric="precomputed").stability().to_dict()
    )
    assert rips.transform(matrices) == rips.filtration_.transform(matrices)


def test_balls_are_those_of_the_filtration(tmp_path: Path, computed: list[int]) -> None:
    X, epsilon = random_clouds(6), np.linspace(0, 1, 6)
    plain = AlphaPersistence().fit(X).bounds(X, epsilon)
    persistence = CachedPersistence(AlphaPersistence(), tmp_path).fit(X)
    persistence.transform(X)
    computed.clear()
    ball = persistence.bounds(X, epsilon)
    assert computed == []
    assert ball.diagrams == plain.diagrams
    assert ball.metrics == plain.metrics
    assert ball.lowest == plain.lowest
    assert all(np.array_equal(ball.reach[k], plain.reach[k]) for k in (0, 1))


class _WithBoundsOfItsOwn(AlphaPersistence):
    lowest_value = -1.0

    def bounds(self, X: Any, epsilon: ArrayLike, *, source: Space = HAUSDORFF) -> DiagramBall:
        ball = super().bounds(X, epsilon, source=source)
        return ball.with_reach({k: reach + 1 for k, reach in ball.reach.items()})


def test_a_filtration_with_bounds_of_its_own_keeps_them(tmp_path: Path) -> None:
    X = random_clouds(3)
    persistence = CachedPersistence(_WithBoundsOfItsOwn(), tmp_path).fit(X)
    assert (persistence.bounds(X, 0.5).reach[1] >= 1.5).all()
    assert persistence.bounds(X, 0.5).lowest == -1.0
    assert persistence.lowest_value == -1.0


def test_parameters_clones_and_pickles(tmp_path: Path) -> None:
    X = random_clouds(4)
    persistence = CachedPersistence(AlphaPersistence(), tmp_path)
    assert set(persistence.get_params(deep=False)) == {"filtration", "folder"}
    assert persistence.get_params()["filtration__engine"] == "auto"
    copy = clone(persistence).set_params(filtration__homology_dimensions=(1,))
    assert copy.fit_transform(X).homology_dimensions == (1,)
    assert persistence.filtration.homology_dimensions == (0, 1)
    fitted = persistence.fit(X)
    again = pickle.loads(pickle.dumps(fitted))
    assert again.transform(X) == fitted.transform(X)
    assert "AlphaPersistence" in repr(fitted)
    assert not hasattr(persistence.filtration, "dimension_")  # a clone was fitted


def test_pipelines_are_certified_by_their_filtration(tmp_path: Path) -> None:
    X = random_clouds(20)
    y = [i % 2 for i in range(20)]
    model = StableRankClassifier(random_state=0, max_epochs=3).fit(X, y)
    steps = dict(model.pipeline_.steps)
    cached = CachedPersistence(AlphaPersistence(), tmp_path / "cache").fit(X)
    pipeline = Pipeline([("persistence", cached), *list(steps.items())[1:]])
    expected = model.certify(X).radius
    assert (expected > 0).any()
    assert np.array_equal(certify(pipeline, X).radius, expected)
    # the same diagrams, whoever computes them
    assert filtration_digest(cached) == filtration_digest(steps["persistence"])
    shards = transform_to_shards(cached, X, tmp_path / "shards", shard_size=7)
    assert np.array_equal(certify(model, shards.load()).radius, expected)
    known = CloudDiagrams.compute(steps["persistence"], X)
    assert np.array_equal(certify(pipeline, known).radius, expected)


# Errors.


def test_errors(tmp_path: Path) -> None:
    X = random_clouds(2)
    with pytest.raises(TypeError, match=re.escape("filtration='alpha': expected a filtration")):
        CachedPersistence("alpha", tmp_path).fit(X)
    with pytest.raises(NotFittedError):
        CachedPersistence(AlphaPersistence(), tmp_path).transform(X)
    persistence = CachedPersistence(AlphaPersistence(), tmp_path).fit(X)
    with pytest.raises(ValueError, match=re.escape("X[1] has 1 of 1 points with NaN")):
        persistence.transform([X[0], [[np.nan, 0]]])
    with pytest.raises(ValueError, match=re.escape("the dimension that was fitted is 2")):
        persistence.transform([np.zeros((1, 3))])
    with pytest.raises(ValueError, match="engine='fast'"):
        CachedPersistence(AlphaPersistence(engine="fast"), tmp_path).fit(X)  # type: ignore[arg-type]

"""Shards: the diagrams of any stream are those of the clouds in memory, also after a kill -9."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stablerank import AlphaPersistence, RipsPersistence, StableRank
from stablerank.diagrams import CloudDiagrams, DiagramShards, sharding, shards, transform_to_shards

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


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, list[Cloud]]:
    """A folder with the diagrams of nine clouds in shards of two, and the clouds."""
    X = random_clouds(9)
    transform_to_shards(
        AlphaPersistence(), X, tmp_path / "s", labels=np.arange(9) % 3, shard_size=2
    )
    return tmp_path / "s", X


def again(folder: Path, X: Any, **changes: Any) -> DiagramShards:
    """The call that wrote the fixture `written`."""
    settings: dict[str, Any] = {"labels": np.arange(9) % 3, "shard_size": 2, **changes}
    return transform_to_shards(
        settings.pop("filtration", AlphaPersistence()), X, folder, **settings
    )


# Closed form.


def test_shards_by_hand(tmp_path: Path) -> None:
    # Two points at distance 2i merge at radius i.
    X = ([[0, 0], [2 * i, 0]] for i in range(1, 6))
    made = transform_to_shards(
        AlphaPersistence((0,)), X, tmp_path, labels=list("abcde"), shard_size=2
    )
    assert sorted(os.listdir(tmp_path)) == [
        "manifest.json",
        "shard-000000.npz",
        "shard-000001.npz",
        "shard-000002.npz",
    ]
    assert [batch.bars[0][:, 1].tolist() for batch in made.batches()] == [[1, 2], [3, 4], [5]]
    assert [diagram[0].tolist() for diagram in made] == [[[0, i]] for i in range(1, 6)]
    assert made[-1][0].tolist() == [[0, 5]]
    assert made.labels is not None
    assert made.labels.tolist() == list("abcde")
    assert len(made) == 5


# The law: bit for bit what all clouds in memory give.


@pytest.mark.parametrize("filtration", [AlphaPersistence(), RipsPersistence((1, 0))])
@pytest.mark.parametrize("size", [1, 3, 7, 8, 100])
def test_shards_are_the_diagrams_of_the_stream(
    tmp_path: Path, filtration: Any, size: int, seed: int
) -> None:
    X = random_clouds(8, seed)
    whole = CloudDiagrams.compute(filtration.fit(X), X)
    made = transform_to_shards(filtration, iter(X), tmp_path, shard_size=size)
    assert made.load() == whole
    assert [len(batch) for batch in made.batches()] == [
        min(size, 8 - start) for start in range(0, 8, size)
    ]
    assert made.homology_dimensions == (0, 1)
    assert made.labels is None
    assert np.array_equal(made.load().largest_values, filtration.largest_values(X))


def test_some_of_the_clouds(written: tuple[Path, list[Cloud]], seed: int) -> None:
    made, rng = DiagramShards(written[0]), np.random.default_rng(seed)
    whole = made.load()
    for _ in range(20):
        rows = np.flatnonzero(rng.random(9) < rng.uniform(0.2, 1))
        if len(rows) == 0:
            continue
        part = made[rows]
        assert part.load() == whole[rows]
        assert np.array_equal(part.labels, rows % 3)
        assert len(part) == len(rows)
        assert part[1:].load() == whole[rows[1:]] if len(rows) > 1 else True
    assert made[made.labels == 2].load() == whole[2::3]
    assert made[[0, 8]].load() == whole[[0, 8]]


def test_vectors_in_memory_and_on_disk(written: tuple[Path, list[Cloud]], tmp_path: Path) -> None:
    made = DiagramShards(written[0])
    ranks = StableRank(p=2, n_ranks=5).fit(made.widest())
    expected = ranks.transform(made.load())
    assert np.array_equal(made.vectors(ranks), expected)
    on_disk = made.vectors(ranks, tmp_path / "v.npy")
    assert np.array_equal(on_disk, expected)
    assert not on_disk.flags.writeable
    single = made[::2].vectors(ranks, tmp_path / "w.npy", dtype=np.float32)
    assert single.dtype == np.float32
    assert np.array_equal(np.load(tmp_path / "w.npy"), expected[::2].astype(np.float32))


def test_ranks_learn_from_the_widest_what_they_learn_from_all(tmp_path: Path, seed: int) -> None:
    made = transform_to_shards(AlphaPersistence(), random_clouds(20, seed), tmp_path, shard_size=3)
    few = StableRank(p=1).fit(made.widest())
    everything = StableRank(p=1).fit(made.load())
    assert vars(few) == vars(everything)
    narrow = made[[int(made.load().n_bars(0).argmin())]]
    assert vars(StableRank(p=1).fit(narrow.widest())) != vars(everything)


# Memory: nothing is read before its turn.


def test_the_stream_is_read_shard_by_shard(tmp_path: Path, computed: list[int]) -> None:
    read: list[int] = []

    def stream() -> Iterator[Cloud]:
        for i, cloud in enumerate(random_clouds(12)):
            # all shards that can be full are computed and written before more is asked for
            assert sum(computed) == 3 * (i // 3)
            assert len(list(tmp_path.glob("shard-*"))) == i // 3
            read.append(i)
            yield cloud

    transform_to_shards(AlphaPersistence(), stream(), tmp_path, shard_size=3)
    assert read == list(range(12))


def test_one_shard_is_read_at_a_time(
    written: tuple[Path, list[Cloud]], monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers: list[int] = []

    def read(folder: Path, number: int, entry: Any) -> Any:
        numbers.append(number)
        return original(folder, number, entry)

    original = shards.read_shard
    monkeypatch.setattr(shards, "read_shard", read)
    made = DiagramShards(written[0])
    for i, _ in enumerate(made.batches()):
        assert numbers == list(range(i + 1))
    numbers.clear()
    assert len(made[[1, 6, 7]].load()) == 3  # only the shards that hold any of them
    assert numbers == [0, 3]


# Killed and resumed.

_KILLED = """
import os, signal, sys
import numpy as np
from stablerank import AlphaPersistence
from stablerank.diagrams import sharding, transform_to_shards
folder, where = sys.argv[1:]
rng = np.random.default_rng(0)
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
def stream():
    for i in range(9):
        if i == 5 and where == "reading":
            die()
        if i == 4 and where == "writing a shard":
            def half(file, **arrays):
                file.write(b"half"); file.flush(); die()
            np.savez = half
        if i == 4 and where == "before the manifest":
            sharding._Run._write_manifest = die
        yield rng.normal(size=(int(rng.integers(1, 30)), 2))
transform_to_shards(AlphaPersistence(), stream(), folder, labels=np.arange(9) % 3, shard_size=2)
"""


@posix
@pytest.mark.parametrize("where", ["reading", "writing a shard", "before the manifest"])
def test_a_killed_run_goes_on_where_it_stopped(
    tmp_path: Path, computed: list[int], where: str
) -> None:
    command = [sys.executable, "-c", _KILLED, str(tmp_path), where]
    done = subprocess.run(command, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    assert any(path.name.startswith(".") for path in tmp_path.iterdir()) == (
        where == "writing a shard"
    )
    with pytest.raises(ValueError, match=re.escape("has 2 shards of a run that did not finish")):
        DiagramShards(tmp_path)
    before = [shards.shard_path(tmp_path, i).stat().st_mtime_ns for i in range(2)]
    X = random_clouds(9)
    made = again(tmp_path, iter(X))
    assert sum(computed) == 5  # clouds 4 to 8: those of the first two shards are not touched
    assert before == [shards.shard_path(tmp_path, i).stat().st_mtime_ns for i in range(2)]
    assert made.load() == CloudDiagrams.compute(AlphaPersistence().fit(X), X)
    assert len(os.listdir(tmp_path)) == 6  # nothing half-written is left


def test_a_finished_run_computes_nothing(
    written: tuple[Path, list[Cloud]], computed: list[int]
) -> None:
    folder, X = written
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    again(folder, X, filtration=AlphaPersistence(n_jobs=2))  # who computes changes nothing
    assert computed == []
    assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}


# Damage.


def _flip(folder: Path) -> None:
    path = shards.shard_path(folder, 1)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _swap(folder: Path) -> None:
    a, b = (shards.shard_path(folder, i) for i in (1, 2))
    data = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(data)


def _alter(folder: Path) -> None:
    """A whole archive with another number in it."""
    path = shards.shard_path(folder, 1)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["largest_values"] *= 0.5
    np.savez(path, **arrays)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "a bit": _flip,
    "cut": lambda folder: os.truncate(shards.shard_path(folder, 1), 700),
    "empty": lambda folder: shards.shard_path(folder, 1).write_bytes(b""),
    "missing": lambda folder: shards.shard_path(folder, 1).unlink(),
    "swapped": _swap,
    "altered": _alter,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_noticed_and_repaired(
    written: tuple[Path, list[Cloud]], computed: list[int], damage: Callable[[Path], Any]
) -> None:
    folder, X = written
    whole = DiagramShards(folder).load()
    damage(folder)
    made = DiagramShards(folder)
    name = re.escape(str(shards.shard_path(folder, 1)))
    with pytest.raises(ValueError, match=f"{name} is missing or damaged .* call transform_to"):
        made.load()
    assert made[:2].load() == whole[:2]  # the others can be read
    again(folder, X)
    assert sum(computed) in (2, 4)  # one shard, or the two that were swapped
    assert DiagramShards(folder).load() == whole


def test_the_test_of_damage_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (shards, sharding):
        monkeypatch.setattr(module, "content_digest", lambda arrays: "0" * 64)
    whole = again(tmp_path, random_clouds(9)).load()
    _swap(tmp_path)
    assert DiagramShards(tmp_path).load() != whole


# Never mixed: other clouds, other parameters.


def _moved(X: list[Cloud]) -> list[Cloud]:
    return [*X[:5], np.nextafter(X[5], np.inf), *X[6:]]


OTHERS: dict[str, tuple[Callable[[list[Cloud]], Any], dict[str, Any], str]] = {
    "a bit of a cloud": (
        _moved,
        {},
        "^shard 2 of .* with cloud 4, was computed from other clouds",
    ),
    "order": (lambda X: [X[1], X[0], *X[2:]], {}, "shard 0 of .* computed from other clouds"),
    "shape": (lambda X: [X[0].reshape(-1, 1), *X[1:]], {}, "Clouds 0 to 1"),
    "labels": (list, {"labels": [0] * 9}, "shard 0 of .* has other labels"),
    "no labels": (list, {"labels": None}, "another kind of labels: 'i', not None"),
    "fewer": (lambda X: X[:6], {"labels": [0, 1, 2] * 2}, "holds 5 shards, .* ended after 3"),
    "fewer in the last": (lambda X: X[:8], {"labels": [0, 1, 2] * 2 + [0, 1]}, "ended after 4"),
    "more": (
        lambda X: X + X[:3],
        {"labels": [0, 1, 2] * 4},
        "shard 4 of .* from other clouds",
    ),
    "shard size": (list, {"shard_size": 3}, ".* another shard_size: 2, not 3"),
    "engine": (
        list,
        {"filtration": AlphaPersistence(engine="gudhi")},
        r"another filtration: 'AlphaPersistence\(\)', not \"AlphaPersistence\(engine='gudhi'\)\"",
    ),
    "dimensions": (list, {"filtration": AlphaPersistence((0,))}, "another filtration"),
    "filtration": (list, {"filtration": RipsPersistence()}, "another filtration"),
}


@pytest.mark.parametrize(("change", "settings", "message"), OTHERS.values(), ids=OTHERS)
def test_other_clouds_and_parameters_are_refused(
    written: tuple[Path, list[Cloud]],
    change: Callable[[list[Cloud]], Any],
    settings: dict[str, Any],
    message: str,
) -> None:
    folder, X = written
    whole = DiagramShards(folder).load()
    with pytest.raises(ValueError, match=message):
        again(folder, change(X), **settings)
    assert DiagramShards(folder).load() == whole


def test_more_whole_shards_are_refused(tmp_path: Path) -> None:
    X = random_clouds(6)
    transform_to_shards(AlphaPersistence(), X[:4], tmp_path, shard_size=2)
    with pytest.raises(ValueError, match="is finished with 2 shards, and here come more clouds"):
        transform_to_shards(AlphaPersistence(), X, tmp_path, shard_size=2)


def test_another_version_is_refused(
    written: tuple[Path, list[Cloud]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from stablerank.diagrams import digests

    folder, X = written
    original = digests.versions()
    for module in (digests, sharding):
        monkeypatch.setattr(module, "versions", lambda: {**original, "gudhi": "99"})
    with pytest.raises(ValueError, match=r"another filtration: .*, now .*'gudhi': '99'"):
        again(folder, X)


# A folder of files.


def test_clouds_from_files(tmp_path: Path) -> None:
    X = random_clouds(3)
    stack = np.random.default_rng(1).normal(size=(4, 5, 2)).astype(np.float32)
    np.save(tmp_path / "b.npy", stack)
    np.save(tmp_path / "a.npy", X[0])
    np.savez(tmp_path / "c.npz", z=X[1], stack=stack[:2], a=X[2])
    (tmp_path / "notes.txt").write_text("not a cloud")
    made = transform_to_shards(AlphaPersistence(), str(tmp_path), tmp_path / "s", shard_size=4)
    expected = [X[0], *stack, X[1], *stack[:2], X[2]]
    assert made.load() == CloudDiagrams.compute(AlphaPersistence().fit(expected), expected)


def test_bad_files_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "clouds"
    with pytest.raises(FileNotFoundError, match="is no folder of"):
        transform_to_shards(AlphaPersistence(), folder, tmp_path / "s")
    folder.mkdir()
    with pytest.raises(ValueError, match=r"has no \.npy or \.npz file"):
        transform_to_shards(AlphaPersistence(), folder, tmp_path / "s")
    np.save(folder / "a.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"a\.npy has shape \(3,\): expected a cloud"):
        transform_to_shards(AlphaPersistence(), folder, tmp_path / "s")
    np.save(folder / "a.npy", np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"a\.npy is damaged, or holds .*Python objects"):
        transform_to_shards(AlphaPersistence(), folder, tmp_path / "s")
    (folder / "a.npy").unlink()
    (folder / "b.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(ValueError, match=r"b\.npz is damaged"):
        transform_to_shards(AlphaPersistence(), folder, tmp_path / "s")


# The contract.


def test_a_fitted_filtration_keeps_its_dimension(tmp_path: Path) -> None:
    persistence = AlphaPersistence().fit([np.zeros((1, 3))])
    with pytest.raises(ValueError, match=re.escape("the dimension that was fitted is 3")):
        transform_to_shards(persistence, random_clouds(3), tmp_path)
    unfitted = AlphaPersistence()
    transform_to_shards(unfitted, random_clouds(3), tmp_path)
    assert not hasattr(unfitted, "dimension_")


def test_the_folder_can_be_moved(written: tuple[Path, list[Cloud]], tmp_path: Path) -> None:
    whole = DiagramShards(written[0]).load()
    shutil.move(written[0], tmp_path / "elsewhere")
    assert DiagramShards(str(tmp_path / "elsewhere")).load() == whole


def test_cloud_diagrams_stay_what_they_are(tmp_path: Path) -> None:
    X = random_clouds(4)
    whole = CloudDiagrams.compute(AlphaPersistence().fit(X), X)
    whole.save(tmp_path / "a.npz")
    assert CloudDiagrams.load(tmp_path / "a.npz") == whole
    assert CloudDiagrams.concatenate([whole[:1], whole[[1, 2]], whole[[3]], whole[[]]]) == whole
    assert isinstance(whole[0], dict)
    other = CloudDiagrams.compute(AlphaPersistence(engine="gudhi").fit(X), X)
    with pytest.raises(ValueError, match="different filtrations"):
        CloudDiagrams.concatenate([whole, other])
    with pytest.raises(ValueError, match=re.escape("largest_values has shape (3,)")):
        CloudDiagrams(whole.bars, whole.offsets, np.ones(3), "")
    with pytest.raises(ValueError, match=re.escape("largest_values[1] is nan")):
        CloudDiagrams(whole.bars, whole.offsets, np.array([1, np.nan, 1, 1]), "")


# Errors.


def test_a_bad_cloud_is_found_in_the_stream(tmp_path: Path) -> None:
    X = random_clouds(9)
    X[7] = np.full((3, 2), np.nan)
    message = "Clouds 6 to 7 of the stream, X[0] being cloud 6: X[1] has 3 of 3 points with NaN"
    with pytest.raises(ValueError, match=re.escape(message)):
        again(tmp_path, X)
    X[7] = np.zeros((3, 2))
    assert len(again(tmp_path, X)) == 9  # and what came before it is not lost
    with pytest.raises(TypeError, match="Clouds 0 to 1 of the stream"):
        again(tmp_path / "t", [["a"], ["b"]], labels=None)


@pytest.mark.parametrize(
    ("X", "settings", "error", "message"),
    [
        ([], {}, ValueError, "clouds is empty"),
        (3, {}, TypeError, "clouds is a int: expected clouds one after the other, or the path"),
        (random_clouds(3), {"labels": [1, 2]}, ValueError, "labels has ended after 2"),
        (random_clouds(2), {"labels": [1, 2, 3]}, ValueError, "labels has more than 2"),
        (random_clouds(4), {"labels": [1, 2, "a", "b"]}, ValueError, "labels[2:4] make an array"),
        (random_clouds(2), {"labels": [None, 1]}, ValueError, "labels[0:2] make an array of dtype"),
        (random_clouds(2), {"shard_size": 0}, ValueError, "shard_size=0: expected at least one"),
        (random_clouds(2), {"shard_size": 2.0}, TypeError, "shard_size=2.0 is no integer"),
    ],
)
def test_bad_arguments(
    tmp_path: Path, X: Any, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        again(tmp_path, X, **{"labels": None, **settings})


@pytest.mark.parametrize("index", [[1, 0], [1, 1], [], np.zeros(9, dtype=bool), [[0, 1]]])
def test_indices_increase(written: tuple[Path, list[Cloud]], index: Any) -> None:
    with pytest.raises(IndexError, match=re.escape("such as np.sort(train)")):
        DiagramShards(written[0])[index]


def test_no_shards_and_bad_manifests(written: tuple[Path, list[Cloud]], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="transform_to_shards writes them"):
        DiagramShards(tmp_path)
    folder, X = written
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for text, message in (
        ("{", "no manifest of shards, or damaged"),
        (json.dumps({**manifest, "format": 2}), "it has format 2, and this version reads up to 1"),
        (json.dumps({"format": 1}), "it has no ['complete'"),
        (json.dumps({**manifest, "shards": [{"n_clouds": 0}]}), "its shard"),
    ):
        path.write_text(text)
        for call in (lambda: DiagramShards(folder), lambda: again(folder, X)):
            with pytest.raises(ValueError, match=re.escape(message)):
                call()

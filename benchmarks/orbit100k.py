"""ORBIT100K by stable ranks: features within 2 GB of memory, in linear time, killed and resumed.

Data: 20,000 orbits a class of 1000 points. They are never all in memory: chunk c holds the same
number of orbits of each class and is drawn by ``np.random.default_rng([seed, c])``. Diagrams
(alpha, H0 and H1) go to shards, and the stable ranks with p = ∞ from there to one array on disk.
70/30 split, stratified; the global constant alone, for all 30,000 test clouds. Settings were
those of ORBIT5K then, with larger batches and 30 epochs, fixed beforehand: 8,220 steps, where
ORBIT5K has 1,120 and 2,800. Published accuracies, without certificates: PersLay 89.2, Persformer
92.0.

Features are computed by a process of its own, whose largest memory is recorded and whose clock is
read whenever it asks for the next clouds. A second run is killed (SIGKILL) as soon as half of its
shards are there, and started again: the shards that it had are not touched, and in the end all have
the content of those of the first run, by the digests in the manifests.

Attacked accuracy is what a gradient-free search leaves of 200 test clouds. It is asserted cloud by
cloud that certified <= attacked <= clean, and that certificates from shards are those of the
clouds, to the last bit.

Command: ``nice -n 10 python -m benchmarks.orbit100k [--quick] [--folder F]``, about forty minutes
on two cores that others used too (seconds of CPU stand beside those of the clock), with 8 GB of
disk; ``--quick`` (a minute, smaller data) writes nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline

from benchmarks.record import write
from stablerank import AlphaPersistence, LipschitzClassifier, StabilityChain, StableRank, certify
from stablerank.attack import attack
from stablerank.datasets import make_orbits
from stablerank.diagrams import DiagramShards, transform_to_shards
from stablerank.stability import HAUSDORFF

EPSILONS = (0.00025, 0.0005, 0.001, 0.002)
N_CLASSES = 5
PER_CLASS_IN_CHUNK = 100
SHARD_SIZE = PER_CLASS_IN_CHUNK * N_CLASSES  # so that a shard is written when a chunk is made
CHUNKS_ATTACKED = 4
TRAINING: dict[str, Any] = {"max_epochs": 30, "batch_size": 256}
MODELS: dict[str, dict[str, Any]] = {
    "robust": {
        "n_ranks": {0: 100, 1: 100},
        "network": {"loss": "margin", "temperature": 3.0, "offset": 0.1, **TRAINING},
    },
    "accurate": {
        "n_ranks": {0: 900, 1: 400},
        "network": {"loss": "cross-entropy", "temperature": 20.0, "lr": 0.003, **TRAINING},
    },
}
FULL = {"n_per_class": 20_000, "n_points": 1000, "max_epochs": 30}
QUICK = {"n_per_class": 800, "n_points": 100, "max_epochs": 3}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small data, few epochs, no file")
    parser.add_argument("--folder", type=Path, help="for diagrams and features; a temporary one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--features", help=argparse.SUPPRESS)  # this process only computes them
    arguments = parser.parse_args()
    sizes = QUICK if arguments.quick else FULL
    if arguments.features:
        features(arguments.folder, arguments.seed, sizes, vectors=arguments.features == "vectors")
        return
    started = time.time()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        content = run(
            Path(folder), arguments.seed, sizes, n_attacked=40 if arguments.quick else 200
        )
    print(json.dumps(content, indent=1))
    if not arguments.quick:
        print(write("orbit100k", "benchmarks.orbit100k", started, content))


def run(folder: Path, seed: int, sizes: dict[str, int], n_attacked: int) -> dict[str, Any]:
    """Features twice, then both models."""
    featurising = _features_in_a_process(folder / "whole", seed, sizes, "vectors")
    resuming = _kill_and_resume(folder / "killed", seed, sizes)
    if _manifest(folder / "killed") != _manifest(folder / "whole"):
        raise RuntimeError("The killed and resumed run has other diagrams than the whole one.")
    resuming["equal to the run that was not killed"] = True
    shards = DiagramShards(folder / "whole")
    models = {name: _model(name, folder, shards, seed, sizes, n_attacked) for name in MODELS}
    return {
        "seeds": {"split, training, attack": seed, "chunk c of the data": f"[{seed}, c]"},
        "protocol": {
            **sizes,
            "shard and chunk": SHARD_SIZE,
            "models": MODELS,
            "epsilons": EPSILONS,
            "n_attacked": n_attacked,
        },
        "features": featurising,
        "killed and resumed": resuming,
        "models": models,
    }


def orbits(seed: int, sizes: dict[str, int], clock: dict[int, list[float]]) -> Iterator[Any]:
    """Clouds, a chunk in memory at a time; the clock is read before each chunk is made."""
    began = np.array([time.perf_counter(), time.process_time()])
    for chunk in range(sizes["n_per_class"] // PER_CLASS_IN_CHUNK):
        yield from orbits_of_chunk(seed, chunk, sizes["n_points"])
        # asked for more: what came so far is written
        now = np.array([time.perf_counter(), time.process_time()])
        clock[(chunk + 1) * SHARD_SIZE] = (now - began).tolist()


def orbits_of_chunk(seed: int, chunk: int, n_points: int) -> list[NDArray[np.float64]]:
    """The clouds of one chunk, in blocks of a class each."""
    generator = np.random.default_rng([seed, chunk])
    return make_orbits(PER_CLASS_IN_CHUNK, n_points, random_state=generator)[0]


def labels(sizes: dict[str, int]) -> NDArray[np.int64]:
    """The classes of all clouds: each chunk has them in blocks."""
    block = np.repeat(np.arange(N_CLASSES), PER_CLASS_IN_CHUNK)
    return np.tile(block, sizes["n_per_class"] // PER_CLASS_IN_CHUNK)


def split(sizes: dict[str, int], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of training and of test clouds, ascending."""
    y = labels(sizes)
    train, test = train_test_split(np.arange(len(y)), test_size=0.3, stratify=y, random_state=seed)
    return np.sort(train), np.sort(test)


def features(folder: Path, seed: int, sizes: dict[str, int], *, vectors: bool) -> None:
    """Diagrams and vectors; print what it took. This is all that its process does."""
    clock: dict[int, list[float]] = {}
    persistence = AlphaPersistence()
    shards = transform_to_shards(
        persistence,
        orbits(seed, sizes, clock),
        folder,
        labels=labels(sizes),
        shard_size=SHARD_SIZE,
    )
    began = time.perf_counter()
    if vectors:
        train, _ = split(sizes, seed)
        widest = shards[train].widest()
        for name, settings in MODELS.items():
            ranks = StableRank(p=math.inf, n_ranks=settings["n_ranks"]).fit(widest)
            shards.vectors(ranks, folder / f"{name}.npy")
    seconds = time.perf_counter() - began
    checkpoints = [len(shards) // 8, len(shards) // 4, len(shards) // 2, len(shards)]
    print(
        json.dumps(
            {
                "seconds for orbits and diagrams by clouds": {n: clock[n][0] for n in checkpoints},
                "seconds of CPU for them": {n: clock[n][1] for n in checkpoints},
                "seconds for the vectors of both models": seconds,
                "largest memory, GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
                "shards, GB": sum(p.stat().st_size for p in folder.glob("shard-*.npz")) / 1e9,
            }
        )
    )


def _model(
    name: str,
    folder: Path,
    shards: DiagramShards,
    seed: int,
    sizes: dict[str, int],
    n_attacked: int,
) -> dict[str, Any]:
    train, test = split(sizes, seed)
    y = labels(sizes)
    if (shards.labels != y).any():
        raise RuntimeError("The shards have other labels.")
    settings = MODELS[name]
    persistence = AlphaPersistence().fit(orbits_of_chunk(seed, 0, sizes["n_points"]))
    ranks = StableRank(p=math.inf, n_ranks=settings["n_ranks"]).fit(shards[train].widest())
    to_diagrams = persistence.stability(HAUSDORFF)
    chain = StabilityChain(to_diagrams, ranks.stability(to_diagrams.target))
    clock = time.perf_counter()
    vectors = np.load(folder / "whole" / f"{name}.npy", mmap_mode="r")[train]
    network = LipschitzClassifier(
        epsilon=0.001,
        constants=chain.constants,
        random_state=seed,
        **{**settings["network"], "max_epochs": sizes["max_epochs"]},
    ).fit(vectors, y[train])
    row: dict[str, Any] = {"seconds to fit": time.perf_counter() - clock}
    row["train"] = float((network.predict(vectors) == y[train]).mean())
    pipeline = Pipeline([("persistence", persistence), ("ranks", ranks), ("network", network)])
    clock = time.perf_counter()
    certificates = certify(pipeline, shards[test], threat="per_point", method="global")
    row["seconds to certify all test clouds"] = time.perf_counter() - clock
    row["test clouds"] = len(test)
    row["clean"] = float((certificates.prediction == y[test]).mean())
    for epsilon in EPSILONS:
        row[f"certified {epsilon:g}"] = certificates.certified_accuracy(y[test], epsilon)
    row["median radius"] = float(np.median(certificates.radius))
    row |= _attacked(pipeline, test, y, certificates, seed, sizes, n_attacked)
    print(name, json.dumps(row), file=sys.stderr, flush=True)
    return row


def _attacked(
    pipeline: Pipeline,
    test: NDArray[np.int64],
    y: NDArray[np.int64],
    certificates: Any,
    seed: int,
    sizes: dict[str, int],
    n_attacked: int,
) -> dict[str, float]:
    """Some test clouds of the first chunks, which are made again."""
    X: list[NDArray[np.float64]] = []
    for chunk in range(CHUNKS_ATTACKED):
        clouds = orbits_of_chunk(seed, chunk, sizes["n_points"])
        here = np.flatnonzero(test // SHARD_SIZE == chunk)
        part = [clouds[row % SHARD_SIZE] for row in test[here]]
        from_clouds = certify(pipeline, part, method="global")
        from_shards = certificates[here]
        for name in ("radius", "prediction", "margin"):
            if (getattr(from_clouds, name) != getattr(from_shards, name)).any():
                raise RuntimeError(f"The {name} from shards is not that from the clouds.")
        X += part
    some = np.random.default_rng(seed).choice(len(X), n_attacked, replace=False)
    X, rows = [X[i] for i in some], test[some]
    right = certificates.prediction[some] == y[rows]
    row = {"clean, attacked clouds": float(right.mean())}
    clock = time.perf_counter()
    for epsilon in EPSILONS:
        result = attack(
            pipeline,
            X,
            y[rows],
            threat="per_point",
            radius=epsilon,
            random_state=seed,
            n_queries=40,
        )
        survived = ~result.success
        certified = right & (certificates.radius[some] > epsilon)
        if (certified & ~survived).any() or (survived & ~right).any():
            raise RuntimeError(f"ε={epsilon}: certified <= attacked <= clean is violated.")
        row[f"attacked {epsilon:g}"] = float(survived.mean())
    row["seconds to attack"] = time.perf_counter() - clock
    return row


def _command(folder: Path, seed: int, sizes: dict[str, int], what: str) -> list[str]:
    quick = ["--quick"] if sizes is QUICK else []
    module = [sys.executable, "-m", "benchmarks.orbit100k", "--features", what]
    return [*module, "--folder", str(folder), "--seed", str(seed), *quick]


def _features_in_a_process(
    folder: Path, seed: int, sizes: dict[str, int], what: str
) -> dict[str, Any]:
    done = subprocess.run(
        _command(folder, seed, sizes, what), stdout=subprocess.PIPE, text=True, check=True
    )
    print(done.stdout, file=sys.stderr, flush=True)
    return dict(json.loads(done.stdout))


def _kill_and_resume(folder: Path, seed: int, sizes: dict[str, int]) -> dict[str, Any]:
    half = sizes["n_per_class"] * N_CLASSES // SHARD_SIZE // 2
    first = subprocess.Popen(_command(folder, seed, sizes, "diagrams"), stdout=subprocess.PIPE)
    while len(list(folder.glob("shard-*.npz"))) < half:
        if first.poll() is not None:
            raise RuntimeError("The run that was to be killed has ended before.")
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    listed = len(_manifest(folder)["shards"])
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*.npz")}
    kept = dict(sorted(before.items())[:listed])
    clock = time.perf_counter()
    second = _features_in_a_process(folder, seed, sizes, "diagrams")
    seconds = time.perf_counter() - clock
    if any((folder / name).stat().st_mtime_ns != time_ for name, time_ in kept.items()):
        raise RuntimeError("A shard that was finished before the kill was written again.")
    return {
        "signal": -first.returncode,
        "shards when it was killed": listed,
        "shards in the end": len(_manifest(folder)["shards"]),
        "seconds of the second process, the first half being checked": seconds,
        "largest memory of the second process, GB": second["largest memory, GB"],
    }


def _manifest(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "manifest.json").read_text()))


if __name__ == "__main__":
    main()

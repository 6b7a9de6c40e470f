"""Layers × losses: every Lipschitz network and loss of the package on the same features.

Data: ORBIT5K, and cells by cell line, split 70/30 as in the comparison, five seeds. Features: the
hundred longest bars of alpha H0 and of H1. Networks: two hidden layers of width 64, 40 epochs, all
else as :class:`~stablerank.LipschitzClassifier` has it; epsilon follows the spread of the training
vectors. Layers made for ℓ2 take inputs in units of how far each homology dimension moves in ℓ2,
the others in units of how far each coordinate moves. "free" is unconstrained, with ReLU.

For each pair of a layer and a loss: accuracy; certified accuracy when every point moves by ε ("per
point"), and when all together move by ε in ℓ2 ("Frobenius"), for each cloud by the better of the
constants in ℓ∞ and in ℓ2, and by boxes behind the box loss and free layers; processor seconds of
one thread an epoch. Some test clouds are attacked along gradients under both threats, at all radii:
a certificate that breaks stops the run.

Settings of the losses are those with the largest :func:`area` on a validation part of the training
set of ORBIT5K's seed 0, which is none of the seeds of the tables: chosen with "linf", per point,
for ℓ∞ layers, with "cayley", in Frobenius norm, for ℓ2 layers, and with "free" for that. The cells
take the same settings: nothing was chosen on them.

Command: ``python -m benchmarks.networks [--choose] [--jobs N] [--layers …] [--quick]``.
``--choose`` writes ``results/networks/choice.json`` first. Rows that are there with the settings of
now are not run again; the tables are written at the end. ``--quick``: little data, few epochs, no
file.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from benchmarks.comparison import cells, orbits
from benchmarks.comparison.task import Cloud
from benchmarks.networks_tables import write_tables
from benchmarks.record import RESULTS, commit, write
from stablerank import AlphaPersistence, LipschitzClassifier, StableRank, certify
from stablerank.attack import ProjectedGradient
from stablerank.certify.threats import threat_space
from stablerank.diagrams import CloudDiagrams
from stablerank.nn.architecture import IN_L2
from stablerank.stages import chain_of_stages, l2_chain_of_stages

SEEDS = (1, 2, 3, 4, 5)
RADII: dict[str, dict[str, tuple[float, ...]]] = {
    "orbit5k": {
        "per_point": (0.00025, 0.0005, 0.001, 0.002),
        "frobenius": (0.0005, 0.001, 0.002, 0.004),
    },
    "cells": {"per_point": (0.05, 0.1, 0.25, 0.5), "frobenius": (0.1, 0.25, 0.5, 1.0)},
}
LAYERS = (
    "linf", "linf-distance", "sortnet", "cayley", "exponential", "bjorck", "bro", "aol", "gram",
    "spectral", "sll", "cpl", "free",
)  # fmt: skip
NETWORK: dict[str, Any] = {"hidden": (64, 64), "max_epochs": 40}
BATCH = {"orbit5k": 256, "cells": 32}
N_RANKS = 100
N_ATTACKED, STEPS = 5, 10


def _grid(**values: Sequence[Any]) -> list[dict[str, Any]]:
    """All settings that are made of these values."""
    return [dict(zip(values, one, strict=True)) for one in itertools.product(*values.values())]


_GRID: dict[str, list[dict[str, Any]]] = {
    "cross-entropy": _grid(temperature=(0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 3.0)),
    "margin": _grid(temperature=(1.0, 3.0), offset=(0.25, 0.5, 1.0, 2.0, 4.0)),
    "offset": _grid(temperature=(0.1, 0.3, 1.0), offset=(0.5, 1.0, 2.0)),
    "hinge": _grid(offset=(0.5, 1.0, 2.0, 4.0, 8.0)),
    "hkr": _grid(offset=(0.5, 1.0, 2.0, 4.0), loss_options=({"alpha": 10 / 11}, {"alpha": 0.98})),
    "certified": _grid(
        temperature=(0.1, 0.3, 1.0), loss_options=({"weight": 0.1}, {"weight": 0.5})
    ),
    "annealing": _grid(temperature=(0.1, 0.3, 1.0, 3.0), offset=(0.5, 1.0, 2.0, 4.0)),
    "gloro": _grid(temperature=(0.1, 0.3, 1.0), offset=(0.25, 0.5, 1.0, 2.0)),
    "mixture": _grid(temperature=(1.0, 3.0, 10.0), offset=(1.0, 2.0, 4.0)),
    "box": _grid(temperature=(0.3, 1.0, 3.0), clean_weight=(0.0, 0.5)),
}
_FREE = ("cross-entropy", "hinge", "box")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="little data, few epochs, no file")
    parser.add_argument("--choose", action="store_true", help="choose the settings again")
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    started = time.time()
    if arguments.choose:
        choose(started, arguments.jobs, arguments.quick)
    jobs = [
        (task, seed, layer)
        for seed in (SEEDS[:1] if arguments.quick else SEEDS)
        for task in RADII
        for layer in arguments.layers
        if arguments.quick or missing(task, seed, layer)
    ]
    print(f"{len(jobs)} runs", file=sys.stderr, flush=True)
    tasks = (delayed(run)(*job, quick=arguments.quick) for job in jobs)
    for task, seed, layer, rows in Parallel(n_jobs=arguments.jobs, return_as="generator_unordered")(
        tasks
    ):
        for loss, row in rows.items():
            clean, pace = 100 * row["clean"], row["seconds an epoch"]
            print(f"{task} {seed} {layer}, {loss}: {clean:.1f}, {pace:.3f} s", flush=True)
        if not arguments.quick:
            keep(task, seed, layer, rows, started)
    if not arguments.quick:
        write_tables(read(), RADII)


def run(
    task: str, seed: int, layer: str, quick: bool = False
) -> tuple[str, int, str, dict[str, dict[str, Any]]]:
    """All losses behind one kind of layer, on one seed of a task; rows by loss.

    Raises
    ------
    RuntimeError
        If an attack breaks a certificate.
    """
    torch.set_num_threads(1)
    data = features(task, seed, quick)
    rows = {}
    for loss, settings in settings_of(layer).items():
        if missing(task, seed, layer, loss) or quick:
            classifier, pace = fitted(data, task, layer, loss, settings, seed, quick)
            row = measured(data, RADII[task], classifier)
            row["seconds an epoch"] = pace
            row |= attacked(data, RADII[task], classifier, seed, 2 if quick else N_ATTACKED)
            rows[loss] = row
    return task, seed, layer, rows


def choose(started: float, n_jobs: int, quick: bool = False) -> dict[str, dict[str, Any]]:
    """The settings of each loss with the largest area on validation data, in each norm."""
    sides = [("linf", "per_point"), ("cayley", "frobenius"), ("free", "per_point")]
    tried = [
        (layer, threat, loss, settings)
        for layer, threat in sides
        for loss in (_FREE if layer == "free" else _GRID)
        if loss != "box" or layer not in IN_L2
        for settings in (_GRID[loss][:1] if quick else _GRID[loss])
    ]
    areas = Parallel(n_jobs=n_jobs)(delayed(_validated)(*one, quick) for one in tried)
    best: dict[str, dict[str, Any]] = {layer: {} for layer, _ in sides}
    record = []
    for (layer, threat, loss, settings), value in zip(tried, areas, strict=True):
        record.append({"layer": layer, "loss": loss, **settings, "threat": threat, "area": value})
        if value > best[layer].get(loss, {"area": -1.0})["area"]:
            best[layer][loss] = {"settings": settings, "area": value}
    content = {
        layer: {loss: one["settings"] for loss, one in losses.items()}
        for layer, losses in best.items()
    }
    if not quick:
        write(
            "networks/choice",
            "benchmarks.networks",
            started,
            {"seed": 0, "network": NETWORK, "choice": content, "tried": record},
        )
        settings_of.cache_clear()
    return content


@functools.cache
def settings_of(layer: str) -> dict[str, dict[str, Any]]:
    """The losses behind a kind of layer, with their settings as chosen."""
    choice = json.loads((RESULTS / "networks/choice.json").read_text())["choice"]
    side = "free" if layer == "free" else "cayley" if layer in IN_L2 else "linf"
    return dict(choice[side])


def area(row: dict[str, Any], threat: str) -> float:
    """The mean of clean accuracy and of certified accuracy at each radius."""
    certified = [value for key, value in row.items() if key.startswith(f"certified {threat}")]
    return float(np.mean([row["clean"], *certified]))


class Features:
    """Diagrams, vectors and labels of one split, with the stages that made them.

    Parameters
    ----------
    X_train, X_test : list of ndarray
    y_train, y_test : ndarray
    """

    def __init__(
        self, X_train: list[Cloud], y_train: NDArray[Any], X_test: list[Cloud], y_test: NDArray[Any]
    ) -> None:
        self.filtration = AlphaPersistence().fit(X_train)
        diagrams = CloudDiagrams.compute(self.filtration, X_train)
        self.ranks = StableRank(n_ranks=N_RANKS).fit(diagrams)
        self.train, self.y_train = self.ranks.transform(diagrams), y_train
        self.clouds, self.y_test = X_test, y_test
        self.diagrams = CloudDiagrams.compute(self.filtration, X_test)
        self.test = self.ranks.transform(self.diagrams)

    def constants(self, layer: str) -> NDArray[np.float64]:
        """The unit of each coordinate."""
        stages = [self.filtration, self.ranks]
        if layer not in IN_L2:
            return np.asarray(chain_of_stages(stages, threat_space("per_point")[0]).constants)
        blocks = l2_chain_of_stages(stages, threat_space("frobenius")[0]).blocks
        assert blocks is not None
        return np.concatenate([np.full(block.each.size, block.together) for block in blocks])


@functools.lru_cache(maxsize=2)
def features(task: str, seed: int, quick: bool = False) -> Features:
    """Data and split of a seed."""
    cell = task == "cells"
    split = cells.load("cell_line", seed, quick) if cell else orbits.load(seed, quick)
    return Features(split.X_train, split.y_train, split.X_test, split.y_test)


def fitted(
    data: Features,
    task: str,
    layer: str,
    loss: str,
    settings: dict[str, Any],
    seed: int,
    quick: bool,
) -> tuple[LipschitzClassifier, float]:
    """A classifier of the vectors, and the processor seconds of one of its epochs."""
    network = NETWORK | ({"max_epochs": 2} if quick else {})
    started = time.process_time()
    classifier = LipschitzClassifier(
        layer=layer,
        activation="relu" if layer == "free" else "maxmin",
        loss=loss,
        constants=data.constants(layer),
        batch_size=BATCH[task],
        random_state=seed,
        **network,
        **settings,
    ).fit(data.train, data.y_train)
    return classifier, (time.process_time() - started) / network["max_epochs"]


def measured(
    data: Features, radii: dict[str, tuple[float, ...]], classifier: LipschitzClassifier
) -> dict[str, Any]:
    """Clean accuracy, and certified accuracy at each radius of each threat."""
    row: dict[str, Any] = {"clean": classifier.score(data.test, data.y_test)}
    for threat, epsilons in radii.items():
        radius, prediction = certified_radii(data, classifier, data.diagrams, threat)
        right = prediction == data.y_test
        for epsilon in epsilons:
            row[f"certified {threat} {epsilon:g}"] = float((right & (radius > epsilon)).mean())
    return row


def certified_radii(
    data: Features, classifier: LipschitzClassifier, X: Any, threat: str
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """The largest radius that constants give, or boxes where a network is trained for these."""
    pipeline = make_pipeline(data.filtration, data.ranks, classifier)
    if classifier.loss == "box" or classifier.layer == "free":
        routes = ["best"]
    else:
        routes = ["global", "l2"] if threat == "frobenius" else ["global"]
    found = [certify(pipeline, X, threat=threat, method=route) for route in routes]
    return np.max([one.radius for one in found], axis=0), found[0].prediction


def attacked(
    data: Features,
    radii: dict[str, tuple[float, ...]],
    classifier: LipschitzClassifier,
    seed: int,
    n_attacked: int,
) -> dict[str, Any]:
    """What gradients leave of some test clouds under each threat, cloud by cloud.

    Raises
    ------
    RuntimeError
        Unless certified <= attacked <= clean holds for each of them.
    """
    pipeline = make_pipeline(data.filtration, data.ranks, classifier)
    chosen = np.random.default_rng(seed).permutation(len(data.clouds))[:n_attacked]
    X, y = [data.clouds[i] for i in chosen], data.y_test[chosen]
    right = pipeline.predict(X) == y
    row: dict[str, Any] = {}
    for threat, epsilons in radii.items():
        radius, _ = certified_radii(data, classifier, X, threat)
        standing = right.copy()
        for epsilon in epsilons:
            left = np.flatnonzero(standing)
            if left.size:
                result = ProjectedGradient(steps=STEPS)(
                    pipeline,
                    [X[i] for i in left],
                    y[left],
                    threat=threat,
                    radius=epsilon,
                    random_state=seed,
                )
                standing[left] = ~result.success
            row[f"attacked {threat} {epsilon:g}"] = standing.tolist()
            broken = right & (radius > epsilon) & ~standing
            if broken.any():
                raise RuntimeError(
                    f"{classifier}: test clouds {chosen[broken].tolist()} of seed {seed} were "
                    f"broken within their certificate, {threat} {epsilon:g}."
                )
    return row


def missing(task: str, seed: int, layer: str, loss: str | None = None) -> bool:
    """Whether a row is not there, or was made with other settings."""
    losses = settings_of(layer)
    kept = _rows(task, layer)
    return any(
        str(seed) not in kept.get(one, {}).get("rows", {})
        or kept[one]["settings"] != _settings(task, losses[one])
        for one in ([loss] if loss else losses)
    )


def keep(task: str, seed: int, layer: str, rows: dict[str, dict[str, Any]], started: float) -> None:
    """Write rows into the file of a task and a layer."""
    losses, kept = settings_of(layer), _rows(task, layer)
    for loss, row in rows.items():
        settings = _settings(task, losses[loss])
        old = kept.get(loss, {})
        same = old["rows"] if old.get("settings") == settings else {}
        both = same | {str(seed): row | {"commit": commit()}}
        kept[loss] = {"settings": settings, "rows": dict(sorted(both.items()))}
    content = {"task": task, "layer": layer, "radii": RADII[task], "losses": kept}
    write(_file(task, layer), "benchmarks.networks", started, content)


def read() -> dict[str, dict[str, dict[str, list[dict[str, Any]]]]]:
    """Rows of all seeds by task, layer and loss; what was made with other settings is left out."""
    return {task: dict(_read_task(task)) for task in RADII}


def _read_task(task: str) -> Iterator[tuple[str, dict[str, list[dict[str, Any]]]]]:
    for layer in LAYERS:
        losses = settings_of(layer)
        rows = {
            loss: list(content["rows"].values())
            for loss, content in _rows(task, layer).items()
            if loss in losses and content["settings"] == _settings(task, losses[loss])
        }
        if rows:
            yield layer, rows


def _rows(task: str, layer: str) -> dict[str, Any]:
    path = RESULTS / f"{_file(task, layer)}.json"
    return dict(json.loads(path.read_text())["losses"]) if path.exists() else {}


def _file(task: str, layer: str) -> str:
    return f"networks/{task}/{layer}"


def _settings(task: str, settings: dict[str, Any]) -> dict[str, Any]:
    kept = {**NETWORK, **settings, "batch_size": BATCH[task], "n_ranks": N_RANKS}
    return dict(json.loads(json.dumps(kept)))


def _validated(layer: str, threat: str, loss: str, settings: dict[str, Any], quick: bool) -> float:
    torch.set_num_threads(1)
    data = _validation(quick)
    classifier, _ = fitted(data, "orbit5k", layer, loss, settings, 0, quick)
    return area(measured(data, RADII["orbit5k"], classifier), threat)


@functools.lru_cache(maxsize=1)
def _validation(quick: bool) -> Features:
    """A part of the training set of seed 0, and what is left of it."""
    split = orbits.load(0, quick)
    X, y = split.X_train, split.y_train
    train, held = train_test_split(np.arange(len(y)), test_size=0.3, stratify=y, random_state=0)
    return Features([X[i] for i in train], y[train], [X[i] for i in held], y[held])


if __name__ == "__main__":
    main()

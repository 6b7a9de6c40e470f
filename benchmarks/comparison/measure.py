"""One run: a model fitted on one seed of a task, measured, certified and attacked."""

from __future__ import annotations

import resource
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.comparison.task import Cloud, Split, Task
from benchmarks.surrogates import fit_surrogate
from stablerank import Certificates
from stablerank.attack import Attack, CoordinateSearch, ProjectedGradient, RandomSearch
from stablerank.nn.classifier import parameter_count
from stablerank.stages import pipeline_stages

STEPS = 30
RANDOM_QUERIES = 8
COORDINATE_QUERIES = 8
SURROGATE_CLOUDS = 1000


def measure(task: Task, name: str, seed: int, quick: bool) -> dict[str, Any]:
    """Fit one model at one seed, and measure everything that stands in the table.

    Parameters
    ----------
    task : Task
    name : str
        Of the model.
    seed : int
        Data, split, training and attacks follow from it.
    quick : bool
        Little data, few attacked clouds.

    Returns
    -------
    dict
        Shares of the test clouds (``clean``, ``noise ε``, ``certified ε``); for the attacked ones,
        cloud by cloud, what stands at each ε; processor seconds of one thread; the number of
        learned parameters; the way of the attack.
    """
    torch.set_num_threads(1)
    split = task.load(seed, quick)
    model, seconds = task.models[name](seed, quick), {}
    clock = _seconds()
    model.fit(split.X_train, split.y_train)
    seconds["fit"], clock = _seconds() - clock, _seconds()
    right = model.predict(split.X_test) == split.y_test
    seconds["predict"], clock = _seconds() - clock, _seconds()
    row: dict[str, Any] = {"clean": float(right.mean())}
    certificates = model.certify(split.X_test) if hasattr(model, "certify") else None
    if certificates is not None:
        seconds["certify"] = _seconds() - clock
        for epsilon in task.epsilons:
            row[f"certified {epsilon:g}"] = certificates.certified_accuracy(split.y_test, epsilon)
    largest = task.epsilons[-1]
    noisy = moved_at_random(split.X_test, largest, task.threat, seed)
    row[f"noise {largest:g}"] = float((model.predict(noisy) == split.y_test).mean())
    clock = _seconds()
    row["attacked clouds"] = attacked_clouds(
        task, model, split, right, certificates, seed, 3 if quick else task.n_attacked
    )
    seconds["attack"] = _seconds() - clock
    row["attack"] = _way(model)
    row["parameters"] = _parameters(model)
    row["processor seconds"] = {key: round(value, 2) for key, value in seconds.items()}
    row["test clouds"], row["training clouds"] = len(split.y_test), len(split.y_train)
    return row


def attacked_clouds(
    task: Task,
    model: Any,
    split: Split,
    right: NDArray[np.bool_],
    certificates: Certificates | None,
    seed: int,
    n_attacked: int,
) -> dict[str, list[Any]]:
    """What is left at each ε of some test clouds, cloud by cloud.

    Gradients are followed where the model has them, those of a substitute elsewhere; random moves
    and a search block by block see what is left. What breaks a cloud at one radius breaks it at all
    larger ones.

    Raises
    ------
    RuntimeError
        If certified <= attacked <= clean does not hold for one of the clouds.
    """
    order = np.random.default_rng(seed).permutation(len(split.X_test))[:n_attacked]
    X, y = [split.X_test[i] for i in order], split.y_test[order]
    rows: dict[str, list[Any]] = {"index": order.tolist(), "clean": right[order].tolist()}
    standing = right[order].copy()
    methods = _methods(model, task, split, seed)
    for epsilon in task.epsilons:
        noisy = moved_at_random(X, epsilon, task.threat, seed)
        standing &= model.predict(noisy) == y
        rows[f"noise {epsilon:g}"] = standing.tolist()
        for method in methods:
            left = np.flatnonzero(standing)
            if left.size == 0:
                break
            result = method(
                model,
                [X[i] for i in left],
                y[left],
                threat=task.threat,
                radius=epsilon,
                random_state=seed,
            )
            standing[left] = ~result.success
        rows[f"attacked {epsilon:g}"] = standing.tolist()
        if certificates is not None:
            certified = right[order] & (certificates.radius[order] > epsilon)
            rows[f"certified {epsilon:g}"] = certified.tolist()
            if (certified & ~standing).any():
                raise RuntimeError(
                    f"{task.name}, seed {seed}, ε={epsilon}: test clouds "
                    f"{order[certified & ~standing].tolist()} were broken within their certificate."
                )
    return rows


def moved_at_random(X: list[Cloud], epsilon: float, threat: str, seed: int) -> list[Cloud]:
    """Every point by ε into a direction of its own; every value by ±ε where the threat has it so.

    A hair less than ε, so that rounding leaves them within.
    """
    length = epsilon * (1 - 2.0**-30)
    moved = []
    for i, cloud in enumerate(X):
        rng = np.random.default_rng([seed, i])
        if threat == "per_point":
            steps = rng.normal(size=cloud.shape)
            steps /= np.linalg.norm(steps, axis=1, keepdims=True)
        else:
            steps = rng.choice([-1.0, 1.0], size=cloud.shape)
        moved.append(cloud + length * steps)
    return moved


def _methods(model: Any, task: Task, split: Split, seed: int) -> list[Attack]:
    gradient = ProjectedGradient(steps=STEPS)
    if _way(model) == "transfer":
        some = split.X_train[:SURROGATE_CLOUDS]
        surrogate = fit_surrogate(model, some, seed, task.filtration)
        gradient = ProjectedGradient(steps=STEPS, surrogate=surrogate)
    searches: list[Attack] = [
        RandomSearch(n_queries=RANDOM_QUERIES),
        CoordinateSearch(n_queries=COORDINATE_QUERIES),
    ]
    return [gradient, *searches]


def _parameters(model: Any) -> int:
    if hasattr(model, "n_parameters_"):
        return int(model.n_parameters_)
    return parameter_count(pipeline_stages(model)[-1].network_)


def _way(model: Any) -> str:
    has_gradients = hasattr(model, "differentiable_logits") or hasattr(model, "pipeline_")
    return "gradient" if has_gradients else "transfer"


def _seconds() -> float:
    """Processor seconds of this process and its children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)

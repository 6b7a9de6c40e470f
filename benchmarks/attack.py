"""Attacks by gradients: what a step costs, before and after, and what it breaks beyond trials.

Data: orbits of 1000 points as in ORBIT5K; stable ranks (p = ∞, 100 a dimension) of alpha H0 and H1,
a small network trained on 300 clouds in seconds; 1500 other clouds are certified and attacked.

- speed: a hundred-step attack on all 1500 with the planar kernel, and the step (bars, logits,
  gradient) by the kernel and by GUDHI's exact alpha complex with generators on the same few clouds,
  interleaved; "before" is the attack's cost and the difference of the two a step, not a run.
- success: at each ε on some of the clouds, gradient, random search and the gradient-free search
  (random, then block by block), 100 queries each; processor seconds stand beside.
- radii: on 30 clouds of each of three pipelines (stable ranks of alpha; of Rips, on smaller
  clouds; the union of alpha and the distance to measure), the smallest displacement found by
  gradient, by random search and by the gradient-free search, 32 queries a round, eight rounds; the
  median over clouds of their quotients, what was not found being infinite (a median that is so is
  null).
- known: two points and regular polygons, where the least displacement is known in closed form
  (``tests/attack/test_projected_gradient.py`` has the derivation); within 1 % is asserted.

certified <= attacked <= clean is asserted cloud by cloud. Seconds are processor seconds of one
thread, unless they say wall.

Command: ``python -m benchmarks.attack [--quick]`` (some ten minutes of one core). It writes
``results/attack.json``; ``--quick`` (under a minute, smaller data) prints and writes nothing.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline

from benchmarks import record
from stablerank import (
    AlphaPersistence,
    DistanceToMeasurePersistence,
    LipschitzClassifier,
    LipschitzUnion,
    RipsPersistence,
    StableRank,
    certify,
)
from stablerank.attack import (
    Attack,
    AttackResult,
    ProjectedGradient,
    RandomSearch,
    Search,
    attack,
    minimal_radius,
)
from stablerank.attack.gradients import DifferentiablePipeline, flatten
from stablerank.datasets import make_orbits
from stablerank.stability import PER_POINT
from stablerank.stages import chain_of_stages

EPSILONS = (0.0005, 0.001, 0.002)
QUERIES = 100
Cloud = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller data, no file")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.time()
    torch.set_num_threads(1)  # others would only wait, and their waiting count as work
    protocol: dict[str, Any] = {
        "n_points": 1000,
        "trained": 300,
        "attacked": 1500,
        "steps": 100,
        "timed_clouds": 20,
        "rounds": 4,
        "compared_clouds": 30,
        "clouds_with_radii": 30,
        "rips_points": 100,
        "rounds_with_radii": 8,
    }
    if arguments.quick:
        protocol |= {"n_points": 200, "trained": 100, "attacked": 100, "steps": 30}
        protocol |= {"timed_clouds": 10, "rounds": 2, "compared_clouds": 10, "clouds_with_radii": 5}
        protocol |= {"rips_points": 40, "rounds_with_radii": 3}
    content = run(arguments.seed, **protocol)
    if not arguments.quick:
        protocol |= {"epsilons": EPSILONS, "queries": QUERIES, "cores": os.cpu_count()}
        content = {"seeds": [arguments.seed], "protocol": protocol, **content}
        print(record.write("attack", "benchmarks.attack", started, content))


def run(
    seed: int,
    *,
    n_points: int,
    trained: int,
    attacked: int,
    steps: int,
    timed_clouds: int,
    rounds: int,
    compared_clouds: int,
    clouds_with_radii: int,
    rips_points: int,
    rounds_with_radii: int,
) -> dict[str, Any]:
    """All four parts; each is printed when it is done."""
    known = known_radii()
    _show("known", known)
    X, y = make_orbits((trained + attacked) // 5, n_points, random_state=seed)
    train, test = train_test_split(
        np.arange(len(y)), test_size=attacked, stratify=y, random_state=seed
    )
    pipeline = fit([X[i] for i in train], y[train], seed)
    X, y = [X[i] for i in test], y[test]
    certificates = certify(pipeline, X)
    right = certificates.prediction == y
    print(f"clean {right.mean():.3f} of {len(y)}", flush=True)

    speed, result = hundred_steps(pipeline, X, y, steps, timed_clouds, rounds)
    check_order(certificates.radius, right, result, EPSILONS[0])
    speed["clean"] = float(right.mean())
    speed["attacked"] = float((~result.success).mean())
    speed["certified"] = float((right & (certificates.radius > EPSILONS[0])).mean())
    _show("speed", speed)

    rows = {}
    few, labels = X[:compared_clouds], y[:compared_clouds]
    for epsilon in EPSILONS:
        certified = right & (certificates.radius > epsilon)
        row: dict[str, Any] = {
            "clean": float(right[:compared_clouds].mean()),
            "certified": float(certified[:compared_clouds].mean()),
        }
        for name, (model, method) in methods(pipeline).items():
            result, seconds = timed(method, model, few, labels, epsilon, seed)
            radius = certificates.radius[:compared_clouds]
            check_order(radius, right[:compared_clouds], result, epsilon)
            row[f"attacked, {name}"] = result.accuracy
            row[f"seconds, {name}"] = round(seconds, 2)
        rows[f"{epsilon:g}"] = row
        _show(f"epsilon {epsilon:g}", row)
    radii = {}
    for name, stages in models_with_radii().items():
        size = rips_points if name == "Rips" else n_points
        many = make_orbits(trained // 5 + clouds_with_radii // 2, size, random_state=seed)
        few = (clouds_with_radii, rounds_with_radii)
        radii[name] = least_radii(stages, *many, trained, *few, seed)
        _show(f"radii, {name}", radii[name])
    return {"speed": speed, "success": rows, "radii": radii, "known": known}


def fit(
    X: list[Cloud], y: NDArray[np.int64], seed: int, stages: Sequence[Any] | None = None
) -> Pipeline:
    """Persistence, ranks, or other stages with constants, and a network of thirty epochs."""
    stages = [AlphaPersistence(), StableRank(n_ranks=100)] if stages is None else stages
    vectors = make_pipeline(*stages).fit_transform(X)
    network = LipschitzClassifier(
        epsilon=0.001,
        constants=chain_of_stages(stages, PER_POINT).constants,
        temperature=0.7,
        max_epochs=30,
        random_state=seed,
    ).fit(vectors, y)
    return make_pipeline(*stages, network)


def models_with_radii() -> dict[str, list[Any]]:
    """The stages before the network of each pipeline whose least radii are compared."""
    measure = DistanceToMeasurePersistence(
        20, resolution=32, box=((0.0, 0.0), (1.0, 1.0)), periodic=True
    )
    parts = {"alpha": AlphaPersistence(), "measure": measure}
    union = [
        (name, make_pipeline(filtration, StableRank(n_ranks=100)))
        for name, filtration in parts.items()
    ]
    return {
        "alpha": [AlphaPersistence(), StableRank(n_ranks=100)],
        "alpha and distance to measure": [LipschitzUnion(union)],
        "Rips": [RipsPersistence(), StableRank(n_ranks=30)],
    }


def check_order(
    radius: NDArray[np.float64], right: NDArray[np.bool_], result: AttackResult, epsilon: float
) -> None:
    """Certified <= attacked <= clean, cloud by cloud."""
    survived = ~result.success
    if (right & (radius > epsilon) & ~survived).any() or (survived & ~right).any():
        raise RuntimeError(f"ε={epsilon}: certified <= attacked <= clean is violated.")


def hundred_steps(
    pipeline: Pipeline,
    X: list[Cloud],
    y: NDArray[np.int64],
    steps: int,
    timed_clouds: int,
    rounds: int,
) -> tuple[dict[str, Any], AttackResult]:
    """The attack on all clouds, and one step by the kernel and by GUDHI on some of them."""
    by_gudhi = Pipeline(
        [
            ("alphapersistence", AlphaPersistence(engine="gudhi").fit(X[:1])),
            *pipeline.steps[1:],
        ]
    )
    points, offsets = flatten(X[:timed_clouds])
    ways = {"kernel": pipeline, "GUDHI": by_gudhi}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(rounds + 1):
        gradients = []
        for name, model in ways.items():
            clock = time.process_time()
            tensor = torch.tensor(points, requires_grad=True)
            logits = DifferentiablePipeline(model).logits(tensor, offsets)
            gradients.append(torch.autograd.grad(logits[:, 0].sum(), tensor)[0])
            if i > 0:  # the first round compiles the kernel
                seconds[name].append((time.process_time() - clock) / timed_clouds)
        if (gradients[0] - gradients[1]).abs().max() > 1e-6 * gradients[0].abs().max():
            raise RuntimeError("The kernel's gradient is not that of GUDHI.")
    quotient = float(np.median(np.divide(seconds["GUDHI"], seconds["kernel"])))
    more = float(np.median(np.subtract(seconds["GUDHI"], seconds["kernel"])))
    clock, wall = time.process_time(), time.perf_counter()
    result = attack(
        pipeline, X, y, radius=EPSILONS[0], method=ProjectedGradient(steps=steps), random_state=0
    )
    after, wall = time.process_time() - clock, time.perf_counter() - wall
    row: dict[str, Any] = {
        "clouds": len(X),
        "steps": steps,
        "epsilon": EPSILONS[0],
        "seconds": round(after, 1),
        "wall seconds": round(wall, 1),
        "queries a cloud": float(result.n_queries.mean()),
        "step by GUDHI / step by the kernel": round(quotient, 1),
        "seconds before, extrapolated": round(after + more * result.n_queries.sum()),
    }
    for name, times in seconds.items():
        row[f"milliseconds a cloud and step, {name}"] = {
            "median": round(1e3 * float(np.median(times)), 3),
            "least": round(1e3 * min(times), 3),
            "largest": round(1e3 * max(times), 3),
        }
    return row, result


class WithoutGradients:
    """A pipeline with scores, and nothing that a gradient could be taken of."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.predict, self.decision_function = pipeline.predict, pipeline.decision_function
        self.classes_ = pipeline.classes_


def methods(pipeline: Pipeline) -> dict[str, tuple[Any, Attack]]:
    """What is compared, each with as many queries."""
    return {
        "gradient": (pipeline, ProjectedGradient.of_budget(QUERIES)),
        "random": (pipeline, RandomSearch(n_queries=QUERIES)),
        "search without gradients": (WithoutGradients(pipeline), Search(n_queries=QUERIES)),
        "search": (pipeline, Search(n_queries=QUERIES)),
    }


def timed(
    method: Attack, model: Any, X: list[Cloud], y: NDArray[np.int64], epsilon: float, seed: int
) -> tuple[AttackResult, float]:
    clock = time.process_time()
    result = method(model, X, y, radius=epsilon, random_state=seed)
    return result, time.process_time() - clock


def least_radii(
    stages: Sequence[Any],
    X: list[Cloud],
    y: NDArray[np.int64],
    trained: int,
    n_clouds: int,
    n_rounds: int,
    seed: int,
) -> dict[str, Any]:
    """The smallest displacements found for clouds that are classified rightly, at equal queries."""
    train, test = train_test_split(
        np.arange(len(y)), train_size=trained, stratify=y, random_state=seed
    )
    pipeline = fit([X[i] for i in train], y[train], seed, stages)
    test = test[pipeline.predict([X[i] for i in test]) == y[test]][:n_clouds]
    some, labels = [X[i] for i in test], y[test]
    certified = certify(pipeline, some).radius
    found, row = {}, {"clouds": len(test), "points": len(X[0])}
    for name, model, method in (
        ("gradient", pipeline, ProjectedGradient.of_budget(32)),
        ("random", pipeline, RandomSearch(n_queries=32)),
        ("search without gradients", WithoutGradients(pipeline), Search(n_queries=32)),
    ):
        result = minimal_radius(
            model,
            some,
            labels,
            largest=0.02,
            method=method,
            n_rounds=n_rounds,
            tolerance=0.01,
            random_state=seed,
        )
        if (result.breaking_displacement <= certified).any():
            raise RuntimeError("A cloud was broken within its certificate.")
        found[name] = result.breaking_displacement
        row[f"broken by {name}"] = int(np.isfinite(found[name]).sum())
        row[f"queries, {name}"] = float(result.n_queries.mean())
    known = certified > 0
    for name, radii in found.items():
        row[f"median {name} / certified"] = _median_ratio(radii[known], certified[known])
        if name != "gradient":
            row[f"median {name} / gradient"] = _median_ratio(radii, found["gradient"])
    return row


def _median_ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Over the clouds where one of them is finite; None where the median is infinite."""
    either = np.isfinite(a) | np.isfinite(b)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(np.isinf(b[either]), 0.0, a[either] / b[either])
    # the lower of two middle values: infinite ones have no mean
    median = float(np.quantile(ratios, 0.5, method="lower")) if ratios.size else math.nan
    return median if math.isfinite(median) else None


class LongestBar(ClassifierMixin, BaseEstimator):
    """Whether the longest bar is longer than a threshold."""

    def __init__(self, threshold: float = 0.0) -> None:
        self.threshold = threshold

    def fit(self, X: Any, y: Any = None) -> LongestBar:
        """Write the threshold into a network of one layer."""
        self.classes_ = np.array([False, True])
        self.network_ = torch.nn.Linear(1, 2).double().requires_grad_(False)
        self.network_.weight[:] = torch.tensor([[0.0], [1.0]])
        self.network_.bias[:] = torch.tensor([0.0, -self.threshold])
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Vectors to how far they are above it."""
        return np.asarray(X[:, 0] - self.threshold)

    def predict(self, X: Any) -> NDArray[np.bool_]:
        """Whether they are."""
        return self.decision_function(X) > 0


def known_radii() -> dict[str, float]:
    """The least of some radii that suffices, over the true one; at most 1.01 is asserted."""
    pair = np.array([[-1.0, 0.0], [1.0, 0.0]])
    problems = {
        "two points": (pair, 0, 1.1, "per_point", 0.1),
        "two points, Frobenius": (pair, 0, 1.1, "frobenius", 0.1 * math.sqrt(2)),
    }
    for n in (9, 12, 40):
        angles = 2 * np.pi * np.arange(n) / n
        ring = np.column_stack([np.cos(angles), np.sin(angles)])
        problems[f"regular polygon of {n}"] = (
            ring,
            1,
            1 - math.sin(math.pi / n) - 0.1,
            "per_point",
            0.05,
        )
    ratios = {}
    for name, (cloud, dimension, threshold, threat, least) in problems.items():
        pipeline = make_pipeline(
            AlphaPersistence((dimension,)), StableRank(n_ranks=1), LongestBar(threshold)
        ).fit([cloud])
        label, suffices = pipeline.predict([cloud]), []
        for factor in (0.9999, 1.0001, 1.001, 1.01):
            method = ProjectedGradient(restarts=4)
            settings: dict[str, Any] = {"threat": threat, "method": method, "random_state": 0}
            if attack(pipeline, [cloud], label, radius=factor * least, **settings).success[0]:
                suffices.append(factor)
        if not suffices or min(suffices) < 1:
            raise RuntimeError(f"{name}: {suffices} times the least radius suffice.")
        ratios[name] = min(suffices)
    return ratios


def _show(title: str, row: dict[str, Any]) -> None:
    print(title)
    for key, value in row.items():
        print(f"  {key:48} {f'{value:.4g}' if isinstance(value, float) else value}", flush=True)


if __name__ == "__main__":
    main()

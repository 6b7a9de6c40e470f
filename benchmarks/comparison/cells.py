"""Real cells: cell line or treatment from outlines of 20 to 1759 points, 70/30 stratified.

650 outlines, in pixels, where neighbouring points are 1 pixel apart. Ours are the estimator's own
defaults at three temperatures. The two pairs of equal cells stay on one side of a split.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from benchmarks.comparison.task import Model, Split, Task
from stablerank import StableRankClassifier
from stablerank.datasets import load_cells

TEMPERATURES = {"accurate": 20.0, "default": 1.0, "robust": 0.3}
TWINS = ((363, 396), (513, 519))


def load(target: str, seed: int, quick: bool) -> Split:
    """Split of a seed; every fourth cell where little is enough."""
    X, y = load_cells(target=target, return_X_y=True)  # type: ignore[call-overload]
    train, test = split(y, seed)
    if quick:
        train, test = train[::4], test[::4]
    return Split.of(X, y, train, test)


def split(y: NDArray[Any], seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """70/30, stratified; of equal cells the second goes where the first went."""
    _, test = train_test_split(np.arange(len(y)), test_size=0.3, stratify=y, random_state=seed)
    sides = np.zeros(len(y), dtype=bool)
    sides[test] = True
    for first, second in TWINS:
        sides[second] = sides[first]
    return np.flatnonzero(~sides), np.flatnonzero(sides)


def certified(temperature: float, seed: int, quick: bool) -> StableRankClassifier:
    """One of our models."""
    del quick  # small anyway
    return StableRankClassifier(temperature=temperature, random_state=seed)


def task(target: str, unconstrained: Mapping[str, Model]) -> Task:
    """Cells of one target, with these models beside ours."""
    ours = {
        f"stable ranks, {name}": partial(certified, temperature)
        for name, temperature in TEMPERATURES.items()
    }
    return Task(
        name=f"cells-{target.replace('_', '-')}",
        title=f"Cells, {target.replace('_', ' ')}",
        unit="pixels",
        load=partial(load, target),
        epsilons=(0.05, 0.1, 0.25, 0.5),
        models={**unconstrained, **ours},
        n_attacked=30,
    )

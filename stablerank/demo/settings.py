"""How much a demonstration does, in full and in half a minute."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Settings:
    """How much a demonstration does.

    Parameters
    ----------
    n_clouds : int, optional
        How many of the cells are taken, drawn at random; all by default.
    n_per_class, n_points : int
        Orbits of each class, and points of each orbit.
    max_epochs : int
        Of each training.
    n_trees : int
        Of the random forest.
    n_attacked : int, optional
        How many test clouds are attacked, drawn at random; all by default.
    n_queries : int
        How often each attack may ask a model about one cloud at one size.
    n_rounds : int
        Sizes that are tried in the search for the least displacement that changes an answer.
    """

    n_clouds: int | None = None
    n_per_class: int = 200
    n_points: int = 300
    max_epochs: int = 60
    n_trees: int = 100
    n_attacked: int | None = 60
    n_queries: int = 20
    n_rounds: int = 8

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if value is None and entry.name in ("n_clouds", "n_attacked"):
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{entry.name}={value!r}: expected an integer >= 1.")


FULL = Settings()
QUICK = Settings(
    n_clouds=300,
    n_per_class=60,
    n_points=200,
    max_epochs=30,
    n_attacked=30,
    n_queries=10,
    n_rounds=5,
)


def choose_settings(dataset: str, quick: bool, changes: Mapping[str, Any]) -> Settings:
    """The full or the quick demonstration's settings, with some of them changed.

    Raises
    ------
    ValueError
        For an unknown dataset or setting, or a value out of range.
    """
    if dataset not in ("cells", "orbits"):
        raise ValueError(f"dataset={dataset!r}: expected 'cells' or 'orbits'.")
    names = {entry.name for entry in dataclasses.fields(Settings)}
    if unknown := sorted(set(changes) - names):
        raise ValueError(f"{unknown[0]!r} is no setting of the demo: expected {sorted(names)}.")
    return dataclasses.replace(QUICK if quick else FULL, **changes)

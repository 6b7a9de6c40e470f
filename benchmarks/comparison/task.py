"""What a task is: data by seed, a threat, its radii, and the models that are compared on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Cloud = NDArray[np.float64]
Model = Callable[[int, bool], Any]


@dataclass(frozen=True)
class Split:
    """Training and test part of one seed.

    Attributes
    ----------
    X_train, X_test : list of ndarray
    y_train, y_test : ndarray
    """

    X_train: list[Cloud]
    y_train: NDArray[Any]
    X_test: list[Cloud]
    y_test: NDArray[Any]

    @classmethod
    def of(cls, X: list[Cloud], y: NDArray[Any], train: Any, test: Any) -> Split:
        """From all data and two sets of indices."""
        return cls([X[i] for i in train], y[train], [X[i] for i in test], y[test])


@dataclass(frozen=True)
class Task:
    """One table of the report.

    Attributes
    ----------
    name, title : str
        For the command line, and for people.
    unit : str
        In which radii are given.
    load : callable
        From a seed, and whether little is enough, to a :class:`Split`.
    epsilons : tuple of float
        The radii, ascending.
    models : mapping of str to callable
        Names in the order of the table; each from a seed, and whether little is enough, to an
        unfitted classifier of clouds. Those with ``certify`` are certified.
    n_attacked : int
        How many test clouds of each seed are attacked: the first of a fixed permutation.
    threat : str
        What the adversary may do.
    filtration : Filtration, optional
        Of the substitutes whose gradients transfer attacks follow; alpha by default.
    published : mapping of str to str
        Accuracies of the literature on these data, not run here.
    """

    name: str
    title: str
    unit: str
    load: Callable[[int, bool], Split]
    epsilons: tuple[float, ...]
    models: Mapping[str, Model]
    n_attacked: int
    threat: str = "per_point"
    filtration: Any = None
    published: Mapping[str, str] = field(default_factory=dict)

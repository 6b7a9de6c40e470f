"""The clouds of a demonstration: loaded, split, and measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from stablerank.datasets import load_cells, make_orbits
from stablerank.demo.settings import Settings
from stablerank.plotting import nearest_distances

_TEST_SHARE = 0.3


@dataclass(frozen=True, eq=False)
class Data:
    """The clouds of a demonstration, split.

    Parameters
    ----------
    name : str
        Of the dataset.
    unit, units : str
        Of the points, behind a number ("px", or nothing) and in a sentence ("pixels").
    clouds : list of ndarray of shape (n_points, 2)
        All of them.
    index : ndarray of int
        The place of each in the dataset.
    labels : dict of str to ndarray
        For each target the label of each cloud; the first target is the one that counts.
    train, test : ndarray of int
        Indices into `clouds`.
    """

    name: str
    unit: str
    units: str
    clouds: list[NDArray[np.float64]]
    index: NDArray[np.intp]
    labels: dict[str, NDArray[Any]]
    train: NDArray[np.intp]
    test: NDArray[np.intp]

    def part(self, indices: NDArray[np.intp]) -> list[NDArray[np.float64]]:
        """Some of the clouds."""
        return [self.clouds[i] for i in indices]


def load_data(dataset: str, settings: Settings, random_state: int) -> Data:
    """Load or generate the clouds, and hold out 30 % of them, stratified by all labels."""
    labels: dict[str, NDArray[Any]]
    if dataset == "cells":
        cells = load_cells()
        clouds, unit, units = cells.data, "px", "pixels"
        labels = {"cell line": cells.cell_line, "treatment": cells.treatment}
    else:
        parameters = (2.5, 3.5, 4.0, 4.1, 4.3)
        clouds, y = make_orbits(
            settings.n_per_class,
            settings.n_points,
            random_state=random_state,
            parameters=parameters,
        )
        labels = {"parameter": np.array([f"r = {r}" for r in parameters])[y]}
        unit, units = "", "sides of the unit square"
    index = np.arange(len(clouds))
    if dataset == "cells" and settings.n_clouds is not None:
        index = np.sort(np.random.default_rng(random_state).permutation(index)[: settings.n_clouds])
    clouds = [clouds[i] for i in index]
    labels = {name: values[index] for name, values in labels.items()}
    together = np.array([" ".join(map(str, row)) for row in zip(*labels.values(), strict=True)])
    train, test = split_clouds(clouds, together, random_state)
    return Data(dataset, unit, units, clouds, index, labels, train, test)


def split_clouds(
    clouds: Sequence[NDArray[np.float64]], labels: NDArray[Any], random_state: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of 70 % of the clouds to train with and of the rest, stratified by the labels.

    Equal clouds stand on one side: the test shows nothing that was trained with.

    Parameters
    ----------
    clouds : sequence of ndarray
        All of them.
    labels : ndarray of shape (n_clouds,)
        What to stratify by.
    random_state : int
        Seed.

    Returns
    -------
    train, test : ndarray of int
        Ascending.
    """
    keys = [(cloud.shape, cloud.tobytes()) for cloud in clouds]
    first: dict[tuple[tuple[int, ...], bytes], int] = {}
    group = np.array([first.setdefault(key, i) for i, key in enumerate(keys)])
    distinct = np.unique(group)
    train, test = train_test_split(
        distinct, test_size=_TEST_SHARE, stratify=labels[distinct], random_state=random_state
    )
    return np.flatnonzero(np.isin(group, train)), np.flatnonzero(np.isin(group, test))


def round_epsilons(spacing: float, n: int = 5) -> tuple[float, ...]:
    """Round sizes 1, 2, 5, 10, … to attack with, the largest being close to the points' spacing.

    Parameters
    ----------
    spacing : float
        Typical distance of a point to the nearest other one, in the unit of the points.
    n : int, default=5
        How many.

    Returns
    -------
    tuple of float
        Ascending, in the unit of the points.

    Examples
    --------
    >>> round_epsilons(1.1)
    (0.05, 0.1, 0.2, 0.5, 1.0)
    """
    decade = math.floor(math.log10(spacing))
    series = [
        float(f"{digit}e{exponent}")
        for exponent in range(decade - n, decade + 2)
        for digit in (1, 2, 5)
    ]
    nearest = min(range(len(series)), key=lambda i: abs(math.log(series[i] / spacing)))
    return tuple(series[nearest - n + 1 : nearest + 1])


def spacing(clouds: Sequence[NDArray[np.float64]]) -> float:
    """The median over the clouds of the median distance of a point to the nearest other one."""
    return float(np.median([np.median(nearest_distances(cloud)) for cloud in clouds]))

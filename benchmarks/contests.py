"""Who does the same work as we do, on the same input: the contests of ``benchmarks.throughput``.

A contest prepares its input and returns functions of no argument, ours first. A tool that is not
installed stands there as None. Each tool runs on one core, as it would be called by its user: from
the input that it asks for, to the result that it gives.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gudhi.representations as representations
import gudhi.sklearn
import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import BettiCurves, Landscapes, PersistenceImages, Silhouettes, Vectorizer
from benchmarks.planar import FAMILIES, _flatten, _gudhi_alpha
from stablerank import StableRank
from stablerank.datasets import make_orbits
from stablerank.diagrams import AlphaPersistence, DiagramBatch, RipsPersistence
from stablerank.diagrams.planar import planar_alpha

Run = Callable[[], Any]
Runs = Mapping[str, Run | None]


@dataclass(frozen=True)
class Contest:
    """How to prepare a contest, and how large it is.

    Attributes
    ----------
    prepare : callable
        From a seed and the number of items to the competitors, ours first.
    n_items : int
        Clouds or diagrams.
    target : dict of str to float
        Which ratio the project promised against whom.
    """

    prepare: Callable[[int, int], Runs]
    n_items: int
    target: Mapping[str, float]


def in_the_plane(family: str, n_points: int) -> Callable[[int, int], Runs]:
    """H0 and H1 in radii: ours with generators, which GUDHI's alpha complex does not compute."""

    def prepare(seed: int, n_clouds: int) -> Runs:
        rng = np.random.default_rng([seed, n_points])
        clouds = [FAMILIES[family](rng, n_points) for _ in range(n_clouds)]
        flat, offsets = _flatten(clouds)
        alone = [np.array([0, len(cloud)]) for cloud in clouds]

        def batch() -> None:
            for i in np.flatnonzero(planar_alpha(flat, offsets).gave_up):
                _gudhi_alpha(clouds[i], "exact")

        def single() -> None:
            for cloud, own in zip(clouds, alone, strict=True):
                if planar_alpha(cloud, own).gave_up[0]:
                    _gudhi_alpha(cloud, "exact")

        return {
            "kernel": batch,
            "kernel, a call a cloud": single,
            "GUDHI safe": lambda: [_gudhi_alpha(cloud, "safe") for cloud in clouds],
            "GUDHI exact": lambda: [_gudhi_alpha(cloud, "exact") for cloud in clouds],
        }

    return prepare


def other_tools(seed: int, n_clouds: int) -> Runs:
    """H0 and H1 of orbits of 200 points by what users would take; ours are alpha and Rips."""
    clouds, _ = make_orbits(-(-n_clouds // 5), 200, random_state=seed)
    clouds = clouds[:n_clouds]
    ripser, gph = _optional("ripser"), _optional("gph")
    stablebear = _optional("stablebear.persistence")
    runs: dict[str, Run | None] = {
        "AlphaPersistence": lambda: AlphaPersistence().fit_transform(clouds),
        "RipsPersistence": lambda: RipsPersistence().fit_transform(clouds),
        "GUDHI CechPersistence": lambda: gudhi.sklearn.CechPersistence([0, 1]).fit_transform(
            clouds
        ),
        "GUDHI RipsPersistence": lambda: gudhi.sklearn.RipsPersistence([0, 1]).fit_transform(
            clouds
        ),
        "ripser.py": ripser and (lambda: [ripser.ripser(cloud, maxdim=1) for cloud in clouds]),
        "giotto-ph": gph
        and (lambda: [gph.ripser_parallel(cloud, maxdim=1, n_threads=1) for cloud in clouds]),
        "stablebear": None,
    }
    if stablebear:
        tensor = _one_core().PointCloudTensor(clouds)
        runs["stablebear"] = lambda: stablebear.compute_persistent_homology(tensor, max_dim=1)
    return runs


def components_in_space(seed: int, n_clouds: int) -> Runs:
    """H0 of 1000 points in space."""
    clouds = list(np.random.default_rng(seed).random((n_clouds, 1000, 3)))
    ripser = _optional("ripser")
    return {
        "AlphaPersistence((0,))": lambda: AlphaPersistence((0,)).fit_transform(clouds),
        "GUDHI safe": lambda: AlphaPersistence(
            (0,), engine="gudhi", precision="safe"
        ).fit_transform(clouds),
        "GUDHI CechPersistence": lambda: gudhi.sklearn.CechPersistence([0]).fit_transform(clouds),
        "ripser.py": ripser and (lambda: [ripser.ripser(cloud, maxdim=0) for cloud in clouds]),
    }


def vectorizers(ours: Vectorizer, theirs: Any) -> Callable[[int, int], Runs]:
    """The same parameters, 300 bars a diagram."""

    def prepare(seed: int, n_diagrams: int) -> Runs:
        batch = make_diagrams(seed, n_diagrams, 300)
        arrays = [batch.diagram(i, 1) for i in range(n_diagrams)]
        return {
            "ours": lambda: ours.fit(batch).transform(batch),
            "GUDHI": lambda: theirs.fit(arrays).transform(arrays),
        }

    return prepare


def stable_ranks(seed: int, n_diagrams: int) -> Runs:
    """Sorted lengths of 1000 bars a diagram: ours as vectors, stablebear's as functions."""
    batch = make_diagrams(seed, n_diagrams, 1000)
    rank = StableRank(n_ranks=1000).fit(batch)
    runs: dict[str, Run | None] = {"StableRank": lambda: rank.transform(batch), "stablebear": None}
    stablebear = _optional("stablebear.persistence")
    if stablebear:
        _one_core()
        barcodes = stablebear.BarcodeTensor(
            [stablebear.Barcode(batch.diagram(i, 1)) for i in range(n_diagrams)]
        )
        runs["stablebear"] = lambda: stablebear.barcode_to_stable_rank(barcodes)
    return runs


def make_diagrams(seed: int, n_diagrams: int, n_bars: int) -> DiagramBatch:
    rng = np.random.default_rng(seed)
    births = rng.random(n_diagrams * n_bars)
    bars = np.column_stack([births, births + rng.exponential(0.1, len(births)) + 1e-9])
    offsets: NDArray[np.int64] = n_bars * np.arange(n_diagrams + 1)
    return DiagramBatch({1: bars}, {1: offsets})


def _optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _one_core() -> Any:
    stablebear = importlib.import_module("stablebear")
    stablebear.system.limit_cpus(1)
    return stablebear


def _long_bars(point: Any) -> Any:
    return point[1]


CONTESTS: dict[str, Contest] = {
    **{
        f"plane, {family}, n={n}": Contest(
            in_the_plane(family, n), n_clouds, {"GUDHI safe": target}
        )
        for family, n, n_clouds, target in (
            ("uniform", 100, 200, 12.0),
            ("uniform", 1000, 20, 20.0),
            ("uniform", 5000, 4, 20.0),
            ("orbit", 1000, 20, 20.0),
            ("clusters", 1000, 20, 20.0),
            ("normal", 1000, 20, 20.0),
        )
    },
    "tools, orbits, n=200": Contest(other_tools, 20, {}),
    "space, H0, n=1000": Contest(components_in_space, 10, {"GUDHI safe": 30.0}),
    "persistence images": Contest(
        vectorizers(
            PersistenceImages(bandwidth=0.05, power=1),
            representations.PersistenceImage(bandwidth=0.05, weight=_long_bars),
        ),
        200,
        {},
    ),
    "landscapes": Contest(vectorizers(Landscapes(), representations.Landscape()), 200, {}),
    "silhouettes": Contest(vectorizers(Silhouettes(), representations.Silhouette()), 200, {}),
    "Betti curves": Contest(vectorizers(BettiCurves(), representations.BettiCurve()), 200, {}),
    "stable ranks, 1000 bars": Contest(stable_ranks, 5000, {}),
}

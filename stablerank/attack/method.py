"""What every attack is: settings, a search, and a judge who does not belong to it."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline

from stablerank.attack.adversary import Adversary
from stablerank.attack.changed_points import CountingAdversary
from stablerank.attack.diagrams import DiagramAdversary
from stablerank.attack.images import ImageAdversary
from stablerank.attack.judge import Judge
from stablerank.attack.matrices import MatrixAdversary
from stablerank.attack.points import FrobeniusAdversary, HausdorffAdversary, PointAdversary
from stablerank.attack.result import AttackResult
from stablerank.certify.threats import COUNTING_THREATS, DIAGRAM_THREATS, threat_space
from stablerank.diagrams import CubicalPersistence
from stablerank.diagrams.filtration import Filtration
from stablerank.stages import LipschitzUnion, pipeline_stages


class Attack(ABC):
    """One way to search for inputs within a radius whose prediction is not their label.

    A new attack defines :meth:`run`, and hands its candidates to the judge, who shortens them to
    the radius, asks the pipeline and counts. An attack by gradients finds pipeline, originals and
    labels there as well.

    Parameters
    ----------
    n_queries : int, default=200
        How many candidates of each cloud the pipeline is asked about, at most.
    """

    def __init__(self, *, n_queries: int = 200) -> None:
        whole = isinstance(n_queries, (int, np.integer)) and not isinstance(n_queries, bool)
        if not whole or n_queries < 1:
            raise ValueError(f"n_queries={n_queries!r}: expected an integer >= 1.")
        self.n_queries = int(n_queries)

    @classmethod
    def of_budget(cls, n_queries: int) -> Self:
        """This attack, its other settings by default, for a number of queries a cloud."""
        return cls(n_queries=n_queries)

    @abstractmethod
    def run(self, judge: Judge, rngs: list[Generator]) -> None:
        """Search.

        Parameters
        ----------
        judge : Judge
            Knows the problem, takes candidates, and remembers the best of each cloud.
        rngs : list of Generator
            One a cloud, so that what happens to a cloud does not depend on those beside it.
        """

    def __call__(
        self,
        pipeline: Any,
        X: Any,
        y: ArrayLike,
        *,
        threat: str = "per_point",
        radius: ArrayLike,
        p: float | None = None,
        q: float | None = None,
        random_state: int | None = None,
    ) -> AttackResult:
        """Attack; see :func:`stablerank.attack.attack`."""
        _, unit = threat_space(threat, p, q)
        judge = make_judge(
            pipeline, X, y, threat=threat, radius=radius, p=p, q=q, n_queries=self.n_queries
        )
        self.run(judge, spawn_generators(random_state, len(judge.labels)))
        return verdict(judge, threat, unit)

    def __repr__(self) -> str:
        names = inspect.signature(type(self)).parameters
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__name__}({settings})"


def make_judge(
    pipeline: Any,
    X: Any,
    y: ArrayLike,
    *,
    threat: str,
    radius: ArrayLike,
    p: float | None,
    q: float | None,
    n_queries: int,
) -> Judge:
    """Check the inputs and put the problem together.

    Raises
    ------
    TypeError
        If the pipeline has no ``predict``, or X is of another kind than the threat.
    ValueError
        For bad inputs, labels, radii, threats and exponents; the message names the index.
    """
    if not hasattr(pipeline, "predict"):
        raise TypeError(f"{type(pipeline).__name__} has no predict: there is nothing to attack.")
    images = threat == "sup" and _takes_images(pipeline, X)
    adversary = (
        ImageAdversary()
        if images
        else _make_adversary(threat, p, q, fewest=_fewest_points(pipeline))
    )
    originals = adversary.check(X)
    labels = np.asarray(y)
    if labels.shape != (len(originals),):
        raise ValueError(
            f"y has shape {labels.shape}, but X has {len(originals)} inputs: expected one label "
            f"an input."
        )
    radii = _check_radius(radius, len(originals))
    if threat in DIAGRAM_THREATS:
        pipeline = _behind_the_persistence(pipeline)
    return Judge(pipeline, originals, labels, adversary, radii, n_queries)


def spawn_generators(random_state: int | None, n: int) -> list[Generator]:
    """One generator a cloud, the first ones the same however many there are."""
    seeds = np.random.SeedSequence(random_state).spawn(n)
    return [np.random.default_rng(seed) for seed in seeds]


def verdict(judge: Judge, threat: str, unit: str) -> AttackResult:
    """Have the pipeline predict the final inputs, and measure them, once more."""
    prediction = judge.predict(judge.best)
    return AttackResult(
        inputs=judge.adversary.collect(judge.best),
        success=np.asarray(prediction != judge.labels, dtype=bool),
        prediction=prediction,
        displacement=judge.displacements(),
        radius=judge.radius.copy(),
        n_queries=judge.spent.copy(),
        threat=threat,
        unit=unit,
    )


def _make_adversary(threat: str, p: float | None, q: float | None, *, fewest: int) -> Adversary:
    threat_space(threat, p, q)  # raises for unknown threats and bad exponents
    if threat == "wasserstein" and p is not None and q is not None:
        return DiagramAdversary(p, q)
    if threat == "bottleneck":
        return DiagramAdversary()
    if threat == "sup":
        return MatrixAdversary()
    if threat == "hausdorff":
        return HausdorffAdversary()
    if threat in COUNTING_THREATS:
        return CountingAdversary(deletions_only=threat == "deletion", fewest=fewest)
    if threat == "per_coordinate":
        return PointAdversary(np.inf)
    if threat == "per_point":
        return PointAdversary()
    if threat == "frobenius":
        return FrobeniusAdversary()
    raise ValueError(f"threat={threat!r}: there is no attack for it yet.")


def _takes_images(pipeline: Any, X: Any) -> bool:
    """Whether the changed entries are pixels; they are those of dissimilarities otherwise.

    Pipelines of others are taken to want what they are given.
    """
    stages = _first_stages(pipeline)
    if any(isinstance(stage, CubicalPersistence) for stage in stages):
        return True
    if any(isinstance(stage, Filtration) for stage in stages):
        return False
    return not _are_dissimilarities(X)


def _are_dissimilarities(X: Any) -> bool:
    """Whether all inputs are square, symmetric and 0 on the diagonal, which images hardly are."""
    return all(
        np.ndim(item) == 2
        and np.shape(item)[0] == np.shape(item)[1]
        and not np.diagonal(item).any()
        and bool((np.asarray(item) == np.transpose(item)).all())
        for item in X
    )


def _fewest_points(pipeline: Any) -> int:
    """The pipeline refuses clouds of fewer points."""
    return max((getattr(s, "fewest_points", 1) for s in _first_stages(pipeline)), default=1)


def _first_stages(pipeline: Any) -> list[Any]:
    """The stages that take the inputs."""
    try:
        first = pipeline_stages(pipeline)[0]
    except NotFittedError:
        return []
    return [s[0] for _, s in first.branches()] if isinstance(first, LipschitzUnion) else [first]


def _check_radius(radius: ArrayLike, n: int) -> NDArray[np.float64]:
    radii = np.asarray(radius, dtype=np.float64)
    if radii.shape not in ((), (n,)):
        raise ValueError(
            f"radius has shape {radii.shape}: expected one number, or one for each of {n} inputs."
        )
    bad = np.flatnonzero(~(np.isfinite(radii) & (radii >= 0)).reshape(-1))
    if bad.size:
        where = "radius" if radii.ndim == 0 else f"radius[{bad[0]}]"
        raise ValueError(
            f"{where} is {radii.reshape(-1)[bad[0]].item()!r}: expected a finite number >= 0."
        )
    return np.broadcast_to(radii, (n,)).copy()


def _behind_the_persistence(pipeline: Any) -> Any:
    """The steps that take diagrams."""
    steps = getattr(pipeline, "pipeline_", pipeline)
    if isinstance(steps, Pipeline):
        first = 0
        while first < len(steps) - 1 and hasattr(steps[first], "homology_dimensions"):
            first += 1
        return steps[first:] if first else pipeline
    return pipeline

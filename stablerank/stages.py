"""Stages one after the other, and side by side: how their constants are put together.

A stage is anything with ``stability(source)`` beside its ``transform`` or its logits: filtrations,
vectorizers, classifiers, and unions and pipelines of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import FeatureUnion, Pipeline

from stablerank.diagrams.ball import DiagramBall
from stablerank.stability import (
    FROBENIUS,
    HAUSDORFF,
    PER_COORDINATE,
    PER_POINT,
    Bound,
    Parallel,
    Space,
    StabilityChain,
    StabilityError,
    conversion,
)

_COARSER = {FROBENIUS: PER_POINT, PER_COORDINATE: PER_POINT, PER_POINT: HAUSDORFF}


def pipeline_stages(pipeline: Any) -> list[Any]:
    """The fitted steps of an estimator, a scikit-learn pipeline, or a single stage.

    Raises
    ------
    NotFittedError
        If it is an estimator of ours before `fit`.
    """
    if hasattr(pipeline, "pipeline_"):
        pipeline = pipeline.pipeline_
    if isinstance(pipeline, Pipeline):
        return [step for _, step in pipeline.steps if step not in (None, "passthrough")]
    if hasattr(pipeline, "certify") and not hasattr(pipeline, "stability"):
        raise NotFittedError(
            f"This {type(pipeline).__name__} is not fitted yet: call fit(X, y) before certify."
        )
    return [pipeline]


def computes_diagrams(stage: Any) -> bool:
    """Whether a stage is a filtration: what comes before it are clouds, and after it diagrams."""
    return hasattr(stage, "homology_dimensions") and hasattr(stage, "relative_rounding")


def computes_vectors(stage: Any) -> bool:
    """Whether a stage makes vectors of clouds itself, without diagrams."""
    return hasattr(stage, "vector_rounding") and hasattr(stage, "largest_values")


def starts_from_inputs(stage: Any) -> bool:
    """Whether a stage takes clouds, images or matrices, or is a union that begins with one."""
    if isinstance(stage, LipschitzUnion):
        return any(starts_from_inputs(stages[0]) for _, stages in stage.branches())
    return computes_diagrams(stage) or computes_vectors(stage)


def chain_of_stages(stages: Sequence[Any], source: Space) -> StabilityChain:
    """Ask every stage for its bound, from the adversary's metric onwards.

    Where a stage does not know a constant from the metric at hand, the explicit conversions to
    coarser metrics are tried: per coordinate or Frobenius, per point, Hausdorff.

    Parameters
    ----------
    stages : sequence of objects with ``stability(source)``
        In the order of the flow.
    source : Space
        Where the chain starts.

    Returns
    -------
    StabilityChain

    Raises
    ------
    StabilityError
        If a stage has no constant from any of these metrics.
    """
    elements: list[Bound | Parallel | StabilityChain] = []
    for stage in stages:
        if not hasattr(stage, "stability"):
            raise StabilityError(
                f"{type(stage).__name__} has no stability(source): what it does to distances is "
                f"not known, so nothing behind it can be certified. Take it out of the pipeline, "
                f"or give it that method."
            )
        elements += stage_with_conversions(stage, source)
        source = elements[-1].target
    return StabilityChain(*elements)


def l2_chain_of_stages(stages: Sequence[Any], source: Space) -> StabilityChain:
    """As :func:`chain_of_stages`, with all deaths of H0 together, in ℓ2, and so all that follows.

    Parameters
    ----------
    stages : sequence of objects with ``stability(source)``
        In the order of the flow; the first has ``l2_stability(source)`` too.
    source : Space
        Where the chain starts.

    Returns
    -------
    StabilityChain

    Raises
    ------
    StabilityError
        If the first stage has no such bound from there, or a later one none in ℓ2.
    """
    first, *rest = stages
    if not hasattr(first, "l2_stability"):
        raise StabilityError(
            f"{type(first).__name__} has no l2_stability(source): how its output moves in ℓ2 is "
            f"not known."
        )
    start: Parallel | StabilityChain = first.l2_stability(source)
    return StabilityChain(start, chain_of_stages(rest, start.target))


def stage_with_conversions(stage: Any, source: Space) -> list[Bound | Parallel | StabilityChain]:
    """A stage's bound from `source`, behind the conversions that it needs."""
    conversions: list[Bound | Parallel | StabilityChain] = []
    while True:
        try:
            return [*conversions, stage.stability(source)]
        except StabilityError:
            if source not in _COARSER:
                raise
        coarser = _COARSER[source]
        conversions.append(
            conversion(source, coarser, dimension=getattr(stage, "dimension_", None))
        )
        source = coarser


class LipschitzUnion(FeatureUnion):
    """Stages side by side on the same input, joined to one vector, with their constants.

    Several vectorizers of the same diagrams, or several filtrations of the same clouds, each with
    its vectorizers behind it. It is scikit-learn's ``FeatureUnion``, which also says how far its
    output moves.

    Parameters
    ----------
    transformer_list : list of (str, transformer)
        Stages or pipelines of stages that end in vectors, each with ``stability``.
    n_jobs, transformer_weights, verbose, verbose_feature_names_out
        As in :class:`sklearn.pipeline.FeatureUnion`. Weights are refused when constants are asked
        for: the network scales its inputs itself (R6).

    Examples
    --------
    >>> from stablerank import AlphaPersistence, RipsPersistence, StableRank
    >>> from sklearn.pipeline import make_pipeline
    >>> union = LipschitzUnion([
    ...     ("alpha", make_pipeline(AlphaPersistence(), StableRank(n_ranks=1))),
    ...     ("rips", make_pipeline(RipsPersistence(), StableRank(n_ranks=1))),
    ... ])
    >>> union.fit_transform([[[0, 0], [3, 0], [3, 4], [0, 4]]])
    array([[2. , 0.5, 4. , 1. ]])
    >>> union.stability(HAUSDORFF).constants.round(12)
    array([1., 2., 2., 4.])
    """

    def branches(self) -> list[tuple[str, list[Any]]]:
        """The name and the stages of each branch.

        Raises
        ------
        StabilityError
            With `transformer_weights`: what a branch says would not be what comes out.
        """
        if self.transformer_weights:
            raise StabilityError(
                "LipschitzUnion has transformer_weights: leave them out, since the network divides "
                "every coordinate by its own constant anyway."
            )
        return [
            (name, pipeline_stages(stage))
            for name, stage in self.transformer_list
            if stage != "drop"
        ]

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """The names of the last stage of each branch, behind the branch's: ``alpha__H1_rank0``."""
        return np.array(
            [
                f"{name}__{feature}"
                for name, stages in self.branches()
                for feature in stages[-1].get_feature_names_out()
            ],
            dtype=object,
        )

    def stability(self, source: Space) -> StabilityChain:
        """The constants of all branches, joined into one vector in ℓ∞.

        Parameters
        ----------
        source : Space
            A metric of the common input.

        Returns
        -------
        StabilityChain
            Of one element, with a branch for each name.

        Raises
        ------
        StabilityError
            If a branch has no constant from there.
        """
        chains = {name: chain_of_stages(stages, source) for name, stages in self.branches()}
        return StabilityChain(Parallel(chains, joined=True))

    def l2_stability(self, source: Space) -> StabilityChain:
        """The constants of all branches, joined into one vector in ℓ2; for several filtrations.

        Parameters
        ----------
        source : Space
            A metric of the common input.

        Returns
        -------
        StabilityChain
            Of one element, with a branch for each name.

        Raises
        ------
        StabilityError
            If a branch has none in ℓ2 from there.
        """
        chains = {name: l2_chain_of_stages(stages, source) for name, stages in self.branches()}
        return StabilityChain(Parallel(chains, joined=True))

    def bounds(self, ball: DiagramBall) -> tuple[Any, Any]:
        """The boxes of all branches, side by side.

        Parameters
        ----------
        ball : DiagramBall
            What the adversary can make of the diagrams; for unions of vectorizers.

        Returns
        -------
        lower, upper : Tensor of shape (n_clouds, n_features), float64
        """
        import torch

        boxes = [_only_stage(stages).bounds(ball) for _, stages in self.branches()]
        lower, upper = zip(*boxes, strict=True)
        return torch.cat(lower, dim=1), torch.cat(upper, dim=1)

    def rounding(self, X: Any, relative: float, reach: NDArray[np.float64]) -> NDArray[np.float64]:
        """The largest error of any branch; see :meth:`StableRank.rounding`."""
        errors = [_only_stage(stages).rounding(X, relative, reach) for _, stages in self.branches()]
        return np.maximum.reduce(errors)


def _only_stage(stages: list[Any]) -> Any:
    if len(stages) > 1:
        names = ", ".join(type(stage).__name__ for stage in stages)
        raise StabilityError(
            f"A branch of a LipschitzUnion behind the persistence is one vectorizer, got {names}."
        )
    return stages[0]

"""Attacks by gradients through stages that belong to benchmarks, which the package does not know.

Such a stage says how its bars, or its vectors, follow from the inputs in torch: by
``differentiable_bars(inputs)`` or ``differentiable_vectors(inputs)``, with a list of tensors that
have the inputs' own shapes. Whether an attack succeeded is decided by the pipeline itself, as ever.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from stablerank import Certificates, CubicalPersistence, LipschitzUnion
from stablerank.attack import RandomSearch
from stablerank.attack.gradients import DifferentiablePipeline, bars_with_gradients
from stablerank.attack.judge import Judge
from stablerank.attack.projected_gradient import ProjectedGradient, _blocks, _Descent
from stablerank.attack.vectorizers import vectors_with_gradients
from stablerank.stages import pipeline_stages


class BenchmarkGradient(ProjectedGradient):
    """:class:`ProjectedGradient` through stages of benchmarks, and of the package."""

    def run(self, judge: Judge, rngs: list[Generator]) -> None:
        """Descend from the inputs themselves, and then from random places."""
        pipeline, ball = _Differentiable(judge.pipeline), judge.adversary.ball
        if ball is None:
            raise TypeError(f"{type(judge.adversary).__name__} moves nothing that has gradients.")
        for restart in range(self.restarts):
            for inputs in _blocks(judge, judge.open()):
                descent = _Descent(self, judge, pipeline, ball, inputs)
                if restart > 0:
                    descent.start_anywhere([rngs[i] for i in inputs])
                descent.run()


def attacked_accuracy(
    pipeline: Any,
    X: list[NDArray[np.float64]],
    y: NDArray[Any],
    claims: Certificates,
    epsilon: float,
    seed: int,
    steps: int = 20,
    n_queries: int = 10,
) -> float:
    """What gradients, and random search on what they leave, leave of correct predictions.

    Parameters
    ----------
    pipeline : sklearn Pipeline
        Fitted.
    X, y : list of ndarray, ndarray
        The inputs, and their labels.
    claims : Certificates
        Theirs; they name the threat.
    epsilon : float
        How far the adversary may move each.
    seed : int
        Of the searches.
    steps, n_queries : int
        Of the descent, and of the random search.

    Raises
    ------
    RuntimeError
        If certified <= attacked <= clean does not hold for one of the inputs.
    """
    broken = np.zeros(len(y), dtype=bool)
    for method in (BenchmarkGradient(steps=steps), RandomSearch(n_queries=n_queries)):
        left = np.flatnonzero(~broken)
        if left.size == 0:
            break
        result = method(
            pipeline,
            [X[i] for i in left],
            y[left],
            threat=claims.threat,
            radius=epsilon,
            random_state=seed,
        )
        broken[left] = result.success
    right = claims.prediction == y
    certified = right & (claims.radius > epsilon)
    if (certified & broken).any() or (~broken & ~right).any():
        raise RuntimeError(
            f"seed {seed}, ε={epsilon}: certified <= attacked <= clean is violated for inputs "
            f"{np.flatnonzero((certified & broken) | (~broken & ~right)).tolist()}."
        )
    return float((~broken).mean())


class _Differentiable(DifferentiablePipeline):
    def __init__(self, pipeline: Any) -> None:
        *self._stages, classifier = pipeline_stages(pipeline)
        self._network, self.classes_ = classifier.network_, np.asarray(classifier.classes_)

    def logits(self, points: Tensor, offsets: NDArray[np.int64], shapes: Any = None) -> Tensor:
        inputs = [
            points[start:stop].reshape(shape)
            for start, stop, shape in zip(offsets[:-1], offsets[1:], shapes, strict=True)
        ]
        logits: Tensor = self._network(_vectors(self._stages, inputs))
        return logits


def _vectors(stages: list[Any], inputs: list[Tensor]) -> Tensor:
    first, *rest = stages
    if isinstance(first, LipschitzUnion):
        return torch.cat([_vectors(own, inputs) for _, own in first.branches()], dim=1)
    if not rest:
        if hasattr(first, "differentiable_vectors"):
            own: Tensor = first.differentiable_vectors(inputs)
            return own
        offsets = np.cumsum([0, *map(len, inputs)], dtype=np.int64)
        return vectors_with_gradients(first, torch.cat(inputs), offsets)
    if hasattr(first, "differentiable_bars"):
        bars = first.differentiable_bars(inputs)
    else:
        bars = bars_of_functions(first, inputs)
    return _behind(rest[0], bars)


def _behind(vectorizer: Any, bars: Any) -> Tensor:
    if isinstance(vectorizer, LipschitzUnion):
        return torch.cat([_behind(own[0], bars) for _, own in vectorizer.branches()], dim=1)
    vectors: Tensor = vectorizer.from_bars(bars)
    return vectors


def bars_of_functions(filtration: Any, inputs: list[Tensor]) -> Any:
    """The bars of a filtration of the package, with gradients, of inputs that are tensors."""
    images = isinstance(filtration, CubicalPersistence)
    rows = [item.reshape(-1, 1) if images else item for item in inputs]
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    shapes = [tuple(item.shape) for item in inputs]
    return bars_with_gradients(filtration, torch.cat(rows), offsets, shapes)

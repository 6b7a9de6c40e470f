"""What attacks by gradients, and trials on what they leave, make of a pipeline's accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stablerank import Certificates
from stablerank.attack import ProjectedGradient, RandomSearch


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
    for method in (ProjectedGradient(steps=steps), RandomSearch(n_queries=n_queries)):
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

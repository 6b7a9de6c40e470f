"""What certificates know of the inputs: their vectors, and how far an adversary moves them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stablerank.diagrams.ball import DiagramBall
from stablerank.diagrams.batch import DiagramBatch
from stablerank.diagrams.cloud_diagrams import CloudDiagrams
from stablerank.stability import (
    BOTTLENECK,
    LINF,
    Space,
    StabilityChain,
    StabilityError,
    multiply_exact_or_up,
)
from stablerank.stages import (
    LipschitzUnion,
    chain_of_stages,
    computes_diagrams,
    computes_vectors,
    l2_chain_of_stages,
    stage_with_conversions,
    starts_from_inputs,
)

Box = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class StudiedInputs:
    """The vectors that the classifier gets, and both answers about them.

    Parameters
    ----------
    vectors : ndarray of shape (n, n_features), float64
        As computed.
    chain : callable
        The bounds from the adversary's metric to the vectors; raises where there is none.
    error : callable
        From displacements of shape (n,) to a bound on how far computed vectors are from exact
        ones, for all that lies within them.
    box : callable
        From sizes of shape (n,) and the rows that they belong to, to lower and upper ends of all
        vectors, as computed, that an adversary of these sizes can bring about.
    scale : callable
        A size for each input at which it makes sense to begin a search, shape (n,).
    l2_chain : callable
        As `chain`, with the vectors in ℓ2, by blocks (D7); raises where there is none.
    """

    vectors: NDArray[np.float64]
    chain: Callable[[], StabilityChain]
    error: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    box: Callable[[NDArray[np.float64], NDArray[np.intp]], Box]
    scale: Callable[[], NDArray[np.float64]]
    l2_chain: Callable[[], StabilityChain]


def study(stages: Sequence[Any], X: Any, source: Space) -> StudiedInputs:
    """Send the inputs through all stages before the classifier.

    Parameters
    ----------
    stages : sequence
        A filtration and a vectorizer; a vectorizer, for diagrams; a stage that makes vectors of
        clouds itself; or a union of such.
    X : list of clouds, images or matrices, or DiagramBatch
        What the first stage takes; or CloudDiagrams, which it has computed.
    source : Space
        The metric in which the adversary moves them.

    Returns
    -------
    StudiedInputs

    Raises
    ------
    StabilityError
        If a stage does not say how it moves or rounds.
    """
    first, rest = stages[0], stages[1:]
    if isinstance(first, LipschitzUnion) and starts_from_inputs(first):
        _refuse_more(rest)
        branches = {name: study(own, X, source) for name, own in first.branches()}
        chains = partial(first.stability, source), partial(first.l2_stability, source)
        return _side_by_side(branches, *chains)
    if computes_vectors(first):
        _refuse_more(rest)
        return _study_clouds(first, X, source)
    if not computes_diagrams(first):
        _refuse_more(rest)
        return _study_diagrams(first, X, source)
    if not rest:
        raise StabilityError(
            f"{type(first).__name__} gives diagrams, and a classifier takes vectors: put a "
            f"vectorizer such as StableRank between them."
        )
    _refuse_more(rest[1:])
    return _study_filtration(first, rest[0], X, source)


def _study_filtration(filtration: Any, vectorizer: Any, X: Any, source: Space) -> StudiedInputs:
    *conversions, own = stage_with_conversions(filtration, source)
    factor = StabilityChain(*conversions).constant if conversions else 1.0
    start = own.source
    to_diagrams = StabilityChain(*conversions, own).constant
    relative = filtration.relative_rounding()
    if not hasattr(filtration, "largest_values"):
        raise StabilityError(
            f"{type(filtration).__name__}: how large its births and deaths can be is not known, "
            f"and so neither is their rounding. Give it a method largest_values(X), as Filtration "
            f"asks."
        )
    if isinstance(X, CloudDiagrams):
        X.check_filtration(filtration)
        largest, diagrams = X.largest_values, X
    else:
        largest, diagrams = filtration.largest_values(X), filtration.transform(X)
    vectors = np.asarray(vectorizer.transform(diagrams), dtype=np.float64)

    def error(reach: NDArray[np.float64]) -> NDArray[np.float64]:
        # The adversary's cloud may have short bars at any height, wherever those of X are: on the
        # hypotenuse of a right triangle, say, which has no bar at all.
        # Where the constant is below 1, coordinates go further than values, and may round the more.
        possible = (largest + max(to_diagrams, 1.0) * reach) * (1 + 1e-12)
        bound: NDArray[np.float64] = _rounding_of(vectorizer)(diagrams, relative, possible)
        return bound

    def box(epsilon: NDArray[np.float64], rows: NDArray[np.intp]) -> Box:
        _require_bounds(filtration, "ball")
        _require_bounds(vectorizer, "bounds")
        sizes = multiply_exact_or_up(epsilon, factor)
        ball = filtration.ball(_rows(diagrams, rows), largest[rows], sizes, source=start)
        ends: Box = vectorizer.bounds(ball)
        return ends

    return StudiedInputs(
        vectors,
        lambda: chain_of_stages([filtration, vectorizer], source),
        error,
        box,
        lambda: 1e-3 * np.where(largest > 0, largest, 1.0),
        lambda: l2_chain_of_stages([filtration, vectorizer], source),
    )


def _study_clouds(stage: Any, X: Any, source: Space) -> StudiedInputs:
    """Of a stage that computes no diagrams."""
    *conversions, own = stage_with_conversions(stage, source)
    factor = StabilityChain(*conversions).constant if conversions else 1.0
    start = own.source
    # values move by the constant, and the points by as much as the adversary in metric `start`
    farthest = max(StabilityChain(*conversions, own).constant, factor)
    if isinstance(X, DiagramBatch):
        raise ValueError(
            f"{type(stage).__name__} takes clouds, but X holds diagrams: give the clouds."
        )
    vectors, largest = stage.transform(X), stage.largest_values(X)

    def error(reach: NDArray[np.float64]) -> NDArray[np.float64]:
        possible = (largest + farthest * reach) * (1 + 1e-12)
        bound: NDArray[np.float64] = stage.vector_rounding(possible)
        return bound

    def box(epsilon: NDArray[np.float64], rows: NDArray[np.intp]) -> Box:
        sizes = multiply_exact_or_up(epsilon, factor)
        ends: Box = stage.vector_box(vectors[rows], largest[rows], sizes, source=start)
        return ends

    return StudiedInputs(
        vectors,
        lambda: chain_of_stages([stage], source),
        error,
        box,
        lambda: 1e-3 * np.where(largest > 0, largest, 1.0),
        lambda: l2_chain_of_stages([stage], source),
    )


def _study_diagrams(vectorizer: Any, X: DiagramBatch, source: Space) -> StudiedInputs:
    vectors = np.asarray(vectorizer.transform(X), dtype=np.float64)

    def error(reach: NDArray[np.float64]) -> NDArray[np.float64]:
        bound: NDArray[np.float64] = _rounding_of(vectorizer)(X, 0.0, reach)
        return bound

    def box(epsilon: NDArray[np.float64], rows: NDArray[np.intp]) -> Box:
        # d_B <= W_p with any ground norm, so one ball holds the diagrams of both threats
        _require_bounds(vectorizer, "bounds")
        diagrams = _rows(X, rows)
        dimensions = diagrams.homology_dimensions
        ball = DiagramBall(
            diagrams,
            {k: np.nextafter(epsilon, np.inf) for k in dimensions},
            dict.fromkeys(dimensions, BOTTLENECK),
            -np.inf,
        )
        ends: Box = vectorizer.bounds(ball)
        return ends

    def scale() -> NDArray[np.float64]:
        largest = np.zeros(len(X))
        for k in X.homology_dimensions:
            largest = np.maximum(largest, np.abs(X.padded(k)).max(axis=(1, 2), initial=0.0))
        return 1e-3 * np.where(largest > 0, largest, 1.0)

    return StudiedInputs(
        vectors,
        lambda: chain_of_stages([vectorizer], source),
        error,
        box,
        scale,
        lambda: l2_chain_of_stages([vectorizer], source),
    )


def _side_by_side(
    branches: dict[str, StudiedInputs],
    chain: Callable[[], StabilityChain],
    l2_chain: Callable[[], StabilityChain],
) -> StudiedInputs:
    parts = list(branches.values())

    def error(reach: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum.reduce([part.error(reach) for part in parts])

    def box(epsilon: NDArray[np.float64], rows: NDArray[np.intp]) -> Box:
        lower, upper = zip(*(part.box(epsilon, rows) for part in parts), strict=True)
        return torch.cat(lower, dim=1), torch.cat(upper, dim=1)

    vectors = np.hstack([part.vectors for part in parts])
    return StudiedInputs(vectors, chain, error, box, parts[0].scale, l2_chain)


def _rows(diagrams: DiagramBatch, rows: NDArray[np.intp]) -> DiagramBatch:
    everything = len(rows) == len(diagrams)
    chosen: DiagramBatch = diagrams if everything else diagrams[rows]
    return chosen


def _rounding_of(vectorizer: Any) -> Any:
    if not hasattr(vectorizer, "rounding"):
        raise StabilityError(
            f"{type(vectorizer).__name__} does not say how it rounds: give it a method rounding("
            f"diagrams, relative, reach), as StableRank has."
        )
    return vectorizer.rounding


def _require_bounds(stage: Any, name: str) -> None:
    if not hasattr(stage, name):
        raise StabilityError(
            f"{type(stage).__name__} has no {name}(): its constant is known, but no box of what an "
            f'adversary can bring about. Use method="global".'
        )


def _refuse_more(stages: Sequence[Any]) -> None:
    if stages:
        chain_of_stages(stages[:1], LINF)  # what has no stability at all is told so
        raise StabilityError(
            f"{type(stages[0]).__name__} stands between the vectorizer and the classifier: its "
            f"rounding is not known, so nothing behind it can be certified."
        )

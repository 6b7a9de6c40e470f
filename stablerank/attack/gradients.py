"""Gradients through persistence: from points to bars, vectors and logits in torch, and back.

A value of alpha or Rips is the circumradius R of one simplex p_0, …, p_k (``generators.py``). With
its centre z = Σ λ_i p_i, Σ λ_i = 1, in the simplex's affine hull, dR = Σ λ_i u_i·dp_i with
u_i = (p_i − z)/R (the formula behind fact D6): differentiate R² = ‖p_i − z‖², weigh by λ_i and
add up, and dz drops out because Σ λ_i (p_i − z) = 0. An edge has λ = ½, ½. This is exact wherever
the simplices of all bars stay the same, that is, away from ties. Functions on grids, images and the
distance to measure, are the matter of ``fields.py``; vectors without persistence of
``vectorizers.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stablerank.attack.fields import Shape, bars_on_a_grid, is_on_a_grid
from stablerank.attack.generators import (
    Bars,
    Indices,
    add_by_point,
    canonical_rows,
    generated_bars,
    has_generators,
    take_rows,
)
from stablerank.attack.vectorizers import has_vector_gradients, vectors_with_gradients
from stablerank.diagrams.anisotropic import AnisotropicPersistence
from stablerank.diagrams.clouds import Cloud
from stablerank.diagrams.landmarks import LandmarkPersistence
from stablerank.diagrams.linear_maps import linear_image
from stablerank.diagrams.mapped import MappedPersistence
from stablerank.stages import LipschitzUnion, pipeline_stages


def flatten(clouds: list[Cloud]) -> tuple[NDArray[np.float64], Indices]:
    """Clouds as one array of points, and where each begins: shapes (n_points, d), (n_clouds+1,)."""
    return np.concatenate(clouds), np.cumsum([0, *map(len, clouds)], dtype=np.int64)


def bars_with_gradients(
    filtration: Any, points: Tensor, offsets: Indices, shapes: Sequence[Shape] | None = None
) -> Bars:
    """Persistence diagrams as tensors that are differentiable with respect to the points.

    Parameters
    ----------
    filtration : AlphaPersistence, RipsPersistence, DistanceToMeasurePersistence, CubicalPersistence
        Rips of clouds, not of dissimilarities; the distance to measure fitted. Or
        AnisotropicPersistence or LandmarkPersistence of one of them, fitted.
    points : Tensor of shape (n_points, d), float64
        All clouds, one after the other; finite, on the CPU. Of images the pixels, d = 1, as
        ``image.reshape(-1, 1)`` has them.
    offsets : ndarray of shape (n_clouds + 1,), int64
        Cloud i is ``points[offsets[i]:offsets[i + 1]]``, and not empty.
    shapes : sequence of tuple of int, optional
        The shape of each image; of no matter for clouds.

    Returns
    -------
    dict of int to (Tensor, Tensor)
        Births and deaths, shape (n_clouds, n_bars) each, for every homology dimension: those of
        ``DiagramBatch.padded``, bit for bit and in its order (longest first).

    Raises
    ------
    TypeError
        If no generators are known for the filtration.
    ValueError
        If it takes images, and there are no shapes.

    Notes
    -----
    Exact where no two of the filtration's values are equal; at ties one of the simplices, or
    vertices, of that value is taken for the one that matters. The backward pass touches only bars
    whose gradient is not zero.

    Examples
    --------
    Two points 4 apart die at 2; the death grows by ½ for each unit that an end moves away.

    >>> from stablerank.diagrams import AlphaPersistence
    >>> pair = torch.tensor([[0.0, 0.0], [4.0, 0.0]], dtype=torch.float64, requires_grad=True)
    >>> births, deaths = bars_with_gradients(AlphaPersistence((0,)), pair, np.array([0, 2]))[0]
    >>> deaths.sum().backward()
    >>> deaths.tolist(), pair.grad.tolist()
    ([[2.0]], [[-0.5, 0.0], [0.5, 0.0]])
    """
    _check_filtration(filtration)
    if isinstance(filtration, AnisotropicPersistence):
        columns = list(torch.from_numpy(filtration._matrix().T.copy()))
        images = linear_image(points, columns)
        return bars_with_gradients(filtration.mapped_filtration_, images, offsets)
    if isinstance(filtration, LandmarkPersistence):
        rows = offsets[:-1, None] + np.array(filtration.indices, dtype=np.int64)
        ends = np.arange(len(offsets), dtype=np.int64) * rows.shape[1]
        landmarks = points[torch.from_numpy(rows.ravel())]
        return bars_with_gradients(filtration.mapped_filtration_, landmarks, ends)
    if is_on_a_grid(filtration):
        return bars_on_a_grid(filtration, points, offsets, shapes)
    array = points.detach().numpy()
    generated = generated_bars(filtration, array, offsets)
    n_clouds = len(offsets) - 1
    bars = {}
    for k, found in generated.items():
        rows = canonical_rows(found.clouds, found.births, found.deaths, n_clouds)
        births, deaths = (take_rows(values, rows) for values in (found.births, found.deaths))
        scale = found.per_circumradius
        bars[k] = (
            # in H0 births are 0, whatever the points do
            _Values.apply(points, births, rows, found.birth_simplices, scale)
            if k > 0
            else torch.from_numpy(births),
            _Values.apply(points, deaths, rows, found.death_simplices, scale),
        )
    return bars


class DifferentiablePipeline:
    """A fitted pipeline as one differentiable function from points to logits.

    Parameters
    ----------
    pipeline : StableRankClassifier or sklearn Pipeline
        Fitted: a filtration that :func:`bars_with_gradients` knows; a vectorizer with
        ``from_bars``, from births and deaths to vectors in torch; a classifier with a float64 torch
        module ``network_`` from vectors to logits, and ``classes_``. In place of the first two
        there may be a stage that :func:`vectors_with_gradients` knows. Filtrations with their
        vectorizers, and such stages, may stand side by side in a
        :class:`~stablerank.stages.LipschitzUnion`, and so may vectorizers.

    Raises
    ------
    TypeError
        If it is not that; the message names what is missing.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The label of each logit.
    """

    def __init__(self, pipeline: Any) -> None:
        *self._stages, classifier = pipeline_stages(pipeline)
        _check_features(self._stages, behind=type(classifier).__name__)
        _check_has(classifier, "network_", "classes_")
        self._network, self.classes_ = classifier.network_, np.asarray(classifier.classes_)

    def logits(
        self, points: Tensor, offsets: Indices, shapes: Sequence[Shape] | None = None
    ) -> Tensor:
        """Logits of shape (n_clouds, n_classes); arguments as :func:`bars_with_gradients`."""
        logits: Tensor = self._network(_features(self._stages, points, offsets, shapes))
        return logits


_WAY_OUT = 'Use method="search", which needs only predict.'


def _check_features(stages: Sequence[Any], behind: str) -> None:
    """Raise unless the stages lead from clouds to vectors with gradients."""
    if len(stages) == 1 and isinstance(stages[0], LipschitzUnion):
        for _, branch in _branches(stages[0]):
            _check_features(branch, behind)
        return
    if len(stages) == 1 and has_vector_gradients(stages[0]):
        return
    if len(stages) != 2:
        names = ", ".join(type(stage).__name__ for stage in stages) or "nothing"
        raise TypeError(
            f"Gradients need a filtration and a vectorizer before {behind}, or a DistanceField or "
            f"SortedNeighbourDistances, found {names}. {_WAY_OUT}"
        )
    filtration, vectorizer = stages
    _check_filtration(filtration)
    _check_vectorizer(vectorizer)


def _check_vectorizer(vectorizer: Any) -> None:
    if isinstance(vectorizer, LipschitzUnion):
        for _, branch in _branches(vectorizer):
            _check_vectorizer(branch[0])
    else:
        _check_has(vectorizer, "from_bars")


def _check_has(stage: Any, *names: str) -> None:
    for name in names:
        if not hasattr(stage, name):
            raise TypeError(f"{type(stage).__name__} has no {name}: no gradient. {_WAY_OUT}")


def _check_filtration(filtration: Any) -> None:
    if isinstance(filtration, MappedPersistence):
        return _check_filtration(filtration.mapped_filtration_)
    if not (has_generators(filtration) or is_on_a_grid(filtration)):
        raise TypeError(
            f"{type(filtration).__name__} gives no gradient: expected AlphaPersistence, "
            f'RipsPersistence(metric="euclidean"), DistanceToMeasurePersistence or '
            f"CubicalPersistence. {_WAY_OUT}"
        )


def _branches(union: LipschitzUnion) -> list[tuple[str, list[Any]]]:
    if union.transformer_weights:
        raise TypeError(f"LipschitzUnion has transformer_weights: no gradient. {_WAY_OUT}")
    return union.branches()


def _features(
    stages: Sequence[Any], points: Tensor, offsets: Indices, shapes: Sequence[Shape] | None
) -> Tensor:
    if isinstance(stages[0], LipschitzUnion):
        parts = [_features(branch, points, offsets, shapes) for _, branch in stages[0].branches()]
        return torch.cat(parts, dim=1)
    if has_vector_gradients(stages[0]):
        return vectors_with_gradients(stages[0], points, offsets)
    filtration, vectorizer = stages
    return _vectors(vectorizer, bars_with_gradients(filtration, points, offsets, shapes))


def _vectors(vectorizer: Any, bars: Bars) -> Tensor:
    if isinstance(vectorizer, LipschitzUnion):
        return torch.cat([_vectors(branch[0], bars) for _, branch in vectorizer.branches()], dim=1)
    vectors: Tensor = vectorizer.from_bars(bars)
    return vectors


class _Values(torch.autograd.Function):
    """Values in the order of `rows`; backwards, into the points of their simplices."""

    @staticmethod
    def forward(
        ctx: Any,
        points: Tensor,
        values: NDArray[np.float64],
        rows: Indices,
        simplices: Indices,
        per_circumradius: float,
    ) -> Tensor:
        ctx.save_for_backward(points)
        ctx.rows, ctx.simplices, ctx.scale = rows, simplices, per_circumradius
        return torch.from_numpy(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (points,) = ctx.saved_tensors
        array, given = points.detach().numpy(), gradients[0].numpy()
        used = (given != 0) & (ctx.rows >= 0)
        simplices = ctx.simplices[ctx.rows[used]]
        parts = circumradius_gradients(array[simplices])
        parts *= (ctx.scale * given[used])[:, None, None]
        summed = add_by_point(parts, simplices, len(array))
        return torch.from_numpy(summed), None, None, None, None


def circumradius_gradients(simplices: NDArray[np.float64]) -> NDArray[np.float64]:
    """The gradient of each simplex's circumradius with respect to its vertices.

    Parameters
    ----------
    simplices : ndarray of shape (n, k + 1, d), float64
        The vertices of n simplices of dimension k, 1 <= k <= d.

    Returns
    -------
    ndarray of shape (n, k + 1, d)
        Without unit. 0 for simplices whose vertices are affinely dependent.

    Examples
    --------
    >>> circumradius_gradients(np.array([[[0.0, 0.0], [3.0, 4.0]]]))
    array([[[-0.3, -0.4],
            [ 0.3,  0.4]]])
    """
    edges = simplices[:, 1:] - simplices[:, :1]
    size = np.abs(edges).max(axis=(1, 2), initial=0.0)
    edges = edges / np.where(size > 0, size, 1.0)[:, None, None]  # squares neither over- nor under.
    weights = _centre_weights(edges)
    centre = np.einsum("nk,nkd->nd", weights, edges)  # seen from the first vertex
    radius = np.sqrt(np.einsum("nd,nd->n", centre, centre))
    directions = np.empty(simplices.shape)
    directions[:, 0] = -centre
    np.subtract(edges, centre[:, None], out=directions[:, 1:])
    shares = np.empty(simplices.shape[:2])
    shares[:, 0] = 1 - weights.sum(axis=1)
    shares[:, 1:] = weights
    degenerate = ~(np.isfinite(radius) & (radius > 0))
    shares /= np.where(degenerate, 1.0, radius)[:, None]
    shares[degenerate], directions[degenerate] = 0.0, 0.0
    directions *= shares[:, :, None]
    return directions


def _centre_weights(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The circumcentre as a combination of the edges from the first vertex, shape (n, k).

    It is as far from each vertex as from the first: 2 ⟨c, e_i⟩ = ‖e_i‖² for c = Σ w_j e_j.
    """
    k = edges.shape[1]
    if k == 1:
        return np.full((len(edges), 1), 0.5)
    gram = np.einsum("nid,njd->nij", edges, edges)
    squares = np.einsum("nii->ni", gram)
    if k == 2:  # Cramer's rule: this is the plane, where time matters
        a, b, c = squares[:, 0], squares[:, 1], gram[:, 0, 1]
        twice = 2 * (a * b - c * c)
        twice = np.where(twice > 0, twice, np.nan)
        return np.stack([b * (a - c), a * (b - c)], axis=1) / twice[:, None]
    return np.einsum("nij,nj->ni", np.linalg.pinv(gram, hermitian=True), squares / 2)

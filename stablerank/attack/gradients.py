"""Gradients through persistence: from points to bars, vectors and logits in torch, and back.

A value of alpha or Rips is the circumradius of one simplex (``generators.py``), whose gradient
``circumradius.py`` has. This is exact wherever the simplices of all bars stay the same, that is,
away from ties. Functions on grids, images and the distance to measure, are the matter of
``fields.py``; vectors without persistence of ``vectorizers.py``.

What the package does not know says itself how it follows from the inputs:

- any pipeline by ``differentiable_logits(points, offsets, shapes=None)`` and ``classes_``;
- a filtration by ``differentiable_bars(inputs)``: births and deaths of each homology dimension, as
  :func:`bars_with_gradients` returns them;
- a stage from inputs to vectors by ``differentiable_vectors(inputs)``: (n_clouds, n_features).

`inputs` are tensors, one a cloud, image or series, of their own shapes. All of it in torch and
float64, such that autograd leads back to the points. Attacks are only guided by it: whether one
succeeded is decided by the pipeline's own ``predict``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stablerank.attack.circumradius import circumradius_gradients
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
from stablerank.diagrams.cubical import CubicalPersistence
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
        AnisotropicPersistence or LandmarkPersistence of one of them, fitted. Or anything with
        ``differentiable_bars``.
    points : Tensor of shape (n_points, d), float64
        All clouds, one after the other; finite, on the CPU. Of images the pixels, d = 1, as
        ``image.reshape(-1, 1)`` has them.
    offsets : ndarray of shape (n_clouds + 1,), int64
        Cloud i is ``points[offsets[i]:offsets[i + 1]]``, and not empty.
    shapes : sequence of tuple of int, optional
        The shape of each input, if it is not a cloud but an image.

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
    if hasattr(filtration, "differentiable_bars"):
        bars: Bars = filtration.differentiable_bars(_inputs(points, offsets, shapes))
        return bars
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


def bars_of_inputs(filtration: Any, inputs: Sequence[Tensor]) -> Bars:
    """As :func:`bars_with_gradients`, for inputs that are tensors of their own shapes.

    Parameters
    ----------
    filtration
        As there.
    inputs : sequence of Tensor, float64
        Clouds of shape (n_points, d), d the same for all; images for CubicalPersistence.

    Returns
    -------
    dict of int to (Tensor, Tensor)

    Examples
    --------
    What a filtration of distorted clouds, or of delay vectors, builds ``differentiable_bars`` from.

    >>> from stablerank.diagrams import AlphaPersistence
    >>> pair = torch.tensor([[0.0, 0.0], [4.0, 0.0]], dtype=torch.float64)
    >>> bars_of_inputs(AlphaPersistence((0,)), [pair, 2 * pair])[0][1].tolist()
    [[2.0], [4.0]]
    """
    images = isinstance(filtration, CubicalPersistence)
    rows = [item.reshape(-1, 1) if images else item for item in inputs]
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    shapes = [tuple(item.shape) for item in inputs]
    return bars_with_gradients(filtration, torch.cat(rows), offsets, shapes)


class DifferentiablePipeline:
    """A fitted pipeline as one differentiable function from points to logits.

    Parameters
    ----------
    pipeline : object with ``differentiable_logits`` and ``classes_``, or pipeline of known stages
        Fitted. Either it has the method ``differentiable_logits(points, offsets, shapes=None)``,
        which returns a tensor of shape (n_clouds, n_classes) and takes what :meth:`logits` takes:
        the way for pipelines of any other kind. Or it is a StableRankClassifier or sklearn
        Pipeline: a filtration that :func:`bars_with_gradients` knows or that has
        ``differentiable_bars``; a vectorizer with ``from_bars``, from births and deaths to vectors
        in torch; a classifier with a float64 torch module ``network_`` from vectors to logits, and
        ``classes_``. In place of the first two there may be a stage that
        :func:`vectors_with_gradients` knows or that has ``differentiable_vectors``. Filtrations
        with their vectorizers, and such stages, may stand side by side in a
        :class:`~stablerank.stages.LipschitzUnion`, and so may vectorizers.

    Raises
    ------
    TypeError
        If it is not that; the message names what is missing.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The label of each logit.

    Examples
    --------
    Somebody's pipeline, which asks how far a cloud's first coordinates reach, by gradients:

    >>> from stablerank.attack import ProjectedGradient
    >>> class Reach:
    ...     classes_ = np.array(["near", "far"])
    ...     def differentiable_logits(self, points, offsets, shapes=None):
    ...         clouds = torch.tensor_split(points[:, 0], torch.from_numpy(offsets[1:-1]))
    ...         reach = torch.stack([cloud.max() for cloud in clouds])
    ...         return torch.stack([1 - reach, reach - 1], dim=1)
    ...     def predict(self, X):
    ...         return np.array(["far" if cloud[:, 0].max() > 1 else "near" for cloud in X])
    >>> cloud = np.array([[0.9, 0.0], [0.2, 5.0]])
    >>> result = ProjectedGradient(steps=5)(Reach(), [cloud], ["near"], radius=0.11)
    >>> result.success, bool(result.inputs[0][0, 0] > 1)
    (array([ True]), True)
    """

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline if hasattr(pipeline, "differentiable_logits") else None
        if self._pipeline is not None:
            _check_has(pipeline, "classes_")
            self.classes_ = np.asarray(pipeline.classes_)
            return
        *self._stages, classifier = pipeline_stages(pipeline)
        _check_features(self._stages, behind=type(classifier).__name__)
        _check_has(classifier, "network_", "classes_")
        self._network, self.classes_ = classifier.network_, np.asarray(classifier.classes_)

    def logits(
        self, points: Tensor, offsets: Indices, shapes: Sequence[Shape] | None = None
    ) -> Tensor:
        """The scores of each class.

        Parameters
        ----------
        points : Tensor of shape (n_points, d), float64
            All clouds, one after the other; of images the pixels, d = 1.
        offsets : ndarray of shape (n_clouds + 1,), int64
            Cloud i is ``points[offsets[i]:offsets[i + 1]]``, and not empty.
        shapes : sequence of tuple of int, optional
            The shape of each input, if it is not a cloud but an image.

        Returns
        -------
        Tensor of shape (n_clouds, n_classes), float64

        Raises
        ------
        ValueError
            If ``differentiable_logits`` returns another shape.
        """
        if self._pipeline is None:
            logits: Tensor = self._network(_features(self._stages, points, offsets, shapes))
            return logits
        logits = self._pipeline.differentiable_logits(points, offsets, shapes)
        expected = (len(offsets) - 1, len(self.classes_))
        if tuple(logits.shape) != expected:
            raise ValueError(
                f"{type(self._pipeline).__name__}.differentiable_logits returned shape "
                f"{tuple(logits.shape)}: expected (n_clouds, n_classes) = {expected}."
            )
        return logits.double()


_WAY_OUT = 'Use method="search", which needs only predict.'


def _check_features(stages: Sequence[Any], behind: str) -> None:
    """Raise unless the stages lead from clouds to vectors with gradients."""
    if len(stages) == 1 and isinstance(stages[0], LipschitzUnion):
        for _, branch in _branches(stages[0]):
            _check_features(branch, behind)
        return
    if len(stages) == 1 and _makes_vectors(stages[0]):
        return
    if len(stages) != 2:
        names = ", ".join(type(stage).__name__ for stage in stages) or "nothing"
        raise TypeError(
            f"Gradients need a filtration and a vectorizer before {behind}, or a DistanceField, "
            f"SortedNeighbourDistances or stage with differentiable_vectors, found {names}. "
            f"{_WAY_OUT}"
        )
    filtration, vectorizer = stages
    _check_filtration(filtration)
    _check_vectorizer(vectorizer)


def _makes_vectors(stage: Any) -> bool:
    return hasattr(stage, "differentiable_vectors") or has_vector_gradients(stage)


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
    if hasattr(filtration, "differentiable_bars"):
        return
    if isinstance(filtration, MappedPersistence):
        return _check_filtration(filtration.mapped_filtration_)
    if not (has_generators(filtration) or is_on_a_grid(filtration)):
        raise TypeError(
            f"{type(filtration).__name__} gives no gradient: expected AlphaPersistence, "
            f'RipsPersistence(metric="euclidean"), DistanceToMeasurePersistence, '
            f"CubicalPersistence, or a filtration with differentiable_bars. {_WAY_OUT}"
        )


def _branches(union: LipschitzUnion) -> list[tuple[str, list[Any]]]:
    if union.transformer_weights:
        raise TypeError(f"LipschitzUnion has transformer_weights: no gradient. {_WAY_OUT}")
    return union.branches()


def _features(
    stages: Sequence[Any], points: Tensor, offsets: Indices, shapes: Sequence[Shape] | None
) -> Tensor:
    first = stages[0]
    if isinstance(first, LipschitzUnion):
        parts = [_features(branch, points, offsets, shapes) for _, branch in first.branches()]
        return torch.cat(parts, dim=1)
    if hasattr(first, "differentiable_vectors"):
        vectors: Tensor = first.differentiable_vectors(_inputs(points, offsets, shapes))
        return vectors
    if has_vector_gradients(first):
        return vectors_with_gradients(first, points, offsets)
    return _vectors(stages[1], bars_with_gradients(first, points, offsets, shapes))


def _inputs(points: Tensor, offsets: Indices, shapes: Sequence[Shape] | None) -> list[Tensor]:
    """Each input by itself, in its own shape; clouds where none is given."""
    parts = [points[start:stop] for start, stop in itertools.pairwise(offsets.tolist())]
    if shapes is None:
        return parts
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


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

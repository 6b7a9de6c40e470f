"""Gradients through stages that make vectors of clouds themselves: fields, neighbours' distances.

The k-th smallest distance from a place to the points x has the gradient u with respect to the point
at that distance, u the unit vector there from the place (on the torus along the shortest way). The
distance to measure has that of ``fields.py``. Between neighbours both ends are points, and half the
distance has ½u at one and −½u at the other. A value in a block of m ranks counts 1/m. Exact away
from ties, of distances and of values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stablerank.attack.fields import power_mean_gradients
from stablerank.attack.generators import Indices, add_by_point
from stablerank.diagrams.clouds import Cloud
from stablerank.diagrams.nearest import nearest_points
from stablerank.fields import DistanceField, SortedNeighbourDistances

_DISTANCES_AT_ONCE = 2**20


def has_vector_gradients(stage: Any) -> bool:
    """Whether :func:`vectors_with_gradients` knows the stage."""
    return isinstance(stage, (DistanceField, SortedNeighbourDistances))


def vectors_with_gradients(
    stage: DistanceField | SortedNeighbourDistances, points: Tensor, offsets: Indices
) -> Tensor:
    """Vectors as a tensor that is differentiable with respect to the points.

    Parameters
    ----------
    stage : DistanceField or SortedNeighbourDistances
        Fitted.
    points : Tensor of shape (n_points, d), float64
        All clouds, one after the other; finite, on the CPU.
    offsets : ndarray of shape (n_clouds + 1,), int64
        Cloud i is ``points[offsets[i]:offsets[i + 1]]``.

    Returns
    -------
    Tensor of shape (n_clouds, n_features), float64
        Those of ``stage.transform``, bit for bit.

    Notes
    -----
    At ties one of the points, or values, takes the whole gradient; a distance of 0 has none. The
    backward pass touches only values whose gradient is not zero.

    Examples
    --------
    Vertices at -1, 0 and 1: the second is nearest to the first point, the others to one each.

    >>> field = DistanceField(resolution=3, box=([-1], [1])).fit([[[0.0]]])
    >>> pair = torch.tensor([[-0.75], [2.0]], dtype=torch.float64, requires_grad=True)
    >>> vectors = vectors_with_gradients(field, pair, np.array([0, 2]))
    >>> vectors.sum().backward()
    >>> vectors.tolist(), pair.grad.tolist()
    ([[0.25, 0.75, 1.0]], [[0.0], [1.0]])
    """
    vectors: Tensor = _Vectors.apply(points, stage, offsets)
    return vectors


class _Vectors(torch.autograd.Function):
    """Vectors; backwards, into the points at the far ends, and the near ones, of distances."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, stage: Any, offsets: Indices) -> Tensor:
        vectors = stage.transform(np.split(points.detach().numpy(), offsets[1:-1]))
        ctx.save_for_backward(points)
        ctx.stage, ctx.offsets = stage, offsets
        return torch.from_numpy(vectors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (points,) = ctx.saved_tensors
        array, offsets = points.detach().numpy(), ctx.offsets
        given = gradients[0].numpy().reshape(len(offsets) - 1, len(ctx.stage._ks), -1)
        is_field = isinstance(ctx.stage, DistanceField)
        parts = (_field_parts if is_field else _neighbour_parts)(
            ctx.stage, np.split(array, offsets[1:-1]), given
        )
        total = np.zeros_like(array)
        for vectors, rows in parts:
            total += add_by_point(vectors, rows, len(array))
        return torch.from_numpy(total), None, None


Parts = Iterator[tuple[NDArray[np.float64], Indices]]
"""Gradients of shape (n, m, d), and the n times m points that they belong to."""


def _field_parts(field: DistanceField, clouds: list[Cloud], given: NDArray[np.float64]) -> Parts:
    ordered = field.values == "sorted"
    values = field.field(clouds).reshape(*given.shape[:2], -1) if ordered else given
    n_vertices = values.shape[2]
    counts = np.full(len(clouds), n_vertices)
    grid = field._grid(field.box_)
    for i, k in enumerate(field._ks):
        shares = given[:, i].reshape(-1)
        if ordered:
            shares = block_shares(given[:, i], values[:, i].reshape(-1), counts)
        for used in _portions(shares, k):
            rows, ways = grid.nearest(clouds, *np.divmod(used, n_vertices), k)
            if field.kind == "distance":
                rows, ways = _farthest(rows, ways)
            slopes = power_mean_gradients(ways, 1 if field.kind == "distance" else int(field.q))
            yield slopes * shares[used, None, None], rows


def _neighbour_parts(
    stage: SortedNeighbourDistances, clouds: list[Cloud], given: NDArray[np.float64]
) -> Parts:
    counts = np.array([len(cloud) for cloud in clouds])
    owners = np.repeat(np.arange(len(clouds)), counts)
    halves, scales = zip(*(stage._halves(cloud) for cloud in clouds), strict=True)
    values = np.concatenate(halves, axis=1)
    scaled = [cloud * scale for cloud, scale in zip(clouds, scales, strict=True)]
    flat = np.concatenate(scaled)
    for i, k in enumerate(stage._ks):
        shares = block_shares(given[:, i], values[i], counts)
        for used in _portions(shares, k + 1):
            # the point itself is one of them, or others in its place are
            rows = nearest_points(scaled, owners[used], flat[used], k + 1)
            rows, ways = _farthest(rows, flat[rows] - flat[used][:, None])
            slopes = power_mean_gradients(ways, 1) * (shares[used, None, None] / 2)
            yield slopes, rows
            yield -slopes, used[:, None]


def block_shares(
    given: NDArray[np.float64], values: NDArray[np.float64], counts: Indices
) -> NDArray[np.float64]:
    """The gradient of each value, from those of the means over blocks of sorted values.

    Parameters
    ----------
    given : ndarray of shape (n_clouds, n_blocks), float64
    values : ndarray of shape (n_values,), float64
        Of all clouds, one after the other.
    counts : ndarray of shape (n_clouds,), int64
        How many each cloud has, `n_blocks` at least.

    Returns
    -------
    ndarray of shape (n_values,), float64

    Notes
    -----
    Rank r of n is in that block j of b with ⌊jn/b⌋ <= r < ⌊(j + 1)n/b⌋, as
    :func:`~stablerank.fields.vectorizer.sorted_blocks` has it: j is the largest integer below
    (r + 1)b/n.

    Examples
    --------
    Of three values in two blocks the largest is alone in its block.

    >>> block_shares(np.array([[5.0, 1.0]]), np.array([2.0, 9.0, 0.0]), np.array([3]))
    array([0.5, 5. , 0.5])
    """
    blocks = given.shape[1]
    owners = np.repeat(np.arange(len(counts)), counts)
    ranks = np.arange(len(values)) - np.repeat(np.cumsum(counts) - counts, counts)
    n = counts[owners]
    block = ((ranks + 1) * blocks - 1) // n
    sizes = (block + 1) * n // blocks - block * n // blocks
    shares = np.empty(len(values))
    shares[np.lexsort((-values, owners))] = given[owners, block] / sizes
    return shares


def _portions(shares: NDArray[np.float64], k: int) -> Iterator[Indices]:
    """The values that have a gradient, in runs of not too many distances."""
    used = np.flatnonzero(shares)
    return iter(np.array_split(used, max(1, len(used) * k // _DISTANCES_AT_ONCE)))


def _farthest(rows: Indices, ways: NDArray[np.float64]) -> tuple[Indices, NDArray[np.float64]]:
    """Of k points each the last one, with the way to it: shapes (n, 1), (n, 1, d)."""
    last = np.einsum("nkd,nkd->nk", ways, ways).argmax(axis=1)[:, None]
    return np.take_along_axis(rows, last, 1), np.take_along_axis(ways, last[:, :, None], 1)

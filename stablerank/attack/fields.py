"""Gradients through functions on grids: the pixels of images, and the distance to measure.

Sublevel sets change at vertices, so a birth or a death is the function's value at one of them
(``sublevel_vertices``), and its gradient is 1 there and 0 elsewhere. For images that is all. The
distance to measure f = ((d_1^q + … + d_k^q)/k)^{1/q} at a vertex has itself the gradient

    ∂f/∂x_i = d_i^{q−1} / (k f^{q−1}) · u_i

with respect to the k nearest points x_i, u_i the unit vector from the vertex to x_i (on the torus
along the shortest way). Exact away from ties: of values, of distances, and of f with its cap.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stablerank.attack.generators import Bars, Indices, add_by_point, canonical_rows
from stablerank.diagrams.cubical import CubicalPersistence, sublevel_vertices
from stablerank.diagrams.distance_to_measure import DistanceToMeasurePersistence
from stablerank.diagrams.workers import map_chunks

Shape = tuple[int, ...]


def is_on_a_grid(filtration: Any) -> bool:
    """Whether :func:`bars_on_a_grid` knows the filtration."""
    return isinstance(filtration, (CubicalPersistence, DistanceToMeasurePersistence))


def bars_on_a_grid(
    filtration: CubicalPersistence | DistanceToMeasurePersistence,
    points: Tensor,
    offsets: Indices,
    shapes: Sequence[Shape] | None,
) -> Bars:
    """The bars of each cloud or image, as :func:`~stablerank.attack.gradients.bars_with_gradients`.

    Parameters
    ----------
    filtration : CubicalPersistence or DistanceToMeasurePersistence
        Fitted, if it is the latter.
    points : Tensor of shape (n_points, d) or (n_pixels, 1), float64
        All clouds or images, one after the other.
    offsets : ndarray of shape (n_clouds + 1,), int64
    shapes : sequence of tuple of int
        The shape of each image; not looked at for clouds.

    Raises
    ------
    ValueError
        If there are images without shapes.
    """
    n_clouds = len(offsets) - 1
    if isinstance(filtration, DistanceToMeasurePersistence):
        shape = (int(filtration.resolution),) * points.shape[1]
        periodic: tuple[bool, ...] = (bool(filtration.periodic),) * len(shape)
        values = _DistanceToMeasure.apply(points, filtration, offsets)
        return _sublevel_bars(filtration, values, [shape] * n_clouds, periodic)
    if shapes is None:
        raise ValueError("shapes=None: expected the shape of each image.")
    periodic = tuple(filtration.periodic or (False,) * len(shapes[0]))
    return _sublevel_bars(filtration, points[:, 0], shapes, periodic)


def _sublevel_bars(
    filtration: CubicalPersistence | DistanceToMeasurePersistence,
    values: Tensor,
    shapes: Sequence[Shape],
    periodic: Sequence[bool],
) -> Bars:
    """Bars of functions that stand one after the other, flat."""
    flat = values.detach().numpy()
    starts = np.cumsum([0, *map(math.prod, shapes)], dtype=np.int64)
    functions = [
        part.reshape(shape)
        for part, shape in zip(np.split(flat, starts[1:-1]), shapes, strict=True)
    ]
    dimensions = sorted(int(k) for k in filtration.homology_dimensions)
    found: list[dict[int, Indices]] = map_chunks(
        functools.partial(_vertices_of_all, periodic=periodic, dimensions=dimensions),
        functions,
        n_jobs=filtration.n_jobs,
        prefer="threads",
        description="persistence diagrams",
    )
    bars = {}
    for k in dimensions:
        owners = np.repeat(np.arange(len(shapes)), [len(vertices[k]) for vertices in found])
        ends = np.concatenate([vertices[k] for vertices in found]) + starts[owners, None]
        rows = canonical_rows(owners, flat[ends[:, 0]], flat[ends[:, 1]], len(shapes))
        bars[k] = (_gather(values, ends[:, 0], rows), _gather(values, ends[:, 1], rows))
    return bars


def _vertices_of_all(
    functions: Sequence[NDArray[np.float64]], periodic: Sequence[bool], dimensions: Sequence[int]
) -> list[dict[int, Indices]]:
    return [sublevel_vertices(function, periodic, dimensions) for function in functions]


def _gather(values: Tensor, vertices: Indices, rows: Indices) -> Tensor:
    """The values at the vertices of bars, in the order of `rows`; 0 where there is no bar."""
    kept = rows >= 0
    # where there are no bars at all the gradient is 0, but there is one
    chosen = values[torch.from_numpy(vertices[rows[kept]])]
    padded = torch.zeros(rows.shape, dtype=values.dtype)
    return padded.masked_scatter(torch.from_numpy(kept), chosen)


class _DistanceToMeasure(torch.autograd.Function):
    """The fields of all clouds, flat; backwards, into the points nearest to vertices that count."""

    @staticmethod
    def forward(
        ctx: Any, points: Tensor, filtration: DistanceToMeasurePersistence, offsets: Indices
    ) -> Tensor:
        values = filtration.field(np.split(points.detach().numpy(), offsets[1:-1])).reshape(-1)
        ctx.save_for_backward(points)
        ctx.filtration, ctx.offsets, ctx.values = filtration, offsets, values
        return torch.from_numpy(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (points,) = ctx.saved_tensors
        filtration, array, given = ctx.filtration, points.detach().numpy(), gradients[0].numpy()
        moves = given != 0
        if filtration.cap is not None:
            moves &= ctx.values < filtration.cap
        used = np.flatnonzero(moves)
        owners, vertices = np.divmod(used, len(given) // (len(ctx.offsets) - 1))
        clouds = np.split(array, ctx.offsets[1:-1])
        grid = filtration._grid(filtration.box_)
        nearest, ways = grid.nearest(clouds, owners, vertices, filtration.k)
        parts = power_mean_gradients(ways, filtration.q) * given[used][:, None, None]
        return torch.from_numpy(add_by_point(parts, nearest, len(array))), None, None


def power_mean_gradients(ways: NDArray[np.float64], q: int) -> NDArray[np.float64]:
    """The gradient of the mean, or root mean square, of distances with respect to their far ends.

    Parameters
    ----------
    ways : ndarray of shape (n, k, d), float64
        From each of n places to k points.
    q : {1, 2}
        1: the mean of the distances; 2: the root of the mean of their squares.

    Returns
    -------
    ndarray of shape (n, k, d)
        Without unit; 0 for a distance that is 0 and has no gradient.

    Examples
    --------
    A point 5 away, and one at the place itself: the mean grows half as fast as the 5.

    >>> power_mean_gradients(np.array([[[3.0, 4.0], [0.0, 0.0]]]), q=1)
    array([[[0.3, 0.4],
            [0. , 0. ]]])
    """
    k = ways.shape[1]
    squares = np.einsum("nkd,nkd->nk", ways, ways)
    # with q = 2, d_i / f · u_i is the way itself over f
    sizes = np.sqrt(squares.mean(axis=1, keepdims=True) if q == 2 else squares)
    divisors = k * np.where(sizes > 0, sizes, np.inf)
    gradients: NDArray[np.float64] = ways / divisors[:, :, None]
    return gradients

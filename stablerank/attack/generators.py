"""Bars with the simplices that begin and end them, of many clouds on flat arrays.

Every value of an alpha or Rips filtration at which homology changes is, away from ties, the size of
one simplex: the circumradius of a critical simplex (alpha), the length of an edge (Rips). Which one
is what this file answers; ``gradients.py`` differentiates its size.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gudhi
import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from torch import Tensor

from stablerank.diagrams.alpha import AlphaPersistence
from stablerank.diagrams.clouds import Cloud, power_of_two_scale
from stablerank.diagrams.planar import PlanarAlphaBatch, planar_alpha
from stablerank.diagrams.rips import RipsPersistence

Indices = NDArray[np.int64]
Bars = dict[int, tuple[Tensor, Tensor]]
"""For each homology dimension births and deaths, each of shape (n_clouds, n_bars)."""

_CHUNKS_PER_WORKER = 4


@dataclass(frozen=True)
class GeneratedBars:
    """The bars of one homology dimension k of a batch of clouds, in no particular order.

    Attributes
    ----------
    clouds : ndarray of shape (n_bars,), int64
        Which cloud each bar belongs to.
    births, deaths : ndarray of shape (n_bars,), float64
        The very numbers that the filtration's ``transform`` returns.
    birth_simplices, death_simplices : ndarray of shape (n_bars, n_vertices), int64
        Rows of the points of all clouds, one cloud after the other. In H0, where births are 0,
        `birth_simplices` has no columns.
    per_circumradius : float
        A value is that many circumradii of its simplex: 1 for alpha; 2 for Rips, since the
        circumradius of an edge is half its length.
    """

    clouds: Indices
    births: NDArray[np.float64]
    deaths: NDArray[np.float64]
    birth_simplices: Indices
    death_simplices: Indices
    per_circumradius: float


def has_generators(filtration: Any) -> bool:
    """Whether :func:`generated_bars` knows the filtration."""
    if isinstance(filtration, RipsPersistence):
        return filtration.metric == "euclidean" and filtration.max_edge_length is None
    return isinstance(filtration, AlphaPersistence)


def generated_bars(
    filtration: AlphaPersistence | RipsPersistence,
    points: NDArray[np.float64],
    offsets: Indices,
) -> dict[int, GeneratedBars]:
    """The bars of each cloud with their simplices.

    Parameters
    ----------
    filtration : AlphaPersistence or RipsPersistence
        Its engine and precision are respected; workers are those of its `n_jobs`.
    points : ndarray of shape (n_points, d), float64
        All clouds, one after the other; finite.
    offsets : ndarray of shape (n_clouds + 1,), int64
        Cloud i is ``points[offsets[i]:offsets[i + 1]]``, and not empty.

    Returns
    -------
    dict of int to GeneratedBars
        For each homology dimension of the filtration. Bars of length zero may be among them.

    Notes
    -----
    In the plane one call of the kernel answers for all clouds. In space, and where the kernel gave
    up, GUDHI pairs the simplices of the whole alpha complex. Ripser keeps no generators; but its
    values are entries of the distance matrix, bit for bit, so the edge is found by its length.
    """
    dimensions = sorted(int(k) for k in filtration.homology_dimensions)
    clouds = np.arange(len(offsets) - 1)
    if isinstance(filtration, RipsPersistence):
        return _cloud_by_cloud(filtration, _rips_bars, dimensions, points, offsets, clouds)
    if not filtration._in_the_plane(points.shape[1]):
        return _cloud_by_cloud(filtration, _gudhi_bars, dimensions, points, offsets, clouds)
    parts, given_up = _planar_bars(filtration, points, offsets)
    if given_up.size:
        parts.append(
            _cloud_by_cloud(filtration, _gudhi_bars, dimensions, points, offsets, given_up)
        )
    return {k: _joined([part[k] for part in parts]) for k in dimensions}


def _planar_bars(
    filtration: AlphaPersistence, points: NDArray[np.float64], offsets: Indices
) -> tuple[list[dict[int, GeneratedBars]], Indices]:
    """What the kernel answers, in runs of clouds for each worker, and the clouds it gave up."""
    n_clouds = len(offsets) - 1
    workers = min(effective_n_jobs(filtration.n_jobs), n_clouds)
    n_runs = min(n_clouds, 1 if workers == 1 else workers * _CHUNKS_PER_WORKER)
    ends = np.linspace(0, n_clouds, n_runs + 1).astype(np.int64)
    runs = list(itertools.pairwise(ends.tolist()))
    batches: list[PlanarAlphaBatch] = Parallel(n_jobs=workers, prefer="threads")(
        delayed(planar_alpha)(points[offsets[a] : offsets[b]], offsets[a : b + 1] - offsets[a])
        for a, b in runs
    )
    parts, given_up = [], []
    for (first, stop), batch in zip(runs, batches, strict=True):
        starts = offsets[first:stop]
        parts.append({0: _planar_h0(batch, first, starts), 1: _planar_h1(batch, first, starts)})
        given_up.append(first + np.flatnonzero(batch.gave_up))
    return parts, np.concatenate(given_up)


def _planar_h0(batch: PlanarAlphaBatch, first: int, starts: Indices) -> GeneratedBars:
    clouds = np.repeat(np.arange(len(starts)), np.diff(batch.h0_offsets))
    return GeneratedBars(
        clouds + first,
        np.zeros_like(batch.h0_deaths),
        batch.h0_deaths,
        np.empty((len(clouds), 0), dtype=np.int64),
        batch.h0_edges + starts[clouds, None],
        1.0,
    )


def _planar_h1(batch: PlanarAlphaBatch, first: int, starts: Indices) -> GeneratedBars:
    clouds = np.repeat(np.arange(len(starts)), np.diff(batch.h1_offsets))
    return GeneratedBars(
        clouds + first,
        batch.h1_births,
        batch.h1_deaths,
        batch.h1_edges + starts[clouds, None],
        batch.h1_triangles + starts[clouds, None],
        1.0,
    )


_OneCloud = Callable[[Any, Cloud, Sequence[int]], dict[int, GeneratedBars]]


def _cloud_by_cloud(
    filtration: AlphaPersistence | RipsPersistence,
    bars_of: _OneCloud,
    dimensions: Sequence[int],
    points: NDArray[np.float64],
    offsets: Indices,
    clouds: Indices,
) -> dict[int, GeneratedBars]:
    each = Parallel(n_jobs=filtration.n_jobs, prefer="threads")(
        delayed(bars_of)(filtration, points[offsets[i] : offsets[i + 1]], dimensions)
        for i in clouds
    )
    return {
        k: _joined([_moved(bars[k], i, offsets[i]) for i, bars in zip(clouds, each, strict=True)])
        for k in dimensions
    }


def _gudhi_bars(
    filtration: AlphaPersistence, cloud: Cloud, dimensions: Sequence[int]
) -> dict[int, GeneratedBars]:
    pairs: list[tuple[list[int], list[int]]] = []
    scale = power_of_two_scale(cloud)
    if len(cloud) > 1:
        complex_ = gudhi.AlphaComplex(points=cloud * scale, precision=filtration.precision)
        tree = complex_.create_simplex_tree(output_squared_values=False)
        tree.compute_persistence()
        pairs = [(a, b) for a, b in tree.persistence_pairs() if b]  # without what never dies
    bars = {}
    for k in dimensions:
        own = [(a, b) for a, b in pairs if len(a) == k + 1]
        values = np.array([[tree.filtration(a), tree.filtration(b)] for a, b in own])
        values = values.reshape(-1, 2) / scale
        begin = np.array([a for a, _ in own], dtype=np.int64).reshape(-1, k + 1)
        end = np.array([b for _, b in own], dtype=np.int64).reshape(-1, k + 2)
        bars[k] = _of_one_cloud(values, begin[:, : 0 if k == 0 else None], end, 1.0)
    return bars


def _rips_bars(
    filtration: RipsPersistence, cloud: Cloud, dimensions: Sequence[int]
) -> dict[int, GeneratedBars]:
    diagrams = filtration._diagrams([cloud])[0]
    scale = power_of_two_scale(cloud)
    distances = pdist(cloud * scale) / scale  # the same bits: the scale is a power of two
    order = np.argsort(distances)
    sorted_distances = distances[order]
    edges = np.column_stack(np.triu_indices(len(cloud), 1)).astype(np.int64)

    def of_length(values: NDArray[np.float64]) -> Indices:
        return edges[order[np.searchsorted(sorted_distances, values)]]

    bars = {}
    for k in dimensions:
        finite = diagrams[k][np.isfinite(diagrams[k]).all(axis=1)]
        begin = of_length(finite[:, 0]) if k > 0 else np.empty((len(finite), 0), dtype=np.int64)
        bars[k] = _of_one_cloud(finite, begin, of_length(finite[:, 1]), 2.0)
    return bars


def _of_one_cloud(
    values: NDArray[np.float64], begin: Indices, end: Indices, per_circumradius: float
) -> GeneratedBars:
    clouds = np.zeros(len(values), dtype=np.int64)
    return GeneratedBars(clouds, values[:, 0], values[:, 1], begin, end, per_circumradius)


def _moved(bars: GeneratedBars, cloud: int, first_point: int) -> GeneratedBars:
    """The bars as those of a cloud whose points begin at `first_point`."""
    return GeneratedBars(
        bars.clouds + cloud,
        bars.births,
        bars.deaths,
        bars.birth_simplices + first_point,
        bars.death_simplices + first_point,
        bars.per_circumradius,
    )


def _joined(parts: Sequence[GeneratedBars]) -> GeneratedBars:
    if len(parts) == 1:
        return parts[0]
    return GeneratedBars(
        np.concatenate([part.clouds for part in parts]),
        np.concatenate([part.births for part in parts]),
        np.concatenate([part.deaths for part in parts]),
        np.concatenate([part.birth_simplices for part in parts]),
        np.concatenate([part.death_simplices for part in parts]),
        parts[0].per_circumradius,
    )


def canonical_rows(
    clouds: Indices, births: NDArray[np.float64], deaths: NDArray[np.float64], n_clouds: int
) -> Indices:
    """The bars of each cloud as DiagramBatch orders them: longest first, without those of length 0.

    Parameters
    ----------
    clouds : ndarray of shape (n_bars,), int64
        Which cloud each bar belongs to.
    births, deaths : ndarray of shape (n_bars,), float64
    n_clouds : int

    Returns
    -------
    ndarray of shape (n_clouds, width), int64
        Indices of bars, padded with −1.
    """
    lengths = deaths - births
    kept = np.flatnonzero(lengths > 0)
    if (clouds[1:] < clouds[:-1]).any():  # the kernel's come first, then GUDHI's
        kept = kept[np.argsort(clouds[kept], kind="stable")]
    counts = np.bincount(clouds[kept], minlength=n_clouds)
    slots = np.arange(counts.max(initial=0)) < counts[:, None]
    rows = np.full(slots.shape, -1, dtype=np.int64)
    rows[slots] = kept
    negative = np.zeros(slots.shape)
    negative[slots] = -lengths[kept]
    order = np.argsort(negative, axis=1)
    rows = np.take_along_axis(rows, order, axis=1)
    negative = np.take_along_axis(negative, order, axis=1)
    # bars of one length stand by birth, then death: rare, and a sort of three keys takes long
    for i in np.flatnonzero(((negative[:, 1:] == negative[:, :-1]) & (negative[:, 1:] < 0)).any(1)):
        own = rows[i, : counts[i]]
        keys = (deaths[own], births[own], -lengths[own])
        rows[i, : counts[i]] = own[np.lexsort(keys)]
    return rows


def take_rows(values: NDArray[np.float64], rows: Indices) -> NDArray[np.float64]:
    """`values` by their indices, 0 for index −1."""
    if len(values) == 0:
        return np.zeros(rows.shape)
    return np.where(rows >= 0, values[rows], 0.0)


def add_by_point(parts: NDArray[np.float64], points: Indices, n_points: int) -> NDArray[np.float64]:
    """Sum vectors of shape (..., d) by the point that each belongs to, shape (n_points, d)."""
    flat, d = points.reshape(-1), parts.shape[-1]
    columns = parts.reshape(-1, d).T
    return np.column_stack([np.bincount(flat, weights=w, minlength=n_points) for w in columns])

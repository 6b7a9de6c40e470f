"""Vectors of clouds without persistence: distances from a grid, and between neighbours (D5, D6)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from stablerank.checker import grids
from stablerank.checker.claims import ClaimError, NotChecked
from stablerank.checker.model_file import Stage
from stablerank.checker.rounding import Array, U, inverse_root_up

KINDS = ("distance field", "sorted neighbour distances")


def constants(stage: Stage) -> dict[str, list[float]]:
    """From each metric in which points move how far each coordinate does, rounded up.

    Notes
    -----
    Any distance from a vertex moves by no more than the point, so the k-th smallest moves by ε, and
    power means of k of them by ε or, in Frobenius norm, by ε/√k (D5, D6). The nearest point alone
    is a function of the set, with d_H the sup norm between such functions. Between two points it is
    2ε, or √2 ε in Frobenius norm, and half of it counts. Sorting and means do not add to it.
    """
    ks = _numbers(stage)
    each = int(stage.fitted["n_features_out_"]) // len(ks)
    ones = [1.0] * (each * len(ks))
    if stage.kind == "sorted neighbour distances":
        return {"per-point": ones, "frobenius": [inverse_root_up(2)] * len(ones)}
    found = {"per-point": ones}
    if stage.parameters["kind"] == "measure":
        found["frobenius"] = [inverse_root_up(k) for k in ks for _ in range(each)]
    if max(ks) == 1:
        found["hausdorff"] = ones
    return found


def values(stage: Stage, cloud: Array) -> tuple[Array, float]:
    """The vector of a cloud, and how far each coordinate is off at most.

    Raises
    ------
    ClaimError
        If the cloud is none, or too small.
    """
    ks = _numbers(stage)
    if cloud.ndim != 2 or not cloud.size or not np.isfinite(cloud).all():
        raise ClaimError("cloud", "it is no cloud of finite points")
    if cloud.shape[1] != stage.fitted.get("dimension_"):
        raise ClaimError("cloud", f"it lies in R^{cloud.shape[1]}, where the model does not")
    make = _neighbours if stage.kind == "sorted neighbour distances" else _on_grid
    parts, error = make(stage, cloud, ks)
    largest = max(float(part.max()) for part in parts)
    return np.concatenate(parts), error + 4 * U * largest


def changed(stage: Stage, cloud: Array, n_changes: int, threat: str) -> tuple[Array, Array, float]:
    """Between what the vector stays when points are changed, and how far both ends are off (D5).

    Raises
    ------
    NotChecked
        For half distances between neighbours, of which a new point makes any.
    ClaimError
        If so few points are left that nothing bounds it.

    Notes
    -----
    r changes shift the sorted distances from a vertex by at most r ranks; points that are only
    deleted shift them to one side, and by no more ranks than there are points beyond the largest
    k. Sorting and means over blocks of ranks keep lower ends below and upper ends above.
    """
    if stage.kind != "distance field":
        raise NotChecked("threat", f"what changed points do to a {stage.kind!r} is not known here")
    ks, grid, parameters = _numbers(stage), grids.read_grid(stage), stage.parameters
    if len(cloud) < max(ks) or parameters["q"] not in (1, 2):
        raise ClaimError("cloud", f"it has fewer points than {max(ks)}, or q is none of 1 and 2")
    back = n_changes if threat == "points" else 0
    on = n_changes if threat == "points" else min(n_changes, len(cloud) - max(ks))
    ends: list[list[Array]] = [[], []]
    for k in ks:
        if parameters["kind"] == "measure":
            windows, mass, q = [(0, max(k - back, 0)), (on, on + k)], k, parameters["q"]
        else:
            windows, mass, q = (
                [(max(k - 1 - back, 0), max(k - back, 0)), (k - 1 + on, k + on)],
                1,
                2,
            )
        for own, field in zip(ends, grid.power_means(cloud, windows, mass, q), strict=True):
            flat = field.ravel()
            sort = parameters["values"] == "sorted"
            own.append(_sorted_blocks(flat, parameters["blocks"]) if sort else flat)
    lower, upper = (np.concatenate(own) for own in ends)
    if not np.isfinite(upper).all():
        raise ClaimError("radius", "so few points are left that nothing bounds their field")
    n_averaged = max(ks) if parameters["kind"] == "measure" else 1
    return lower, upper, grid.error(cloud, n_averaged) + 4 * U * float(upper.max())


def fewest_points(stage: Stage) -> int:
    """Clouds of fewer points have no vector."""
    if stage.kind == "distance field":
        return max(_numbers(stage))
    return max(max(_numbers(stage)) + 1, int(stage.parameters["blocks"]))


def _numbers(stage: Stage) -> list[int]:
    k = stage.parameters["k"]
    ks = k if isinstance(k, list) else [k]
    if not ks or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in ks):
        raise ClaimError("stage", f"k={k!r} are no numbers of points")
    return list(ks)


def _on_grid(stage: Stage, cloud: Array, ks: list[int]) -> tuple[list[Array], float]:
    grid, parameters = grids.read_grid(stage), stage.parameters
    if len(cloud) < max(ks) or parameters["q"] not in (1, 2):
        raise ClaimError("cloud", f"it has fewer points than {max(ks)}, or q is none of 1 and 2")
    if parameters["kind"] == "measure":
        found = [grid.power_means(cloud, [(0, k)], k, parameters["q"])[0] for k in ks]
        error = grid.error(cloud, max(ks))
    else:
        found = grid.power_means(cloud, [(k - 1, k) for k in ks], 1, 2)
        error = grid.error(cloud, 1)
    flat = [field.ravel() for field in found]
    if parameters["values"] == "sorted":
        flat = [_sorted_blocks(field, parameters["blocks"]) for field in flat]
    return flat, error


def _neighbours(stage: Stage, cloud: Array, ks: list[int]) -> tuple[list[Array], float]:
    n, blocks = len(cloud), stage.parameters["blocks"]
    if n < fewest_points(stage):
        raise ClaimError("cloud", "it has too few points for so many neighbours, or blocks")
    distances = cdist(cloud, cloud)
    np.fill_diagonal(distances, -1.0)  # the point itself comes first
    ordered = np.sort(distances, axis=1)
    found = [_sorted_blocks(ordered[:, k] / 2, blocks) for k in ks]
    return found, (cloud.shape[1] + 8) * U * float(distances.max()) + 1e-140


def _sorted_blocks(numbers: Array, blocks: Any) -> Array:
    """From the largest to the smallest, averaged over blocks of ranks of about equal size."""
    ordered = np.sort(numbers)[::-1]
    if blocks is None:
        return ordered
    ends = [j * len(ordered) // blocks for j in range(blocks + 1)]
    parts = [ordered[start:stop].tolist() for start, stop in itertools.pairwise(ends)]
    return np.array([math.fsum(part) / len(part) for part in parts])

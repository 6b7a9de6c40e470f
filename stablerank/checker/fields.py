"""Vectors of clouds without persistence: distances from a grid, and between neighbours (D5, D6)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from stablerank.checker import grids
from stablerank.checker.claims import ClaimError
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

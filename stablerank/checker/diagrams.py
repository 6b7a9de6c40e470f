"""Diagrams by GUDHI's exact mode, and where an adversary of some size can move their bars.

The facts are D1 to D3 and D6: how far births and deaths move when the points do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import gudhi
import numpy as np

from stablerank.checker.claims import ClaimError
from stablerank.checker.model_file import Stage
from stablerank.checker.rounding import Array, U, down, root_up, times_up, up

_RELATIVE = (
    16 * U
)  # GUDHI's root of a rounded rational is within 3; a Euclidean length within d + 4
_UNDERFLOW = 1e-140  # squares of differences below 1e-150 are lost


@dataclass(frozen=True, eq=False)
class Bars:
    """The bars of one homology dimension, each birth and death in an interval.

    Attributes
    ----------
    births, deaths : ndarray of shape (2, n_bars)
        Lower and upper ends. Bars with ends that overlap may vanish.
    longest_new : float
        No bar that may appear is longer.
    """

    births: Array
    deaths: Array
    longest_new: float


def constant(stage: Stage, dimension: int, d: int, threat: str) -> float:
    """How far births and deaths move when the adversary moves by 1, rounded up (D1 to D3, D6).

    Raises
    ------
    ClaimError
        If no constant is known here.
    """
    edges = {"alpha": 1.0, "rips": 2.0}.get(stage.kind)
    if edges is None:
        raise ClaimError("stage", f"{stage.kind!r} cannot be checked: no constant is known here")
    if threat in ("per_point", "hausdorff"):
        return edges
    if threat == "per_coordinate":
        return float(times_up(edges, root_up(float(d))))
    if threat == "frobenius":
        return root_up(0.5) if stage.kind == "alpha" else root_up(2.0)
    raise ClaimError("threat", f"threat={threat!r} cannot be checked: no constant is known here")


def diagrams(stage: Stage, cloud: Array) -> dict[int, Array]:
    """The finite bars of a cloud, shape (n_bars, 2), in each homology dimension.

    Raises
    ------
    ClaimError
        If the filtration cannot be recomputed.
    """
    dimensions = [int(k) for k in stage.parameters["homology_dimensions"]]
    if cloud.ndim != 2 or len(cloud) == 0 or not np.isfinite(cloud).all():
        raise ClaimError("cloud", "it is no cloud of finite points")
    if cloud.shape[1] != stage.fitted.get("dimension_"):
        raise ClaimError("cloud", f"it lies in R^{cloud.shape[1]}, where the model does not")
    if len(cloud) == 1:
        return {k: np.empty((0, 2)) for k in dimensions}
    largest = float(np.abs(cloud).max())
    if largest > 0 and not 2.0**-300 < largest < 2.0**300:
        raise ClaimError("cloud", "cannot be checked: its squares leave the floating point numbers")
    if stage.kind == "alpha":
        if stage.parameters["precision"] != "exact" or cloud.shape[1] not in (2, 3):
            raise ClaimError("stage", "cannot be checked: only exact alpha complexes in R² and R³")
        tree = gudhi.AlphaComplex(points=cloud, precision="exact").create_simplex_tree(
            output_squared_values=False
        )
    elif stage.kind == "rips" and stage.parameters["metric"] == "euclidean":
        differences = cloud[:, None] - cloud[None]
        distances = np.sqrt((differences**2).sum(axis=-1))
        tree = gudhi.RipsComplex(distance_matrix=distances).create_simplex_tree(
            max_dimension=max(dimensions) + 1
        )
    else:
        raise ClaimError("stage", f"{stage.kind!r} cannot be checked: it is not recomputed here")
    tree.compute_persistence(persistence_dim_max=True)
    return {k: _finite(tree.persistence_intervals_in_dimension(k), k) for k in dimensions}


def moved(bars: Array, dimension: int, reach: float, cloud: Array) -> Bars:
    """The intervals of the exact births and deaths of every cloud that the adversary can make.

    H0 by ordered deaths (D3): births are 0 and stay. Otherwise d_B is at most `reach`. Bars that
    GUDHI did not see, since their ends were rounded to one number, are as if they appeared.
    """
    reach = float(up(reach + _UNDERFLOW))
    relative = (cloud.shape[1] + 16) * U  # a root of a rational is within 3 u, a length d + 4
    rounding = relative * np.abs(bars)
    births = np.stack([down(bars[:, 0] - rounding[:, 0]), up(bars[:, 0] + rounding[:, 0])])
    deaths = np.stack([down(bars[:, 1] - rounding[:, 1]), up(bars[:, 1] + rounding[:, 1])])
    births[0] = np.maximum(0.0, down(births[0] - reach))
    births[1] = up(births[1] + reach)
    deaths[0] = np.maximum(0.0, down(deaths[0] - reach))
    deaths[1] = up(deaths[1] + reach)
    if dimension == 0:
        births = np.zeros_like(births)
        return Bars(births, deaths, float(up(reach)))
    widths = (cloud.max(axis=0) - cloud.min(axis=0)) * (1 + 4 * U)
    unseen = 4 * relative * float(np.linalg.norm(widths)) * 1.01
    return Bars(births, deaths, float(up(up(2 * reach) + unseen)))


def _finite(bars: Array, dimension: int) -> Array:
    bars = np.asarray(bars, dtype=np.float64).reshape(-1, 2)
    infinite = ~np.isfinite(bars).all(axis=1)
    if int(infinite.sum()) != (1 if dimension == 0 else 0) or (bars[infinite, 1] != math.inf).any():
        raise ClaimError("cloud", "cannot be checked: its persistence is not finite")
    return bars[~infinite]

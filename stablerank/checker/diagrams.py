"""Diagrams by GUDHI, and where an adversary of some size can move their bars (D1 to D4, R5).

Alpha and Rips of points, flag complexes of dissimilarities, sublevel sets of images. The distance
to measure is in ``grids.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import gudhi
import numpy as np

from stablerank.checker import grids
from stablerank.checker.claims import ClaimError, NotChecked
from stablerank.checker.linear_images import inner_of
from stablerank.checker.model_file import Stage
from stablerank.checker.rounding import Array, U, down, up

_UNDERFLOW = 1e-140  # squares of differences below 1e-150 are lost


@dataclass(frozen=True, eq=False)
class Diagram:
    """The bars of one homology dimension as computed, and how far they may be from the exact ones.

    Attributes
    ----------
    bars : ndarray of shape (n_bars, 2)
        Births and deaths.
    error : ndarray of shape (n_bars, 2)
        How far each of them is off at most.
    unseen : float
        No bar of the exact diagram that is missing here is longer.
    ordered : bool
        Whether births are 0 and deaths move in order (D3), or only d_B is known.
    lowest : float
        Nothing is born before.
    """

    bars: Array
    error: Array
    unseen: float
    ordered: bool
    lowest: float

    def blurred(self, by: float) -> Diagram:
        """The same bars, when what is computed may be farther from the exact ones by that much."""
        return replace(self, error=up(self.error + by), unseen=float(up(self.unseen + 2 * by)))

    def later(self, delay: float) -> Diagram:
        """The same bars, all of them later."""
        rounding = 2 * U * (np.abs(self.bars) + delay)
        return replace(self, bars=self.bars + delay, error=up(self.error + rounding))


@dataclass(frozen=True, eq=False)
class Bars:
    """All diagrams in a ball: each birth and death in an interval, and what may appear.

    Attributes
    ----------
    births, deaths : ndarray of shape (2, n_bars)
        Lower and upper ends. Bars with ends that overlap may vanish.
    longest_new : float
        No bar that may appear is longer.
    births_move : bool
        Whether bars may appear at any height from `lowest` on; else all births are 0.
    lowest : float
        Nothing is born before.
    """

    births: Array
    deaths: Array
    longest_new: float
    births_move: bool
    lowest: float


def moved(diagram: Diagram, reach: float) -> Bars:
    """The exact bars of all diagrams whose bars are at most `reach` from the exact ones of this.

    H0 by ordered deaths (D3): births are 0 and stay. Otherwise d_B is at most `reach`. Bars that
    GUDHI did not see, since their ends were rounded to one number, are as if they appeared.
    """
    reach = float(up(reach + _UNDERFLOW))
    ends = [
        np.maximum(diagram.lowest, down(down(diagram.bars - diagram.error) - reach)),
        np.maximum(diagram.lowest, up(up(diagram.bars + diagram.error) + reach)),
    ]
    births, deaths = (np.stack([end[:, i] for end in ends]) for i in (0, 1))
    if diagram.ordered:
        longest = float(up(reach + diagram.unseen))
        return Bars(np.zeros_like(births), deaths, longest, births_move=False, lowest=0.0)
    longest = float(up(up(2 * reach) + diagram.unseen))
    return Bars(births, deaths, longest, births_move=True, lowest=diagram.lowest)


def diagrams(stage: Stage, item: Array) -> dict[int, Diagram]:
    """The finite bars of a cloud, an image or a matrix, in each homology dimension.

    Raises
    ------
    ClaimError
        If it is none.
    NotChecked
        If the filtration cannot be recomputed.
    """
    dimensions = diagram_dimensions(stage)
    if not item.size or not np.isfinite(item).all():
        raise ClaimError("cloud", "it is empty, or not finite")
    if stage.kind == "cubical":
        periodic = stage.parameters["periodic"] or [False] * item.ndim
        if item.ndim != stage.fitted["dimension_"] or len(periodic) != item.ndim:
            raise ClaimError("cloud", f"it has {item.ndim} axes, and the model's images others")
        return of_field(item, periodic, dimensions, 0.0, lowest=-math.inf)
    if stage.kind == "rips" and stage.parameters.get("max_edge_length") is not None:
        raise NotChecked("stage", "Rips persistence that is clipped is not known here")
    if item.ndim != 2:
        raise ClaimError("cloud", "it is no cloud of points, and no matrix")
    if stage.kind == "rips" and stage.parameters["metric"] == "precomputed":
        return _flag(_dissimilarities(item), dimensions, 0.0, 0.0)
    _check_cloud(stage, item)
    if stage.kind == "distance to measure":
        grid = grids.read_grid(stage)
        field, error = grids.field(grid, item, stage)
        return of_field(field, grid.periodic_axes, dimensions, error, lowest=0.0)
    widths = (item.max(axis=0) - item.min(axis=0)) * (1 + 4 * U)
    diameter = 1.01 * float(np.linalg.norm(widths))
    # a root of GUDHI's rounded rationals is within 3 u, a Euclidean length within d + 4
    relative = (item.shape[1] + 16) * U
    if stage.kind == "rips":
        differences = item[:, None] - item[None]
        return _flag(np.sqrt((differences**2).sum(axis=-1)), dimensions, relative, diameter)
    if stage.kind != "alpha":
        raise NotChecked("stage", f"the filtration {stage.kind!r} is not known here")
    if stage.parameters["precision"] != "exact" or item.shape[1] not in (2, 3):
        raise NotChecked("stage", "only exact alpha complexes in R² and R³ are recomputed")
    if len(item) == 1:
        return {k: _diagram(np.empty((0, 2)), k, relative, diameter) for k in dimensions}
    tree = gudhi.AlphaComplex(points=item, precision="exact").create_simplex_tree(
        output_squared_values=False
    )
    return _of_tree(tree, dimensions, relative, diameter)


def diagram_dimensions(stage: Stage) -> list[int]:
    """The homology dimensions in which a filtration has diagrams, ascending."""
    if stage.kind == "anisotropic":
        return diagram_dimensions(inner_of(stage))
    return sorted(int(k) for k in stage.parameters["homology_dimensions"])


def of_field(
    field: Array, periodic: list[bool], dimensions: list[int], error: float, lowest: float
) -> dict[int, Diagram]:
    """Sublevel sets of a function on the vertices of a grid that is right up to `error` (D4)."""
    if any(periodic):
        grid = gudhi.PeriodicCubicalComplex(
            vertices=field, periodic_dimensions=[bool(axis) for axis in periodic]
        )
    else:
        grid = gudhi.CubicalComplex(vertices=field)
    grid.compute_persistence()
    found = {}
    for k in dimensions:
        bars = np.asarray(grid.persistence_intervals_in_dimension(k), dtype=np.float64)
        bars = bars.reshape(-1, 2)
        bars = bars[np.isfinite(bars).all(axis=1)]  # how many do not die, no function changes
        found[k] = Diagram(bars, np.full_like(bars, error), 2 * error, False, lowest)
    return found


def given(item: Array, dimensions: set[int]) -> dict[int, Diagram]:
    """Diagrams that an adversary changes: rows (birth, death, homology dimension).

    Raises
    ------
    ClaimError
        If these are no diagrams.
    """
    rows = item.reshape(-1, 3) if item.size == 0 else item
    if rows.ndim != 2 or rows.shape[1] != 3 or not np.isfinite(rows).all():
        raise ClaimError("cloud", "it has no rows (birth, death, homology dimension)")
    births, deaths, homology = rows.T
    if (births > deaths).any() or (homology != np.rint(homology)).any() or (homology < 0).any():
        raise ClaimError("cloud", "a bar dies before it is born, or has no homology dimension")
    found = {}
    for k in dimensions:
        bars = rows[homology == k, :2]
        found[k] = Diagram(bars, np.zeros_like(bars), 0.0, False, -math.inf)
    return found


def _check_cloud(stage: Stage, cloud: Array) -> None:
    if cloud.shape[1] != stage.fitted.get("dimension_"):
        raise ClaimError("cloud", f"it lies in R^{cloud.shape[1]}, where the model does not")
    largest = float(np.abs(cloud).max())
    if largest > 0 and not 2.0**-300 < largest < 2.0**300:
        raise NotChecked("cloud", "its squares leave the floating point numbers")


def _dissimilarities(matrix: Array) -> Array:
    square = matrix.shape[0] == matrix.shape[1]
    if not square or (matrix != matrix.T).any() or (matrix < 0).any() or np.diagonal(matrix).any():
        raise ClaimError("cloud", "it is no symmetric matrix of dissimilarities")
    return matrix


def _flag(
    distances: Array, dimensions: list[int], relative: float, largest: float
) -> dict[int, Diagram]:
    tree = gudhi.RipsComplex(distance_matrix=distances).create_simplex_tree(
        max_dimension=max(dimensions) + 1
    )
    return _of_tree(tree, dimensions, relative, largest)


def _of_tree(
    tree: gudhi.SimplexTree, dimensions: list[int], relative: float, largest: float
) -> dict[int, Diagram]:
    tree.compute_persistence(persistence_dim_max=True)
    return {
        k: _diagram(_finite(tree.persistence_intervals_in_dimension(k), k), k, relative, largest)
        for k in dimensions
    }


def _diagram(bars: Array, dimension: int, relative: float, largest: float) -> Diagram:
    """Of values that are right up to a relative error, none of them above `largest`."""
    unseen = 0.0 if dimension == 0 else 4 * relative * largest
    return Diagram(bars, relative * np.abs(bars), unseen, dimension == 0, 0.0)


def _finite(bars: Array, dimension: int) -> Array:
    bars = np.asarray(bars, dtype=np.float64).reshape(-1, 2)
    infinite = ~np.isfinite(bars).all(axis=1)
    if int(infinite.sum()) != (1 if dimension == 0 else 0) or (bars[infinite, 1] != math.inf).any():
        raise NotChecked("cloud", "its persistence is not finite")
    return bars[~infinite]

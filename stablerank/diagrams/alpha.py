"""Alpha persistence of point clouds in the plane and in space, in radii (facts D1 and D3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import gudhi
import numpy as np
from numpy.typing import NDArray

from stablerank.diagrams.batch import Diagram, DiagramBatch
from stablerank.diagrams.canonical import bars_from_deaths
from stablerank.diagrams.clouds import (
    check_clouds,
    flatten_clouds,
    largest_distances,
    power_of_two_scale,
)
from stablerank.diagrams.filtration import UNIT_ROUNDOFF, Filtration
from stablerank.diagrams.planar import PlanarAlphaBatch, planar_alpha
from stablerank.diagrams.spanning_tree import spanning_trees
from stablerank.diagrams.tree_stability import with_deaths_in_l2
from stablerank.stability import (
    BOTTLENECK,
    FROBENIUS,
    HAUSDORFF,
    ORDERED_DEATHS,
    Bound,
    Parallel,
    Space,
    StabilityError,
)


class AlphaPersistence(Filtration):
    """Persistence diagrams of the alpha filtration, with radii as filtration values.

    The alpha complex at radius r has the homotopy type of the union of balls of radius r around
    the points, so two points at distance 4 merge at 2. Values are radii, never squared radii:
    squared values have no global Lipschitz constant.

    Parameters
    ----------
    homology_dimensions : tuple of int, default=(0, 1)
        Each below the dimension of the space.
    n_jobs : int, optional
        Number of workers, as in joblib; None is 1, -1 is all cores.
    precision : {"exact", "safe"}, default="exact"
        GUDHI's arithmetic. "safe" is several times faster and can be off by 4e-6 (relative) on
        tight clusters, so it has no certificate: `stability` raises.
    engine : {"auto", "planar", "gudhi"}, default="auto"
        "planar" is this package's own exact kernel for the plane, about twenty times faster than
        GUDHI's "safe" mode; clouds on which it gives up go to GUDHI. "auto" takes it in the plane;
        in space a minimum spanning tree if only H0 is asked for, else GUDHI. All give the same
        bars up to rounding.

    Attributes
    ----------
    dimension_ : int
        The dimension d of the space that was fitted.

    Raises
    ------
    ValueError
        For points outside R² and R³, and for every bad cloud, with its index.

    References
    ----------
    .. [1] Cohen-Steiner, Edelsbrunner, Harer (2007), "Stability of persistence diagrams",
       Discrete & Computational Geometry 37.
    .. [2] Edelsbrunner (1995), "The union of balls and its dual shape", Discrete &
       Computational Geometry 13.

    Examples
    --------
    The corners of a 3 × 4 rectangle are two 3-4-5 triangles: sides enter at half their length,
    and the diagonal closes the hole at half of 5.

    >>> rectangle = [[0, 0], [3, 0], [3, 4], [0, 4]]
    >>> diagrams = AlphaPersistence().fit_transform([rectangle])
    >>> diagrams.diagram(0, 0)[:, 1], diagrams.diagram(0, 1)
    (array([2. , 1.5, 1.5]), array([[2. , 2.5]]))
    """

    delayed_by_deletion = True

    def __init__(
        self,
        homology_dimensions: Sequence[int] = (0, 1),
        n_jobs: int | None = None,
        precision: Literal["exact", "safe"] = "exact",
        engine: Literal["auto", "planar", "gudhi"] = "auto",
    ) -> None:
        self.homology_dimensions = homology_dimensions
        self.n_jobs = n_jobs
        self.precision = precision
        self.engine = engine

    def stability(self, source: Space = HAUSDORFF) -> Parallel:
        """Bounds from the points to the diagrams, one branch a homology dimension.

        Parameters
        ----------
        source : Space, default=HAUSDORFF
            The metric in which points move: Hausdorff distance, or the Frobenius norm of the
            displacements of the same points.

        Returns
        -------
        Parallel
            H0: the k-th largest death moves by at most d_H (D3). Others: d_B <= d_H (D1). In
            Frobenius norm both constants are 1/√2 (D6).

        Raises
        ------
        StabilityError
            For other metrics, and with ``precision="safe"``.

        Notes
        -----
        D1: the distance functions of X and X′ differ by at most d_H(X, X′) in sup norm, their
        sublevel sets are unions of balls, and these have the alpha complex's homotopy type.
        D3: if d_H <= ε, every component of the union of r-balls of X meets, enlarged by ε, one
        component of the union of (r+ε)-balls of X′, and this map is onto; so at r+ε the cloud X′
        has no more components than X at r, and its k-th largest death is at most ε later.
        D6: the Čech value of a simplex is the radius R of its smallest enclosing ball, whose centre
        is Σ λ_i p_i over points p_i on its sphere, λ >= 0, Σ λ_i = 1. Along a path of the points R
        has the derivative Σ λ_i u_i · p_i′, u_i the unit vector from the centre to p_i. As Σ λ_i
        u_i = 0, every λ_i = |Σ_{j≠i} λ_j u_j| <= 1 − λ_i, so λ_i <= 1/2 and ‖λ‖₂ <= 1/√2: R moves
        by at most 1/√2 times ‖δ‖_F. So do all values of the filtration, on one complex (the
        simplex), whose persistence is therefore as near in d_B, and the deaths of H0, which are
        minimax values of edges, in order.
        """
        if self.precision != "exact":
            raise StabilityError(
                f"AlphaPersistence(precision={self.precision!r}) is not certified: its values can "
                f'be off by more than rounding. Use precision="exact".'
            )
        if source == FROBENIUS:
            constant = math.nextafter(math.sqrt(0.5), math.inf)
            theorem = "D6: radii of smallest enclosing balls"
            ordered = Bound(source, ORDERED_DEATHS, constant, theorem, "alpha")
            bottleneck = Bound(source, BOTTLENECK, constant, theorem, "alpha")
        elif source == HAUSDORFF:
            ordered = Bound(source, ORDERED_DEATHS, 1.0, "D3: components map onto", "alpha")
            theorem = "D1: Cohen-Steiner, Edelsbrunner, Harer 2007; nerve theorem"
            bottleneck = Bound(source, BOTTLENECK, 1.0, theorem, "alpha")
        else:
            raise StabilityError(
                f"AlphaPersistence knows constants from {HAUSDORFF} and {FROBENIUS}, not from "
                f"{source}."
            )
        return Parallel(
            {f"H{k}": ordered if k == 0 else bottleneck for k in self._sorted_dimensions()}
        )

    def l2_stability(self, source: Space = FROBENIUS) -> Parallel:
        """As :meth:`stability`, but the deaths of H0 all together, in ℓ2 (D7).

        They are half the edge lengths of a minimum spanning tree, and move by at most √6/2 ‖δ‖_F
        in the plane, by 2.16 ‖δ‖_F in space; see `tree_constant`. By the bound for one of them,
        n of them would move by √(n/2) ‖δ‖_F.

        Parameters
        ----------
        source : Space, default=FROBENIUS
            The metric in which points move: the Frobenius norm of their displacements.

        Returns
        -------
        Parallel

        Raises
        ------
        StabilityError
            For other metrics, without H0, with ``precision="safe"``, and before `fit`.
        """
        bounds = self.stability(source)
        return with_deaths_in_l2(bounds, source, 0.5, getattr(self, "dimension_", None))

    def relative_rounding(self) -> float:
        """A bound on the relative error of a value, by any engine.

        Notes
        -----
        In units of u = 2^-53, to first order. GUDHI's exact mode takes the root of a rounded
        rational: 3. The spanning tree in space: squared lengths are off by 5, half lengths by 3.5.
        The kernel: differences of coordinates are off by 1, squared lengths by 4,
        half lengths by 3. An acute triangle has R² = c²/4 (1 + cot² γ) with c its longest edge and
        γ its largest angle, so sin γ >= √3/2 and cot γ <= 1/√3. Scalar and cross product of the
        other two edges are off by 4 times the product of their lengths (Cauchy–Schwarz), so the
        cotangent by 4/sin γ + (4/sin γ + 1) cot γ < 8, 1 + cot² γ by less than 9 relatively, R² by
        14 and R by 8. By stability of persistence the bars of the computed values are that near
        to the exact ones. Bars of H1 with death² <= birth² (1 + 1.8e-15), shorter than 8.2 of
        their death, are dropped: that moves either end by 4.1 more. Twice the sum, 12.1, is
        charged, for the terms of higher order.
        """
        return 24 * UNIT_ROUNDOFF

    def largest_values(self, X: Any) -> NDArray[np.float64]:
        """The diameter of each cloud: a ball of that radius around a point holds all others.

        Nothing is born or dies later than there.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.

        Returns
        -------
        ndarray of shape (n_clouds,), float64
        """
        return largest_distances(check_clouds(X))

    def _check(self, X: Any, dimension: int | None) -> list[NDArray[np.float64]]:
        clouds = check_clouds(X, dimension=dimension)
        d = clouds[0].shape[1]
        if self.engine == "planar" and d != 2:
            raise ValueError(
                f'engine="planar" is for points in R^2, but X[0] lies in R^{d}: use engine="auto".'
            )
        if d not in (2, 3):
            advice = (
                "append a column of zeros" if d == 1 else "use RipsPersistence, or project first"
            )
            raise ValueError(
                f"X[0] lies in R^{d}: the alpha complex is computed in R^2 and R^3 only; {advice}."
            )
        if max(self.homology_dimensions) >= d:
            raise ValueError(
                f"homology_dimensions={self.homology_dimensions!r}: points in R^{d} have no "
                f"homology in dimension {max(self.homology_dimensions)}; ask for dimensions below "
                f"{d}."
            )
        return clouds

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.precision not in ("exact", "safe"):
            raise ValueError(f'precision={self.precision!r}: expected "exact" or "safe".')
        if self.engine not in ("auto", "planar", "gudhi"):
            raise ValueError(f'engine={self.engine!r}: expected "auto", "planar" or "gudhi".')

    def _diagrams(
        self, clouds: Sequence[NDArray[np.float64]]
    ) -> DiagramBatch | list[dict[int, Diagram]]:
        if self._in_the_plane(clouds[0].shape[1]):
            planar = planar_alpha(*flatten_clouds(clouds))
            diagrams = self._planar_diagrams(planar)
            left = np.flatnonzero(planar.gave_up).tolist()
            if not left:
                return diagrams
            others = DiagramBatch.from_diagrams([self._diagram(clouds[i]) for i in left])
            order = np.arange(len(clouds))
            order[left] = len(clouds) + np.arange(len(left))
            return DiagramBatch.concatenate([diagrams, others])[order]
        if tuple(self.homology_dimensions) == (0,) and self._may_choose():
            trees = spanning_trees(*flatten_clouds(clouds))
            bars = bars_from_deaths(trees.lengths / 2, trees.offsets)
            return DiagramBatch({0: bars}, {0: trees.offsets})
        return [self._diagram(cloud) for cloud in clouds]

    def _in_the_plane(self, dimension: int) -> bool:
        return self.engine == "planar" or (dimension == 2 and self._may_choose())

    def _may_choose(self) -> bool:
        """Whether nothing was asked for that only GUDHI has."""
        return self.engine == "auto" and self.precision == "exact"

    def _planar_diagrams(self, planar: PlanarAlphaBatch) -> DiagramBatch:
        bars, offsets = {}, {}
        if 0 in self.homology_dimensions:
            bars[0] = bars_from_deaths(planar.h0_deaths, planar.h0_offsets)
            offsets[0] = planar.h0_offsets
        if 1 in self.homology_dimensions:
            bars[1] = np.column_stack([planar.h1_births, planar.h1_deaths])
            offsets[1] = planar.h1_offsets
        return DiagramBatch(bars, offsets)

    def _diagram(self, cloud: NDArray[np.float64]) -> dict[int, Diagram]:
        if len(cloud) == 1:  # GUDHI knows no infinite bar here, and nothing else is to be said
            return {k: np.empty((0, 2)) for k in self.homology_dimensions}
        scale = power_of_two_scale(cloud)
        complex_ = gudhi.AlphaComplex(points=cloud * scale, precision=self.precision)
        tree = complex_.create_simplex_tree(output_squared_values=False)
        tree.compute_persistence()
        return {
            k: tree.persistence_intervals_in_dimension(k).reshape(-1, 2) / scale
            for k in self.homology_dimensions
        }

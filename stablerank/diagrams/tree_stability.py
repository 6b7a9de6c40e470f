"""How fast all edge lengths of a spanning tree move together: H0 in ℓ2 (fact D7)."""

from __future__ import annotations

import math
from typing import Any

from stablerank.stability import (
    FROBENIUS,
    ORDERED_DEATHS_L2,
    Bound,
    Parallel,
    Space,
    StabilityError,
    sqrt_up,
)

KISSING_NUMBERS = {1: 2, 2: 6, 3: 12, 4: 24}
"""So many unit vectors at least 60° apart are there in R^d; beyond R^4 it is mostly not known."""


def tree_constant(dimension: int) -> float:
    """How fast the sorted edge lengths of Euclidean minimum spanning trees move in ℓ2.

    Parameters
    ----------
    dimension : int
        That of the space, 1 to 4.

    Returns
    -------
    float
        c with ‖L(X) − L(X′)‖₂ <= c ‖X − X′‖_F for clouds of the same number of points, L the n − 1
        lengths in order, 0 for points that coincide: 2 on the line, √6 in the plane, and
        √(Δ + 2√(Δ − 1)) with the kissing number Δ = 12 in space and 24 in R^4. Rounded up.

    Raises
    ------
    StabilityError
        For other dimensions.

    Notes
    -----
    On the straight path from X to X′ squared distances are polynomials of the time, so their order
    changes finitely often, and between these times one tree is minimal; points that coincide
    between them move as one, and count in ‖δ‖_F as often as there are of them. There an edge from
    p to q, of direction u = (p − q)/|p − q|, has a length with the derivative u · (p′ − q′): those
    of all edges are Rδ, δ the velocities and R the rigidity matrix of the tree. For numbers x_e on
    the edges, with u_e the unit vectors along them from v,

        |Rᵀx|² = Σ_v |Σ_{e at v} x_e u_e|² <= Σ_v λ_v Σ_{e at v} x_e²,

    λ_v the largest eigenvalue of Σ u_e u_eᵀ over the edges at v. Each edge is at two vertices, so
    ‖R‖² <= 2 max λ_v. On the line at most two edges meet in v: λ_v <= 2.

    Any two edges at v are at least 60° apart, or their ends would be nearer to each other than v is
    to one of them. In the plane λ_v <= 3 follows: for a direction a, Σ (u_e · a)² is a sum of
    cos² α, α the angles to a or to −a, whichever is nearer, and for each of the two it is at most
    3/2. At most three edges are there. If three, the middle one is at |α| <= 30°, the others at
    least as far from the axis as α ± 60°, and cos² α + cos²(α + 60°) + cos²(α − 60°) = 3/2. If two,
    cos² α + cos² β = 1 + cos(α + β) cos(α − β) <= 3/2, since cos(α − β) <= ½, and where that is
    negative |α + β| <= 90°. If one, its cos² is at most 1.

    In general |Rᵀx|² <= Σ_v (Σ_{e at v} |x_e|)² is at most the largest eigenvalue of the tree's
    Laplacian times |x|², which is below Δ + 2√(Δ − 1) for vertices of degree at most Δ [1]_, and
    Δ is at most the kissing number, whatever the tree.

    Where one tree gives way to another their lengths are the same numbers, and sorting does not
    increase ℓ2 distances; so the norms of the pieces of the path add up.

    References
    ----------
    .. [1] Stevanović (2003), "Bounding the largest eigenvalue of trees in terms of the largest
       vertex degree", Linear Algebra and its Applications 360.

    Examples
    --------
    >>> tree_constant(1), round(tree_constant(2) ** 2, 12)
    (2.0, 6.0)
    """
    if dimension not in KISSING_NUMBERS:
        raise StabilityError(
            f"How fast the edges of a spanning tree move together is known in R^1 to R^4, not in "
            f"R^{dimension}: the kissing number of larger spaces is not."
        )
    if dimension <= 2:
        return (2.0, sqrt_up(6.0))[dimension - 1]
    kissing = KISSING_NUMBERS[dimension]
    return sqrt_up(math.nextafter(kissing + 2 * sqrt_up(kissing - 1), math.inf))


def with_deaths_in_l2(bounds: Parallel, source: Space, factor: float, dimension: Any) -> Parallel:
    """Bounds of a filtration whose H0 dies at `factor` times the lengths of a spanning tree.

    Parameters
    ----------
    bounds : Parallel
        What the filtration says from `source`, one branch a homology dimension.
    source : Space
        ``FROBENIUS``: the same points move.
    factor : float
        A power of two: ½ for alpha and Čech, 1 for Rips.
    dimension : int or None
        That of the space; None before the filtration is fitted.

    Returns
    -------
    Parallel
        The same, but H0 by all deaths together, in ℓ2.

    Raises
    ------
    StabilityError
        For other metrics, without H0, and in spaces of more than four dimensions.
    """
    if source != FROBENIUS:
        raise StabilityError(
            f"The deaths of H0 move together, in ℓ2, from {FROBENIUS}, not from {source}."
        )
    if "H0" not in bounds.branches:
        raise StabilityError(
            "Only the deaths of H0 have a bound in ℓ2, and homology_dimensions has no 0."
        )
    if dimension is None:
        raise StabilityError("How the deaths of H0 move in ℓ2 depends on the dimension: call fit.")
    constant = factor * tree_constant(dimension)
    stage = bounds.branches["H0"].stage if isinstance(bounds.branches["H0"], Bound) else ""
    deaths = Bound(source, ORDERED_DEATHS_L2, constant, "D7: edges of spanning trees", stage)
    return Parallel({**bounds.branches, "H0": deaths})

"""Alpha persistence from a Delaunay triangulation: H0 on its vertices, H1 on its triangles.

Only well-conditioned numbers enter. In the alpha filtration an obtuse triangle appears together
with its longest edge, whatever its (badly conditioned) circumradius: the two cancel, and the
triangle may be glued to its neighbour across that edge before anything is sorted. What remains are
the edges with an empty diametral circle (Gabriel edges), which appear at half their length, and the
acute triangles, which appear at their circumradius [1]_.

- H0: edges ascending, union-find on the points. An edge that joins two components ends one.
- H1: the other edges descending, union-find on the triangles and the outer face, which is the
  infinite one (Alexander duality): an edge that joins two components gives the bar from its own
  value to the smaller of their radii.

Rounding can turn the order of equal values, never the structure: the edges that join components
form a spanning tree of the points whatever the order, and the duals of all others then form one of
the faces. That the first tree is complete is checked (`persistence` returns `NO_TREE` otherwise).

References
----------
.. [1] Edelsbrunner (1995), "The union of balls and its dual shape", Discrete & Computational
   Geometry 13.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stablerank.diagrams.planar.sorting import sort_pairs

NO_TREE = -1

# Four points of one circle give an edge and a triangle of the same value, rounded apart: bars with
# death^2 <= birth^2 (1 + 8 eps) say nothing but that.
_NOISE = 1.0 + 1.8e-15
_NO_TWIN = np.uint32(0xFFFFFFFF)


@njit(nogil=True, error_model="numpy")  # "python" would test every divisor for zero
def gabriel_edges(
    xs: NDArray[np.float64],
    ys: NDArray[np.float64],
    n: int,
    n_triangles: int,
    mesh: NDArray[np.uint32],
    radii2: NDArray[np.float64],
    faces: NDArray[np.uint32],
    keys: NDArray[np.float64],
    tags: NDArray[np.uint32],
) -> int:
    """Glue obtuse triangles to their neighbours; list the edges that remain.

    Parameters
    ----------
    xs, ys, n : ndarray of shape (>= n,), float64, and int
        The points, as the sweep had them.
    n_triangles, mesh : int and ndarray of shape (>= 16 n,), uint32
        The triangulation; its free places get the side that each obtuse triangle is glued along
        (3: none). With no triangle the points are on a line, and half-edge 8i is written to join
        points i and i + 1.
    radii2, faces : ndarray of shape (>= 2 n + 1,), float64 and uint32
        Written: the squared radius of each triangle (half its longest edge, squared, if it is
        obtuse or right) and infinity for the outer face, which is number ``n_triangles``; the
        forest of faces that are one already.
    keys, tags : ndarray of shape (>= 3 n,), float64 and uint32
        Written: squared length and half-edge of each Gabriel edge.

    Returns
    -------
    int
        How many Gabriel edges there are.
    """
    radii2[n_triangles] = np.inf
    faces[n_triangles] = n_triangles
    if n_triangles == 0:
        for i in range(n - 1):
            dx, dy = xs[i + 1] - xs[i], ys[i + 1] - ys[i]
            keys[i] = dx * dx + dy * dy
            tags[i] = 8 * i
            mesh[8 * i] = i
            mesh[8 * i + 1] = i + 1
            mesh[8 * i + 4] = _NO_TWIN
        return n - 1
    n_edges = 0
    for t in range(n_triangles):
        h = 8 * t
        a, b, c = np.int64(mesh[h]), np.int64(mesh[h + 1]), np.int64(mesh[h + 2])
        abx, aby = xs[b] - xs[a], ys[b] - ys[a]
        bcx, bcy = xs[c] - xs[b], ys[c] - ys[b]
        cax, cay = xs[a] - xs[c], ys[a] - ys[c]
        ab2 = abx * abx + aby * aby
        bc2 = bcx * bcx + bcy * bcy
        ca2 = cax * cax + cay * cay
        # Minus |.||.| cos of the angle at each corner: positive where the angle is obtuse. Rounding
        # errs only within 1e-15 of the right angle, where the radius is half the edge to 1e-30.
        at_a = abx * cax + aby * cay
        at_b = abx * bcx + aby * bcy
        at_c = bcx * cax + bcy * cay
        if at_a >= 0.0 or at_b >= 0.0 or at_c >= 0.0:
            if at_a >= 0.0:
                wide, longest2 = 1, bc2
            elif at_b >= 0.0:
                wide, longest2 = 2, ca2
            else:
                wide, longest2 = 0, ab2
            radii2[t] = 0.25 * longest2
            across = mesh[h + 4 + wide]
            face = n_triangles if across == _NO_TWIN else np.int64(across >> np.uint32(3))
            # Two right triangles on one hypotenuse: the second must not point back at the first.
            faces[t] = t if face < t and faces[face] == t else face
        else:
            wide = 3
            # R = (longest edge) / (2 sin of its angle), and 1 / sin^2 = 1 + (cos / sin)^2: never
            # below half the edge, and exact where the angle is right. sin >= sqrt(3/4) here.
            if ab2 >= bc2 and ab2 >= ca2:
                longest2, tangent = ab2, at_c / (bcx * cay - bcy * cax)
            elif bc2 >= ca2:
                longest2, tangent = bc2, at_a / (cax * aby - cay * abx)
            else:
                longest2, tangent = ca2, at_b / (abx * bcy - aby * bcx)
            radii2[t] = 0.25 * longest2 * (1.0 + tangent * tangent)
            faces[t] = t
        mesh[h + 3] = wide
        for side in range(3):
            keys[n_edges] = ab2 if side == 0 else (bc2 if side == 1 else ca2)
            tags[n_edges] = h + side
            other = mesh[h + 4 + side]
            # Each edge is listed by the later of its triangles, unless one is obtuse towards it.
            if side != wide and (
                other == _NO_TWIN
                or (other < h and mesh[np.int64(other | np.uint32(3))] != other & np.uint32(3))
            ):
                n_edges += 1
    return n_edges


@njit(nogil=True)
def persistence(
    n: int,
    index: NDArray[np.uint32],
    n_triangles: int,
    mesh: NDArray[np.uint32],
    radii2: NDArray[np.float64],
    faces: NDArray[np.uint32],
    components: NDArray[np.uint32],
    keys: NDArray[np.float64],
    tags: NDArray[np.uint32],
    n_edges: int,
    h0_deaths: NDArray[np.float64],
    h0_edges: NDArray[np.int64],
    h1_births: NDArray[np.float64],
    h1_deaths: NDArray[np.float64],
    h1_edges: NDArray[np.int64],
    h1_triangles: NDArray[np.int64],
) -> int:
    """Write the bars of one cloud, with generators: the number of those in H1, or `NO_TREE`.

    ``keys`` and ``tags`` are the Gabriel edges in ascending order; both are overwritten. H0 has
    n - 1 bars, of non-decreasing death; those of H1 have non-increasing births.
    """
    for i in range(n):
        components[i] = i
    n_joined, n_left = 0, 0
    for i in range(n_edges):
        h = np.int64(tags[i])
        u = np.int64(mesh[h])
        v = np.int64(mesh[h - 2 if h & 3 == 2 else h + 1])
        root, other = _find(components, u), _find(components, v)
        if root == other:
            keys[n_left] = keys[i]
            tags[n_left] = tags[i]
            n_left += 1
            continue
        components[max(root, other)] = min(root, other)
        h0_deaths[n_joined] = 0.5 * math.sqrt(keys[i])
        h0_edges[n_joined, 0] = min(index[u], index[v])
        h0_edges[n_joined, 1] = max(index[u], index[v])
        n_joined += 1
    if n_joined != n - 1:
        return NO_TREE
    n_bars = 0
    for i in range(n_left - 1, -1, -1):
        h = np.int64(tags[i])
        across = mesh[h + 4]
        face = _find(faces, h >> 3)
        other = _find(faces, n_triangles if across == _NO_TWIN else np.int64(across) >> 3)
        if radii2[face] > radii2[other]:
            face, other = other, face
        faces[face] = other
        birth2 = 0.25 * keys[i]
        if radii2[face] <= birth2 * _NOISE:
            continue
        u, v = index[np.int64(mesh[h])], index[np.int64(mesh[h - 2 if h & 3 == 2 else h + 1])]
        a, b, c = index[mesh[8 * face]], index[mesh[8 * face + 1]], index[mesh[8 * face + 2]]
        h1_births[n_bars] = math.sqrt(birth2)
        h1_deaths[n_bars] = math.sqrt(radii2[face])
        h1_edges[n_bars, 0] = min(u, v)
        h1_edges[n_bars, 1] = max(u, v)
        h1_triangles[n_bars, 0] = min(a, min(b, c))
        h1_triangles[n_bars, 1] = max(min(a, b), min(max(a, b), c))
        h1_triangles[n_bars, 2] = max(a, max(b, c))
        n_bars += 1
    return n_bars


@njit(nogil=True)
def _find(parents: NDArray[np.uint32], i: int) -> int:
    while True:
        parent = np.int64(parents[i])
        if parent == i:
            return i
        grandparent = parents[parent]
        parents[i] = grandparent
        i = np.int64(grandparent)

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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stablerank.diagrams.planar.compiling import inner

NO_TREE = -1

# Four points of one circle give an edge and a triangle of the same value, rounded apart: bars with
# death^2 <= birth^2 (1 + 8 eps) say nothing but that.
_NOISE = 1.0 + 1.8e-15
_NO_TWIN = np.uint32(0xFFFFFFFF)


@inner(error_model="numpy")  # "python" would test every divisor for zero
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
    # Which angle is obtuse, which side longest and which edges stay is anybody's guess to a branch
    # predictor: everything is computed, then selected.
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
        # errs only within 1e-15 of the right angle, where the radius is half the edge to 1e-30. All
        # three are needed: in a needle the longest side may not be told from the second one.
        at_a = abx * cax + aby * cay
        at_b = abx * bcx + aby * bcy
        at_c = bcx * cax + bcy * cay
        wide = 0 if at_c >= 0.0 else 3
        wide = 2 if at_b >= 0.0 else wide
        wide = 1 if at_a >= 0.0 else wide
        # R = (longest edge) / (2 sin of its angle), and 1 / sin^2 = 1 + (cos / sin)^2: never below
        # half the edge, and exact where the angle is right. sin^2 >= 3/4 in an acute triangle.
        longest = 1 if bc2 > ab2 else 0
        longest = 2 if (ca2 > ab2) & (ca2 > bc2) else longest
        a = np.int64(mesh[h + longest])
        b = np.int64(mesh[_next(h + longest)])
        c = np.int64(mesh[_next(_next(h + longest))])
        abx, aby = xs[b] - xs[a], ys[b] - ys[a]
        cax, cay = xs[a] - xs[c], ys[a] - ys[c]
        cbx, cby = xs[b] - xs[c], ys[b] - ys[c]
        acute = np.float64(wide == 3)
        tangent = acute * (cax * cbx + cay * cby) / (abs(cax * cby - cay * cbx) + (1.0 - acute))
        radii2[t] = 0.25 * (abx * abx + aby * aby) * (1.0 + tangent * tangent)
        mesh[h + 3] = wide
        mesh[h + 7] = h  # what an acute triangle is glued to, beyond a fourth side, is itself
        beyond = mesh[h + 4 + wide]
        face = n_triangles if beyond == _NO_TWIN else np.int64(beyond) >> 3
        # Two right triangles on one hypotenuse: the second must not point back at the first.
        faces[t] = t if (faces[face] == t) & (face < t) else face
        for side in range(3):
            keys[n_edges] = ab2 if side == 0 else (bc2 if side == 1 else ca2)
            tags[n_edges] = h + side
            other = np.int64(mesh[h + 4 + side])
            # Each edge is listed by the later of its triangles, unless one is obtuse towards it.
            earlier = other < h
            apart = np.int64(mesh[(other if earlier else h) | 3]) != other & 3
            listed = (earlier & apart) | (other == np.int64(_NO_TWIN))
            n_edges += listed & (side != wide)
    return n_edges


@inner()
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
    spare_keys: NDArray[np.float64],
    spare_tags: NDArray[np.uint32],
    h0_deaths: NDArray[np.float64],
    h0_edges: NDArray[np.int64],
    h1_births: NDArray[np.float64],
    h1_deaths: NDArray[np.float64],
    h1_edges: NDArray[np.int64],
    h1_triangles: NDArray[np.int64],
) -> int:
    """Write the bars of one cloud, with generators: the number of those in H1, or `NO_TREE`.

    ``keys`` and ``tags`` are the Gabriel edges in ascending order, overwritten as the spare arrays
    of the same size are; ``components`` is room for the forest of the points. H0 has
    n - 1 bars, of non-decreasing death; those of H1 have non-increasing births.
    """
    for i in range(n):
        components[i] = i
    n_joining, n_left = 0, 0
    for i in range(n_edges):
        if n_joining == n - 1:
            for j in range(i, n_edges):
                keys[n_left + j - i], tags[n_left + j - i] = keys[j], tags[j]
            n_left += n_edges - i
            break
        h = np.int64(tags[i])
        u = _find(components, np.int64(mesh[h]))
        v = _find(components, np.int64(mesh[_next(h)]))
        components[max(u, v)] = min(u, v)
        # Written to both lists and counted in one: no branch to guess.
        spare_keys[n_joining], spare_tags[n_joining] = keys[i], tags[i]
        keys[n_left], tags[n_left] = keys[i], tags[i]
        n_joining += u != v
        n_left += u == v
    if n_joining != n - 1:
        return NO_TREE
    for i in range(n_joining):
        h = np.int64(spare_tags[i])
        u, v = np.int64(index[np.int64(mesh[h])]), np.int64(index[np.int64(mesh[_next(h)])])
        h0_deaths[i] = 0.5 * math.sqrt(spare_keys[i])
        h0_edges[i, 0], h0_edges[i, 1] = min(u, v), max(u, v)

    n_bars = 0
    for i in range(n_left - 1, -1, -1):
        h = np.int64(tags[i])
        beyond = mesh[h + 4]
        face = _find(faces, h >> 3)
        other = _find(faces, n_triangles if beyond == _NO_TWIN else np.int64(beyond) >> 3)
        swap = radii2[face] > radii2[other]
        smaller, larger = other if swap else face, face if swap else other
        faces[smaller] = larger
        # Bars are kept from the end of the list, where all has been read already.
        birth2 = 0.25 * keys[i]
        last = n_left - 1 - n_bars
        keys[last], tags[last], spare_tags[n_bars] = birth2, h, smaller
        n_bars += radii2[smaller] > birth2 * _NOISE
    for i in range(n_bars):
        h = np.int64(tags[n_left - 1 - i])
        u, v = np.int64(index[np.int64(mesh[h])]), np.int64(index[np.int64(mesh[_next(h)])])
        h1_births[i] = math.sqrt(keys[n_left - 1 - i])
        h1_edges[i, 0], h1_edges[i, 1] = min(u, v), max(u, v)
        face = np.int64(spare_tags[i])
        h1_deaths[i] = math.sqrt(radii2[face])
        a = np.int64(index[np.int64(mesh[8 * face])])
        b = np.int64(index[np.int64(mesh[8 * face + 1])])
        c = np.int64(index[np.int64(mesh[8 * face + 2])])
        h1_triangles[i, 0] = min(a, min(b, c))
        h1_triangles[i, 1] = max(min(a, b), min(max(a, b), c))
        h1_triangles[i, 2] = max(a, max(b, c))
    return n_bars


@inner()
def _next(h: Any) -> Any:
    """Return the half-edge after h in its triangle."""
    return h - 2 if h & 3 == 2 else h + 1


@inner()
def _find(parents: NDArray[np.uint32], i: Any) -> Any:
    """Return the root above i, and let i and its parent point there."""
    parent = np.int64(parents[i])
    root = np.int64(parents[np.int64(parents[parent])])  # far enough mostly: no loop to predict
    while True:
        above = np.int64(parents[root])
        if above == root:
            break
        root = np.int64(parents[above])
    parents[i] = root
    parents[parent] = root
    return root

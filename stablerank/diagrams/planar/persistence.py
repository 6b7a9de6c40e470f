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

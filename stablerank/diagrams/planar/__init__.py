"""Alpha persistence of planar clouds, fast and exact; GUDHI is its reference.

Most clouds are planar, and computing their diagrams is where the time goes. This kernel answers for
alpha filtrations in the plane only, in radii, with generators, and says of each cloud whether it
answered: where it gave up the caller asks GUDHI. Facts D1 and D3 are about the diagrams it returns.

The flow: ``predicates.py`` (exact signs) and ``sorting.py`` serve ``delaunay.py`` (points to
triangles), ``persistence.py`` turns triangles into bars, ``batch.py`` runs many clouds, and
``compiling.py`` says how all of it is compiled and cached.
"""

from stablerank.diagrams.planar.batch import PlanarAlphaBatch, planar_alpha

__all__ = ["PlanarAlphaBatch", "planar_alpha"]

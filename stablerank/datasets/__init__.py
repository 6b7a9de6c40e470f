"""Point clouds to learn from: orbits that are generated, outlines of cells that were recorded."""

from stablerank.datasets.cells import load_cells
from stablerank.datasets.orbits import make_orbits

__all__ = ["make_orbits", "load_cells"]  # noqa: RUF022 (generated first, then recorded)

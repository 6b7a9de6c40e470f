"""Inputs to learn from: orbits that are generated; outlines of cells and motions, recorded."""

from stablerank.datasets.cells import load_cells
from stablerank.datasets.motions import load_motions
from stablerank.datasets.orbits import make_orbits

__all__ = ["make_orbits", "load_cells", "load_motions"]  # noqa: RUF022 (generated first, then recorded)

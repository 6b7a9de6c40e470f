"""One input of the model: its diagrams, computed once, and all that an adversary makes of them."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from stablerank.checker import grids
from stablerank.checker.chain import end_to_end
from stablerank.checker.claims import ClaimError, NotChecked
from stablerank.checker.diagrams import Bars, Diagram, diagrams, given, moved, of_field
from stablerank.checker.links import filtration_links
from stablerank.checker.model_file import Stage
from stablerank.checker.rounding import Array, U, times_up, up
from stablerank.checker.threats import Space


class Input:
    """A cloud, an image, a matrix, or diagrams as rows (birth, death, homology dimension).

    Parameters
    ----------
    item : ndarray
        As it was handed in.
    dimensions : set of int
        The homology dimensions that matter, where diagrams are given.
    """

    def __init__(self, item: Array, dimensions: set[int]) -> None:
        self.item, self._dimensions = item, dimensions
        self._known: dict[int, dict[int, Diagram]] = {}

    def diagrams(self, filtration: Stage | None) -> dict[int, Diagram]:
        """Those of the input itself; `filtration` is None where it holds diagrams."""
        key = id(filtration)  # stages live as long as the model that is checked
        if key not in self._known:
            self._known[key] = (
                given(self.item, self._dimensions)
                if filtration is None
                else diagrams(filtration, self.item)
            )
        return self._known[key]

    def within(self, filtration: Stage | None, space: Space, radius: float) -> dict[int, Bars]:
        """All diagrams of the inputs within a distance, in the adversary's metric."""
        reach = radius
        if filtration is not None:
            # the constant is the same in every homology dimension
            reach = float(times_up(end_to_end(filtration_links(filtration, space)), radius))
        return {k: moved(diagram, reach) for k, diagram in self.diagrams(filtration).items()}

    def after_changes(
        self, filtration: Stage | None, n_changes: int, threat: str
    ) -> dict[int, tuple[Diagram, float]]:
        """Balls of all diagrams when so many points are changed: their centres and reaches.

        Notes
        -----
        D5 for the distance to measure: the field stays between two, and their middle is no farther
        from it, in sup norm, than from either.

        D6 for deletion: X′ ⊂ X, and X is within h of it, with c the constant from Hausdorff
        distance. Ordered deaths of H0 move by ch. Elsewhere, with F(t) = X_{t−ch/2} the complexes
        of X, later by ch/2: X′_t ⊂ X_t = F(t+ch/2), and F(t) → X′_{t+ch/2}, point by point to one
        within h. These interleave by ch/2, whose half X's own diagram would not allow.

        Raises
        ------
        NotChecked
            If nothing is known of such changes.
        """
        if filtration is not None and filtration.kind == "distance to measure":
            return self._after_changes_of_field(filtration, n_changes, threat)
        if threat != "deletion" or filtration is None or filtration.kind not in ("alpha", "rips"):
            raise NotChecked("threat", "what changed points do to this filtration is not known")
        space = {"kind": "points", "metric": "hausdorff"}
        constant = end_to_end(filtration_links(filtration, space))
        reach = float(times_up(constant, deletion_distance(self.item, n_changes)))
        return {
            k: (diagram, reach) if diagram.ordered else (diagram.later(reach / 2), up(reach / 2))
            for k, diagram in self.diagrams(filtration).items()
        }

    def _after_changes_of_field(
        self, filtration: Stage, n_changes: int, threat: str
    ) -> dict[int, tuple[Diagram, float]]:
        grid = grids.read_grid(filtration)
        lower, upper, error = grids.changed_fields(grid, self.item, filtration, n_changes, threat)
        middle = lower + (upper - lower) / 2
        moves = float(np.maximum(upper - middle, middle - lower).max())
        # the middle is any function, and exact: what is off are the two that bound f′
        reach = float(up(up(moves * (1 + 4 * U)) + error))
        dimensions = [int(k) for k in filtration.parameters["homology_dimensions"]]
        centres = of_field(middle, grid.periodic_axes, dimensions, 0.0, 0.0)
        return {k: (centre, reach) for k, centre in centres.items()}


def fewest_points(filtration: Stage | None) -> int:
    """Clouds of fewer points have no diagrams."""
    averaged = filtration is not None and filtration.kind == "distance to measure"
    return int(filtration.parameters["k"]) if averaged and filtration is not None else 1


def deletion_distance(cloud: Array, n_deleted: int) -> float:
    """How far a cloud moves in Hausdorff distance when any so many points are deleted (D6).

    The largest distance from a point to its k-th nearest other point: of the k nearest of a point
    that is deleted, itself not counted, one is left.

    Raises
    ------
    ClaimError
        If no point would be left.
    """
    n, d = cloud.shape
    if not 0 < n_deleted < n:
        raise ClaimError("radius", "so many points cannot be deleted", claimed=str(n_deleted))
    farthest = 0.0
    for start in range(0, n, 256):
        distances = cdist(cloud[start : start + 256], cloud)
        distances[np.arange(len(distances)), start + np.arange(len(distances))] = -1.0
        farthest = max(
            farthest, float(np.partition(distances, n_deleted, axis=1)[:, n_deleted].max())
        )
    return farthest * (1 + (d + 8) * U) + 1e-140

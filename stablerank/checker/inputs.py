"""One input of the model: its diagrams, computed once, and all that an adversary makes of them."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from stablerank.checker import fields, grids, linear_images
from stablerank.checker.chain import by_coordinate, end_to_end
from stablerank.checker.claims import ClaimError, NotChecked
from stablerank.checker.diagrams import (
    Bars,
    Diagram,
    diagram_dimensions,
    diagrams,
    given,
    moved,
    of_field,
)
from stablerank.checker.linear_images import inner_of
from stablerank.checker.links import field_links, filtration_links
from stablerank.checker.model_file import Stage
from stablerank.checker.rounding import Array, U, down, times_up, up
from stablerank.checker.threats import Space
from stablerank.checker.vectors import Box


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
        # by the stage itself, which lives as long as the model that is checked
        self._diagrams: dict[int, dict[int, Diagram]] = {}
        self._fields: dict[int, tuple[Array, float]] = {}
        self._images: dict[int, tuple[Input, float]] = {}

    def diagrams(self, filtration: Stage | None) -> dict[int, Diagram]:
        """Those of the input itself; `filtration` is None where it holds diagrams."""
        if id(filtration) not in self._diagrams:
            self._diagrams[id(filtration)] = self._computed(filtration)
        return self._diagrams[id(filtration)]

    def within(self, filtration: Stage | None, space: Space, radius: float) -> dict[int, Bars]:
        """All diagrams of the inputs within a distance, in the adversary's metric."""
        reach = radius
        if filtration is not None:
            # the constant is the same in every homology dimension
            reach = float(times_up(end_to_end(filtration_links(filtration, space)), radius))
        return {k: moved(diagram, reach) for k, diagram in self.diagrams(filtration).items()}

    def field(self, stage: Stage, space: Space | None = None, radius: float = 0.0) -> Box:
        """The box of a field's vectors over all inputs within a distance; distances are >= 0."""
        if id(stage) not in self._fields:
            self._fields[id(stage)] = fields.values(stage, self.item)
        values, error = self._fields[id(stage)]
        reach = np.zeros_like(values)
        if space is not None:
            reach = np.asarray(times_up(by_coordinate(field_links(stage, space)), radius))
        reach = up(up(reach) + error)
        return np.maximum(0.0, down(values - reach)), up(values + reach)

    def changed_field(self, stage: Stage, n_changes: int, threat: str) -> Box:
        """The box of a field's vectors over all inputs in which so many points are changed."""
        lower, upper, error = fields.changed(stage, self.item, n_changes, threat)
        return np.maximum(0.0, down(lower - error)), up(upper + error)

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
        within h. These interleave by ch/2, where X's own diagram may be as far as ch.

        Raises
        ------
        NotChecked
            If nothing is known of such changes.
        """
        if filtration is not None and filtration.kind == "anisotropic":
            images, blur = self._images_of(filtration)
            balls = images.after_changes(inner_of(filtration), n_changes, threat)
            return {k: (own.blurred(blur), reach) for k, (own, reach) in balls.items()}
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

    def _computed(self, filtration: Stage | None) -> dict[int, Diagram]:
        if filtration is None:
            return given(self.item, self._dimensions)
        if filtration.kind != "anisotropic":
            return diagrams(filtration, self.item)
        images, blur = self._images_of(filtration)
        found = images.diagrams(inner_of(filtration))
        return {k: diagram.blurred(blur) for k, diagram in found.items()}

    def _images_of(self, filtration: Stage) -> tuple[Input, float]:
        """The images as computed, and how far their diagrams may be from those of the exact ones.

        Points that are off by e each are a cloud within e of the exact one.
        """
        if id(filtration) not in self._images:
            images, off = linear_images.images(linear_images.matrix_of(filtration), self.item)
            space = {"kind": "points", "metric": "per-point"}
            constant = end_to_end(filtration_links(inner_of(filtration), space))
            blur = float(times_up(constant, off))
            self._images[id(filtration)] = Input(images, self._dimensions), blur
        return self._images[id(filtration)]

    def _after_changes_of_field(
        self, filtration: Stage, n_changes: int, threat: str
    ) -> dict[int, tuple[Diagram, float]]:
        grid = grids.read_grid(filtration)
        lower, upper, error = grids.changed_fields(grid, self.item, filtration, n_changes, threat)
        middle = lower + (upper - lower) / 2
        moves = float(np.maximum(upper - middle, middle - lower).max())
        # the middle is any function, and exact: what is off are the two that bound f′
        reach = float(up(up(moves * (1 + 4 * U)) + error))
        centres = of_field(middle, grid.periodic_axes, diagram_dimensions(filtration), 0.0, 0.0)
        return {k: (centre, reach) for k, centre in centres.items()}


def fewest_points(first: Stage | None) -> int:
    """Clouds of fewer points have no diagrams, or no vector."""
    if first is None:
        return 1
    if first.kind in fields.KINDS:
        return fields.fewest_points(first)
    if first.kind == "anisotropic":
        return fewest_points(inner_of(first))
    return int(first.parameters["k"]) if first.kind == "distance to measure" else 1


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

"""Sorted distances between neighbours: what is left of a cloud without persistence or position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from stablerank.diagrams.clouds import Cloud, largest_distances, power_of_two_scale
from stablerank.diagrams.filtration import UNIT_ROUNDOFF
from stablerank.diagrams.nearest import nearest_sums
from stablerank.fields.vectorizer import CloudVectorizer, sorted_blocks
from stablerank.stability import (
    FROBENIUS,
    HAUSDORFF,
    PER_POINT,
    Bound,
    Space,
    StabilityError,
    inverse_root_up,
)


class SortedNeighbourDistances(CloudVectorizer):
    """Half the distance of every point to its k-th nearest neighbour, sorted, averaged in blocks.

    No persistence, and no absolute position either: rigid motions of the cloud change nothing.

    Parameters
    ----------
    k : int or sequence of int, default=1
        Which neighbour; several numbers give several lists, one after the other. The point itself
        does not count, others in the same place do. Clouds have more than k points.
    blocks : int, default=16
        How long a list is: ranks are averaged over so many blocks of about equal size. Clouds have
        at least so many points, and may have different numbers of them.
    n_jobs : int, optional
        Number of workers, as in joblib; None is 1, -1 is all cores.

    Attributes
    ----------
    dimension_ : int
        The dimension d of the space that was fitted.
    n_features_out_ : int
        The length of the vectors.

    Raises
    ------
    ValueError
        For every bad cloud, with its index; one with too few points is bad.

    Examples
    --------
    Points at 0, 1 and 5 have their nearest neighbours at 1, 1 and 4.

    >>> SortedNeighbourDistances(blocks=3).fit_transform([[[0], [1], [5]]])
    array([[2. , 0.5, 0.5]])
    """

    def __init__(
        self, k: int | Sequence[int] = 1, *, blocks: int = 16, n_jobs: int | None = None
    ) -> None:
        self.k = k
        self.blocks: int = blocks
        self.n_jobs = n_jobs

    def stability(self, source: Space = PER_POINT) -> Bound:
        """The constant of each coordinate.

        Parameters
        ----------
        source : Space, default=PER_POINT
            The metric in which points move: ``PER_POINT`` or ``FROBENIUS``.

        Returns
        -------
        Bound
            Into ℓ∞, 1 per point and 1/√2 in Frobenius norm.

        Raises
        ------
        StabilityError
            For other metrics, Hausdorff distance among them.

        Notes
        -----
        The distance between points i and j changes by at most |δ_i| + |δ_j|: by 2ε per point, and
        by √2 ρ if ‖δ‖_F <= ρ. From point i, all distances and so the k-th smallest; of all points,
        all and so the r-th largest, and means over ranks r; half of it is claimed. Two points that
        move straight away from each other attain both. In Hausdorff distance nothing holds: a
        second point in the place of each makes every distance 0.
        """
        check_is_fitted(self, "n_features_out_")
        constants = {
            PER_POINT: (1.0, "a distance has two ends, and is halved"),
            FROBENIUS: (inverse_root_up(2), "the two ends of a distance share ρ, halved"),
        }
        if source == HAUSDORFF:
            raise StabilityError(
                f"SortedNeighbourDistances is not stable from {HAUSDORFF}: a second point in the "
                f"place of each is the same set, and makes every distance 0. Use a threat that "
                f"moves each point."
            )
        if source not in constants:
            raise StabilityError(
                f"SortedNeighbourDistances knows constants from {PER_POINT} and {FROBENIUS}, not "
                f"from {source}."
            )
        constant, theorem = constants[source]
        each = np.full(self.n_features_out_, constant)
        return Bound.by_coordinate(source, each, theorem, stage="sorted neighbour distances")

    @property
    def fewest_points(self) -> int:
        """As many as there are blocks, and one more than k."""
        return max(*self._ks, self.blocks - 1) + 1

    def bounds_points(
        self, X: Any, n_changes: int, *, threat: Literal["points", "deletion"] = "points"
    ) -> tuple[Tensor, Tensor]:
        """Refuse: nothing useful is known of clouds in which some points are changed.

        Raises
        ------
        StabilityError
            Always.

        Notes
        -----
        A point that is added far away is as far from its neighbours as one likes, and stands first
        in the list: no upper end is finite. A point that is deleted makes the list shorter, so that
        blocks are of other ranks, and leaves the neighbours of all those beside it to others.
        """
        raise StabilityError(
            "SortedNeighbourDistances knows no bound for points that are added or deleted: one far "
            "away puts any distance at the head of the list, and one less moves the ranks of all "
            'blocks. Use DistanceField(kind="measure") in its place, or HashedVotes around the '
            "pipeline."
        )

    def largest_values(self, X: Any) -> NDArray[np.float64]:
        """The diagonal of a cube that holds the cloud.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.

        Returns
        -------
        ndarray of shape (n_clouds,), float64
        """
        return largest_distances(self._checked(X))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names such as ``neighbour_k1_block3``."""
        check_is_fitted(self, "n_features_out_")
        return np.array(
            [f"neighbour_k{k}_block{i}" for k in self._ks for i in range(self.blocks)], dtype=object
        )

    def _check_parameters(self) -> None:
        if self.blocks is None:
            raise ValueError("blocks=None: expected an integer, 1 or more.")
        super()._check_parameters()

    def _count_features(self, dimension: int) -> int:
        return len(self._ks) * int(self.blocks)

    def _vectors(self, clouds: Sequence[Cloud]) -> list[NDArray[np.float64]]:
        vectors = []
        for cloud in clouds:
            halves, scale = self._halves(cloud)
            vectors.append((sorted_blocks(halves, self.blocks) / scale).reshape(-1))
        return vectors

    def _halves(self, cloud: Cloud) -> tuple[NDArray[np.float64], float]:
        """Half the distances of all points, (n_k, n_points), times a power of two; and that one."""
        # rank 0 is the point itself, at distance 0
        windows = np.array([[[k, k + 1] for k in self._ks]], dtype=np.int64)
        scale = power_of_two_scale(cloud)
        squares = nearest_sums([cloud * scale], cloud * scale, windows)[0]
        return np.sqrt(squares) / 2, scale

    def _relative_rounding(self) -> float:
        """Squares of distances are off by d + 2 units, which the root halves; means by 2 more."""
        return (2 * self.dimension_ + 16) * UNIT_ROUNDOFF

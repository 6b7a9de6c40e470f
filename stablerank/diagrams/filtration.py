"""What every filtration shares: check the clouds, compute diagrams by workers, collect them."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from stablerank.diagrams.ball import DiagramBall
from stablerank.diagrams.batch import Diagram, DiagramBatch
from stablerank.diagrams.deletion import deletion_distances
from stablerank.diagrams.workers import check_workers, run_chunks
from stablerank.stability import (
    BOTTLENECK,
    FROBENIUS,
    HAUSDORFF,
    Bound,
    Parallel,
    Space,
    StabilityError,
    multiply_up,
)

UNIT_ROUNDOFF = 2.0**-53


class Filtration(TransformerMixin, BaseEstimator, ABC):
    """A scikit-learn transformer from inputs to a :class:`DiagramBatch`.

    A new filtration defines ``_check`` (the door), ``_diagrams`` (from a chunk of checked inputs
    to diagrams), ``stability`` and ``relative_rounding``; parameters are checked in ``fit``.
    """

    homology_dimensions: Sequence[int]
    n_jobs: int | None
    dimension_: int | None
    lowest_value: float = 0.0
    """Nothing is born before: 0 where values are distances."""
    delayed_by_deletion: bool = False
    """Whether leaving out points only makes simplices later: each at its time in the whole cloud or
    after, none of the others; and the nearest point that is left takes the place of one left out.
    """

    def fit(self, X: Any, y: Any = None) -> Any:
        """Check parameters and inputs, and remember the dimension of the space.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad parameters or clouds; the message names the index of the cloud.
        """
        self._check_parameters()
        clouds = self._check(X, None)
        self.dimension_ = int(clouds[0].shape[1])
        return self

    def transform(self, X: Any) -> DiagramBatch:
        """Compute the persistence diagrams.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds, in the dimension that was fitted.

        Returns
        -------
        DiagramBatch
            In the order of the clouds.

        Raises
        ------
        ValueError
            If a cloud is empty, not finite or of another dimension; its index is named.
        """
        check_is_fitted(self, "dimension_")
        self._check_parameters()  # set_params may have changed them since fit
        clouds = self._check(X, self.dimension_)
        parts = run_chunks(
            self._diagrams,
            clouds,
            n_jobs=self.n_jobs,
            prefer="threads",
            description="persistence diagrams",
        )
        batches = [part for part in parts if isinstance(part, DiagramBatch)]
        if len(batches) == len(parts):
            return DiagramBatch.concatenate(batches)
        return DiagramBatch.from_diagrams(
            list(itertools.chain.from_iterable(parts)), self._sorted_dimensions()
        )

    @abstractmethod
    def stability(self, source: Space) -> Parallel:
        """The Lipschitz bounds from `source`, one branch a homology dimension."""

    def l2_stability(self, source: Space) -> Parallel:
        """As :meth:`stability`, but H0 by all deaths together, in ℓ2 (D7).

        Raises
        ------
        StabilityError
            Unless a filtration overrides this: its H0 is not that of a spanning tree.
        """
        raise StabilityError(
            f"{type(self).__name__} knows no bound for all deaths of H0 together, in ℓ2: that is "
            f"for AlphaPersistence and RipsPersistence of points, from {FROBENIUS}."
        )

    def bounds(self, X: Any, epsilon: ArrayLike, *, source: Space = HAUSDORFF) -> DiagramBall:
        """All diagrams, as computed, of the inputs that an adversary can make of those given.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The inputs.
        epsilon : float or array-like of shape (n_clouds,)
            How far the adversary may move them, for all or each, in the metric `source`.
        source : Space, default=HAUSDORFF
            One from which :meth:`stability` knows constants.

        Returns
        -------
        DiagramBall

        Raises
        ------
        StabilityError
            For other metrics.
        ValueError
            For bad inputs, and for epsilons that are negative, infinite or NaN.
        """
        diagrams = self.transform(X)
        return self.ball(diagrams, self.largest_values(X), epsilon, source=source)

    def ball(
        self,
        diagrams: DiagramBatch,
        largest_values: NDArray[np.float64],
        epsilon: ArrayLike,
        *,
        source: Space = HAUSDORFF,
    ) -> DiagramBall:
        """As :meth:`bounds`, for inputs whose diagrams are known already.

        Parameters
        ----------
        diagrams : DiagramBatch
            What :meth:`transform` makes of the inputs.
        largest_values : ndarray of shape (n_clouds,), float64
            What :meth:`largest_values` says of them.
        epsilon, source
            As in :meth:`bounds`.

        Returns
        -------
        DiagramBall

        Notes
        -----
        With K the constant, u the relative rounding and M the largest value: the exact diagram
        moves by at most Kε, and each of the two computed diagrams is within u times the largest
        value of its exact one: Kε + u (2M + max(K, 1) ε) in all. Where K < 1 the values move less
        than the points do, but their rounding may follow coordinates, as on a torus.
        """
        sizes = check_epsilon(epsilon, len(diagrams))
        relative = self.relative_rounding()
        reach, metrics = {}, {}
        for name, bound in self.stability(source).branches.items():
            if not isinstance(bound, Bound):
                raise StabilityError(f"{type(self).__name__}: {name} is a chain, not one bound.")
            dimension = int(name[1:])
            moved = multiply_up(sizes, bound.constant)
            farthest = np.maximum(moved, sizes)
            rounding = relative * (2 * largest_values + farthest) * (1 + 1e-12)
            reach[dimension] = np.where(rounding > 0, np.nextafter(moved + rounding, np.inf), moved)
            metrics[dimension] = bound.target
        return DiagramBall(diagrams, reach, metrics, self.lowest_value)

    @property
    def fewest_points(self) -> int:
        """Clouds of fewer points have no diagrams: an adversary who leaves fewer hands in none."""
        return 1

    def bounds_points(
        self, X: Any, n_changes: int, *, threat: Literal["points", "deletion"] = "points"
    ) -> DiagramBall:
        """All diagrams, as computed, of the clouds in which some points are changed.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.
        n_changes : int
            How many points the adversary may change, below the number of points of each cloud.
        threat : {"points", "deletion"}, default="points"
            "points": points are added, deleted or replaced; new ones may lie anywhere. "deletion":
            points are deleted.

        Returns
        -------
        DiagramBall

        Raises
        ------
        StabilityError
            Under "points", unless a filtration overrides this: one point that is added far away
            moves a cloud by any Hausdorff distance. Under "deletion", if there is no constant from
            Hausdorff distance.

        Notes
        -----
        D6: deletion moves X to an X′ within h = :func:`deletion_distances` in Hausdorff distance.
        If the filtration is `delayed_by_deletion`, with c its constant, the diagrams are in a ball
        of half the size, c h / 2, around that of X with all its bars c h / 2 later: X′ at r maps
        into X at r, and X at r into X′ at r + c h, with compositions that are inclusions up to
        homotopy; seen from X, delayed by c h / 2, that is an interleaving by c h / 2. Ordered
        deaths of H0 are as in D3.
        """
        if threat == "points":
            raise StabilityError(
                f"{type(self).__name__} knows no bound for points that are added: a single one far "
                f"away moves the cloud by any Hausdorff distance. Use DistanceToMeasurePersistence "
                f'in its place, HashedVotes around the pipeline, or threat="deletion".'
            )
        self.stability(HAUSDORFF)  # images and matrices, which have no points, are told so
        clouds = self._check(X, self.dimension_)
        sizes = [deletion_distances(cloud, n_changes) for cloud in clouds]
        epsilon = [float(distances[-1]) if n_changes else 0.0 for distances in sizes]
        whole = self.bounds(X, epsilon, source=HAUSDORFF)
        return self._delayed(whole, X, np.array(epsilon)) if self.delayed_by_deletion else whole

    def _delayed(self, whole: DiagramBall, X: Any, epsilon: NDArray[np.float64]) -> DiagramBall:
        """The ball of half the size around later bars, where births move."""
        diagrams, largest = whole.diagrams, self.largest_values(X)
        half = self.ball(diagrams, largest, epsilon / 2, source=HAUSDORFF)
        bars, reach = dict(diagrams.bars), dict(whole.reach)
        for name, bound in self.stability(HAUSDORFF).branches.items():
            dimension = int(name[1:])
            if bound.target != BOTTLENECK:
                continue
            delay = multiply_up(epsilon / 2, bound.constant)
            later = diagrams.bars[dimension] + np.repeat(delay, diagrams.n_bars(dimension))[:, None]
            bars[dimension] = later
            rounding = 2 * UNIT_ROUNDOFF * (largest + delay)  # of this sum
            reach[dimension] = np.nextafter(half.reach[dimension] + rounding, np.inf)
        return DiagramBall(
            DiagramBatch(bars, diagrams.offsets), reach, whole.metrics, self.lowest_value
        )

    @abstractmethod
    def relative_rounding(self) -> float:
        """A bound on the relative error with which births and deaths are computed.

        It holds for values above 1e-140 times the largest coordinate of the cloud, and above the
        subnormal numbers; smaller values are off by less than that (squares underflow).
        """

    @abstractmethod
    def largest_values(self, X: Any) -> NDArray[np.float64]:
        """An upper bound of all births and deaths that the filtration of each input can have.

        Certificates charge the rounding of values up to this one, since an adversary's input may
        have bars where the given one has none.
        """

    @abstractmethod
    def _check(self, X: Any, dimension: int | None) -> list[NDArray[np.float64]]: ...

    @abstractmethod
    def _diagrams(
        self, clouds: Sequence[NDArray[np.float64]]
    ) -> DiagramBatch | list[dict[int, Diagram]]:
        """The diagrams of a chunk of checked inputs, run by a worker.

        A batch where compiled code works on all of them at once, which costs the other workers
        nothing when it is gathered; a dict for each cloud where that is no matter.
        """

    def _check_parameters(self) -> None:
        dimensions = self.homology_dimensions
        if (
            not isinstance(dimensions, (tuple, list))
            or not dimensions
            or not all(is_integer(k) and k >= 0 for k in dimensions)
            or len(set(dimensions)) < len(dimensions)
        ):
            raise ValueError(
                f"homology_dimensions={dimensions!r}: expected a tuple of different integers >= 0, "
                f"such as (0, 1)."
            )
        check_workers(self.n_jobs)

    def _sorted_dimensions(self) -> list[int]:
        return sorted(int(k) for k in self.homology_dimensions)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.requires_fit = True
        return tags


def check_epsilon(epsilon: ArrayLike, n_clouds: int) -> NDArray[np.float64]:
    """One size of perturbation for each cloud.

    Raises
    ------
    ValueError
        If there is not one for all or one for each, or one is negative, infinite or NaN.
    """
    sizes = np.asarray(epsilon, dtype=np.float64)
    if sizes.shape not in ((), (n_clouds,)):
        raise ValueError(
            f"epsilon has shape {sizes.shape}: expected one number, or one for each of {n_clouds} "
            f"clouds."
        )
    bad = np.flatnonzero(~(np.isfinite(sizes) & (sizes >= 0)).reshape(-1))
    if bad.size:
        where = "epsilon" if sizes.ndim == 0 else f"epsilon[{bad[0]}]"
        raise ValueError(
            f"{where} is {sizes.reshape(-1)[bad[0]].item()!r}: expected a finite number >= 0."
        )
    return np.broadcast_to(sizes, (n_clouds,)).copy()


def is_integer(value: Any) -> bool:
    """Whether a parameter is a whole number; True and False are not."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)

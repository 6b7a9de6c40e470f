"""What filtrations behind one fixed map of clouds share: linear images, landmarks."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from stablerank.diagrams.batch import Diagram, DiagramBatch
from stablerank.diagrams.clouds import Cloud, check_clouds
from stablerank.diagrams.cubical import CubicalPersistence
from stablerank.diagrams.filtration import Filtration
from stablerank.stability import Bound, StabilityError


class MappedPersistence(Filtration):
    """A filtration of clouds that another filtration gets after a map, the same for every cloud.

    A new one defines ``_map`` (from checked clouds to clouds), ``_check_map`` (its parameters),
    ``stability``, ``ball``, ``relative_rounding`` and ``largest_values``; and ``bounds_points``, if
    points that are changed are points that are changed behind the map.

    Attributes
    ----------
    dimension_ : int
        The dimension d of the space that was fitted.
    mapped_filtration_ : Filtration
        The clone of `filtration` that was fitted behind the map.
    """

    filtration: Any

    @property
    def homology_dimensions(self) -> Sequence[int]:  # type: ignore[override]
        """Those of the filtration."""
        dimensions: Sequence[int] = self._inner().homology_dimensions
        return dimensions

    @property
    def n_jobs(self) -> int | None:  # type: ignore[override]
        """The workers of the filtration."""
        workers: int | None = self._inner().n_jobs
        return workers

    @property
    def lowest_value(self) -> float:  # type: ignore[override]
        """Nothing of the filtration is born before."""
        return float(self._inner().lowest_value)

    @property
    def fewest_points(self) -> int:
        """As of the filtration."""
        return int(self._inner().fewest_points)

    def fit(self, X: Any, y: Any = None) -> Any:
        """Check parameters and clouds, and fit a clone of the filtration behind the map.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.
        y : ignored

        Returns
        -------
        self
        """
        self._check_parameters()
        clouds = check_clouds(X)
        fitted = clone(self.filtration).fit(self._map(clouds))
        self.dimension_, self.mapped_filtration_ = int(clouds[0].shape[1]), fitted
        return self

    def transform(self, X: Any) -> DiagramBatch:
        """Compute the persistence diagrams behind the map.

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
            For bad clouds, with their index.
        """
        diagrams: DiagramBatch = self._fitted().transform(self.mapped(X))
        return diagrams

    def mapped(self, X: Any) -> list[Cloud]:
        """The clouds that the filtration gets.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds, in the dimension that was fitted.

        Returns
        -------
        list of ndarray, float64
            Each point has the same bits whatever points stand beside it.
        """
        self._fitted()
        self._check_parameters()  # set_params may have changed them since fit
        return self._map(check_clouds(X, dimension=self.dimension_))

    @abstractmethod
    def _map(self, clouds: Sequence[Cloud]) -> list[Cloud]:
        """The clouds behind the map, of checked ones."""

    @abstractmethod
    def _check_map(self) -> None:
        """Raise for bad parameters of the map."""

    def _check_parameters(self) -> None:
        filtration = self.filtration
        if not isinstance(filtration, Filtration):
            raise TypeError(
                f"filtration={filtration!r}: expected a filtration, such as AlphaPersistence()."
            )
        of_matrices = getattr(filtration, "metric", None) == "precomputed"
        if isinstance(filtration, CubicalPersistence) or of_matrices:
            raise TypeError(
                f"filtration={filtration!r} takes images or matrices, which have no points to map: "
                f"expected a filtration of clouds, such as AlphaPersistence()."
            )
        filtration._check_parameters()
        self._check_map()

    def _inner(self) -> Any:
        return self.__dict__.get("mapped_filtration_", self.filtration)

    def _fitted(self) -> Any:
        check_is_fitted(self, "mapped_filtration_")
        return self.mapped_filtration_

    def _check(self, X: Any, dimension: int | None) -> list[Cloud]:
        clouds = check_clouds(X, dimension=dimension)
        self._inner()._check(self._map(clouds), None)
        return clouds

    def _diagrams(self, clouds: Sequence[Cloud]) -> DiagramBatch | list[dict[int, Diagram]]:
        diagrams: DiagramBatch | list[dict[int, Diagram]] = self._inner()._diagrams(
            self._map(clouds)
        )
        return diagrams


def bound_of(name: str, bound: Any, **changes: Any) -> Bound:
    """A filtration's bound, with what the map before it changes.

    Raises
    ------
    StabilityError
        If it is a chain, naming the filtration.
    """
    if not isinstance(bound, Bound):
        raise StabilityError(f"{name} has a chain of bounds where one was expected.")
    return dataclasses.replace(bound, **changes)

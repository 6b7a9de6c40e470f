"""Diagrams that know of which clouds they are: all that a certificate of those clouds needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stablerank.diagrams.batch import DiagramBatch
from stablerank.diagrams.digests import filtration_digest


class CloudDiagrams(DiagramBatch):
    """A :class:`DiagramBatch` with what is to be known of the clouds behind it.

    Certificates against those who move points charge rounding by the largest value that the
    filtration of a cloud can have; the diagram alone does not tell it. With it the clouds can be
    certified without being there, by the constants of the filtration that computed the diagrams.

    Parameters
    ----------
    bars, offsets
        As of :class:`DiagramBatch`.
    largest_values : ndarray of shape (n_clouds,), float64
        What the filtration's ``largest_values`` says of the clouds.
    filtration : str
        The digest of the filtration that computed the diagrams.

    Raises
    ------
    ValueError
        If there is not one finite largest value a cloud; and as :class:`DiagramBatch`.

    Examples
    --------
    >>> from stablerank.diagrams import AlphaPersistence
    >>> persistence = AlphaPersistence((0,)).fit([[[0, 0], [0, 2]]])
    >>> diagrams = CloudDiagrams.compute(persistence, [[[0, 0], [0, 2]], [[0, 0], [0, 6]]])
    >>> diagrams.diagram(1, 0), diagrams.largest_values[1] >= 3
    (array([[0., 3.]]), np.True_)
    """

    def __init__(
        self,
        bars: Mapping[int, NDArray[np.float64]],
        offsets: Mapping[int, NDArray[np.int64]],
        largest_values: NDArray[np.float64],
        filtration: str,
    ) -> None:
        super().__init__(bars, offsets)
        self.largest_values = np.asarray(largest_values, dtype=np.float64)
        self.filtration = str(filtration)
        if self.largest_values.shape != (len(self),):
            raise ValueError(
                f"largest_values has shape {self.largest_values.shape}, but there are {len(self)} "
                f"clouds: expected one number a cloud."
            )
        bad = np.flatnonzero(~np.isfinite(self.largest_values))
        if bad.size:
            raise ValueError(
                f"largest_values[{bad[0]}] is {self.largest_values[bad[0]].item()!r}: expected a "
                f"finite number."
            )

    @classmethod
    def compute(cls, filtration: Any, X: Any) -> CloudDiagrams:
        """The diagrams of clouds by a fitted filtration.

        Parameters
        ----------
        filtration : Filtration
            Fitted.
        X : list of clouds
            Whatever the filtration takes.
        """
        batch = filtration.transform(X)
        largest = filtration.largest_values(X)
        return cls(batch.bars, batch.offsets, largest, filtration_digest(filtration))

    def check_filtration(self, filtration: Any, name: str = "X") -> None:
        """Refuse a filtration that is not the one that computed these diagrams.

        Raises
        ------
        ValueError
            If it is another, or has other parameters, or another version computed them.
        """
        if filtration_digest(filtration) != self.filtration:
            raise ValueError(
                f"{name} holds diagrams that were not computed by this {filtration!r}, but with "
                f"other parameters, in another dimension or by another version: their rounding and "
                f"constants are not known. Compute them again with this one."
            )

    @classmethod
    def concatenate(cls, batches: Sequence[DiagramBatch]) -> CloudDiagrams:
        """The clouds of several batches, one after the other.

        Raises
        ------
        ValueError
            If they were computed by different filtrations.
        """
        parts = [batch for batch in batches if isinstance(batch, CloudDiagrams)]
        if len(parts) < len(batches) or len({batch.filtration for batch in parts}) != 1:
            raise ValueError(
                "Cannot concatenate CloudDiagrams of different filtrations, or with a DiagramBatch."
            )
        whole = DiagramBatch.concatenate(batches)
        largest = np.concatenate([batch.largest_values for batch in parts])
        return cls(whole.bars, whole.offsets, largest, parts[0].filtration)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as plain arrays by name: what :meth:`save` writes."""
        return {
            **super().to_arrays(),
            "largest_values": self.largest_values,
            "filtration": np.array(self.filtration),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> CloudDiagrams:
        """The inverse of :meth:`to_arrays`; arrays of other names are passed over."""
        batch = DiagramBatch.from_arrays(arrays)
        digest = arrays["filtration"].item()
        return cls(batch.bars, batch.offsets, arrays["largest_values"], digest)

    def __getitem__(self, index: Any) -> Any:
        """An int gives one cloud, a dict of dimension to diagram; all else gives a batch."""
        part = super().__getitem__(index)
        if not isinstance(part, DiagramBatch):
            return part
        if isinstance(index, list):
            index = np.asarray(index) if index else np.empty(0, dtype=np.int64)
        largest = self.largest_values[index]
        return CloudDiagrams(part.bars, part.offsets, largest, self.filtration)

    def __eq__(self, other: object) -> bool:
        same = super().__eq__(other)
        if not (same and isinstance(other, CloudDiagrams)):
            return same  # a DiagramBatch without clouds has only its bars to compare
        return self.filtration == other.filtration and np.array_equal(
            self.largest_values, other.largest_values
        )

    __hash__ = None

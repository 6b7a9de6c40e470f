"""Ragged persistence diagrams of many clouds, as flat arrays with offsets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Diagram = NDArray[np.float64]
"""A persistence diagram: float64 array of shape (n_bars, 2), a row (birth, death) a bar."""


class DiagramBatch:
    """The persistence diagrams of many clouds, for several homology dimensions.

    Bars of length zero and the one infinite bar of H0 are not listed: they carry no information
    about lengths, and every filtration of this package drops them in the same way. Within a
    diagram the bars stand longest first (then by birth), so equal diagrams are equal arrays.

    Parameters
    ----------
    bars : dict of int to ndarray of shape (n_bars_in_all, 2), float64
        For each homology dimension the bars (birth, death) of all clouds, one after the other.
    offsets : dict of int to ndarray of shape (n_clouds + 1,), int64
        Cloud i has the bars ``offsets[i]:offsets[i + 1]``.

    Raises
    ------
    ValueError
        If arrays do not fit together, or a bar is not finite, or dies before it is born.

    See Also
    --------
    DiagramBatch.from_diagrams : From a list of diagrams, as GUDHI returns them.

    Examples
    --------
    >>> batch = DiagramBatch.from_diagrams([{0: [[0, 2], [0, 3]]}, {0: [[0, 1]]}])
    >>> len(batch), batch.homology_dimensions
    (2, (0,))
    >>> batch.diagram(0, 0)
    array([[0., 3.],
           [0., 2.]])
    >>> batch.padded(0)[..., 1]
    array([[3., 2.],
           [1., 0.]])
    """

    def __init__(
        self, bars: Mapping[int, NDArray[np.float64]], offsets: Mapping[int, NDArray[np.int64]]
    ) -> None:
        if not bars or set(bars) != set(offsets):
            raise ValueError(
                f"bars has homology dimensions {sorted(bars)}, offsets has {sorted(offsets)}: both "
                f"need the same, and at least one."
            )
        self.bars: dict[int, NDArray[np.float64]] = {}
        self.offsets: dict[int, NDArray[np.int64]] = {}
        counts = set()
        for dimension in sorted(bars):
            flat = np.asarray(bars[dimension], dtype=np.float64).reshape(-1, 2)
            ends = np.asarray(offsets[dimension], dtype=np.int64)
            _check_flat(flat, ends, dimension)
            self.bars[dimension], self.offsets[dimension] = _canonical(flat, ends)
            counts.add(len(ends) - 1)
        if len(counts) > 1:
            raise ValueError(f"Homology dimensions have different numbers of clouds: {counts}.")
        self._n_clouds = counts.pop()

    @classmethod
    def from_diagrams(
        cls,
        diagrams: Sequence[Mapping[int, Any]],
        homology_dimensions: Sequence[int] | None = None,
    ) -> DiagramBatch:
        """Collect diagrams, a dict a cloud from homology dimension to an array-like of bars.

        Parameters
        ----------
        diagrams : sequence of dict of int to array-like of shape (n_bars, 2)
            One infinite bar in H0 (the component that never dies) is dropped.
        homology_dimensions : sequence of int, optional
            Which dimensions to take; by default those of the first cloud.

        Returns
        -------
        DiagramBatch

        Raises
        ------
        ValueError
            If there is no cloud, a dimension is missing, a bar is NaN, dies before it is born, or
            is infinite without being the one of H0; the message names the cloud.
        """
        if len(diagrams) == 0:
            raise ValueError("diagrams is empty: there is no cloud in it.")
        if homology_dimensions is None:
            homology_dimensions = sorted(diagrams[0])
        bars, offsets = {}, {}
        for dimension in homology_dimensions:
            arrays = []
            for i, diagram in enumerate(diagrams):
                if dimension not in diagram:
                    raise ValueError(
                        f"diagrams[{i}] has homology dimensions {sorted(diagram)}, H{dimension} is "
                        f"missing. Give an empty array where a diagram has no bars."
                    )
                arrays.append(_finite_bars(diagram[dimension], i, dimension))
            bars[dimension] = np.concatenate(arrays)
            offsets[dimension] = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
        return cls(bars, offsets)

    @property
    def homology_dimensions(self) -> tuple[int, ...]:
        """The homology dimensions, ascending."""
        return tuple(self.bars)

    def diagram(self, i: int, dimension: int) -> Diagram:
        """The diagram of cloud `i` in one homology dimension, shape (n_bars, 2); a view."""
        i = range(self._n_clouds)[i]
        ends = self._offsets(dimension)
        return self.bars[dimension][ends[i] : ends[i + 1]]

    def n_bars(self, dimension: int) -> NDArray[np.int64]:
        """How many bars each cloud has, shape (n_clouds,)."""
        return np.diff(self._offsets(dimension))

    def padded(self, dimension: int, n_bars: int | None = None) -> NDArray[np.float64]:
        """The diagrams as one array, shape (n_clouds, n_bars, 2), padded with bars (0, 0).

        Parameters
        ----------
        dimension : int
            Homology dimension.
        n_bars : int, optional
            Width; by default that of the largest diagram. Of larger diagrams the longest `n_bars`
            are kept.
        """
        counts = self.n_bars(dimension)
        width = int(counts.max(initial=0)) if n_bars is None else n_bars
        out = np.zeros((self._n_clouds, width, 2))
        slots = np.arange(width) < counts[:, None]
        rows = self._offsets(dimension)[:-1, None] + np.arange(width)
        out[slots] = self.bars[dimension][rows[slots]]
        return out

    def to_tensor(self, dimension: int, n_bars: int | None = None) -> Any:
        """:meth:`padded` as a float64 torch tensor."""
        import torch

        return torch.from_numpy(self.padded(dimension, n_bars))

    @classmethod
    def concatenate(cls, batches: Sequence[DiagramBatch]) -> DiagramBatch:
        """The clouds of several batches, one after the other."""
        dimensions = {batch.homology_dimensions for batch in batches}
        if len(dimensions) != 1:
            raise ValueError(
                f"Cannot concatenate batches with homology dimensions {sorted(dimensions)}: all "
                f"need the same."
            )
        bars, offsets = {}, {}
        for dimension in dimensions.pop():
            bars[dimension] = np.concatenate([batch.bars[dimension] for batch in batches])
            counts = np.concatenate([batch.n_bars(dimension) for batch in batches])
            offsets[dimension] = np.concatenate([[0], np.cumsum(counts)])
        return cls(bars, offsets)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an npz file without pickled objects; nothing half-written is left behind."""
        from stablerank.files import write_atomically

        arrays = {"homology_dimensions": np.array(self.homology_dimensions, dtype=np.int64)}
        for dimension in self.homology_dimensions:
            arrays[f"bars_{dimension}"] = self.bars[dimension]  # type: ignore[assignment]
            arrays[f"offsets_{dimension}"] = self.offsets[dimension]
        with write_atomically(path) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DiagramBatch:
        """Read what :meth:`save` wrote; nothing in the file is run."""
        with np.load(path, allow_pickle=False) as file:
            if "homology_dimensions" not in file:
                raise ValueError(f"{os.fspath(path)} holds no DiagramBatch.")
            dimensions = [int(dimension) for dimension in file["homology_dimensions"]]
            return cls(
                {dimension: file[f"bars_{dimension}"] for dimension in dimensions},
                {dimension: file[f"offsets_{dimension}"] for dimension in dimensions},
            )

    def __len__(self) -> int:
        return self._n_clouds

    def __getitem__(self, index: Any) -> Any:
        """An int gives one cloud, a dict of dimension to diagram; all else gives a batch."""
        if isinstance(index, (int, np.integer)):
            return {d: self.diagram(int(index), d).copy() for d in self.homology_dimensions}
        chosen = np.arange(self._n_clouds)[np.asarray(index) if isinstance(index, list) else index]
        bars, offsets = {}, {}
        for dimension in self.homology_dimensions:
            counts = self.n_bars(dimension)[chosen]
            ends = np.concatenate([[0], np.cumsum(counts)])
            starts = self.offsets[dimension][chosen] - ends[:-1]
            rows = np.repeat(starts, counts) + np.arange(ends[-1])
            bars[dimension], offsets[dimension] = self.bars[dimension][rows], ends
        return DiagramBatch(bars, offsets)

    def __iter__(self) -> Iterator[dict[int, Diagram]]:
        return (self[i] for i in range(self._n_clouds))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DiagramBatch)
            and self.homology_dimensions == other.homology_dimensions
            and all(np.array_equal(self.bars[d], other.bars[d]) for d in self.bars)
            and all(np.array_equal(self.offsets[d], other.offsets[d]) for d in self.bars)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        counts = ", ".join(f"H{d}: {len(self.bars[d])} bars" for d in self.homology_dimensions)
        return f"DiagramBatch({self._n_clouds} clouds; {counts})"

    def _offsets(self, dimension: int) -> NDArray[np.int64]:
        if dimension not in self.offsets:
            raise ValueError(
                f"There is no H{dimension} in this batch, which has homology dimensions "
                f"{self.homology_dimensions}."
            )
        return self.offsets[dimension]


def check_diagrams(X: Any, name: str = "X") -> DiagramBatch:
    """The door for diagrams: a :class:`DiagramBatch`, or a list of dicts as it yields them."""
    if isinstance(X, DiagramBatch):
        if len(X) == 0:
            raise ValueError(f"{name} is an empty DiagramBatch: there is no cloud in it.")
        return X
    if isinstance(X, (list, tuple)) and X and all(isinstance(item, Mapping) for item in X):
        return DiagramBatch.from_diagrams(X)
    raise TypeError(
        f"{name} is a {type(X).__name__}; expected a DiagramBatch, or a list with one dict a cloud "
        f"from homology dimension to an array of bars. Persistence comes first: for clouds call "
        f"AlphaPersistence().fit_transform({name})."
    )


def _check_flat(flat: NDArray[np.float64], ends: NDArray[np.int64], dimension: int) -> None:
    if ends.ndim != 1 or len(ends) == 0 or ends[0] != 0 or ends[-1] != len(flat):
        raise ValueError(
            f"H{dimension}: offsets must run from 0 to the number of bars, {len(flat)}; got {ends!r}."
        )
    if (np.diff(ends) < 0).any():
        raise ValueError(f"H{dimension}: offsets must not decrease.")
    bad = np.flatnonzero(~(np.isfinite(flat).all(axis=1) & (flat[:, 0] <= flat[:, 1])))
    if bad.size:
        cloud = int(np.searchsorted(ends, bad[0], side="right")) - 1
        raise ValueError(
            f"Cloud {cloud} has the bar {flat[bad[0]].tolist()} in H{dimension}: expected a finite "
            f"birth <= death."
        )


def _canonical(
    flat: NDArray[np.float64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Drop bars of length zero; sort each diagram longest first, then by birth."""
    clouds = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
    lengths = flat[:, 1] - flat[:, 0]
    kept = np.flatnonzero(lengths > 0)
    order = kept[np.lexsort((flat[kept, 0], -lengths[kept], clouds[kept]))]
    counts = np.bincount(clouds[kept], minlength=len(ends) - 1)
    return flat[order], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _finite_bars(bars: Any, cloud: int, dimension: int) -> NDArray[np.float64]:
    flat = np.asarray(bars, dtype=np.float64)
    if flat.size == 0:
        return np.empty((0, 2))
    if flat.ndim != 2 or flat.shape[1] != 2:
        raise ValueError(
            f"diagrams[{cloud}] has an array of shape {flat.shape} in H{dimension}: expected "
            f"(n_bars, 2), a row (birth, death) a bar."
        )
    infinite = np.isposinf(flat[:, 1]) & np.isfinite(flat[:, 0])
    allowed = 1 if dimension == 0 else 0
    if infinite.sum() > allowed:
        raise ValueError(
            f"diagrams[{cloud}] has {infinite.sum()} infinite bars in H{dimension}, expected at most "
            f"{allowed}: only the last component of a cloud lives for ever. Remove essential "
            f"classes, the same way for every cloud, before building a batch."
        )
    flat = flat[~infinite]
    bad = np.flatnonzero(~(np.isfinite(flat).all(axis=1) & (flat[:, 0] <= flat[:, 1])))
    if bad.size:
        raise ValueError(
            f"diagrams[{cloud}] has the bar {flat[bad[0]].tolist()} in H{dimension}: expected "
            f"finite numbers, birth <= death."
        )
    return flat

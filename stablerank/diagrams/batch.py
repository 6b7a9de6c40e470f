"""Ragged persistence diagrams of many clouds, as flat arrays with offsets."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stablerank.diagrams.canonical import canonical_bars, first_bad_bar
from stablerank.files import write_atomically

Diagram = NDArray[np.float64]
"""A persistence diagram: float64 array of shape (n_bars, 2), a row (birth, death) a bar."""


class DiagramBatch:
    """The persistence diagrams of many clouds, for several homology dimensions.

    Bars of length zero and the one infinite bar of H0 are not listed: they carry no information
    about lengths, and every filtration of this package drops them in the same way. Within a
    diagram the bars stand longest first (then by birth and death), so equal diagrams are equal
    arrays.

    Parameters
    ----------
    bars : dict of int to ndarray of shape (n_bars_in_all, 2), float64
        For each homology dimension the bars (birth, death) of all clouds, one after the other.
    offsets : dict of int to ndarray of shape (n_clouds + 1,), int64
        Cloud i has the bars ``offsets[i]:offsets[i + 1]``.

    Raises
    ------
    ValueError
        If arrays do not fit together, or a bar is not finite, or dies before it is born; the
        message names the cloud.
    TypeError
        If a homology dimension or an offset is not an integer, or a bar is not real numbers.

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
                f"bars has homology dimensions {list(bars)}, offsets has {list(offsets)}: both "
                f"need the same, and at least one."
            )
        for dimension in bars:
            _check_dimension(dimension)
        self.bars: dict[int, NDArray[np.float64]] = {}
        self.offsets: dict[int, NDArray[np.int64]] = {}
        counts = set()
        for dimension in sorted(bars):
            flat = _as_bars(bars[dimension], f"bars[{dimension}]")
            ends = np.asarray(offsets[dimension])
            _check_flat(flat, ends, dimension)
            key = int(dimension)
            self.bars[key], self.offsets[key] = canonical_bars(flat, ends.astype(np.int64))
            counts.add(len(ends) - 1)
        if len(counts) > 1:
            raise ValueError(
                f"Homology dimensions have different numbers of clouds: {sorted(counts)}."
            )
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
        TypeError
            If a diagram is not a dict of integers to arrays of real numbers.
        """
        if len(diagrams) == 0:
            raise ValueError("diagrams is empty: there is no cloud in it.")
        for i, diagram in enumerate(diagrams):
            if not isinstance(diagram, Mapping):
                raise TypeError(
                    f"diagrams[{i}] is a {type(diagram).__name__}: expected a dict from homology "
                    f"dimension to an array of bars, such as {{0: [[0, 2]], 1: []}}."
                )
        if homology_dimensions is None:
            homology_dimensions = list(diagrams[0])
            for i, diagram in enumerate(diagrams):
                if set(diagram) - set(homology_dimensions):
                    raise ValueError(
                        f"diagrams[{i}] has homology dimensions {list(diagram)}, diagrams[0] has "
                        f"{homology_dimensions}. Give every cloud the same, or say which to take "
                        f"by homology_dimensions."
                    )
        bars, offsets = {}, {}
        for dimension in homology_dimensions:
            arrays = []
            for i, diagram in enumerate(diagrams):
                if dimension not in diagram:
                    raise ValueError(
                        f"diagrams[{i}] has homology dimensions {list(diagram)}, H{dimension} is "
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
        ends = self._offsets(dimension)
        if not -self._n_clouds <= i < self._n_clouds:
            raise IndexError(f"There is no cloud {i} in this batch of {self._n_clouds}.")
        i %= self._n_clouds
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
        if width < 0:
            raise ValueError(f"n_bars={n_bars!r}: expected a number of bars, 0 or more.")
        out = np.zeros((self._n_clouds, width, 2))
        slots = np.arange(width) < counts[:, None]
        rows = self._offsets(dimension)[:-1, None] + np.arange(width)
        out[slots] = self.bars[dimension][rows[slots]]
        return out

    def padded_lengths(self, dimension: int, n_bars: int) -> NDArray[np.float64]:
        """Deaths less births of the longest `n_bars` bars, longest first, padded with zeros.

        Parameters
        ----------
        dimension : int
            Homology dimension.
        n_bars : int
            Width.

        Returns
        -------
        ndarray of shape (n_clouds, n_bars), float64
        """
        counts, bars = self.n_bars(dimension), self.bars[dimension]
        lengths = bars[:, 1] - bars[:, 0]
        out = np.zeros((self._n_clouds, n_bars))
        slots = np.arange(n_bars) < counts[:, None]
        if counts.max(initial=0) > n_bars:
            kept = np.arange(len(bars)) - np.repeat(self.offsets[dimension][:-1], counts) < n_bars
            lengths = lengths[kept]
        out[slots] = lengths
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
        with write_atomically(path) as file:
            np.savez(file, **self.to_arrays())  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DiagramBatch:
        """Read what :meth:`save` wrote; nothing in the file is run.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged, or holds anything else.
        """
        try:
            with open_archive(path) as arrays:
                return cls.from_arrays(arrays)
        except (FileNotFoundError, IsADirectoryError, PermissionError):
            raise
        except DAMAGE as error:
            raise ValueError(f"{os.fspath(path)} holds no {cls.__name__}: {error}") from error

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as plain arrays by name: what :meth:`save` writes."""
        arrays: dict[str, NDArray[Any]] = {
            "homology_dimensions": np.array(self.homology_dimensions, dtype=np.int64)
        }
        for dimension in self.homology_dimensions:
            arrays[f"bars_{dimension}"] = self.bars[dimension]
            arrays[f"offsets_{dimension}"] = self.offsets[dimension]
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> DiagramBatch:
        """The inverse of :meth:`to_arrays`; arrays of other names are passed over."""
        dimensions = arrays["homology_dimensions"].tolist()
        return cls(
            {dimension: arrays[f"bars_{dimension}"] for dimension in dimensions},
            {dimension: arrays[f"offsets_{dimension}"] for dimension in dimensions},
        )

    def __len__(self) -> int:
        return self._n_clouds

    def __getitem__(self, index: Any) -> Any:
        """An int gives one cloud, a dict of dimension to diagram; all else gives a batch."""
        if isinstance(index, (int, np.integer)) and not isinstance(index, bool):
            return {d: self.diagram(int(index), d).copy() for d in self.homology_dimensions}
        if isinstance(index, list):
            index = np.asarray(index) if index else np.empty(0, dtype=np.int64)
        chosen = np.arange(self._n_clouds)[index]
        if chosen.ndim != 1:
            raise IndexError(
                "A batch has one axis, its clouds: index it with an int, a slice, a list of ints, "
                "or a mask."
            )
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


@contextmanager
def open_archive(path: str | os.PathLike[str]) -> Iterator[Any]:
    """An npz file without pickled objects, to be read array by array."""
    # np.load would leave the file open when it is no archive
    with open(path, "rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
        yield archive


def check_diagrams(X: Any, name: str = "X") -> DiagramBatch:
    """The door for diagrams: a :class:`DiagramBatch`, or the clouds it yields, in a list.

    Parameters
    ----------
    X : DiagramBatch, or sequence of dict of int to array-like of shape (n_bars, 2)
        A dict a cloud from homology dimension to bars, the same dimensions for all: what
        scikit-learn makes of a batch when it splits one.
    name : str, default="X"
        The argument's name, for messages.

    Returns
    -------
    DiagramBatch

    Raises
    ------
    TypeError
        If `X` is neither.
    ValueError
        If there is no cloud, or as :meth:`DiagramBatch.from_diagrams`.
    """
    if isinstance(X, DiagramBatch):
        if len(X) == 0:
            raise ValueError(f"{name} is an empty DiagramBatch: there is no cloud in it.")
        return X
    sequence = isinstance(X, (list, tuple)) or (isinstance(X, np.ndarray) and X.ndim == 1)
    if sequence and len(X) == 0:
        raise ValueError(f"{name} is empty: there is no cloud in it.")
    if sequence and all(isinstance(item, Mapping) for item in X):
        return DiagramBatch.from_diagrams(X)
    raise TypeError(
        f"{name} is a {type(X).__name__}; expected a DiagramBatch, or a list with one dict a cloud "
        f"from homology dimension to an array of bars. Persistence comes first: for clouds call "
        f"AlphaPersistence().fit_transform({name})."
    )


# What reading a hostile or half-written archive can raise, from zipfile, zlib, NumPy and ourselves.
DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def _check_dimension(dimension: Any) -> None:
    if not isinstance(dimension, (int, np.integer)) or isinstance(dimension, bool):
        raise TypeError(f"{dimension!r} is no homology dimension: expected an integer >= 0.")
    if dimension < 0:
        raise ValueError(f"{dimension!r} is no homology dimension: expected an integer >= 0.")


def _as_bars(bars: Any, where: str) -> NDArray[np.float64]:
    try:
        flat = np.asarray(bars)
    except ValueError:
        raise ValueError(f"{where} is ragged: expected (n_bars, 2), a row a bar.") from None
    if flat.size == 0:
        return np.empty((0, 2))
    if flat.dtype.kind not in "fiu":
        raise TypeError(f"{where} has dtype {flat.dtype}: births and deaths are real numbers.")
    if flat.ndim != 2 or flat.shape[1] != 2:
        raise ValueError(
            f"{where} has shape {flat.shape}: expected (n_bars, 2), a row (birth, death) a bar."
        )
    return flat.astype(np.float64, copy=False)


def _check_flat(flat: NDArray[np.float64], ends: NDArray[np.int64], dimension: int) -> None:
    if ends.dtype.kind not in "iu":
        raise TypeError(f"H{dimension}: offsets have dtype {ends.dtype}, expected integers.")
    if ends.ndim != 1 or len(ends) == 0 or ends[0] != 0 or ends[-1] != len(flat):
        raise ValueError(
            f"H{dimension}: offsets must run from 0 to the number of bars, {len(flat)}; got "
            f"{ends!r}."
        )
    if (ends[1:] < ends[:-1]).any():
        raise ValueError(f"H{dimension}: offsets must not decrease.")
    bad = first_bad_bar(flat)
    if bad is not None:
        cloud = int(np.searchsorted(ends, bad, side="right")) - 1
        raise ValueError(
            f"Cloud {cloud} has the bar {flat[bad].tolist()} in H{dimension}: expected a finite "
            f"birth <= death."
        )


def _finite_bars(bars: Any, cloud: int, dimension: int) -> NDArray[np.float64]:
    where = f"diagrams[{cloud}]"
    flat = _as_bars(bars, f"{where} in H{dimension}")
    infinite = np.isposinf(flat[:, 1]) & np.isfinite(flat[:, 0])
    allowed = 1 if dimension == 0 else 0
    if infinite.sum() > allowed:
        raise ValueError(
            f"{where} has {infinite.sum()} infinite bars in H{dimension}, expected at most "
            f"{allowed}: only the last component of a cloud lives for ever. Remove essential "
            f"classes, the same way for every cloud, before building a batch."
        )
    flat = flat[~infinite]
    bad = first_bad_bar(flat)
    if bad is not None:
        raise ValueError(
            f"{where} has the bar {flat[bad].tolist()} in H{dimension}: expected finite numbers, "
            f"birth <= death."
        )
    return flat

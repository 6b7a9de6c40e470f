"""Diagrams of more clouds than memory holds: a folder of shards, read one after the other."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from stablerank.diagrams.batch import DAMAGE, Diagram, open_archive
from stablerank.diagrams.cloud_diagrams import CloudDiagrams
from stablerank.diagrams.digests import array_digest
from stablerank.files import write_atomically

FORMAT = 1
MANIFEST = "manifest.json"
COMPARED = {
    "filtration_digest": "filtration",
    "shard_size": "shard_size",
    "kind_of_labels": "kind of labels",
}
_KEYS = {*COMPARED, "filtration", "versions", "homology_dimensions", "complete", "shards"}


class DiagramShards:
    """Diagrams on disk, read shard by shard; what :func:`transform_to_shards` has written.

    An integer index gives the diagram of one cloud; a slice, a mask or an array of ascending
    indices gives the same kind of object for some of the clouds, without reading any.

    Parameters
    ----------
    folder : path-like
        That of a finished run.

    Attributes
    ----------
    folder : Path
    homology_dimensions : tuple of int
    filtration : str
        The digest of the filtration that computed them; :meth:`CloudDiagrams.check_filtration`
        compares it.
    labels : ndarray of shape (n_clouds,) or None

    Raises
    ------
    FileNotFoundError
        If there is no manifest.
    ValueError
        If the run is not finished, or the manifest is damaged or from a newer version.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        manifest = read_manifest(self.folder)
        if manifest is None:
            raise FileNotFoundError(
                f"There are no shards in {self.folder}: transform_to_shards writes them."
            )
        if not manifest["complete"]:
            raise ValueError(
                f"{self.folder} has {len(manifest['shards'])} shards of a run that did not finish: "
                f"call transform_to_shards again with the same clouds, and it goes on there."
            )
        self._shards = manifest["shards"]
        self.homology_dimensions = tuple(manifest["homology_dimensions"])
        self.filtration = str(manifest["filtration_digest"])
        self._labelled = manifest["kind_of_labels"] is not None
        self._ends = np.cumsum([0, *(shard["n_clouds"] for shard in self._shards)])
        self._rows = np.arange(self._ends[-1])

    def batches(self) -> Iterator[CloudDiagrams]:
        """The diagrams shard by shard, each read when it is asked for.

        Raises
        ------
        ValueError
            If a file is damaged or missing; the message says how to repair it.
        """
        for number, rows in self._parts():
            diagrams = read_shard(self.folder, number, self._shards[number])
            yield diagrams if len(rows) == len(diagrams) else diagrams[rows]

    def load(self) -> CloudDiagrams:
        """All of these diagrams in memory."""
        return CloudDiagrams.concatenate(list(self.batches()))

    @property
    def labels(self) -> NDArray[Any] | None:
        """The labels of these clouds."""
        if not self._labelled:
            return None
        marks = []
        for number, rows in self._parts():
            path = shard_path(self.folder, number)
            try:
                with open_archive(path) as arrays:
                    marks.append(arrays["labels"][rows])
            except DAMAGE as error:
                raise _damaged(path, error) from error
        return np.concatenate(marks)

    def widest(self) -> CloudDiagrams:
        """For each homology dimension a cloud that has the most bars in it.

        A vectorizer that only learns dimensions and numbers of bars, such as
        :class:`~stablerank.ranks.StableRank`, learns from these what it would from all.
        """
        best: dict[int, CloudDiagrams] = {}
        for batch in self.batches():
            for k in self.homology_dimensions:
                first = batch[[int(batch.n_bars(k).argmax())]]
                if k not in best or first.n_bars(k)[0] > best[k].n_bars(k)[0]:
                    best[k] = first
        return CloudDiagrams.concatenate(list(best.values()))

    def vectors(
        self,
        vectorizer: Any,
        path: str | os.PathLike[str] | None = None,
        *,
        dtype: DTypeLike = np.float64,
    ) -> NDArray[Any]:
        """The vectors of all these diagrams in one array.

        Parameters
        ----------
        vectorizer : StableRank or the like
            Fitted: on :meth:`widest`, say.
        path : path-like, optional
            Of an ``.npy`` file, written atomically and mapped into memory, read-only. Without it
            the array is in memory.
        dtype : dtype, default=float64
            float32 halves the file and will do for training. What is certified is float64.

        Returns
        -------
        ndarray of shape (n_clouds, n_features)
        """
        parts = (np.asarray(vectorizer.transform(batch), dtype=dtype) for batch in self.batches())
        first = next(parts)
        shape = (len(self), first.shape[1])
        if path is None:
            out = np.empty(shape, dtype=dtype)
            start = 0
            for part in itertools.chain([first], parts):
                out[start : start + len(part)] = part
                start += len(part)
            return out
        header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
        with write_atomically(path) as file:
            np.lib.format.write_array_header_2_0(file, header)
            for part in itertools.chain([first], parts):
                file.write(np.ascontiguousarray(part).data)
        return np.asarray(np.load(path, mmap_mode="r"))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, (int, np.integer)) and not isinstance(index, bool):
            return next(self[[range(len(self))[index]]].batches())[0]
        if isinstance(index, list):
            index = np.asarray(index) if index else np.empty(0, dtype=np.int64)
        rows = self._rows[index]
        if rows.ndim != 1 or len(rows) == 0 or (np.diff(rows) <= 0).any():
            raise IndexError(
                "Shards are read from the first to the last: index them with an int, a slice, a "
                "mask, or indices that increase, such as np.sort(train), and at least one."
            )
        part: DiagramShards = object.__new__(type(self))
        part.__dict__.update(self.__dict__, _rows=rows)
        return part

    def __iter__(self) -> Iterator[dict[int, Diagram]]:
        return itertools.chain.from_iterable(self.batches())

    def __repr__(self) -> str:
        return f"DiagramShards({str(self.folder)!r}: {len(self)} clouds)"

    def _parts(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """The shards that hold any of these clouds, and which rows of them."""
        numbers = np.searchsorted(self._ends, self._rows, side="right") - 1
        for number in np.unique(numbers):
            yield int(number), self._rows[numbers == number] - self._ends[number]


def shard_path(folder: Path, number: int) -> Path:
    """Where a shard is kept."""
    return folder / f"shard-{number:06d}.npz"


def read_shard(folder: Path, number: int, entry: dict[str, Any]) -> CloudDiagrams:
    """Read a shard and compare it with its entry in the manifest; ValueError if it is damaged."""
    path = shard_path(folder, number)
    try:
        with open_archive(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if content_digest(arrays) != entry["content"]:
            raise ValueError("its content is not what the manifest lists")
        return CloudDiagrams.from_arrays(arrays)
    except DAMAGE as error:
        raise _damaged(path, error) from error


def content_digest(arrays: dict[str, NDArray[Any]]) -> str:
    """What the manifest lists of a shard: of its arrays, since an archive holds the time too."""
    names = sorted(arrays)
    return array_digest(np.array(names), *(arrays[name] for name in names)).hex()


def _damaged(path: Path, error: BaseException) -> ValueError:
    return ValueError(
        f"{path} is missing or damaged ({error}): call transform_to_shards again with the same "
        f"clouds, and this shard is computed again."
    )


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a run, finished or not; None if there is none."""
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] > FORMAT:
            raise ValueError(
                f"it has format {manifest['format']}, and this version reads up to {FORMAT}"
            )
        missing = _KEYS - set(manifest)
        if missing:
            raise ValueError(f"it has no {sorted(missing)}")
        for shard in manifest["shards"]:
            if not (shard["n_clouds"] >= 1 and len(shard["input"]) == len(shard["content"]) == 64):
                raise ValueError(f"its shard {shard!r} is none")
    except (LookupError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is no manifest of shards, or damaged: {error}. Delete the folder, and compute "
            f"the diagrams again."
        ) from error
    return dict(manifest)

"""Diagrams of more clouds than memory holds: a folder of shards, written one after the other."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from stablerank.diagrams.batch import DAMAGE, Diagram
from stablerank.diagrams.cloud_diagrams import CloudDiagrams
from stablerank.diagrams.cloud_files import clouds_in_folder
from stablerank.diagrams.digests import array_digest, filtration_digest, versions
from stablerank.files import write_atomically
from stablerank.progress import ProgressBar

FORMAT = 1
_MANIFEST = "manifest.json"
_COMPARED = {
    "filtration_digest": "filtration",
    "shard_size": "shard_size",
    "kind_of_labels": "kind of labels",
}
_KEYS = {*_COMPARED, "filtration", "versions", "homology_dimensions", "complete", "shards"}


def transform_to_shards(
    filtration: Any,
    clouds: Any,
    folder: str | os.PathLike[str],
    *,
    labels: Iterable[Any] | None = None,
    shard_size: int = 1000,
) -> DiagramShards:
    """Compute the diagrams of a stream of clouds, and write them to a folder as they come.

    At no time more than one shard of clouds and diagrams is in memory. If the process is killed,
    the same call with the same clouds goes on at the shard where it stopped: clouds are read again
    and compared by their digests, and what is there already is not computed again.

    Parameters
    ----------
    filtration : Filtration
        Fitted, or else a clone is fitted on the first shard. Its ``n_jobs`` workers share a shard.
    clouds : iterable of clouds, or path of a folder
        Whatever the filtration takes, one after the other: a generator, say, that is read only as
        far as the shard at hand. Of a folder, all ``.npy`` and ``.npz`` files in the order of
        their names: each array is a cloud, or with one axis more a stack of clouds.
    folder : path-like
        Where shards and manifest are written; it is made if it is missing.
    labels : iterable, optional
        One label a cloud, strings or numbers of one kind, kept beside the diagrams.
    shard_size : int, default=1000
        Clouds a shard.

    Returns
    -------
    DiagramShards

    Raises
    ------
    ValueError
        If the folder holds the diagrams of other clouds or labels, or by another filtration,
        version or shard size; if there are no clouds, or not as many labels; and for bad clouds,
        whose shard is named.

    Notes
    -----
    A shard counts once the manifest lists it, and both are written whole or not at all. A shard
    whose file is damaged or missing is computed again.

    Examples
    --------
    >>> import tempfile
    >>> from stablerank.diagrams import AlphaPersistence
    >>> stream = ([[0, 0], [0, 2 * i]] for i in range(1, 6))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     shards = transform_to_shards(AlphaPersistence(), stream, folder, shard_size=2)
    ...     [len(batch) for batch in shards.batches()], shards[4][0]
    ([2, 2, 1], array([[0., 5.]]))
    """
    if isinstance(shard_size, bool) or not isinstance(shard_size, (int, np.integer)):
        raise TypeError(f"shard_size={shard_size!r} is no integer: expected a number of clouds.")
    if shard_size < 1:
        raise ValueError(f"shard_size={shard_size!r}: expected at least one cloud a shard.")
    if isinstance(clouds, (str, os.PathLike)):
        clouds = clouds_in_folder(clouds)
    folder, run = Path(folder), None
    with ProgressBar("shards of diagrams", None) as progress:
        for number, (part, marks) in enumerate(_in_parts(clouds, labels, int(shard_size))):
            with _naming_clouds(number * shard_size, len(part)):
                if run is None:
                    run = _Run(_fitted(filtration, part), folder, int(shard_size), marks)
                run.add(part, marks)
            progress.advance()
    if run is None:
        raise ValueError("clouds is empty: there is no cloud in it.")
    run.finish()
    return DiagramShards(folder)


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
        manifest = _read_manifest(self.folder)
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
            diagrams = _read_shard(self.folder, number, self._shards[number])
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
            path = _shard_path(self.folder, number)
            try:
                with np.load(path, allow_pickle=False) as arrays:
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


class _Run:
    """One call of transform_to_shards: compares with what the folder holds, and writes the rest."""

    def __init__(
        self, filtration: Any, folder: Path, shard_size: int, marks: NDArray[Any] | None
    ) -> None:
        self.filtration, self.folder, self.number = filtration, folder, 0
        header = {
            "format": FORMAT,
            "filtration": repr(filtration),
            "filtration_digest": filtration_digest(filtration),
            "versions": dict(versions()),
            "homology_dimensions": sorted(int(k) for k in filtration.homology_dimensions),
            "shard_size": shard_size,
            "kind_of_labels": None if marks is None else marks.dtype.kind,
        }
        found = _read_manifest(folder)
        if found is not None:
            _check_same_run(found, header, folder)
        self.manifest: dict[str, Any] = found or {**header, "complete": False, "shards": []}
        for left in folder.glob(".shard-*"):  # half-written, by a process that was killed
            left.unlink(missing_ok=True)

    def add(self, part: list[Any], marks: NDArray[Any] | None) -> None:
        """Compare the next clouds with their shard, or compute and write it."""
        checked = self.filtration._check(part, self.filtration.dimension_)
        given = array_digest(*checked, *([] if marks is None else [marks])).hex()
        shards, number = self.manifest["shards"], self.number
        self.number += 1
        if number < len(shards):
            if shards[number]["input"] != given:
                raise ValueError(
                    f"shard {number} of {self.folder} was computed from other clouds, or has other "
                    f"labels, than those given now. Give the same ones to go on, or a new folder."
                )
            if _is_whole(self.folder, number, shards[number]):
                return
        elif self.manifest["complete"]:
            raise ValueError(
                f"{self.folder} is finished with {number} shards, and here come more clouds than "
                f"those. Give a new folder for all, or one for the new clouds alone."
            )
        diagrams = CloudDiagrams.compute(self.filtration, part)
        entry = {"n_clouds": len(part), "input": given}
        entry["content"] = _write_shard(self.folder, number, diagrams, marks)
        shards[number : number + 1] = [entry]
        self._write_manifest()

    def finish(self) -> None:
        """All clouds have come."""
        n_shards = len(self.manifest["shards"])
        if self.number < n_shards:
            raise ValueError(
                f"{self.folder} holds {n_shards} shards, but the clouds given now have ended after "
                f"{self.number}. Give all of them, or a new folder."
            )
        if not self.manifest["complete"]:
            self.manifest["complete"] = True
            self._write_manifest()

    def _write_manifest(self) -> None:
        with write_atomically(self.folder / _MANIFEST, text=True) as file:
            file.write(json.dumps(self.manifest, indent=1) + "\n")


def _in_parts(
    clouds: Iterable[Any], labels: Iterable[Any] | None, size: int
) -> Iterator[tuple[list[Any], NDArray[Any] | None]]:
    """The next clouds and their labels, never reading ahead."""
    try:
        stream = iter(clouds)
    except TypeError:
        raise TypeError(
            f"clouds is a {type(clouds).__name__}: expected clouds one after the other, or the "
            f"path of a folder with .npy and .npz files."
        ) from None
    marks = None if labels is None else iter(labels)
    kind, start = None, 0
    while part := list(itertools.islice(stream, size)):
        if marks is None:
            yield part, None
            continue
        some = list(itertools.islice(marks, len(part)))
        if len(some) < len(part):
            raise ValueError(
                f"labels has ended after {start + len(some)}, but there are more clouds: expected "
                f"one label a cloud."
            )
        array = np.asarray(some)
        kind = array.dtype.kind if kind is None else kind
        if array.ndim != 1 or array.dtype.kind not in "biufU" or array.dtype.kind != kind:
            raise ValueError(
                f"labels[{start}:{start + len(some)}] make an array of dtype {array.dtype} and "
                f"shape {array.shape}: expected strings or numbers, all of one kind."
            )
        start += len(some)
        yield part, array
    if marks is not None and next(marks, None) is not None:
        raise ValueError(f"labels has more than {start}, but there are no more clouds.")


def _fitted(filtration: Any, part: list[Any]) -> Any:
    try:
        check_is_fitted(filtration, "dimension_")
    except NotFittedError:
        return clone(filtration).fit(part)
    return filtration


@contextmanager
def _naming_clouds(start: int, n_clouds: int) -> Iterator[None]:
    """Say where in the stream an error is, for a filtration that only sees a shard."""
    where = f"Clouds {start} to {start + n_clouds - 1} of the stream, X[0] being cloud {start}"
    try:
        yield
    except TypeError as error:
        raise TypeError(f"{where}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _check_same_run(found: dict[str, Any], header: dict[str, Any], folder: Path) -> None:
    for name, what in _COMPARED.items():
        if found[name] != header[name]:
            shown = "filtration" if name == "filtration_digest" else name
            detail = f"{found[shown]!r}, not {header[shown]!r}"
            if name == "filtration_digest":
                detail += f" (versions {found['versions']}, now {header['versions']})"
            raise ValueError(
                f"{folder} holds shards with another {what}: {detail}. Give a new folder, or "
                f"delete this one."
            )


def _shard_path(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:06d}.npz"


def _write_shard(
    folder: Path, number: int, diagrams: CloudDiagrams, marks: NDArray[Any] | None
) -> str:
    arrays = diagrams.to_arrays()
    if marks is not None:
        arrays["labels"] = marks
    with write_atomically(_shard_path(folder, number)) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return _content_digest(arrays)


def _read_shard(folder: Path, number: int, entry: dict[str, Any]) -> CloudDiagrams:
    path = _shard_path(folder, number)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if _content_digest(arrays) != entry["content"]:
            raise ValueError("its content is not what the manifest lists")
        return CloudDiagrams.from_arrays(arrays)
    except DAMAGE as error:
        raise _damaged(path, error) from error


def _content_digest(arrays: dict[str, NDArray[Any]]) -> str:
    names = sorted(arrays)
    return array_digest(np.array(names), *(arrays[name] for name in names)).hex()


def _is_whole(folder: Path, number: int, entry: dict[str, Any]) -> bool:
    try:
        _read_shard(folder, number, entry)
    except ValueError:
        return False
    return True


def _damaged(path: Path, error: BaseException) -> ValueError:
    return ValueError(
        f"{path} is missing or damaged ({error}): call transform_to_shards again with the same "
        f"clouds, and this shard is computed again."
    )


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / _MANIFEST
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

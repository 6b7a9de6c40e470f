"""Write the diagrams of a stream of clouds to shards, and go on where a killed run stopped."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from stablerank.diagrams.cloud_diagrams import CloudDiagrams
from stablerank.diagrams.cloud_files import clouds_in_folder
from stablerank.diagrams.digests import array_digest, filtration_digest, versions
from stablerank.diagrams.shards import (
    COMPARED,
    FORMAT,
    MANIFEST,
    DiagramShards,
    content_digest,
    read_manifest,
    read_shard,
    shard_path,
)
from stablerank.files import write_atomically
from stablerank.progress import ProgressBar


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
        for part, marks in _in_parts(clouds, labels, int(shard_size)):
            if run is None:
                run = _Run(_fitted(filtration, part), folder, int(shard_size), marks)
            run.add(part, marks)
            progress.advance()
    if run is None:
        raise ValueError("clouds is empty: there is no cloud in it.")
    run.finish()
    return DiagramShards(folder)


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
        found = read_manifest(folder)
        if found is not None:
            _check_same_run(found, header, folder)
        self.manifest: dict[str, Any] = found or {**header, "complete": False, "shards": []}
        for left in folder.glob(".shard-*"):  # half-written, by a process that was killed
            left.unlink(missing_ok=True)

    def add(self, part: list[Any], marks: NDArray[Any] | None) -> None:
        """Compare the next clouds with their shard, or compute and write it."""
        start = self.number * self.manifest["shard_size"]
        with _naming_clouds(start, len(part)):
            checked = self.filtration._check(part, self.filtration.dimension_)
        given = array_digest(*checked, *([] if marks is None else [marks])).hex()
        shards, number = self.manifest["shards"], self.number
        self.number += 1
        if number < len(shards):
            if shards[number]["input"] != given:
                raise ValueError(
                    f"shard {number} of {self.folder}, which begins with cloud {start}, was "
                    f"computed from other clouds, or has other labels, than those given now. Give "
                    f"the same ones to go on, or a new folder."
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
        with write_atomically(self.folder / MANIFEST, text=True) as file:
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
        with _naming_clouds(0, len(part)):
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
    for name, what in COMPARED.items():
        if found[name] != header[name]:
            shown = "filtration" if name == "filtration_digest" else name
            detail = f"{found[shown]!r}, not {header[shown]!r}"
            if name == "filtration_digest":
                detail += f" (versions {found['versions']}, now {header['versions']})"
            raise ValueError(
                f"{folder} holds shards with another {what}: {detail}. Give a new folder, or "
                f"delete this one."
            )


def _write_shard(
    folder: Path, number: int, diagrams: CloudDiagrams, marks: NDArray[Any] | None
) -> str:
    arrays = diagrams.to_arrays()
    if marks is not None:
        arrays["labels"] = marks
    with write_atomically(shard_path(folder, number)) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return content_digest(arrays)


def _is_whole(folder: Path, number: int, entry: dict[str, Any]) -> bool:
    try:
        read_shard(folder, number, entry)
    except ValueError:
        return False
    return True

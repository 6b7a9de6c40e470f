"""Clouds in files: one after the other from a folder, without holding them all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stablerank.diagrams.batch import DAMAGE, open_archive


def clouds_in_folder(folder: str | os.PathLike[str]) -> Iterator[NDArray[Any]]:
    """All clouds in the ``.npy`` and ``.npz`` files of a folder, in the order of their names.

    Parameters
    ----------
    folder : path-like
        Each array in it is one cloud, of shape (n_points, d), or a stack of clouds, of shape
        (n_clouds, n_points, d). Arrays of an ``.npz`` come in the order in which they were saved,
        one in memory at a time; a stack in an ``.npy`` is mapped, not read whole.

    Returns
    -------
    iterator of ndarray of shape (n_points, d)

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If it has no such file, or one is damaged or holds something else; the file is named.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder of .npy and .npz files.")
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".npy", ".npz"))
    if not paths:
        raise ValueError(f"{folder} has no .npy or .npz file: expected one with clouds at least.")
    return (
        cloud for path in paths for where, array in _arrays(path) for cloud in _split(array, where)
    )


def _arrays(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    try:
        if path.suffix == ".npy":
            yield str(path), np.load(path, mmap_mode="r", allow_pickle=False)
            return
        with open_archive(path) as archive:
            for name in archive.files:
                yield f"{name} in {path}", archive[name]
    except DAMAGE as error:
        raise ValueError(f"{path} is damaged, or holds no arrays: {error}") from error


def _split(array: NDArray[Any], where: str) -> Iterator[NDArray[Any]]:
    if array.ndim == 2:
        yield np.asarray(array)
    elif array.ndim == 3:
        yield from (np.asarray(cloud) for cloud in array)
    else:
        raise ValueError(
            f"{where} has shape {array.shape}: expected a cloud, (n_points, d), or a stack of "
            f"them, (n_clouds, n_points, d)."
        )

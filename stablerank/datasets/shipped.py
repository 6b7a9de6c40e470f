"""Data files that come with the package: where they are, and that they are the released ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


def candidates(name: str) -> tuple[Traversable, Traversable]:
    """Where a wheel has the file, and where a checkout of the repository has it."""
    installed = files("stablerank.datasets") / "data" / name
    checkout = Path(__file__).resolve().parents[2] / "datasets" / name
    return installed, checkout


def first_file(name: str, places: Sequence[Traversable]) -> Traversable:
    """The first of the places that is there.

    Raises
    ------
    FileNotFoundError
        If none is; the message names them.
    """
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(
        f"{name} is neither in the installed package ({places[0]}) nor in a checkout "
        f"({places[1]}): reinstall stablerank, or restore the file from its repository."
    )


def read_arrays(file: Traversable, sha256: str) -> dict[str, NDArray[np.generic]]:
    """The arrays of an npz file, without pickled objects.

    Raises
    ------
    ValueError
        If the file's sha256 is another one.
    """
    content = file.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{file} has sha256 {found}, but the released file has {sha256}: it was changed or "
            "damaged. Reinstall stablerank, or restore the file from its repository."
        )
    with np.load(BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)

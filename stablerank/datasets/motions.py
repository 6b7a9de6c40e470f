"""Recordings of a watch during four motions: 80 series of acceleration and rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from stablerank.datasets.shipped import candidates, first_file, read_arrays

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

Series = NDArray[np.float64]

_SHA256 = "1c642622c2a322cbebe9e013335409d850a8dea0d253e2ca02efbb61b71b959a"

_DESCRIPTION = """\
BasicMotions
============

80 recordings of a smart watch, worn by four students during four activities.

:Series: 80, each of shape (100, 6): a tenth of a second between times, ten seconds in all
:Channels: acceleration along x, y, z, then rotation about x, y, z
:Motion: badminton, running, standing, walking, 20 recordings each
:Split: the archive's own, 40 to train with and 40 to test, 10 of each motion in both
:Unit: as the watch gives it; the source names none
:Missing values: none

Worth knowing before learning from them:

- Each student recorded each motion five times, and the source does not say whose a recording is:
  the same student may well be on both sides of the split.
- Values often repeat from one time to the next: the watch was read more often than it measured.
- The recordings of each part are sorted by motion: shuffle, and stratify.

Source: aeon 1.6.0 (aeon/datasets/data/BasicMotions), BSD 3-clause licence; from the UEA archive of
multivariate time series: Bagnall, Dau, Lines, Flynn, Large, Bostrom, Southam, Keogh (2018), "The
UEA multivariate time series classification archive, 2018", arXiv:1811.00075.
"""


@overload
def load_motions(
    *, subset: Literal["all", "train", "test"] = ..., return_X_y: Literal[False] = ...
) -> Bunch: ...


@overload
def load_motions(
    *, subset: Literal["all", "train", "test"] = ..., return_X_y: Literal[True]
) -> tuple[list[Series], NDArray[np.int64]]: ...


def load_motions(
    *, subset: Literal["all", "train", "test"] = "all", return_X_y: bool = False
) -> Bunch | tuple[list[Series], NDArray[np.int64]]:
    """Load 80 recordings of a smart watch during four motions.

    =================  ==========================================
    Series                                                     80
    Shape of a series                         100 times, 6 channels
    Motions              badminton, running, standing, walking
    Split                                40 to train, 40 to test
    =================  ==========================================

    The file comes with the package; nothing is downloaded. A series is what
    :class:`~stablerank.TakensEmbedding` takes, and a cloud of 100 points in R^6 as it is.

    Parameters
    ----------
    subset : {"all", "train", "test"}, default="all"
        The parts of the archive's own split; "all" has the training part first.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    motions : Bunch
        With the attributes

        data : list of ndarray of shape (100, 6), float64
            The series: acceleration along x, y, z, then rotation about x, y, z.
        target : ndarray of shape (n_series,), int64
            Indices into `target_names`.
        target_names : ndarray of str
            The motions, sorted.
        test : ndarray of shape (n_series,), bool
            Whether a series belongs to the archive's test part.
        DESCR : str
            What was recorded, by whom, and what to beware of.
        filename : str
            The file that was read.
    (X, y) : tuple
        ``data`` and ``target``, if `return_X_y`.

    Raises
    ------
    ValueError
        If `subset` is none of the three, or the file is not the one that was released (its sha256
        differs).
    FileNotFoundError
        If the file is neither in the installed package nor in a checkout.

    References
    ----------
    .. [1] Bagnall, Dau, Lines, Flynn, Large, Bostrom, Southam, Keogh (2018), "The UEA multivariate
       time series classification archive, 2018", arXiv:1811.00075.

    Examples
    --------
    >>> motions = load_motions(subset="train")
    >>> len(motions.data), motions.data[0].shape
    (40, (100, 6))
    >>> print(*motions.target_names)
    badminton running standing walking
    >>> X, y = load_motions(return_X_y=True)
    """
    if subset not in ("all", "train", "test"):
        raise ValueError(f"subset={subset!r}: expected 'all', 'train' or 'test'.")
    file = first_file("motions.npz", _candidates())
    arrays = read_arrays(file, _SHA256)
    test = arrays["test"].astype(bool)
    chosen = np.flatnonzero((subset == "all") | (test == (subset == "test")))
    data = list(arrays["millionths"][chosen].astype(np.float64) / 1_000_000)
    data = [series.copy() for series in data]  # each owns its values
    names, codes = np.unique(arrays["motion"], return_inverse=True)
    codes = codes.astype(np.int64)[chosen]
    if return_X_y:
        return data, codes
    return Bunch(
        data=data,
        target=codes,
        target_names=names,
        test=test[chosen],
        DESCR=_DESCRIPTION,
        filename=str(file),
    )


def _candidates() -> tuple[Traversable, Traversable]:
    return candidates("motions.npz")

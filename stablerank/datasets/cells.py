"""Outlines of 650 cells under the microscope, of two cell lines, untreated or with a drug."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch

from stablerank.datasets.shipped import candidates, first_file, read_arrays

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_SHA256 = "5ed0ad6f5a8f74d0a7761ea8ba1c8641c7156066f54b507102e7b1ee79df9ad0"

_DESCRIPTION = """\
Outlines of osteosarcoma cells
==============================

650 outlines of mouse osteosarcoma (bone cancer) cells seen in fluorescence microscopy.

:Clouds: 650, each of shape (n_points, 2); 20 to 1759 points, median 240, 182279 in all
:Cell line: dunn 392, dlm8 258; DLM8 is derived from DUNN and is the more aggressive cancer
:Treatment: control (none) 318, cytd (cytochalasin D) 175, jasp (jasplakinolide) 157; both drugs
    disturb the cytoskeleton
:Both: dunn: control 204, cytd 93, jasp 95; dlm8: control 114, cytd 82, jasp 62
:Unit: pixels of the image, integers; the source gives no pixel size
:Missing values: none

The images were thresholded and each cell's contour was traced, counter-clockwise, the second axis
pointing up (so it is negative). Coordinates are positions in the image, neither centred nor
scaled. Half of the cells have a diameter of at most 131 pixels (range 22 to 514); most points have
another one at distance 1.

Worth knowing before learning from them:

- Points repeat: 304 outlines pass through a pixel more than once (866 repeated points, at most 22
  in one outline). None are consecutive, and the last point is never the first.
- Two cells appear twice, with the same labels: 363 and 396 (dlm8, cytd), 513 and 519 (dlm8, jasp).
  A split that separates them shows a test cell to the training.
- The cells are sorted by treatment, then by cell line: shuffle, and stratify.

Source: geomstats 2.8.0 (geomstats/datasets/data/cells), MIT licence, copyright 2018 Nina Miolane.
Its example notebook on the shapes of cancer cells credits the images to Ashok Prasad and cites
Alizadeh, Xu, Castle, Foss, Prasad (2019), "TISMorph: a tool to quantify texture, irregularity and
spreading of single cells", PLoS ONE 14(6): e0217346, doi:10.1371/journal.pone.0217346.
"""


@overload
def load_cells(
    *, target: Literal["cell_line", "treatment"] = ..., return_X_y: Literal[False] = ...
) -> Bunch: ...


@overload
def load_cells(
    *, target: Literal["cell_line", "treatment"] = ..., return_X_y: Literal[True]
) -> tuple[list[NDArray[np.float64]], NDArray[np.int64]]: ...


def load_cells(
    *, target: Literal["cell_line", "treatment"] = "cell_line", return_X_y: bool = False
) -> Bunch | tuple[list[NDArray[np.float64]], NDArray[np.int64]]:
    """Load the outlines of 650 osteosarcoma cells.

    =================  ==========================================
    Clouds                                                    650
    Points of a cloud                                  20 to 1759
    Unit                                                   pixels
    Cell lines                               dlm8 258, dunn 392
    Treatments                  control 318, cytd 175, jasp 157
    =================  ==========================================

    The file comes with the package; nothing is downloaded.

    Parameters
    ----------
    target : {"cell_line", "treatment"}, default="cell_line"
        Which label is the target.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    cells : Bunch
        With the attributes

        data : list of 650 ndarray of shape (n_points, 2), float64
            The outlines, in pixels, as in the source: unscaled and with their repeated points.
        target : ndarray of shape (650,), int64
            Indices into `target_names`.
        target_names : ndarray of str
            The values of the chosen label, sorted.
        cell_line, treatment : ndarray of shape (650,), str
            Both labels, whichever is the target.
        DESCR : str
            What was recorded, by whom, and what to beware of.
        filename : str
            The file that was read.
    (X, y) : tuple
        ``data`` and ``target``, if `return_X_y`.

    Raises
    ------
    ValueError
        If `target` is none of the two labels, or the file is not the one that was released
        (its sha256 differs).
    FileNotFoundError
        If the file is neither in the installed package nor in a checkout.

    Notes
    -----
    Two pairs of cells are equal and 304 cells repeat points; ``DESCR`` names them. The order is
    that of the source, sorted by treatment and cell line.

    References
    ----------
    .. [1] Alizadeh, Xu, Castle, Foss, Prasad (2019), "TISMorph: a tool to quantify texture,
       irregularity and spreading of single cells", PLoS ONE 14(6): e0217346.
    .. [2] Miolane and others (2020), "Geomstats: a Python package for Riemannian geometry in
       machine learning", JMLR 21(223).

    Examples
    --------
    >>> cells = load_cells(target="treatment")
    >>> len(cells.data), cells.data[0].shape
    (650, (210, 2))
    >>> print(*cells.target_names)
    control cytd jasp
    >>> X, y = load_cells(return_X_y=True)
    """
    if target not in ("cell_line", "treatment"):
        raise ValueError(
            f"target={target!r} is no label of the cells: expected 'cell_line' or 'treatment'."
        )
    file = first_file("cells.npz", _candidates())
    arrays = read_arrays(file, _SHA256)

    offsets = arrays["offsets"]
    data = [arrays["points"][start:stop].astype(np.float64) for start, stop in pairwise(offsets)]
    names, codes = np.unique(arrays[target], return_inverse=True)
    codes = codes.astype(np.int64)
    if return_X_y:
        return data, codes
    return Bunch(
        data=data,
        target=codes,
        target_names=names,
        cell_line=arrays["cell_line"],
        treatment=arrays["treatment"],
        DESCR=_DESCRIPTION,
        filename=str(file),
    )


def _candidates() -> tuple[Traversable, Traversable]:
    return candidates("cells.npz")

"""The door for point clouds: everything is checked here, once, before any persistence is computed.

NaN or infinity inside GUDHI's alpha complex kills the process (fact D9), so nothing may pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Cloud = NDArray[np.float64]
"""A point cloud: float64 array of shape (n_points, d)."""

_ADVICE = (
    "Expected a list of (n_points, d) arrays, or one 3-D array of shape (n_clouds, n_points, d)."
)


def check_clouds(X: Any, *, name: str = "X", dimension: int | None = None) -> list[Cloud]:
    """Validate point clouds and return them as C-contiguous float64 arrays.

    Parameters
    ----------
    X : sequence of array-like of shape (n_points, d), or array of shape (n_clouds, n_points, d)
        Real numbers or integers; NumPy arrays, nested lists, data frames, CPU tensors. The number
        of points may differ from cloud to cloud, the dimension d may not.
    name : str, default="X"
        The argument's name, for messages.
    dimension : int, optional
        The d that is expected, when an earlier step has fixed it.

    Returns
    -------
    list of ndarray of shape (n_points, d), float64
        The input arrays themselves where they already have the right type.

    Raises
    ------
    ValueError
        For anything else; the message names the index of the first bad cloud and what to do.
    TypeError
        If `X` is no sequence at all, a sparse matrix, or holds strings, objects or complex numbers.
    """
    if isinstance(X, (str, bytes, dict)) or np.isscalar(X) or X is None:
        raise TypeError(f"{name} is a {type(X).__name__}. {_ADVICE}")
    if hasattr(X, "tocsr"):
        raise TypeError(f"{name} is a sparse matrix; point clouds are dense. {_ADVICE}")
    if hasattr(X, "ndim") and hasattr(X, "shape") and getattr(X, "dtype", None) != object:
        if X.ndim == 2:
            raise ValueError(
                f"{name} is one 2-D array of shape {tuple(X.shape)}: a single cloud, or a table? "
                f"Wrap a single cloud in a list: [{name}]. {_ADVICE}"
            )
        if X.ndim != 3:
            raise ValueError(f"{name} has {X.ndim} dimension(s), shape {tuple(X.shape)}. {_ADVICE}")
    try:
        n_clouds = len(X)
    except TypeError:
        raise TypeError(f"{name} is a {type(X).__name__} without a length. {_ADVICE}") from None
    if n_clouds == 0:
        raise ValueError(f"{name} is empty: there is no cloud in it. {_ADVICE}")
    if hasattr(X, "iloc"):
        raise TypeError(f"{name} is a data frame: one table is one cloud. {_ADVICE}")
    clouds: list[Cloud] = []
    for i in range(n_clouds):
        cloud = _check_cloud(X[i], f"{name}[{i}]")
        expected, why = (
            (dimension, "the dimension that was fitted")
            if dimension is not None
            else (clouds[0].shape[1] if clouds else cloud.shape[1], f"the dimension of {name}[0]")
        )
        if cloud.shape[1] != expected:
            raise ValueError(
                f"{name}[{i}] lies in R^{cloud.shape[1]}, but {why} is {expected}. All clouds of a "
                f"model live in one space: drop or convert the others."
            )
        clouds.append(cloud)
    return clouds


def _check_cloud(cloud: Any, where: str) -> Cloud:
    if hasattr(cloud, "tocsr"):
        raise TypeError(
            f"{where} is a sparse matrix; point clouds are dense. Call .toarray() on it."
        )
    if hasattr(cloud, "detach") and hasattr(cloud, "cpu"):  # a tensor, possibly on a device
        cloud = cloud.detach().cpu()
    try:
        array = np.asarray(cloud)
    except ValueError:
        raise ValueError(
            f"{where} has rows of different lengths: every point needs the same number of "
            f"coordinates."
        ) from None
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        raise TypeError(
            f"{where} has dtype {array.dtype}: expected real coordinates that float64 holds exactly "
            f"(floats up to 64 bits, or integers). Convert it to numbers first."
        )
    if array.ndim != 2:
        raise ValueError(
            f"{where} has shape {array.shape}: expected 2 dimensions, (n_points, d). A cloud of m "
            f"points on a line is an (m, 1) array."
        )
    if array.shape[0] == 0:
        raise ValueError(f"{where} is empty: it has no points. Drop empty clouds before transform.")
    if array.shape[1] == 0:
        raise ValueError(f"{where} has points without coordinates (shape {array.shape}).")
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8 and np.abs(array).max() > 2**53:
        raise ValueError(
            f"{where} has integers beyond 2^53, which float64 cannot hold exactly. Subtract an "
            f"offset from all points, or convert to float64 yourself."
        )
    converted = np.ascontiguousarray(array, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(converted).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{where} has {bad.size} of {len(converted)} points with NaN or infinite coordinates "
            f"(first: point {bad[0]}). Persistence needs finite points: repair or drop them before "
            f"transform."
        )
    return converted


def power_of_two_scale(cloud: Cloud) -> float:
    """The power of two to multiply a cloud with, so that its largest coordinate is in [0.5, 1).

    Exact in floating point for all coordinates but those 10^300 times smaller than the largest;
    with it squares neither overflow nor underflow. 1 for clouds whose coordinates are all 0 or of
    moderate size (between 2^-60 and 2^60), which are left untouched.
    """
    largest = float(np.abs(cloud).max())
    if largest == 0.0:
        return 1.0
    exponent = int(np.frexp(largest)[1])
    # 2^1023 is the largest power of two: subnormal clouds are lifted as far as it goes.
    return 1.0 if abs(exponent) <= 60 else float(np.ldexp(1.0, min(-exponent, 1023)))

"""The door for point clouds: everything is checked here, once, before any persistence is computed.

NaN or infinity inside GUDHI's alpha complex kills the process (fact D9), so nothing may pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

Cloud = NDArray[np.float64]
"""A point cloud: float64 array of shape (n_points, d)."""

LARGEST_COORDINATE = 2.0**1000
"""About 1e301: distances between points within it are finite in float64."""

_MOST_POINTS = 2**27  # in one cloud: kernels number points, and half-edges, with 32 bits

_NUMBERS_PER_BLOCK = 2**15
_FLOAT64 = np.dtype(np.float64)

_EXPECTED = (
    "Expected a list of (n_points, d) arrays, or one 3-D array of shape (n_clouds, n_points, d)."
)


def check_clouds(X: Any, *, name: str = "X", dimension: int | None = None) -> list[Cloud]:
    """Validate point clouds and return them as C-contiguous float64 arrays.

    Parameters
    ----------
    X : sequence of array-like of shape (n_points, d), or array of shape (n_clouds, n_points, d)
        Real numbers or integers; NumPy arrays, nested lists, data frames, tensors. The number of
        points may differ from cloud to cloud, the dimension d may not. Booleans are refused: they
        are a mask more often than coordinates.
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
        If there is no cloud, or one has no points, NaN, infinite or masked coordinates,
        coordinates beyond 2^1000, integers beyond 2^53, a wrong shape or another dimension than
        the first; the message names the index of the first bad cloud and what to do.
    TypeError
        If `X` is no sequence, or what it holds is not numbers: sparse matrices, strings, objects,
        booleans, complex numbers, or floats that float64 cannot hold.
    """
    items = check_list(X, name=name, expected=_EXPECTED)
    if _are_plainly_right(items, dimension):
        return items
    clouds: list[Cloud] = []
    for i, item in enumerate(items):
        cloud = _check_cloud(item, f"{name}[{i}]")
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


def check_list(X: Any, *, name: str, expected: str, ndim: tuple[int, ...] = (3,)) -> list[Any]:
    """The items of a list-like `X`, in its order.

    Parameters
    ----------
    X : Any
        A list, a tuple, an array or tensor with an item for each entry of its first axis, or
        whatever else has a length and an order.
    name, expected : str
        The argument's name, and a sentence on what it should be, for messages.
    ndim : tuple of int, default=(3,)
        How many axes an array of all items may have.

    Returns
    -------
    list

    Raises
    ------
    TypeError
        If `X` has no length or no order, or is text, a dict or a sparse matrix.
    ValueError
        If `X` is empty, or an array of numbers with another number of axes.
    """
    if X is None or isinstance(X, (str, bytes, Mapping, Set)) or np.isscalar(X):
        raise TypeError(f"{name} is a {type(X).__name__}. {expected}")
    if hasattr(X, "tocsr"):
        raise TypeError(f"{name} is a sparse matrix: call .toarray() on it. {expected}")
    holds_objects = getattr(getattr(X, "dtype", None), "kind", None) == "O"
    if hasattr(X, "ndim") and hasattr(X, "shape") and not holds_objects:
        if X.ndim == 2 and 2 not in ndim:
            raise ValueError(
                f"{name} is one 2-D array of shape {tuple(X.shape)}: a single input, or a table? "
                f"Wrap a single one in a list: [{name}]. {expected}"
            )
        if X.ndim not in ndim:
            raise ValueError(
                f"{name} has {X.ndim} dimension(s), shape {tuple(X.shape)}. {expected}"
            )
    try:
        n_items = len(X)
    except TypeError:
        raise TypeError(f"{name} is a {type(X).__name__} without a length. {expected}") from None
    if n_items == 0:
        raise ValueError(f"{name} is empty: there is nothing in it. {expected}")
    return list(X)  # iterated, not indexed: the index of a data frame's column is not 0, 1, 2


def check_array(
    item: Any, where: str, advice: str, *, ndim: tuple[int, ...] = (2,)
) -> NDArray[np.float64]:
    """One array of real numbers as C-contiguous float64; NaN and infinity pass.

    Parameters
    ----------
    item : array-like
        What float64 holds exactly: floats up to 64 bits, or integers up to 2^53.
    where, advice : str
        Its place in the input, and what to say about a wrong shape, for messages.
    ndim : tuple of int, default=(2,)
        How many axes it may have.

    Returns
    -------
    ndarray, float64
        With at least one entry.

    Raises
    ------
    TypeError
        If it is sparse, text, an object, or its numbers are not real.
    ValueError
        If it has another number of axes, is ragged, empty or masked, or has integers beyond 2^53.
    """
    if item is None or isinstance(item, (str, bytes, Mapping, Set)):
        raise TypeError(f"{where} is a {type(item).__name__}: {advice}")
    if hasattr(item, "tocsr"):
        raise TypeError(f"{where} is a sparse matrix: call .toarray() on it.")
    if hasattr(item, "detach") and hasattr(item, "cpu"):  # a tensor, possibly on a device
        item = item.detach().cpu()
    if np.ma.is_masked(item):
        raise ValueError(f"{where} has masked entries: fill or drop them before transform.")
    try:
        array = np.asarray(item)
    except ValueError:
        raise ValueError(
            f"{where} has rows of different lengths, or entries that are no numbers: {advice}"
        ) from None
    except (TypeError, RuntimeError, OverflowError) as error:
        raise TypeError(
            f"{where} is a {type(item).__name__} that NumPy cannot read: {error}"
        ) from None
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        raise TypeError(
            f"{where} has dtype {array.dtype}: expected real numbers that float64 holds exactly "
            f"(floats up to 64 bits, or integers). Convert it first."
        )
    if array.size == 0 and array.ndim in (1, *ndim):
        if array.ndim >= 2 and array.shape[0] > 0:
            raise ValueError(f"{where} has rows without entries (shape {array.shape}): {advice}")
        raise ValueError(f"{where} is empty. Drop empty inputs before transform.")
    if array.ndim not in ndim:
        raise ValueError(f"{where} has shape {array.shape}: {advice}")
    if array.dtype.kind in "iu" and max(int(array.max()), -int(array.min())) > 2**53:
        raise ValueError(
            f"{where} has integers beyond 2^53, which float64 cannot hold exactly. Subtract an "
            f"offset, or convert to float64 yourself."
        )
    return np.ascontiguousarray(array, dtype=np.float64)


def flatten_clouds(clouds: Sequence[Cloud]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """All clouds in one array, one after the other, and where each begins and the last one ends.

    Parameters
    ----------
    clouds : sequence of ndarray of shape (n_points, d), float64
        Checked clouds, at least one, of one dimension.

    Returns
    -------
    points : ndarray of shape (n_points_in_all, d), float64
    offsets : ndarray of shape (n_clouds + 1,), int64
    """
    return np.concatenate(clouds), np.cumsum([0, *map(len, clouds)], dtype=np.int64)


def check_flat_clouds(
    points: NDArray[np.float64], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Refuse what compiled code, which checks no bounds, must not see.

    Parameters
    ----------
    points : ndarray of shape (n_points, d), float64
        All clouds, one after the other.
    offsets : ndarray of shape (n_clouds + 1,), int64
        Cloud i is ``points[offsets[i]:offsets[i + 1]]``; it may be empty.

    Returns
    -------
    points, offsets : ndarray of float64 and of int64
        C-contiguous and writeable; the arguments themselves where they already are.

    Raises
    ------
    ValueError
        If a coordinate is NaN or infinite, a shape or the offsets do not fit, or a cloud has more
        than 2^27 points; the message names the cloud.
    """
    points = np.require(points, np.float64, ["C", "W"])  # numba would compile anew for read-only
    if points.ndim != 2 or points.shape[1] == 0:
        raise ValueError(f"points has shape {points.shape}: expected (n_points, d), d at least 1.")
    given = np.asarray(offsets)
    if given.ndim != 1 or given.size == 0 or given.dtype.kind not in "iu":
        raise ValueError(
            f"offsets has shape {given.shape} and dtype {given.dtype}: expected one dimension of "
            f"whole numbers, (n_clouds + 1,), from 0 to the number of points."
        )
    offsets = np.require(given, np.int64, ["C", "W"])
    sizes = np.diff(offsets)
    if offsets[0] != 0 or offsets[-1] != len(points) or (sizes < 0).any():
        raise ValueError(
            f"offsets runs from {offsets[0]} to {offsets[-1]} and must not decrease: expected from "
            f"0 to {len(points)}, the number of points."
        )
    if sizes.size and sizes.max() > _MOST_POINTS:
        raise ValueError(
            f"cloud {sizes.argmax()} has {sizes.max()} points: expected at most {_MOST_POINTS}."
        )
    finite = np.isfinite(points)
    if not finite.all():
        bad = np.flatnonzero(~finite.all(axis=1))
        cloud = int(np.searchsorted(offsets, bad[0], side="right")) - 1
        raise ValueError(
            f"{bad.size} of {len(points)} points have NaN or infinite coordinates (first: point "
            f"{bad[0] - offsets[cloud]} of cloud {cloud}). Persistence needs finite points: repair "
            f"or drop them before."
        )
    return points, offsets


def largest_distances(clouds: Sequence[Cloud]) -> NDArray[np.float64]:
    """An upper bound of the diameter of each cloud: the diagonal of a cube that holds it.

    Relative errors of distances hold down to 1e-140 times the largest coordinate, where squares
    underflow. What is smaller is off by less than the relative error of the 1e-120 times the
    largest coordinate that are added here.

    Parameters
    ----------
    clouds : sequence of ndarray of shape (n_points, d), float64
        Checked clouds, of one dimension.

    Returns
    -------
    ndarray of shape (n_clouds,), float64
        In the unit of the points.
    """
    sides = np.array([np.ptp(cloud, axis=0).max() for cloud in clouds])
    smallest = np.array([1e-120 * np.abs(cloud).max() for cloud in clouds])
    return np.asarray(sides * math.sqrt(clouds[0].shape[1]) + smallest)


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


def _are_plainly_right(items: list[Any], dimension: int | None) -> bool:
    """Whether all items are what :func:`check_clouds` returns, beyond doubt and at a glance.

    Most are, and looking at each by itself would take longer than the diagrams of small clouds.
    Whoever is in doubt is looked at by itself, and first, so that messages are the same.
    """
    for item in items:
        if type(item) is not np.ndarray or item.dtype != _FLOAT64 or item.ndim != 2:
            return False
        if dimension is None:
            dimension = item.shape[1]
        if item.shape[1] != dimension or item.size == 0 or not item.flags.c_contiguous:
            return False
    for start, stop in _blocks(items):
        flat = np.concatenate(items[start:stop], axis=None)
        # NaN is neither above nor below.
        if not (flat.max() <= LARGEST_COORDINATE and flat.min() >= -LARGEST_COORDINATE):
            return False
    return True


def _blocks(items: list[Cloud]) -> Iterator[tuple[int, int]]:
    """Runs of items with few enough numbers for the processor's cache, and at least one item."""
    start, size = 0, 0
    for i, item in enumerate(items):
        if i > start and size + item.size > _NUMBERS_PER_BLOCK:
            yield start, i
            start, size = i, 0
        size += item.size
    yield start, len(items)


def _check_cloud(item: Any, where: str) -> Cloud:
    cloud = check_array(
        item,
        where,
        "expected 2 dimensions, (n_points, d), the same number of coordinates for every point. A "
        "cloud of m points on a line is an (m, 1) array.",
    )
    bad = np.flatnonzero(~np.isfinite(cloud).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{where} has {bad.size} of {len(cloud)} points with NaN or infinite coordinates "
            f"(first: point {bad[0]}). Persistence needs finite points: repair or drop them before "
            f"transform."
        )
    far = np.flatnonzero((np.abs(cloud) > LARGEST_COORDINATE).any(axis=1))
    if far.size:
        raise ValueError(
            f"{where} has coordinates beyond 2^1000 (first: point {far[0]}), between which "
            f"distances overflow. Divide all clouds by one number."
        )
    return cloud

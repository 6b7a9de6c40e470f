"""The door: what is no finite cloud is refused with its index, and never reaches GUDHI."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from numpy.typing import NDArray

import stablerank.diagrams.clouds as clouds_module
from stablerank.diagrams import AlphaPersistence, RipsPersistence, check_clouds
from stablerank.diagrams.clouds import power_of_two_scale

SQUARE = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
TABLE = np.array(SQUARE)


class DataFrame:
    """What check_clouds sees of a pandas data frame: iterating it gives column names."""

    ndim = 2

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)
        self.shape = self.values.shape
        self.iloc = self

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.values if dtype is None else self.values.astype(dtype)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Any:
        return iter("ab")

    def __getitem__(self, key: Any) -> Any:
        raise KeyError(key)


class Series:
    """A column of clouds whose labels are not 0, 1, 2: X[0] would be a KeyError."""

    ndim, dtype = 1, np.dtype(object)

    def __init__(self, clouds: list[Any]) -> None:
        self.clouds = clouds
        self.shape = (len(clouds),)
        self.iloc = self

    def __len__(self) -> int:
        return len(self.clouds)

    def __iter__(self) -> Any:
        return iter(self.clouds)

    def __getitem__(self, key: Any) -> Any:
        raise KeyError(key)


class Unreadable:
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        raise RuntimeError("lost on the way")


def with_value(value: Any, dtype: Any = np.float64) -> NDArray[Any]:
    cloud = TABLE.astype(dtype)
    cloud[2, 1] = value
    return cloud


def objects(*clouds: Any) -> NDArray[Any]:
    array = np.empty(len(clouds), dtype=object)
    array[:] = clouds
    return array


READ_ONLY = TABLE.copy()
READ_ONLY.flags.writeable = False

GOOD: dict[str, Any] = {
    "nested lists": [SQUARE],
    "tuples": (tuple(map(tuple, SQUARE)),),
    "a 3-D array": TABLE[None],
    "an object array of arrays": objects(TABLE, TABLE[:3]),
    "float32": [TABLE.astype(np.float32)],
    "float16": [TABLE.astype(np.float16)],
    "integers": [TABLE.astype(np.int64)],
    "small integers": [TABLE.astype(np.int8)],
    "unsigned integers": [TABLE.astype(np.uint64)],
    "the other byte order": [TABLE.astype(">f8")],
    "Fortran order": [np.asfortranarray(TABLE)],
    "a strided view": [np.repeat(TABLE, 2, axis=0)[::2]],
    "read-only": [READ_ONLY],
    "a masked array without a mask": [np.ma.masked_invalid(TABLE)],
    "a tensor": [torch.tensor(SQUARE)],
    "a tensor with a gradient": [torch.tensor(SQUARE, requires_grad=True)],
    "a 3-D tensor": torch.tensor([SQUARE, SQUARE]),
    "a data frame": [DataFrame(TABLE)],
    "a series": Series([SQUARE, TABLE]),
}

NOT_FINITE = "X[1] has 1 of 4 points with NaN or infinite coordinates (first: point 2)"
EXPECTED = "Expected a list of (n_points, d) arrays"
NUMBERS = "expected real numbers that float64 holds exactly"
SHAPE = "expected 2 dimensions, (n_points, d)"
BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "NaN": ([SQUARE, with_value(np.nan)], ValueError, NOT_FINITE),
    "infinity": ([SQUARE, with_value(np.inf)], ValueError, NOT_FINITE),
    "minus infinity": ([SQUARE, with_value(-np.inf)], ValueError, NOT_FINITE),
    "float32 infinity": ([SQUARE, with_value(np.inf, np.float32)], ValueError, NOT_FINITE),
    "NaN in a tensor": ([SQUARE, torch.tensor(with_value(np.nan))], ValueError, NOT_FINITE),
    "NaN in a 3-D array": (np.stack([TABLE, with_value(np.nan)]), ValueError, NOT_FINITE),
    "nothing": ([], ValueError, f"X is empty: there is nothing in it. {EXPECTED}"),
    "a 3-D array of nothing": (np.empty((0, 4, 2)), ValueError, "X is empty"),
    "an empty cloud": ([SQUARE, []], ValueError, "X[1] is empty. Drop empty inputs"),
    "an empty array": ([SQUARE, np.empty((0, 2))], ValueError, "X[1] is empty. Drop empty"),
    "empty clouds in 3-D": (np.empty((2, 0, 2)), ValueError, "X[0] is empty. Drop empty inputs"),
    "no coordinates": ([SQUARE, [[], []]], ValueError, "X[1] has rows without entries (shape"),
    "another dimension": (
        [SQUARE, [[0.0, 0.0, 1.0]]],
        ValueError,
        "X[1] lies in R^3, but the dimension ",
    ),
    "a 1-D array": (np.zeros(3), ValueError, f"X has 1 dimension(s), shape (3,). {EXPECTED}"),
    "a 0-D array": (np.array(3.0), ValueError, "X has 0 dimension(s), shape ()"),
    "a 4-D array": (np.zeros((1, 1, 2, 2)), ValueError, "X has 4 dimension(s)"),
    "a 2-D array": (
        TABLE,
        ValueError,
        "X is one 2-D array of shape (4, 2): a single input, or a table? Wrap a single one in a "
        "list: [X]",
    ),
    "a 2-D tensor": (torch.tensor(SQUARE), ValueError, "Wrap a single one in a list: [X]"),
    "a single data frame": (DataFrame(TABLE), ValueError, "Wrap a single one in a list: [X]"),
    "one cloud as a list": (SQUARE, ValueError, f"X[0] has shape (2,): {SHAPE}"),
    "a flat cloud": ([SQUARE, [1.0, 2.0]], ValueError, "is an (m, 1) array"),
    "a stack in a list": ([SQUARE, TABLE[None]], ValueError, f"X[1] has shape (1, 4, 2): {SHAPE}"),
    "a number": (3.0, TypeError, f"X is a float. {EXPECTED}"),
    "numbers": ([SQUARE, 3.0], ValueError, f"X[1] has shape (): {SHAPE}"),
    "None": (None, TypeError, "X is a NoneType"),
    "a string": ("cloud", TypeError, f"X is a str. {EXPECTED}"),
    "bytes": (b"cloud", TypeError, "X is a bytes"),
    "a dict": ({0: SQUARE}, TypeError, f"X is a dict. {EXPECTED}"),
    "a set": ({(0.0, 1.0)}, TypeError, f"X is a set. {EXPECTED}"),
    "a generator": ((c for c in [SQUARE]), TypeError, "X is a generator without a length"),
    "None inside": ([SQUARE, None], TypeError, "X[1] is a NoneType"),
    "a string inside": ([SQUARE, "cloud"], TypeError, "X[1] is a str"),
    "a dict inside": ([SQUARE, {0: SQUARE}], TypeError, "X[1] is a dict"),
    "strings for numbers": ([SQUARE, [["0", "1"]]], TypeError, f"X[1] has dtype <U1: {NUMBERS}"),
    "objects": ([SQUARE, [[object(), 1]]], TypeError, f"X[1] has dtype object: {NUMBERS}"),
    "None for a number": ([SQUARE, [[None, 1.0]]], TypeError, f"X[1] has dtype object: {NUMBERS}"),
    "complex": ([SQUARE, TABLE + 1j], TypeError, f"X[1] has dtype complex128: {NUMBERS}"),
    "booleans": ([SQUARE, TABLE > 0], TypeError, f"X[1] has dtype bool: {NUMBERS}"),
    "a 3-D mask": (TABLE[None] > 0, TypeError, f"X[0] has dtype bool: {NUMBERS}"),
    "dates": ([SQUARE, np.zeros((2, 2), "M8[s]")], TypeError, "X[1] has dtype datetime64[s]"),
    "records": ([SQUARE, np.zeros(2, [("x", float), ("y", float)])], TypeError, NUMBERS),
    "huge integers": (
        [SQUARE, np.array([[0, 2**53 + 1]])],
        ValueError,
        "X[1] has integers beyond 2^53, which float64 cannot hold exactly",
    ),
    "huge negative integers": ([SQUARE, np.array([[0, -(2**63)]])], ValueError, "beyond 2^53"),
    "huge unsigned integers": (
        [SQUARE, np.array([[2**64 - 1, 0]], dtype=np.uint64)],
        ValueError,
        "X[1] has integers beyond 2^53",
    ),
    "integers beyond 64 bits": ([SQUARE, [[10**30, 0]]], TypeError, "X[1] has dtype object"),
    "far away": (
        [SQUARE, with_value(1e302)],
        ValueError,
        "X[1] has coordinates beyond 2^1000 (first: point 2), between which distances overflow",
    ),
    "the largest number": ([SQUARE, with_value(-1.7e308)], ValueError, "X[1] has coordinates beyo"),
    "ragged rows": ([SQUARE, [[0.0, 1.0], [2.0]]], ValueError, "X[1] has rows of different length"),
    "a masked point": (
        [SQUARE, np.ma.masked_equal(TABLE, 0.0)],
        ValueError,
        "X[1] has masked entries: fill or drop them",
    ),
    "sparse": (scipy.sparse.csr_matrix(TABLE), TypeError, "X is a sparse matrix: call .toarray()"),
    "sparse inside": (
        [SQUARE, scipy.sparse.coo_array(TABLE)],
        TypeError,
        "X[1] is a sparse matrix: call .toarray() on it",
    ),
    "a sparse tensor": ([SQUARE, torch.eye(2).to_sparse()], TypeError, "NumPy cannot read"),
    "bfloat16": ([SQUARE, torch.eye(2, dtype=torch.bfloat16)], TypeError, "X[1] is a Tensor that"),
    "unreadable": (
        [SQUARE, Unreadable()],
        TypeError,
        "X[1] is a Unreadable that NumPy cannot read: lost on the way",
    ),
}
if np.dtype(np.longdouble).itemsize > 8:  # not on Windows, and not on some ARM
    BAD["long doubles"] = ([SQUARE, TABLE.astype(np.longdouble)], TypeError, NUMBERS)

DOORS: dict[str, Callable[[Any], Any]] = {
    "check_clouds": check_clouds,
    "alpha fit": AlphaPersistence().fit,
    "alpha transform": AlphaPersistence().fit([SQUARE]).transform,
    "Rips fit": RipsPersistence().fit,
    "Rips transform": RipsPersistence().fit([SQUARE]).transform,
}


# Closed form: what passes, and as what.


@pytest.mark.parametrize("X", GOOD.values(), ids=GOOD)
def test_good_clouds_become_float64(X: Any) -> None:
    clouds = check_clouds(X)
    assert len(clouds) == len(X)
    for cloud in clouds:
        assert type(cloud) is np.ndarray
        assert cloud.dtype == np.float64
        assert cloud.dtype.isnative
        assert cloud.flags.c_contiguous
        assert cloud.tolist() == SQUARE[: len(cloud)]


@pytest.mark.parametrize("X", GOOD.values(), ids=GOOD)
def test_good_clouds_have_the_diagrams_of_a_square(X: Any) -> None:
    # Sides 1, diagonal √2: alpha radii 1/2, and [1/2, √2/2]; the triangle X[1][:3] has no hole.
    alpha, rips = AlphaPersistence().fit_transform(X), RipsPersistence().fit_transform(X)
    assert alpha.diagram(0, 0).tolist() == [[0, 0.5]] * 3
    assert rips.diagram(0, 0).tolist() == [[0, 1]] * 3
    np.testing.assert_allclose(alpha.diagram(0, 1), [[0.5, 2**-0.5]], rtol=1e-15)
    np.testing.assert_allclose(rips.diagram(0, 1), [[1, 2**0.5]], rtol=1e-15)


def test_integers_up_to_two_to_the_53_are_exact() -> None:
    (cloud,) = check_clouds([np.array([[2**53, -(2**53)], [2**53 - 1, 1]])])
    assert [[int(x) for x in point] for point in cloud] == [[2**53, -(2**53)], [2**53 - 1, 1]]


def test_arrays_that_are_right_are_not_copied() -> None:
    assert check_clouds([TABLE])[0] is TABLE


def test_the_dimension_that_was_fitted_wins() -> None:
    message = "Y[0] lies in R^2, but the dimension that was fitted is 3"
    with pytest.raises(ValueError, match=re.escape(message)):
        check_clouds([SQUARE], name="Y", dimension=3)
    for model in (AlphaPersistence(), RipsPersistence()):
        model.fit([SQUARE])
        with pytest.raises(ValueError, match=r"X\[0\] lies in R\^3, but the dimension that was"):
            model.transform([[[0.0, 0.0, 0.0]]])


@pytest.mark.parametrize("exponent", [-1074, -1024, -1022, -500, -62, -60, 0, 59, 61, 500, 1000])
def test_scales_are_powers_of_two(exponent: int) -> None:
    largest = np.ldexp(1.0, exponent)
    scale = power_of_two_scale(np.array([[0.0, -largest]]))
    assert np.frexp(scale)[0] == 0.5
    if -60 <= exponent < 60:
        assert scale == 1
    elif exponent >= -1024:
        assert 0.5 <= largest * scale < 1
    else:  # as far as the largest power of two lifts it
        assert scale == 2.0**1023
    assert power_of_two_scale(np.zeros((3, 2))) == 1


# Errors: every door, the same message, and the process lives.


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
@pytest.mark.parametrize(("X", "kind", "message"), BAD.values(), ids=BAD)
def test_bad_clouds_are_refused(
    X: Any, kind: type[Exception], message: str, door: Callable[[Any], Any]
) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        door(X)


def test_the_first_bad_cloud_is_named() -> None:
    X = [TABLE] * 7 + [with_value(np.nan), with_value(np.inf)]
    with pytest.raises(ValueError, match=re.escape("points[7] has 1 of 4 points with NaN")):
        check_clouds(X, name="points")
    nan = np.full((4, 2), np.nan)
    with pytest.raises(ValueError, match=re.escape("X[0] has 4 of 4 points with NaN or infinite")):
        check_clouds([nan])


# Arrays that are plainly right are looked at together; whatever is not, by itself.

CENTRE = np.random.default_rng(0).normal(size=(5, 2))
DOUBTFUL: dict[str, Any] = {
    "NaN": np.where(CENTRE[2, 1] == CENTRE, np.nan, CENTRE),
    "infinity": np.where(CENTRE[2, 1] == CENTRE, -np.inf, CENTRE),
    "far": np.where(CENTRE[2, 1] == CENTRE, -1.5 * 2.0**1000, CENTRE),
    "far the other way": np.where(CENTRE[2, 1] == CENTRE, 2.0**1001, CENTRE),
    "in space": np.zeros((5, 3)),
    "without points": np.zeros((0, 2)),
    "without dimensions": np.zeros((5, 0)),
    "flat": np.zeros(10),
    "masked": np.ma.masked_equal(CENTRE, CENTRE[2, 1]),
    "booleans": CENTRE > 0,
    "objects": np.array([[None, 1.0]]),
    "complex": CENTRE + 1j,
}


@pytest.mark.parametrize("numbers", [1, 25, 2**15])
@pytest.mark.parametrize("place", [0, 1, 6, 11])
@pytest.mark.parametrize("bad", DOUBTFUL.values(), ids=DOUBTFUL)
def test_many_arrays_hide_no_bad_one(
    bad: Any, place: int, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clouds_module, "_NUMBERS_PER_BLOCK", numbers)
    X: list[Any] = [CENTRE + i for i in range(11)]
    assert all(a is b for a, b in zip(check_clouds(X), X, strict=True))
    X.insert(place, bad)
    if place == 0 and np.shape(bad) == (5, 3):  # the first one decides on the dimension
        with pytest.raises(ValueError, match=re.escape("X[1] lies in R^2, but the dimension of")):
            check_clouds(X)
        return
    # What is said of it where a list among the arrays has each looked at by itself.
    with pytest.raises((ValueError, TypeError)) as slow:
        check_clouds([*X, CENTRE.tolist()])
    with pytest.raises(slow.type, match=re.escape(str(slow.value))):
        check_clouds(X)


@pytest.mark.parametrize(
    "other",
    [
        np.asfortranarray(CENTRE),
        CENTRE.astype(np.float32),
        CENTRE.astype(">f8"),
        np.round(CENTRE).astype(np.int8),
        np.ma.masked_array(CENTRE),
        CENTRE[::-1],
    ],
    ids=["columns", "float32", "big-endian", "int8", "nothing masked", "reversed"],
)
def test_arrays_that_are_not_plainly_right_are_converted(other: Any) -> None:
    clouds = check_clouds([CENTRE, other])
    assert clouds[0] is CENTRE
    assert type(clouds[1]) is np.ndarray
    assert clouds[1].dtype == np.float64
    assert clouds[1].dtype.isnative
    assert clouds[1].flags.c_contiguous
    assert clouds[1].tolist() == other.tolist()

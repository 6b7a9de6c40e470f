"""Orbits of the linked twist map: planar clouds whose label is the parameter that drove them.

The benchmark that the literature calls ORBIT5K (1000 orbits a class) and ORBIT100K (20000).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def make_orbits(
    n_per_class: int = 1000,
    n_points: int = 1000,
    *,
    random_state: int | np.random.Generator | np.random.RandomState | None = None,
    parameters: Sequence[float] | NDArray[np.float64] = (2.5, 3.5, 4.0, 4.1, 4.3),
) -> tuple[list[NDArray[np.float64]], NDArray[np.int64]]:
    """Generate orbits of the linked twist map, one class for each parameter.

    From a start drawn uniformly from the unit square, each step is ::

        x <- (x + r y (1 - y)) mod 1
        y <- (y + r x (1 - x)) mod 1        with the new x

    and the label tells which parameter r was used. The points of each orbit come in random
    order: two consecutive points would give r away to any model that sees their order.

    Parameters
    ----------
    n_per_class : int, default=1000
        Orbits for each parameter, at least 1.
    n_points : int, default=1000
        Points of each orbit, at least 1.
    random_state : int, Generator, RandomState or None, default=None
        Where the starts and the order of the points are drawn from. An int gives the same bits
        in every call. A ``numpy.random.Generator`` is used as it is and moves on. A
        ``numpy.random.RandomState`` moves on by one draw of 128 bits that seed a generator. None
        takes fresh entropy from the system; NumPy's global generator is never touched.
    parameters : sequence of float, default=(2.5, 3.5, 4.0, 4.1, 4.3)
        The values of r, each positive and finite, one class each. The default is the benchmark's.

    Returns
    -------
    X : list of ndarray of shape (n_points, 2), float64
        ``len(parameters) * n_per_class`` clouds in [0, 1)^2, each owning its memory.
    y : ndarray of shape (len(parameters) * n_per_class,), int64
        Indices into `parameters`, in blocks: 0, ..., 0, 1, ..., 1, and so on.

    Raises
    ------
    TypeError
        If a count is not an integer, `parameters` does not hold real numbers, or `random_state`
        is none of the kinds above.
    ValueError
        If a count is below 1, a seed is negative, or `parameters` is empty, not one-dimensional,
        or has a value that is not positive and finite.

    Notes
    -----
    The start itself is not a point of the cloud, which holds the 1st to the `n_points`-th
    iterate. So does the code published with PersLay [2]_; other generators, giotto-deep's among
    them, store the start and one iterate less, which differs in that one point.

    A few orbits start in an island of regular motion and stay on its curves: with the defaults and
    seed 0, 9 of 1000 at r = 2.5, 1 at 3.5, none at 4.0, 53 at 4.1 and 40 at 4.3. Their points are
    on average less than 0.001 from the nearest other one, instead of about 0.015.

    Every product and sum is one IEEE operation in a fixed order, so equal starts give equal bits
    on any machine, chaotic as the map is. The draws are those of the installed NumPy, whose
    streams may change between its versions. Orbits are drawn together: the clouds of a smaller
    `n_per_class` are not the first clouds of a larger one. At its peak the call holds twice the
    memory of its result.

    References
    ----------
    .. [1] Adams, Emerson, Kirby, Neville, Peterson, Shipman, Chepushtanova, Hanson, Motta,
       Ziegelmeier (2017), "Persistence images: a stable vector representation of persistent
       homology", JMLR 18(8).
    .. [2] Carrière, Chazal, Ike, Lacombe, Royer, Umeda (2020), "PersLay: a neural network layer
       for persistence diagrams and new graph topological signatures", AISTATS.

    Examples
    --------
    >>> X, y = make_orbits(n_per_class=2, n_points=100, random_state=0)
    >>> len(X), X[0].shape
    (10, (100, 2))
    >>> y
    array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    """
    _check_count("n_per_class", n_per_class)
    _check_count("n_points", n_points)
    values = _check_parameters(parameters)
    generator = _generator_from(random_state)

    starts = generator.random((len(values) * n_per_class, 2))
    orbits = _iterate(starts, np.repeat(values, n_per_class), n_points)
    X = [generator.permutation(orbit) for orbit in orbits]
    y = np.repeat(np.arange(len(values), dtype=np.int64), n_per_class)
    return X, y


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}={value!r} is not an integer: expected a count of 1 or more.")
    if value < 1:
        raise ValueError(f"{name}={value!r} is no count to generate: expected 1 or more.")


def _check_parameters(parameters: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.asarray(parameters)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(
            f"parameters has shape {values.shape}: expected a sequence of at least one value of "
            "r, one a class, for example parameters=(2.5, 4.1)."
        )
    if values.dtype.kind not in "iuf":
        raise TypeError(f"parameters={parameters!r} does not hold real numbers.")
    values = values.astype(np.float64)
    # A negative r would leave the square: (-1e-17) mod 1 rounds to exactly 1.0, outside [0, 1).
    bad = np.flatnonzero(~((values > 0) & (values < np.inf)))
    if bad.size:
        raise ValueError(
            f"parameters[{bad[0]}]={values[bad[0]]} is not a parameter of the linked twist map: "
            "expected 0 < r < inf."
        )
    return values


def _generator_from(random_state: object) -> np.random.Generator:
    if random_state is None:
        return np.random.default_rng()
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(0, 2**32, size=4, dtype=np.uint32))
    if isinstance(random_state, bool) or not isinstance(random_state, (int, np.integer)):
        raise TypeError(
            f"random_state={random_state!r} cannot seed a generator: expected None, an int, a "
            "numpy.random.Generator or a numpy.random.RandomState."
        )
    if random_state < 0:
        raise ValueError(f"random_state={random_state!r} is negative: expected a seed >= 0.")
    return np.random.default_rng(int(random_state))


def _iterate(
    starts: NDArray[np.float64], r: NDArray[np.float64], n_points: int
) -> NDArray[np.float64]:
    """Return the iterates 1, ..., n_points of all starts at once, in the order of time.

    `starts` is (n_orbits, 2) in [0, 1)^2, `r` is (n_orbits,) and positive; the result is
    (n_orbits, n_points, 2) in [0, 1)^2.
    """
    orbits = np.empty((len(starts), n_points, 2))
    x, y = starts.T
    for step in range(n_points):
        # No term is negative, so subtracting the floor is the mod, exact, and below 1: the
        # fraction of a float is a float.
        x = x + r * y * (1 - y)
        x -= np.floor(x)
        y = y + r * x * (1 - x)
        y -= np.floor(y)
        orbits[:, step, 0] = x
        orbits[:, step, 1] = y
    return orbits

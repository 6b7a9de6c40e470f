"""Time series to point clouds: delay vectors, the step before a filtration (fact D6)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from stablerank.diagrams.clouds import LARGEST_COORDINATE, check_array, check_list
from stablerank.diagrams.filtration import is_integer
from stablerank.stability import PER_POINT, SERIES_SUP, Bound, Space, StabilityError, sqrt_up

_EXPECTED = (
    "Expected a list of series, (n_times,) or (n_times, n_channels), or one array of shape "
    "(n_series, n_times) or (n_series, n_times, n_channels)."
)


class TakensEmbedding(TransformerMixin, BaseEstimator):
    """Clouds of delay vectors, the same delays for every series.

    Point i of the cloud of a series x is ::

        (x[s i], x[s i + τ], x[s i + 2 τ], ..., x[s i + (m - 1) τ])

    with m the dimension, τ the delay and s the stride, for as long as the series lasts. With c
    channels each x[t] is a vector, and points lie in R^(m c). Choose delays by looking at training
    data only: delays fitted to each series have no constant.

    Parameters
    ----------
    dimension : int
        How many delays, m >= 1.
    delay : int
        Steps between them, τ >= 1.
    stride : int, default=1
        Steps between points, s >= 1.

    Attributes
    ----------
    n_channels_ : int
        The number of channels c of the series that were fitted.

    References
    ----------
    .. [1] Takens (1981), "Detecting strange attractors in turbulence", Dynamical Systems and
       Turbulence, Lecture Notes in Mathematics 898.

    Examples
    --------
    >>> TakensEmbedding(2, 3).fit_transform([[0, 1, 2, 3, 4]])
    [array([[0., 3.],
           [1., 4.]])]
    """

    def __init__(self, dimension: int, delay: int, stride: int = 1) -> None:
        self.dimension = dimension
        self.delay = delay
        self.stride = stride

    def fit(self, X: Any, y: Any = None) -> TakensEmbedding:
        """Check parameters and series, and remember the number of channels.

        Parameters
        ----------
        X : list of ndarray of shape (n_times,) or (n_times, n_channels)
            The series; lengths may differ.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad parameters or series; the message names the index of the series.
        """
        self._check_parameters()
        self.n_channels_ = self._check(X, None)[0].shape[1]
        return self

    def transform(self, X: Any) -> list[NDArray[np.float64]]:
        """Cut the series into delay vectors.

        Parameters
        ----------
        X : list of ndarray of shape (n_times,) or (n_times, n_channels)
            The series, with the number of channels that was fitted.

        Returns
        -------
        list of ndarray of shape (n_points, dimension * n_channels), float64
            One cloud a series, with ``1 + (n_times - 1 - (dimension - 1) * delay) // stride``
            points. The channels of one time stand side by side.

        Raises
        ------
        ValueError
            If a series is too short for one point, not finite or has other channels.
        """
        check_is_fitted(self, "n_channels_")
        self._check_parameters()  # set_params may have changed them since fit
        return [self._cloud(series) for series in self._check(X, self.n_channels_)]

    def stability(self, source: Space = SERIES_SUP) -> Bound:
        """The bound from the series to the clouds.

        Parameters
        ----------
        source : Space, default=SERIES_SUP
            The largest change of an entry of a series, at any time and in any channel.

        Returns
        -------
        Bound
            To the largest displacement of a point, constant √(m c): a point has m c entries, each
            of which moves by at most ε, and all of which may (D6).

        Raises
        ------
        StabilityError
            For other metrics.
        NotFittedError
            Before `fit`, which counts the channels.
        """
        if source != SERIES_SUP:
            raise StabilityError(
                f"TakensEmbedding knows a constant from {SERIES_SUP}, not from {source}."
            )
        check_is_fitted(self, "n_channels_")
        constant = sqrt_up(self.dimension * self.n_channels_)
        theorem = f"D6: ℓ2 ≤ √(mc) ℓ∞, m={self.dimension} delays, c={self.n_channels_} channels"
        return Bound(SERIES_SUP, PER_POINT, constant, theorem, "Takens")

    def relative_rounding(self) -> float:
        """Zero: coordinates are entries of the series."""
        return 0.0

    def _check_parameters(self) -> None:
        for name in ("dimension", "delay", "stride"):
            value = getattr(self, name)
            if not is_integer(value) or value < 1:
                raise ValueError(f"{name}={value!r}: expected an integer, 1 or more.")

    def _check(self, X: Any, n_channels: int | None) -> list[NDArray[np.float64]]:
        all_series = check_series(X, n_channels=n_channels)
        needed = 1 + (self.dimension - 1) * self.delay
        for i, series in enumerate(all_series):
            if len(series) < needed:
                raise ValueError(
                    f"X[{i}] has {len(series)} times, but one point of dimension={self.dimension} "
                    f"and delay={self.delay} takes {needed}: drop it, or take fewer or shorter "
                    f"delays."
                )
        return all_series

    def _cloud(self, series: NDArray[np.float64]) -> NDArray[np.float64]:
        reach = 1 + (self.dimension - 1) * self.delay
        windows = sliding_window_view(series, reach, axis=0)[:: self.stride, :, :: self.delay]
        return windows.transpose(0, 2, 1).reshape(len(windows), -1).copy()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.requires_fit = True
        return tags


def check_series(
    X: Any, *, name: str = "X", n_channels: int | None = None
) -> list[NDArray[np.float64]]:
    """Validate time series and return them as float64 arrays of shape (n_times, n_channels).

    Parameters
    ----------
    X : sequence of array-like of shape (n_times,) or (n_times, n_channels), or one array
        Real numbers or integers. A 2-D array is a row a series; one of 3 axes is
        (n_series, n_times, n_channels). Lengths may differ, the number of channels may not.
    name : str, default="X"
        The argument's name, for messages.
    n_channels : int, optional
        The number of channels that is expected, when an earlier step has fixed it.

    Returns
    -------
    list of ndarray of shape (n_times, n_channels), float64

    Raises
    ------
    ValueError
        If there is no series, or one is empty, ragged, not finite, beyond 2^1000, or has another
        number of channels; the message names the index of the series.
    TypeError
        If `X` is no sequence, or what it holds is not real numbers.
    """
    all_series: list[NDArray[np.float64]] = []
    for i, item in enumerate(check_list(X, name=name, expected=_EXPECTED, ndim=(2, 3))):
        where = f"{name}[{i}]"
        advice = "expected a series of shape (n_times,) or (n_times, n_channels)."
        series = check_array(item, where, advice, ndim=(1, 2))
        series = series.reshape(len(series), -1)
        expected, why = (
            (n_channels, "the series that were fitted have")
            if n_channels is not None
            else (all_series[0].shape[1] if all_series else series.shape[1], f"{name}[0] has")
        )
        if series.shape[1] != expected:
            raise ValueError(
                f"{where} has {series.shape[1]} channels, but {why} {expected}. All series of a "
                f"model have the same channels."
            )
        bad = np.flatnonzero(~(np.abs(series) <= LARGEST_COORDINATE).all(axis=1))  # NaN too
        if bad.size:
            raise ValueError(
                f"{where} is NaN, infinite or beyond 2^1000 at {bad.size} of {len(series)} times "
                f"(first: time {bad[0]}). Persistence needs finite points: repair or cut it before "
                f"transform."
            )
        all_series.append(series)
    return all_series

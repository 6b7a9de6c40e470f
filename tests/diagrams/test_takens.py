"""Delay vectors: written out by hand, and how far they move when a series does."""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from stablerank.diagrams import RipsPersistence, TakensEmbedding
from stablerank.stability import PER_POINT, SERIES_SUP, SUP, StabilityChain, StabilityError
from stablerank.stages import chain_of_stages

Array = NDArray[np.float64]

# Closed form.


def test_delay_vectors_of_one_channel() -> None:
    series = [10, 11, 12, 13, 14, 15, 16]
    assert TakensEmbedding(3, 2).fit_transform([series])[0].tolist() == [
        [10, 12, 14],
        [11, 13, 15],
        [12, 14, 16],
    ]
    assert TakensEmbedding(3, 2, stride=2).fit_transform([series])[0].tolist() == [
        [10, 12, 14],
        [12, 14, 16],
    ]
    assert TakensEmbedding(1, 9, stride=3).fit_transform([series])[0].tolist() == [[10], [13], [16]]


def test_channels_stand_side_by_side() -> None:
    series = [[0, 100], [1, 101], [2, 102], [3, 103]]
    assert TakensEmbedding(2, 2).fit_transform([series])[0].tolist() == [
        [0, 100, 2, 102],
        [1, 101, 3, 103],
    ]


def test_a_sine_is_a_circle() -> None:
    # A quarter of a period later a sine is a cosine: the points of the regular 40-gon, whose first
    # triangle with the centre inside has a largest side over ceil(40 / 3) = 14 of its edges.
    times = 2 * np.pi * np.arange(50) / 40
    cloud = TakensEmbedding(2, 10).fit_transform([np.sin(times)])[0]
    np.testing.assert_allclose(np.linalg.norm(cloud, axis=1), 1, rtol=1e-12)
    bars = RipsPersistence((1,)).fit_transform([cloud]).diagram(0, 1)
    expected = [[2 * np.sin(np.pi / 40), 2 * np.sin(14 * np.pi / 40)]]
    np.testing.assert_allclose(bars[:1], expected, rtol=1e-12)


# The law.

SETTINGS = [(1, 1, 1, 1), (2, 3, 1, 1), (3, 1, 2, 1), (4, 2, 5, 3), (2, 1, 1, 2)]


def excess(factor: float, m: int, delay: int, stride: int, c: int, seed: int) -> float:
    """How far points moved at worst beyond what the constant allows, rounding granted."""
    rng, worst = np.random.default_rng(seed), -np.inf
    for epsilon in (1e-9, 1e-2, 1.0):
        before = rng.normal(size=(30, c))
        for signs in (rng.uniform(-1, 1, size=(30, c)), np.ones((30, c))):
            after = before + epsilon * signs
            embedding = TakensEmbedding(m, delay, stride)
            a, b = embedding.fit_transform([before, after])
            moved = np.linalg.norm(a - b, axis=1).max()
            allowed = factor * embedding.stability().constant * np.abs(after - before).max()
            worst = max(worst, moved - allowed * (1 + (m * c + 4) * 2.0**-52))
    return float(worst)


@pytest.mark.parametrize(("m", "delay", "stride", "c"), SETTINGS)
def test_points_move_at_most_by_the_constant(
    m: int, delay: int, stride: int, c: int, seed: int
) -> None:
    assert excess(1.0, m, delay, stride, c, seed) <= 0
    assert excess(0.99, m, delay, stride, c, seed) > 0  # all entries up by ε attain it
    assert excess(0.5, m, delay, stride, c, seed) > 0


def reference(series: Array, m: int, delay: int, stride: int) -> list[list[float]]:
    points, start = [], 0
    while start + (m - 1) * delay < len(series):
        point: list[float] = []
        for j in range(m):
            point.extend(series[start + j * delay].tolist())
        points.append(point)
        start += stride
    return points


@pytest.mark.parametrize(("m", "delay", "stride", "c"), SETTINGS)
def test_the_definition_word_by_word(m: int, delay: int, stride: int, c: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(n, c)) for n in range((m - 1) * delay + 1, 30)]
    clouds = TakensEmbedding(m, delay, stride).fit_transform(X)
    for series, cloud in zip(X, clouds, strict=True):
        assert cloud.tolist() == reference(series, m, delay, stride)
        assert len(cloud) == 1 + (len(series) - 1 - (m - 1) * delay) // stride


# The contract.


def test_the_constant_and_the_chain() -> None:
    X = [np.arange(12.0).reshape(6, 2)]
    embedding = TakensEmbedding(2, 1).fit(X)
    bound = embedding.stability()
    assert (bound.source, bound.target, bound.constant) == (SERIES_SUP, PER_POINT, 2.0)
    rips = RipsPersistence((1,)).fit(embedding.transform(X))
    chain = chain_of_stages([embedding, rips], SERIES_SUP)
    assert chain.constant == pytest.approx(4.0, rel=1e-15)
    assert StabilityChain.from_json(chain.to_json()) == chain
    assert embedding.relative_rounding() == 0
    root = TakensEmbedding(3, 1).fit([np.arange(9)]).stability().constant
    assert 3**0.5 <= root <= np.nextafter(3**0.5, 2)
    with pytest.raises(StabilityError, match=re.escape("from series[sup], not from matrix[sup]")):
        embedding.stability(SUP)


def test_what_is_accepted_as_series() -> None:
    rows = np.arange(12.0).reshape(2, 6)
    expected = [cloud.tolist() for cloud in TakensEmbedding(2, 1).fit_transform(list(rows))]
    stacked = rows[..., None]
    for X in (rows, rows.tolist(), stacked, rows.astype(np.float32), rows.astype(int)):
        clouds = TakensEmbedding(2, 1).fit_transform(X)
        assert [cloud.tolist() for cloud in clouds] == expected
        assert all(c.dtype == np.float64 and c.flags.c_contiguous for c in clouds)
    rows.flags.writeable = False
    clouds = TakensEmbedding(1, 1).fit_transform(rows)
    clouds[0][:] = 7  # never a view of the input
    assert rows[0, 0] == 0


def test_clones_pickles_and_pipelines() -> None:
    X = [np.sin(np.arange(n) / 3) for n in (20, 40)]
    embedding = TakensEmbedding(2, 5, stride=2)
    clouds = embedding.fit_transform(X)
    for copy in (clone(embedding).fit(X), pickle.loads(pickle.dumps(embedding))):
        assert all(np.array_equal(a, b) for a, b in zip(copy.transform(X), clouds, strict=True))
    diagrams = make_pipeline(embedding, RipsPersistence()).fit_transform(X)
    assert diagrams == RipsPersistence().fit_transform(clouds)


def test_fit_comes_first() -> None:
    with pytest.raises(NotFittedError):
        TakensEmbedding(2, 1).transform([[1, 2, 3]])
    with pytest.raises(NotFittedError):
        TakensEmbedding(2, 1).stability()


# Errors.


@pytest.mark.parametrize("name", ["dimension", "delay", "stride"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"])
def test_bad_parameters_are_refused(name: str, value: Any) -> None:
    message = f"{name}={value!r}: expected an integer, 1 or more."
    embedding = TakensEmbedding(1, 1).fit([[1, 2]]).set_params(**{name: value})
    for method in (embedding.fit, embedding.transform):
        with pytest.raises(ValueError, match=re.escape(message)):
            method([[1, 2]])


@pytest.mark.parametrize(
    ("X", "kind", "message"),
    [
        ([[1, 2, 3], [1, 2]], ValueError, "X[1] has 2 times, but one point of dimension=2 and"),
        ([[1, 2, 3], [1, np.nan, 3]], ValueError, "X[1] is NaN, infinite or beyond 2^1000 at 1 of"),
        ([[1, 2, 3], [1, 2, np.inf]], ValueError, "(first: time 2)"),
        ([[1, 2, 3], [1, 2, 1e305]], ValueError, "X[1] is NaN, infinite or beyond 2^1000 at 1"),
        (
            [[1, 2, 3], np.zeros((3, 2))],
            ValueError,
            "X[1] has 2 channels, but the series that were",
        ),
        ([[1, 2, 3], []], ValueError, "X[1] is empty"),
        ([[1, 2, 3], np.zeros((3, 0))], ValueError, "X[1] has rows without entries"),
        ([[1, 2, 3], np.zeros((3, 1, 1))], ValueError, "X[1] has shape (3, 1, 1): expected a ser"),
        ([[1, 2, 3], ["a", "b", "c"]], TypeError, "X[1] has dtype <U1"),
        ([1, 2, 3], ValueError, "X[0] has shape (): expected a series of shape (n_times,)"),
        (np.zeros(3), ValueError, "X has 1 dimension(s), shape (3,). Expected a list of series"),
        ([], ValueError, "X is empty: there is nothing in it. Expected a list of series"),
        (None, TypeError, "X is a NoneType. Expected a list of series"),
    ],
)
def test_bad_series_are_refused(X: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        TakensEmbedding(2, 2).fit([[1, 2, 3]]).transform(X)

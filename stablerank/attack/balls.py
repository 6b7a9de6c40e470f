"""What a gradient needs to know of a threat: where to step, how to stay inside, where to start.

Displacements of many clouds stand one after the other, shape (n_points, d); cloud i has the rows
``offsets[i]:offsets[i + 1]``, and none is empty. Nothing here is rounded to the safe side: the
judge measures again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stablerank.attack.generators import Indices

Field = NDArray[np.float64]


class Ball(ABC):
    """The displacements of radius 1 that a threat allows."""

    @abstractmethod
    def direction(self, gradient: Field, offsets: Indices) -> Field:
        """The displacement in the ball of each cloud whose product with the gradient is largest.

        Points, or coordinates, without gradient keep their place.
        """

    @abstractmethod
    def project(self, displacement: Field, radius: NDArray[np.float64], offsets: Indices) -> Field:
        """The nearest displacement within the radius of each cloud, shape (n_clouds,)."""

    @abstractmethod
    def draw(self, shape: tuple[int, int], rng: Generator) -> Field:
        """A displacement of one cloud, uniformly distributed in the ball."""


class PerPointBall(Ball):
    """Every point moves by at most 1 in ℓ2."""

    def direction(self, gradient: Field, offsets: Indices) -> Field:
        """Every point along its own gradient."""
        gradient = _scaled(gradient, offsets)
        norms = _row_norms(gradient)
        return gradient / np.where(norms > 0, norms, 1.0)[:, None]

    def project(self, displacement: Field, radius: NDArray[np.float64], offsets: Indices) -> Field:
        """Every point shortened by itself."""
        norms = _row_norms(displacement)
        allowed = np.repeat(radius, np.diff(offsets))
        return displacement * np.where(norms > allowed, _ratio(allowed, norms), 1.0)[:, None]

    def draw(self, shape: tuple[int, int], rng: Generator) -> Field:
        """Every point by itself."""
        field = rng.normal(size=shape)
        field *= rng.uniform(size=(shape[0], 1)) ** (1 / shape[1])
        return np.asarray(field / np.maximum(_row_norms(field)[:, None], np.finfo(float).tiny))


class PerCoordinateBall(Ball):
    """Every coordinate moves by at most 1."""

    def direction(self, gradient: Field, offsets: Indices) -> Field:
        """The signs."""
        return np.sign(gradient)

    def project(self, displacement: Field, radius: NDArray[np.float64], offsets: Indices) -> Field:
        """Every coordinate clipped."""
        allowed = np.repeat(radius, np.diff(offsets))[:, None]
        return np.clip(displacement, -allowed, allowed)

    def draw(self, shape: tuple[int, int], rng: Generator) -> Field:
        """Every coordinate by itself."""
        return rng.uniform(-1, 1, size=shape)


class FrobeniusBall(Ball):
    """The displacements of all points of a cloud have together norm at most 1."""

    def direction(self, gradient: Field, offsets: Indices) -> Field:
        """The gradient of each cloud at length 1."""
        gradient = _scaled(gradient, offsets)
        norms = _cloud_norms(gradient, offsets)
        return gradient / np.repeat(np.where(norms > 0, norms, 1.0), np.diff(offsets))[:, None]

    def project(self, displacement: Field, radius: NDArray[np.float64], offsets: Indices) -> Field:
        """Each cloud's displacements scaled together."""
        norms = _cloud_norms(displacement, offsets)
        factors = np.where(norms > radius, _ratio(radius, norms), 1.0)
        return displacement * np.repeat(factors, np.diff(offsets))[:, None]

    def draw(self, shape: tuple[int, int], rng: Generator) -> Field:
        """All points together."""
        field = rng.normal(size=shape)
        return field * (rng.uniform() ** (1 / field.size) / np.linalg.norm(field))


def _scaled(gradient: Field, offsets: Indices) -> Field:
    """Each cloud's gradient divided by its largest entry, so that squares do not overflow."""
    d = gradient.shape[1]
    largest = np.maximum.reduceat(np.abs(gradient).reshape(-1), d * offsets[:-1])
    return gradient / np.repeat(np.where(largest > 0, largest, 1.0), np.diff(offsets))[:, None]


def _row_norms(field: Field) -> NDArray[np.float64]:
    return np.sqrt(np.einsum("ij,ij->i", field, field))


def _cloud_norms(field: Field, offsets: Indices) -> NDArray[np.float64]:
    return np.sqrt(np.add.reduceat(np.einsum("ij,ij->i", field, field), offsets[:-1]))


def _ratio(allowed: NDArray[np.float64], norms: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(allowed, norms, out=np.ones_like(norms), where=norms > 0)

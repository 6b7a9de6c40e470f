"""What an adversary may do under a threat, as a search needs it: propose, change, measure, shorten.

One class a kind of input: ``points.py`` (clouds), ``matrices.py`` (dissimilarities),
``diagrams.py``. A candidate is what the adversary would hand in, together with what is needed to
measure how far it is from the original; for clouds and matrices it is the input itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import Generator

from stablerank.attack.balls import Ball, Field


class Adversary(ABC):
    """One threat against one kind of input.

    The methods take what :meth:`study` returned for an original, so that neighbours, clusters and
    holes are found once a cloud.

    Attributes
    ----------
    ball : Ball or None
        What gradients need to know; None where no gradient leads to what is changed. Where there is
        one, :meth:`rows` and :meth:`from_rows` say what moves in it.
    """

    ball: Ball | None = None

    @abstractmethod
    def check(self, X: Any) -> list[Any]:
        """The originals of a valid input, one an entry; raises for what is not valid."""

    @abstractmethod
    def study(self, original: Any) -> Any:
        """What the other methods want to know of an original."""

    @abstractmethod
    def original(self, studied: Any) -> Any:
        """The candidate that is not moved at all."""

    def rows(self, studied: Any) -> Field:
        """What the ball's displacements are added to, shape (n_rows, d): the points of a cloud."""
        return np.asarray(self.original(studied))

    def from_rows(self, studied: Any, rows: Field) -> Any:
        """The candidate with these rows."""
        return rows

    @abstractmethod
    def propose(self, studied: Any, radius: float, turn: int, rng: Generator) -> Any:
        """A candidate from scratch; `turn` counts up, so that every kind comes in its turn.

        It may be longer than `radius` allows.
        """

    @abstractmethod
    def change(
        self, studied: Any, candidate: Any, radius: float, share: float, rng: Generator
    ) -> Any:
        """The candidate, changed in a block of about `share` of its parts; may be too long."""

    @abstractmethod
    def shorten(self, studied: Any, candidate: Any, radius: float) -> Any:
        """The candidate, pulled back until its displacement is at most `radius`."""

    @abstractmethod
    def displacement(self, studied: Any, candidate: Any) -> float:
        """How far a candidate is from the original in the threat's metric, rounded up."""

    @abstractmethod
    def size(self, studied: Any) -> float:
        """A displacement of which more makes no sense: the size of the original."""

    def collect(self, candidates: Sequence[Any]) -> Any:
        """Candidates as the pipeline takes its inputs."""
        return list(candidates)


def pick_block(n: int, share: float, rng: Generator) -> int:
    """How many of n parts a block has: at least 1, and about `share` of all."""
    return int(min(n, max(1, np.floor(share * n + rng.uniform()))))

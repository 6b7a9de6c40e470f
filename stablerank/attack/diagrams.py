"""Adversaries against diagrams: in bottleneck or Wasserstein distance, each homology dimension.

A candidate lists where each bar went (to the diagonal, if it is removed) and which bars are new,
so it comes with a matching. The distance between two diagrams is the least cost of a matching;
what this one costs is never below it, and is what the adversary is charged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stablerank.attack.adversary import Adversary, pick_block
from stablerank.attack.displacement import (
    UNIT_ROUNDOFF,
    differences_upper,
    norms_upper,
    pull_back,
    row_distances_upper,
)
from stablerank.diagrams.batch import Diagram, DiagramBatch

_ATTEMPTS = 9


@dataclass(frozen=True)
class MovedDiagrams:
    """The diagrams of one cloud, changed.

    Attributes
    ----------
    moved : dict of int to ndarray of shape (n_bars, 2)
        For each homology dimension where the bars of the original went, in its order.
    added : dict of int to ndarray of shape (n_added, 2)
        The bars that have no counterpart.
    """

    moved: dict[int, Diagram]
    added: dict[int, Diagram]


class DiagramAdversary(Adversary):
    """Changes births and deaths, adds short bars and removes others.

    Parameters
    ----------
    p : float
        Exponent of the Wasserstein distance W_p; ∞ is the bottleneck distance.
    q : float
        Ground norm ℓ_q between bars; ∞ for the bottleneck distance.
    """

    def __init__(self, p: float = math.inf, q: float = math.inf) -> None:
        self.p, self.q = float(p), float(q)

    def check(self, X: Any) -> list[dict[int, Diagram]]:
        """The diagrams, a dict a cloud."""
        if not isinstance(X, DiagramBatch):
            raise ValueError(
                f"X is a {type(X).__name__}: a threat against diagrams changes a DiagramBatch, "
                f'such as pipeline[0] returns. For clouds use threat="per_point" or "hausdorff".'
            )
        return list(X)

    def study(self, original: dict[int, Diagram]) -> dict[int, Diagram]:
        """Nothing to find: bars are all there is."""
        return original

    def original(self, studied: dict[int, Diagram]) -> MovedDiagrams:
        """All bars as they are."""
        return MovedDiagrams(dict(studied), {k: np.empty((0, 2)) for k in studied})

    def propose(
        self, studied: dict[int, Diagram], radius: float, turn: int, rng: Generator
    ) -> MovedDiagrams:
        """In turns: bars longer, shorter, shifted or any of it; all, the longest, one or a few."""
        moved, added = {}, {}
        for k, bars in studied.items():
            steps = _patterns(len(bars), turn, rng)
            moved[k] = _onto_bars(bars + radius * steps)
            n_added = int(rng.choice([0, 1, 3, len(bars) + 1])) if turn % 2 else 0
            added[k] = self._new_bars(bars, radius, n_added, rng)
        return MovedDiagrams(moved, added)

    def change(
        self,
        studied: dict[int, Diagram],
        candidate: MovedDiagrams,
        radius: float,
        share: float,
        rng: Generator,
    ) -> MovedDiagrams:
        """A block of one dimension's bars moved elsewhere, or its new bars drawn anew."""
        k = int(rng.choice(list(studied)))
        bars, moved, added = studied[k], dict(candidate.moved), dict(candidate.added)
        if len(bars) == 0 or rng.uniform() < 0.2:
            added[k] = self._new_bars(bars, radius, int(rng.choice([0, 1, 3, len(bars) + 1])), rng)
        else:
            rows = rng.permutation(len(bars))[: pick_block(len(bars), share, rng)]
            moved[k] = moved[k].copy()
            steps = rng.choice([-1.0, 0.0, 1.0], size=2 if rng.uniform() < 0.5 else (len(rows), 2))
            moved[k][rows] = _onto_bars(bars[rows] + radius * steps)
        return MovedDiagrams(moved, added)

    def shorten(
        self, studied: dict[int, Diagram], candidate: MovedDiagrams, radius: float
    ) -> MovedDiagrams:
        """Bars pulled back, one by one for the bottleneck distance and all together else."""
        moved, added = {}, {}
        for k, bars in studied.items():
            pulled, new = candidate.moved[k], candidate.added[k]
            finite = np.isfinite(pulled).all(axis=1, keepdims=True)
            pulled = _onto_bars(np.where(finite, pulled, bars))
            new = _onto_bars(new[np.isfinite(new).all(axis=1)])
            if self.p == math.inf:
                pulled = pull_back(bars, pulled, radius, self.q, _onto_bars)
                new = pull_back(_diagonal(new), new, radius, self.q, _onto_bars)
                # measured as the displacement is: from the lengths
                new = new[self._to_diagonal(new) <= radius]
            else:
                pulled, new = self._together(bars, pulled, new, radius)
            moved[k], added[k] = pulled, new
        return MovedDiagrams(moved, added)

    def displacement(self, studied: dict[int, Diagram], candidate: MovedDiagrams) -> float:
        """What the matching costs, the largest over the homology dimensions."""
        costs = [self._cost(studied[k], candidate.moved[k], candidate.added[k]) for k in studied]
        return max(costs)

    def size(self, studied: dict[int, Diagram]) -> float:
        """What it takes to remove all bars and as much again; 1 if there are none."""
        empty = np.empty((0, 2))
        return 2 * max(self._cost(empty, empty, bars) for bars in studied.values()) or 1.0

    def collect(self, candidates: Sequence[MovedDiagrams]) -> DiagramBatch:
        """One batch; bars that went to the diagonal are gone."""
        return DiagramBatch.from_diagrams(
            [
                {k: np.concatenate([each.moved[k], each.added[k]]) for k in each.moved}
                for each in candidates
            ]
        )

    def _cost(self, bars: Diagram, moved: Diagram, added: Diagram) -> float:
        each = [row_distances_upper(moved, bars, self.q), self._to_diagonal(added)]
        return float(norms_upper(np.concatenate(each), self.p))

    def _to_diagonal(self, bars: Diagram) -> NDArray[np.float64]:
        """ℓq distances of bars to the diagonal, length/2^{1−1/q}, rounded up."""
        lengths = differences_upper(bars[:, 1], bars[:, 0])
        upper = lengths * 2.0 ** (1 / self.q - 1) * (1 + 16 * UNIT_ROUNDOFF)
        return np.where(lengths == 0, 0.0, np.nextafter(upper, np.inf))

    def _together(
        self, bars: Diagram, moved: Diagram, added: Diagram, radius: float
    ) -> tuple[Diagram, Diagram]:
        """All steps and all new bars scaled by one factor, until the matching costs little enough.

        Bars that cannot be moved as little as that in floating point go back to where they were.
        """
        for attempt in range(_ATTEMPTS):
            cost = self._cost(bars, moved, added)
            if cost <= radius:
                return moved, added
            factor = radius / cost * (1 - 2.0 ** (-35 + 4 * attempt))
            moved = _onto_bars(bars + (moved - bars) * factor)
            middle = _diagonal(added)
            added = _onto_bars(middle + (added - middle) * factor)
        return bars.copy(), np.empty((0, 2))

    def _new_bars(self, bars: Diagram, radius: float, n: int, rng: Generator) -> Diagram:
        """Bars as long as one may be, at the heights of the old ones."""
        span = float(np.abs(bars).max(initial=radius))
        births = rng.uniform(0, span, size=n)
        return np.column_stack([births, births + radius * 2.0 ** (1 - 1 / self.q)])


def _onto_bars(bars: Diagram) -> Diagram:
    """Bars that would die before they are born end on the diagonal, half way between."""
    middle = _diagonal(bars)
    return np.where((bars[:, 0] > bars[:, 1])[:, None], middle, bars)


def _diagonal(bars: Diagram) -> Diagram:
    """The nearest point of the diagonal for each bar, in every ℓq norm."""
    middle = bars[:, :1] + (bars[:, 1:] - bars[:, :1]) / 2
    return np.repeat(middle, 2, axis=1)


def _patterns(n: int, turn: int, rng: Generator) -> NDArray[np.float64]:
    """Steps of n bars, shape (n, 2), each entry −1, 0 or 1; bars stand longest first."""
    longer = np.array([-1.0, 1.0])
    which = (turn // 2) % 5
    if which == 0:  # all alike
        steps = np.tile(rng.choice([-1.0, 1.0]) * longer, (n, 1))
    elif which == 1:  # the longest one way, the others the other way
        steps = np.tile(-longer, (n, 1))
        steps[: rng.integers(n + 1)] = longer
        steps *= rng.choice([-1.0, 1.0])
    elif which == 2:  # one bar
        steps = np.zeros((n, 2))
        if n:
            row = min(int(rng.geometric(0.3)) - 1, n - 1)
            steps[row] = rng.choice([-1.0, 1.0]) * longer
    elif which == 3:  # a few
        steps = np.zeros((n, 2))
        rows = rng.permutation(n)[: 2 ** rng.integers(0, 5)]
        steps[rows] = rng.choice([-1.0, 0.0, 1.0], size=(len(rows), 2))
    else:  # any
        steps = rng.choice([-1.0, 0.0, 1.0], size=(n, 2))
    return steps

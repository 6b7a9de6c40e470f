"""Attack by trying: whole new candidates, one after the other, the worst of which counts."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from stablerank.attack.judge import Judge
from stablerank.attack.method import Attack

_CANDIDATES_AT_ONCE = 10


class RandomSearch(Attack):
    """Draws candidates at the full radius, of all the kinds that the threat has in store.

    Clouds are moved in noise, in waves, from and to their centroid, their neighbours, the clusters
    that merge and the holes; matrices and diagrams have patterns of their own.

    Parameters
    ----------
    n_queries : int, default=200
        How many candidates of each cloud are drawn.

    Examples
    --------
    >>> RandomSearch(n_queries=50)
    RandomSearch(n_queries=50)
    """

    def run(self, judge: Judge, rngs: list[Generator]) -> None:
        """Draw candidates, some of all clouds at once."""
        while (clouds := judge.open(self.n_queries)).size:
            asked, candidates = [], []
            for cloud in clouds:
                studied, radius = judge.studied[cloud], float(judge.radius[cloud])
                first = int(judge.spent[cloud])
                for turn in range(first, min(first + _CANDIDATES_AT_ONCE, self.n_queries)):
                    asked.append(cloud)
                    candidates.append(judge.adversary.propose(studied, radius, turn, rngs[cloud]))
            judge.evaluate(np.array(asked), candidates)

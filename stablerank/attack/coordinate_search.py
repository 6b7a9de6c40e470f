"""Attack block by block: change a part of the best candidate, keep what lowers the margin."""

from __future__ import annotations

from numpy.random import Generator

from stablerank.attack.judge import Judge
from stablerank.attack.method import Attack


class CoordinateSearch(Attack):
    """Changes blocks of points, entries or bars, large ones first and single ones in the end.

    Starts from the best candidate so far. A change is kept if the margin does not grow; for a
    pipeline that only predicts, that is as long as the prediction does not change [1]_.

    Parameters
    ----------
    n_queries : int, default=200
        How many candidates of each cloud are tried.
    largest_share : float, default=0.5
        The first blocks' share of all points, in (0, 1]; it falls to one point geometrically.

    References
    ----------
    .. [1] Andriushchenko, Croce, Flammarion, Hein (2020), "Square attack: a query-efficient
       black-box adversarial attack via random search", ECCV.

    Examples
    --------
    >>> CoordinateSearch(n_queries=50)
    CoordinateSearch(n_queries=50, largest_share=0.5)
    """

    def __init__(self, *, n_queries: int = 200, largest_share: float = 0.5) -> None:
        super().__init__(n_queries=n_queries)
        if not 0 < largest_share <= 1:
            raise ValueError(f"largest_share={largest_share!r}: expected a number in (0, 1].")
        self.largest_share = largest_share

    def run(self, judge: Judge, rngs: list[Generator]) -> None:
        """Try one change of every open cloud at a time."""
        start = judge.spent.copy()
        while (clouds := judge.open()).size:
            candidates = []
            for cloud in clouds:
                budget = judge.n_queries - start[cloud]
                # by the last third of the budget blocks are down to a thousandth, one point mostly
                progress = min(1.0, 1.5 * float(judge.spent[cloud] - start[cloud]) / budget)
                candidates.append(
                    judge.adversary.change(
                        judge.studied[cloud],
                        judge.best[cloud],
                        float(judge.radius[cloud]),
                        self.largest_share * 0.002**progress,
                        rngs[cloud],
                    )
                )
            judge.evaluate(clouds, candidates)

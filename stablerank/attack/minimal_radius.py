"""How little suffices: the smallest displacement found that changes a prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stablerank.attack.judge import Judge
from stablerank.attack.method import Attack, make_judge, spawn_generators, verdict
from stablerank.attack.pipeline import find_method
from stablerank.attack.result import AttackResult
from stablerank.certify.threats import threat_space

_SHARES = (0.5, 0.75, 0.9, 0.97)
_MOST_HALVINGS = 100


def minimal_radius(
    pipeline: Any,
    X: Any,
    y: ArrayLike,
    *,
    threat: str = "per_point",
    largest: ArrayLike | None = None,
    p: float | None = None,
    q: float | None = None,
    method: str | Attack = "search",
    n_rounds: int = 12,
    tolerance: float = 1e-3,
    random_state: int | None = None,
) -> AttackResult:
    """Search the smallest displacement that changes each prediction.

    An upper bound of the true distance to the next decision boundary, as a certificate is a lower
    one; their quotient says how tight the certificate is.

    Parameters
    ----------
    pipeline, X, y, threat, p, q, random_state
        As in :func:`attack`.
    largest : float or array-like of shape (n_clouds,), optional
        Where to give up. By default eight times the size of each input, by doubling from that
        size: the diagonal of the box around a cloud, the largest entry of a matrix, twice what it
        takes to remove all bars.
    method : str or Attack, default="search"
        What searches at one radius, as in :func:`attack`: ``"gradient"`` where there are gradients.
    n_rounds : int, default=12
        How often it does, at most: until it succeeds, and then at shares of the least displacement
        so far. Four failures in a row are the end.
    tolerance : float, default=1e-3
        After each success the displacement is shortened along the way back to the original, until
        it is known up to this relative error.

    Returns
    -------
    AttackResult
        With the least displacements; ``breaking_displacement`` is infinite where none was found.

    Raises
    ------
    TypeError, ValueError
        As :func:`attack`.

    Examples
    --------
    >>> class Wide:
    ...     def predict(self, X):
    ...         return np.array([np.ptp(cloud) > 1 for cloud in X])
    >>> segment = np.array([[0.0, 0.0], [0.9, 0.0]])
    >>> found = minimal_radius(Wide(), [segment], [False], random_state=0)
    >>> bool(0.05 <= found.breaking_displacement[0] < 0.06)
    True
    """
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance={tolerance!r}: expected a number between 0 and 1.")
    if not n_rounds >= 1:
        raise ValueError(f"n_rounds={n_rounds!r}: expected an integer >= 1.")
    chosen = find_method(method)
    _, unit = threat_space(threat, p, q)
    judge = make_judge(
        pipeline,
        X,
        y,
        threat=threat,
        radius=0.0 if largest is None else largest,
        p=p,
        q=q,
        n_queries=chosen.n_queries,
    )
    allowed = judge.radius.copy()
    start = allowed
    if largest is None:
        start = np.array([judge.adversary.size(studied) for studied in judge.studied])
        allowed = 2.0 ** (len(_SHARES) - 1) * start
    rngs = spawn_generators(random_state, len(allowed))
    found: list[Any] = list(judge.best)
    least = np.where(judge.broken, 0.0, np.inf)
    spent = np.zeros(len(allowed), dtype=np.int64)
    failures = np.zeros(len(allowed), dtype=np.intp)
    for _ in range(n_rounds):
        worthwhile = (least > 0) & (failures < len(_SHARES))
        if not worthwhile.any():
            break
        share = np.array(_SHARES)[np.minimum(failures, len(_SHARES) - 1)]
        first = np.minimum(start * 2.0**failures, allowed)
        judge.radius = np.where(np.isfinite(least), share * least, first)
        judge.radius[~worthwhile] = 0.0
        judge.reopen()
        chosen.run(judge, rngs)
        spent += judge.spent
        _shorten_successes(judge, tolerance)
        lengths = judge.displacements()
        better = judge.broken & (lengths < least)
        for i in np.flatnonzero(better):
            found[i], least[i] = judge.best[i], lengths[i]
        failures = np.where(better, 0, failures + worthwhile)
    judge.best, judge.radius, judge.spent = found, allowed, spent
    return verdict(judge, threat, unit)


def _shorten_successes(judge: Judge, tolerance: float) -> None:
    """Bisect the way back to the original, all clouds that were broken at once."""
    upper = judge.displacements()
    lower: NDArray[np.float64] = np.zeros(len(upper))
    for _ in range(_MOST_HALVINGS):  # subnormal numbers may have no middle
        wide = np.flatnonzero(judge.broken & (upper - lower > tolerance * upper))
        if wide.size == 0:
            return
        middle = lower + (upper - lower) / 2
        tried = [judge.shorten(int(i), judge.best[i], float(middle[i])) for i in wide]
        predictions = judge.predict(tried)
        for i, candidate, prediction in zip(wide, tried, predictions, strict=True):
            if prediction != judge.labels[i]:
                judge.best[i] = candidate
                upper[i] = judge.adversary.displacement(judge.studied[i], candidate)
            else:
                lower[i] = middle[i]

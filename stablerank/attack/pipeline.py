"""Attack any pipeline: one call for every threat and method."""

from __future__ import annotations

from typing import Any

from numpy.random import Generator
from numpy.typing import ArrayLike

from stablerank.attack.coordinate_search import CoordinateSearch
from stablerank.attack.judge import Judge
from stablerank.attack.method import Attack
from stablerank.attack.projected_gradient import ProjectedGradient, has_gradients
from stablerank.attack.random_search import RandomSearch
from stablerank.attack.result import AttackResult
from stablerank.attack.saliency import SaliencyAttack, has_saliency


class Search(Attack):
    """Random search for a third of the budget, then block by block from the best that it found.

    Where the pipeline has gradients, the first third follows them (see :class:`ProjectedGradient`
    for threats that move points, :class:`SaliencyAttack` for those that delete and add some), the
    second is random, the last block by block.

    Parameters
    ----------
    n_queries : int, default=200
        How many candidates of each cloud are tried in all.
    """

    def run(self, judge: Judge, rngs: list[Generator]) -> None:
        """One search after the other."""
        third = max(1, self.n_queries // 3)
        follows: type[Attack] | None = None
        if third >= ProjectedGradient.least_queries and has_gradients(judge):
            follows = ProjectedGradient
        elif third >= SaliencyAttack.least_queries and has_saliency(judge):
            follows = SaliencyAttack
        if follows is not None:
            follows.of_budget(third).run(judge, rngs)
        RandomSearch(n_queries=third if follows is None else 2 * third).run(judge, rngs)
        CoordinateSearch(n_queries=self.n_queries).run(judge, rngs)


METHODS: dict[str, type[Attack]] = {
    "random": RandomSearch,
    "coordinate": CoordinateSearch,
    "search": Search,
    "gradient": ProjectedGradient,
    "saliency": SaliencyAttack,
}


def find_method(method: str | Attack, n_queries: int | None = None) -> Attack:
    """The attack of that name, for a number of queries; attacks themselves are passed on.

    Raises
    ------
    ValueError
        For unknown names, and a number of queries beside an attack, which has its own.
    """
    if isinstance(method, Attack):
        if n_queries is not None:
            raise ValueError(f"n_queries={n_queries!r}: {method!r} has its own number of queries.")
        return method
    if method not in METHODS:
        raise ValueError(f"method={method!r}: expected one of {list(METHODS)}, or an Attack.")
    return METHODS[method]() if n_queries is None else METHODS[method].of_budget(n_queries)


def attack(
    pipeline: Any,
    X: Any,
    y: ArrayLike,
    *,
    threat: str = "per_point",
    radius: ArrayLike,
    p: float | None = None,
    q: float | None = None,
    method: str | Attack = "search",
    n_queries: int | None = None,
    random_state: int | None = None,
) -> AttackResult:
    """Search inputs within a radius of the given ones for a prediction that is not the label.

    Parameters
    ----------
    pipeline : object with ``predict``
        Fitted, of this package or of others. If it has ``decision_function`` or ``predict_proba``
        and ``classes_``, the search follows the margins; if it has ``differentiable_logits``, or is
        made of stages that have gradients, those too (see :class:`ProjectedGradient`). For threats
        against diagrams, steps that compute diagrams are left out.
    X : list of clouds, of dissimilarity matrices, or DiagramBatch
        As the threat has it.
    y : array-like of shape (n_clouds,)
        Labels. To test certificates, give the predictions that they protect.
    threat : str, default="per_point"
        What the adversary may do, as in :func:`stablerank.certify`.
    radius : float or array-like of shape (n_clouds,)
        How far, for all or each. A cloud of radius 0 is left alone.
    p, q : float, optional
        Exponent and ground norm of ``threat="wasserstein"``.
    method : {"search", "random", "coordinate", "gradient", "saliency"} or Attack, default="search"
        See :class:`Search`, :class:`RandomSearch`, :class:`CoordinateSearch`, and for pipelines
        with gradients :class:`ProjectedGradient` and, for the threats ``"deletion"`` and
        ``"points"``, :class:`SaliencyAttack`.
    n_queries : int, optional
        How many candidates of each cloud are tried; by default 200 (gradients: 102).
    random_state : int or None, default=None
        Seed. A cloud's candidates depend on its place in X, not on the clouds beside it.

    Returns
    -------
    AttackResult

    Raises
    ------
    TypeError
        If the pipeline has no ``predict``, X is not what the threat changes, or there is no
        gradient where one is asked for.
    ValueError
        For bad inputs, labels, radii, threats and settings; the message names the index.

    Notes
    -----
    Displacements are rounded up, and candidates are pulled back towards the original until theirs
    is at most the radius: in exact arithmetic none is longer. Whether an attack succeeded is
    decided by ``pipeline.predict`` on the very inputs that are returned.

    Examples
    --------
    >>> import numpy as np
    >>> class Wide:
    ...     def predict(self, X):
    ...         return np.array([np.ptp(cloud) > 1 for cloud in X])
    >>> segment = np.array([[0.0, 0.0], [0.9, 0.0]])
    >>> attack(Wide(), [segment], [False], radius=0.04, random_state=0).success
    array([False])
    >>> attack(Wide(), [segment], [False], radius=0.06, random_state=0).success
    array([ True])
    """
    chosen = find_method(method, n_queries)
    return chosen(pipeline, X, y, threat=threat, radius=radius, p=p, q=q, random_state=random_state)

"""Who decides whether an attack succeeded: the pipeline, on what lies within the radius."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stablerank.attack.adversary import Adversary

_INPUTS_PER_CALL = 1024


class Judge:
    """Candidates go in, margins come out; the best of each cloud is kept, and queries are counted.

    Whatever a method hands in is first shortened until it lies within the radius, so no method
    can cheat. A cloud whose prediction has changed is done with.

    Parameters
    ----------
    pipeline : object with ``predict``
        And, if it has them, ``decision_function`` or ``predict_proba``, and ``classes_``.
    originals : list
        The inputs, as ``adversary.check`` returned them.
    labels : ndarray of shape (n_clouds,)
        What the predictions should be.
    adversary : Adversary
        What may be done to the inputs.
    radius : ndarray of shape (n_clouds,), float64
        And how far.
    n_queries : int
        How many candidates of each cloud the pipeline may be asked about.

    Attributes
    ----------
    studied : list
        What the adversary knows of each original.
    best : list
        For each cloud its candidate of least margin.
    margin : ndarray of shape (n_clouds,), float64
        The margin of that: the label's score less the largest other; ±1 without scores.
    broken : ndarray of shape (n_clouds,), bool
        Whether the pipeline predicts something else for it.
    spent : ndarray of shape (n_clouds,), int
        Queries so far.
    """

    def __init__(
        self,
        pipeline: Any,
        originals: Sequence[Any],
        labels: NDArray[Any],
        adversary: Adversary,
        radius: NDArray[np.float64],
        n_queries: int,
    ) -> None:
        self.pipeline, self.adversary = pipeline, adversary
        self.labels, self.radius, self.n_queries = labels, radius, n_queries
        self._columns, self._scores = _score_columns(pipeline, labels)
        self.studied = [adversary.study(original) for original in originals]
        self.best = [adversary.original(studied) for studied in self.studied]
        everyone = np.arange(len(originals))
        self._margin = self._margins(everyone, self.best)
        self._misclassified = np.asarray(self.predict(self.best) != labels, dtype=bool)
        self.margin, self.broken = self._margin.copy(), self._misclassified.copy()
        self.spent = np.zeros(len(originals), dtype=np.int64)

    def open(self, limit: int | None = None) -> NDArray[np.intp]:
        """The clouds that are worth a query: not broken, radius above 0, budget not spent.

        Parameters
        ----------
        limit : int, optional
            A smaller budget than `n_queries`.
        """
        budget = self.n_queries if limit is None else min(limit, self.n_queries)
        return np.flatnonzero(~self.broken & (self.radius > 0) & (self.spent < budget))

    def evaluate(self, clouds: NDArray[np.intp], candidates: Sequence[Any]) -> None:
        """Shorten candidates, ask the pipeline, and keep what is better than before.

        Parameters
        ----------
        clouds : ndarray of shape (n_candidates,), int
            Which cloud each candidate belongs to; a cloud may have several.
        candidates : sequence
            As the adversary makes them. Those beyond the budget of their cloud are not asked about.
        """
        asked = []
        for i, cloud in enumerate(clouds):
            if self.spent[cloud] < self.n_queries:
                self.spent[cloud] += 1
                asked.append(i)
        clouds = np.asarray(clouds)[asked]
        shortened = [
            self.shorten(cloud, candidates[i]) for i, cloud in zip(asked, clouds, strict=True)
        ]
        margins = self._margins(clouds, shortened)
        # scores may be a little beside the prediction, so it alone decides
        doubtful = np.flatnonzero(margins <= 0)
        flipped = np.zeros(len(clouds), dtype=bool)
        if doubtful.size:
            predictions = self.predict([shortened[i] for i in doubtful])
            flipped[doubtful] = predictions != self.labels[clouds[doubtful]]
        for i, cloud in enumerate(clouds):
            better = margins[i] <= self.margin[cloud] and not self.broken[cloud]
            if better or (flipped[i] and not self.broken[cloud]):
                self.best[cloud], self.margin[cloud] = shortened[i], margins[i]
                self.broken[cloud] = flipped[i]

    def charge(self, clouds: NDArray[np.intp]) -> None:
        """Count a query of each of these clouds that a method has answered without the judge."""
        self.spent[clouds] += 1

    def reopen(self) -> None:
        """Forget candidates and queries, for another search at other radii."""
        self.best = [self.adversary.original(studied) for studied in self.studied]
        self.margin, self.spent = self._margin.copy(), np.zeros_like(self.spent)
        self.broken = self._misclassified.copy()

    def shorten(self, cloud: int, candidate: Any, radius: float | None = None) -> Any:
        """The candidate within the cloud's radius, or within a smaller one; else the original."""
        studied = self.studied[cloud]
        allowed = float(self.radius[cloud]) if radius is None else radius
        candidate = self.adversary.shorten(studied, candidate, allowed)
        if not self.adversary.displacement(studied, candidate) <= allowed:
            return self.adversary.original(studied)
        return candidate

    def predict(self, candidates: Sequence[Any]) -> NDArray[Any]:
        """The pipeline's labels."""
        return self._in_parts(self.pipeline.predict, candidates)

    def displacements(self) -> NDArray[np.float64]:
        """How far the best candidates are from the originals, rounded up; shape (n_clouds,)."""
        pairs = zip(self.studied, self.best, strict=True)
        return np.array([self.adversary.displacement(s, c) for s, c in pairs])

    def _margins(self, clouds: NDArray[np.intp], candidates: Sequence[Any]) -> NDArray[np.float64]:
        if len(candidates) == 0:
            return np.empty(0)
        if self._scores is None:
            right = self.predict(candidates) == self.labels[clouds]
            return np.where(right, 1.0, -1.0)
        scores = np.asarray(self._in_parts(self._scores, candidates), dtype=np.float64)
        if scores.ndim == 1:  # two classes, one score: that of the second
            scores = np.column_stack([-scores, scores])
        rows, own = np.arange(len(scores)), self._columns[clouds]
        others = scores.copy()
        others[rows, own] = -np.inf
        margins = scores[rows, own] - others.max(axis=1)
        # NaN is no reason not to ask for the prediction
        return np.where(np.isnan(margins), -np.inf, margins)

    def _in_parts(self, function: Any, candidates: Sequence[Any]) -> NDArray[Any]:
        parts = [
            np.asarray(function(self.adversary.collect(candidates[i : i + _INPUTS_PER_CALL])))
            for i in range(0, len(candidates), _INPUTS_PER_CALL)
        ]
        return np.concatenate(parts)


def _score_columns(pipeline: Any, labels: NDArray[Any]) -> tuple[NDArray[np.intp], Any]:
    """Which column of the scores is each label's, and the method that gives scores, if any."""
    for name in ("decision_function", "predict_proba"):
        scores, classes = getattr(pipeline, name, None), getattr(pipeline, "classes_", None)
        if scores is not None and classes is not None and np.isin(labels, classes).all():
            columns = (labels[:, None] == np.asarray(classes)).argmax(axis=1)
            return columns, scores
    return np.zeros(len(labels), dtype=np.intp), None

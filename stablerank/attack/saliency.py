"""Attack by gradients where points are counted: delete those that carry a prediction, add others.

A gradient says what a small motion of a point does, not what its removal does. But a point that
comes to lie on another one is as good as removed, for every function of the set of points; and so
the effect of a removal is predicted by that of the motion to the nearest other point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stablerank.attack.changed_points import ChangedCloud, CountingAdversary
from stablerank.attack.gradients import DifferentiablePipeline, flatten
from stablerank.attack.judge import Judge
from stablerank.attack.margins import blocks_of_clouds, label_columns, margins_and_gradient
from stablerank.attack.method import Attack
from stablerank.diagrams.clouds import Cloud, power_of_two_scale

_SCALES = (1.0, 4.0, 0.25)


class SaliencyAttack(Attack):
    """Deletes and adds points in rounds, where the margin's gradient says that it lowers it.

    Points are deleted by the predicted effect of their removal on the margin, in turns that of the
    motion to the nearest other point, that to the centre, weighed as in [1]_, and the length of the
    gradient; a part of them in every round, and then the gradient is taken anew. Added ones begin
    a step down the gradient from salient points, the more often the longer it is there, or where
    random search puts some, and follow their own gradient from there [2]_, in steps that become
    shorter; those that have none begin again at the salient ones. No pass is like the others: later
    ones begin with points of less effect, and multiply effects by random factors.

    Parameters
    ----------
    n_queries : int, default=200
        How many candidates of each cloud are tried, at least 3; a gradient counts as one.
    rounds : int, default=10
        Of each pass, at most.

    Notes
    -----
    For the threats ``"deletion"`` and ``"points"``, and pipelines with gradients as in
    :class:`ProjectedGradient`. Under ``"points"`` passes take turns in deleting, adding, and both.
    The pipeline itself is asked about candidates whose margin is not positive, and about the best
    one of a pass if none before was better. What no gradient shows, a hole that opens among points
    that carry nothing, is left to random search; :class:`Search` does both.

    References
    ----------
    .. [1] Zheng, Chen, Yuan, Li, Ren (2019), "PointCloud saliency maps", ICCV.
    .. [2] Xiang, Qi, Li (2019), "Generating 3D adversarial point clouds", CVPR.

    Examples
    --------
    >>> SaliencyAttack(n_queries=50)
    SaliencyAttack(n_queries=50, rounds=10)
    """

    least_queries: ClassVar[int] = 3

    def __init__(self, *, n_queries: int = 200, rounds: int = 10) -> None:
        super().__init__(n_queries=n_queries)
        if self.n_queries < self.least_queries:
            raise ValueError(
                f"n_queries={n_queries!r}: expected an integer >= {self.least_queries} for a "
                f"gradient, a candidate's margin, and the judge."
            )
        whole = isinstance(rounds, (int, np.integer)) and not isinstance(rounds, bool)
        if not whole or rounds < 1:
            raise ValueError(f"rounds={rounds!r}: expected an integer >= 1.")
        self.rounds = int(rounds)

    def run(self, judge: Judge, rngs: list[Generator]) -> None:
        """One pass after the other, all clouds of a block at once."""
        adversary = judge.adversary
        if not isinstance(adversary, CountingAdversary):
            raise TypeError(
                f"SaliencyAttack deletes and adds points, which {type(adversary).__name__} does "
                f'not: use threat="deletion" or "points", or method="gradient".'
            )
        pipeline = DifferentiablePipeline(judge.pipeline)
        search = _Search(self, judge, adversary, pipeline, rngs)
        turn = 0
        while (clouds := search.open()).size:
            for block in blocks_of_clouds(clouds, [len(judge.studied[i].cloud) for i in clouds]):
                search.go(block, turn)
            turn += 1


def has_saliency(judge: Judge) -> bool:
    """Whether :class:`SaliencyAttack` can search for this pipeline and threat."""
    if not isinstance(judge.adversary, CountingAdversary):
        return False
    try:
        DifferentiablePipeline(judge.pipeline)
    except TypeError:
        return False
    return True


@dataclass(frozen=True)
class _Mode:
    """What a pass does: whether it deletes, and adds, and draws what it adds as random search does.

    What is drawn is moved in fewer rounds, so that more can be.
    """

    deletes: bool
    adds: bool
    draws: bool = False


_DELETE, _BOTH, _ADD = _Mode(True, False), _Mode(True, True), _Mode(False, True)
_ADD_DRAWN, _BOTH_DRAWN = _Mode(False, True, True), _Mode(True, True, True)
_MODES = (_ADD_DRAWN, _BOTH, _ADD_DRAWN, _DELETE, _BOTH_DRAWN, _ADD)
_ROUNDS_DRAWN = 3


@dataclass
class _Trial:
    """Where a pass stands with one cloud."""

    cloud: int
    count: int  # how many points may be changed
    changed: ChangedCloud
    best: ChangedCloud
    least: float = np.inf  # margin of the best
    asked: float = np.inf  # margin of the last that the judge refused


class _Search:
    """Passes, and what one learns for the next."""

    def __init__(
        self,
        settings: SaliencyAttack,
        judge: Judge,
        adversary: CountingAdversary,
        pipeline: DifferentiablePipeline,
        rngs: list[Generator],
    ) -> None:
        self.settings, self.judge, self.adversary = settings, judge, adversary
        self.pipeline, self.rngs = pipeline, rngs
        self.unchanged: dict[int, tuple[float, Cloud]] = {}  # margins and gradients
        self.least = np.full(len(judge.labels), np.inf)  # margins of the best so far

    def open(self) -> NDArray[np.intp]:
        """Clouds that may be changed, with queries left for one more gradient and the judge."""
        clouds = self.judge.open(self.settings.n_queries - 1)
        enough = self.judge.spent[clouds] < self.judge.n_queries - 1
        return clouds[(self.judge.radius[clouds] >= 1) & enough]

    def go(self, clouds: NDArray[np.intp], turn: int) -> None:
        """A pass, from clouds as they are to as many changes as are allowed."""
        modes = (_DELETE,) if self.adversary.deletions_only else _MODES
        cycle, number = divmod(turn, len(modes))
        mode = modes[number]
        everyone = trials = [self._trial(int(cloud), mode, turn) for cloud in clouds]
        most = _ROUNDS_DRAWN if mode.draws else self.settings.rounds
        if not mode.adds:
            most = max(trial.count for trial in trials)
        rounds = min(self.settings.rounds, most)
        for done in range(rounds + 1):
            trials = [t for t in trials if self._is_open(t)]
            slopes = self._margins_and_gradients(trials, changed=done > 0 or mode.draws)
            for trial, (margin, _) in zip(trials, slopes, strict=True):
                if margin < trial.least:
                    trial.least, trial.best = margin, trial.changed
            self._ask([t for t in trials if not t.least > 0 and t.least < t.asked])
            if done == rounds:
                break
            for trial, (_, gradient) in zip(trials, slopes, strict=True):
                before = trial.changed
                if mode.deletes:
                    self._delete(trial, before, gradient, cycle, (done + 1) / rounds)
                if mode.adds:
                    self._add(trial, before, gradient, cycle, 1 - done / rounds)
        better = [t for t in everyone if t.least < min(self.least[t.cloud], t.asked)]
        self._ask([t for t in better if not self.judge.broken[t.cloud]])
        for trial in better:
            self.least[trial.cloud] = trial.least

    def _trial(self, cloud: int, mode: _Mode, turn: int) -> _Trial:
        studied = self.judge.studied[cloud]
        count = int(min(self.judge.radius[cloud], len(studied.cloud)))
        changed = self.adversary.original(studied)
        if mode.draws:
            drawn = self.adversary.propose(studied, count, 3 * turn + 1, self.rngs[cloud])
            changed = replace(changed, added=drawn.added)
        return _Trial(cloud, count, changed, changed)

    def _is_open(self, trial: _Trial) -> bool:
        """Whether it is worth a gradient; one query is kept for the judge."""
        most = min(self.settings.n_queries, self.judge.n_queries)
        spent = int(self.judge.spent[trial.cloud])
        return not self.judge.broken[trial.cloud] and spent < most - 1

    def _margins_and_gradients(
        self, trials: Sequence[_Trial], *, changed: bool
    ) -> list[tuple[float, Cloud]]:
        """Of each trial; those of unchanged clouds are found once for all passes."""
        fresh = [t for t in trials if changed or t.cloud not in self.unchanged]
        found = {}
        if fresh:
            clouds = np.array([trial.cloud for trial in fresh])
            points, offsets = flatten([trial.changed.cloud for trial in fresh])
            shapes = [(int(n), points.shape[1]) for n in np.diff(offsets)]
            columns = label_columns(self.pipeline, self.judge.labels[clouds])
            margins, gradient = margins_and_gradient(
                self.pipeline, points, offsets, shapes, columns
            )
            self.judge.charge(clouds)
            slopes = zip(margins.tolist(), np.split(gradient, offsets[1:-1]), strict=True)
            found = dict(zip(clouds.tolist(), slopes, strict=True))
        if not changed:
            self.unchanged |= found
            found = self.unchanged
        return [found[trial.cloud] for trial in trials]

    def _ask(self, trials: Sequence[_Trial]) -> None:
        if trials:
            clouds = np.array([trial.cloud for trial in trials])
            self.judge.evaluate(clouds, [trial.best for trial in trials])
        for trial in trials:
            trial.asked = trial.least

    def _delete(
        self, trial: _Trial, before: ChangedCloud, gradient: Cloud, cycle: int, share: float
    ) -> None:
        """Delete more points, until it is `share` of what is allowed."""
        n = len(before.original)
        most = min(trial.count, max(n - self.adversary.fewest, 0))
        missing = int(np.ceil(share * most - 1e-9)) - len(before.deleted)
        if missing <= 0:
            return
        left = np.delete(np.arange(n), before.deleted)
        effects = removal_effects(before.cloud, gradient, cycle)[: len(left)]
        tried = cycle // 3  # passes of the same kind
        if tried and len(before.deleted):
            effects = effects * self.rngs[trial.cloud].uniform(0.2, 1.0, size=len(effects))
        order = np.argsort(effects, kind="stable")
        order = order[effects[order] < 0]
        first = 0 if len(before.deleted) else min(tried, max(len(order) - missing, 0))
        chosen = left[order[first : first + missing]]
        deleted = np.concatenate([before.deleted, chosen])
        trial.changed = replace(trial.changed, deleted=deleted)

    def _add(
        self, trial: _Trial, before: ChangedCloud, gradient: Cloud, cycle: int, share: float
    ) -> None:
        """Move added points down their gradient; those without begin at the salient ones."""
        rng, n = self.rngs[trial.cloud], len(gradient) - len(before.added)
        scale = _SCALES[cycle] if cycle < len(_SCALES) else 4.0 ** rng.uniform(-1, 1)
        step = scale * share * _spacing(before.cloud)
        directions, lengths = _directions(gradient)
        salient = np.flatnonzero(lengths[:n] > 0)
        idle = np.ones(trial.count, dtype=bool)
        added = np.empty((trial.count, gradient.shape[1]))
        if len(before.added):
            idle = lengths[n:] == 0
            added = before.added - step * directions[n:]
        elif salient.size == 0:
            return
        if salient.size:
            order = rng.uniform(size=salient.size) ** (lengths[salient].max() / lengths[salient])
            seeds = salient[np.argsort(-order)[np.arange(idle.sum()) % salient.size]]
            far = rng.uniform(0.1, 1.0, size=(len(seeds), 1))
            added[idle] = before.cloud[seeds] - step * far * directions[seeds]
        trial.changed = replace(trial.changed, added=added)


def removal_effects(cloud: Cloud, gradient: Cloud, kind: int) -> NDArray[np.float64]:
    """What removing each point should do to a function of the cloud, in some unit.

    Parameters
    ----------
    cloud : ndarray of shape (n_points, d)
    gradient : ndarray of shape (n_points, d)
        Of the function, with respect to the points.
    kind : int
        In turns: 0, the first-order effect of moving the point to the nearest other one; 1, that of
        moving it to the centre, times its distance from there (α = 1 in Zheng et al. 2019); 2, the
        negative length of the gradient times the distance of the nearest other point.

    Returns
    -------
    ndarray of shape (n_points,)
        Up to a factor, the same for all points; 0 for points without gradient.

    Examples
    --------
    A function that falls when the last point moves to the left, where its neighbour is:

    >>> cloud = np.array([[0.0], [1.0], [3.0]])
    >>> removal_effects(cloud, np.array([[0.0], [0.0], [0.5]]), kind=0)
    array([ 0.,  0., -1.])
    """
    scaled = cloud * power_of_two_scale(cloud)
    if kind % 3 == 1:
        ways = np.median(scaled, axis=0) - scaled
        return np.linalg.norm(ways, axis=1) * np.einsum("nd,nd->n", gradient, ways)
    ways = _ways_to_neighbours(scaled)
    if kind % 3 == 0:
        return np.asarray(np.einsum("nd,nd->n", gradient, ways))
    return -np.linalg.norm(gradient, axis=1) * np.linalg.norm(ways, axis=1)


def _ways_to_neighbours(cloud: Cloud) -> Cloud:
    """From each point to the nearest other one; 0 if it is alone or equal to another."""
    if len(cloud) < 2:
        return np.zeros_like(cloud)
    _, index = cKDTree(cloud).query(cloud, k=2)
    # of equal points both that are found may be others than the point itself, at distance 0 too
    return np.asarray(cloud[index[:, 1]] - cloud)


def _spacing(cloud: Cloud) -> float:
    """The median distance of a point to the nearest other one; where it is 0, to the centre."""
    scale = power_of_two_scale(cloud)
    scaled = cloud * scale
    gaps = np.median(np.linalg.norm(_ways_to_neighbours(scaled), axis=1))
    if gaps == 0:
        gaps = np.linalg.norm(scaled - scaled.mean(axis=0), axis=1).mean()
    return float(gaps / scale)


def _directions(gradient: Cloud) -> tuple[Cloud, NDArray[np.float64]]:
    """Unit vectors, and lengths; 0 for those that have none."""
    lengths = np.linalg.norm(gradient, axis=1)
    lengths = np.where(np.isfinite(lengths), lengths, 0.0)
    safe = np.where(lengths > 0, lengths, 1.0)[:, None]
    return np.where(lengths[:, None] > 0, gradient / safe, 0.0), lengths

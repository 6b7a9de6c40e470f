"""Attack by gradients through persistence: projected descent on the margin, all clouds at once."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from stablerank.attack.balls import Ball, Field
from stablerank.attack.gradients import DifferentiablePipeline, flatten
from stablerank.attack.judge import Judge
from stablerank.attack.margins import blocks_of_clouds, label_columns, margins_and_gradient
from stablerank.attack.method import Attack

_MOMENTUM = 0.25
_PROGRESS = 0.75


class ProjectedGradient(Attack):
    """Steps down the gradient of the margin, back into the ball, with a step size that adapts [1]_.

    Every point moves by a share of the radius along its own gradient (the signs of the gradient
    under ``"per_coordinate"`` and, pixel by pixel, ``"sup"``; the whole gradient under
    ``"frobenius"``): the steepest way within the threat's ball. Steps carry on a part of the one
    before; where the margin stops falling, the step is halved and the search goes on from the best
    place so far.

    Parameters
    ----------
    steps : int, default=100
        Steps of each restart.
    restarts : int, default=1
        Descents from different places: the first from the cloud itself, the others from random
        ones in the ball.
    step_size : float, default=1.0
        The first step's length in units of the radius.
    loss : {"margin", "cross-entropy"}, default="margin"
        What is descended: the label's logit less the largest other one, or the label's
        log-probability, to which all classes add.
    surrogate : pipeline, optional
        Fitted, and with gradients, which are followed instead of the attacked pipeline's own: for
        pipelines that only predict. It should predict what the attacked pipeline does, best
        because it was fitted to that pipeline's predictions [2]_.

    Notes
    -----
    For pipelines of a filtration (alpha, Rips, distance to measure, cubical), a vectorizer with
    ``from_bars`` and a classifier with ``network_``, of fields or distances between neighbours and
    such a classifier, or unions of them; and for any pipeline, of whatever kind, that has
    ``differentiable_logits`` (``gradients.py`` says what it takes). Others raise TypeError.
    Threats that move points, and ``"sup"`` on images; under ``"hausdorff"`` it moves the points
    without adding or leaving out any.

    The pipeline itself, which is the judge, is asked about candidates whose margin is not positive,
    and at the end about the best one. Each step counts as a query. With a surrogate, whose margins
    prove nothing, it is asked at every checkpoint of the step size as well, and only that counts as
    queries; there are no more of them than otherwise. The clouds beside it change a descent by
    rounding only, from matrix products of another size.

    References
    ----------
    .. [1] Croce, Hein (2020), "Reliable evaluation of adversarial robustness with an ensemble of
       diverse parameter-free attacks", ICML.
    .. [2] Papernot, McDaniel, Goodfellow, Jha, Celik, Swami (2017), "Practical black-box attacks
       against machine learning", Asia CCS.

    Examples
    --------
    >>> ProjectedGradient(steps=20)
    ProjectedGradient(steps=20, restarts=1, step_size=1.0, loss='margin', surrogate=None)
    """

    least_queries: ClassVar[int] = 3

    def __init__(
        self,
        *,
        steps: int = 100,
        restarts: int = 1,
        step_size: float = 1.0,
        loss: Literal["margin", "cross-entropy"] = "margin",
        surrogate: Any = None,
    ) -> None:
        for name, value in (("steps", steps), ("restarts", restarts)):
            whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if not whole or value < 1:
                raise ValueError(f"{name}={value!r}: expected an integer >= 1.")
        if not 0 < step_size < math.inf:
            raise ValueError(f"step_size={step_size!r}: expected a positive finite number.")
        if loss not in ("margin", "cross-entropy"):
            raise ValueError(f'loss={loss!r}: expected "margin" or "cross-entropy".')
        # of each restart the place where it starts and one candidate for the judge
        super().__init__(n_queries=int(restarts) * (int(steps) + 2))
        self.steps, self.restarts = int(steps), int(restarts)
        self.step_size, self.loss = float(step_size), loss
        self.surrogate = surrogate

    @classmethod
    def of_budget(cls, n_queries: int) -> Self:
        """One descent in as many steps as `n_queries` allow."""
        whole = isinstance(n_queries, (int, np.integer)) and not isinstance(n_queries, bool)
        if not whole or n_queries < cls.least_queries:
            raise ValueError(
                f"n_queries={n_queries!r}: expected an integer >= {cls.least_queries} for the "
                f"place where a descent starts, a step, and a candidate for the judge."
            )
        return cls(steps=n_queries - 2)

    def run(self, judge: Judge, rngs: list[Generator]) -> None:
        """Descend from one place after the other, in blocks of clouds that advance together."""
        followed = judge.pipeline if self.surrogate is None else self.surrogate
        pipeline, ball = DifferentiablePipeline(followed), judge.adversary.ball
        if ball is None:
            raise TypeError(
                f"Gradients move the points of clouds or the pixels of images, which "
                f'{type(judge.adversary).__name__} does not. Use method="search".'
            )
        for restart in range(self.restarts):
            clouds = judge.open()
            sizes = [len(judge.adversary.rows(judge.studied[cloud])) for cloud in clouds]
            for block in blocks_of_clouds(clouds, sizes):
                descent = _Descent(self, judge, pipeline, ball, block)
                if restart > 0:
                    descent.start_anywhere([rngs[cloud] for cloud in block])
                descent.run()


def has_gradients(judge: Judge) -> bool:
    """Whether :class:`ProjectedGradient` can search for this pipeline and threat."""
    try:
        DifferentiablePipeline(judge.pipeline)
    except TypeError:
        return False
    return judge.adversary.ball is not None


class _Descent:
    """The clouds of a block that are not broken yet, and where their descents stand.

    Displacements are flat, as in ``balls.py``; those that are broken leave.
    """

    def __init__(
        self,
        settings: ProjectedGradient,
        judge: Judge,
        pipeline: DifferentiablePipeline,
        ball: Ball,
        clouds: NDArray[np.intp],
    ) -> None:
        self.settings, self.judge, self.pipeline, self.ball = settings, judge, pipeline, ball
        self.clouds, n = clouds, len(clouds)
        rows = [judge.adversary.rows(judge.studied[cloud]) for cloud in clouds]
        self.origin, self.offsets = flatten(rows)
        self.columns = label_columns(pipeline, judge.labels[clouds])
        self.radius = judge.radius[clouds]
        self.moved: Field = np.zeros_like(self.origin)
        self.before = self.best = self.direction = self.best_direction = self.moved
        self.least = np.full(n, np.inf)  # margin of the best displacement
        self.asked = np.full(n, np.inf)  # margin of the last candidate that the judge refused
        self.step = np.full(n, settings.step_size)
        self.progress = np.zeros(n, dtype=np.int64)  # steps since the last checkpoint that helped
        self.least_then = np.full(n, np.inf)
        self.halved = np.zeros(n, dtype=bool)  # at the last checkpoint

    def start_anywhere(self, rngs: list[Generator]) -> None:
        """Start from random places instead of the clouds themselves."""
        d = self.origin.shape[1]
        sizes = np.diff(self.offsets)
        drawn = [self.ball.draw((n, d), rng) for n, rng in zip(sizes, rngs, strict=True)]
        self.moved = np.concatenate(drawn) * self._by_point(self.radius)
        self.before = self.moved

    def run(self) -> None:
        """All steps, until none is open or the last is done; the judge sees the best of each."""
        checkpoints, last = _checkpoints(self.settings.steps), 0
        transfer = self.settings.surrogate is not None
        for turn in range(self.settings.steps + 1):
            margins, gradient = self._margins_and_gradient()
            if not transfer:
                self.judge.charge(self.clouds)
            self.direction = self.ball.direction(gradient, self.offsets)
            self._keep_the_best(margins)
            self._ask_about(~(margins > 0) & ~(margins >= self.asked), margins, self.moved)
            if transfer and turn in checkpoints:
                self._ask_about(self.least < self.asked, self.least, self.best)
            if turn == self.settings.steps or len(self.clouds) == 0:
                break
            if turn in checkpoints:
                self._adapt(turn - last)
                last = turn
            self._move()
        self._ask_about(self.least < self.asked, self.least, self.best)

    def _margins_and_gradient(self) -> tuple[NDArray[np.float64], Field]:
        adversary, studied = self.judge.adversary, self.judge.studied
        shapes = [np.shape(adversary.original(studied[cloud])) for cloud in self.clouds]
        points, loss = self.origin + self.moved, self.settings.loss
        return margins_and_gradient(self.pipeline, points, self.offsets, shapes, self.columns, loss)

    def _keep_the_best(self, margins: NDArray[np.float64]) -> None:
        better = margins < self.least
        self.progress += better
        self.least = np.where(better, margins, self.least)
        rows = self._by_point(better)
        self.best = np.where(rows, self.moved, self.best)
        self.best_direction = np.where(rows, self.direction, self.best_direction)

    def _ask_about(
        self, chosen: NDArray[np.bool_], margins: NDArray[np.float64], displacements: Field
    ) -> None:
        """Hand displacements to the judge; clouds that they break leave."""
        which = np.flatnonzero(chosen)
        if which.size == 0:
            return
        studied = [self.judge.studied[cloud] for cloud in self.clouds[which]]
        rows = (slice(*self.offsets[i : i + 2]) for i in which)
        candidates = [
            self.judge.adversary.from_rows(s, self.origin[r] + displacements[r])
            for s, r in zip(studied, rows, strict=True)
        ]
        self.judge.evaluate(self.clouds[which], candidates)
        self.asked[which] = margins[which]
        staying = ~self.judge.broken[self.clouds]
        if not staying.all():
            self._stay(staying)

    def _stay(self, staying: NDArray[np.bool_]) -> None:
        rows = np.repeat(staying, np.diff(self.offsets))
        for name in ("origin", "moved", "before", "best", "best_direction", "direction"):
            setattr(self, name, getattr(self, name)[rows])
        self.offsets = np.concatenate([[0], np.cumsum(np.diff(self.offsets)[staying])])
        for name in _EACH_CLOUD:
            setattr(self, name, getattr(self, name)[staying])

    def _adapt(self, n_steps: int) -> None:
        """Halve the step where too few steps helped, and go back to the best place there.

        Or where none helped since the last checkpoint, unless the step was halved then.
        """
        stuck = ~self.halved & (self.least >= self.least_then)
        self.halved = (self.progress < _PROGRESS * n_steps) | stuck
        self.step = np.where(self.halved, self.step / 2, self.step)
        rows = self._by_point(self.halved)
        self.moved = np.where(rows, self.best, self.moved)
        self.before = np.where(rows, self.best, self.before)
        self.direction = np.where(rows, self.best_direction, self.direction)
        self.progress = np.zeros_like(self.progress)
        self.least_then = self.least

    def _move(self) -> None:
        lengths = self._by_point(self.step * self.radius)
        there = self._project(self.moved - lengths * self.direction)
        momentum = _MOMENTUM * (self.moved - self.before)
        self.before, self.moved = (
            self.moved,
            self._project(self.moved + (1 - _MOMENTUM) * (there - self.moved) + momentum),
        )

    def _project(self, displacement: Field) -> Field:
        return self.ball.project(displacement, self.radius, self.offsets)

    def _by_point(self, values: NDArray[Any]) -> NDArray[Any]:
        return np.repeat(values, np.diff(self.offsets))[:, None]


_EACH_CLOUD = (
    "clouds",
    "columns",
    "radius",
    "least",
    "asked",
    "step",
    "progress",
    "least_then",
    "halved",
)


def _checkpoints(steps: int) -> set[int]:
    """When step sizes are looked at: after 22 % of the steps, and then ever more often [1]."""
    shares, gap = [0.0, 0.22], 0.22
    while shares[-1] < 1:
        gap = max(gap - 0.03, 0.06)
        shares.append(shares[-1] + gap)
    return {math.ceil(share * steps) for share in shares[1:]}

"""All diagrams that an adversary can bring about: the box that starts at the points (fact R5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stablerank.diagrams.batch import DiagramBatch
from stablerank.stability import BOTTLENECK, ORDERED_DEATHS, Space, StabilityError


@dataclass(frozen=True, eq=False)
class DiagramBall:
    """A ball around the diagram of each cloud, in each homology dimension.

    The diagrams of the ball of cloud i in dimension k are those at distance at most
    ``reach[k][i]`` from ``diagrams.diagram(i, k)``, in the metric ``metrics[k]``:

    - ``BOTTLENECK``: births and deaths of all bars move by at most the reach, bars no longer than
      twice the reach may vanish, and any number of bars no longer than that may appear at any
      height from `lowest` on;
    - ``ORDERED_DEATHS``: all births are 0, and the k-th largest death moves by at most the reach.

    Diagrams are meant as they are computed: whoever makes a ball adds the rounding of the
    filtration to its reach.

    Parameters
    ----------
    diagrams : DiagramBatch
        The centres.
    reach : dict of int to ndarray of shape (n_clouds,), float64
        For each homology dimension how far births and deaths may move, in the filtration's unit.
    metrics : dict of int to Space
        For each homology dimension ``BOTTLENECK`` or ``ORDERED_DEATHS``.
    lowest : float, default=0.0
        Nothing is born before: 0 where values are distances, ``-inf`` for images.

    Raises
    ------
    ValueError
        If the parts do not fit together, or a reach is negative, infinite or NaN.
    StabilityError
        For other metrics.

    Examples
    --------
    >>> batch = DiagramBatch.from_diagrams([{1: [[1, 3]]}])
    >>> ball = DiagramBall(batch, {1: np.array([0.5])}, {1: BOTTLENECK})
    >>> births, deaths = ball.intervals(1)
    >>> births[0], deaths[0]
    (array([[0.5, 1.5]]), array([[2.5, 3.5]]))
    """

    diagrams: DiagramBatch
    reach: Mapping[int, NDArray[np.float64]]
    metrics: Mapping[int, Space]
    lowest: float = 0.0

    def __post_init__(self) -> None:
        dimensions = set(self.diagrams.homology_dimensions)
        if set(self.reach) != dimensions or set(self.metrics) != dimensions:
            raise ValueError(
                f"The diagrams have homology dimensions {sorted(dimensions)}, reach has "
                f"{sorted(self.reach)} and metrics has {sorted(self.metrics)}: all need the same."
            )
        for dimension in sorted(dimensions):
            values, metric = self.reach[dimension], self.metrics[dimension]
            if values.shape != (len(self.diagrams),):
                raise ValueError(
                    f"reach[{dimension}] has shape {values.shape}, but there are "
                    f"{len(self.diagrams)} clouds: expected one number a cloud."
                )
            bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
            if bad.size:
                raise ValueError(
                    f"reach[{dimension}][{bad[0]}] is {values[bad[0]]!r}: expected a finite "
                    f"number >= 0."
                )
            if metric not in (BOTTLENECK, ORDERED_DEATHS):
                raise StabilityError(
                    f"H{dimension}: a ball is known in {BOTTLENECK} and {ORDERED_DEATHS}, not in "
                    f"{metric}."
                )
            if metric == ORDERED_DEATHS and (self.diagrams.bars[dimension][:, 0] != 0).any():
                raise StabilityError(
                    f"H{dimension}: ordered deaths are a metric for diagrams whose births are all "
                    f"0, and these are not."
                )

    def with_reach(self, reach: Mapping[int, NDArray[np.float64]]) -> DiagramBall:
        """The balls of another size around the same diagrams."""
        return replace(self, reach=dict(reach))

    def intervals(
        self, dimension: int, n_bars: int | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where the birth and the death of each bar can be, if it does not vanish.

        Parameters
        ----------
        dimension : int
            Homology dimension.
        n_bars : int, optional
            As in :meth:`DiagramBatch.padded`.

        Returns
        -------
        births, deaths : ndarray of shape (n_clouds, n_bars, 2), float64
            The two ends of each, rounded outward; births clipped at `lowest`, or at 0 where the
            metric is that of ordered deaths. Padding has the intervals of a bar (0, 0).
        """
        bars = self.diagrams.padded(dimension, n_bars)
        reach = self.reach[dimension][:, None]
        moved = np.stack(
            [
                np.nextafter(bars - reach[..., None], -np.inf),
                np.nextafter(bars + reach[..., None], np.inf),
            ],
            axis=-1,
        )
        # a reach of 0 moves nothing, not even by rounding
        still = reach[..., None, None] == 0
        moved = np.where(still, bars[..., None], moved)
        births, deaths = moved[..., 0, :], moved[..., 1, :]
        if self.metrics[dimension] == ORDERED_DEATHS:
            births = np.zeros_like(births)
        floor = max(self.lowest, 0.0) if self.metrics[dimension] == ORDERED_DEATHS else self.lowest
        return np.maximum(births, floor), np.maximum(deaths, floor)

    def __len__(self) -> int:
        return len(self.diagrams)

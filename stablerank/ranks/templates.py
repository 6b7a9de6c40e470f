"""Templates: non-negative functions of a bar, 1-Lipschitz and at most half its length (fact R4)."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from stablerank.ranks.boxes import BarBoxes
from stablerank.ranks.contours import UNIT_ROUNDOFF


class Template(ABC):
    """Functions φ_1, …, φ_m of a bar u = (b, d), 0 <= φ(u) <= (d − b)/2.

    Each is 1-Lipschitz for the maximum norm of (b, d). Half a bar's length is how far it is, in
    that norm, from the diagonal, so a bar that vanishes costs no more than one that moves.

    Computed bounds contain computed values, to the last bit, since both come from the same
    sums and differences: rounding to nearest never turns an order around.
    """

    slope_in_death = 1.0
    """How fast φ(0, d) changes with d, at most."""
    grows_with_death = False
    """Whether computed values, too, do not fall with the death: then late deaths have the largest.
    """

    def slope(self, q: float) -> float:
        """How fast φ changes at most in the ground norm ℓ_q.

        At most 1, since ‖·‖_∞ <= ‖·‖_q; and that times a bar's ℓ_q-distance to the diagonal,
        2^{1/q} (d − b)/2, is at least φ.
        """
        return 1.0

    @abstractmethod
    def __len__(self) -> int:
        """How many functions these are, m."""

    @abstractmethod
    def values(self, births: Tensor, deaths: Tensor) -> Tensor:
        """Every function of every bar, shapes (..., n_bars) to (..., m, n_bars)."""

    @abstractmethod
    def bounds(self, boxes: BarBoxes) -> tuple[Tensor, Tensor]:
        """What computed values of bars in boxes lie between, shape (n_clouds, m, n_bars) each.

        The lower end is 0 for a bar that can vanish.
        """

    def largest(self, births: Tensor, deaths: Tensor, n_levels: int) -> Tensor:
        """The largest values over the bars, shape (..., m, n_levels), padded with zeros."""
        return k_largest(self.values(births, deaths), n_levels)

    def largest_bounds(self, boxes: BarBoxes, n_levels: int) -> tuple[Tensor, Tensor]:
        """The largest lower and upper ends over the bars, shape (n_clouds, m, n_levels) each."""
        lower, upper = self.bounds(boxes)
        return k_largest(lower, n_levels), k_largest(upper, n_levels)

    @abstractmethod
    def short_bars(self, reach: Tensor, lowest: float) -> Tensor:
        """What no computed value of a bar with d − b <= 2 reach, b >= lowest exceeds.

        Parameters
        ----------
        reach : Tensor of shape (n_clouds,)
        lowest : float
            Possibly ``-inf``.

        Returns
        -------
        Tensor of shape (n_clouds, m)
        """

    @abstractmethod
    def rounding(self, largest: Any) -> Any:
        """How far values computed in float64 are from exact ones, at most.

        Parameters
        ----------
        largest : float or ndarray
            The largest absolute value of a birth or death.
        """

    def appearing(self, boxes: BarBoxes) -> Tensor:
        """What no computed value of a bar that can appear exceeds, shape (n_clouds, m)."""
        if boxes.births_move:
            return self.short_bars(boxes.reach, boxes.lowest)
        none, latest = torch.zeros_like(boxes.reach)[:, None], boxes.reach[:, None]
        within = BarBoxes(none, none, none, latest, boxes.reach, 0.0, births_move=False)
        return self.bounds(within)[1][..., 0]


class HalfLength(Template):
    """(d − b)/2, the distance to the diagonal: one function."""

    slope_in_death = 0.5
    grows_with_death = True

    def slope(self, q: float) -> float:
        """2^{−1/q}, rounded up: (|Δb| + |Δd|)/2 <= 2^{1−1/q}/2 ‖(Δb, Δd)‖_q, by Hölder.

        A bar's ℓ_q-distance to the diagonal, 2^{1/q} (d − b)/2, times this is (d − b)/2.
        """
        exact = q == 1 or q == np.inf
        return float(2 ** (-1 / q)) * (1 if exact else 1 + 16 * UNIT_ROUNDOFF)

    def __len__(self) -> int:
        return 1

    def values(self, births: Tensor, deaths: Tensor) -> Tensor:
        """Half the lengths."""
        return ((deaths - births) / 2)[..., None, :]

    def bounds(self, boxes: BarBoxes) -> tuple[Tensor, Tensor]:
        """From the late birth and early death to the early birth and late death."""
        lower = self.values(boxes.births_high, boxes.deaths_low).clamp_min(0.0)
        return lower, self.values(boxes.births_low, boxes.deaths_high)

    def short_bars(self, reach: Tensor, lowest: float) -> Tensor:
        """The reach."""
        return reach[:, None]

    def rounding(self, largest: Any) -> Any:
        """One subtraction."""
        return UNIT_ROUNDOFF * largest


class Tent(Template):
    """The landscape's functions min(t − b, d − t)₊, one for each position t.

    Parameters
    ----------
    positions : ndarray of shape (m,), float64
        In the unit of the filtration.
    """

    grows_with_death = True

    def __init__(self, positions: NDArray[np.float64]) -> None:
        self.positions = torch.tensor(positions, dtype=torch.float64)

    def __len__(self) -> int:
        return len(self.positions)

    def values(self, births: Tensor, deaths: Tensor) -> Tensor:
        """How deep each position lies inside of each bar."""
        t = self.positions.to(births)[:, None]
        rising, falling = t - births[..., None, :], deaths[..., None, :] - t
        return torch.minimum(rising, falling).clamp_min(0.0)

    def bounds(self, boxes: BarBoxes) -> tuple[Tensor, Tensor]:
        """Exact: the function falls in the birth and rises in the death."""
        lower = self.values(boxes.births_high, boxes.deaths_low)
        return lower, self.values(boxes.births_low, boxes.deaths_high)

    def largest(self, births: Tensor, deaths: Tensor, n_levels: int) -> Tensor:
        """As for any template, and compiled where no gradient is asked for."""
        tracked = births.requires_grad or deaths.requires_grad
        if tracked or births.dtype != torch.float64 or births.ndim != 2:
            return super().largest(births, deaths, n_levels)
        out = np.zeros((len(births), len(self), n_levels))
        _compiled()(births.numpy(), deaths.numpy(), self.positions.numpy(), out)
        return torch.from_numpy(out)

    def largest_bounds(self, boxes: BarBoxes, n_levels: int) -> tuple[Tensor, Tensor]:
        """The largest values at the two corners."""
        lower = self.largest(boxes.births_high, boxes.deaths_low, n_levels)
        return lower, self.largest(boxes.births_low, boxes.deaths_high, n_levels)

    def short_bars(self, reach: Tensor, lowest: float) -> Tensor:
        """The reach, attained by (t − reach, t + reach); less for t near `lowest`."""
        return torch.minimum(reach[:, None], (self.positions - lowest).clamp_min(0.0))

    def rounding(self, largest: Any) -> Any:
        """One subtraction."""
        return UNIT_ROUNDOFF * (largest + float(self.positions.abs().max()))


class Window(Template):
    """Windows min((d − b)/2, s − ‖(b, d) − c‖_∞)₊, one for each centre c and size s.

    Parameters
    ----------
    windows : ndarray of shape (m, 3), float64
        A row (birth, death, size) a window, in the unit of the filtration.
    """

    def __init__(self, windows: NDArray[np.float64]) -> None:
        columns = torch.tensor(windows, dtype=torch.float64)
        self.births, self.deaths, self.sizes = columns.T.contiguous()[..., None]

    def __len__(self) -> int:
        return len(self.sizes)

    def values(self, births: Tensor, deaths: Tensor) -> Tensor:
        """How far each bar is inside of each window, and from the diagonal."""
        b, d, s = (column.to(births) for column in (self.births, self.deaths, self.sizes))
        births, deaths = births[..., None, :], deaths[..., None, :]
        inside = s - torch.maximum((births - b).abs(), (deaths - d).abs())
        return torch.minimum((deaths - births) / 2, inside).clamp_min(0.0)

    def bounds(self, boxes: BarBoxes) -> tuple[Tensor, Tensor]:
        """Each of the two distances between those of the box's nearest and farthest points."""
        b, d, s = self.births, self.deaths, self.sizes
        early, late = boxes.births_low[:, None], boxes.births_high[:, None]
        first, last = boxes.deaths_low[:, None], boxes.deaths_high[:, None]
        far = torch.maximum(
            torch.maximum((early - b).abs(), (late - b).abs()),
            torch.maximum((first - d).abs(), (last - d).abs()),
        )
        near = torch.maximum(
            torch.maximum(early - b, b - late), torch.maximum(first - d, d - last)
        ).clamp_min(0.0)
        lower = torch.minimum((first - late) / 2, s - far).clamp_min(0.0)
        return lower, torch.minimum((last - early) / 2, s - near).clamp_min(0.0)

    def short_bars(self, reach: Tensor, lowest: float) -> Tensor:
        """The reach, or less: bars of length 2 reach are (l_c − 2 reach)/2 away from c, or more."""
        b, d, s = self.births[:, 0], self.deaths[:, 0], self.sizes[:, 0]
        below = torch.tensor(-np.inf, dtype=torch.float64)
        length = torch.nextafter(d - b, below)
        away = torch.nextafter(length - 2 * reach[:, None], below) / 2
        near = torch.maximum(away, lowest - b).clamp_min(0.0)
        return torch.minimum(reach[:, None], s - near).clamp_min(0.0)

    def rounding(self, largest: Any) -> Any:
        """A subtraction from the centre, and one from the size where the value is positive."""
        columns = (self.births, self.deaths, self.sizes)
        return UNIT_ROUNDOFF * (largest + sum(float(column.abs().max()) for column in columns))


def k_largest(values: Tensor, n_levels: int) -> Tensor:
    """The largest entries along the last axis, in order, padded with zeros."""
    kept = min(n_levels, values.shape[-1])
    largest = torch.topk(values, kept, dim=-1).values
    return torch.nn.functional.pad(largest, (0, n_levels - kept))


@functools.cache
def _compiled() -> Any:
    """:func:`_largest_tents`, compiled when it is first needed."""
    try:
        return njit(cache=True, nogil=True)(_largest_tents)
    except RuntimeError:  # numba found no folder to write to: compile in every process
        return njit(nogil=True)(_largest_tents)


def _largest_tents(births: Any, deaths: Any, positions: Any, out: Any) -> None:
    """Insert the values of each cloud's bars, one after the other, into its rows of `out`.

    Most values are below the last place of their row, and cost one comparison; no array of all
    values is written.
    """
    n_levels = out.shape[2]
    for cloud in range(len(births)):
        for j in range(len(positions)):
            t, top = positions[j], out[cloud, j]
            for i in range(births.shape[1]):
                value = min(t - births[cloud, i], deaths[cloud, i] - t)
                if value > top[n_levels - 1]:
                    place = n_levels - 1
                    while place > 0 and top[place - 1] < value:
                        top[place] = top[place - 1]
                        place -= 1
                    top[place] = value

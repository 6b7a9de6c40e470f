"""Linear relaxation of networks (N4): how far logits stay apart over a box, seen from the end.

An interval forgets which inputs made it; a linear function of the inputs does not. From the
difference of two logits backwards, every layer replaces a linear function of its outputs by one
of its inputs that is nowhere larger on the box, as CROWN does [1]_; what is left at the input is
minimised over the input box. The boxes of the layers between come from interval propagation.

Notes
-----
*Rounding* (N5). Let x_i be the vector that the network computes after layer i, for any input of the
box. The invariant is, in exact arithmetic of the floats at hand,

    z_t − z_j  >=  A·x_i + β − E.

It holds at the logits with A = e_t − e_j, β = E = 0. Layer i computes x_i = f(x_{i−1}) + e, and its
relaxation has A·f(x) >= A′·x + c for exact A′ and c. Every :class:`Relaxation` states a vector v
such that, with k at least the widest layer plus 4 times the number of layers plus 32, and γ_k the
relative error of k roundings, each of these is at most γ_k |A|·v:

- the network's own rounding |A|·|e|,
- what the computed A′ differs from the exact one, times the largest |x_{i−1}| in the box,
- what the computed c differs from the exact one, together with what its terms contribute to the
  rounding of the sum β, in which no term passes more than k additions.

So E grows by 4 γ_k |A|·v, the fourth for the rounding of v and E themselves, and by an allowance
for products that underflow. ``margins_from_below`` finally evaluates A·x on the box as A·c − |A|·r,
c the centre, and charges 4 γ_k |A|·(|c| + r) for that sum. Where anything overflows or is NaN,
the bound is −∞.

The invariant holds after every layer, so the function is minimised over the box of every layer,
and the best of these bounds is taken: it is never below that of the intervals.

References
----------
.. [1] Zhang, Weng, Chen, Hsieh, Daniel (2018), "Efficient neural network robustness certification
   with general activation functions", NeurIPS.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stablerank.nn.affine import UNDERFLOW, affine_bounds, center_and_radius, gamma


class Relaxation(ABC):
    """A layer on a box of its inputs, with linear functions that bound it from below.

    Parameters
    ----------
    lower, upper : Tensor of shape (n, n_in), float64
        The box of the inputs, holding all that the network computes there.

    Attributes
    ----------
    magnitude : Tensor of shape (n, n_in)
        The largest |x| in the box.
    charge : Tensor of shape (n, n_out)
        The v of the module's notes.
    """

    charge: Tensor

    def __init__(self, lower: Tensor, upper: Tensor) -> None:
        self.lower, self.upper = lower, upper
        self.magnitude = torch.maximum(-lower, upper)

    @abstractmethod
    def pull_back(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """A linear function of the inputs, nowhere above that of the outputs.

        Parameters
        ----------
        coefficients : Tensor of shape (n, k, n_out)
            k linear functions of the outputs, for each box.

        Returns
        -------
        coefficients : Tensor of shape (n, k, n_in)
        constant : Tensor of shape (n, k)
            With A·f(x) >= A′·x + constant for all x in the box, up to the charge.
        """


class Affine(Relaxation):
    """Wx + b, exactly. The network's rounding is γ_{n+1}(|W||x| + |b|): v = |W||x| + |b|."""

    def __init__(self, lower: Tensor, upper: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__(lower, upper)
        self.weight = weight
        self.bias = weight.new_zeros(len(weight)) if bias is None else bias
        self.charge = torch.addmm(self.bias.abs(), self.magnitude, weight.abs().T)

    def pull_back(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """AW and A·b."""
        return coefficients @ self.weight, coefficients @ self.bias


class Diagonal(Relaxation):
    """(x − center)·factor, exactly. Two roundings: v = (|x| + |center|)·factor."""

    def __init__(self, lower: Tensor, upper: Tensor, center: Tensor, factor: Tensor) -> None:
        super().__init__(lower, upper)
        self.center, self.factor = center, factor
        self.charge = (self.magnitude + center.abs()) * factor.abs()

    def pull_back(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """A·factor, and −A·factor·center."""
        pulled = coefficients * self.factor
        return pulled, -(pulled @ self.center)


class Rectified(Relaxation):
    """a·x + h·max(x, 0) with h >= 0, coordinate by coordinate: ReLU (0, 1) and |x| (−1, 2).

    See :func:`_lines`. With |a| + h <= 3, the errors of A′ and of the gaps are below 32 roundings
    of |A||x|, and those of the sum are γ_k 2|A||x|: v = 3|x|.
    """

    def __init__(
        self, lower: Tensor, upper: Tensor, slope: float | Tensor, kink: float | Tensor
    ) -> None:
        super().__init__(lower, upper)
        self.slope, self.kink = slope, kink
        self.lines = _lines(lower, upper)
        self.charge = 3 * self.magnitude

    def pull_back(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """The tangent where the coefficient is positive, the chord where it is negative."""
        slopes, constant = _pull_back(coefficients * self.kink, self.lines)
        return coefficients * self.slope + slopes, constant


class Comparators(Relaxation):
    """(a, b) ↦ (max(a, b), min(a, b)) for neighbours: MaxMin, and what sorts groups of any size.

    Groups of `size` are compared in the places `start` and `start` + 1, `start` + 2 and
    `start` + 3, ... With u = a − b, max(a, b) = b + max(u, 0) and min(a, b) = a − max(u, 0), so
    p·max + q·min = q a + p b + (p − q) max(u, 0): one kink a pair, see :func:`_lines`. For a pair
    whose order is known on the box this is exact; in others it keeps max + min = a + b, which
    intervals lose. The errors are below 32 roundings of (|p| + |q|)(|a| + |b|), and those of the
    sum γ_k (|p| + |q|)(|a| + |b|): v = 2(|a| + |b|) for both outputs of a pair.
    """

    def __init__(self, lower: Tensor, upper: Tensor, size: int, start: int = 0) -> None:
        super().__init__(lower, upper)
        self.size = size
        stop = size - (size - start) % 2
        self.first, self.second = slice(start, stop, 2), slice(start + 1, stop, 2)
        (first_lower, second_lower), (first_upper, second_upper) = map(self._pairs, (lower, upper))
        self.lines = _lines(first_lower - second_upper, first_upper - second_lower)
        charge = self._groups(self.magnitude).clone()
        charge[..., self.first] = charge[..., self.second] = 2 * sum(self._pairs(self.magnitude))
        self.charge = charge.flatten(-2)

    def pull_back(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """Slopes are handed on between the two of a pair; their sum is kept."""
        largest, smallest = self._pairs(coefficients)
        slopes, constant = _pull_back(largest - smallest, self.lines)
        pulled = self._groups(coefficients).clone()
        pulled[..., self.first] = smallest + slopes
        pulled[..., self.second] = largest - slopes
        return pulled.flatten(-2), constant

    def outputs(self) -> tuple[Tensor, Tensor]:
        """The box of the outputs, shape (n, n_out) each: comparisons are monotone."""
        ends = []
        for end in (self.lower, self.upper):
            first, second = self._pairs(end)
            compared = self._groups(end).clone()
            compared[..., self.first] = torch.maximum(first, second)
            compared[..., self.second] = torch.minimum(first, second)
            ends.append(compared.flatten(-2))
        return ends[0], ends[1]

    def _groups(self, x: Tensor) -> Tensor:
        groups: Tensor = x.unflatten(-1, (-1, self.size))
        return groups

    def _pairs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        groups = self._groups(x)
        return groups[..., self.first], groups[..., self.second]


def sorting_network(lower: Tensor, upper: Tensor, size: int) -> list[Relaxation]:
    """Comparators that sort groups, largest first: `size` rounds of neighbours, odd after even.

    Examples
    --------
    >>> box = torch.zeros(1, 8, dtype=torch.float64)
    >>> [len(sorting_network(box, box, size)) for size in (1, 2, 4)]
    [0, 1, 4]
    """
    steps: list[Relaxation] = []
    for i in range(size if size > 2 else size - 1):
        step = Comparators(lower, upper, size, start=i % 2)
        lower, upper = step.outputs()
        steps.append(step)
    return steps


def residual(
    lower: Tensor, upper: Tensor, inward: Tensor, bias: Tensor | None, outward: Tensor
) -> list[Relaxation]:
    """X + U max(Vx + b, 0), as x ↦ (x, Vx + b) ↦ (x, max(Vx + b, 0)) ↦ x + U max(Vx + b, 0).

    Between the steps x is carried on, so that the relaxation sees what cancels.

    Parameters
    ----------
    lower, upper : Tensor of shape (n, n_in), float64
        The box of the inputs.
    inward, bias, outward : Tensor of shape (m, n_in), (m,) and (n_in, m)
        V, b and U.
    """
    n_in, m = lower.shape[1], len(inward)
    carried = torch.eye(n_in, dtype=lower.dtype, device=lower.device)
    shift = lower.new_zeros(n_in + m)
    if bias is not None:
        shift[n_in:] = bias
    hidden = affine_bounds(inward, bias, lower, upper)
    ends = [torch.cat(pair, dim=1) for pair in zip((lower, upper), hidden, strict=True)]
    active = [torch.cat([ends[i][:, :n_in], hidden[i].clamp_min(0)], dim=1) for i in (0, 1)]
    kink = torch.cat([lower.new_zeros(n_in), lower.new_ones(m)])
    return [
        Affine(lower, upper, torch.cat([carried, inward]), shift),
        Rectified(ends[0], ends[1], 1 - kink, kink),
        Affine(active[0], active[1], torch.cat([carried, outward], dim=1), None),
    ]


class Distance(Relaxation):
    """‖x − w_j‖∞ + b_j, which is convex: tangents from below, a constant from above.

    ±(x_i − w_ji) + b_j is below the distance, for every i and both signs; taken are the coordinate
    that is largest at the centre of the box and its sign there. Where the lower end of that
    coordinate's distance is no less than the upper ends of all others, and the sign is known, this
    is the distance itself, and serves from above too; elsewhere the largest distance does.

    The network rounds twice, below γ_4(|x_i − w_ji| + |b_j|). A′ sums at most n_out coefficients
    each, so v_j = max_i |x_i| + max_i |w_ji| + |b_j| covers all of it.

    Parameters
    ----------
    lower, upper : Tensor of shape (n, n_in)
        The box of the inputs.
    weight, bias : Tensor of shape (n_out, n_in) and (n_out,)
        The neurons.
    largest : Tensor of shape (n, n_out)
        The upper ends of the outputs.
    """

    def __init__(
        self, lower: Tensor, upper: Tensor, weight: Tensor, bias: Tensor, largest: Tensor
    ) -> None:
        super().__init__(lower, upper)
        self.bias, self.largest = bias, largest
        above_lower, above_upper = lower.unsqueeze(1) - weight, upper.unsqueeze(1) - weight
        middle = above_lower + above_upper
        self.best = middle.abs().argmax(dim=-1, keepdim=True)
        picked = [x.gather(-1, self.best).squeeze(-1) for x in (middle, above_lower, above_upper)]
        self.sign = torch.where(picked[0] < 0, -1.0, 1.0).to(lower)
        self.offset = bias - self.sign * weight.expand_as(middle).gather(-1, self.best).squeeze(-1)
        farthest = torch.maximum(-above_lower, above_upper).scatter(-1, self.best, -math.inf)
        nearest = torch.where(self.sign < 0, -picked[2], picked[1])
        self.known = (nearest >= 0) & (nearest >= farthest.amax(dim=-1))
        self.charge = (
            self.magnitude.amax(dim=-1, keepdim=True) + weight.abs().amax(dim=-1) + bias.abs()
        )

    def pull_back(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """A tangent for each neuron with a positive coefficient, or with a known maximum."""
        linear = (coefficients >= 0) | self.known.unsqueeze(1)
        slopes = torch.where(linear, coefficients, 0.0)
        pulled = slopes.new_zeros((*slopes.shape[:2], self.lower.shape[1]))
        places = self.best.squeeze(-1).unsqueeze(1).expand_as(slopes)
        pulled.scatter_add_(-1, places, slopes * self.sign.unsqueeze(1))
        ends = torch.where(linear, self.offset.unsqueeze(1), self.largest.unsqueeze(1))
        return pulled, (coefficients * ends).sum(dim=-1)


class Between(Relaxation):
    """A layer of which only the box of the outputs is known: constants. v = |outputs|."""

    def __init__(self, lower: Tensor, upper: Tensor, outputs: tuple[Tensor, Tensor]) -> None:
        super().__init__(lower, upper)
        self.outputs = outputs
        self.charge = torch.maximum(-outputs[0], outputs[1])

    def pull_back(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """Zero, and the least value over the box of the outputs."""
        lower, upper = self.outputs
        ends = torch.where(coefficients >= 0, lower.unsqueeze(1), upper.unsqueeze(1))
        zero = coefficients.new_zeros((*coefficients.shape[:2], self.lower.shape[1]))
        return zero, (coefficients * ends).sum(dim=-1)


def _lines(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lines below and above max(u, 0) on intervals.

    Returns the slope of a tangent through 0, the slope of the chord, and by how much the line of
    that slope through 0 has to be raised to lie above: max(u, 0) − κu is convex, so that is its
    value at one of the ends. Any slopes between 0 and 1 are right; the gap is that of the κ at
    hand. Of tangents the one is taken that is exact at the middle of the interval, which is also
    the one with the least area below the function.
    """
    length = (upper - lower).clamp_min(torch.finfo(lower.dtype).tiny)
    chord = torch.where(lower >= 0, 1.0, torch.where(upper <= 0, 0.0, upper / length)).clamp(0, 1)
    tangent = (lower + upper > 0).to(lower)
    gap = torch.maximum(
        lower.clamp_min(0) - chord * lower, upper.clamp_min(0) - chord * upper
    ).clamp_min(0)
    return tangent, chord, gap


def _pull_back(kinks: Tensor, lines: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Slopes and constant below Σ kinks·max(u, 0); the lines have one dimension less."""
    tangent, chord, gap = (line.unsqueeze(1) for line in lines)
    slopes = kinks * torch.where(kinks >= 0, tangent, chord)
    return slopes, (kinks.clamp_max(0) * gap).flatten(2).sum(dim=-1)


def margins_from_below(
    steps: Sequence[Relaxation],
    outputs: tuple[Tensor, Tensor],
    predicted: Tensor,
    steps_back: int,
) -> Tensor:
    """Lower bounds of min_{j≠t} (z_t − z_j) of the computed logits, over boxes.

    Parameters
    ----------
    steps : sequence of Relaxation
        The layers from the first to the last, each on the box of its inputs.
    outputs : tuple of two Tensors of shape (n, n_classes)
        The box of the logits.
    predicted : Tensor of shape (n,), int64
        The class t of each.
    steps_back : int
        How many layers to go back, from the last one: 1 is interval propagation with the last
        layer taken as differences of logits.

    Returns
    -------
    Tensor of shape (n,)
        −∞ where numbers overflow or are NaN.
    """
    coefficients = _differences(predicted, outputs[0])
    widest = max([outputs[0].shape[1], *(step.lower.shape[1] for step in steps)])
    share = 4 * gamma(widest + 4 * len(steps) + 32)
    constant: Any = 0.0
    best = _least(coefficients, *outputs, constant, share)
    for step in list(reversed(steps))[:steps_back]:
        charge = _dot(coefficients.abs(), share * step.charge + UNDERFLOW)
        underflow = UNDERFLOW * (1 + step.magnitude.sum(dim=-1, keepdim=True))
        coefficients, added = step.pull_back(coefficients)
        # the errors are subtracted where they arise: their own rounding is in the fourth share
        constant = constant + (added - charge - underflow)
        best = torch.maximum(best, _least(coefficients, step.lower, step.upper, constant, share))
    return best.amin(dim=1)


def _differences(predicted: Tensor, like: Tensor) -> Tensor:
    """The rows e_t − e_j for all j ≠ t, shape (n, n_classes − 1, n_classes)."""
    n, n_classes = like.shape
    rivals = torch.arange(n_classes - 1, device=like.device).expand(n, -1)
    rivals = rivals + (rivals >= predicted.unsqueeze(1))
    one_hot = torch.eye(n_classes, dtype=like.dtype, device=like.device)
    return one_hot[predicted].unsqueeze(1) - one_hot[rivals]


def _least(
    coefficients: Tensor, lower: Tensor, upper: Tensor, constant: Any, share: float
) -> Tensor:
    """The least value of A·x + constant over boxes, rounded down; −∞ for what is not finite."""
    center, radius = center_and_radius(lower, upper)
    reach = radius + share * (center.abs() + radius) + UNDERFLOW
    least = _dot(coefficients, center) - _dot(coefficients.abs(), reach) + constant
    return torch.nan_to_num(least, nan=-math.inf, posinf=-math.inf)


def _dot(coefficients: Tensor, x: Tensor) -> Tensor:
    """Shape (n, k, m) and (n, m) to (n, k)."""
    return torch.bmm(coefficients, x.unsqueeze(-1)).squeeze(-1)

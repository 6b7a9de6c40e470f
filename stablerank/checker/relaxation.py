"""Linear functions below a difference of logits, pulled back layer by layer to the input (N4).

The invariant, for every exact x of the box before a layer: z_top − z_j >= A·x + β. Whatever the
computed A and β are off by, times the largest |x| of the box, is taken from β on the way.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from stablerank.checker.network import Affine, Distances, Kinks, Network, middle
from stablerank.checker.rounding import TINY, Array, gamma

_Box = tuple[Array, Array]
_Places = NDArray[np.intp]


def least_gap(network: Network, boxes: list[_Box], top: int, *, linear: bool) -> float:
    """How far the class `top` stays ahead of all others, at least; −inf where nothing is known.

    Parameters
    ----------
    network : Network
        As read.
    boxes : list of pairs of ndarray
        What :meth:`Network.boxes` says.
    top : int
        The class.
    linear : bool
        Whether layers before the head are relaxed, or only their intervals count.
    """
    rivals = np.arange(len(network.head.weight)) != top
    best = network.gaps(boxes[-1], top)[0][rivals]
    if linear:
        width = max(max(len(box[0]) for box in boxes), len(network.head.weight))
        share = gamma(4 * (width + 4 * len(network.layers) + 64))
        start = np.eye(len(rivals))[top] - np.eye(len(rivals))[rivals]
        pulled = _affine(start, np.zeros(len(start)), network.head, boxes[-1], share)
        for layer, box in zip(reversed(network.layers), reversed(boxes[:-1]), strict=True):
            if isinstance(layer, Distances):
                break
            best = np.maximum(best, _least(*pulled, _outputs(layer, box), share))
            if isinstance(layer, Affine):
                pulled = _affine(*pulled, layer, box, share)
            else:
                pulled = _kinks(*pulled, layer, box, share)
            best = np.maximum(best, _least(*pulled, box, share))
        if not network.layers:
            best = np.maximum(best, _least(*pulled, boxes[0], share))
    least = float(best.min())
    return least if math.isfinite(least) else -math.inf


def _outputs(layer: Affine | Kinks | Distances, box: _Box) -> _Box:
    return layer.box(*box)


def _least(slopes: Array, constant: Array, box: _Box, share: float) -> Array:
    center, radius = middle(*box)
    reach = (radius + share * (np.abs(center) + radius)) * (1 + share) + TINY
    return np.asarray(
        slopes @ center - np.abs(slopes) @ reach + constant - share * np.abs(constant) - TINY
    )


def _charged(constant: Array, added: Array, lost: Array, share: float) -> Array:
    total = constant + added
    size = np.abs(constant) + np.abs(added) + lost
    return np.asarray(total - lost * (1 + share) - share * size - TINY)


def _affine(
    slopes: Array, constant: Array, layer: Affine, box: _Box, share: float
) -> tuple[Array, Array]:
    size = np.maximum(-box[0], box[1])
    lost = share * (np.abs(slopes) @ (np.abs(layer.weight) @ size + np.abs(layer.bias)))
    return slopes @ layer.weight, _charged(constant, slopes @ layer.bias, lost, share)


def _kinks(
    slopes: Array, constant: Array, layer: Kinks, box: _Box, share: float
) -> tuple[Array, Array]:
    if layer.name == "relu":
        return _rectified(slopes, constant, 0.0, 1.0, box, share)
    if layer.name == "abs":
        return _rectified(slopes, constant, -1.0, 2.0, box, share)
    if layer.name == "maxmin":
        return _compared(slopes, constant, box, 2, 0, share)
    rounds = [box]
    for i in range(4):  # neighbours, odd after even, sort any four
        rounds.append(_sorted_pairs(rounds[-1], 4, i % 2))
    for i in reversed(range(4)):
        slopes, constant = _compared(slopes, constant, rounds[i], 4, i % 2, share)
    return slopes, constant


def _rectified(
    slopes: Array, constant: Array, slope: float, kink: float, box: _Box, share: float
) -> tuple[Array, Array]:
    """Of a·x + h·max(x, 0), coordinate by coordinate."""
    pulled, added, lost = _lines(slopes * kink, *box, share)
    size = np.maximum(-box[0], box[1])
    lost = lost + 4 * share * (np.abs(slopes) @ size)
    return slopes * slope + pulled, _charged(constant, added, lost, share)


def _compared(
    slopes: Array, constant: Array, box: _Box, size: int, start: int, share: float
) -> tuple[Array, Array]:
    """Of p·max(a, b) + q·min(a, b) = q a + p b + (p − q) max(a − b, 0), pair by pair."""
    first, second = _places(slopes.shape[1], size, start)
    p, q = slopes[:, first], slopes[:, second]
    low, high = box
    ends = (
        np.nextafter(low[first] - high[second], -np.inf),
        np.nextafter(high[first] - low[second], np.inf),
    )
    turned, added, lost = _lines(p - q, *ends, share)
    pulled = slopes.copy()
    pulled[:, first], pulled[:, second] = q + turned, p - turned
    magnitude = np.maximum(-low, high)
    lost = lost + 4 * share * ((np.abs(p) + np.abs(q)) @ (magnitude[first] + magnitude[second]))
    return pulled, _charged(constant, added, lost, share)


def _sorted_pairs(box: _Box, size: int, start: int) -> _Box:
    first, second = _places(len(box[0]), size, start)
    ends = [end.copy() for end in box]
    for end, old in zip(ends, box, strict=True):
        end[first] = np.maximum(old[first], old[second])
        end[second] = np.minimum(old[first], old[second])
    return ends[0], ends[1]


def _places(n: int, size: int, start: int) -> tuple[_Places, _Places]:
    within = np.arange(start, size - 1, 2)
    first = (np.arange(0, n, size)[:, None] + within).ravel().astype(np.intp)
    return first, first + 1


def _lines(kinks: Array, lower: Array, upper: Array, share: float) -> tuple[Array, Array, Array]:
    """Slopes and a constant below Σ kinks·max(u, 0) for u in intervals, and what was rounded.

    A positive kink stays above its tangent, 0 or u; a negative one above its chord, whose line is
    raised by the largest distance of max(u, 0) to it, which lies at one of the ends.
    """
    length = np.maximum(upper - lower, np.finfo(float).tiny)
    chord = np.clip(np.where(lower >= 0, 1.0, np.where(upper <= 0, 0.0, upper / length)), 0, 1)
    tangent = (lower + upper > 0).astype(float)
    ends = [np.maximum(end, 0) - chord * end for end in (lower, upper)]
    raised = np.maximum(0.0, np.maximum(*ends))
    negative = np.minimum(kinks, 0.0)
    lost = share * (np.abs(negative) @ np.maximum(np.abs(lower), np.abs(upper)))
    return kinks * np.where(kinks >= 0, tangent, chord), negative @ raised, lost

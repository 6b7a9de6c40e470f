"""From bars in intervals to vectors in boxes, and the constant of each coordinate (R2 to R5)."""

from __future__ import annotations

import math

import numpy as np

from stablerank.checker.claims import ClaimError
from stablerank.checker.diagrams import Bars, constant, diagrams, moved
from stablerank.checker.model_file import Stage
from stablerank.checker.rounding import TINY, Array, down, gamma, times_up, up


def box(stages: tuple[Stage, ...], cloud: Array, threat: str, radius: float) -> tuple[Array, Array]:
    """Lower and upper ends of the exact vectors of all clouds within the radius, (n_features,)."""
    parts = [_branch_box(*branch, cloud, threat, radius) for branch in branches(stages)]
    lower, upper = zip(*parts, strict=True)
    return np.concatenate(lower), np.concatenate(upper)


def constants(stages: tuple[Stage, ...], d: int, threat: str) -> Array:
    """How far each coordinate moves when the adversary moves by 1, rounded up."""
    parts = []
    for filtration, vectorizer in branches(stages):
        for k in _dimensions(vectorizer):
            factors = _slopes(vectorizer, k)
            parts.append(times_up(constant(filtration, k, d, threat), factors))
    return np.concatenate(parts)


def branches(stages: tuple[Stage, ...]) -> list[tuple[Stage, Stage]]:
    """Pairs of a filtration and a vectorizer, in the order of the features.

    Raises
    ------
    ClaimError
        For stages of other kinds.
    """
    if len(stages) == 1 and stages[0].kind == "union":
        _refuse_weights(stages[0])
        return [pair for branch in stages[0].branches for pair in branches(branch)]
    if len(stages) == 2 and stages[1].kind == "union":
        _refuse_weights(stages[1])
        own = stages[1].branches
        return [pair for branch in own for pair in branches((stages[0], *branch))]
    if len(stages) != 2 or stages[1].kind not in ("stable ranks", "half lengths", "landscapes"):
        names = ", ".join(repr(stage.kind) for stage in stages)
        raise ClaimError("stage", f"cannot be checked: {names} is not known here")
    if stages[1].parameters.get("contour", "standard") != "standard":
        raise ClaimError("stage", "cannot be checked: only the standard contour is known here")
    _check_numbers(stages[1])
    return [(stages[0], stages[1])]


def _check_numbers(vectorizer: Stage) -> None:
    """Counts count, and exponents are those of norms: else the facts do not hold."""
    for name in ("n_ranks_", "max_bars_", "n_levels_"):
        for count in vectorizer.fitted.get(name, {}).values():
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ClaimError("stage", f"{name} holds {count!r}, which is no count")
    if vectorizer.kind == "stable ranks" and not float(vectorizer.parameters["p"]) >= 1:
        raise ClaimError("stage", "p is not the exponent of a norm")


def _refuse_weights(union: Stage) -> None:
    if union.parameters.get("transformer_weights") is not None:
        raise ClaimError("stage", "cannot be checked: a union with weights is not known here")


def _branch_box(
    filtration: Stage, vectorizer: Stage, cloud: Array, threat: str, radius: float
) -> tuple[Array, Array]:
    found = diagrams(filtration, cloud)
    lower, upper = [], []
    for k in _dimensions(vectorizer):
        reach = float(times_up(constant(filtration, k, cloud.shape[1], threat), radius))
        ends = _ends(vectorizer, k, moved(found[k], k, reach, cloud))
        lower.append(ends[0].ravel())
        upper.append(ends[1].ravel())
    return np.concatenate(lower), np.concatenate(upper)


def _dimensions(vectorizer: Stage) -> list[int]:
    return [int(k) for k in vectorizer.fitted["homology_dimensions_"]]


def size(vectorizer: Stage, k: int) -> int:
    """How many coordinates a vectorizer makes of H_k."""
    return len(_slopes(vectorizer, k))


def _slopes(vectorizer: Stage, k: int) -> Array:
    """From ordered deaths in H0, from the bottleneck distance elsewhere (R3, R4)."""
    if vectorizer.kind == "half lengths":
        return np.full(vectorizer.fitted["n_levels_"][k], 0.5 if k == 0 else 1.0)
    if vectorizer.kind == "landscapes":
        positions = vectorizer.fitted["positions_"][k]
        return np.ones(len(positions) * vectorizer.fitted["n_levels_"][k])
    p, n_ranks = float(vectorizer.parameters["p"]), vectorizer.fitted["n_ranks_"][k]
    each = 1.0 if k == 0 else 2.0
    if p == math.inf:
        return np.full(n_ranks, each)
    left = np.maximum(vectorizer.fitted["max_bars_"][k] - np.arange(n_ranks), 0).astype(float)
    # a power of numbers up to 10^9, its exponent rounded: some 30 roundings at most
    powers = left if p == 1 else np.power(left, 1 / p) * (1 + gamma(64))
    return np.asarray(times_up(each, powers))


def _ends(vectorizer: Stage, k: int, bars: Bars) -> tuple[Array, Array]:
    shortest = np.maximum(0.0, down(bars.deaths[0] - bars.births[1]))
    longest = np.maximum(0.0, up(bars.deaths[1] - bars.births[0]))
    if vectorizer.kind == "stable ranks":
        p, n_ranks = float(vectorizer.parameters["p"]), vectorizer.fitted["n_ranks_"][k]
        kept = n_ranks if p == math.inf else vectorizer.fitted["max_bars_"][k]
        lower, upper = _largest(shortest, kept), _largest(longest, kept)
        upper = np.maximum(upper, bars.longest_new)
        if p == math.inf:
            return lower, upper
        return _tails(lower, p, n_ranks)[0], _tails(upper, p, n_ranks)[1]
    levels = vectorizer.fitted["n_levels_"][k]
    if vectorizer.kind == "half lengths":
        lower, upper = _largest(shortest / 2, levels), _largest(longest / 2, levels)
        return lower, np.maximum(upper, bars.longest_new / 2)
    t = vectorizer.fitted["positions_"][k][:, None]
    least = np.maximum(0.0, down(np.minimum(t - bars.births[1], bars.deaths[0] - t)))
    most = np.maximum(0.0, up(np.minimum(t - bars.births[0], bars.deaths[1] - t)))
    new = bars.longest_new / 2 if k else np.maximum(0.0, up(bars.longest_new - t))
    new = np.minimum(new, np.maximum(t, 0.0))  # nothing is born before 0
    return _largest(least, levels), np.maximum(_largest(most, levels), new)


def _largest(values: Array, kept: int) -> Array:
    """The largest along the last axis, padded with zeros."""
    ordered = -np.sort(-values, axis=-1)[..., :kept]
    missing = kept - ordered.shape[-1]
    return np.pad(ordered, [(0, 0)] * (ordered.ndim - 1) + [(0, missing)])


def _tails(lengths: Array, p: float, n_ranks: int) -> tuple[Array, Array]:
    """The p-norms of the tails of sorted lengths, from below and from above."""
    longest = float(lengths.max(initial=0.0))
    tails = np.zeros(n_ranks)
    if longest > 0:
        powers = (lengths / longest) ** p
        sums = np.cumsum(powers[::-1])[::-1][:n_ranks]
        tails[: len(sums)] = longest * sums ** (1 / p)
    # a power's argument is off by one rounding, which p multiplies; the root divides by p again
    share = gamma(len(lengths) + 64) if p <= 2 else gamma(2 * len(lengths) + 128)
    lost = longest * times_up(len(lengths) * TINY, 1.0) ** (1 / p) if longest > 0 else 0.0
    n_tails = min(n_ranks, len(lengths))
    lower = np.maximum(0.0, tails * (1 - share) - TINY)
    upper = np.zeros(n_ranks)
    upper[:n_tails] = tails[:n_tails] * (1 + share) + 2 * lost
    return lower, upper

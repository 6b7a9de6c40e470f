"""From bars in intervals to vectors in boxes, and how steep each coordinate is (R2 to R5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from stablerank.checker import fields, templates
from stablerank.checker.claims import ClaimError, NotChecked
from stablerank.checker.contours import read_contour
from stablerank.checker.diagrams import Bars
from stablerank.checker.model_file import Stage
from stablerank.checker.rounding import TINY, Array, gamma, power_up, times_up
from stablerank.checker.templates import largest
from stablerank.checker.threats import Space

Box: TypeAlias = tuple[Array, Array]
Balls: TypeAlias = Callable[[Stage | None], Mapping[int, Bars]]
Boxes: TypeAlias = Callable[[Stage], Box]

VECTORIZERS = ("stable ranks", *templates.KINDS)


def box(stages: tuple[Stage, ...], balls: Balls, of_fields: Boxes) -> Box:
    """Lower and upper ends of the exact vectors of all inputs that there may be, (n_features,).

    Parameters
    ----------
    stages : tuple of Stage
        From the input to the vectors.
    balls : callable
        From a filtration, or None where diagrams are given, to all diagrams that there may be.
    of_fields : callable
        From a field to the box of its vectors.
    """
    parts: list[Box] = []
    for first, vectorizer in pairs(stages):
        if vectorizer is None and first is not None:
            parts.append(of_fields(first))
        elif vectorizer is not None:
            found = balls(first)
            make = _ranks if vectorizer.kind == "stable ranks" else templates.box
            parts += [make(vectorizer, k, found[k]) for k in homology_dimensions(vectorizer)]
    lower, upper = zip(*parts, strict=True)
    return np.concatenate([e.ravel() for e in lower]), np.concatenate([e.ravel() for e in upper])


def pairs(stages: tuple[Stage, ...]) -> list[tuple[Stage | None, Stage | None]]:
    """Filtrations and the vectorizers behind them, in the order of the features.

    Without filtration where diagrams are given, and without vectorizer where a field makes vectors.

    Raises
    ------
    NotChecked
        For stages of other kinds.
    """
    first, rest = stages[0], stages[1:]
    if first.kind == "union":
        _check_union(first, rest)
        return [pair for _, branch in first.branches for pair in pairs(branch)]
    if first.kind in fields.KINDS and not rest:
        return [(first, None)]
    if first.kind in VECTORIZERS and not rest:
        _check_numbers(first)
        return [(None, first)]
    if len(rest) == 1 and rest[0].kind in ("union", *VECTORIZERS):
        behind = pairs(rest)
        if all(filtration is None for filtration, _ in behind):
            return [(first, vectorizer) for _, vectorizer in behind]
    names = ", ".join(repr(stage.kind) for stage in stages)
    raise NotChecked("stage", f"{names} is not known here")


def homology_dimensions(vectorizer: Stage | None) -> list[int]:
    """Those that it was fitted on, in the order of the features; none of a field."""
    return [] if vectorizer is None else [int(k) for k in vectorizer.fitted["homology_dimensions_"]]


def size(vectorizer: Stage, k: int) -> int:
    """How many coordinates a vectorizer makes of H_k."""
    return len(slopes(vectorizer, k, {"metric": "bottleneck"}))


def slopes(vectorizer: Stage, k: int, space: Space) -> Array:
    """How far each coordinate of H_k moves when its diagram moves by 1, rounded up (R2 to R4).

    Parameters
    ----------
    vectorizer : Stage
        Its kind and numbers.
    k : int
        Homology dimension.
    space : dict
        The metric in which the diagram moves: ordered deaths, bottleneck, or Wasserstein.

    Notes
    -----
    Lengths, measured by a contour of constant K, move by K with a death that moves alone (D3), by
    2K in bottleneck distance, where both ends do, and by K·2^{1−1/q} in W_p with ground norm ℓ_q
    (R2). The rank's p-norm of the longest B − k bars costs (B−k)^{1/p}, from W_p only what its
    exponent is smaller by.
    """
    if vectorizer.kind != "stable ranks":
        return templates.slopes(vectorizer, k, space)
    p, n_ranks = float(vectorizer.parameters["p"]), int(vectorizer.fitted["n_ranks_"][k])
    steepest = read_contour(vectorizer.parameters["contour"]).constant
    exponent = 1 / p
    if space["metric"] == "ordered deaths":
        each = steepest
    elif space["metric"] == "bottleneck":
        each = 2 * steepest
    else:
        of, ground = float(space["p"]), float(space["q"])
        each = float(times_up(steepest, power_up(np.array(2.0), 1 - 1 / ground)))
        exponent = max(0.0, exponent - 1 / of)
    if p == math.inf:
        return np.full(n_ranks, each)
    left = np.maximum(vectorizer.fitted["max_bars_"][k] - np.arange(n_ranks), 0).astype(float)
    return np.where(left > 0, times_up(each, power_up(left, exponent)), 0.0)


def _check_union(union: Stage, rest: tuple[Stage, ...]) -> None:
    if rest:
        raise NotChecked("stage", "what stands behind a union is not known here")
    if union.parameters.get("transformer_weights") is not None:
        raise NotChecked("stage", "a union with weights is not known here")


def _check_numbers(vectorizer: Stage) -> None:
    """Counts count, and exponents are those of norms: else the facts do not hold."""
    for name in ("n_ranks_", "max_bars_", "n_levels_"):
        for count in vectorizer.fitted.get(name, {}).values():
            if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count < 10**9:
                raise ClaimError("stage", f"{name} holds {count!r}, which is no count")
    if vectorizer.kind == "stable ranks" and not float(vectorizer.parameters["p"]) >= 1:
        raise ClaimError("stage", "p is not the exponent of a norm")


def _ranks(vectorizer: Stage, k: int, bars: Bars) -> tuple[Array, Array]:
    p, n_ranks = float(vectorizer.parameters["p"]), int(vectorizer.fitted["n_ranks_"][k])
    shortest, longest, new = read_contour(vectorizer.parameters["contour"]).lengths(bars)
    kept = n_ranks if p == math.inf else int(vectorizer.fitted["max_bars_"][k])
    lower, upper = largest(shortest, kept), np.maximum(largest(longest, kept), new)
    if p == math.inf:
        return lower, upper
    return _tails(lower, p, n_ranks)[0], _tails(upper, p, n_ranks)[1]


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

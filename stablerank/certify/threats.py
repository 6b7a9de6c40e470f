"""What an adversary may do, and the chain of constants from that to a stage's output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from stablerank.stability import (
    BOTTLENECK,
    HAUSDORFF,
    PER_COORDINATE,
    PER_POINT,
    SUP,
    Bound,
    Parallel,
    Space,
    StabilityChain,
    StabilityError,
    conversion,
)

POINT_THREATS = {
    "per_point": (PER_POINT, "ℓ2 displacement of every point, in the units of the points"),
    "hausdorff": (HAUSDORFF, "Hausdorff distance, in the units of the points"),
    "per_coordinate": (PER_COORDINATE, "change of every coordinate, in the units of the points"),
    "sup": (SUP, "change of every entry of the dissimilarity matrix"),
}
DIAGRAM_THREATS = ("bottleneck", "wasserstein")

_COARSER = {PER_COORDINATE: PER_POINT, PER_POINT: HAUSDORFF}


def threat_space(threat: str, p: float | None = None, q: float | None = None) -> tuple[Space, str]:
    """The metric in which a threat is measured, and the unit of its radius.

    Parameters
    ----------
    threat : str
        One of ``"per_point"``, ``"hausdorff"``, ``"per_coordinate"``, ``"sup"``,
        ``"bottleneck"``, ``"wasserstein"``.
    p, q : float, optional
        Exponent and ground norm, for ``"wasserstein"``, which needs both, and for nothing else.

    Returns
    -------
    space : Space
    unit : str

    Raises
    ------
    ValueError
        For an unknown threat, or exponents that are missing or superfluous.
    """
    if threat == "wasserstein":
        if p is None or q is None:
            raise ValueError(
                'threat="wasserstein" names its exponent p and its ground norm q: for example '
                'certify(..., threat="wasserstein", p=1, q=math.inf).'
            )
        return Space("diagram", "wasserstein", float(p), float(q)), _wasserstein_unit(p, q)
    if p is not None or q is not None:
        raise ValueError(f'p and q belong to threat="wasserstein", not to threat={threat!r}.')
    if threat == "bottleneck":
        return BOTTLENECK, "bottleneck distance between diagrams, in the filtration's unit"
    if threat not in POINT_THREATS:
        raise ValueError(
            f"threat={threat!r}: expected one of {[*POINT_THREATS, *DIAGRAM_THREATS]}."
        )
    return POINT_THREATS[threat]


def chain_of_stages(stages: Sequence[Any], source: Space) -> StabilityChain:
    """Ask every stage for its bound, from the adversary's metric onwards.

    Where a stage does not know a constant from the metric at hand, the explicit conversions to
    coarser metrics are tried: per coordinate, per point, Hausdorff.

    Parameters
    ----------
    stages : sequence of objects with ``stability(source)``
        In the order of the flow.
    source : Space
        Where the chain starts.

    Returns
    -------
    StabilityChain

    Raises
    ------
    StabilityError
        If a stage has no constant from any of these metrics.
    """
    elements: list[Bound | Parallel | StabilityChain] = []
    for stage in stages:
        if not hasattr(stage, "stability"):
            raise StabilityError(
                f"{type(stage).__name__} has no stability(source): what it does to distances is "
                f"not known, so nothing behind it can be certified. Take it out of the pipeline, "
                f"or give it that method."
            )
        elements += _stage_with_conversions(stage, source)
        source = elements[-1].target
    return StabilityChain(*elements)


def _stage_with_conversions(stage: Any, source: Space) -> list[Bound | Parallel | StabilityChain]:
    conversions: list[Bound | Parallel | StabilityChain] = []
    while True:
        try:
            return [*conversions, stage.stability(source)]
        except StabilityError:
            if source not in _COARSER:
                raise
        coarser = _COARSER[source]
        conversions.append(
            conversion(source, coarser, dimension=getattr(stage, "dimension_", None))
        )
        source = coarser


def _wasserstein_unit(p: float, q: float) -> str:
    name = "∞" if p == math.inf else f"{p:g}"
    ground = "∞" if q == math.inf else f"{q:g}"
    return f"W_{name} with ground norm ℓ{ground} between diagrams, in the filtration's unit"

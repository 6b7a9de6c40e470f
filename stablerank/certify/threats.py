"""What an adversary may do: the metric of each threat, and the unit of its radius."""

from __future__ import annotations

import math

from stablerank.stability import (
    BOTTLENECK,
    FROBENIUS,
    HAUSDORFF,
    PER_COORDINATE,
    PER_POINT,
    SUP,
    Space,
)

POINT_THREATS = {
    "per_point": (PER_POINT, "ℓ2 displacement of every point, in the units of the points"),
    "hausdorff": (HAUSDORFF, "Hausdorff distance, in the units of the points"),
    "per_coordinate": (PER_COORDINATE, "change of every coordinate, in the units of the points"),
    "frobenius": (FROBENIUS, "ℓ2 norm of the displacements of all points together"),
    "sup": (SUP, "change of every entry of the dissimilarity matrix"),
}
COUNTING_THREATS = {
    "deletion": "deleted points: any of them, as many as the radius or fewer",
    "points": "points added, deleted or replaced: as many in all as the radius or fewer, anywhere",
}
"""Their radius is a number of points, and is attained: radius k is about any k points."""

DIAGRAM_THREATS = ("bottleneck", "wasserstein")


def threat_space(threat: str, p: float | None = None, q: float | None = None) -> tuple[Space, str]:
    """The metric in which a threat is measured, and the unit of its radius.

    Parameters
    ----------
    threat : str
        One of ``"per_point"``, ``"hausdorff"``, ``"per_coordinate"``,
        ``"frobenius"``, ``"sup"``, ``"deletion"``, ``"points"``, ``"bottleneck"``,
        ``"wasserstein"``.
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
    if threat in COUNTING_THREATS:
        return Space("points", threat), COUNTING_THREATS[threat]
    if threat not in POINT_THREATS:
        known = [*POINT_THREATS, *COUNTING_THREATS, *DIAGRAM_THREATS]
        raise ValueError(f"threat={threat!r}: expected one of {known}.")
    return POINT_THREATS[threat]


def _wasserstein_unit(p: float, q: float) -> str:
    name = "∞" if p == math.inf else f"{p:g}"
    ground = "∞" if q == math.inf else f"{q:g}"
    return f"W_{name} with ground norm ℓ{ground} between diagrams, in the filtration's unit"

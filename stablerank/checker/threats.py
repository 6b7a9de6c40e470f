"""What the adversary of a file may do: the metric it starts from, and the unit of its radius."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

from stablerank.checker.claims import ClaimError, NotChecked

Space: TypeAlias = dict[str, Any]
"""A kind of object and a metric, as chains of constants write them."""

_MOVING: dict[str, tuple[Space, str]] = {
    "per_point": (
        {"kind": "points", "metric": "per-point"},
        "ℓ2 displacement of every point, in the units of the points",
    ),
    "hausdorff": (
        {"kind": "points", "metric": "hausdorff"},
        "Hausdorff distance, in the units of the points",
    ),
    "per_coordinate": (
        {"kind": "points", "metric": "per-coordinate"},
        "change of every coordinate, in the units of the points",
    ),
    "frobenius": (
        {"kind": "points", "metric": "frobenius"},
        "ℓ2 norm of the displacements of all points together",
    ),
    "sup": (
        {"kind": "matrix", "metric": "sup"},
        "change of every entry of the dissimilarity matrix",
    ),
    "bottleneck": (
        {"kind": "diagram", "metric": "bottleneck"},
        "bottleneck distance between diagrams, in the filtration's unit",
    ),
}
_COUNTING = {
    "deletion": "deleted points: any of them, as many as the radius or fewer",
    "points": "points added, deleted or replaced: as many in all as the radius or fewer, anywhere",
}


@dataclass(frozen=True)
class Threat:
    """A threat that is known here.

    Attributes
    ----------
    name : str
        As in the file.
    space : dict or None
        The metric in which radii are measured; None where they count points.
    """

    name: str
    space: Space | None

    @property
    def counts(self) -> bool:
        """Whether the radius is a number of points."""
        return self.space is None

    @property
    def on_diagrams(self) -> bool:
        """Whether the adversary changes diagrams, so that these are the inputs."""
        return self.space is not None and self.space["kind"] == "diagram"


def read_threat(content: dict[str, Any]) -> Threat:
    """The threat of a file, whose unit and whose end, open or closed, belong to it.

    Raises
    ------
    ClaimError
        If they do not fit together.
    """
    name, exponents = content["threat"], (content["p"], content["q"])
    if name == "wasserstein":
        p, q = _exponents(exponents)
        space: Space | None = {
            "kind": "diagram",
            "metric": "wasserstein",
            "p": str(p),
            "q": str(q),
        }
        of, ground = ("∞" if e == math.inf else f"{e:g}" for e in (p, q))
        unit = f"W_{of} with ground norm ℓ{ground} between diagrams, in the filtration's unit"
    elif exponents != (None, None):
        raise ClaimError("threat", f"threat={name!r} has no exponents p and q")
    elif name in _MOVING:
        space, unit = _MOVING[name]
    elif name in _COUNTING:
        space, unit = None, _COUNTING[name]
    else:
        raise NotChecked("threat", f"threat={name!r} is not known here")
    if content["unit"] != unit:
        raise ClaimError(
            "unit", "that is not the unit of this threat", claimed=content["unit"], derived=unit
        )
    if content["closed"] != (space is None):
        raise ClaimError("closed", "radii that count points are closed, and all others are open")
    return Threat(name, space)


def _exponents(hexadecimal: tuple[Any, Any]) -> tuple[float, float]:
    try:
        p, q = (float.fromhex(number) for number in hexadecimal)
    except (OverflowError, TypeError, ValueError) as error:
        raise ClaimError("threat", f"p and q are no exponents: {error}") from error
    if not (p >= 1 and q >= 1):
        raise ClaimError("threat", f"p={p!r}, q={q!r} are not the exponents of norms")
    return p, q

"""Products of a chain's constants, stage by stage and coordinate by coordinate."""

from __future__ import annotations

from typing import Any

import numpy as np

from stablerank.checker.claims import ClaimError
from stablerank.checker.rounding import Array, times_up


def end_to_end(chain: list[dict[str, Any]]) -> float:
    """The product of a chain's constants, the largest over the coordinates, rounded up.

    Raises
    ------
    ClaimError
        If it is no chain, or one of its constants is negative or not finite.
    """
    return float(np.max(by_coordinate(chain)))


def by_coordinate(chain: list[dict[str, Any]]) -> Array:
    """The product of a chain's constants for each coordinate at its end, rounded up.

    Raises
    ------
    ClaimError
        If it is no chain, or one of its constants is negative or not finite.
    """
    try:
        return _flat(_product(chain, 1.0))
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ClaimError("chain", f"it is no chain of constants: {error}") from error


def _product(chain: list[dict[str, Any]], reach: Any) -> Any:
    for element in chain:
        if "branches" in element:
            parts = {}
            for name, branch in element["branches"].items():
                # a branch that starts from all homology dimensions takes them all
                product = "branches" in branch[0] or branch[0]["source"].get("parts")
                whole = product or not isinstance(reach, dict)
                parts[name] = _product(branch, reach if whole else reach[name])
            reach = _flat(parts) if element["joined"] else parts
            continue
        constants = element.get("constants") or [element["constant"]]
        factors = np.array(constants, dtype=np.float64)
        if not (np.isfinite(factors) & (factors >= 0)).all():
            raise ValueError("a constant is negative or not finite")
        if np.max(factors) != element["constant"]:
            raise ValueError("a constant is not the largest of its coordinates")
        own = _flat(reach) if element.get("coordinatewise") else np.max(_flat(reach))
        reach = times_up(own, factors)
    return reach


def _flat(reach: Any) -> Array:
    if isinstance(reach, dict):
        return np.concatenate([_flat(part) for part in reach.values()])
    return np.atleast_1d(np.asarray(reach, dtype=np.float64))

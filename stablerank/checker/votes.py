"""Votes of sub-clouds to which points are hashed: few changed points change few votes.

With v_t votes for the winner t and v_j for another class, a point that is added or deleted changes
one vote and one that is replaced two, and each changed vote lowers v_t − v_j by at most 2. In a tie
the class wins that stands first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from stablerank.checker.claims import ClaimError
from stablerank.checker.rounding import Array

Candidates = Callable[[Array], list[int]]
"""From a sub-cloud to the classes that may get its vote: one, unless some tie within rounding."""

_KEYS = {"n_parts": 1, "min_points": 1, "random_state": 0, "fixed_vote": 0}
_CHANGED_VOTES = {"deletion": 1, "points": 2}
_MOST_PARTS = 10**6
_GOLDEN = 0x9E3779B97F4A7C15
_WORD = 2**64 - 1


def check_votes(
    claim: dict[str, Any],
    top: int,
    cloud: Array,
    threat: str,
    voters: dict[str, Any],
    candidates: Candidates,
    n_classes: int,
) -> None:
    """The winner, its margin, and that it wins whichever so many points are changed.

    Parameters
    ----------
    claim : dict
        The certificate of the cloud.
    top : int
        The class that it names.
    cloud : ndarray of shape (n_points, d)
        The cloud.
    threat : {"deletion", "points"}
        What may be done to points.
    voters : dict
        How the cloud is split: n_parts, min_points, random_state, fixed_vote.
    candidates : callable
        What the model votes for.
    n_classes : int
        How many there are.

    Raises
    ------
    ClaimError
        If one of these does not hold.
    """
    least, most = _count(cloud, voters, candidates, n_classes)
    others, first = np.arange(n_classes) != top, np.arange(n_classes) < top
    surely, maybe = least[top] - most - first, most[top] - least - first
    lead = int((surely if claim["radius"] > 0 else maybe)[others].min())
    if lead < 0:
        raise ClaimError(
            "prediction", "another class has more votes", claimed=repr(claim["prediction"])
        )
    n_parts = voters["n_parts"]
    low, high = (
        (least[top] - most[others].max()) / n_parts,
        (most[top] - least[others].max()) / n_parts,
    )
    if not low - 2.0**-40 <= claim["margin"] <= high + 2.0**-40:
        raise ClaimError(
            "margin",
            "the votes differ by another share",
            claimed=repr(claim["margin"]),
            derived=repr(low),
        )
    derived = min(lead // (2 * _CHANGED_VOTES[threat]), len(cloud) - 1)
    if claim["radius"] != int(claim["radius"]) or not claim["radius"] <= derived:
        raise ClaimError(
            "radius", "the votes give less", claimed=repr(claim["radius"]), derived=repr(derived)
        )


def check_voters(voters: Any, n_classes: int) -> None:
    """Raise unless a file says how clouds are split, and what small sub-clouds vote for.

    Raises
    ------
    ClaimError
        If a number is missing, or makes no sense.
    """
    if not isinstance(voters, dict) or set(voters) != set(_KEYS):
        raise ClaimError("votes", f"expected the numbers {', '.join(_KEYS)}")
    limits = {
        "n_parts": _MOST_PARTS,
        "min_points": _WORD,
        "random_state": _WORD,
        "fixed_vote": n_classes - 1,
    }
    for name, value in voters.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not _KEYS[name] <= value <= limits[name]:
            raise ClaimError("votes", f"{name}={value!r} makes no sense")


def parts_of(points: Array, n_parts: int, seed: int) -> list[int]:
    """To which sub-cloud each point goes.

    The finalizer of SplitMix64, over the bits of one coordinate after the other: exclusive or with
    what there is, plus an odd constant. 0.0 and −0.0 are one number.
    """
    columns = np.ascontiguousarray((points + 0.0).T, dtype="<f8").view("<u8").tolist()
    states = [seed] * len(points)
    for column in columns:
        states = [
            _mix(((s ^ bits) + _GOLDEN) & _WORD) for s, bits in zip(states, column, strict=True)
        ]
    return [state % n_parts for state in states]


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _WORD
    return z ^ (z >> 31)


def _count(
    cloud: Array, voters: dict[str, Any], candidates: Candidates, n_classes: int
) -> tuple[Any, Any]:
    """How many votes each class has at least and at most."""
    if cloud.ndim != 2 or not cloud.size or not np.isfinite(cloud).all():
        raise ClaimError("cloud", "it is no cloud of finite points")
    parts = np.array(parts_of(cloud, voters["n_parts"], voters["random_state"]))
    least, most = np.zeros(n_classes, dtype=int), np.zeros(n_classes, dtype=int)
    for part in range(voters["n_parts"]):
        points = cloud[parts == part]
        votes = [voters["fixed_vote"]]
        if len(points) >= voters["min_points"]:
            votes = candidates(points)
        most[votes] += 1
        least[votes] += len(votes) == 1
    return least, most

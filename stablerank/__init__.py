"""Point clouds in, predictions out, each with a certified radius in the units of the points."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stablerank.certify import Certificates, certify
    from stablerank.diagrams import (
        AlphaPersistence,
        AnisotropicPersistence,
        CachedPersistence,
        CubicalPersistence,
        DiagramBatch,
        DistanceToMeasurePersistence,
        LandmarkPersistence,
        RipsPersistence,
        TakensEmbedding,
        squeeze,
    )
    from stablerank.estimators import StableRankClassifier
    from stablerank.fields import DistanceField, SortedNeighbourDistances
    from stablerank.nn import LipschitzClassifier, StableRankNetwork
    from stablerank.ranks import (
        DistanceContour,
        ExponentialContour,
        HalfLengths,
        Landscapes,
        ShiftContour,
        StableRank,
        StepDistanceContour,
        StepShiftContour,
        Windows,
        stable_rank_function,
    )
    from stablerank.stability import Bound, Space, StabilityChain, StabilityError
    from stablerank.stages import LipschitzUnion

__all__ = [
    "AlphaPersistence",
    "AnisotropicPersistence",
    "Bound",
    "CachedPersistence",
    "Certificates",
    "CubicalPersistence",
    "DiagramBatch",
    "DistanceContour",
    "DistanceField",
    "DistanceToMeasurePersistence",
    "ExponentialContour",
    "HalfLengths",
    "LandmarkPersistence",
    "Landscapes",
    "LipschitzClassifier",
    "LipschitzUnion",
    "RipsPersistence",
    "ShiftContour",
    "SortedNeighbourDistances",
    "Space",
    "StabilityChain",
    "StabilityError",
    "StableRank",
    "StableRankClassifier",
    "StableRankNetwork",
    "StepDistanceContour",
    "StepShiftContour",
    "TakensEmbedding",
    "Windows",
    "certify",
    "squeeze",
    "stable_rank_function",
]
__version__ = "0.1.0"

_HOMES = {
    "stablerank.certify": ("Certificates", "certify"),
    "stablerank.diagrams": (
        "AlphaPersistence",
        "AnisotropicPersistence",
        "CachedPersistence",
        "CubicalPersistence",
        "DiagramBatch",
        "DistanceToMeasurePersistence",
        "LandmarkPersistence",
        "RipsPersistence",
        "TakensEmbedding",
        "squeeze",
    ),
    "stablerank.estimators": ("StableRankClassifier",),
    "stablerank.fields": ("DistanceField", "SortedNeighbourDistances"),
    "stablerank.nn": ("LipschitzClassifier", "StableRankNetwork"),
    "stablerank.ranks": (
        "DistanceContour",
        "ExponentialContour",
        "HalfLengths",
        "Landscapes",
        "ShiftContour",
        "StableRank",
        "StepDistanceContour",
        "StepShiftContour",
        "Windows",
        "stable_rank_function",
    ),
    "stablerank.stability": ("Bound", "Space", "StabilityChain", "StabilityError"),
    "stablerank.stages": ("LipschitzUnion",),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for: who only checks certificates needs no torch."""
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(home), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps ``stablerank.certify`` the function: importing the room of that name would hide it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "certify" and isinstance(value, ModuleType):
            value = value.certify
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

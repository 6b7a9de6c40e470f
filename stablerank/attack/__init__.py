"""Attacks: the search for inputs within a radius whose prediction is another one."""

from stablerank.attack.coordinate_search import CoordinateSearch
from stablerank.attack.method import Attack
from stablerank.attack.minimal_radius import minimal_radius
from stablerank.attack.pipeline import Search, attack
from stablerank.attack.projected_gradient import ProjectedGradient
from stablerank.attack.random_search import RandomSearch
from stablerank.attack.result import AttackResult
from stablerank.attack.saliency import SaliencyAttack

__all__ = [
    "Attack",
    "AttackResult",
    "CoordinateSearch",
    "ProjectedGradient",
    "RandomSearch",
    "SaliencyAttack",
    "Search",
    "attack",
    "minimal_radius",
]

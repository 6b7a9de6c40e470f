"""Vectorizers that are trained together with a network, and then frozen: what is certified."""

from stablerank.learned.stable_rank import LearnedStableRank
from stablerank.learned.templates import LearnedTemplates

__all__ = ["LearnedStableRank", "LearnedTemplates"]

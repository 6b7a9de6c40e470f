"""Vectorizers that are trained together with a network, and then frozen: what is certified."""

from stablerank.learned.stable_rank import LearnedStableRank

__all__ = ["LearnedStableRank"]

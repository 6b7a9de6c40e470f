"""The other side of the comparison: pipelines without constants, each in its own best settings."""

from __future__ import annotations

from benchmarks.comparison.task import Model


def unconstrained() -> dict[str, Model]:
    """Names in the order of the table; each from a seed, and whether little is enough."""
    return {}

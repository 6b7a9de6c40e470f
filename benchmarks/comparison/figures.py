"""The figure of a task: accuracy against ε, one line a pipeline, ours twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.comparison.tables import accuracy_lines
from benchmarks.comparison.task import Task

_OURS = ("#0b6e4f", "#1f77b4", "#8e44ad", "#d95f02", "#666600", "#a6761d")
_OTHERS = "#9a9a9a"
_LEAST_GAP = 0.034


def accuracy_figure(task: Task, runs: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Accuracy on the attacked clouds of all seeds against the radius of the attack.

    Lines of pipelines with certificates are in colour, their certified accuracy dashed below the
    attacked one, and what lies between is shaded; the others are grey. Names stand at the ends.
    """
    positions = np.arange(len(task.epsilons) + 1)
    figure = Figure(figsize=(9.5, 5.6), layout="constrained")
    axes = figure.add_subplot()
    ends: list[tuple[float, str, str]] = []
    colours = iter(_OURS)
    for name, content in runs.items():
        attacked = accuracy_lines(content, "attacked", task.epsilons)
        certified = accuracy_lines(content, "certified", task.epsilons)
        assert attacked is not None
        if certified is None:
            axes.plot(positions, attacked, color=_OTHERS, lw=1.2, marker=".", ms=4, zorder=1)
            ends.append((attacked[-1], name, "#555555"))
            continue
        colour = next(colours, _OURS[-1])
        axes.plot(positions, attacked, color=colour, lw=2.2, marker="o", ms=4, zorder=3)
        axes.plot(positions, certified, color=colour, lw=1.6, ls="--", zorder=2)
        axes.fill_between(positions, certified, attacked, color=colour, alpha=0.10, lw=0)
        ends.append((attacked[-1], name, colour))
    heights = _spread(np.array([end[0] for end in ends]))
    for (height, name, colour), y in zip(ends, heights, strict=True):
        last = positions[-1]
        axes.plot([last + 0.03, last + 0.12], [height, y], color=colour, lw=0.6, clip_on=False)
        axes.text(last + 0.15, y, name, color=colour, fontsize=8.5, va="center", clip_on=False)
    axes.set_xticks(positions, ["0", *(f"{epsilon:g}" for epsilon in task.epsilons)])
    axes.set_xlim(0, positions[-1])
    axes.set_ylim(0, 1)
    axes.set_yticks(np.linspace(0, 1, 6), [f"{share} %" for share in range(0, 101, 20)])
    axes.set_xlabel(f"every point may move by at most ε ({task.unit})")
    axes.set_title(
        f"{task.title}: what attacks leave (solid), and what is proven (dashed)",
        loc="left",
        fontsize=11,
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e5e5e5", lw=0.7)
    axes.set_axisbelow(True)
    return figure


def _spread(heights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Heights for names at the ends of lines: in the order of these, and apart from each other."""
    order = np.argsort(heights, kind="stable")
    placed = heights[order].astype(float)
    for _ in range(200):  # push neighbours apart, half the missing gap each
        gaps = np.diff(placed)
        missing = np.maximum(_LEAST_GAP - gaps, 0.0) / 2
        if missing.max(initial=0.0) < 1e-4:
            break
        placed[:-1] -= missing
        placed[1:] += missing
        placed += max(0.01 - placed[0], 0.0)
    result = np.empty_like(placed)
    result[order] = placed
    return result

"""All tasks by name."""

from __future__ import annotations

from benchmarks.comparison import cells, orbits, outlines
from benchmarks.comparison.task import Task
from benchmarks.comparison.unconstrained import unconstrained

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        orbits.task(unconstrained()),
        cells.task("cell_line", unconstrained()),
        cells.task("treatment", unconstrained()),
        outlines.task(unconstrained()),
    )
}

"""All tasks by name."""

from __future__ import annotations

from benchmarks.comparison import cells, digits, motions, orbits, outlines
from benchmarks.comparison.task import Task
from benchmarks.comparison.unconstrained import ON_DIAGRAMS, unconstrained
from benchmarks.directions import MaskedPersistence

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        orbits.task(unconstrained()),
        cells.task("cell_line", unconstrained()),
        cells.task("treatment", unconstrained()),
        outlines.task(unconstrained()),
        digits.task(unconstrained(MaskedPersistence(), ON_DIAGRAMS)),
        motions.task(unconstrained(motions.ACCELERATION, motions.UNCONSTRAINED)),
    )
}

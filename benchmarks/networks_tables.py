"""Tables of ``benchmarks.networks``: layers × losses, and each layer with its best loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.comparison.tables import MISSING, Table
from benchmarks.record import RESULTS
from stablerank.files import write_atomically

Rows = Sequence[Mapping[str, Any]]
Runs = Mapping[str, Mapping[str, Rows]]
_NAMES = {"per_point": "every point", "frobenius": "all points together"}


def write_tables(
    runs: Mapping[str, Runs], radii: Mapping[str, Mapping[str, Sequence[float]]]
) -> list[Path]:
    """Write ``results/networks/TASK.md``, one file a task.

    Parameters
    ----------
    runs : mapping
        Rows of all seeds by task, layer and loss.
    radii : mapping
        The radii of each threat, by task.
    """
    written = []
    for task, layers in runs.items():
        parts = []
        for threat, epsilons in radii[task].items():
            middle = epsilons[len(epsilons) // 2]
            parts += [
                f"{_NAMES[threat].capitalize()} moved by ε: clean / certified at ε = {middle:g}, "
                f"in percent; in bold the most certified of each layer.",
                crossed(layers, threat, middle).markdown(),
                "Each layer with the loss that certifies most there:",
                best_of_layers(layers, threat, epsilons, middle).markdown(),
            ]
        path = RESULTS / "networks" / f"{task}.md"
        with write_atomically(path, text=True) as file:
            file.write("\n\n".join(parts) + "\n")
        written.append(path)
    return written


def crossed(layers: Runs, threat: str, epsilon: float) -> Table:
    """A row a layer, a column a loss."""
    losses = list(dict.fromkeys(loss for own in layers.values() for loss in own))
    body = []
    for layer, own in layers.items():
        best = _best(own, threat, epsilon)
        cells = []
        for loss in losses:
            if loss not in own:
                cells.append(MISSING)
                continue
            values = (mean(own[loss], "clean"), mean(own[loss], f"certified {threat} {epsilon:g}"))
            text = " / ".join(f"{100 * value:.1f}" for value in values)
            cells.append(f"**{text}**" if loss == best else text)
        body.append((layer, *cells))
    return Table(("layer", *losses), tuple(body))


def best_of_layers(layers: Runs, threat: str, epsilons: Sequence[float], epsilon: float) -> Table:
    """A row a layer: its best loss, with spread over seeds, and the time of an epoch."""
    body = []
    for layer, own in layers.items():
        loss = _best(own, threat, epsilon)
        rows = own[loss]
        certified = [_spread(rows, f"certified {threat} {size:g}") for size in epsilons]
        pace = f"{1000 * mean(rows, 'seconds an epoch'):.0f}"
        body.append((layer, loss, _spread(rows, "clean"), *certified, pace))
    head = ("layer", "loss", "clean", *(f"certified {size:g}" for size in epsilons), "ms an epoch")
    return Table(head, tuple(body))


def mean(rows: Rows, key: str) -> float:
    """Over the seeds."""
    return float(np.mean([row[key] for row in rows]))


def _best(own: Mapping[str, Rows], threat: str, epsilon: float) -> str:
    return max(own, key=lambda loss: mean(own[loss], f"certified {threat} {epsilon:g}"))


def _spread(rows: Rows, key: str) -> str:
    values = 100 * np.array([row[key] for row in rows])
    deviation = values.std(ddof=1) if len(values) > 1 else 0.0
    return f"{values.mean():.1f} ± {deviation:.1f}"

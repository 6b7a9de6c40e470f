"""Layers × losses: every Lipschitz network and loss of the package on the same features.

Data: ORBIT5K, and cells by cell line, split 70/30 as in the comparison, five seeds. Features: the
hundred longest bars of alpha H0 and of H1. Networks: two hidden layers of width 64, 40 epochs, all
else as :class:`~stablerank.LipschitzClassifier` has it; epsilon follows the spread of the training
vectors. Layers made for ℓ2 take inputs in units of how far each homology dimension moves in ℓ2,
the others in units of how far each coordinate moves. "free" is unconstrained, with ReLU.

For each pair of a layer and a loss: accuracy; certified accuracy when every point moves by ε ("per
point"), and when all together move by ε in ℓ2 ("Frobenius"), for each cloud by the better of the
constants in ℓ∞ and in ℓ2, and by boxes behind the box loss and free layers; processor seconds of
one thread an epoch. Some test clouds are attacked along gradients under both threats, at all radii:
a certificate that breaks stops the run.

Settings of the losses are those with the largest area (mean of clean and certified accuracy over
the radii) on a validation part of the training set of ORBIT5K's seed 0, which is none of the seeds
of the tables: chosen with "linf", per point, for ℓ∞ layers, with "cayley", in Frobenius norm, for
ℓ2 layers, and with "free" for that. The cells take the same settings: nothing was chosen on them.

Command: ``python -m benchmarks.networks [--choose] [--jobs N] [--layers …] [--quick]``.
``--choose`` writes ``results/networks/choice.json`` first. Rows that are there with the settings of
now are not run again; the tables are written at the end. ``--quick``: little data, few epochs, no
file.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from joblib import Parallel, delayed

from benchmarks.networks_runs import BATCH, N_RANKS, NETWORK, RADII, run, validated
from benchmarks.networks_tables import write_tables
from benchmarks.record import RESULTS, commit, write
from stablerank.nn.architecture import IN_L2

SEEDS = (1, 2, 3, 4, 5)
LAYERS = (
    "linf", "linf-distance", "sortnet", "cayley", "exponential", "bjorck", "bro", "aol", "gram",
    "spectral", "sll", "cpl", "free",
)  # fmt: skip


def _grid(**values: Sequence[Any]) -> list[dict[str, Any]]:
    """All settings that are made of these values."""
    return [dict(zip(values, one, strict=True)) for one in itertools.product(*values.values())]


_GRID: dict[str, list[dict[str, Any]]] = {
    "cross-entropy": _grid(temperature=(0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 3.0)),
    "margin": _grid(temperature=(1.0, 3.0), offset=(0.25, 0.5, 1.0, 2.0, 4.0)),
    "offset": _grid(temperature=(0.1, 0.3, 1.0), offset=(0.5, 1.0, 2.0)),
    "hinge": _grid(offset=(0.5, 1.0, 2.0, 4.0, 8.0)),
    "hkr": _grid(offset=(0.5, 1.0, 2.0, 4.0), loss_options=({"alpha": 10 / 11}, {"alpha": 0.98})),
    "certified": _grid(
        temperature=(0.1, 0.3, 1.0), loss_options=({"weight": 0.1}, {"weight": 0.5})
    ),
    "annealing": _grid(temperature=(0.1, 0.3, 1.0, 3.0), offset=(0.5, 1.0, 2.0, 4.0)),
    "gloro": _grid(temperature=(0.1, 0.3, 1.0), offset=(0.25, 0.5, 1.0, 2.0)),
    "mixture": _grid(temperature=(1.0, 3.0, 10.0), offset=(1.0, 2.0, 4.0)),
    "box": _grid(temperature=(0.3, 1.0, 3.0), clean_weight=(0.0, 0.5)),
}
_FREE = ("cross-entropy", "hinge", "box")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="little data, few epochs, no file")
    parser.add_argument("--choose", action="store_true", help="choose the settings again")
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    started = time.time()
    if arguments.choose:
        choose(started, arguments.jobs, arguments.quick)
    jobs = [
        (task, seed, layer, losses)
        for seed in (SEEDS[:1] if arguments.quick else SEEDS)
        for task in RADII
        for layer in arguments.layers
        if (losses := settings_of(layer) if arguments.quick else missing(task, seed, layer))
    ]
    print(f"{len(jobs)} runs", file=sys.stderr, flush=True)
    tasks = (delayed(run)(*job, quick=arguments.quick) for job in jobs)
    for task, seed, layer, rows in Parallel(n_jobs=arguments.jobs, return_as="generator_unordered")(
        tasks
    ):
        for loss, row in rows.items():
            clean, pace = 100 * row["clean"], row["seconds an epoch"]
            print(f"{task} {seed} {layer}, {loss}: {clean:.1f}, {pace:.3f} s", flush=True)
        if not arguments.quick:
            keep(task, seed, layer, rows, started)
    if not arguments.quick:
        write_tables(read(), RADII)


def choose(started: float, n_jobs: int, quick: bool = False) -> dict[str, dict[str, Any]]:
    """The settings of each loss with the largest area on validation data, in each norm."""
    sides = [("linf", "per_point"), ("cayley", "frobenius"), ("free", "per_point")]
    tried = [
        (layer, threat, loss, settings)
        for layer, threat in sides
        for loss in (_FREE if layer == "free" else _GRID)
        if loss != "box" or layer not in IN_L2
        for settings in (_GRID[loss][:1] if quick else _GRID[loss])
    ]
    areas = Parallel(n_jobs=n_jobs)(delayed(validated)(*one, quick) for one in tried)
    best: dict[str, dict[str, Any]] = {layer: {} for layer, _ in sides}
    record = []
    for (layer, threat, loss, settings), value in zip(tried, areas, strict=True):
        record.append({"layer": layer, "loss": loss, **settings, "threat": threat, "area": value})
        if value > best[layer].get(loss, {"area": -1.0})["area"]:
            best[layer][loss] = {"settings": settings, "area": value}
    content = {
        layer: {loss: one["settings"] for loss, one in losses.items()}
        for layer, losses in best.items()
    }
    if not quick:
        write(
            "networks/choice",
            "benchmarks.networks",
            started,
            {"seed": 0, "network": NETWORK, "choice": content, "tried": record},
        )
        settings_of.cache_clear()
    return content


@functools.cache
def settings_of(layer: str) -> dict[str, dict[str, Any]]:
    """The losses behind a kind of layer, with their settings as chosen."""
    choice = json.loads((RESULTS / "networks/choice.json").read_text())["choice"]
    side = "free" if layer == "free" else "cayley" if layer in IN_L2 else "linf"
    return dict(choice[side])


def missing(task: str, seed: int, layer: str) -> dict[str, dict[str, Any]]:
    """The losses whose row is not there, or was made with other settings."""
    kept = _rows(task, layer)
    return {
        loss: settings
        for loss, settings in settings_of(layer).items()
        if str(seed) not in kept.get(loss, {}).get("rows", {})
        or kept[loss]["settings"] != _settings(task, settings)
    }


def keep(task: str, seed: int, layer: str, rows: dict[str, dict[str, Any]], started: float) -> None:
    """Write rows into the file of a task and a layer."""
    losses, kept = settings_of(layer), _rows(task, layer)
    for loss, row in rows.items():
        settings = _settings(task, losses[loss])
        old = kept.get(loss, {})
        same = old["rows"] if old.get("settings") == settings else {}
        both = same | {str(seed): row | {"commit": commit()}}
        kept[loss] = {"settings": settings, "rows": dict(sorted(both.items()))}
    content = {"task": task, "layer": layer, "radii": RADII[task], "losses": kept}
    write(_file(task, layer), "benchmarks.networks", started, content)


def read() -> dict[str, dict[str, dict[str, list[dict[str, Any]]]]]:
    """Rows of all seeds by task, layer and loss; what was made with other settings is left out."""
    return {task: dict(_read_task(task)) for task in RADII}


def _read_task(task: str) -> Iterator[tuple[str, dict[str, list[dict[str, Any]]]]]:
    for layer in LAYERS:
        losses = settings_of(layer)
        rows = {
            loss: list(content["rows"].values())
            for loss, content in _rows(task, layer).items()
            if loss in losses and content["settings"] == _settings(task, losses[loss])
        }
        if rows:
            yield layer, rows


def _rows(task: str, layer: str) -> dict[str, Any]:
    path = RESULTS / f"{_file(task, layer)}.json"
    return dict(json.loads(path.read_text())["losses"]) if path.exists() else {}


def _file(task: str, layer: str) -> str:
    return f"networks/{task}/{layer}"


def _settings(task: str, settings: dict[str, Any]) -> dict[str, Any]:
    kept = {**NETWORK, **settings, "batch_size": BATCH[task], "n_ranks": N_RANKS}
    return dict(json.loads(json.dumps(kept)))


if __name__ == "__main__":
    main()

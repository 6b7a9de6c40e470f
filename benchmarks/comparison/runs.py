"""Runs in files: one JSON a task and model, a row a seed; what is there is not run again."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from joblib import Parallel, delayed

from benchmarks.comparison.measure import COORDINATE_QUERIES, RANDOM_QUERIES, STEPS, measure
from benchmarks.comparison.task import Task
from benchmarks.record import RESULTS, commit, write

SEEDS = (1, 2, 3, 4, 5)


def run_tasks(
    tasks: Sequence[Task],
    seeds: Sequence[int],
    n_jobs: int,
    quick: bool,
    models: Sequence[str] | None = None,
) -> None:
    """Run what is missing, seed by seed, and write each row when it is there.

    Parameters
    ----------
    tasks : sequence of Task
    seeds : sequence of int
    n_jobs : int
        Runs at once.
    quick : bool
        One seed on little data; nothing is written.
    models : sequence of str, optional
        Only these.
    """
    started = time.time()
    seeds = seeds[:1] if quick else seeds
    missing = [
        (task, name, seed)
        for task in tasks
        for seed in seeds
        for name in task.models
        if models is None or name in models
        if quick or str(seed) not in kept_rows(task, name)
    ]
    print(f"{len(missing)} runs", file=sys.stderr, flush=True)
    jobs = (delayed(_job)(task.name, name, seed, quick) for task, name, seed in missing)
    by_name = {task.name: task for task in tasks}
    results = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(jobs)
    for done, (task_name, name, seed, row) in enumerate(results, 1):
        if not quick:
            _keep(by_name[task_name], name, seed, row, started)
        print(
            f"{done}/{len(missing)} {task_name}, {name}, seed {seed}: clean "
            f"{100 * row['clean']:.1f}, processor seconds {row['processor seconds']}",
            flush=True,
        )


def read_runs(task: Task) -> dict[str, dict[str, Any]]:
    """The files of a task by model, in the order of its table; models without one are left out."""
    found = {}
    for name in task.models:
        path = RESULTS / f"{_file_name(task, name)}.json"
        if path.exists():
            found[name] = json.loads(path.read_text())
    return found


def kept_rows(task: Task, name: str) -> dict[str, Any]:
    """Rows in the file by seed, if they were made with the settings of now."""
    path = RESULTS / f"{_file_name(task, name)}.json"
    if not path.exists():
        return {}
    content = json.loads(path.read_text())
    same = content["settings"] == _settings(task, name)
    return dict(content["rows"]) if same else {}


def _keep(task: Task, name: str, seed: int, row: dict[str, Any], started: float) -> None:
    rows = kept_rows(task, name) | {str(seed): row | {"commit": commit()}}
    content = {
        "task": task.name,
        "model": name,
        "threat": task.threat,
        "epsilons": task.epsilons,
        "unit": task.unit,
        "settings": _settings(task, name),
        "seeds": sorted(map(int, rows)),
        "rows": {seed: rows[seed] for seed in sorted(rows, key=int)},
    }
    write(_file_name(task, name), "benchmarks", started, content)


def _settings(task: Task, name: str) -> dict[str, str]:
    """All parameters of the model, and of what is in it, but its seed; as text."""
    parameters = task.models[name](SEEDS[0], False).get_params(deep=True)
    settings = {key: repr(value) for key, value in parameters.items() if "random_state" not in key}
    attack = (
        f"{task.n_attacked} clouds a seed; {STEPS} steps, {RANDOM_QUERIES} random queries, "
        f"{COORDINATE_QUERIES} block by block"
    )
    return dict(sorted(settings.items())) | {"attack": attack}


def _file_name(task: Task, name: str) -> str:
    return f"comparison/{task.name}/{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}"


def _job(task_name: str, name: str, seed: int, quick: bool) -> tuple[str, str, int, dict[str, Any]]:
    from benchmarks.comparison.tasks import TASKS  # where the worker is, not sent to it

    return task_name, name, seed, measure(TASKS[task_name], name, seed, quick)


def rows_of(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a file, seed by seed."""
    yield from content["rows"].values()

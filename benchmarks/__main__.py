"""Benchmarks by name: ``python -m benchmarks NAME …``.

``orbit5k``, ``cells``, ``outlines``, ``digits`` and ``motions`` compare certified with
unconstrained pipelines, under attack; ``noise`` measures filtrations and signatures of images;
``all`` runs these one after the other, and ``report`` draws what was run. A run that was killed
goes on where it was. ``orbit100k`` takes an hour.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys

from benchmarks.comparison import outlines
from benchmarks.comparison.report import write_report
from benchmarks.comparison.runs import SEEDS, run_tasks
from benchmarks.comparison.tasks import TASKS

COMPARED = {
    "orbit5k": ["orbit5k"],
    "cells": ["cells-cell-line", "cells-treatment"],
    "outlines": ["outlines"],
    "digits": ["digits"],
    "motions": ["motions"],
}
MODULES = ("noise",)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [*COMPARED, *MODULES, "orbit100k", "all", "report"]
    parser.add_argument("names", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="little data, one seed, no file")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--models", nargs="+", help="only these rows of the comparison")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at once")
    arguments = parser.parse_args()
    chosen = list(arguments.names)
    if "all" in chosen:
        chosen = [*COMPARED, *MODULES, "report"]
    tasks = [TASKS[task] for name in chosen for task in COMPARED.get(name, [])]
    if TASKS["outlines"] in tasks and not outlines.archive().exists():
        print(f"outlines are skipped: {outlines.HOW_TO_GET}", file=sys.stderr)
        tasks.remove(TASKS["outlines"])
    if tasks:
        run_tasks(tasks, arguments.seeds, arguments.jobs, arguments.quick, arguments.models)
    for name in chosen:
        if name in (*MODULES, "orbit100k"):
            _run_module(name, arguments.quick)
    if "report" in chosen and not arguments.quick:
        print(write_report(TASKS.values()))


def _run_module(name: str, quick: bool) -> None:
    """As ``python -m benchmarks.NAME`` would."""
    kept, sys.argv = sys.argv, [f"benchmarks.{name}", *(["--quick"] if quick else [])]
    try:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    finally:
        sys.argv = kept


if __name__ == "__main__":
    main()

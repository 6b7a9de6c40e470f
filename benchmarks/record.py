"""What every result file says besides its numbers: versions, commit, command, wall time."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from stablerank.files import write_atomically

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("gudhi", "numba", "numpy", "scikit-learn", "scipy", "skorch", "torch")


def write(name: str, module: str, started: float, content: dict[str, Any]) -> Path:
    """Write ``results/NAME.json``.

    Parameters
    ----------
    name : str
        Of the file.
    module : str
        That ran, for the command.
    started : float
        ``time.time()`` at its beginning.
    content : dict
        The protocol, the seeds and the numbers.
    """
    path = RESULTS / f"{name}.json"
    record = {
        "command": " ".join(["python -m", module, *sys.argv[1:]]),
        "commit": commit(),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--", ":/stablerank")),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES}
        | {"python": platform.python_version()},
        "machine": f"{platform.machine()}, {platform.system()}",
        "wall_seconds": round(time.time() - started, 1),
        **content,
    }
    with write_atomically(path, text=True) as file:
        file.write(json.dumps(record, indent=1, default=_plain) + "\n")
    return path


def commit() -> str:
    """The commit that is checked out."""
    return _git("rev-parse", "HEAD")


def mean_and_std(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation (over seeds, n − 1) of numbers of the same names."""
    return {
        key: {
            "mean": float(np.mean([row[key] for row in rows])),
            "std": float(np.std([row[key] for row in rows], ddof=1)) if len(rows) > 1 else 0.0,
        }
        for key in rows[0]
    }


def print_table(table: dict[str, dict[str, dict[str, float]]]) -> None:
    """One line a row: shares in percent with their spread, and seconds."""
    width = max(map(len, table))
    for name, row in table.items():
        cells = [
            f"{key} {value['mean']:.1f}"
            if key.startswith("seconds")
            else f"{key} {100 * value['mean']:.1f} ± {100 * value['std']:.1f}"
            for key, value in row.items()
        ]
        print(f"{name:>{width}}  " + "  ".join(cells), flush=True)


def markdown_table(
    table: dict[str, dict[str, dict[str, float]]], columns: list[str], first: str = "model"
) -> str:
    """A Markdown table of shares in percent, mean ± standard deviation; – where there is none.

    Examples
    --------
    >>> table = {"ranks": {"clean": {"mean": 0.5, "std": 0.01}}}
    >>> print(markdown_table(table, ["clean", "certified 1"]))
    | model | clean | certified 1 |
    |---|---|---|
    | ranks | 50.0 ± 1.0 | – |
    """
    lines = [[first, *columns], ["---"] * (len(columns) + 1)]
    for name, row in table.items():
        cells = [
            f"{100 * row[key]['mean']:.1f} ± {100 * row[key]['std']:.1f}" if key in row else "–"
            for key in columns
        ]
        lines.append([name, *cells])
    text = ["| " + " | ".join(line) + " |" for line in lines]
    text[1] = text[1].replace(" ", "")
    return "\n".join(text)


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no JSON")


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()

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


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no JSON")


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=RESULTS.parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()

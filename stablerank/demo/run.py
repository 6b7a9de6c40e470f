"""The flow of a demonstration.

Nothing is written before the end, and then all files at once, so an interrupted run leaves no
half of one behind. Every number of the report is computed in the run that wrote it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stablerank.demo.data import Data, load_data, round_epsilons, spacing
from stablerank.demo.figures import demo_figures
from stablerank.demo.page import demo_page
from stablerank.demo.provenance import provenance
from stablerank.demo.settings import choose_settings
from stablerank.demo.tables import demo_tables
from stablerank.demo.target import Result, study_target, summarize
from stablerank.files import write_atomically

if TYPE_CHECKING:
    from rich.console import Console


def run_demo(
    dataset: str = "cells",
    quick: bool = False,
    output: str | os.PathLike[str] = "stablerank-demo",
    random_state: int = 0,
    console: Console | None = None,
    *,
    log: Console | None = None,
    n_jobs: int | None = 2,
    command: str | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Classify clouds, certify the predictions, attack the certificates, and write a report.

    Parameters
    ----------
    dataset : {"cells", "orbits"}, default="cells"
        Outlines of real cells, with two targets, or generated orbits.
    quick : bool, default=False
        Fewer clouds, epochs and queries: about half a minute.
    output : path-like, default="stablerank-demo"
        A folder, made if missing: ``report.html``, the figures as PNG and SVG, and for each target
        the model and its certificates; ``summary.json``. Files of these names are replaced.
    random_state : int, default=0
        Seed of everything that is drawn.
    console : rich Console, optional
        Where tables are printed; nowhere by default.
    log : rich Console, optional
        Where every finished step is reported.
    n_jobs : int, optional
        Workers for the diagrams, as in joblib.
    command : str, optional
        What started the run, for the report.
    **settings : int
        Fields of :class:`Settings` that shall differ from the full or quick demonstration.

    Returns
    -------
    dict
        The content of ``summary.json``; ``summary["broken"]`` counts broken certificates and
        must be 0.

    Raises
    ------
    ValueError
        For an unknown dataset, or settings out of range.
    OSError
        If the folder cannot be written; found out before any work is done.
    ModuleNotFoundError
        Without matplotlib; found out before any work is done.

    Notes
    -----
    30 % of the clouds are held out, stratified by all targets together, equal clouds on one side.
    certified <= attacked <= clean is checked a cloud at a time, for all ε at once: a certificate
    whose cloud an attack of at most its radius has given another answer counts as broken.
    """
    start, started = time.monotonic(), datetime.now(timezone.utc)
    chosen = choose_settings(dataset, quick, settings)
    command = command or f"run_demo({dataset!r}, quick={quick}, random_state={random_state})"
    _check_matplotlib()
    folder = Path(output)
    made = _check_folder(folder)
    steps: list[tuple[str, float]] = []
    try:
        with _step("load and split the clouds", steps, log):
            data = load_data(dataset, chosen, random_state)
        epsilons = round_epsilons(spacing(data.part(data.train)))
        results = [
            study_target(data, target, epsilons, chosen, random_state, n_jobs, step)
            for target in data.labels
        ]
        with _step("draw the figures", steps, log):
            figures = demo_figures(data, results)
        summary: dict[str, Any] = {
            "dataset": dataset,
            "quick": quick,
            "unit": data.unit,
            "units": data.units,
            "command": command,
            "random_state": random_state,
            "n_jobs": n_jobs,
            "settings": dataclasses.asdict(chosen),
            **provenance(),
            "started": started.isoformat(timespec="seconds"),
            "wall_seconds": time.monotonic() - start,
            "steps": [{"step": name, "seconds": seconds} for name, seconds in steps],
            "n_train": len(data.train),
            "n_test": len(data.test),
            "epsilons": list(epsilons),
            "targets": {result.target: summarize(data, result, epsilons) for result in results},
        }
        summary["broken"] = sum(part["broken"] for part in summary["targets"].values())
        tables = demo_tables(summary, results)
        files = {
            **figures.files(),
            **_result_files(data, results),
            "summary.json": _json(summary),
            "report.html": demo_page(summary, results, figures, tables).encode(),
        }
        _write_together(folder, files)
        made = []
    finally:
        for empty in made:
            with contextlib.suppress(OSError):
                empty.rmdir()
    if console is not None:
        for table in tables:
            console.print(table.to_rich(console.width))
            console.print()
    return summary


def _check_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'The demo draws figures with matplotlib: pip install "stablerank[plots]".'
        ) from None


def _check_folder(folder: Path) -> list[Path]:
    """Make the folder and write into it once; the folders that were made, innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"Cannot write into {folder}: {error.strerror}. Choose another folder by --output."
        ) from error
    return missing


@contextlib.contextmanager
def _step(name: str, steps: list[tuple[str, float]], log: Console | None) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds = time.monotonic() - start
    steps.append((name, seconds))
    if log is not None:
        log.print(f"{name:<58}{seconds:7.1f} s", style="dim", highlight=False)


def _result_files(data: Data, results: Sequence[Result]) -> dict[str, bytes]:
    """The models and certificates; the first target's without its name."""
    files = {}
    with tempfile.TemporaryDirectory() as scratch:
        for i, result in enumerate(results):
            suffix = f"-{result.target.replace(' ', '-')}" if i else ""
            path = Path(scratch) / "model.srn"
            result.model.save(path)
            files[f"model{suffix}.srn"] = path.read_bytes()
            content = {
                **result.certificates.to_dict(),
                "target": result.target,
                "label": result.y.tolist(),
                "cloud": data.index[data.test].tolist(),
            }
            files[f"certificates{suffix}.json"] = _json(content)
    return files


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def _write_together(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files beside their places first, then put all in place; the report comes last."""
    with contextlib.ExitStack() as places:  # left in reverse: what is entered first ends last
        for name in sorted(files, key=lambda name: name != "report.html"):
            places.enter_context(write_atomically(folder / name)).write(files[name])

"""The demonstration: real clouds are classified, certified, attacked, and reported on one page.

Nothing is written before the end, and then all files at once, so an interrupted run leaves no
half of one behind. Every number of the report is computed in the run that wrote it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline

from stablerank.attack import Search, attack, minimal_radius
from stablerank.certify import Certificates
from stablerank.datasets import load_cells, make_orbits
from stablerank.diagrams import AlphaPersistence
from stablerank.estimators import StableRankClassifier
from stablerank.files import write_atomically
from stablerank.plotting import nearest_distances
from stablerank.progress import ProgressBar
from stablerank.ranks import StableRank
from stablerank.report import demo_figures, demo_page, demo_tables

if TYPE_CHECKING:
    from rich.console import Console

ATTACKS = ("random", "coordinate", "search")
LIFETIMES = 20  # of each homology dimension, for the random forest
_TEST_SHARE = 0.3
_INSIDE = 0.999  # of its certified radius: how far the attacks on a certificate go
_PACKAGES = ("stablerank", "numpy", "scipy", "scikit-learn", "torch", "skorch", "gudhi", "numba")


@dataclass(frozen=True)
class Settings:
    """How much a demonstration does.

    Parameters
    ----------
    n_clouds : int, optional
        How many of the cells are taken, drawn at random; all by default.
    n_per_class, n_points : int
        Orbits of each class, and points of each orbit.
    max_epochs : int
        Of each training.
    n_trees : int
        Of the random forest.
    n_attacked : int, optional
        How many test clouds are attacked, drawn at random; all by default.
    n_queries : int
        How often each attack may ask a model about one cloud at one size.
    n_rounds : int
        Sizes that are tried in the search for the least displacement that changes an answer.
    """

    n_clouds: int | None = None
    n_per_class: int = 200
    n_points: int = 300
    max_epochs: int = 60
    n_trees: int = 100
    n_attacked: int | None = 60
    n_queries: int = 20
    n_rounds: int = 8

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if value is None and entry.name in ("n_clouds", "n_attacked"):
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{entry.name}={value!r}: expected an integer >= 1.")


FULL = Settings()
QUICK = Settings(
    n_clouds=300,
    n_per_class=60,
    n_points=200,
    max_epochs=30,
    n_attacked=30,
    n_queries=10,
    n_rounds=5,
)


@dataclass(frozen=True, eq=False)
class Data:
    """The clouds of a demonstration, split.

    Parameters
    ----------
    name : str
        Of the dataset.
    unit, units : str
        Of the points, behind a number ("px", or nothing) and in a sentence ("pixels").
    clouds : list of ndarray of shape (n_points, 2)
        All of them.
    index : ndarray of int
        The place of each in the dataset.
    labels : dict of str to ndarray
        For each target the label of each cloud; the first target is the one that counts.
    train, test : ndarray of int
        Indices into `clouds`.
    """

    name: str
    unit: str
    units: str
    clouds: list[NDArray[np.float64]]
    index: NDArray[np.intp]
    labels: dict[str, NDArray[Any]]
    train: NDArray[np.intp]
    test: NDArray[np.intp]

    def part(self, indices: NDArray[np.intp]) -> list[NDArray[np.float64]]:
        """Some of the clouds."""
        return [self.clouds[i] for i in indices]


@dataclass(frozen=True, eq=False)
class Result:
    """What came out for one target, an entry a test cloud unless said otherwise.

    Parameters
    ----------
    target : str
        Which label was learned.
    y : ndarray
        True labels.
    model : StableRankClassifier
        Fitted.
    certificates : Certificates
        For the threat "per_point".
    forest : ndarray
        Labels predicted by the random forest.
    attacked : ndarray of int
        Which of the test clouds were attacked: indices into them.
    breaking, forest_breaking : ndarray of shape (n_attacked,), float64
        The least displacement that was found to change the model's answer, and the forest's;
        infinite where there was none.
    tried : int
        Displaced clouds that were shown to the model within certified radii.
    broken : ndarray of int
        Test clouds whose certificate an attack has broken.
    """

    target: str
    y: NDArray[Any]
    model: StableRankClassifier
    certificates: Certificates
    forest: NDArray[Any]
    attacked: NDArray[np.intp]
    breaking: NDArray[np.float64]
    forest_breaking: NDArray[np.float64]
    tried: int
    broken: NDArray[np.intp]

    def left(self, prediction: NDArray[Any], breaking: NDArray[np.float64], epsilon: Any) -> Any:
        """The share of attacked clouds that stay right when the attacks may move by epsilon."""
        right = (prediction == self.y)[self.attacked]
        sizes = np.asarray(epsilon, dtype=np.float64)
        return (right & (breaking > sizes[..., None])).mean(axis=-1)


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
        the model and its certificates, with the clouds for ``stablerank check``;
        ``summary.json``. Files of these names are replaced.
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
    chosen = _settings(dataset, quick, settings)
    command = command or f"run_demo({dataset!r}, quick={quick}, random_state={random_state})"
    _check_matplotlib()
    folder = Path(output)
    made = _check_folder(folder)
    steps: list[tuple[str, float]] = []
    try:
        with _step("load and split the clouds", steps, log):
            data = _load(dataset, chosen, random_state)
        epsilons = round_epsilons(_spacing(data.part(data.train)))
        results = [
            _one_target(data, target, epsilons, chosen, random_state, n_jobs, steps, log)
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
            **_provenance(),
            "started": started.isoformat(timespec="seconds"),
            "wall_seconds": time.monotonic() - start,
            "steps": [{"step": name, "seconds": seconds} for name, seconds in steps],
            "n_train": len(data.train),
            "n_test": len(data.test),
            "epsilons": list(epsilons),
            "targets": {result.target: _summarize(data, result, epsilons) for result in results},
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


def round_epsilons(spacing: float, n: int = 5) -> tuple[float, ...]:
    """Round sizes 1, 2, 5, 10, … to attack with, the largest being close to the points' spacing.

    Parameters
    ----------
    spacing : float
        Typical distance of a point to the nearest other one, in the unit of the points.
    n : int, default=5
        How many.

    Returns
    -------
    tuple of float
        Ascending, in the unit of the points.

    Examples
    --------
    >>> round_epsilons(1.1)
    (0.05, 0.1, 0.2, 0.5, 1.0)
    """
    decade = math.floor(math.log10(spacing))
    series = [
        float(f"{digit}e{exponent}")
        for exponent in range(decade - n, decade + 2)
        for digit in (1, 2, 5)
    ]
    nearest = min(range(len(series)), key=lambda i: abs(math.log(series[i] / spacing)))
    return tuple(series[nearest - n + 1 : nearest + 1])


def split_clouds(
    clouds: Sequence[NDArray[np.float64]], labels: NDArray[Any], random_state: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of 70 % of the clouds to train with and of the rest, stratified by the labels.

    Equal clouds stand on one side: the test shows nothing that was trained with.

    Parameters
    ----------
    clouds : sequence of ndarray
        All of them.
    labels : ndarray of shape (n_clouds,)
        What to stratify by.
    random_state : int
        Seed.

    Returns
    -------
    train, test : ndarray of int
        Ascending.
    """
    keys = [(cloud.shape, cloud.tobytes()) for cloud in clouds]
    first: dict[tuple[tuple[int, ...], bytes], int] = {}
    group = np.array([first.setdefault(key, i) for i, key in enumerate(keys)])
    distinct = np.unique(group)
    train, test = train_test_split(
        distinct, test_size=_TEST_SHARE, stratify=labels[distinct], random_state=random_state
    )
    return np.flatnonzero(np.isin(group, train)), np.flatnonzero(np.isin(group, test))


def _settings(dataset: str, quick: bool, changes: Mapping[str, Any]) -> Settings:
    if dataset not in ("cells", "orbits"):
        raise ValueError(f"dataset={dataset!r}: expected 'cells' or 'orbits'.")
    names = {entry.name for entry in dataclasses.fields(Settings)}
    if unknown := sorted(set(changes) - names):
        raise ValueError(f"{unknown[0]!r} is no setting of the demo: expected {sorted(names)}.")
    return dataclasses.replace(QUICK if quick else FULL, **changes)


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


def _load(dataset: str, settings: Settings, random_state: int) -> Data:
    labels: dict[str, NDArray[Any]]
    if dataset == "cells":
        cells = load_cells()
        clouds, unit, units = cells.data, "px", "pixels"
        labels = {"cell line": cells.cell_line, "treatment": cells.treatment}
    else:
        parameters = (2.5, 3.5, 4.0, 4.1, 4.3)
        clouds, y = make_orbits(
            settings.n_per_class,
            settings.n_points,
            random_state=random_state,
            parameters=parameters,
        )
        labels = {"parameter": np.array([f"r = {r}" for r in parameters])[y]}
        unit, units = "", "sides of the unit square"
    index = np.arange(len(clouds))
    if dataset == "cells" and settings.n_clouds is not None:
        index = np.sort(np.random.default_rng(random_state).permutation(index)[: settings.n_clouds])
    clouds = [clouds[i] for i in index]
    labels = {name: values[index] for name, values in labels.items()}
    together = np.array([" ".join(map(str, row)) for row in zip(*labels.values(), strict=True)])
    train, test = split_clouds(clouds, together, random_state)
    return Data(dataset, unit, units, clouds, index, labels, train, test)


def _one_target(
    data: Data,
    target: str,
    epsilons: Sequence[float],
    settings: Settings,
    random_state: int,
    n_jobs: int | None,
    steps: list[tuple[str, float]],
    log: Console | None,
) -> Result:
    X_train, X_test = data.part(data.train), data.part(data.test)
    y_train, y_test = (data.labels[target][part] for part in (data.train, data.test))
    with _step(f"{target}: train the certified model", steps, log):
        model = StableRankClassifier(
            max_epochs=settings.max_epochs, n_jobs=n_jobs, random_state=random_state
        ).fit(X_train, y_train)
    with _step(f"{target}: train a random forest", steps, log):
        forest = _forest(settings, random_state, n_jobs).fit(X_train, y_train)
    with _step(f"{target}: certify {len(X_test)} predictions", steps, log):
        certificates = model.certify(X_test)
        forest_prediction = forest.predict(X_test)

    rng = np.random.default_rng(random_state)
    n_attacked = min(settings.n_attacked or len(X_test), len(X_test))
    attacked = np.sort(rng.permutation(len(X_test))[:n_attacked])
    X, some = [X_test[i] for i in attacked], certificates[attacked]
    with _step(f"{target}: attack {n_attacked} certificates", steps, log):
        broken, tried = _attack_inside(model, X, some, settings, random_state)
    with _step(f"{target}: search the least displacements", steps, log):
        largest = 2 * epsilons[-1]
        breaking = _least(model, X, some.prediction, largest, settings, random_state)
    with _step(f"{target}: the same for the forest", steps, log):
        forest_breaking = _least(
            forest, X, forest_prediction[attacked], largest, settings, random_state
        )
    broken |= breaking < some.radius
    return Result(
        target,
        y_test,
        model,
        certificates,
        forest_prediction,
        attacked,
        breaking,
        forest_breaking,
        tried,
        attacked[broken],
    )


def _forest(settings: Settings, random_state: int, n_jobs: int | None) -> Pipeline:
    return Pipeline(
        [
            ("persistence", AlphaPersistence(n_jobs=n_jobs)),
            ("lifetimes", StableRank(n_ranks=LIFETIMES)),
            ("forest", RandomForestClassifier(settings.n_trees, random_state=random_state)),
        ]
    )


def _attack_inside(
    model: StableRankClassifier,
    X: Sequence[NDArray[np.float64]],
    certificates: Certificates,
    settings: Settings,
    random_state: int,
) -> tuple[NDArray[np.bool_], int]:
    """Which certificates an attack within the certified radius breaks, and how many were tried."""
    broken = np.zeros(len(X), dtype=bool)
    certified = np.flatnonzero(certificates.radius > 0)
    tried = 0
    if len(certified) == 0:
        return broken, tried
    total = len(certified) * settings.n_queries * len(ATTACKS)
    with ProgressBar("attacks inside the certified radii", total) as progress:
        for method in ATTACKS:
            result = attack(
                _Watched(model, progress),
                [X[int(i)] for i in certified],
                certificates.prediction[certified],
                threat="per_point",
                radius=_INSIDE * certificates.radius[certified],
                random_state=random_state,
                method=method,
                n_queries=settings.n_queries,
            )
            broken[certified] |= result.success
            tried += int(result.n_queries.sum())
    return broken, tried


def _least(
    model: Any,
    X: Sequence[NDArray[np.float64]],
    prediction: NDArray[Any],
    largest: float,
    settings: Settings,
    random_state: int,
) -> NDArray[np.float64]:
    """The least displacement found to change each prediction, infinite above `largest`."""
    total = len(X) * settings.n_queries * settings.n_rounds
    with ProgressBar("least displacements", total) as progress:
        result = minimal_radius(
            _Watched(model, progress),
            list(X),
            prediction,
            threat="per_point",
            largest=largest,
            method=Search(n_queries=settings.n_queries),
            n_rounds=settings.n_rounds,
            random_state=random_state,
        )
    return result.breaking_displacement


class _Watched:
    """A model that counts in a progress bar how many clouds it was asked to score."""

    def __init__(self, model: Any, progress: ProgressBar) -> None:
        self._model, self._progress = model, progress

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._model, name)
        if name not in ("decision_function", "predict_proba"):
            return found

        def counted(X: Any) -> Any:
            scores = found(X)
            self._progress.advance(len(X))
            return scores

        return counted


def _spacing(clouds: Sequence[NDArray[np.float64]]) -> float:
    """The median over the clouds of the median distance of a point to the nearest other one."""
    return float(np.median([np.median(nearest_distances(cloud)) for cloud in clouds]))


def _summarize(data: Data, result: Result, epsilons: Sequence[float]) -> dict[str, Any]:
    certificates, y, attacked = result.certificates, result.y, result.attacked
    clouds, prediction, sizes = data.part(data.test), certificates.prediction, np.array(epsilons)
    accuracy = float((prediction == y).mean())
    diameters = np.array([pdist(cloud).max(initial=0.0) for cloud in clouds])
    spacings = np.array([np.median(nearest_distances(cloud)) for cloud in clouds])
    network = result.model.pipeline_.named_steps["network"]
    return {
        "classes": [str(name) for name in result.model.classes_],
        "accuracy": accuracy,
        "standard_error": math.sqrt(accuracy * (1 - accuracy) / len(y)),
        "forest_accuracy": float((result.forest == y).mean()),
        "largest_class": float(np.unique(y, return_counts=True)[1].max() / len(y)),
        "certified": certificates.certified_accuracy(y, sizes).tolist(),
        "n_attacked": len(attacked),
        "clean_among_attacked": float(result.left(prediction, result.breaking, 0.0)),
        "forest_clean_among_attacked": float((result.forest == y)[attacked].mean()),
        "certified_among_attacked": certificates[attacked]
        .certified_accuracy(y[attacked], sizes)
        .tolist(),
        "attacked": result.left(prediction, result.breaking, sizes).tolist(),
        "forest_attacked": result.left(result.forest, result.forest_breaking, sizes).tolist(),
        "median_radius": float(np.median(certificates.radius)),
        "median_radius_to_diameter": float(np.median(certificates.radius / diameters)),
        "median_radius_to_spacing": float(np.median(certificates.radius / spacings)),
        "share_certified": float((certificates.radius > 0).mean()),
        "constant": result.model.stability_.constant,
        "trained_for_epsilon": network.epsilon_,
        "tried": result.tried,
        "broken": len(result.broken),
        "broken_clouds": data.index[data.test[result.broken]].tolist(),
    }


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
            path = Path(scratch) / "model.cert.json"
            result.certificates.save(path)
            files[f"model{suffix}.cert.json"] = path.read_bytes()
        path = Path(scratch) / "clouds.npz"
        np.savez_compressed(path, *data.part(data.test))
        files["clouds.npz"] = path.read_bytes()
    return files


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def _write_together(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files beside their places first, then put all in place; the report comes last."""
    with contextlib.ExitStack() as places:  # left in reverse: what is entered first ends last
        for name in sorted(files, key=lambda name: name != "report.html"):
            places.enter_context(write_atomically(folder / name)).write(files[name])


def _provenance() -> dict[str, Any]:
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "commit": _commit(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _commit() -> str | None:
    """The git commit of the checkout that runs, with a plus if files differ; None elsewhere."""
    here = Path(__file__).resolve()

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here.parent), *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # in somebody else's repository this fails
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None

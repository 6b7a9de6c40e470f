"""Outlines: the MPEG-7 shapes, 65 kinds of things, 70/30 stratified.

1,300 outlines of 100 points, 20 of each of 65 kinds (bones, bats, forks, …; five kinds of the 70
are not in this version). They have no licence of their own, so they do not come with this
repository: they are read from the source archive of fdasrsf, a package of the Python index, after a
look at the sha256 of the data in it.

    pip download fdasrsf==2.7.3 --no-deps --no-binary fdasrsf

Each outline is handed in divided by its diameter and centred at the mean of its points: things are
shown at any size. So radii are in diameters, and the adversary moves the points of the outline as
it is handed in; dividing is no stage of the pipeline and has no constant (D8). Ours:

- "alpha": stable ranks and landscapes of alpha H0 and H1;
- "alpha and distance to measure": those, and half lengths and landscapes of the distance to measure
  to 5 and 15 points on a fixed grid of 32 × 32;
- "sorted neighbours", certified as well, without persistence: distances to the 1st, 2nd, 5th, 10th,
  20th and 40th neighbour, sorted, in blocks.

Fixed numbers of epochs: settings were chosen on the split of ``random_state=0``, which is none of
the seeds of the table, by a validation part of its training set.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import warnings
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from benchmarks.comparison.certified import CertifiedPipeline
from benchmarks.comparison.task import Cloud, Model, Split, Task
from stablerank import (
    AlphaPersistence,
    DistanceToMeasurePersistence,
    HalfLengths,
    Landscapes,
    LipschitzUnion,
    StableRank,
)
from stablerank.fields import SortedNeighbourDistances

ARCHIVE = "fdasrsf-2.7.3.tar.gz"
MEMBER = "fdasrsf-2.7.3/bin/MPEG7.npz"
SHA256 = "f7db2d318714123fa2f3074c74d97d96fda869df3e6dff9282e3d0c54db61478"
HOW_TO_GET = (
    "they are in the source archive of fdasrsf 2.7.3; get it by\n"
    "    pip download fdasrsf==2.7.3 --no-deps --no-binary fdasrsf\n"
    "and run from its folder, or name it in STABLERANK_OUTLINES."
)
N_RANKS = {0: 99, 1: 60}
NEIGHBOURS = (1, 2, 5, 10, 20, 40)
ACCURATE: dict[str, Any] = {"loss": "cross-entropy", "temperature": 8.0, "max_epochs": 30}
ROBUST: dict[str, Any] = {"loss": "cross-entropy", "temperature": 1.5, "max_epochs": 40}
CERTIFIED: dict[str, tuple[str, dict[str, Any]]] = {
    "alpha, accurate": ("alpha", ACCURATE),
    "alpha and distance to measure, accurate": ("union", ACCURATE),
    "alpha and distance to measure, robust": ("union", ROBUST),
    "sorted neighbours, accurate": ("neighbours", ACCURATE),
}


def archive() -> Path:
    """Where the outlines are: ``$STABLERANK_OUTLINES``, or the archive in this folder."""
    return Path(os.environ.get("STABLERANK_OUTLINES", ARCHIVE))


def load(seed: int, quick: bool) -> Split:
    """Split of a seed; ten kinds where little is enough."""
    X, y = read_outlines(archive())
    if quick:
        X, y = X[:200], y[:200]
    train, test = train_test_split(np.arange(len(y)), test_size=0.3, stratify=y, random_state=seed)
    return Split.of(X, y, train, test)


@lru_cache(maxsize=1)
def read_outlines(path: Path) -> tuple[list[Cloud], NDArray[np.int64]]:
    """The outlines of a source archive of fdasrsf, at diameter 1, kind by kind.

    Raises
    ------
    ValueError
        If the data in it are others than those that were looked at.
    """
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as files:
        member = files.extractfile(MEMBER)
        content = b"" if member is None else member.read()
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise ValueError(f"{MEMBER} has sha256 {found}, expected {SHA256}: another release.")
    with warnings.catch_warnings(), np.load(io.BytesIO(content), allow_pickle=True) as arrays:
        # pickled arrays, whose sha256 says that they are nothing else; by an older numpy
        warnings.simplefilter("ignore", DeprecationWarning)
        kinds = arrays["Xdata"]
    outlines = [at_unit_diameter(outline.T) for outline in kinds.reshape(-1)]
    return outlines, np.repeat(np.arange(kinds.shape[0]), kinds.shape[1])


def at_unit_diameter(outline: Cloud) -> Cloud:
    """Centred at the mean of its points, and divided by their largest distance."""
    centred: Cloud = outline - outline.mean(axis=0)
    return np.ascontiguousarray(centred / pdist(centred).max())


def vectorizer(kind: str) -> Any:
    """From outlines to vectors."""
    if kind == "neighbours":
        return SortedNeighbourDistances(NEIGHBOURS, blocks=25)
    alpha = make_pipeline(
        AlphaPersistence(),
        LipschitzUnion(
            [
                ("ranks", StableRank(n_ranks=N_RANKS)),
                ("landscapes", Landscapes(24, {0: 1, 1: 12})),
            ]
        ),
    )
    if kind == "alpha":
        return alpha
    fields = [
        (
            f"dtm{k}",
            make_pipeline(
                DistanceToMeasurePersistence(k, resolution=32, box=((-1, -1), (1, 1))),
                LipschitzUnion([("halves", HalfLengths(20)), ("landscapes", Landscapes(24, 6))]),
            ),
        )
        for k in (5, 15)
    ]
    return LipschitzUnion([("alpha", alpha), *fields])


def certified(name: str, seed: int, quick: bool) -> CertifiedPipeline:
    """One of our models."""
    kind, network = CERTIFIED[name]
    network = {"epsilon": 0.002, "hidden": (128, 128), **network}
    if quick:
        network["max_epochs"] = 8
    return CertifiedPipeline(vectorizer(kind), network, random_state=seed)


def task(unconstrained: Mapping[str, Model]) -> Task:
    """The outlines, with these models beside ours."""
    return Task(
        name="outlines",
        title="MPEG-7 outlines",
        unit="diameters",
        load=load,
        epsilons=(0.0005, 0.001, 0.002, 0.005),
        models={**unconstrained, **{name: partial(certified, name) for name in CERTIFIED}},
        n_attacked=30,
    )

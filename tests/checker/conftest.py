"""A small model of every kind that can be written to a file, each fitted once and never changed."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline

from stablerank import (
    AlphaPersistence,
    AnisotropicPersistence,
    CubicalPersistence,
    DistanceContour,
    DistanceField,
    DistanceToMeasurePersistence,
    ExponentialContour,
    HalfLengths,
    Landscapes,
    LearnedStableRank,
    LipschitzUnion,
    RipsPersistence,
    ShiftContour,
    SortedNeighbourDistances,
    StableRank,
    StableRankClassifier,
    StepDistanceContour,
    StepShiftContour,
    Windows,
    certify,
)
from stablerank.certify.votes import HashedVotes
from stablerank.checker import Verdict, check_files, model_file
from stablerank.checker.file_format import diagram_rows, with_digest
from stablerank.checker.threats import Space, read_threat
from stablerank.diagrams import squeeze
from stablerank.ranks import Contour, PersistenceImages
from stablerank.stage_files import plain_stage

Array = NDArray[np.float64]
Change = Callable[[dict[str, Any]], None]

N_INPUTS = 6
_DENSITY: dict[str, Any] = {
    "means": [0.3, 1.0],
    "scales": [0.2, 0.3],
    "weights": [0.5, 0.4],
    "floor": 0.2,
}
CONTOURS: dict[str, Contour] = {
    "distance": DistanceContour(**_DENSITY),
    "shift": ShiftContour(**_DENSITY),
    "exponential": ExponentialContour(start=0.1, rate=2.0),
    "step distance": StepDistanceContour(edges=[0.2, 0.9], steps=[0.5, 0.0, 2.0]),
    "step shift": StepShiftContour(edges=[-0.3, 0.4, 1.1], steps=[0.5, 3.0, 0.7, 2.0]),
}


def heaps(seed: int = 0, n_points: int = 32) -> list[Array]:
    """One heap of points in the plane, or two of them, by turns."""
    rng = np.random.default_rng(seed)
    clouds = []
    for i in range(N_INPUTS):
        cloud = rng.normal(scale=0.05, size=(n_points, 2))
        cloud[: n_points // 2, 0] += 2 * (i % 2)
        clouds.append(cloud)
    return clouds


def rings(seed: int = 0, n_points: int = 14) -> list[Array]:
    """Circles of radius 1 and of radius 2 by turns, and every point four times, almost."""
    rng = np.random.default_rng(seed)
    clouds = []
    for i in range(N_INPUTS):
        angles = rng.uniform(0, 2 * np.pi, size=n_points)
        ring = (1 + i % 2) * np.column_stack([np.cos(angles), np.sin(angles)])
        clouds.append(np.tile(ring, (4, 1)) + rng.normal(scale=1e-3, size=(4 * n_points, 2)))
    return clouds


def images(seed: int = 0) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(7, 6)) * (1 + 3 * (i % 2)) for i in range(N_INPUTS)]


def matrices(seed: int = 0) -> list[Array]:
    """Sums of coordinates' differences between points: no Euclidean distances."""
    return [np.abs(c[::3, None] - c[None, ::3]).sum(axis=2) for c in rings(seed)]


def measure(k: int = 5, **parameters: Any) -> DistanceToMeasurePersistence:
    own = {"box": ((-1, -1), (3, 1)), "homology_dimensions": (0,), "resolution": 9, **parameters}
    return DistanceToMeasurePersistence(k, **own)


def several() -> LipschitzUnion:
    """As README's: filtrations side by side, and several vectorizers behind one of them."""
    vectors = LipschitzUnion([("ranks", StableRank(n_ranks=9)), ("tents", Landscapes(3, 4))])
    return LipschitzUnion(
        [
            ("alpha", make_pipeline(AlphaPersistence(), vectors)),
            ("measure", make_pipeline(measure(9, homology_dimensions=(0, 1)), HalfLengths(4))),
        ]
    )


POINTS = ("per_point", "per_coordinate", "frobenius")
DIAGRAMS = ("bottleneck", "W1", "W3")
KINDS: dict[str, tuple[dict[str, Any], Callable[..., list[Array]], tuple[str, ...]]] = {
    "alpha": ({"n_ranks": 20}, rings, (*POINTS, "hausdorff", "deletion", *DIAGRAMS)),
    "rips": (
        {"persistence": "rips", "homology_dimensions": (0,), "p": 2.0, "n_ranks": 6},
        rings,
        (*POINTS, "hausdorff", "deletion", *DIAGRAMS),
    ),
    "half lengths": ({"ranks": HalfLengths(6)}, rings, ("hausdorff", *DIAGRAMS)),
    "landscapes": ({"ranks": Landscapes(4, 3)}, rings, ("hausdorff", *DIAGRAMS)),
    "windows": ({"ranks": Windows(6, 3)}, rings, ("hausdorff", "deletion", *DIAGRAMS)),
    "images": (
        {"ranks": PersistenceImages(5, tau=0.1), "epsilon": 0.01},
        rings,
        ("per_point", "frobenius", "deletion", *DIAGRAMS),
    ),
    **{
        f"{name} contour": (
            {"contour": contour, "n_ranks": 6},
            rings,
            ("hausdorff", "W1") if name == "shift" else ("hausdorff", "deletion", *DIAGRAMS),
        )
        for name, contour in CONTOURS.items()
    },
    "contours by dimension": (
        {"contour": {0: CONTOURS["exponential"], 1: CONTOURS["step shift"]}, "n_ranks": 6},
        rings,
        ("hausdorff", *DIAGRAMS),
    ),
    "learned contour": (
        {"ranks": LearnedStableRank(n_ranks=6, contour="shift", n_components=4, max_epochs=3)},
        rings,
        ("frobenius", "hausdorff", "W1"),
    ),
    "contour, p=3": (
        {"contour": CONTOURS["step shift"], "p": 3.0, "n_ranks": 4},
        rings,
        DIAGRAMS,
    ),
    "distance to measure": (
        {"persistence": measure(cap=0.9), "ranks": HalfLengths(2)},
        heaps,
        (*POINTS, "deletion", "points", *DIAGRAMS),
    ),
    "torus": (
        {
            "persistence": measure(q=1, periodic=True, cap=0.9, homology_dimensions=(0, 1)),
            "ranks": Landscapes(5, 2),
        },
        heaps,
        (*POINTS, "deletion", "points"),
    ),
    "cubical": (
        {"persistence": CubicalPersistence(), "ranks": HalfLengths(4)},
        images,
        ("sup", "bottleneck"),
    ),
    "glued images": (
        {"persistence": CubicalPersistence(periodic=(True, False)), "ranks": Windows(4, 2)},
        images,
        ("sup",),
    ),
    "dissimilarities": (
        {"persistence": RipsPersistence(metric="precomputed"), "n_ranks": 6},
        matrices,
        ("sup", "W1"),
    ),
    "union": ({"persistence": several()}, rings, (*POINTS, "deletion")),
    "field": (
        {"persistence": DistanceField([1, 3], kind="measure", resolution=5)},
        heaps,
        (*POINTS, "deletion", "points"),
    ),
    "nearest points": (
        {
            "persistence": DistanceField(
                resolution=6, box=((-1, -1), (3, 1)), periodic=True, values="sorted", blocks=7
            )
        },
        heaps,
        ("hausdorff", "per_coordinate", "deletion", "points"),
    ),
    "neighbours": (
        {"persistence": SortedNeighbourDistances([1, 4], blocks=5)},
        rings,
        POINTS,
    ),
    "field beside persistence": (
        {
            "persistence": LipschitzUnion(
                [
                    ("alpha", make_pipeline(AlphaPersistence(), StableRank(n_ranks=5))),
                    ("field", DistanceField(resolution=4, values="sorted")),
                ]
            )
        },
        rings,
        (*POINTS, "hausdorff", "deletion"),
    ),
    "linear images": (
        {
            "persistence": AnisotropicPersistence(AlphaPersistence(), squeeze(20, 0.4)),
            "n_ranks": 7,
        },
        rings,
        (*POINTS, "hausdorff", "deletion", "W1"),
    ),
    "fields of linear images": (
        {
            "persistence": AnisotropicPersistence(measure(), [[1.0, 0.3], [0.0, 0.7]]),
            "ranks": HalfLengths(2),
        },
        heaps,
        (*POINTS, "deletion"),
    ),
}
CASES = [(kind, threat) for kind, (_, _, threats) in KINDS.items() for threat in threats]
CASES += [("votes", "deletion"), ("votes", "points")]
EXPONENTS: dict[str, dict[str, float]] = {"W1": {"p": 1, "q": 2}, "W3": {"p": 3, "q": np.inf}}


@dataclass(frozen=True)
class Certified:
    """A fitted model, and the inputs that it certifies."""

    model: Any
    inputs: list[Array]

    @property
    def classifier(self) -> StableRankClassifier:
        own: StableRankClassifier = getattr(self.model, "estimator_", self.model)
        return own

    def write(self, place: Path, threat: str, method: str) -> Any:
        """Write model, inputs and certificates; return these."""
        name, inputs = "wasserstein" if threat in EXPONENTS else threat, self.inputs
        if threat in DIAGRAMS:
            diagrams = self.model.pipeline_[0].transform(self.inputs)
            inputs = [diagram_rows(diagram) for diagram in diagrams]
            given = diagrams
        else:
            given = self.inputs
        certificates = certify(
            self.model, given, threat=name, method=method, **EXPONENTS.get(threat, {})
        )
        self.classifier.save(place / "model.srn")
        np.savez(place / "clouds.npz", *inputs)
        certificates.save(place / "file.cert.json")
        return certificates


@functools.cache
def _certified(kind: str) -> Certified:
    training = {"network__hidden": (8, 4), "max_epochs": 30, "random_state": 0}
    y = ["one", "two"] * (N_INPUTS // 2)
    if kind == "votes":
        inputs = heaps(n_points=60)  # so small that not all sub-clouds agree
        model: Any = HashedVotes(
            StableRankClassifier(homology_dimensions=(0,), n_ranks=5, **training),
            n_parts=11,
            min_points=4,
        )
        return Certified(model.fit(inputs, y), inputs)
    parameters, make, _ = KINDS[kind]
    inputs = make()
    return Certified(StableRankClassifier(**{**training, **parameters}).fit(inputs, y), inputs)


@pytest.fixture(scope="session")
def certified() -> Callable[[str], Certified]:
    """The model of a kind."""
    return _certified


def check(place: Path) -> Verdict:
    """What the checker says of the three files in a folder."""
    return check_files(place / "file.cert.json", place / "model.srn", place / "clouds.npz")


def rewrite(path: Path, change: Change) -> None:
    """As somebody does who changes a file and computes its digest anew."""
    content = json.loads(path.read_bytes())
    change(content)
    del content["sha256"]
    path.write_bytes(with_digest(content))


_ALONE = {"p": None, "q": None, "closed": False}
_UNITS = {
    "per_point": "ℓ2 displacement of every point, in the units of the points",
    "per_coordinate": "change of every coordinate, in the units of the points",
    "frobenius": "ℓ2 norm of the displacements of all points together",
    "hausdorff": "Hausdorff distance, in the units of the points",
    "sup": "change of every entry of the dissimilarity matrix",
    "bottleneck": "bottleneck distance between diagrams, in the filtration's unit",
}


def space_of(threat: str, p: float | None = None, q: float | None = None) -> Space:
    """The metric of a threat, as chains write it."""
    if threat != "wasserstein":
        found = read_threat({"threat": threat, "unit": _UNITS[threat], **_ALONE}).space
        assert found is not None
        return found
    return {"kind": "diagram", "metric": "wasserstein", "p": str(p), "q": str(q)}


def stages_of(*stages: Any) -> tuple[model_file.Stage, ...]:
    """As they would stand in a file."""
    return tuple(model_file._stage(plain_stage(stage)) for stage in stages)


def on_a_line(k: int, **parameters: Any) -> DistanceToMeasurePersistence:
    """On a line, with vertices at -1, 0 and 1; only components."""
    return DistanceToMeasurePersistence(
        k, resolution=3, box=([-1], [1]), homology_dimensions=(0,), **parameters
    )

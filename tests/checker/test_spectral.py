"""Radii in ℓ2 are derived again with numpy alone, and no larger ones are accepted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stablerank import Certificates, StableRank, StableRankClassifier, StepDistanceContour
from stablerank.checker import check_files
from stablerank.checker.file_format import with_digest
from stablerank.checker.spectral import spectral_norm_up
from stablerank.cli import main
from stablerank.nn import spectral_norm_upper
from stablerank.stages import LipschitzUnion

MODELS: dict[str, dict[str, Any]] = {
    "H0": {"homology_dimensions": (0,)},
    "H0 and H1, p=2": {"p": 2, "n_ranks": 12},
    "Rips, p=1": {"p": 1, "n_ranks": 8, "persistence": "rips", "homology_dimensions": (0,)},
    "a steep contour": {
        "homology_dimensions": (0,),
        "contour": StepDistanceContour([0.2], [0.5, 3.0]),
        "n_ranks": 9,
    },
    "free": {"network__layer": "free", "network__activation": "relu", "homology_dimensions": (0,)},
    "union": {"ranks": LipschitzUnion([("a", StableRank(n_ranks=6)), ("b", StableRank(2.0))])},
}


def certified(name: str, folder: Path, method: str = "best") -> tuple[Certificates, list[Path]]:
    rng = np.random.default_rng(2)
    X = [rng.normal(size=(40, 2)) * (1 + 2 * (i % 2)) for i in range(12)]
    settings = {"network__hidden": (8, 8), "max_epochs": 10, "random_state": 0, **MODELS[name]}
    model = StableRankClassifier(**settings).fit(X, [i % 2 for i in range(12)])
    files = [folder / own for own in ("file.cert.json", "model.srn", "clouds.npz")]
    claims = model.certify(X, "frobenius", method=method)
    claims.save(files[0])
    model.save(files[1])
    np.savez(files[2], *X)
    return claims, files


def claiming(files: list[Path], change: Any) -> Any:
    content = json.loads(files[0].read_bytes())
    del content["sha256"]
    change(content)
    files[0].write_bytes(with_digest(content))
    return check_files(*files)


@pytest.mark.parametrize("name", MODELS)
def test_radii_in_l2_are_derived_again(name: str, tmp_path: Path) -> None:
    claims, files = certified(name, tmp_path)
    # the same radii by that way alone, in a file that has the chain in ℓ∞
    way, _ = certified(name, tmp_path, "l2")
    certified(name, tmp_path)

    def by_l2(content: dict[str, Any], factor: float = 1.0) -> None:
        for cloud, radius in zip(content["clouds"], way.radius.tolist(), strict=True):
            cloud.update(route="l2", radius=(factor * radius).hex())

    assert check_files(*files).accepted
    assert (way.radius > 0).sum() > 6
    assert claiming(files, by_l2).accepted
    # and hardly more: two ways to bound a norm differ by less than a millionth
    verdict = claiming(files, lambda content: by_l2(content, 1 + 1e-6))
    assert (verdict.accepted, verdict.claim) == (False, "radius")
    assert "the constants in ℓ2 give less" in str(verdict)
    assert claims.threat == "frobenius"


def test_the_way_belongs_to_its_threat(tmp_path: Path) -> None:
    _, files = certified("H0", tmp_path)
    unit = "ℓ2 displacement of every point, in the units of the points"

    def per_point(content: dict[str, Any]) -> None:
        content.update(threat="per_point", unit=unit, constant=None, chain=None)
        for cloud in content["clouds"]:
            cloud["route"] = "l2"

    verdict = claiming(files, per_point)
    assert (verdict.accepted, verdict.claim) == (False, "route")


def test_a_chain_through_l2_is_not_checked(tmp_path: Path, capsys: Any) -> None:
    _, files = certified("H0", tmp_path, "l2")
    verdict = check_files(*files)
    assert (verdict.accepted, verdict.claim) == (False, "chain")
    words = ["check", str(files[0]), "--model", str(files[1]), "--clouds", str(files[2])]
    assert main(words) != 0
    assert 'certify by method="best"' in capsys.readouterr().out


def test_two_bounds_of_the_norm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for shape in ((1, 1), (6, 6), (3, 40), (64, 64), (128, 16)):
        for scale in (1.0, 1e-300, 1e150):
            matrix = rng.normal(size=shape) * scale
            ours, theirs = spectral_norm_upper(matrix), spectral_norm_up(matrix)
            assert theirs == pytest.approx(ours, rel=1e-10)
            assert theirs >= np.linalg.norm(matrix / scale, 2) * scale * (1 - 1e-14)
    assert spectral_norm_up(np.zeros((3, 2))) == 0
    assert spectral_norm_up(np.full((4, 4), 1e308)) == math.inf

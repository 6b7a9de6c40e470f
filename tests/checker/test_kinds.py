"""Every kind of model and of threat is derived again, and nothing that is larger."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stablerank import StableRankClassifier
from stablerank.checker import check as module
from stablerank.checker import radii
from stablerank.checker.file_format import read_certificates
from stablerank.checker.model_file import read_model
from stablerank.stability import StabilityError
from stablerank.stage_files import plain_stage, read_stage

from .conftest import CASES, Certified, check, rewrite

MakeCertified = Callable[[str], Certified]

COUNTS = ("deletion", "points")
BY_CONSTANTS = [(k, t) for k, t in CASES if t not in COUNTS and k != "images"]
BY_BOXES = [(k, t) for k, t in CASES if t not in COUNTS and t not in ("W3", "per_coordinate")]
COUNTED = [(k, t) for k, t in CASES if t in COUNTS]


def set_radius(value: float, i: int) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content["clouds"][i]["radius"] = float(value).hex()

    return change


@pytest.mark.parametrize(("kind", "threat"), CASES)
def test_what_was_certified_is_accepted(
    certified: MakeCertified, tmp_path: Path, kind: str, threat: str
) -> None:
    found = 0
    for method in ("best",) if kind == "votes" else ("global", "interval", "linear"):
        try:
            certificates = certified(kind).write(tmp_path, threat, method)
        except StabilityError:  # of sums, and where points of several filtrations are counted
            assert method == "global"
            assert kind in ("images", "union", "field", "nearest points")
            continue
        verdict = check(tmp_path)
        assert verdict.accepted, f"{method}: {verdict}"
        assert verdict.n_clouds == len(certificates)
        found += int((certificates.radius > 0).sum())
    assert found > 0


@pytest.mark.parametrize(("kind", "threat"), BY_CONSTANTS)
def test_no_radius_above_the_derived_one_is_accepted(
    certified: MakeCertified, tmp_path: Path, kind: str, threat: str
) -> None:
    """To the last bit; and the derived one is that of certify, but for what both charge."""
    claimed = certified(kind).write(tmp_path, threat, "global").radius
    content = read_certificates((tmp_path / "file.cert.json").read_bytes())
    case = module._read_case(content, read_model((tmp_path / "model.srn").read_bytes()))
    clouds = module._read_clouds(tmp_path / "clouds.npz")
    i = int(claimed.argmax())
    top = case.classes.index(content["clouds"][i]["prediction"])
    assert case.threat.space is not None
    derived = radii._global_radius(case.subject(clouds[i]), case.threat.space, top)
    assert claimed[i] <= derived <= claimed[i] * (1 + 1e-6)
    rewrite(tmp_path / "file.cert.json", set_radius(derived, i))
    assert check(tmp_path).accepted
    rewrite(tmp_path / "file.cert.json", set_radius(math.nextafter(derived, math.inf), i))
    verdict = check(tmp_path)
    assert (verdict.accepted, verdict.checked) == (False, True)
    assert (verdict.claim, verdict.cloud) == ("radius", i)


@pytest.mark.parametrize(("kind", "threat"), BY_BOXES)
@pytest.mark.parametrize("method", ["interval", "linear"])
def test_no_larger_box_is_accepted(
    certified: MakeCertified, tmp_path: Path, kind: str, threat: str, method: str
) -> None:
    """The search for the largest box ends within 0.04 percent of it."""
    claimed = certified(kind).write(tmp_path, threat, method).radius
    i = int(claimed.argmax())
    rewrite(tmp_path / "file.cert.json", set_radius(claimed[i] * 1.002, i))
    verdict = check(tmp_path)
    assert (verdict.accepted, verdict.claim, verdict.cloud) == (False, "radius", i)


@pytest.mark.parametrize(("kind", "threat"), COUNTED)
def test_no_more_points_are_accepted(
    certified: MakeCertified, tmp_path: Path, kind: str, threat: str
) -> None:
    method = "best" if kind == "votes" else "linear"
    own = certified(kind)
    claimed = own.write(tmp_path, threat, method).radius
    i = int(claimed.argmax())
    for more in (0.5, 1.0, float(len(own.inputs[i]))):
        rewrite(tmp_path / "file.cert.json", set_radius(claimed[i] + more, i))
        verdict = check(tmp_path)
        assert (verdict.accepted, verdict.claim, verdict.cloud) == (False, "radius", i)


def test_nothing_is_claimed_of_clouds_that_have_no_field(
    certified: MakeCertified, tmp_path: Path
) -> None:
    own = certified("distance to measure")
    own.write(tmp_path, "deletion", "linear")
    rewrite(tmp_path / "file.cert.json", set_radius(len(own.inputs[0]) - 5 + 1, 0))
    assert check(tmp_path).reason == "it is no number of points, or too few are left"


def test_models_of_images_are_read_again(certified: MakeCertified, tmp_path: Path) -> None:
    own = certified("images")
    own.write(tmp_path, "per_point", "linear")
    loaded = StableRankClassifier.load(tmp_path / "model.srn")
    assert (
        loaded.pipeline_.decision_function(own.inputs) == own.model.decision_function(own.inputs)
    ).all()
    plain = plain_stage(own.model.pipeline_[1])
    (_, tau), *_ = plain["fitted"]["tau_"]["items"]
    for bad in (-1.0, float("inf")):
        tau["float"] = bad.hex()
        with pytest.raises(ValueError, match=r"tau_\[0\]=.* is no such thing"):
            read_stage(plain)

"""Files that were changed with care, every digest computed anew: the first false claim is named."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stablerank.checker import Verdict
from stablerank.checker.file_format import cloud_digest

from .conftest import Certified, Change, check, rewrite

MakeCertified = Callable[[str], Certified]

KEY = rb"{\"sha256\": \""


def links_of(chain: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for element in chain:
        if "branches" in element:
            for branch in element["branches"].values():
                yield from links_of(branch)
        else:
            yield element


def halve_link(content: dict[str, Any], i: int) -> str:
    link = list(links_of(content["chain"]))[i]
    link["constant"] /= 2
    if "constants" in link:
        link["constants"] = [value / 2 for value in link["constants"]]
    return str(link["stage"])


@pytest.mark.parametrize(("kind", "threat"), [("union", "per_coordinate"), ("alpha", "W1")])
def test_every_link_is_derived_by_itself(
    certified: MakeCertified, tmp_path: Path, kind: str, threat: str
) -> None:
    certified(kind).write(tmp_path, threat, "global")
    whole = (tmp_path / "file.cert.json").read_bytes()
    content = json.loads(whole)
    n_links = len(list(links_of(content["chain"])))
    assert n_links > 5
    for i in range(n_links):
        (tmp_path / "file.cert.json").write_bytes(whole)
        rewrite(tmp_path / "file.cert.json", lambda content, i=i: halve_link(content, i))
        verdict = check(tmp_path)
        assert (verdict.checked, verdict.claim) == (True, "link"), f"link {i}: {verdict}"


def test_a_link_is_named_by_its_branches(certified: MakeCertified, tmp_path: Path) -> None:
    certified("union").write(tmp_path, "per_point", "global")

    def halve(content: dict[str, Any]) -> None:
        branch = content["chain"][0]["branches"]["alpha"][-1]["branches"]["tents"][0]
        link = branch["branches"]["H1"][0]
        link["constants"][5] = 0.5

    rewrite(tmp_path / "file.cert.json", halve)
    verdict = check(tmp_path)
    assert str(verdict) == (
        "not accepted: link: the constant of alpha · tents · H1 · landscapes is larger "
        "(claimed 0.5, derived 1.0)."
    )


def without_link(content: dict[str, Any]) -> None:
    del content["chain"][0]


def other_branch(content: dict[str, Any]) -> None:
    branches = content["chain"][1]["branches"]
    branches["H1"] = branches.pop("H0")


def other_metric(content: dict[str, Any]) -> None:
    content["chain"][1]["branches"]["H0"][0]["target"]["metric"] = "bottleneck"


def fewer_coordinates(content: dict[str, Any]) -> None:
    content["chain"][2]["branches"]["H1"][0]["constants"].pop()


def other_coordinates(content: dict[str, Any]) -> None:
    content["chain"][3]["coordinatewise"] = False


def not_joined(content: dict[str, Any]) -> None:
    content["chain"][2]["joined"] = False


def no_constant(content: dict[str, Any]) -> None:
    content["constant"] = None


def larger_constant(content: dict[str, Any]) -> None:
    content["constant"] = (float.fromhex(content["constant"]) * 1.001).hex()


def other_threat(content: dict[str, Any]) -> None:
    content["threat"] = "hausdorff"


def other_threat_and_unit(content: dict[str, Any]) -> None:
    """True of alpha, since per-point is Hausdorff there, but not what the chain begins with."""
    content["threat"] = "hausdorff"
    content["unit"] = "Hausdorff distance, in the units of the points"


def unknown_threat(content: dict[str, Any]) -> None:
    content["threat"] = "rotation"


def exponents(content: dict[str, Any]) -> None:
    content["p"], content["q"] = (1.0).hex(), (1.0).hex()


def closed(content: dict[str, Any]) -> None:
    content["closed"] = True


def unknown_class(content: dict[str, Any]) -> None:
    content["clouds"][2]["prediction"] = "three"


def other_class(content: dict[str, Any]) -> None:
    own = content["clouds"][2]
    own["prediction"] = {"one": "two", "two": "one"}[own["prediction"]]


def other_margin(content: dict[str, Any]) -> None:
    own = content["clouds"][2]
    own["margin"] = (float.fromhex(own["margin"]) + 1e-5).hex()


def other_radius(content: dict[str, Any]) -> None:
    own = content["clouds"][2]
    own["radius"] = (float.fromhex(own["radius"]) * (1 + 2.0**-20)).hex()


def with_votes(content: dict[str, Any]) -> None:
    content["votes"] = {"n_parts": 1, "min_points": 1, "random_state": 0, "fixed_vote": 0}


CHANGES: dict[Change, tuple[str, int | None, bool]] = {
    without_link: ("link", None, True),
    other_branch: ("link", None, True),
    other_metric: ("link", None, True),
    fewer_coordinates: ("link", None, True),
    other_coordinates: ("link", None, True),
    not_joined: ("link", None, True),
    no_constant: ("constant", None, True),
    larger_constant: ("constant", None, True),
    other_threat: ("unit", None, True),
    other_threat_and_unit: ("link", None, True),
    unknown_threat: ("threat", None, False),
    exponents: ("threat", None, True),
    closed: ("closed", None, True),
    unknown_class: ("prediction", 2, True),
    other_class: ("prediction", 2, True),
    other_margin: ("margin", 2, True),
    other_radius: ("radius", 2, True),
    with_votes: ("threat", None, True),
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_the_first_false_claim_is_named(
    certified: MakeCertified, tmp_path: Path, change: Change
) -> None:
    certified("alpha").write(tmp_path, "per_point", "global")
    rewrite(tmp_path / "file.cert.json", change)
    verdict = check(tmp_path)
    assert not verdict.accepted
    assert (verdict.claim, verdict.cloud, verdict.checked) == CHANGES[change]
    assert str(verdict).startswith("not accepted: " if verdict.checked else "not checked: ")


def test_a_lower_radius_is_a_weaker_claim(certified: MakeCertified, tmp_path: Path) -> None:
    """Whoever lowers one without a new digest is found out; with it the claim is still true."""
    certified("alpha").write(tmp_path, "per_point", "global")
    path = tmp_path / "file.cert.json"
    content = json.loads(path.read_bytes())
    own = content["clouds"][2]
    own["radius"] = math.nextafter(float.fromhex(own["radius"]), 0).hex()
    path.write_text(json.dumps(content, indent=1) + "\n")
    assert check(tmp_path).claim == "digest of the file"
    rewrite(path, lambda content: None)
    assert check(tmp_path).accepted


def with_other_model(place: Path, change: Callable[[bytes], bytes]) -> Verdict:
    """The verdict on another model, whose digest stands in its file and in the certificates'."""
    data = change((place / "model.srn").read_bytes())
    start = data.find(KEY) + len(KEY)
    digest = hashlib.sha256(data[:start] + b"0" * 64 + data[start + 64 :]).hexdigest()
    (place / "model.srn").write_bytes(data[:start] + digest.encode() + data[start + 64 :])
    rewrite(place / "file.cert.json", lambda content: content.update(model=digest))
    return check(place)


def sign_of_a_weight(data: bytes) -> bytes:
    """The last tensor is that of the factors, which are not negative; before it are weights."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    place = 8 + length + header["head.weight"]["data_offsets"][0] + 7
    return data[:place] + bytes([data[place] ^ 0x80]) + data[place + 1 :]


def other_k(data: bytes) -> bytes:
    """Four neighbours, where the model has five."""
    assert data.count(rb"\"k\": 5") == 2  # as a parameter, and as a fitted step
    return data.replace(rb"\"k\": 5", rb"\"k\": 4")


def other_kind(data: bytes) -> bytes:
    return data.replace(b"half lengths", b"long lengths")


@pytest.mark.parametrize(
    ("change", "claim", "checked"),
    [(sign_of_a_weight, "margin", True), (other_k, "margin", True), (other_kind, "stage", False)],
)
def test_another_model(
    certified: MakeCertified, tmp_path: Path, change: Any, claim: str, checked: bool
) -> None:
    certified("distance to measure").write(tmp_path, "per_point", "linear")
    assert with_other_model(tmp_path, lambda data: data).accepted
    verdict = with_other_model(tmp_path, change)
    assert not verdict.accepted
    # another sign may turn the prediction as well as the margin
    assert verdict.claim in (claim, "prediction", "link")
    assert verdict.checked is checked


def test_another_cloud(certified: MakeCertified, tmp_path: Path) -> None:
    own = certified("distance to measure")
    own.write(tmp_path, "points", "linear")
    other = [cloud.copy() for cloud in own.inputs]
    other[3][:3] += 0.3
    np.savez(tmp_path / "clouds.npz", *other)
    assert (check(tmp_path).claim, check(tmp_path).cloud) == ("digest of the cloud", 3)

    def change(content: dict[str, Any]) -> None:
        content["clouds"][3]["input"] = cloud_digest(other[3])

    rewrite(tmp_path / "file.cert.json", change)
    assert (check(tmp_path).claim, check(tmp_path).cloud) == ("radius", 3)


@pytest.mark.parametrize("name", ["n_parts", "min_points", "random_state", "fixed_vote"])
def test_other_votes(certified: MakeCertified, tmp_path: Path, name: str) -> None:
    certified("votes").write(tmp_path, "points", "best")
    larger = {"n_parts": 3, "min_points": 9, "random_state": 1, "fixed_vote": 2}[name]

    def change(content: dict[str, Any]) -> None:
        content["votes"][name] += larger

    rewrite(tmp_path / "file.cert.json", change)
    verdict = check(tmp_path)
    assert not verdict.accepted
    assert verdict.claim in ("votes", "prediction", "margin", "radius")


def test_votes_are_asked_for(certified: MakeCertified, tmp_path: Path) -> None:
    certified("votes").write(tmp_path, "points", "best")
    rewrite(tmp_path / "file.cert.json", lambda content: content.pop("votes"))
    verdict = check(tmp_path)
    assert (verdict.accepted, verdict.checked, verdict.claim) == (False, False, "route")


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([[2.0, 1.0, 0.0]], "a bar dies before it is born, or has no homology dimension"),
        ([[1.0, 2.0, 0.5]], "a bar dies before it is born, or has no homology dimension"),
        ([[1.0, 2.0]], "it has no rows (birth, death, homology dimension)"),
        ([[1.0, np.inf, 1.0]], "it has no rows (birth, death, homology dimension)"),
    ],
)
def test_what_is_no_diagram(
    certified: MakeCertified, tmp_path: Path, rows: list[list[float]], reason: str
) -> None:
    certified("alpha").write(tmp_path, "bottleneck", "global")
    diagrams = [np.array(rows)] * 6
    np.savez(tmp_path / "clouds.npz", *diagrams)

    def change(content: dict[str, Any]) -> None:
        for claim in content["clouds"]:
            claim["input"] = cloud_digest(diagrams[0])

    rewrite(tmp_path / "file.cert.json", change)
    assert check(tmp_path).reason == reason

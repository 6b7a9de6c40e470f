"""Every certificate is derived again without torch, and nothing else is accepted."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stablerank import (
    Certificates,
    HalfLengths,
    Landscapes,
    LipschitzUnion,
    RipsPersistence,
    StableRank,
    StableRankClassifier,
    certify,
)
from stablerank.certify.votes import HashedVotes
from stablerank.checker import check_files
from stablerank.cli import main
from stablerank.diagrams import CloudDiagrams

from .conftest import Certified, Change, rewrite

Cloud = NDArray[np.float64]

THREATS = ("per_point", "hausdorff", "per_coordinate", "frobenius")
MODELS: dict[str, dict[str, Any]] = {
    "alpha": {},
    "p=2": {"p": 2, "n_ranks": 12, "network__activation": "groupsort"},
    "p=3, Rips": {"p": 3.0, "n_ranks": 9, "persistence": "rips", "homology_dimensions": (0, 1)},
    "landscapes": {"ranks": Landscapes(n_positions=4, n_levels=3), "network__activation": "abs"},
    "half lengths": {"ranks": HalfLengths(n_levels=8), "network__layer": "linf-distance"},
    "free": {"network__layer": "free", "network__activation": "relu"},
    "union": {"ranks": LipschitzUnion([("a", StableRank(n_ranks=6)), ("b", HalfLengths(5))])},
    "space": {"homology_dimensions": (0, 1, 2)},
}


def clouds(d: int = 2, n: int = 12) -> tuple[list[Cloud], list[str]]:
    rng = np.random.default_rng(d)
    X = [rng.normal(size=(14, d)) * (1 + 2 * (i % 2)) for i in range(n)]
    return X, ["small" if i % 2 == 0 else "large" for i in range(n)]


def fit(name: str) -> tuple[StableRankClassifier, list[Cloud]]:
    X, y = clouds(3 if name == "space" else 2)
    parameters = {"network__hidden": (8, 8), "max_epochs": 10, "random_state": 0, **MODELS[name]}
    return StableRankClassifier(**parameters).fit(X, y), X


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, its clouds, and certificates by constants and by boxes; never changed."""
    place = tmp_path_factory.mktemp("certified")
    model, X = fit("alpha")
    model.save(place / "model.srn")
    np.savez(place / "clouds.npz", *X)
    for method in ("global", "linear"):
        model.certify(X, method=method).save(place / f"{method}.cert.json")
    return place


def words(place: Path, name: str = "global.cert.json") -> list[str]:
    own = ["--model", str(place / "model.srn"), "--clouds", str(place / "clouds.npz")]
    return ["check", str(place / name), *own]


@pytest.mark.parametrize("name", MODELS)
def test_accepts_what_was_certified(name: str, tmp_path: Path) -> None:
    model, X = fit(name)
    model.save(tmp_path / "model.srn")
    np.savez(tmp_path / "clouds.npz", *X)
    certified = 0
    for threat in THREATS:
        for method in ("global", "interval", "linear"):
            if name == "half lengths" and method == "linear":
                continue  # distance neurons are not relaxed by the checker
            certificates = model.certify(X, threat, method=method)
            certificates.save(tmp_path / "file.cert.json")
            verdict = check_files(
                *(tmp_path / own for own in ("file.cert.json", "model.srn", "clouds.npz"))
            )
            assert verdict.accepted, f"{threat}, {method}: {verdict}"
            assert verdict.n_clouds == len(X)
            certified += int((certificates.radius > 0).sum())
    assert certified > 50


def test_torch_is_not_imported(folder: Path) -> None:
    code = (
        "import sys; from stablerank.cli import main; code = main(sys.argv[1:]);"
        "assert 'stablerank.checker.check' in sys.modules;"
        "assert not {'torch', 'sklearn', 'numba', 'stablerank.nn', 'stablerank.ranks',"
        "'stablerank.certify', 'stablerank.diagrams'} & {*sys.modules}, 'too much is imported';"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words(folder)], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "accepted: all 12 certificates were derived again.\n"


@pytest.mark.parametrize(
    "before",
    ["", "import stablerank.certify", "import stablerank.estimators", "import stablerank.nn"],
)
def test_certify_is_the_function_whatever_was_imported_first(before: str) -> None:
    code = f"{before}\nfrom stablerank import certify\nassert certify.__name__ == 'certify'"
    code += "\nassert callable(certify)\nimport stablerank\nassert stablerank.certify is certify"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def copied(folder: Path, place: Path) -> Path:
    for path in folder.iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    return place


def scale_radius(factor: float, i: int = 3) -> Change:
    def change(content: dict[str, Any]) -> None:
        cloud = content["clouds"][i]
        cloud["radius"] = (float.fromhex(cloud["radius"]) * factor).hex()

    return change


def other_prediction(content: dict[str, Any]) -> None:
    cloud = content["clouds"][3]
    cloud["prediction"] = "small" if cloud["prediction"] == "large" else "large"


def another_route(content: dict[str, Any]) -> None:
    content["clouds"][3]["route"] = "votes"


def smaller_constant(content: dict[str, Any]) -> None:
    content["constant"] = (float.fromhex(content["constant"]) / 2).hex()


def smaller_link(content: dict[str, Any]) -> None:
    content["chain"][-1]["constant"] /= 2


CHANGES: dict[str, Change] = {
    "radius raised": scale_radius(1.25),
    "radius lowered": scale_radius(0.5),
    "prediction": other_prediction,
    "route": another_route,
    "constant": smaller_constant,
    "link": smaller_link,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_file_has_another_digest(folder: Path, tmp_path: Path, name: str) -> None:
    place = copied(folder, tmp_path)
    path = place / "global.cert.json"
    content = json.loads(path.read_bytes())
    before = copy.deepcopy(content)
    CHANGES[name](content)
    assert content != before
    path.write_text(json.dumps(content, indent=1) + "\n")
    verdict = check_files(path, place / "model.srn", place / "clouds.npz")
    assert not verdict.accepted
    assert verdict.claim == "digest of the file"
    with pytest.raises(ValueError, match="damaged: digest of the file"):
        Certificates.load(path)


@pytest.mark.parametrize(
    ("name", "claim", "cloud"),
    [
        ("radius raised", "radius", 3),
        ("prediction", "prediction", 3),
        ("route", "route", 3),
        ("constant", "constant", None),
        ("link", "link", None),
    ],
)
@pytest.mark.parametrize("method", ["global", "linear"])
def test_a_new_digest_does_not_help(
    folder: Path, tmp_path: Path, name: str, claim: str, cloud: int | None, method: str
) -> None:
    place = copied(folder, tmp_path)
    path = place / f"{method}.cert.json"
    rewrite(path, lambda content: None)
    assert check_files(path, place / "model.srn", place / "clouds.npz").accepted
    rewrite(path, CHANGES[name])
    verdict = check_files(path, place / "model.srn", place / "clouds.npz")
    assert (verdict.accepted, verdict.claim, verdict.cloud) == (False, claim, cloud)


def test_a_radius_raised_in_its_eleventh_digit_is_not_derived(folder: Path, tmp_path: Path) -> None:
    place = copied(folder, tmp_path)
    rewrite(place / "global.cert.json", scale_radius(1 + 1e-11))
    verdict = check_files(place / "global.cert.json", place / "model.srn", place / "clouds.npz")
    assert (verdict.claim, verdict.cloud) == ("radius", 3)


def test_another_clouds_certificate(folder: Path, tmp_path: Path) -> None:
    place = copied(folder, tmp_path)

    def exchange(content: dict[str, Any]) -> None:
        content["clouds"][2], content["clouds"][4] = content["clouds"][4], content["clouds"][2]

    rewrite(place / "global.cert.json", exchange)
    verdict = check_files(place / "global.cert.json", place / "model.srn", place / "clouds.npz")
    assert (verdict.claim, verdict.cloud) == ("digest of the cloud", 2)


def test_the_radius_of_another_cloud(folder: Path, tmp_path: Path) -> None:
    place = copied(folder, tmp_path)
    own = Certificates.load(place / "global.cert.json").radius
    least, largest = int(own.argmin()), int(own.argmax())

    def exchange(content: dict[str, Any]) -> None:
        content["clouds"][least]["radius"] = content["clouds"][largest]["radius"]

    rewrite(place / "global.cert.json", exchange)
    verdict = check_files(place / "global.cert.json", place / "model.srn", place / "clouds.npz")
    assert (verdict.claim, verdict.cloud) == ("radius", least)


def test_a_bit_of_the_model(folder: Path, tmp_path: Path) -> None:
    place = copied(folder, tmp_path)
    data = bytearray((place / "model.srn").read_bytes())
    data[-3] ^= 1
    (place / "model.srn").write_bytes(data)
    verdict = check_files(place / "global.cert.json", place / "model.srn", place / "clouds.npz")
    assert verdict.claim == "digest of the model"


def test_a_bit_of_a_cloud(folder: Path, tmp_path: Path) -> None:
    place = copied(folder, tmp_path)
    X, _ = clouds()
    X[5][0, 0] = np.nextafter(X[5][0, 0], 9)
    np.savez(place / "clouds.npz", *X)
    verdict = check_files(place / "global.cert.json", place / "model.srn", place / "clouds.npz")
    assert (verdict.claim, verdict.cloud) == ("digest of the cloud", 5)


def test_every_byte_counts(folder: Path, tmp_path: Path, seed: int) -> None:
    place = copied(folder, tmp_path)
    rng = np.random.default_rng(seed)
    for name in ("global.cert.json", "model.srn"):
        whole = (place / name).read_bytes()
        for where in rng.integers(len(whole), size=25).tolist():
            data = bytearray(whole)
            data[where] ^= 1 << int(rng.integers(8))
            (place / name).write_bytes(data)
            assert not check_files(
                place / "global.cert.json", place / "model.srn", place / "clouds.npz"
            ).accepted
        (place / name).write_bytes(whole)


@pytest.mark.parametrize("name", ["radius", "constant", "p"])
def test_numbers_beyond_floats_are_refused(folder: Path, tmp_path: Path, name: str) -> None:
    """They once ended in an OverflowError, since float.fromhex raises no ValueError for them."""
    place = copied(folder, tmp_path)
    path = place / "global.cert.json"

    def overflow(content: dict[str, Any]) -> None:
        (content["clouds"][3] if name == "radius" else content)[name] = "0x1p99999"

    rewrite(path, overflow)
    assert not check_files(path, place / "model.srn", place / "clouds.npz").accepted
    with pytest.raises(ValueError, match="too large"):
        Certificates.load(path)


def test_exit_codes(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = copied(folder, tmp_path)
    assert main([*words(place), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_clouds"] == 12
    rewrite(place / "global.cert.json", scale_radius(2.0))
    assert main(words(place)) == 1
    assert "not accepted: radius of cloud 3" in capsys.readouterr().out
    assert main(words(place, "missing.json")) == 2


@pytest.mark.parametrize("name", ["global.cert.json", "model.srn", "clouds.npz"])
def test_files_that_are_damaged_or_of_others_are_bad_input(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    place = copied(folder, tmp_path)
    if name == "clouds.npz":
        np.savez(place / name, *clouds()[0][::-1])
    else:
        data = bytearray((place / name).read_bytes())
        data[-3] ^= 1
        (place / name).write_bytes(data)
    assert main(words(place)) == 2
    assert capsys.readouterr().out.startswith("not accepted: digest of the ")


def test_what_cannot_be_derived_is_not_checked(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another threat, another route: whoever knows them may accept, and nobody else does."""
    place = copied(folder, tmp_path)
    rewrite(place / "global.cert.json", another_route)
    verdict = check_files(place / "global.cert.json", place / "model.srn", place / "clouds.npz")
    assert (verdict.accepted, verdict.checked, verdict.claim) == (False, False, "route")
    assert main(words(place)) == 1
    assert capsys.readouterr().out.startswith("not checked: route of cloud 3: ")


def test_certificates_know_their_clouds(tmp_path: Path) -> None:
    model, X = fit("alpha")
    certificates = model.certify(X)
    certificates[3:7].save(tmp_path / "some.cert.json")
    loaded = Certificates.load(tmp_path / "some.cert.json")
    for name in ("radius", "prediction", "margin", "route"):
        assert (getattr(loaded, name) == getattr(certificates[3:7], name)).all()
    assert loaded.chain == certificates.chain
    loaded[1:].save(tmp_path / "fewer.cert.json")
    model.save(tmp_path / "model.srn")
    np.savez(tmp_path / "clouds.npz", *X[4:7])
    files = [tmp_path / name for name in ("fewer.cert.json", "model.srn", "clouds.npz")]
    assert check_files(*files).accepted
    model.fit(*clouds())
    with pytest.raises(ValueError, match="fitted again"):
        certificates.save(tmp_path / "late.cert.json")
    diagrams = CloudDiagrams.compute(model.pipeline_[0], X)
    with pytest.raises(ValueError, match="do not know their clouds"):
        model.certify(diagrams).save(tmp_path / "diagrams.cert.json")
    assert not (tmp_path / "late.cert.json").exists()


@pytest.mark.parametrize(("kind", "threat"), [("votes", "deletion"), ("alpha", "W3")])
def test_files_of_votes_and_of_diagrams_are_read_again(
    certified: Callable[[str], Certified], tmp_path: Path, kind: str, threat: str
) -> None:
    claims = certified(kind).write(tmp_path, threat, "best")
    loaded = Certificates.load(tmp_path / "file.cert.json")
    assert (loaded.radius == claims.radius).all()
    before = (tmp_path / "file.cert.json").read_bytes()
    loaded.save(tmp_path / "file.cert.json")
    assert (tmp_path / "file.cert.json").read_bytes() == before
    for part in (claims, loaded):
        part[2:5].save(tmp_path / "file.cert.json")
        with np.load(tmp_path / "clouds.npz") as archive:
            items = [archive[f"arr_{i}"] for i in (2, 3, 4)]
        np.savez(tmp_path / "some.npz", *items)
        files = ("file.cert.json", "model.srn", "some.npz")
        assert check_files(*(tmp_path / name for name in files)).accepted


def test_votes_of_other_models_are_not_saved(tmp_path: Path) -> None:
    X, y = clouds(n=4)
    model = StableRankClassifier(max_epochs=2, network__hidden=(4,), random_state=0, n_ranks=3)
    votes = HashedVotes(model, n_parts=3).fit(X, y)
    claims = certify(votes, X, threat="deletion")
    votes.n_parts = 4  # what was certified is written, not what it has become
    claims.save(tmp_path / "file.cert.json")
    content = json.loads((tmp_path / "file.cert.json").read_bytes())
    assert content["votes"]["n_parts"] == 3
    votes.fit(X, y)
    with pytest.raises(ValueError, match="fitted again"):
        claims.save(tmp_path / "late.cert.json")
    nested = HashedVotes(HashedVotes(model, n_parts=2), n_parts=3).fit(X, y)
    with pytest.raises(ValueError, match="not of a HashedVotes"):
        certify(nested, X, threat="deletion").save(tmp_path / "nested.cert.json")


def test_rips_models_are_of_edges() -> None:
    """Rips bars are recomputed by another program than ours: GUDHI's simplex trees."""
    from stablerank.checker.diagrams import diagrams
    from stablerank.checker.model_file import Stage

    X, _ = clouds()
    parameters = {"homology_dimensions": [0, 1], "metric": "euclidean"}
    own = diagrams(Stage("rips", parameters, {"dimension_": 2}), X[0])
    ours = RipsPersistence((0, 1)).fit_transform(X[:1])
    for k in (0, 1):
        lengths = np.sort(own[k].bars[:, 1] - own[k].bars[:, 0])[::-1]
        expected = ours.diagram(0, k)
        assert np.allclose(lengths, expected[:, 1] - expected[:, 0], rtol=1e-14, atol=1e-14)

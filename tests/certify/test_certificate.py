"""Certificates: what they claim, count and print."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import numpy as np
import pytest

from stablerank import Bound, Certificates, StabilityChain
from stablerank.stability import HAUSDORFF, LINF

CHAIN = StabilityChain(Bound(HAUSDORFF, LINF, 2.5, "a <theorem>"))


def certificates(radius: Any = (0.0, 0.1, 0.2, 0.3), **changed: Any) -> Certificates:
    n = len(radius)
    arguments: dict[str, Any] = {
        "radius": np.array(radius, dtype=np.float64),
        "prediction": np.array(["a", "b", "<i>", "b"] * n)[:n],
        "margin": np.arange(n, dtype=np.float64),
        "threat": "hausdorff",
        "unit": "Hausdorff distance",
        "chain": CHAIN,
        **changed,
    }
    return Certificates(**arguments)


# Closed form.


def test_certified_accuracy_by_hand() -> None:
    # Right are clouds 0, 1 and 3, with radii 0, 0.1 and 0.3; cloud 2 is wrong.
    y = ["a", "b", "b", "b"]
    claims = certificates()
    assert claims.certified_accuracy(y, 0.05) == 0.5
    assert claims.certified_accuracy(y, 0.15) == 0.25
    assert claims.certified_accuracy(y, 0.5) == 0.0
    shares = claims.certified_accuracy(y, [[0.05, 0.15], [0.25, 0.5]])
    assert shares.tolist() == [[0.5, 0.25], [0.25, 0.0]]


def test_the_radius_itself_is_not_certified() -> None:
    # Balls are open: at the radius two classes may tie.
    y = ["a", "b", "b", "b"]
    claims = certificates()
    assert claims.certified_accuracy(y, 0.3) == 0.0
    assert claims.certified_accuracy(y, np.nextafter(0.3, 0)) == 0.25
    # a radius of 0 claims nothing, not even that the prediction is right
    assert claims.certified_accuracy(y, 0.0) == 0.5


def test_certified_accuracy_falls_with_epsilon_and_stays_below_accuracy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    claims = certificates(rng.exponential(size=50) * (rng.random(50) < 0.8))
    y = rng.choice(["a", "b", "<i>"], size=50)
    shares = claims.certified_accuracy(y, np.linspace(0, 4, 30))
    assert (np.diff(shares) <= 0).all()
    assert shares[0] <= (claims.prediction == y).mean()


# The contract.


def test_indexing() -> None:
    claims = certificates()
    assert len(claims) == 4
    assert claims[1:3].radius.tolist() == [0.1, 0.2]
    assert claims[[3, 0]].prediction.tolist() == ["b", "a"]
    assert claims[claims.radius > 0.15].margin.tolist() == [2.0, 3.0]
    last = claims[-1]
    assert (len(last), last.radius.tolist(), last.threat) == (1, [0.3], "hausdorff")
    assert last.chain is CHAIN
    assert len(claims[[]]) == 0
    with pytest.raises(IndexError):
        claims[4]


def test_they_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        certificates().threat = "per_point"  # type: ignore[misc]


def test_the_table() -> None:
    text = str(certificates([0.25] * 12))
    assert "threat                    hausdorff" in text
    assert "unit of the radius        Hausdorff distance" in text
    assert "certified (radius > 0)    12" in text
    assert "median radius             0.25" in text
    assert "global, constant 2.5" in text
    assert "… and 2 more" in text
    assert len(text.splitlines()) == 6 + 2 + 10 + 1
    assert "…" not in str(certificates())


def test_the_page_is_escaped() -> None:
    page = certificates()._repr_html_()
    assert page.count("<tr>") == 5
    assert "&lt;i&gt;" in page
    assert "<i>" not in page


def test_plain_data() -> None:
    data = certificates().to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["radius"] == [0.0, 0.1, 0.2, 0.3]
    assert data["method"] == "global"
    assert StabilityChain.from_json(json.dumps(data["chain"])) == CHAIN


def test_no_clouds_at_all() -> None:
    claims = certificates([])
    assert "clouds                    0" in str(claims)
    with pytest.raises(ValueError, match="There are no certificates"):
        claims.certified_accuracy([], 0.1)


def test_closed_certificates_stay_closed_side_by_side() -> None:
    # they were open afterwards, and radius 2 said nothing of 2 points
    points = certificates([2.0], prediction=np.array(["a"]), margin=np.ones(1), closed=True)
    joined = Certificates.concatenate([points, points])
    assert joined.closed
    assert joined.certified_accuracy(["a", "a"], 2) == points.certified_accuracy(["a"], 2) == 1.0
    with pytest.raises(ValueError, match="2 different claims"):
        Certificates.concatenate([points, dataclasses.replace(points, closed=False)])


# Errors.


@pytest.mark.parametrize("epsilon", [-0.1, np.nan, [0.1, -1e-300], [0.1, np.nan]])
def test_epsilons_are_checked(epsilon: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"epsilon={epsilon!r}: expected numbers >= 0.")):
        certificates().certified_accuracy(["a"] * 4, epsilon)


@pytest.mark.parametrize(("y", "shape"), [(["a"], (1,)), ("abcd", ()), ([["a"] * 4], (1, 4))])
def test_labels_are_counted(y: Any, shape: tuple[int, ...]) -> None:
    message = f"y has shape {shape}, but there are 4 certificates: expected one label a cloud."
    with pytest.raises(ValueError, match=re.escape(message)):
        certificates().certified_accuracy(y, 0.1)


@pytest.mark.parametrize("radius", [[-0.1, 0.0], [np.nan, 0.0]])
def test_radii_are_checked(radius: list[float]) -> None:
    with pytest.raises(ValueError, match=re.escape("A certified radius is never negative or NaN.")):
        certificates(radius)


def test_lengths_have_to_fit() -> None:
    with pytest.raises(ValueError, match="radius, prediction and margin need one entry a cloud"):
        certificates(margin=np.zeros(3))

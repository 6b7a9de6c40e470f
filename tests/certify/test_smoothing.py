"""Smoothed classifiers whose exact radius is known, and what the certificate says of them."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, optimize, stats
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from stablerank import (
    AlphaPersistence,
    Certificates,
    LipschitzClassifier,
    StabilityError,
    StableRank,
    StableRankClassifier,
)
from stablerank.attack import attack
from stablerank.certify import SmoothedClassifier, certify, smoothing
from stablerank.certify.confidence import binomial_upper
from stablerank.checker import check_files
from stablerank.checker.file_format import read_certificates, with_digest
from stablerank.stability import FROBENIUS

Cloud = NDArray[np.float64]
Fitted = tuple[StableRankClassifier, list[Cloud], NDArray[np.int64]]
MakeThreshold = Callable[..., LipschitzClassifier]
DIRECTION = np.array([[1.0, 0.0], [-2.0, 1.0], [0.0, 3.0]])
ALPHA = 0.05


class HalfSpace(BaseEstimator):
    """Is ⟨DIRECTION, X⟩ positive? So the smoothed one asks too, at whatever noise."""

    classes_ = np.array(["no", "yes"])

    def predict(self, X: Any) -> NDArray[Any]:
        return self.classes_[(np.array(X) * DIRECTION).sum(axis=(1, 2)).__gt__(0).astype(int)]


class Sectors(BaseEstimator):
    """Which of three directions of the plane, 120° apart, is nearest to the first point?

    Noise has no direction: by reflection the smoothed classifier has the same borders.
    """

    classes_ = np.array([10, 20, 30])

    def predict(self, X: Any) -> NDArray[Any]:
        return self.classes_[scores(np.array(X)[:, 0]).argmax(axis=1)]


def scores(points: NDArray[np.float64]) -> NDArray[np.float64]:
    angles = np.pi / 2 + 2 * np.pi / 3 * np.arange(3)
    return np.asarray(points @ np.stack([np.cos(angles), np.sin(angles)]))


def around_the_border(n: int, seed: int) -> tuple[list[Cloud], NDArray[np.float64]]:
    """Clouds and their distances from the border of the half space, up to two deviations of 1."""
    rng = np.random.default_rng([seed, 7])
    unit = DIRECTION / np.linalg.norm(DIRECTION)
    clouds = rng.normal(size=(n, 3, 2))
    distances = rng.uniform(0.02, 2.0, size=n)
    own = (clouds * unit).sum(axis=(1, 2)) - distances * rng.choice([-1, 1], size=n)
    return list(clouds - own[:, None, None] * unit), distances


def in_sectors(n: int, seed: int) -> tuple[list[Cloud], NDArray[np.float64]]:
    rng = np.random.default_rng([seed, 8])
    clouds = rng.normal(size=(n, 2, 2))
    best = np.sort(scores(clouds[:, 0]), axis=1)
    # the border of two of them is where their scores are equal; the directions are √3 apart
    return list(clouds), (best[:, 2] - best[:, 1]) / np.sqrt(3)


PROBLEMS: dict[str, tuple[Any, Any]] = {
    "half space": (HalfSpace(), around_the_border),
    "sectors": (Sectors(), in_sectors),
}


def share_beyond(name: str, seed: int, n_clouds: int = 500) -> tuple[float, int]:
    """How many certificates are larger than the exact radius of the smoothed classifier."""
    classifier, make = PROBLEMS[name]
    X, exact = make(n_clouds, seed)
    smoothed = SmoothedClassifier(
        classifier, 1.0, n_samples=120, n_selection=20, alpha=ALPHA, random_state=seed
    )
    claims = smoothed.certify(X)
    right = claims.prediction == classifier.predict(X)
    wrong = (claims.radius > exact) | (~right & (claims.radius > 0))
    return float(wrong.mean()), int((claims.radius > 0).sum())


@pytest.mark.parametrize("name", PROBLEMS)
def test_certificates_fail_as_rarely_as_they_say(name: str, seed: int) -> None:
    # of 500, α = 0.05: 25 on average, and beyond 50 once in a million
    share, certified = share_beyond(name, seed)
    assert share <= 0.1
    assert certified > 250


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_law_above_can_fail(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:  # the factor ½ is left out
        radii = smoothing.label_radii
        patch.setattr(smoothing, "label_radii", lambda p, q, s: 2 * radii(p, q, s))
        assert share_beyond(name, seed)[0] > 0.2
    with monkeypatch.context() as patch:  # the upper bound in place of the lower one
        patch.setattr(smoothing, "binomial_lower", binomial_upper)
        assert share_beyond(name, seed)[0] > 0.2


def test_many_draws_approach_the_exact_radius(seed: int) -> None:
    X, exact = around_the_border(12, seed)
    shares = [
        np.median(SmoothedClassifier(HalfSpace(), 1.0, n, random_state=seed).certify(X).radius)
        / np.median(exact)
        for n in (50, 1000, 20_000)
    ]
    assert shares[0] < shares[1] < shares[2] < 1
    assert shares[2] > 0.93


def test_by_hand() -> None:
    # All 30 draws agree: p_A >= α^(1/30), and two labels need no other bound.
    X = [100 * DIRECTION]
    claims = SmoothedClassifier(HalfSpace(), 2.0, n_samples=30, alpha=0.1).certify(X)
    assert claims.radius[0] == pytest.approx(2 * stats.norm.ppf(0.1 ** (1 / 30)), rel=1e-7)
    assert claims.prediction.tolist() == ["yes"]
    assert claims.draws is not None
    assert claims.draws.counts.tolist() == [[0, 30]]
    assert (claims.margin.tolist(), claims.route.tolist()) == ([1.0], ["smoothing"])
    # of three labels the level is halved; p_B is at most 1 − p_A, here the smaller one
    X = [np.array([[0.0, 100.0]])]
    claims = SmoothedClassifier(Sectors(), 2.0, n_samples=30, alpha=0.1).certify(X)
    assert claims.radius[0] == pytest.approx(2 * stats.norm.ppf(0.05 ** (1 / 30)), rel=1e-7)


def test_abstains_where_labels_tie(seed: int) -> None:
    smoothed = SmoothedClassifier(HalfSpace(), 1.0, n_samples=100, random_state=seed)
    ties = list(np.random.default_rng(seed).normal(size=(40, 3, 2)))
    unit = DIRECTION / np.linalg.norm(DIRECTION)
    ties = [cloud - (cloud * unit).sum() * unit for cloud in ties]
    assert all(label is None for label in smoothed.predict(ties))
    claims = smoothed.certify(ties)
    assert (claims.radius == 0).all()
    assert claims.certified_accuracy(claims.prediction, 0.0) == 0
    assert smoothed.score(ties, ["no"] * 40) == 0

    class Coin(HalfSpace):  # exactly half of the draws each
        def predict(self, X: Any) -> NDArray[Any]:
            return np.resize(self.classes_, len(X))

    assert SmoothedClassifier(Coin(), 1.0, n_samples=10, alpha=0.9).predict(ties)[0] is None


def test_draws_depend_on_the_cloud_and_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    X, _ = around_the_border(6, 0)

    def shares(X: list[Cloud], **settings: Any) -> NDArray[np.float64]:
        own = {"n_samples": 300, "random_state": 3, **settings}
        return SmoothedClassifier(HalfSpace(), 1.0, **own).predict_proba(X)

    once = shares(X)
    assert (shares(X) == once).all()
    assert (shares(X[::-1])[::-1] == once).all()
    assert (shares(X[2:3]) == once[2:3]).all()
    assert (shares(X, n_jobs=2) == once).all()
    assert (shares(X, random_state=4) != once).any()
    assert (shares(X, random_state=None) != shares(X, random_state=None)).any()
    monkeypatch.setattr(smoothing, "_POINTS_AT_ONCE", 7)
    assert (shares(X) == once).all()


def test_selection_estimation_and_prediction_have_draws_of_their_own() -> None:
    X, _ = around_the_border(20, 1)
    counts = []
    for n_selection in (1, 50):
        smoothed = SmoothedClassifier(
            HalfSpace(), 1.0, n_samples=100, n_selection=n_selection, random_state=0
        )
        draws = smoothed.certify(X).draws
        assert draws is not None
        counts.append(draws.counts)
    assert (counts[0] == counts[1]).all()
    assert (smoothed.predict_proba(X) * 100 != counts[0]).any()


def test_contract() -> None:
    smoothed = SmoothedClassifier(HalfSpace(), 1.0, n_samples=50, random_state=0)
    assert is_classifier(smoothed)
    assert clone(smoothed).get_params()["sigma"] == 1.0
    X, _ = around_the_border(3, 2)
    kept = [cloud.copy() for cloud in X]
    for cloud in X:
        cloud.setflags(write=False)
    once = smoothed.predict_proba(X)
    assert (np.array(X) == np.array(kept)).all()
    assert (pickle.loads(pickle.dumps(smoothed)).predict_proba(np.array(X)) == once).all()
    assert once.sum(axis=1) == pytest.approx(1)
    single = [cloud.astype(np.float32) for cloud in X]
    doubled = [cloud.astype(np.float64) for cloud in single]
    assert (smoothed.predict_proba(single) == smoothed.predict_proba(doubled)).all()
    right = smoothed.predict(X) == HalfSpace().predict(X)
    assert smoothed.score(X, HalfSpace().predict(X)) == pytest.approx(right.mean())
    weights = [1.0, 0.0, 0.0]
    assert smoothed.score(X, HalfSpace().predict(X), weights) == float(right[0])


def test_certificates_say_what_they_rest_on() -> None:
    X, _ = around_the_border(4, 3)
    smoothed = SmoothedClassifier(HalfSpace(), 1.0, n_samples=50, random_state=0)
    claims = smoothed.certify(X)
    assert claims.threat == "frobenius"
    line = "0.001 for each cloud: labels of 50 draws, σ = 1"
    assert line in str(claims)
    assert line in claims._repr_html_()
    part = claims[[2, 0]]
    assert part.draws is not None
    assert claims.draws is not None
    assert (part.draws.counts == claims.draws.counts[[2, 0]]).all()
    whole = Certificates.concatenate([claims[:1], claims[1:]])
    assert whole.draws is not None
    assert (whole.draws.counts == claims.draws.counts).all()
    assert whole.to_dict() == claims.to_dict()
    assert claims.to_dict()["draws"]["sigma"] == 1.0
    other = smoothed.set_params(alpha=0.1).certify(X)
    with pytest.raises(ValueError, match="2 different claims"):
        Certificates.concatenate([claims, other])


def test_files_keep_the_draws_and_are_not_checked(fitted: Fitted, tmp_path: Path) -> None:
    model, X, _ = fitted
    smoothed = SmoothedClassifier(model, 0.02, n_samples=30, n_selection=10, random_state=0)
    claims = smoothed.certify(X[:3])
    path, weights, clouds = (tmp_path / name for name in ("own.cert.json", "m.srn", "x.npz"))
    claims.save(path)
    model.save(weights)
    np.savez(clouds, *X[:3])
    loaded = Certificates.load(path)
    assert loaded.to_dict() == claims.to_dict()
    verdict = check_files(path, weights, clouds)
    assert (verdict.accepted, verdict.checked, verdict.claim) == (False, False, "draws")
    assert "not checked: draws" in str(verdict)

    def without(*names: str, **changed: Any) -> str:
        content = read_certificates(path.read_bytes())
        for cloud in content["clouds"]:
            cloud.update(radius=cloud["radius"].hex(), margin=cloud["margin"].hex())
            cloud.update({k: v for k, v in changed.items() if k in cloud})
        for name in ("sha256", *names):
            del content[name]
        content.update({k: v for k, v in changed.items() if k in content})
        (tmp_path / "forged.json").write_bytes(with_digest(content))
        verdict = check_files(tmp_path / "forged.json", weights, clouds)
        assert not verdict.accepted
        return str(verdict.claim)

    # whoever hides that it is by draws is not believed either
    assert without("draws") == "draws"
    assert without("draws", method="best") == "route"
    large = {"route": "global", "radius": (10.0).hex()}
    assert without("draws", method="global", **large) in ("radius", "margin", "prediction")


def test_attacks_do_not_change_certified_labels(fitted: Fitted) -> None:
    model, X, _ = fitted
    some = X[:3]
    smoothed = SmoothedClassifier(model, 0.05, n_samples=80, n_selection=20, random_state=1)
    claims = smoothed.certify(some)
    assert (claims.radius > 0).any()
    for method in ("random", "coordinate"):
        result = attack(
            smoothed,
            some,
            claims.prediction,
            threat="frobenius",
            radius=claims.radius,
            method=method,
            n_queries=10,
            random_state=0,
        )
        pairs = zip(result.prediction, claims.prediction, strict=True)
        kept = [p is None or p == c for p, c in pairs]
        assert all(kept)


def test_an_attack_finds_the_border_just_beyond(seed: int) -> None:
    """The attack is one that can succeed: well beyond the exact radius labels change."""
    X, exact = around_the_border(4, seed)
    smoothed = SmoothedClassifier(HalfSpace(), 0.3, n_samples=200, random_state=seed)
    claims = smoothed.certify(X)

    def changed(radius: NDArray[np.float64]) -> NDArray[np.bool_]:
        result = attack(
            smoothed,
            X,
            claims.prediction,
            threat="frobenius",
            radius=radius,
            n_queries=120,
            random_state=0,
        )
        pairs = zip(result.prediction, claims.prediction, strict=True)
        return np.array([p is not None and p != c for p, c in pairs])

    assert not changed(claims.radius).any()
    assert changed(3 * exact + 1.0).any()


TEMPERATURE, BORDER = 2.0, 1.0


def pairs_model(threshold: MakeThreshold) -> Any:
    """Are two points further apart than 2? Alpha's one death is half of that."""
    X = [np.array([[0.0, 0.0], [2.0, 0.0]])]
    steps = [AlphaPersistence((0,)).fit(X)]
    steps.append(StableRank(n_ranks=1).fit(steps[0].transform(X)))
    return make_pipeline(*steps, threshold(1, 0, BORDER))


def smoothed_gap(length: float, sigma: float) -> float:
    """E tanh(τ(ℓ/2 − 1)) for the noisy length ℓ, which has Rice's distribution."""
    scale = np.sqrt(2) * sigma
    law = stats.rice(length / scale, scale=scale)
    ends = max(0.0, length - 9 * scale), length + 9 * scale
    return float(
        integrate.quad(
            lambda t: np.tanh(TEMPERATURE * (t / 2 - BORDER)) * law.pdf(t), *ends, epsabs=1e-10
        )[0]
    )


@pytest.mark.parametrize("sigma", [0.02, 0.3])
def test_scores_are_certified_up_to_where_they_tie(
    threshold: MakeThreshold, sigma: float, seed: int
) -> None:
    # The gap rises with the length and ties at t: both points move by |ℓ − t|/2, |ℓ − t|/√2 in all
    tie = optimize.brentq(lambda length: smoothed_gap(length, sigma), 1.0, 3.0, xtol=1e-10)
    rng = np.random.default_rng(seed)
    lengths = tie + rng.uniform(-1.0, 1.5, size=60)
    X = [np.array([[0.0, 0.0], [length, 0.0]]) + 0.1 for length in lengths]
    exact = np.abs(lengths - tie) / np.sqrt(2)
    settings = {"n_samples": 400, "alpha": ALPHA, "random_state": seed}
    model = pairs_model(threshold)
    claims = SmoothedClassifier(model, sigma, temperature=TEMPERATURE, **settings).certify(X)
    assert (claims.radius > exact).mean() <= ALPHA
    share = np.median(claims.radius / exact)
    assert share > (0.6 if sigma < 0.1 else 0.3)
    counted = SmoothedClassifier(model, sigma, **settings).certify(X)
    if sigma < 0.1:  # counted labels see no further than some deviations
        assert np.median(claims.radius) > 3 * np.median(counted.radius)
    labels = SmoothedClassifier(model, sigma, temperature=TEMPERATURE, **settings).predict(X)
    sure = np.array([label is not None for label in labels])
    assert sure.mean() > 0.5
    assert (labels[sure] == (lengths > tie)[sure]).all()


def test_the_law_of_scores_can_fail(
    threshold: MakeThreshold, monkeypatch: pytest.MonkeyPatch
) -> None:
    sigma = 0.02
    tie = optimize.brentq(lambda length: smoothed_gap(length, sigma), 1.0, 3.0, xtol=1e-10)
    lengths = tie + np.linspace(0.3, 0.6, 10)
    X = [np.array([[0.0, 0.0], [length, 0.0]]) for length in lengths]
    exact = (lengths - tie) / np.sqrt(2)
    smoothed = SmoothedClassifier(
        pairs_model(threshold), sigma, n_samples=3000, temperature=TEMPERATURE, random_state=0
    )
    assert (smoothed.certify(X).radius <= exact).all()
    radii = smoothing.score_radii
    monkeypatch.setattr(smoothing, "score_radii", lambda p, k, s, e=0: radii(p, k / 2, s, e))
    assert (smoothed.certify(X).radius > exact).all()


def test_errors() -> None:
    X, _ = around_the_border(2, 0)

    def message(text: str, **settings: Any) -> None:
        with pytest.raises(ValueError, match=re.escape(text)):
            SmoothedClassifier(HalfSpace(), **{"sigma": 1.0, **settings}).predict(X)

    message("sigma=0: expected a positive finite number.", sigma=0)
    message("sigma=True: expected a positive finite number.", sigma=True)
    message("n_samples=1: expected an integer >= 2.", n_samples=1)
    message("n_selection=0: expected an integer >= 1.", n_selection=0)
    message("alpha=1: expected a probability between 0 and 1.", alpha=1)
    message("temperature=-1.0: expected a positive finite number.", temperature=-1.0)
    message("random_state=-1: expected an integer >= 0, or None.", random_state=-1)
    message("n_jobs=0: expected a number of workers", n_jobs=0)
    message("of X[0] of", sigma=1e-12)
    with pytest.raises(ValueError, match=re.escape("X[1] has 1 of 3 points with NaN")):
        SmoothedClassifier(HalfSpace(), 1.0).certify(
            [X[0], np.array([[1, np.nan], [0, 0], [1, 1]])]
        )
    with pytest.raises(StabilityError, match="has no constant: its certificates are those of its"):
        SmoothedClassifier(HalfSpace(), 1.0).stability(FROBENIUS)
    with pytest.raises(StabilityError, match="HalfSpace has no logits: leave out `temperature`"):
        SmoothedClassifier(HalfSpace(), 1.0, temperature=1.0).certify(X)

    class Strange(HalfSpace):
        def predict(self, X: Any) -> NDArray[Any]:
            return np.full(len(X), "maybe")

    with pytest.raises(ValueError, match=re.escape("predicts np.str_('maybe'), which is none")):
        SmoothedClassifier(Strange(), 1.0).predict(X)


def test_what_is_not_fitted_is_refused() -> None:
    X, _ = around_the_border(2, 0)
    with pytest.raises((NotFittedError, AttributeError)):
        SmoothedClassifier(StableRankClassifier(), 1.0).predict(X)


def test_certify_asks_the_smoothed_classifier_itself() -> None:
    clouds = [np.full((5, 2), 3.0), np.full((5, 2), -3.0)]
    smoothed = SmoothedClassifier(ToTheRight(), sigma=0.5, n_samples=50, random_state=0)
    own = smoothed.certify(clouds)
    assert (certify(smoothed, clouds, threat="frobenius").radius == own.radius).all()
    with pytest.raises(StabilityError, match='not against "per_point"'):
        certify(smoothed, clouds)


class ToTheRight:
    classes_ = np.array([False, True])

    def predict(self, X: Any) -> Any:
        return np.array([cloud[:, 0].mean() > 0 for cloud in X])

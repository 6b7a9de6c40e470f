"""The benchmark of smoothing, on data so small that it takes seconds."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import smoothing
from stablerank import Certificates


def test_rows_are_in_order() -> None:
    rows = smoothing.run(1, n_per_class=4, n_points=40, n_samples=40, n_attacked=1, sigmas=(0.005,))
    assert list(rows) == ["constants", "labels, 0.005", "scores, 0.005"]
    for row in rows.values():
        certified = [row[f"certified {epsilon:g}"] for epsilon in smoothing.EPSILONS]
        assert certified == sorted(certified, reverse=True)
        assert certified[0] <= row["clean"] <= 1
        assert all(value >= 0 for value in row.values())
    constants = rows["constants"]
    assert constants["sure"] == constants["clean"]
    assert constants["broken 0.002"] == constants["broken 0.01"] == 0


def test_broken_certificates_are_counted() -> None:
    class Parity:
        """Sees the last bits: whatever moves changes the label, for some clouds."""

        def predict(self, X: Any) -> Any:
            return np.array([int(abs(cloud.sum()) * 2**40) % 2 for cloud in X])

    X = list(np.random.default_rng(0).normal(size=(20, 5, 2)))
    lies = Certificates(
        radius=np.full(20, 0.005),
        prediction=Parity().predict(X),
        margin=np.ones(20),
        threat="frobenius",
        unit="points",
        chain=None,
    )
    row = smoothing.attacked(Parity(), X, lies.prediction, lies, 20, seed=0)
    assert row["broken 0.002"] > 0.5
    assert row["broken 0.01"] == 0  # nothing is claimed there
    assert row["attacked 0.002"] < 0.5

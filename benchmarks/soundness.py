"""No certificate may break: every kind of model, threat and method, attacked within its radii.

Small models are trained in seconds on clusters and shells, afresh on each of several data sets. For
each threat that a model supports, and each method of certification, inputs are attacked at 0.999 of
their radii and at the largest number that is still below them (at the radius itself where it counts
points and is attained), by random search, by search, and along gradients where there are any. Every
displacement that a pipeline is asked about is one pair (cloud, displacement), at or inside the
radius; a pair whose prediction is not the certified one is a violation, and the command fails. An
input of radius 0 has no pairs; how many have more is counted, and no case may be without.

Counted points: clouds in which every point has a few others close by, and the distance to a measure
of many points, since otherwise one point would already be too many. The radii of "best" are
attacked by everything; those of the other methods, which are rarely larger, by fewer displacements.

Command: ``python -m benchmarks.soundness [--quick]`` (about a quarter of an hour), writes
``results/soundness.json``; ``--quick`` (one data set, a minute) asks little and writes nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks import record
from benchmarks.soundness_models import CASES, ON_DIAGRAMS, make_clouds
from stablerank import Certificates, certify
from stablerank.attack import attack
from stablerank.certify.pipeline import METHODS
from stablerank.stability import StabilityError

SEEDS = (0, 1, 2)
LEAST_PAIRS = 100_000
SHARES = (0.999, 1.0)
LEAST_FOR_GRADIENTS = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, few queries, no file")
    arguments = parser.parse_args()
    started = time.time()
    torch.set_num_threads(1)
    sizes, seeds = ((16, 6, 8), SEEDS[:1]) if arguments.quick else ((40, 10, 32), SEEDS)
    rows: list[dict[str, Any]] = []
    for name in CASES:
        clock = time.time()
        new = [row for seed in seeds for row in run(name, *sizes, seed=seed)]
        seconds = time.time() - clock
        print(f"{name:34} {_in_words(new)}, {seconds:.0f} s", flush=True)
        rows += new
    print(_in_words(rows))
    totals = summary(rows)
    if not arguments.quick:
        cases = {
            name: summary([row for row in rows if row["model"] == name], by_threat=True)
            for name in CASES
        }
        content = {"seeds": SEEDS, **totals, "cases": cases, "rows": rows}
        print(record.write("soundness", "benchmarks.soundness", started, content))
        if totals["pairs"] < LEAST_PAIRS:
            raise SystemExit(f"{totals['pairs']} pairs are fewer than {LEAST_PAIRS}.")
        idle = [name for name, case in cases.items() if not all(case["by_threat"].values())]
        if idle:
            raise SystemExit(f"No radius above 0 under some threat, so nothing was asked: {idle}.")
    if totals["violations"]:
        raise SystemExit(f"{totals['violations']} certificates broke.")


def run(
    name: str, n_train: int, n_clouds: int, n_queries: int, *, seed: int
) -> list[dict[str, Any]]:
    """One model: a row for each threat and method, with counts of pairs and violations."""
    case = CASES[name]
    clouds, y = make_clouds(n_train + n_clouds, case.d, case.n_points, seed)
    X = case.inputs(clouds)
    model = case.build(X[:n_train], y[:n_train])
    X = X[n_train:]
    rows = []
    for threat in case.threats:
        given = diagrams_of(model, X) if threat in ON_DIAGRAMS else X
        for method in METHODS:
            try:
                claims = certify(model, given, method=method, **threat)
            except StabilityError as reason:
                if method == "best":
                    raise RuntimeError(f"{name} does not answer {threat}: {reason}") from reason
                continue
            queries = n_queries if method == "best" else n_queries // 8
            rows.append(
                {
                    "model": name,
                    "seed": seed,
                    **{key: str(value) for key, value in threat.items()},
                    "method": method,
                    "certificates": len(claims),
                    "above_0": int((claims.radius > 0).sum()),
                    "median_radius": float(np.median(claims.radius)),
                    **attacked(model, given, claims, threat, queries, seed),
                }
            )
    return rows


def attacked(
    model: Any, X: Any, claims: Certificates, threat: dict[str, Any], n_queries: int, seed: int
) -> dict[str, int]:
    """How many displacements were tried within the radii, and how many broke a certificate."""
    counts = {"pairs": 0, "pairs_by_gradients": 0, "violations": 0}
    radii = [share * claims.radius for share in SHARES]
    radii[-1] = claims.radius if claims.closed else np.nextafter(claims.radius, 0.0)
    radii = radii[-1:] if claims.closed else radii
    for number, radius in enumerate(radii):
        for method in ("random", "search", "gradient"):
            if method == "gradient" and n_queries < LEAST_FOR_GRADIENTS:
                continue
            try:
                result = attack(
                    model,
                    X,
                    claims.prediction,
                    radius=radius,
                    method=method,
                    n_queries=max(1, n_queries // 2),
                    random_state=seed + number,
                    **threat,
                )
            except TypeError:
                if method != "gradient":  # of which not every pipeline and threat knows any
                    raise
                continue
            if not (result.displacement <= claims.radius).all():
                raise RuntimeError(f"{method} left the radius under {threat}: nothing is counted.")
            pairs = int(result.n_queries[claims.radius > 0].sum())
            counts["pairs"] += pairs
            counts["pairs_by_gradients"] += pairs if method == "gradient" else 0
            counts["violations"] += int(result.success.sum())
    return counts


def summary(rows: Sequence[dict[str, Any]], *, by_threat: bool = False) -> dict[str, Any]:
    """Sums over rows: pairs, violations, and how many certificates of "best" are above 0."""
    best = [row for row in rows if row["method"] == "best"]
    sums: dict[str, Any] = {
        key: sum(row[key] for row in rows) for key in ("pairs", "pairs_by_gradients", "violations")
    }
    sums |= {key: sum(row[key] for row in best) for key in ("certificates", "above_0")}
    if by_threat:
        sums["by_threat"] = {
            threat: sum(row["above_0"] for row in best if row["threat"] == threat)
            for threat in dict.fromkeys(row["threat"] for row in best)
        }
    return sums


def _in_words(rows: Sequence[dict[str, Any]]) -> str:
    sums = summary(rows, by_threat=True)
    idle = [threat for threat, above in sums["by_threat"].items() if not above]
    return (
        f"{sums['pairs']:7} pairs ({sums['pairs_by_gradients']:6} by gradients), "
        f"{sums['violations']} violations, {sums['above_0']} of {sums['certificates']} radii above "
        f"0" + (f" (none: {', '.join(idle)})" if idle else "")
    )


def diagrams_of(model: Any, X: Any) -> Any:
    """What the first step of a model makes of inputs."""
    return getattr(model, "pipeline_", model)[0].transform(X)


if __name__ == "__main__":
    main()

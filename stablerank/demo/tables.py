"""The demonstration's tables, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stablerank.demo.target import INSIDE, LIFETIMES, Result
from stablerank.report import Table, chain_table, percent


def demo_tables(summary: Mapping[str, Any], results: Sequence[Result]) -> list[Table]:
    """Accuracy, robustness a target, radii, the check of the certificates, constants."""
    targets: Mapping[str, Mapping[str, Any]] = summary["targets"]
    unit = summary["unit"]
    names = list(targets)
    rows = [
        ["stable ranks, certified", *(percent(t["accuracy"]) for t in targets.values())],
        [
            "random forest, no certificate",
            *(percent(t["forest_accuracy"]) for t in targets.values()),
        ],
        ["always the largest class", *(percent(t["largest_class"]) for t in targets.values())],
    ]
    error = max(t["standard_error"] for t in targets.values())
    tables = [
        Table(
            f"Accuracy on {summary['n_test']} clouds that were not trained with",
            ["model", *names],
            rows,
            "l" + "r" * len(names),
            f"The forest sees the 20 longest lifetimes of H0 and of H1. One standard error of an "
            f"accuracy is up to {100 * error:.1f} points.",
        )
    ]
    tables += [_robustness(summary, name) for name in names]
    tables.append(
        Table(
            "Certified radii",
            ["target", _headed("median", unit), "of the diameter", "of the spacing", "above 0"],
            [
                [
                    name,
                    f"{t['median_radius']:.3g}",
                    percent(t["median_radius_to_diameter"], 2),
                    percent(t["median_radius_to_spacing"]),
                    percent(t["share_certified"]),
                ]
                for name, t in targets.items()
            ],
            "lrrrr",
            "Medians over the test clouds; the spacing of a cloud is the median distance from a "
            "point to the nearest other one.",
        )
    )
    tables.append(_check(summary))
    tables.append(chain_of(results[0]))
    return tables


def _robustness(summary: Mapping[str, Any], name: str) -> Table:
    target = summary["targets"][name]
    rows = [
        [
            "0 (clean)",
            percent(target["clean_among_attacked"]),
            percent(target["clean_among_attacked"]),
            percent(target["forest_clean_among_attacked"]),
        ]
    ]
    for i, epsilon in enumerate(summary["epsilons"]):
        shares = (target[k][i] for k in ("certified_among_attacked", "attacked", "forest_attacked"))
        rows.append([f"{epsilon:g}", *map(percent, shares)])
    return Table(
        f"{name}: every point moved by up to ε",
        [_headed("ε", summary["unit"]), "certified", "attacked", "forest attacked"],
        rows,
        "rrrr",
        f"Right on {target['n_attacked']} test clouds: provably; after the attacks; and what the "
        f"same attacks leave of the forest. The attacks are random and gradient-free: stronger "
        f"ones may leave less, but of our model never less than the certified share.",
    )


def _check(summary: Mapping[str, Any]) -> Table:
    targets = summary["targets"]
    rows = [
        [name, str(t["n_attacked"]), f"{t['tried']:,}", str(t["broken"])]
        for name, t in targets.items()
    ]
    broken = summary["broken"]
    verdict = (
        f"{broken} certificates are broken: a prediction changed within its certified radius. "
        f"This must not happen; please report it."
        if broken
        else "No prediction changed within its certified radius."
    )
    return Table(
        "Attacks inside the certificates, at 0.999 of each radius",
        ["target", "clouds", "displaced clouds", "certificates broken"],
        rows,
        "lrrr",
        verdict,
        alarm=broken > 0,
    )


def chain_of(result: Result) -> Table:
    title = f"{result.target}: the chain of constants, from a moved point to the logits"
    return chain_table(title, result.certificates.chain)


def _headed(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name

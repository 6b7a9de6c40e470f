"""The demonstration's report: one page, in words for whoever has not read a paper."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from stablerank.demo.tables import chain_of
from stablerank.demo.target import Result
from stablerank.report import Drawings, Table, folded, page, percent, section


def demo_page(
    summary: Mapping[str, Any],
    results: Sequence[Result],
    drawings: Drawings,
    tables: Sequence[Table],
) -> str:
    """The report: one HTML page with everything inside it.

    Parameters
    ----------
    summary : dict
        The numbers.
    results : sequence of Result
        One a target.
    drawings : Drawings
        Of :func:`demo_figures`.
    tables : sequence of Table
        Of :func:`demo_tables`.

    Returns
    -------
    str
        HTML that asks for no other resource, readable on small screens, in light and dark.
    """
    n_targets = len(results)
    accuracy, robustness = tables[0], tables[1 : 1 + n_targets]
    radii, check, constants = tables[1 + n_targets :]
    name = results[0].target
    parts = [
        _header(summary, name),
        section(
            "What a certificate means",
            f"<p>A certificate is a radius r, in {summary['units']}, that belongs to one cloud: "
            f"however its points are moved, each by less than r, this model gives the same answer. "
            f"It is a proof, not an experiment, and it speaks of the answer's steadiness only: a "
            f"wrong answer can be certified too.</p>",
        ),
        section(
            "How accurate, and how steady",
            drawings["accuracy"].to_html(),
            accuracy.to_html(),
            robustness[0].to_html(),
        ),
    ]
    for result, table in zip(results[1:], robustness[1:], strict=True):
        figure = drawings[f"accuracy-{result.target.replace(' ', '-')}"]
        parts.append(
            section(f"The same clouds, by {result.target}", figure.to_html(), table.to_html())
        )
    parts += [
        section("How large the radii are", drawings["clouds"].to_html(), radii.to_html()),
        section("Whether they hold", check.to_html()),
        section(
            "Why they hold",
            drawings["one-cloud"].to_html(),
            drawings["constants"].to_html(),
            constants.to_html(),
            *(folded(chain_of(result)) for result in results[1:]),
        ),
        section("How this was made", _method(summary), drawings["training"].to_html()),
    ]
    title = html.escape(f"stablerank: {summary['dataset']}")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{title}</title>'
        f"<style>{_CSS}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def _header(summary: Mapping[str, Any], name: str) -> str:
    target, unit = summary["targets"][name], html.escape(summary["units"])
    # the largest size that the typical certificate covers
    covered = [e for e in summary["epsilons"] if e <= target["median_radius"]]
    epsilon = covered[-1] if covered else summary["epsilons"][0]
    at = summary["epsilons"].index(epsilon)
    certified = target["certified"][at]
    broken = summary["broken"]
    tried = sum(t["tried"] for t in summary["targets"].values())
    cards = [
        (percent(target["accuracy"]), f"right on {summary['n_test']} test clouds"),
        (percent(certified), f"right and certified at ε = {epsilon:g} {unit}"),
        (f"{target['median_radius']:.3g}", f"median certified radius in {unit}"),
        (str(broken), f"certificates broken by {tried:,} displaced clouds within the radii"),
    ]
    boxes = "".join(
        f'<div class="card{" alarm" if broken and i == 3 else ""}"><b>{value}</b>'
        f"<span>{text}</span></div>"
        for i, (value, text) in enumerate(cards)
    )
    classes = " or ".join(html.escape(c) for c in target["classes"])
    return (
        f"<header><p class=eyebrow>stablerank demo · {html.escape(summary['dataset'])}</p>"
        f"<h1>{percent(certified)} of the answers are right, and provably stay so when every "
        f"point moves by up to {epsilon:g} {unit}</h1>"
        f"<p>{html.escape(name.capitalize())} of {_CLOUDS[summary['dataset']]}: {classes}. Trained "
        f"on {summary['n_train']} clouds, tested on {summary['n_test']} others.</p>"
        f'<div class="cards">{boxes}</div></header>'
    )


def _method(summary: Mapping[str, Any]) -> str:
    settings = summary["settings"]
    versions = ", ".join(f"{name} {number}" for name, number in summary["versions"].items())
    steps = "; ".join(f"{s['step']} {s['seconds']:.1f} s" for s in summary["steps"])
    facts = [
        ("Command", f"<code>{html.escape(summary['command'])}</code>"),
        ("Seed", f"{summary['random_state']}, for split, weights, forest and attacks"),
        (
            "Protocol",
            "30 % held out, stratified by all targets; equal clouds on one side; a fixed number "
            f"of epochs ({settings['max_epochs']}), no look at the test clouds; one split, one "
            "seed.",
        ),
        (
            "Attacks",
            f"on certificates random, coordinate and search, {settings['n_queries']} queries "
            f"each; then for both models the least displacement that changes the answer, in "
            f"{settings['n_rounds']} rounds of {settings['n_queries']} queries a cloud.",
        ),
        ("Started", html.escape(summary["started"])),
        ("Wall time", f"{summary['wall_seconds']:.1f} s on {html.escape(summary['machine'])}"),
        ("Steps", html.escape(steps)),
        ("Versions", html.escape(versions)),
        ("Commit", html.escape(summary["commit"] or "not run from a checkout")),
    ]
    return "<dl>" + "".join(f"<dt>{key}</dt><dd>{value}</dd>" for key, value in facts) + "</dl>"


_CLOUDS = {
    "cells": "mouse osteosarcoma cells, from their outlines under the microscope",
    "orbits": "orbits of the linked twist map",
}

"""The tables of the report, from runs: rows of text, as Markdown and as HTML."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.comparison.task import Task

MISSING = "–"


@dataclass(frozen=True)
class Table:
    """A head and rows of text.

    Examples
    --------
    >>> print(Table(("model", "clean"), (("ranks", "50.0"),)).markdown())
    | model | clean |
    |---|---|
    | ranks | 50.0 |
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """For the README."""
        lines = [" | ".join(row) for row in (self.head, *self.rows)]
        rule = "|" + "---|" * len(self.head)
        return "\n".join([f"| {lines[0]} |", rule, *(f"| {line} |" for line in lines[1:])])

    def html(self) -> str:
        """For the page."""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.head)
        body = "".join(
            "<tr>" + "".join(f"<td>{_emphasised(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def check_order(runs: Mapping[str, Mapping[str, Any]]) -> int:
    """Look at every attacked cloud of every run: certified <= attacked <= noise <= clean.

    Parameters
    ----------
    runs : mapping of str to dict
        The files of a task, by model.

    Returns
    -------
    int
        How many pairs of a cloud and a radius were looked at.

    Raises
    ------
    RuntimeError
        If one of them breaks the order; the message names model, seed, ε and clouds.
    """
    looked_at = 0
    for name, content in runs.items():
        for seed, row in content["rows"].items():
            clouds = row["attacked clouds"]
            for epsilon in content["epsilons"]:
                attacked = np.array(clouds[f"attacked {epsilon:g}"])
                noise = np.array(clouds[f"noise {epsilon:g}"])
                certified = np.array(clouds.get(f"certified {epsilon:g}", attacked))
                bad = (certified & ~attacked) | (attacked & ~noise)
                bad |= noise & ~np.array(clouds["clean"])
                if bad.any():
                    raise RuntimeError(
                        f"{name}, seed {seed}, ε={epsilon}: certified <= attacked <= noise <= "
                        f"clean is violated for test clouds {np.array(clouds['index'])[bad]}."
                    )
                looked_at += len(bad)
    return looked_at


def headline(task: Task, runs: Mapping[str, Mapping[str, Any]]) -> Table:
    """Clean, attacked and certified accuracy in percent: mean ± standard deviation over seeds.

    Clean and certified on all test clouds; attacked on the attacked ones. Certified pipelines are
    in bold; accuracies of the literature stand in rows of their own.
    """
    attacked = [f"attacked {epsilon:g}" for epsilon in task.epsilons]
    certified = [f"certified {epsilon:g}" for epsilon in task.epsilons]
    head = ("pipeline", "clean", *attacked, *certified)
    rows = [
        (f"*{name}, published*", text, *[MISSING] * (len(head) - 2))
        for name, text in task.published.items()
    ]
    for name, content in runs.items():
        seeds = list(content["rows"].values())
        cells = [_percent([row["clean"] for row in seeds])]
        cells += [
            _percent([np.mean(row["attacked clouds"][key]) for row in seeds]) for key in attacked
        ]
        cells += [_percent([row.get(key) for row in seeds]) for key in certified]
        rows.append((f"**{name}**" if certified[0] in seeds[0] else name, *cells))
    return Table(head, tuple(rows))


def costs(task: Task, runs: Mapping[str, Mapping[str, Any]]) -> Table:
    """Noise, what the attacks were, and what everything costs."""
    noise = f"noise {task.epsilons[-1]:g}"
    head = (
        "pipeline",
        "clean, attacked clouds",
        noise,
        "parameters",
        "fit, s",
        "predict, ms a cloud",
        "certify, ms a cloud",
        "attack, s a cloud",
        "attack by",
        "seeds",
    )
    rows = []
    for name, content in runs.items():
        seeds = list(content["rows"].values())
        seconds = {
            key: [row["processor seconds"].get(key) for row in seeds]
            for key in ("fit", "predict", "certify", "attack")
        }
        n_test, n_attacked = seeds[0]["test clouds"], len(seeds[0]["attacked clouds"]["index"])
        rows.append(
            (
                name,
                _percent([np.mean(row["attacked clouds"]["clean"]) for row in seeds]),
                _percent([row[noise] for row in seeds]),
                f"{seeds[0]['parameters']:,}",
                _number(seconds["fit"], 1.0),
                _number(seconds["predict"], 1e3 / n_test),
                _number(seconds["certify"], 1e3 / n_test),
                _number(seconds["attack"], 1.0 / n_attacked),
                seeds[0]["attack"],
                str(len(seeds)),
            )
        )
    return Table(head, tuple(rows))


def accuracy_lines(
    content: Mapping[str, Any], kind: str, epsilons: Sequence[float]
) -> list[float] | None:
    """Shares of the attacked clouds of all seeds at ε = 0 and each of these, for figures."""
    seeds = [row["attacked clouds"] for row in content["rows"].values()]
    if f"{kind} {epsilons[0]:g}" not in seeds[0]:
        return None
    keys = ["clean", *(f"{kind} {epsilon:g}" for epsilon in epsilons)]
    return [float(np.mean([np.mean(row[key]) for row in seeds])) for key in keys]


def _emphasised(cell: str) -> str:
    """Markdown's **strong** and *emphasised* as HTML."""
    for mark, tag in (("**", "strong"), ("*", "em")):
        if len(cell) > 2 * len(mark) and cell.startswith(mark) and cell.endswith(mark):
            inner = cell[len(mark) : -len(mark)]
            return f"<{tag}>{html.escape(inner)}</{tag}>"
    return html.escape(cell)


def _percent(shares: Sequence[float | None]) -> str:
    known = [100 * share for share in shares if share is not None]
    if not known:
        return MISSING
    spread = f" ± {np.std(known, ddof=1):.1f}" if len(known) > 1 else ""
    return f"{np.mean(known):.1f}{spread}"


def _number(values: Sequence[float | None], factor: float) -> str:
    known = [factor * value for value in values if value is not None]
    return f"{np.median(known):.3g}" if known else MISSING

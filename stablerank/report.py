"""The demonstration's tables, figures, and its report: one page that needs no other file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stablerank import plotting
from stablerank.progress import track
from stablerank.stability import HAUSDORFF, Parallel, StabilityChain

if TYPE_CHECKING:
    import rich.table
    from matplotlib.figure import Figure as MatplotlibFigure

    from stablerank.demo import Data, Result


@dataclass(frozen=True)
class Table:
    """Rows of text, for a terminal and for a page.

    Parameters
    ----------
    title : str
        What the table shows.
    columns : sequence of str
        Their headings.
    rows : sequence of sequence of str
        As many cells each.
    align : str
        A letter a column: l or r.
    note : str, default=""
        Below the table.
    alarm : bool, default=False
        Whether the table tells that something is wrong: drawn in red.
    spare : tuple of str, default=()
        Columns that a terminal of less than 120 columns leaves out.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    align: str
    note: str = ""
    alarm: bool = False
    spare: tuple[str, ...] = ()

    def to_rich(self, width: int = 120) -> rich.table.Table:
        """For ``rich.console.Console.print`` on a terminal of so many columns."""
        import rich.box
        import rich.table
        from rich.markup import escape

        table = rich.table.Table(
            title=escape(self.title),
            caption=escape(self.note) or None,
            title_justify="left",
            caption_justify="left",
            title_style="bold red" if self.alarm else "bold",
            caption_style="red" if self.alarm else "dim",
            box=rich.box.SIMPLE_HEAD,
            style="red" if self.alarm else "",
        )
        shown = [i for i, c in enumerate(self.columns) if width >= _WIDE or c not in self.spare]
        for i in shown:
            side: Any = "right" if self.align[i] == "r" else "left"
            table.add_column(escape(self.columns[i]), justify=side)
        for row in self.rows:
            table.add_row(*(escape(row[i]) for i in shown))
        return table

    def to_html(self) -> str:
        """A ``table`` element in a box that scrolls when it is too wide."""
        sides = ["" if side == "l" else ' class="n"' for side in self.align]
        head = _cells("th", self.columns, sides)
        body = "\n".join(f"<tr>{_cells('td', row, sides)}</tr>" for row in self.rows)
        note = f'<p class="note">{html.escape(self.note)}</p>' if self.note else ""
        return (
            f'<div class="table{" alarm" if self.alarm else ""}"><table>'
            f"<caption>{html.escape(self.title)}</caption>"
            f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>{note}"
        )


@dataclass(frozen=True)
class Drawing:
    """One figure, drawn for light and for dark pages.

    Parameters
    ----------
    title, caption : str
        What it shows, for those who cannot see it and for those who can.
    png, light, dark : bytes
        PNG, and SVG of both kinds.
    """

    title: str
    caption: str
    png: bytes
    light: bytes
    dark: bytes

    def to_html(self) -> str:
        """A ``figure`` element with both SVG inside it."""
        light, dark = (base64.b64encode(svg).decode() for svg in (self.light, self.dark))
        prefix = "data:image/svg+xml;base64,"
        return (
            f'<figure><picture><source media="(prefers-color-scheme: dark)" '
            f'srcset="{prefix}{dark}"><img alt="{html.escape(self.title)}" src="{prefix}{light}">'
            f"</picture><figcaption><b>{html.escape(self.title)}.</b> "
            f"{html.escape(self.caption)}</figcaption></figure>"
        )


class Drawings(dict[str, Drawing]):
    """Figures by the names of their files."""

    def files(self) -> dict[str, bytes]:
        """PNG and SVG of the figures for light pages, by file name."""
        files = {}
        for name, drawing in self.items():
            files[f"{name}.png"], files[f"{name}.svg"] = drawing.png, drawing.light
        return files


_WIDE = 120


def demo_tables(summary: Mapping[str, Any], results: Sequence[Result]) -> list[Table]:
    """Accuracy, robustness a target, radii, the check of the certificates, constants."""
    targets: Mapping[str, Mapping[str, Any]] = summary["targets"]
    unit = summary["unit"]
    names = list(targets)
    rows = [
        ["stable ranks, certified", *(_percent(t["accuracy"]) for t in targets.values())],
        [
            "random forest, no certificate",
            *(_percent(t["forest_accuracy"]) for t in targets.values()),
        ],
        ["always the largest class", *(_percent(t["largest_class"]) for t in targets.values())],
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
                    _percent(t["median_radius_to_diameter"], 2),
                    _percent(t["median_radius_to_spacing"]),
                    _percent(t["share_certified"]),
                ]
                for name, t in targets.items()
            ],
            "lrrrr",
            "Medians over the test clouds; the spacing of a cloud is the median distance from a "
            "point to the nearest other one.",
        )
    )
    tables.append(_check(summary))
    tables.append(_chain_of(results[0]))
    return tables


def _robustness(summary: Mapping[str, Any], name: str) -> Table:
    target = summary["targets"][name]
    rows = [
        [
            "0 (clean)",
            _percent(target["clean_among_attacked"]),
            _percent(target["clean_among_attacked"]),
            _percent(target["forest_clean_among_attacked"]),
        ]
    ]
    for i, epsilon in enumerate(summary["epsilons"]):
        shares = (target[k][i] for k in ("certified_among_attacked", "attacked", "forest_attacked"))
        rows.append([f"{epsilon:g}", *map(_percent, shares)])
    return Table(
        f"{name}: every point moved by up to ε",
        [_headed("ε", summary["unit"]), "certified", "attacked", "forest attacked"],
        rows,
        "rrrr",
        f"Right on {target['n_attacked']} test clouds: provably; after the attacks; and what "
        f"attacks leave of the forest. Those on our model follow its gradients, then search; a "
        f"forest has no gradients, so those on it only search, and are the weaker ones: the two "
        f"columns are no contest. Stronger attacks may leave less, but of our model never less "
        f"than the certified share.",
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


def _chain_of(result: Result) -> Table:
    title = f"{result.target}: the chain of constants, from a moved point to the logits"
    return chain_table(title, result.model.stability_)


def chain_table(title: str, chain: StabilityChain) -> Table:
    """The stages of a chain, and their product."""
    return Table(
        title,
        ["stage", "from", "to", "constant", "rests on"],
        [
            *_bounds(chain),
            ["end to end", str(chain.source), str(chain.target), _short(chain.constant), ""],
        ],
        "lllrl",
        spare=("from", "to"),
    )


def _bounds(chain: StabilityChain, prefix: str = "") -> list[list[str]]:
    rows = []
    for element in chain:
        if isinstance(element, Parallel):
            for name, branch in element.branches.items():
                part = branch if isinstance(branch, StabilityChain) else StabilityChain(branch)
                rows += _bounds(part, f"{prefix}{name} · ")
        else:
            constant = _short(element.constant)
            if element.constants and min(element.constants) < element.constant:
                constant = f"{_short(min(element.constants))} … {constant}"
            stage = prefix + (element.stage or "bound")
            rows.append(
                [stage, str(element.source), str(element.target), constant, element.theorem]
            )
    return rows


def demo_figures(data: Data, results: Sequence[Result]) -> Drawings:
    """All figures of a demonstration, by the names of their files.

    Parameters
    ----------
    data : Data
        The clouds.
    results : sequence of Result
        One a target; the first is the one that single clouds are shown for.

    Returns
    -------
    Drawings
    """
    first = results[0]
    recipes = [_accuracy_figure(data, result, i) for i, result in enumerate(results)]
    recipes += [_clouds_figure(data, first), _one_cloud_figure(data, first)]
    recipes += [_constants_figure(first), _training_figure(results)]
    return Drawings({recipe.name: recipe.draw() for recipe in track(recipes, "figures")})


@dataclass(frozen=True)
class _Recipe:
    name: str
    title: str
    caption: str
    size: tuple[float, float]
    paint: Callable[[MatplotlibFigure], None]

    def draw(self) -> Drawing:
        light = self._render("svg", "png")
        return Drawing(
            self.title,
            self.caption,
            light["png"],
            light["svg"],
            self._render("svg", dark=True)["svg"],
        )

    def _render(self, *formats: str, dark: bool = False) -> dict[str, bytes]:
        import matplotlib
        from matplotlib.figure import Figure  # without pyplot: no windows, no backend

        files = {}
        with matplotlib.rc_context():
            matplotlib.rcdefaults()  # a report looks the same whatever its user prefers
            style: Any = plotting.figure_style(dark=dark)
            matplotlib.rcParams.update(style)
            figure = Figure(figsize=self.size, layout="constrained")
            self.paint(figure)
            for kind in formats:
                file = io.BytesIO()
                # equal figures are equal files
                stamps = {"Date": None} if kind == "svg" else {"Software": None}
                figure.savefig(file, format=kind, dpi=160, metadata=stamps)
                figure.set_layout_engine("none")  # laid out once for all formats
                files[kind] = file.getvalue()
        return files


def _accuracy_figure(data: Data, result: Result, place: int) -> _Recipe:
    y, certificates = result.y[result.attacked], result.certificates[result.attacked]
    found = np.concatenate([result.breaking, result.forest_breaking, certificates.radius])
    # as far as the larger half of what was found, where both models have lost most
    farthest = float(np.quantile(found[np.isfinite(found)], 0.9))
    curves = {}
    for name, prediction, breaking in (
        ("attacked", certificates.prediction, result.breaking),
        ("forest", result.forest[result.attacked], result.forest_breaking),
    ):
        at = np.unique(np.concatenate([[0.0], breaking[breaking < farthest], [farthest]]))
        right = prediction == y
        curves[name] = at, (right & (breaking > at[:, None])).mean(axis=1)

    def paint(figure: MatplotlibFigure) -> None:
        ax = figure.add_subplot()
        plotting.plot_certified_accuracy(
            certificates, y, ax, attacked=curves["attacked"], unit=data.units, label="certified"
        )
        ax.step(
            *curves["forest"],
            where="post",
            color=plotting.GREEN,
            linestyle=":",
            label="random forest, attacked without gradients",
        )
        ax.axhline(
            np.unique(y, return_counts=True)[1].max() / len(y),
            color=plotting.GREY,
            linewidth=0.8,
            label="largest class",
        )
        ax.set_xlim(0.0, farthest)
        plotting.legend_above(ax)

    name = f"accuracy-{result.target.replace(' ', '-')}" if place else "accuracy"
    caption = (
        f"{result.target}, {len(y)} test clouds, every point moved by up to ε. The shaded area is "
        f"proven: no attack, known or unknown, gets below its edge. What the attacks of this run "
        f"left is the line above; between the two nobody knows."
    )
    return _Recipe(name, f"Accuracy against ε: {result.target}", caption, (7.6, 4.4), paint)


def _clouds_figure(data: Data, result: Result) -> _Recipe:
    chosen = _telling_clouds(result)
    clouds = data.part(data.test)
    columns = 2 if len(chosen) <= 4 else 3
    lines = -(-len(chosen) // columns)

    def paint(figure: MatplotlibFigure) -> None:
        for place, i in enumerate(chosen):
            ax = figure.add_subplot(lines, columns, place + 1)
            plotting.plot_cloud_with_radius(
                clouds[i], float(result.certificates.radius[i]), ax, unit=data.unit
            )
            truth, guess = result.y[i], result.certificates.prediction[i]
            verdict = f"{truth}, rightly" if truth == guess else f"{guess}, but is {truth}"
            ax.set_title(f"cloud {data.index[data.test[i]]}: {verdict}", loc="left")

    caption = (
        "Of each class the rightly classified cloud with the median radius, then the one with the "
        "largest radius and a wrong one. Within the discs, drawn to scale and magnified beside, "
        "every point may move as it likes: the answer stays, the wrong one too."
    )
    size = (5.2 * columns, 3.5 * lines)
    return _Recipe("clouds", "Test clouds and their certified radii", caption, size, paint)


def _telling_clouds(result: Result) -> list[int]:
    """Of each class the cloud with the median radius, then the safest one, and a wrong one."""
    radius, right = result.certificates.radius, result.certificates.prediction == result.y
    order = np.argsort(radius, kind="stable")
    chosen = []
    for name in result.model.classes_:
        ours = order[(right & (result.y == name))[order]]
        if len(ours):
            chosen.append(int(ours[len(ours) // 2]))
    chosen.append(int(order[-1]))
    wrong = order[~right[order]]
    if len(wrong):
        chosen.append(int(wrong[-1]))
    return list(dict.fromkeys(chosen))[:6]


def _one_cloud_figure(data: Data, result: Result) -> _Recipe:
    i = _telling_clouds(result)[0]
    cloud, radius = data.clouds[data.test[i]], float(result.certificates.radius[i])
    persistence, ranks, _ = (step for _, step in result.model.pipeline_.steps)
    diagrams = persistence.transform([cloud])
    vector = ranks.transform(diagrams)[0]
    to_diagrams = persistence.stability(HAUSDORFF)
    chain = StabilityChain(to_diagrams, ranks.stability(to_diagrams.target))
    constants = np.asarray(chain.constants)

    def paint(figure: MatplotlibFigure) -> None:
        axes = figure.subplots(2, 2).ravel()
        plotting.plot_cloud_with_radius(cloud, radius, axes[0], unit=data.unit)
        plotting.plot_diagram(diagrams[0], axes[1], ball=radius, unit=data.unit)
        start = 0
        for ax, (dimension, n_ranks) in zip(axes[2:], ranks.n_ranks_.items(), strict=False):
            plotting.plot_stable_rank(
                vector[start : start + n_ranks],
                ax,
                band=radius * float(constants[start]),
                unit=data.unit,
                label=f"H{dimension}",
                color=plotting.HOMOLOGY_COLORS[dimension],
            )
            start += n_ranks

    caption = (
        f"Cloud {data.index[data.test[i]]} with its radius, its persistence diagram, and its "
        f"stable ranks in dimensions 0 and 1. However the points move within the radius, the bars "
        f"stay in their squares (those in the grey band may vanish, or appear) and the "
        f"stable ranks in their "
        f"bands; everywhere in the bands the network gives the same answer."
    )
    return _Recipe("one-cloud", "From one cloud to its certificate", caption, (10.4, 8.2), paint)


def _constants_figure(result: Result) -> _Recipe:
    chain = result.model.stability_

    def paint(figure: MatplotlibFigure) -> None:
        plotting.plot_stability(chain, figure.add_subplot())

    caption = (
        f"How much each stage can stretch a distance, and all of them together: when every point "
        f"moves by up to 1, no logit moves by more than {_short(chain.constant)}."
    )
    title = f"The chain of constants: {result.target}"
    return _Recipe("constants", title, caption, (7.6, 4.4), paint)


def _training_figure(results: Sequence[Result]) -> _Recipe:
    colors = (plotting.BLUE, plotting.VERMILION)

    def paint(figure: MatplotlibFigure) -> None:
        ax = figure.add_subplot()
        for result, color in zip(results, colors, strict=False):
            history = result.model.pipeline_.named_steps["network"].net_.history
            plotting.plot_training(history, ax, label=result.target, color=color)

    return _Recipe(
        "training",
        "Training",
        "Mean loss over the training clouds in each epoch; nothing was tuned on the test clouds.",
        (7.6, 3.4),
        paint,
    )


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
        _section(
            "What a certificate means",
            f"<p>A certificate is a radius r, in {summary['units']}, that belongs to one cloud: "
            f"however its points are moved, each by less than r, this model gives the same answer. "
            f"It is a proof, not an experiment, and it speaks of the answer's steadiness only: a "
            f"wrong answer can be certified too.</p>",
        ),
        _section(
            "How accurate, and how steady",
            drawings["accuracy"].to_html(),
            accuracy.to_html(),
            robustness[0].to_html(),
        ),
    ]
    for result, table in zip(results[1:], robustness[1:], strict=True):
        figure = drawings[f"accuracy-{result.target.replace(' ', '-')}"]
        parts.append(
            _section(f"The same clouds, by {result.target}", figure.to_html(), table.to_html())
        )
    parts += [
        _section("How large the radii are", drawings["clouds"].to_html(), radii.to_html()),
        _section("Whether they hold", check.to_html()),
        _section(
            "Why they hold",
            drawings["one-cloud"].to_html(),
            drawings["constants"].to_html(),
            constants.to_html(),
            *(_folded(_chain_of(result)) for result in results[1:]),
        ),
        _section("How this was made", _method(summary), drawings["training"].to_html()),
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
        (_percent(target["accuracy"]), f"right on {summary['n_test']} test clouds"),
        (_percent(certified), f"right and certified at ε = {epsilon:g} {unit}"),
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
        f"<h1>{_percent(certified)} of the answers are right, and provably stay so when every "
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


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>\n" + "\n".join(parts) + "</section>"


def _folded(table: Table) -> str:
    return f"<details><summary>{html.escape(table.title)}</summary>{table.to_html()}</details>"


def _cells(kind: str, texts: Sequence[str], sides: Sequence[str]) -> str:
    return "".join(
        f"<{kind}{side}>{html.escape(text)}</{kind}>"
        for text, side in zip(texts, sides, strict=True)
    )


def _headed(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def _short(value: float) -> str:
    return f"{value:.6g}"


_CLOUDS = {
    "cells": "mouse osteosarcoma cells, from their outlines under the microscope",
    "orbits": "orbits of the linked twist map",
}

_CSS = """
:root { --page: #f4f5f7; --card: #ffffff; --ink: #1d2127; --soft: #5b6470; --line: #d5d9df;
  --accent: #1a80c4; --alarm: #c62828; }
@media (prefers-color-scheme: dark) { :root { --page: #0f1115; --card: #171a20; --ink: #e6e8eb;
  --soft: #a2abb7; --line: #3a414b; --accent: #56b4e9; --alarm: #ff6b6b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: clamp(1.6rem, 4.5vw, 2.5rem); line-height: 1.15; margin: 0 0 .8rem;
  letter-spacing: -.015em; text-wrap: balance; }
h2 { font-size: 1.3rem; margin: 0 0 .8rem; }
.eyebrow { color: var(--accent); font-weight: 600; margin: 0 0 .5rem; }
header > p { color: var(--soft); margin-top: 0; }
section { margin-top: 2.75rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: .8rem;
  margin-top: 1.5rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .7rem;
  padding: .9rem 1.1rem; }
.card b { display: block; font-size: 1.8rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: .9rem; }
.alarm, .alarm b, .alarm + .note { color: var(--alarm); border-color: var(--alarm); }
figure, .table { background: var(--card); border: 1px solid var(--line); border-radius: .7rem;
  margin: 1rem 0; }
figure { padding: 1rem; }
figure img { display: block; width: 100%; height: auto; }
figcaption, .note { color: var(--soft); font-size: .9rem; }
figcaption { margin-top: .7rem; }
.note { margin: -.4rem .2rem 1.4rem; }
.table { overflow-x: auto; }
summary { cursor: pointer; color: var(--accent); }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
caption { text-align: left; font-weight: 600; padding: .8rem 1rem .3rem; }
th, td { text-align: left; padding: .4rem 1rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--soft); font-weight: 500; white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .35rem 1.2rem; font-size: .92rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
code { font-family: ui-monospace, "Liberation Mono", monospace; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .7rem; } }
@media print { body { background: none; } section { break-inside: avoid; } }
"""

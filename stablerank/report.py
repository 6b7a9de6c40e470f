"""Parts of a report: tables, figures, and a page that needs no other file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stablerank import plotting
from stablerank.stability import Parallel, StabilityChain

if TYPE_CHECKING:
    import rich.table
    from matplotlib.figure import Figure as MatplotlibFigure


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
        shown = [i for i, c in enumerate(self.columns) if width >=


@dataclass(frozen=True)
class Recipe:
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


def page(title: str, parts: Sequence[str]) -> str:
    """An HTML page with its style inside, for small and large screens, light and dark."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{html.escape(title)}</title>'
        f"<style>{_CSS}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>\n" + "\n".join(parts) + "</section>"


def folded(table: Table) -> str:
    return f"<details><summary>{html.escape(table.title)}</summary>{table.to_html()}</details>"


def _cells(kind: str, texts: Sequence[str], sides: Sequence[str]) -> str:
    return "".join(
        f"<{kind}{side}>{html.escape(text)}</{kind}>"
        for text, side in zip(texts, sides, strict=True)
    )


def percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def _short(value: float) -> str:
    return f"{value:.6g}"

_WIDE = 120
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

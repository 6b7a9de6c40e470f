"""``python -m benchmarks report``: tables and figures of what was run, and one page with all."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from benchmarks.comparison.figures import accuracy_figure
from benchmarks.comparison.runs import kept_rows, read_runs
from benchmarks.comparison.tables import Table, check_order, costs, headline
from benchmarks.comparison.task import Task
from benchmarks.record import RESULTS
from stablerank.files import write_atomically

REPORT = RESULTS / "report"
README = RESULTS.parents[1] / "README.md"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem;
  color: #222; }
table { border-collapse: collapse; font-size: 13px; margin: 1rem 0; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: right;
  white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
.wide { overflow-x: auto; } svg { max-width: 100%; height: auto; } small { color: #555; }
"""


def write_report(tasks: Iterable[Task]) -> Path:
    """Check certified <= attacked <= clean, cloud by cloud, and write everything to ``REPORT``.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    RuntimeError
        If the order is violated anywhere; nothing is written then.
    """
    found = [(task, runs) for task in tasks if (runs := read_runs(task))]
    pairs = {task.name: check_order(runs) for task, runs in found}
    REPORT.mkdir(parents=True, exist_ok=True)
    sections = []
    for task, runs in found:
        tables = headline(task, runs), costs(task, runs)
        fill_readme(task.name, tables[0].markdown())
        _write(f"{task.name}.md", "\n\n".join(table.markdown() for table in tables) + "\n")
        figure = accuracy_figure(task, runs)
        _write_figure(f"{task.name}", figure)
        intro = (
            f"Percent, mean ± standard deviation over seeds. Clean, noise and certified on all "
            f"test clouds, attacked on {task.n_attacked} of them a seed; ε in {task.unit}. "
            f"certified ≤ attacked ≤ clean was checked for {pairs[task.name]:,} pairs of a cloud "
            f"and an ε. Seconds are processor seconds of one thread."
        )
        body = "".join(f'<div class="wide">{table.html()}</div>' for table in tables)
        sections.append((task.title, intro, _svg(figure) + body + _provenance(task, runs)))
    sections += [section for name in _EXTRA if (section := _extra(name))]
    return _write("index.html", _page(sections))


def fill_readme(name: str, table: str) -> None:
    """Put a table between its two marks in the README, if they are there."""
    text = README.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    if begin in text and end in text:
        before, rest = text.split(begin, 1)
        with write_atomically(README, text=True) as file:
            file.write(before + begin + table + "\n" + end + rest.split(end, 1)[1])


def _extra(name: str) -> tuple[str, str, str] | None:
    """A module of its own: its JSON, by its own functions where it has them."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return None
    content = json.loads(path.read_text())
    module = import_module(f"benchmarks.{name}")
    intro = (module.__doc__ or "").strip().splitlines()[0]
    text = _EXTRA[name](module, content)
    _write(f"{name}.md", text + "\n")
    picture = ""
    if hasattr(module, "figure"):
        drawn = module.figure(content)
        _write_figure(name, drawn)
        picture = _svg(drawn)
    made = html.escape(f"{content['command']}, commit {content['commit'][:7]}")
    table = f"<div class='wide'>{_as_html(text)}</div>"
    return name.capitalize(), intro, f"{picture}{table}<p><small>{made}</small></p>"


_EXTRA: dict[str, Callable[[Any, dict[str, Any]], str]] = {
    "noise": lambda module, content: str(module.markdown(content)),
}


def _provenance(task: Task, runs: dict[str, Any]) -> str:
    """Which commits and versions the rows come from, and which are of other settings than now."""
    commits = {row["commit"][:7] for content in runs.values() for row in content["rows"].values()}
    some = next(iter(runs.values()))
    versions = ", ".join(f"{name} {number}" for name, number in some["versions"].items())
    text = f"Commits {', '.join(sorted(commits))}; {versions}; {some['machine']}."
    if stale := [name for name in runs if not kept_rows(task, name)]:
        text += f" Made with other settings than those of now: {', '.join(stale)}."
    return f"<p><small>{html.escape(text)}</small></p>"


def _as_html(markdown: str) -> str:
    """Tables and paragraphs, which is all that there is."""
    blocks = []
    for block in markdown.strip().split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("|"):
            head, _, *rows = (
                tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines
            )
            blocks.append(Table(head, tuple(rows)).html())
        else:
            blocks.append(f"<p>{html.escape(' '.join(lines))}</p>")
    return "".join(blocks)


def _page(sections: list[tuple[str, str, str]]) -> str:
    body = "".join(
        f"<h2>{html.escape(title)}</h2><p>{html.escape(intro)}</p>{content}"
        for title, intro, content in sections
    )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>stablerank: benchmarks</title><style>{_STYLE}</style></head><body>"
        "<h1>Certified and unconstrained pipelines under attack</h1>"
        "<p>Made by <code>python -m benchmarks report</code> from the files in "
        f"<code>benchmarks/results</code>.</p>{body}</body></html>\n"
    )


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "stablerank"}):  # the same bytes each time
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _write_figure(name: str, figure: Figure) -> None:
    _write(f"{name}.svg", _svg(figure))
    with write_atomically(REPORT / f"{name}.png") as file:
        figure.savefig(file, format="png", dpi=130)


def _write(name: str, text: str) -> Path:
    path = REPORT / name
    with write_atomically(path, text=True) as file:
        file.write(text)
    return path

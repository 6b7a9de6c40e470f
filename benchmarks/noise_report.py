"""Tables and figure of ``results/noise.json``: which signature withstands which noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.noises import CLEAN

SIGNATURES = ("diagram", "landscape", "image", "stable rank")
DISTANCES = ("bottleneck", "Wasserstein", *SIGNATURES)
NETWORKS = ("network, parts, stable ranks", "network, pixels")
_DTM = "distance to measure"


def markdown(content: dict[str, Any]) -> str:
    """Three tables, and what became of the certificates.

    Parameters
    ----------
    content : dict
        Of ``results/noise.json``.
    """
    parts = [
        "Accuracy in percent after training on clean images; for each signature that of the best "
        "of the six filtrations, which is named.",
        _by_noise(content),
        "Accuracy in percent, clean → mean over the sixteen noises.",
        _by_filtration(content, SIGNATURES, _accuracies),
        "Distance from clean to noisy signature, mean over the noises; 1 is the mean distance "
        "between different clean images.",
        _by_filtration(content, DISTANCES, _distances),
        _certificates(content),
    ]
    return "\n\n".join(parts)


def figure(content: dict[str, Any]) -> Any:
    """The accuracy lost to each noise: a row a representation, a column a noise.

    Parameters
    ----------
    content : dict
        Of ``results/noise.json``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    accuracy, noises = content["accuracy"], content["noises"][1:]
    rows = list(accuracy)
    drops = 100 * np.array(
        [
            [_mean(content, row, CLEAN) - _mean(content, row, noise) for noise in noises]
            for row in rows
        ]
    )
    figure = Figure(figsize=(11.5, 0.27 * len(rows) + 2.3), layout="constrained")
    ax = figure.subplots()
    image = ax.imshow(drops, cmap="OrRd", vmin=0, vmax=100, aspect="auto")
    for i, j in np.ndindex(*drops.shape):
        color = "white" if drops[i, j] > 60 else "black"
        ax.text(
            j,
            i,
            f"{drops[i, j]:.0f}".replace("-", "−"),
            ha="center",
            va="center",
            fontsize=7.5,
            color=color,
        )
    names = [f"{row}  {100 * _mean(content, row, CLEAN):.0f}" for row in rows]
    ax.set_yticks(range(len(rows)), names, fontsize=8.5)
    for label, row in zip(ax.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if "stable rank" in row else "normal")
    ax.set_xticks(range(len(noises)), noises, rotation=40, ha="left", fontsize=8.5)
    ax.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)  # whatever the style
    ax.set_xlabel("Beside each name: accuracy on clean images, in percent.", fontsize=8.5)
    kinds = [noise.split(" ")[0] for noise in noises]
    groups = [row.rpartition(", ")[0] for row in rows]
    for j in range(1, len(kinds)):
        if kinds[j] != kinds[j - 1]:
            ax.axvline(j - 0.5, color="white", linewidth=2.5)
    for i in range(1, len(groups)):
        if groups[i].split(",")[0] != groups[i - 1].split(",")[0]:
            ax.axhline(i - 0.5, color="white", linewidth=2.5)
    bar = figure.colorbar(image, ax=ax, shrink=0.5, pad=0.01)
    bar.set_label("accuracy lost, percentage points")
    bar.outline.set_visible(False)
    return figure


def _by_noise(content: dict[str, Any]) -> str:
    networks = [name for name in NETWORKS if name in content["accuracy"]]
    lines = []
    for noise in content["noises"]:
        cells = [f"{100 * _mean(content, 'pixels', noise):.0f}"]
        for signature in SIGNATURES:
            best = max(
                _filtrations(content), key=lambda f: _mean(content, f"{f}, {signature}", noise)
            )
            share = _mean(content, f"{best}, {signature}", noise)
            cells.append(f"{100 * share:.0f} {_short(best)}")
        cells += [f"{100 * _mean(content, name, noise):.0f}" for name in networks]
        lines.append([noise, *cells])
    return _table(["noise", "pixels", *SIGNATURES, *networks], lines)


def _by_filtration(content: dict[str, Any], columns: Any, cell: Any) -> str:
    lines = [
        [filtration, *(cell(content, f"{filtration}, {column}") for column in columns)]
        for filtration in _filtrations(content)
    ]
    pixels = cell(content, "pixels")
    lines.append([f"(pixels, no persistence: {pixels})", *("" for _ in columns)])
    return _table(["filtration", *columns], lines)


def _accuracies(content: dict[str, Any], row: str) -> str:
    noisy = np.mean([_mean(content, row, noise) for noise in content["noises"][1:]])
    return f"{100 * _mean(content, row, CLEAN):.0f} → {100 * noisy:.0f}"


def _distances(content: dict[str, Any], row: str) -> str:
    return f"{np.mean([_mean(content, row, n, 'distance') for n in content['noises'][1:]]):.2f}"


def _certificates(content: dict[str, Any]) -> str:
    lines = [
        [name, *(f"{100 * share['mean']:.0f}" for share in shares.values())]
        for name, shares in content["certified"].items()
    ]
    epsilons = next(iter(content["certified"].values()))
    table = _table(["certified accuracy", *(f"ε = {epsilon}" for epsilon in epsilons)], lines)
    return (
        f"{table}\n\n{sum(content['pairs'].values()):,} noisy images lay within the certified "
        f"radius of their clean one; {content['violations']} predictions changed."
    )


def _filtrations(content: dict[str, Any]) -> list[str]:
    return [row[: -len(", diagram")] for row in content["accuracy"] if row.endswith(", diagram")]


def _mean(content: dict[str, Any], row: str, noise: str, what: str = "accuracy") -> float:
    return float(content[what][row][noise]["mean"])


def _short(filtration: str) -> str:
    return "DTM" if filtration == _DTM else filtration


def _table(head: list[str], lines: list[list[str]]) -> str:
    rule = "|" + "---|" * len(head)
    rows = ["| " + " | ".join(line) + " |" for line in [head, *lines]]
    return "\n".join([rows[0], rule, *rows[1:]])

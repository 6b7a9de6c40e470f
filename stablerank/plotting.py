"""Every figure: each function draws into one axes, ``ax=None`` makes a new one, and returns it.

Colours follow Okabe and Ito, so that the colour-blind can tell them apart; texts, frames and grids
follow matplotlib's rc parameters, for which :func:`figure_style` gives a light and a dark set.
Matplotlib is imported where it is used: ``pip install "stablerank[plots]"``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from stablerank.certify import Certificates
from stablerank.ranks import StableRankFunction
from stablerank.stability import Parallel, StabilityChain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, VERMILION, GREEN, SKY, PURPLE = "#1A80C4", "#D55E00", "#009E73", "#56B4E9", "#CC79A7"
GREY = "#808080"
PAGE = {"light": "#ffffff", "dark": "#171a20"}
HOMOLOGY_COLORS = (SKY, GREEN, PURPLE)
_HOMOLOGY_NAMES = {0: "components", 1: "holes", 2: "voids"}
_VISIBLE = 0.015  # of the axes' width: what is smaller needs a magnified inset


def figure_style(*, dark: bool = False) -> dict[str, Any]:
    """Rc parameters of the report's figures, for ``matplotlib.rc_context``.

    Parameters
    ----------
    dark : bool, default=False
        Light lines and texts, for a dark page.

    Returns
    -------
    dict
        Their background is ``PAGE["dark"]`` or ``PAGE["light"]``.
    """
    ink, soft = ("#e6e8eb", "#3a414b") if dark else ("#1d2127", "#d5d9df")
    page = PAGE["dark" if dark else "light"]
    return {
        "font.size": 10.0,
        "axes.labelsize": 10.0,
        "axes.titlesize": 10.5,
        "legend.fontsize": 9.0,
        "legend.frameon": False,
        "figure.facecolor": page,
        "savefig.facecolor": page,
        "axes.facecolor": page,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": soft,
        "grid.linewidth": 0.5,
        "text.color": ink,
        "axes.labelcolor": ink,
        "axes.titlecolor": ink,
        "axes.edgecolor": ink,
        "xtick.color": ink,
        "ytick.color": ink,
        "lines.linewidth": 1.8,
        "svg.hashsalt": "stablerank",  # equal figures are equal files
    }


def plot_certified_accuracy(
    certificates: Certificates,
    y: ArrayLike,
    ax: Axes | None = None,
    *,
    epsilons: ArrayLike | None = None,
    attacked: tuple[ArrayLike, ArrayLike] | None = None,
    unit: str | None = None,
    label: str = "certified",
    **style: Any,
) -> Axes:
    """Draw the share of clouds that are right and certified against what the adversary may do.

    Parameters
    ----------
    certificates : Certificates
        Of n clouds.
    y : array-like of shape (n,)
        True labels.
    ax : Axes, optional
        Where to draw.
    epsilons : array-like, optional
        Where to evaluate; by default every radius, which draws the exact step function.
    attacked : (epsilons, accuracies), optional
        Accuracies in [0, 1] that an attack left at these epsilons: points if they are few, steps
        if they are many.
    unit : str, optional
        The unit of the points, such as ``"px"``.
    label : str, default="certified"
        In the legend.
    **style
        For the certified line, such as ``color``.

    Returns
    -------
    Axes
        The clean accuracy is dashed.

    Raises
    ------
    ValueError
        If y has another length, or an epsilon is negative.
    """
    ax = _axes(ax)
    labels = np.asarray(y)
    certificates.certified_accuracy(labels, 0.0)  # checks y
    right = certificates.prediction == labels
    steps = np.unique(np.concatenate([[0.0], certificates.radius[right]]))
    if certificates.closed:  # numbers of points: a step at each, not only where a radius is
        steps = np.arange(0.0, steps[-1] + 2)
    attack_at = np.empty(0) if attacked is None else np.asarray(attacked[0], dtype=np.float64)
    farthest = max(steps[-1] * 1.05, attack_at.max(initial=0.0))
    style = {"color": BLUE, **style}
    if epsilons is None:
        at = np.append(steps, farthest)
        ax.step(at, certificates.certified_accuracy(labels, at), where="post", label=label, **style)
        ax.fill_between(
            at,
            certificates.certified_accuracy(labels, at),
            step="post",
            color=style["color"],
            alpha=0.15,
            linewidth=0,
        )
    else:
        at = np.sort(np.asarray(epsilons, dtype=np.float64))
        values = certificates.certified_accuracy(labels, at)
        ax.plot(at, values, marker="o", label=label, **style)
    if attacked is not None:
        few = len(attack_at) <= 12
        ax.plot(
            attack_at,
            np.asarray(attacked[1], dtype=np.float64),
            color=VERMILION,
            marker="D" if few else "",
            markersize=5,
            linestyle=":",
            drawstyle="default" if few else "steps-post",
            label="attacked",
        )
    ax.axhline(float(right.mean()), color=GREY, linestyle="--", linewidth=1.2, label="clean")
    ax.set_xlim(left=0.0)
    ax.set_ylim(0.0, 1.0)
    ax.yaxis.set_major_formatter(_percent_formatter())
    ax.set_xlabel(f"ε: {_in_unit(certificates.unit, unit)}")
    ax.set_ylabel(f"accuracy on {len(labels)} clouds")
    legend_above(ax)
    return ax


def plot_cloud_with_radius(
    cloud: ArrayLike,
    radius: float,
    ax: Axes | None = None,
    *,
    unit: str = "",
    color: str = BLUE,
) -> Axes:
    """Draw a planar cloud and, to scale, the disc in which each point may move.

    While every point stays inside its disc, the prediction cannot change. Where the discs are too
    small to be seen, a part of the cloud is drawn once more beside it, magnified.

    Parameters
    ----------
    cloud : array-like of shape (n_points, 2)
        The points.
    radius : float
        The certified radius for the threat ``"per_point"``, in the unit of the points.
    ax : Axes, optional
        Where to draw; its aspect is made equal.
    unit : str, default=""
        The unit of the points, such as ``"px"``.
    color : str, default=BLUE
        Of the points.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the cloud is not planar, or the radius is negative or NaN.
    """
    points = np.asarray(cloud, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0:
        raise ValueError(
            f"cloud has shape {points.shape}: discs are drawn in the plane, expected (n_points, 2)."
        )
    if not radius >= 0:
        raise ValueError(f"radius={radius!r}: expected a number >= 0.")
    ax = _axes(ax)
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float(max((high - low).max(), 2 * radius, 1e-300))
    # discs far below the size of the dots on top of them would only swell the file
    _draw_discs(ax, points, radius if radius > 0.2 * _VISIBLE * extent else 0.0, color, 2.5)
    margin = max(0.04 * extent, 1.2 * radius)
    ax.set_aspect("equal")
    ax.grid(visible=False)
    ax.set_xlabel(_with_unit("x", unit))
    ax.set_ylabel(_with_unit("y", unit))
    middle = (low[1] + high[1]) / 2
    half = max((high[1] - low[1]) / 2, 0.35 * extent) + margin
    ax.set_ylim(middle - half, middle + half)
    right = float(high[0] + margin)
    if 0 < radius < _VISIBLE * extent:
        width = 1.3 * half  # of the inset, beside the points and never on them
        start = right + 0.12 * extent
        _magnify(ax, points, radius, color, unit, (start, middle - width / 2, width, width))
        right = start + width + margin
    left, end = float(low[0] - margin), float(high[0] + margin)
    ax.set_xticks([tick for tick in _ticks(left, end) if left <= tick <= end])
    ax.set_xlim(left, right)
    ax.spines["bottom"].set_bounds(left, end)  # the axis belongs to the cloud, not to the inset
    ax.xaxis.label.set_x((end - left) / 2 / (right - left))
    return ax


def plot_diagram(
    diagram: Mapping[int, ArrayLike],
    ax: Axes | None = None,
    *,
    ball: float | None = None,
    unit: str = "",
) -> Axes:
    """Draw a persistence diagram and, if asked, what a bottleneck distance can make of it.

    Parameters
    ----------
    diagram : dict of int to array-like of shape (n_bars, 2)
        Bars (birth, death) for each homology dimension, such as ``DiagramBatch`` gives by index.
    ax : Axes, optional
        Where to draw.
    ball : float, optional
        ε: every bar gets the square in which it stays, and the bars that may vanish or appear
        (death − birth <= 2ε) lie in a shaded band.
    unit : str, default=""
        The unit of the filtration.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If there is no homology dimension, or the ball is negative or NaN.
    """
    bars = {k: np.asarray(v, dtype=np.float64).reshape(-1, 2) for k, v in sorted(diagram.items())}
    if not bars:
        raise ValueError("diagram is empty: expected a dict of homology dimension to bars.")
    if ball is not None and not ball >= 0:
        raise ValueError(f"ball={ball!r}: expected a number >= 0.")
    ax = _axes(ax)
    largest = max((float(b.max(initial=0.0)) for b in bars.values()), default=0.0)
    largest = (largest or 1.0) + 2 * (ball or 0.0)
    _draw_diagram(ax, bars, ball, largest * 1.05)
    ax.set_xlabel(_with_unit("birth", unit))
    ax.set_ylabel(_with_unit("death", unit))
    if ball and ball < _VISIBLE * largest:
        every = np.concatenate(list(bars.values()))
        window = max(float(np.quantile(every[:, 1], 0.75)) * 1.4, 8 * ball)
        if window < 0.5 * largest:
            inset = ax.inset_axes((0.57, 0.06, 0.41, 0.41))  # under the diagonal, where no bar is
            _draw_diagram(inset, bars, ball, window)
            inset.tick_params(labelsize="x-small")
            ax.indicate_inset_zoom(inset, edgecolor=GREY)
    legend_above(ax, columns=2)
    return ax


def plot_stable_rank(
    rank: StableRankFunction | ArrayLike,
    ax: Axes | None = None,
    *,
    band: float | None = None,
    unit: str = "",
    label: str = "stable rank",
    color: str = BLUE,
) -> Axes:
    """Draw a stable rank, a step function, and the band that it cannot leave.

    Parameters
    ----------
    rank : StableRankFunction or array-like of shape (n_ranks,)
        The function, or its jump points, non-increasing and possibly padded with zeros.
    ax : Axes, optional
        Where to draw.
    band : float, optional
        How far each jump point may move: ε times the constant of the filtration and the rank.
        Left of it new short bars may appear, so there the band has no upper end.
    unit : str, default=""
        The unit of the filtration.
    label, color : str
        Of the line.

    Returns
    -------
    Axes
        The axis of t is logarithmic when the jump points span more than a factor 30, and so is the
        other one when there are many.

    Raises
    ------
    ValueError
        If the jump points are no stable rank, or the band is negative or NaN.
    """
    function = rank if isinstance(rank, StableRankFunction) else StableRankFunction(rank)
    if band is not None and not band >= 0:
        raise ValueError(f"band={band!r}: expected a number >= 0.")
    ax = _axes(ax)
    jumps = function.jumps
    largest, smallest = (float(jumps[0]), float(jumps[-1])) if len(jumps) else (1.0, 1.0)
    logarithmic = largest > 30 * smallest
    many = logarithmic and len(jumps) > 50
    end = largest * (2.0 if logarithmic else 1.15) + (band or 0.0)
    start = min(smallest, band or smallest) / 2 if logarithmic else 0.0
    shifts = [0.0] if band is None else [-band, 0.0, band]
    ends = np.concatenate([[start, end, band or start], *(jumps + shift for shift in shifts)])
    t = np.unique(ends[(ends >= start) & (ends <= end)])
    ax.step(t, function(t), where="post", color=color, label=label)
    if band:
        below = StableRankFunction(np.maximum(jumps - band, 0.0))
        above = StableRankFunction(jumps + band)(t).astype(np.float64)
        above[t < band] = 10.0 * (len(jumps) + 1)
        ax.fill_between(
            t,
            below(t),
            above,
            step="post",
            color=color,
            alpha=0.22,
            linewidth=0,
            label=f"within {_with_unit(f'{band:.3g}', unit, brackets=False)} of each jump",
        )
    if logarithmic:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(_plain_formatter())
    if many:
        ax.set_yscale("symlog", linthresh=1.0)
        ax.yaxis.set_major_formatter(_integer_formatter())
    else:
        ax.yaxis.set_major_locator(_integers())
    ax.set_xlim(start, end)
    ax.set_ylim(0, (len(jumps) + 1) * (2.0 if many else 1.08))
    ax.set_xlabel(_with_unit("t", unit))
    ax.set_ylabel("stable rank: bars needed to come within t")
    legend_above(ax)
    return ax


def plot_stability(chain: StabilityChain, ax: Axes | None = None, *, color: str = BLUE) -> Axes:
    """Draw the constants of a chain, a line a stage, and their product.

    Parameters
    ----------
    chain : StabilityChain
        Such as ``model.stability_``.
    ax : Axes, optional
        Where to draw.
    color : str, default=BLUE
        Of the stages.

    Returns
    -------
    Axes
        Bars start at 1, which changes no distance; where coordinates have constants of their own,
        the bar spans them. The end-to-end constant stands last, in another colour.

    Raises
    ------
    StabilityError
        If the chain is empty.
    """
    total = chain.constant
    rows = [*_stages(chain), ("end to end", total, total)]
    ax = _axes(ax)
    positive = [value for _, low, high in rows for value in (low, high) if 0 < value < math.inf]
    left = min([1.0, *positive])
    right = max([1.0, *positive])
    room = max(right / left, 1.6) ** 0.12
    for place, (_, low, high) in enumerate(rows):
        paint = VERMILION if place == len(rows) - 1 else color
        start = 1.0 if low == high else max(low, left)
        stop = min(max(high, left), right)
        ax.plot([start, stop], [place, place], color=paint, linewidth=4, solid_capstyle="butt")
        ax.plot([stop], [place], color=paint, marker="o", markersize=6)
        text = f"{high:.4g}" if low == high else f"{low:.4g} … {high:.4g}"
        ax.annotate(
            text,
            (max(start, stop), place),
            xytext=(7, 0),
            textcoords="offset points",
            verticalalignment="center",
            fontsize="small",
        )
    ax.axvline(1.0, color=GREY, linewidth=1.0)
    ax.set_xscale("log")
    ax.set_xlim(left / room, right * room**3)
    ax.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")
    ax.xaxis.set_major_formatter(_plain_formatter())
    ax.xaxis.set_minor_formatter(_plain_formatter(1, 2, 5))
    ax.set_xlabel("Lipschitz constant: distances grow by at most this factor")
    return ax


def plot_training(
    history: Sequence[Mapping[str, Any]],
    ax: Axes | None = None,
    *,
    label: str = "training loss",
    color: str = BLUE,
) -> Axes:
    """Draw the losses of a training against its epochs.

    Parameters
    ----------
    history : sequence of dict
        An entry an epoch with ``"train_loss"``, and ``"valid_loss"`` where there is one:
        ``net_.history`` of a fitted :class:`~stablerank.nn.LipschitzClassifier`.
    ax : Axes, optional
        Where to draw.
    label, color : str
        Of the training loss; that on held-out data is dashed.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If there is no epoch.
    """
    if len(history) == 0:
        raise ValueError("history is empty: there is no epoch in it.")
    ax = _axes(ax)
    epochs = np.arange(1, len(history) + 1)
    ax.plot(epochs, [entry["train_loss"] for entry in history], color=color, label=label)
    if all("valid_loss" in entry for entry in history):
        held_out = [entry["valid_loss"] for entry in history]
        ax.plot(epochs, held_out, color=color, linestyle="--", label=f"{label}, held out")
    ax.set_xlim(1, max(len(history), 2))
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    ax.xaxis.set_major_locator(_integers())
    ax.set_xlabel("epoch (pass over the training clouds)")
    ax.set_ylabel("mean loss of a training cloud")
    legend_above(ax)
    return ax


def nearest_distances(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distance from each distinct point to the nearest other one, shape (n_distinct,).

    Infinite for a single point.
    """
    distinct = np.unique(points, axis=0)
    distances, _ = cKDTree(distinct).query(distinct, k=2)
    return np.asarray(distances[:, 1], dtype=np.float64)


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots()[1]


def legend_above(ax: Axes, columns: int = 3) -> None:
    """The legend above the frame, where it hides nothing."""
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns, borderaxespad=0.2)


def _with_unit(name: str, unit: str, *, brackets: bool = True) -> str:
    if not unit:
        return name
    return f"{name} ({unit})" if brackets else f"{name} {unit}"


def _in_unit(description: str, unit: str | None) -> str:
    """`description` with the unit's name where it says "the units of the points"."""
    return description if unit is None else description.replace("the units of the points", unit)


def _draw_discs(
    ax: Axes, points: NDArray[np.float64], radius: float, color: str, markersize: float
) -> None:
    from matplotlib.collections import EllipseCollection
    from matplotlib.colors import to_rgba

    diameters = np.full(len(points), 2 * radius)
    if radius > 0:
        discs = EllipseCollection(
            diameters,
            diameters,
            np.zeros(len(points)),
            units="xy",
            offsets=points,
            offset_transform=ax.transData,
            facecolors=to_rgba(VERMILION, 0.3),
            edgecolors=VERMILION,
            linewidths=0.6,
        )
        ax.add_collection(discs, autolim=False)
    ax.plot(points[:, 0], points[:, 1], linestyle="", marker=".", ms=markersize, color=color)


def _magnify(
    ax: Axes,
    points: NDArray[np.float64],
    radius: float,
    color: str,
    unit: str,
    bounds: tuple[float, float, float, float],
) -> None:
    """Draw some points of the cloud's right side once more, larger, at `bounds` of the data."""
    right = points[points[:, 0] >= np.quantile(points[:, 0], 0.75)]
    spacings = nearest_distances(right)
    center, spacing = np.unique(right, axis=0)[spacings.argmin()], float(spacings.min())
    half = min(max(6 * radius, 1.7 * spacing), 15 * radius)
    inset = ax.inset_axes(bounds, transform=ax.transData)
    near = (np.abs(points - center) <= half + radius).all(axis=1)
    _draw_discs(inset, points[near], radius, color, 4.0)
    inset.set_xlim(center[0] - half, center[0] + half)
    inset.set_ylim(center[1] - half, center[1] + half)
    inset.set_aspect("equal")
    inset.set_xticks([])
    inset.set_yticks([])
    for spine in inset.spines.values():
        spine.set(visible=True, color=GREY)
    inset.set_title(f"× {bounds[2] / (2 * half):.3g}", fontsize="small")
    inset.set_xlabel(
        f"radius {_with_unit(f'{radius:.3g}', unit, brackets=False)}", fontsize="small"
    )
    ax.indicate_inset_zoom(inset, edgecolor=GREY)


def _draw_diagram(
    ax: Axes, bars: Mapping[int, NDArray[np.float64]], ball: float | None, end: float
) -> None:
    from matplotlib.collections import PolyCollection

    ax.plot([0, end], [0, end], color=GREY, linewidth=1.0)
    if ball:
        ax.fill_between(
            [-end, end],
            [-end, end],
            [-end + 2 * ball, end + 2 * ball],
            color=GREY,
            alpha=0.25,
            linewidth=0,
            label="may vanish or appear",
        )
    for (dimension, values), marker in zip(bars.items(), "os^Dv", strict=False):
        color = HOMOLOGY_COLORS[dimension % len(HOMOLOGY_COLORS)]
        name = f"H{dimension}"
        if dimension in _HOMOLOGY_NAMES:
            name += f": {len(values)} {_HOMOLOGY_NAMES[dimension]}"
        if ball and len(values):
            corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * ball
            squares = PolyCollection(
                list(np.unique(values, axis=0)[:, None, :] + corners),
                facecolors=color,
                alpha=0.3,
                linewidths=0,
            )
            ax.add_collection(squares, autolim=False)
        ax.plot(
            values[:, 0],
            values[:, 1],
            linestyle="",
            marker=marker,
            markersize=3.5,
            color=color,
            label=name,
        )
    low = min(0.0, *(float(b.min(initial=0.0)) for b in bars.values())) - 0.03 * end
    ax.set_xlim(low, end)
    ax.set_ylim(low, end)
    ax.set_aspect("equal")


def _stages(chain: StabilityChain, prefix: str = "") -> list[tuple[str, float, float]]:
    """Name, smallest and largest constant of every bound of a chain, branches in turn."""
    rows: list[tuple[str, float, float]] = []
    for element in chain:
        if isinstance(element, Parallel):
            for name, branch in element.branches.items():
                part = branch if isinstance(branch, StabilityChain) else StabilityChain(branch)
                rows.extend(_stages(part, f"{prefix}{name} · "))
        else:
            low = min(element.constants) if element.constants else element.constant
            name = element.stage or "bound"
            if name == "conversion":  # between which metrics is all there is to say
                name = f"{element.source.metric} → {element.target.metric}"
            rows.append((prefix + name, low, element.constant))
    return rows


def _ticks(low: float, high: float) -> NDArray[np.float64]:
    from matplotlib.ticker import MaxNLocator

    return np.asarray(MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high), dtype=np.float64)


def _percent_formatter() -> Any:
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(1.0, decimals=0)


def _integers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True)


def _integer_formatter() -> Any:
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: f"{value:.0f}" if float(value).is_integer() else "")


def _plain_formatter(*digits: int) -> Any:
    """Numbers on a log axis as 0.5, 2, 10; only those that start with one of `digits`, if any."""
    from matplotlib.ticker import FuncFormatter

    def text(value: float, _: object) -> str:
        if value <= 0:
            return ""
        first = round(value / 10 ** math.floor(math.log10(value) + 1e-9))
        return f"{value:g}" if not digits or first in digits else ""

    return FuncFormatter(text)

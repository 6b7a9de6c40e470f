"""The demonstration's figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from stablerank import plotting
from stablerank.demo.data import Data
from stablerank.demo.target import Result
from stablerank.progress import track
from stablerank.report import Drawings, Recipe
from stablerank.stability import HAUSDORFF, StabilityChain

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


def _accuracy_figure(data: Data, result: Result, place: int) -> Recipe:
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

    def paint(figure: Figure) -> None:
        ax = figure.add_subplot()
        plotting.plot_certified_accuracy(
            certificates, y, ax, attacked=curves["attacked"], unit=data.units, label="certified"
        )
        ax.step(
            *curves["forest"],
            where="post",
            color=plotting.GREEN,
            linestyle=":",
            label="random forest, attacked",
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
    return Recipe(name, f"Accuracy against ε: {result.target}", caption, (7.6, 4.4), paint)


def _clouds_figure(data: Data, result: Result) -> Recipe:
    chosen = _telling_clouds(result)
    clouds = data.part(data.test)
    columns = 2 if len(chosen) <= 4 else 3
    lines = -(-len(chosen) // columns)

    def paint(figure: Figure) -> None:
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
    return Recipe("clouds", "Test clouds and their certified radii", caption, size, paint)


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


def _one_cloud_figure(data: Data, result: Result) -> Recipe:
    i = _telling_clouds(result)[0]
    cloud, radius = data.clouds[data.test[i]], float(result.certificates.radius[i])
    persistence, ranks, _ = (step for _, step in result.model.pipeline_.steps)
    diagrams = persistence.transform([cloud])
    vector = ranks.transform(diagrams)[0]
    to_diagrams = persistence.stability(HAUSDORFF)
    chain = StabilityChain(to_diagrams, ranks.stability(to_diagrams.target))
    constants = np.asarray(chain.constants)

    def paint(figure: Figure) -> None:
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
    return Recipe("one-cloud", "From one cloud to its certificate", caption, (10.4, 8.2), paint)


def _constants_figure(result: Result) -> Recipe:
    chain = result.certificates.chain

    def paint(figure: Figure) -> None:
        plotting.plot_stability(chain, figure.add_subplot())

    caption = (
        f"How much each stage can stretch a distance, and all of them together: when every point "
        f"moves by up to 1, no logit moves by more than {f"{chain.constant:.6g}"}."
    )
    title = f"The chain of constants: {result.target}"
    return Recipe("constants", title, caption, (7.6, 4.4), paint)


def _training_figure(results: Sequence[Result]) -> Recipe:
    colors = (plotting.BLUE, plotting.VERMILION)

    def paint(figure: Figure) -> None:
        ax = figure.add_subplot()
        for result, color in zip(results, colors, strict=False):
            history = result.model.pipeline_.named_steps["network"].net_.history
            plotting.plot_training(history, ax, label=result.target, color=color)

    return Recipe(
        "training",
        "Training",
        "Mean loss over the training clouds in each epoch; nothing was tuned on the test clouds.",
        (7.6, 3.4),
        paint,
    )

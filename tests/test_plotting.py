"""Figures: what is drawn is what was computed, in the axes that were given."""

from collections.abc import Iterator

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes

from stablerank import plotting, stable_rank_function
from stablerank.certify import Certificates
from stablerank.stability import BOTTLENECK, HAUSDORFF, LINF, Bound, StabilityChain

CHAIN = StabilityChain(
    Bound(HAUSDORFF, BOTTLENECK, 1.0, "D1", "alpha"),
    Bound(BOTTLENECK, LINF, 2.0, "R3", "ranks"),
)
CLAIMS = Certificates(
    radius=np.array([0.0, 0.5, 1.0, 2.0]),
    prediction=np.array([0, 0, 1, 1]),
    margin=np.ones(4),
    threat="per_point",
    unit="px",
    chain=CHAIN,
)
LABELS = [0, 0, 1, 0]  # the last one is wrong, so its radius must not count


@pytest.fixture
def ax() -> Iterator[Axes]:
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_certified_accuracy_is_that_of_the_certificates(ax: Axes) -> None:
    epsilons = np.array([0.0, 0.25, 0.5, 0.75, 1.5])
    assert plotting.plot_certified_accuracy(CLAIMS, LABELS, ax, epsilons=epsilons) is ax
    (line,) = [each for each in ax.lines if each.get_label() == "certified"]
    drawn = np.asarray(line.get_xydata())
    for epsilon in epsilons:
        height = drawn[np.isclose(drawn[:, 0], epsilon), 1]
        # radii are strict, so at 0.5 the cloud of radius 0.5 has gone already
        assert CLAIMS.certified_accuracy(LABELS, epsilon) in height.round(12)
    assert "px" in ax.get_xlabel()


def test_the_method_of_the_certificates_draws_the_same(ax: Axes) -> None:
    assert CLAIMS.plot(LABELS, ax=ax) is ax
    assert ax.lines


def test_discs_are_drawn_to_scale(ax: Axes) -> None:
    cloud = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 3.0]])
    assert plotting.plot_cloud_with_radius(cloud, 1.0, ax, unit="px") is ax
    ax.figure.canvas.draw()
    assert ax.get_aspect() in (1.0, "equal")
    drawn = [path.get_extents() for each in ax.collections for path in each.get_paths()]
    widths = {round(extent.width, 6) for extent in drawn} | {
        round(patch.get_extents().transformed(ax.transData.inverted()).width, 6)
        for patch in ax.patches
    }
    assert 2.0 in widths  # the diameter of a disc of radius 1


def test_every_other_figure_is_drawn_in_the_axes_that_are_given(ax: Axes) -> None:
    diagram = {0: np.array([[0.0, 1.0]]), 1: np.array([[1.0, 2.0], [0.5, 0.75]])}
    assert plotting.plot_diagram(diagram, ax, ball=0.1, unit="px") is ax
    rank = stable_rank_function(diagram[1])
    assert plotting.plot_stable_rank(rank, ax, band=0.1) is ax
    assert plotting.plot_stability(CHAIN, ax) is ax
    assert plotting.plot_training([{"train_loss": 2.0}, {"train_loss": 1.0}], ax) is ax
    ax.figure.canvas.draw()  # nothing in them breaks when it is painted


def test_a_figure_is_made_when_no_axes_are_given() -> None:
    made = plotting.plot_stability(CHAIN)
    assert isinstance(made, Axes)
    plt.close("all")

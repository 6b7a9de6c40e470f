"""Training of what is in front of a network: the settings, the labels, and the metrics assumed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stablerank.diagrams.batch import DiagramBatch
from stablerank.learned.fronts import Front
from stablerank.nn.classifier import LipschitzClassifier, check_classes
from stablerank.stability import BOTTLENECK, ORDERED_DEATHS, Space


def learn(
    stage: Any, front: Front, batch: DiagramBatch, y: Any, constants: NDArray[np.float64] | None
) -> LipschitzClassifier | None:
    """Train a front together with a network of the stage's settings.

    Parameters
    ----------
    stage : LearnedStableRank or LearnedTemplates
        Whose parameters are those of the training.
    front : Front
        What is trained, in place.
    batch : DiagramBatch
        The training diagrams.
    y : array-like of shape (n_clouds,) or None
        The labels.
    constants : ndarray of shape (n_features,) or None
        By which the vectors of the front are divided (R6); 1 by default.

    Returns
    -------
    LipschitzClassifier or None
        The network, of the front's vectors; None if there is no bar, and nothing was trained.

    Raises
    ------
    ValueError
        Without labels, unless there is no bar; and for labels of another number.
    """
    head = _network(stage, constants)
    if not any(len(bars) for bars in batch.bars.values()):
        return None
    if y is None:
        raise ValueError(
            f"{type(stage).__name__} learns from labels: give fit(X, y) the labels y of the "
            f"training diagrams. Without labels use a stage that is not learned."
        )
    labels = np.asarray(y)
    if labels.shape != (len(batch),):
        raise ValueError(
            f"y has shape {labels.shape}, but there are {len(batch)} diagrams: expected one label "
            f"a diagram."
        )
    check_classes(labels)
    return head.fit_behind(front, front.inputs(batch), labels)


def check_training(stage: Any) -> None:
    """Raise unless the settings of the training are in range.

    Raises
    ------
    ValueError
        Naming the parameter.
    """
    check_choice("loss", stage.loss, ("cross-entropy", "margin", "offset"))
    _network(stage, None)._check_parameters()


def check_choice(name: str, value: Any, choices: Any) -> None:
    """Raise unless a value is one of some names."""
    if not isinstance(value, str) or value not in choices:
        expected = ", ".join(f'"{choice}"' for choice in choices)
        raise ValueError(f"{name}={value!r}: expected one of {expected}.")


def check_at_least(name: str, value: Any, least: int) -> None:
    """Raise unless a value is an integer of at least that."""
    integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not integer or value < least:
        raise ValueError(f"{name}={value!r}: expected an integer >= {least}.")


def source_of(batch: DiagramBatch) -> Space:
    """The metrics that training assumes: ordered deaths where all births are 0."""
    parts = {
        f"H{k}": ORDERED_DEATHS if not batch.bars[k][:, 0].any() else BOTTLENECK
        for k in batch.homology_dimensions
    }
    return Space("product", parts=tuple(parts.items()))


def _network(stage: Any, constants: NDArray[np.float64] | None) -> LipschitzClassifier:
    return LipschitzClassifier(
        epsilon=stage.epsilon,
        loss=stage.loss,
        temperature=stage.temperature,
        offset=stage.offset,
        hidden=stage.hidden,
        layer=stage.layer,
        activation=stage.activation,
        constants=constants,
        max_epochs=stage.max_epochs,
        lr=stage.lr,
        batch_size=stage.batch_size,
        random_state=stage.random_state,
        verbose=stage.verbose,
    )

"""What attacks descend: how far a label is ahead of the other classes, and the slope of that."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from stablerank.attack.fields import Shape
from stablerank.attack.generators import Indices
from stablerank.attack.gradients import DifferentiablePipeline

_POINTS_AT_ONCE = 200_000


def margins_and_gradient(
    pipeline: DifferentiablePipeline,
    points: NDArray[np.float64],
    offsets: Indices,
    shapes: Sequence[Shape],
    columns: NDArray[np.intp],
    loss: Literal["margin", "cross-entropy"] = "margin",
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The margin of each cloud, and the gradient of its loss with respect to its points.

    Parameters
    ----------
    pipeline : DifferentiablePipeline
    points, offsets, shapes
        As :meth:`DifferentiablePipeline.logits` takes them, `points` an array.
    columns : ndarray of shape (n_clouds,), int
        Which logit is the label's.
    loss : {"margin", "cross-entropy"}, default="margin"
        The label's logit less the largest other one, or the label's log-probability.

    Returns
    -------
    margins : ndarray of shape (n_clouds,), float64
    gradient : ndarray of shape (n_points, d), float64
    """
    tensor = torch.from_numpy(points).requires_grad_()
    logits = pipeline.logits(tensor, offsets, shapes)
    own = torch.from_numpy(columns)[:, None]
    others = logits.scatter(1, own, -math.inf).amax(dim=1)
    margins = logits.gather(1, own)[:, 0] - others
    total = margins
    if loss == "cross-entropy":
        total = torch.log_softmax(logits, dim=1).gather(1, own)
    (gradient,) = torch.autograd.grad(total.sum(), tensor)
    return margins.detach().numpy(), gradient.numpy()


def label_columns(
    pipeline: DifferentiablePipeline, labels: NDArray[np.generic]
) -> NDArray[np.intp]:
    """Which logit is each label's, shape (n_clouds,).

    Raises
    ------
    ValueError
        If there is none: a surrogate may not know all classes of what it stands for.
    """
    own = labels[:, None] == pipeline.classes_
    unknown = np.flatnonzero(~own.any(axis=1))
    if unknown.size:
        raise ValueError(
            f"The label {labels[unknown[0]].item()!r} is none of the classes that gradients lead "
            f"away from, {pipeline.classes_.tolist()}: fit the surrogate on clouds of all classes."
        )
    return np.asarray(own.argmax(axis=1), dtype=np.intp)


def blocks_of_clouds(clouds: NDArray[np.intp], sizes: Sequence[int]) -> Iterator[NDArray[np.intp]]:
    """Runs of clouds, of `sizes` points, that fit into the processor's cache together.

    Examples
    --------
    >>> [block.tolist() for block in blocks_of_clouds(np.array([4, 7, 9]), [150_000] * 3)]
    [[4], [7], [9]]
    """
    numbers = np.cumsum(sizes) // _POINTS_AT_ONCE
    for number in np.unique(numbers):
        yield clouds[numbers == number]

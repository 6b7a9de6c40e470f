"""Digits: 1,797 images of 8 × 8 pixels from 0 (paper) to 16 (ink), 70/30 stratified.

scikit-learn's digits; every pixel may change by ε grey levels (``threat="sup"``, D4). Ours:

- "whole images": landscapes of what is bright first, and of what is dark first, H0 and H1. It does
  not tell directions apart, so not 6 from 9 either;
- "parts of images": the same, bright first, of what lies on one side of a line (24 lines) or in a
  square (9 squares), which are maxima with fixed masks (see ``directions.py``);
- "pixels, certified": the 64 pixels into the same network, no persistence.

Fixed numbers of epochs: settings were chosen on the split of ``random_state=0``, which is none of
the seeds of the table, by a validation part of its training set. Diagrams of the others are those
of what is bright first.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from benchmarks.baselines import FlatClassifier
from benchmarks.comparison.certified import CertifiedPipeline
from benchmarks.comparison.task import Model, Split, Task
from benchmarks.directions import MaskedPersistence, Pixels, boxes, half_planes, landscapes_of
from stablerank import Certificates, Landscapes
from stablerank.attack.gradients import DifferentiablePipeline

SHAPE = (8, 8)
OFFSETS = (-1.6, 0.1, 1.6)
BOXES: dict[str, Any] = {"centres": (1.5, 3.5, 5.5), "reach": 1.6}
PARTS: dict[str, Any] = {"positions": tuple(range(-15, 0, 2)), "n_levels": {0: 3, 1: 1}}
WHOLE: dict[str, Any] = {"positions": tuple(range(-15, 16, 2)), "n_levels": {0: 6, 1: 3}}
ACCURATE: dict[str, Any] = {"loss": "cross-entropy", "temperature": 8.0, "max_epochs": 30}
ROBUST: dict[str, Any] = {
    "loss": "margin",
    "temperature": 3.0,
    "offset": (0.25, 1.0, 2.0),
    "max_epochs": 40,
}
CERTIFIED: dict[str, tuple[str, dict[str, Any]]] = {
    "whole images, accurate": ("whole", ACCURATE),
    "parts of images, accurate": ("parts", ACCURATE),
    "parts of images, robust": ("parts", ROBUST),
    "pixels, certified, accurate": ("pixels", ACCURATE),
    "pixels, certified, robust": ("pixels", ROBUST),
}


def load(seed: int, quick: bool) -> Split:
    """Split of a seed; 300 images where little is enough."""
    digits = load_digits()
    n = 300 if quick else None
    images, y = list(digits.images[:n]), digits.target[:n]
    train, test = train_test_split(np.arange(len(y)), test_size=0.3, stratify=y, random_state=seed)
    return Split.of(images, y, train, test)


def vectorizer(kind: str) -> Any:
    """From images to vectors, a union of stages."""
    if kind == "whole":
        signs = [MaskedPersistence(bright=True), MaskedPersistence(bright=False)]
        return landscapes_of(signs, Landscapes(**WHOLE))
    masks = half_planes(SHAPE, 8, OFFSETS) + boxes(SHAPE, **BOXES)
    return landscapes_of([MaskedPersistence(mask) for mask in masks], Landscapes(**PARTS))


class PixelPipeline(ClassifierMixin, BaseEstimator):
    """Images to a certified pipeline on clouds of grey levels, (n_pixels, 1).

    A pixel is the only coordinate of a point, so the sup norm of images is that of clouds whose
    coordinates move, and a radius in the one is a radius in the other.

    Parameters
    ----------
    pipeline : CertifiedPipeline
        With ``threat="per_coordinate"``.
    random_state : int or None, default=None
        Handed to the pipeline.
    """

    def __init__(self, pipeline: CertifiedPipeline, random_state: int | None = None) -> None:
        self.pipeline = pipeline
        self.random_state = random_state

    def fit(self, X: Any, y: ArrayLike) -> PixelPipeline:
        """Fit the pipeline."""
        fresh = clone(self.pipeline).set_params(random_state=self.random_state)
        self.fitted_ = fresh.fit(_clouds(X), y)
        self.classes_, self.n_parameters_ = self.fitted_.classes_, self.fitted_.n_parameters_
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The label of each image."""
        return self.fitted_.predict(_clouds(X))

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """The logits, shape (n_images, n_classes)."""
        return self.fitted_.decision_function(_clouds(X))

    def differentiable_logits(
        self, points: Tensor, offsets: NDArray[np.int64], shapes: Any = None
    ) -> Tensor:
        """As `decision_function`, in torch."""
        clouds = [(int(n), 1) for n in np.diff(offsets)]
        return DifferentiablePipeline(self.fitted_.pipeline_).logits(points, offsets, clouds)

    def certify(self, X: Any) -> Certificates:
        """Radii in grey levels."""
        return self.fitted_.certify(_clouds(X))


def certified(name: str, seed: int, quick: bool) -> Any:
    """One of our models."""
    kind, network = CERTIFIED[name]
    network = {"epsilon": 0.5, "hidden": (128, 128), **network}
    if quick:
        network["max_epochs"] = 6
    if kind == "pixels":
        pixels = CertifiedPipeline(Pixels(), network, threat="per_coordinate")
        return PixelPipeline(pixels, random_state=seed)
    return CertifiedPipeline(vectorizer(kind), network, threat="sup", random_state=seed)


def flat(classifier: str, seed: int, quick: bool) -> FlatClassifier:
    """The pixels as they are, unconstrained."""
    trees = {"n_trees": 50} if quick else {}
    return FlatClassifier(classifier, random_state=seed, **trees)


def task(unconstrained: Mapping[str, Model]) -> Task:
    """The digits, with these models beside ours."""
    pixels = {
        "pixels, forest": partial(flat, "forest"),
        "pixels, SVM": partial(flat, "svm"),
    }
    ours = {name: partial(certified, name) for name in CERTIFIED}
    return Task(
        name="digits",
        title="Digits",
        unit="grey levels of 16",
        load=load,
        epsilons=(0.25, 0.5, 1.0, 2.0),
        models={
            **pixels,
            **unconstrained,
            **ours,
        },
        n_attacked=30,
        threat="sup",
        filtration=MaskedPersistence(),
    )


def _clouds(X: Any) -> list[NDArray[np.float64]]:
    return [np.asarray(image, dtype=np.float64).reshape(-1, 1) for image in X]

"""Digits: persistence of images, certified against every pixel's change, five seeds.

scikit-learn's digits, 1,797 images of 8 × 8 pixels from 0 (paper) to 16 (ink), split 70/30
stratified. Every pixel may change by ε grey levels (``threat="sup"``, D4). Three kinds of vectors:

- "whole images": landscapes of what is bright first, and of what is dark first, H0 and H1. It does
  not tell directions apart, so not 6 from 9 either;
- "parts of images": the same, bright first, of what lies on one side of a line (24 lines) or in a
  square (9 squares), which are maxima with fixed masks (see ``directions.py``);
- "pixels", the rival: the 64 pixels into the same network, no persistence.

Certificates are by the global constant. Fixed numbers of epochs, no look at the test images: the
settings were chosen on the split of ``random_state=0``, which is none of the seeds here, by a
validation part of its training set.

Attacked accuracy is what gradients and a random search leave of some test images; certified <=
attacked <= clean is asserted image by image.

Command: ``python -m benchmarks.digits [--quick]``, about six minutes of one core; ``--quick``
(small data, one seed) prints and writes nothing.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from benchmarks.directions import MaskedPersistence, Pixels, boxes, half_planes, landscapes_of
from benchmarks.gradients import attacked_accuracy
from benchmarks.record import mean_and_std, print_table, write
from stablerank import Landscapes, LipschitzClassifier, certify

EPSILONS = (0.25, 0.5, 1.0, 2.0)
ATTACKED_EPSILONS = (0.5, 1.0, 2.0)
SEEDS = (1, 2, 3, 4, 5)
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
MODELS: dict[str, dict[str, Any]] = {
    "whole images, accurate": {"vectors": "whole", "network": ACCURATE},
    "parts of images, accurate": {"vectors": "parts", "network": ACCURATE},
    "parts of images, robust": {"vectors": "parts", "network": ROBUST},
    "pixels, accurate": {"vectors": "pixels", "network": ACCURATE},
    "pixels, robust": {"vectors": "pixels", "network": ROBUST},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small data, one seed, no file")
    arguments = parser.parse_args()
    started = time.time()
    torch.set_num_threads(1)
    sizes = {"n_images": 300, "n_attacked": 6, "most_epochs": 6} if arguments.quick else {}
    runs: dict[str, list[dict[str, float]]] = {}
    for seed in SEEDS[:1] if arguments.quick else SEEDS:
        for name, row in run(seed, **sizes).items():
            runs.setdefault(name, []).append(row)
            print(seed, name, {key: round(value, 3) for key, value in row.items()}, flush=True)
    table = {name: mean_and_std(rows) for name, rows in runs.items()}
    print_table(table)
    if not arguments.quick:
        content = {
            "seeds": SEEDS,
            "epsilons": EPSILONS,
            "models": MODELS,
            "masks": {"offsets": OFFSETS, "boxes": BOXES},
            "landscapes": {"parts": PARTS, "whole": WHOLE},
            "table": table,
        }
        print(write("digits", "benchmarks.digits", started, {**content, "runs": runs}))


def vectorizer(kind: str) -> Any:
    """From images to vectors, a union of stages or one stage."""
    if kind == "pixels":
        return Pixels()
    if kind == "whole":
        signs = [MaskedPersistence(bright=True), MaskedPersistence(bright=False)]
        return landscapes_of(signs, Landscapes(**WHOLE))
    masks = half_planes(SHAPE, 8, OFFSETS) + boxes(SHAPE, **BOXES)
    return landscapes_of([MaskedPersistence(mask) for mask in masks], Landscapes(**PARTS))


def run(
    seed: int, n_images: int | None = None, n_attacked: int = 16, most_epochs: int = 1000
) -> dict[str, dict[str, float]]:
    """One seed: split, training and attacks follow from it."""
    digits = load_digits()
    images, y = list(digits.images[:n_images]), digits.target[:n_images]
    train, test = train_test_split(np.arange(len(y)), test_size=0.3, stratify=y, random_state=seed)
    rows, fitted = {}, {}
    for name, settings in MODELS.items():
        kind, network = settings["vectors"], settings["network"]
        shape = (-1, 1) if kind == "pixels" else SHAPE
        X_train, X_test = ([images[i].reshape(shape) for i in part] for part in (train, test))
        if kind not in fitted:
            stage = vectorizer(kind)
            fitted[kind] = stage, stage.fit_transform(X_train)
        stage, vectors = fitted[kind]
        classifier = LipschitzClassifier(
            epsilon=0.5,
            hidden=(128, 128),
            random_state=seed,
            **{**network, "max_epochs": min(most_epochs, network["max_epochs"])},
        ).fit(vectors, y[train])
        pipeline = make_pipeline(stage, classifier)
        threat = "per_coordinate" if kind == "pixels" else "sup"  # the same, see Pixels
        claims = certify(pipeline, X_test, threat=threat, method="global")
        right = claims.prediction == y[test]
        row = {
            "clean": float(right.mean()),
            "train": float((classifier.predict(vectors) == y[train]).mean()),
        }
        for epsilon in EPSILONS:
            row[f"certified {epsilon:g}"] = claims.certified_accuracy(y[test], epsilon)
        some = claims[:n_attacked]
        row["clean, attacked images"] = float(right[:n_attacked].mean())
        for epsilon in ATTACKED_EPSILONS:
            row[f"certified {epsilon:g}, attacked images"] = some.certified_accuracy(
                y[test][:n_attacked], epsilon
            )
            row[f"attacked {epsilon:g}"] = attacked_accuracy(
                pipeline, X_test[:n_attacked], y[test][:n_attacked], some, epsilon, seed
            )
        rows[name] = row
    return rows


if __name__ == "__main__":
    main()

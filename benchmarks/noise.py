"""Noise on digits: what it does to persistence, as Turkeš et al. 2021 measured it on MNIST.

scikit-learn's digits, 1,797 images, in a margin of paper, 12 × 12 pixels, split 70/30 stratified;
eight kinds of noise at two levels (:mod:`benchmarks.noises`), on test images only. Six filtrations
(:mod:`benchmarks.image_filtrations`), H0 and H1 together, each with

- "diagram": the persistence scale space kernel; distances are those of bottleneck and Wasserstein;
- "landscape", "image", "stable rank" (:mod:`benchmarks.signatures`), in ℓ2;

and "pixels", without persistence, as in the paper. Measured:

- distance: from the signature of the clean test image to that of the noisy one, mean over images,
  divided by the mean distance between signatures of different clean ones; 1 is another digit;
- accuracy of a support vector machine with a Gaussian kernel, width and cost by a grid search
  within the training images (:mod:`benchmarks.block_svm`), trained on clean images;
- accuracy of certified networks, trained on clean images with the settings of
  :mod:`benchmarks.comparison.digits` ("robust"), of landscapes or stable ranks of whole images, or
  of parts of them, and of pixels; and their certified accuracy, every pixel changed by at most ε.
  The numbers of ranks were chosen on the split of ``random_state=0``, which is none of the seeds
  here, by a validation part of its training set.

No noise may change a prediction within its certified radius. That is checked for brightness,
contrast, Gaussian and shot, as they are, and shrunk towards the clean image until the largest
change of a pixel is just inside the radius; one violation ends the run. Turned, shifted and
stretched images, and those with salt and pepper, are further away than any radius.

Command: ``python -m benchmarks.noise [--quick]``; the file says what it cost (CPU). ``--quick``
(small data, one seed, short training) prints and writes nothing.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from benchmarks.block_svm import BlockSVM
from benchmarks.comparison import digits
from benchmarks.directions import MaskedPersistence, Pixels, boxes, half_planes
from benchmarks.image_filtrations import filtrations
from benchmarks.noise_report import figure, markdown
from benchmarks.noises import CLEAN, GREY, MARGIN, NOISES, noises_of, noisy, with_margin
from benchmarks.record import mean_and_std, write
from benchmarks.signatures import relative_diagram_distances, relative_distance, vectorizers
from stablerank import (
    Certificates,
    Landscapes,
    LipschitzClassifier,
    LipschitzUnion,
    StableRank,
    certify,
)

__all__ = ["figure", "main", "markdown", "run", "summary"]

Images = NDArray[np.float64]
Labels = NDArray[np.int64]
Rows = dict[str, dict[str, float]]

SEEDS = (1, 2, 3)
EPSILONS = (0.25, 0.5, 1.0, 2.0)
SHRINK = 0.999  # of the radius
METRICS = ("bottleneck", "Wasserstein")
LANDSCAPES = {"whole": digits.WHOLE, "parts": digits.PARTS}
RANKS: dict[str, dict[int, int]] = {"whole": {0: 12, 1: 6}, "parts": {0: 6, 1: 3}}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small data, one seed, no file")
    arguments = parser.parse_args()
    started, started_cpu = time.time(), time.process_time()
    torch.set_num_threads(1)
    sizes = {"n_images": 200, "most_epochs": 4} if arguments.quick else {}
    runs = []
    for seed in SEEDS[:1] if arguments.quick else SEEDS:
        runs.append(run(seed, **sizes))
        print(f"seed {seed}: {time.process_time() - started_cpu:.0f} s of CPU", flush=True)
    content = {
        "seeds": SEEDS[: len(runs)],
        "settings": {"network": digits.ROBUST, "landscapes": LANDSCAPES, "n_ranks": RANKS},
        "cpu_seconds": round(time.process_time() - started_cpu, 1),
        **summary(runs),
    }
    print(markdown(content))
    if not arguments.quick:
        print(write("noise", "benchmarks.noise", started, {**content, "runs": runs}))


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """What tables and figures are made of: mean and deviation over the seeds, and sums of pairs."""
    means = {
        what: {name: mean_and_std([one[what][name] for one in runs]) for name in runs[0][what]}
        for what in ("accuracy", "distance", "certified")
    }
    pairs = {name: sum(one["pairs"][name] for one in runs) for name in runs[0]["pairs"]}
    # a violation would have ended the run
    return {"noises": list(NOISES), **means, "pairs": pairs, "violations": 0}


def run(seed: int, n_images: int | None = None, most_epochs: int = 1000) -> dict[str, Any]:
    """One seed: split, noise and training follow from it.

    Returns
    -------
    dict
        "accuracy", "distance": a row a representation, with a number for each noise; "certified":
        a row a network, with a number for each ε; "pairs": how many noisy images lay within a
        certified radius, for each network.
    """
    data = load_digits()
    images, y = with_margin(data.images[:n_images]), data.target[:n_images]
    train, test = train_test_split(np.arange(len(y)), test_size=0.3, stratify=y, random_state=seed)
    noisy_images = {name: noisy(images[test], name, seed) for name in NOISES}
    accuracy, distance = support_vector_machines(
        images[train], y[train], noisy_images, y[test], seed
    )
    certified: Rows = {}
    pairs: dict[str, int] = {}
    for name, (score, shares, n_pairs) in networks(
        images[train], y[train], noisy_images, y[test], seed, most_epochs
    ).items():
        accuracy[name], certified[name], pairs[name] = score, shares, n_pairs
    return {"accuracy": accuracy, "distance": distance, "certified": certified, "pairs": pairs}


def support_vector_machines(
    train: Images, y_train: Labels, test: dict[str, Images], y_test: Labels, seed: int
) -> tuple[Rows, Rows]:
    """Accuracy and relative distance, for each representation and noise."""
    accuracy: Rows = {}
    distance: Rows = {}

    def fit_and_score(
        name: str, vectors: NDArray[np.float64], noisy_vectors: dict[str, Any], n_blocks: int
    ) -> None:
        machine = BlockSVM(n_blocks, random_state=seed).fit(vectors, y_train)
        accuracy[name] = {
            noise: float(machine.score(moved, y_test)) for noise, moved in noisy_vectors.items()
        }
        distance[name] = {
            noise: relative_distance(noisy_vectors[CLEAN], moved)
            for noise, moved in noisy_vectors.items()
        }

    flat = {noise: images.reshape(len(images), -1) for noise, images in test.items()}
    fit_and_score("pixels", train.reshape(len(train), -1), flat, n_blocks=1)
    for name, filtration in filtrations(train.shape[1:]).items():
        diagrams = filtration.transform(train)
        noisy_diagrams = {noise: filtration.transform(images) for noise, images in test.items()}
        for metric in METRICS:
            distance[f"{name}, {metric}"] = relative_diagram_distances(
                noisy_diagrams[CLEAN], noisy_diagrams, metric
            )
        for signature, vectorizer in vectorizers(filtration.top).items():
            vectors = vectorizer.fit_transform(diagrams)
            moved = {noise: vectorizer.transform(batch) for noise, batch in noisy_diagrams.items()}
            fit_and_score(f"{name}, {signature}", vectors, moved, n_blocks=2)
    return accuracy, distance


def networks(
    train: Images,
    y_train: Labels,
    test: dict[str, Images],
    y_test: Labels,
    seed: int,
    most_epochs: int,
) -> dict[str, tuple[dict[str, float], dict[str, float], int]]:
    """For each certified network accuracy by noise, certified accuracy by ε, and pairs checked."""
    results: dict[str, tuple[dict[str, float], dict[str, float], int]] = {}
    settings = {**digits.ROBUST, "max_epochs": min(most_epochs, digits.ROBUST["max_epochs"])}

    def fit_and_certify(name: str, stage: Any, inputs: Any, vectors: Any, threat: str) -> None:
        """`inputs` makes of images what the stage takes, `vectors` what it returns."""
        network = LipschitzClassifier(
            epsilon=0.5, hidden=(128, 128), random_state=seed, **settings
        ).fit(stage.fit_transform(inputs(train)), y_train)
        pipeline = make_pipeline(stage, network)
        predicted = {noise: network.predict(vectors(stage, noise)) for noise in test}
        claims = certify(pipeline, inputs(test[CLEAN]), threat=threat, method="global")
        if (claims.prediction != predicted[CLEAN]).any():
            raise RuntimeError(f"{name}: the pipeline and its parts predict different classes.")
        near = shrunk(test, claims.radius)
        pairs = pairs_kept(claims, test[CLEAN], near, pipeline.predict(inputs(near)))
        for noise in noises_of(GREY):
            pairs += pairs_kept(claims, test[CLEAN], test[noise], predicted[noise])
        accuracy = {noise: float((p == y_test).mean()) for noise, p in predicted.items()}
        certified = {f"{eps:g}": claims.certified_accuracy(y_test, eps) for eps in EPSILONS}
        results[f"network, {name}"] = accuracy, certified, pairs

    for what, own in persistences(train.shape[1:]).items():
        diagrams = {noise: [f.fit(X).transform(X) for f in own] for noise, X in test.items()}

        def from_diagrams(stage: Any, noise: str, diagrams: Any = diagrams) -> Any:
            ends = [stages[-1] for _, stages in stage.branches()]
            return np.hstack(
                [end.transform(batch) for end, batch in zip(ends, diagrams[noise], strict=True)]
            )

        for signature, vectorizer in {
            "landscapes": Landscapes(**LANDSCAPES[what]),
            "stable ranks": StableRank(n_ranks=RANKS[what]),
        }.items():
            union = LipschitzUnion(
                [(f"part{i}", make_pipeline(f, clone(vectorizer))) for i, f in enumerate(own)]
            )
            fit_and_certify(f"{what}, {signature}", union, list, from_diagrams, "sup")

    def rows(images: Images) -> list[Images]:
        return [f.reshape(-1, 1) for f in images]

    # "per_coordinate" is the same threat here, see Pixels
    fit_and_certify(
        "pixels",
        Pixels(),
        rows,
        lambda stage, noise: stage.transform(rows(test[noise])),
        "per_coordinate",
    )
    return results


def persistences(shape: tuple[int, int]) -> dict[str, list[MaskedPersistence]]:
    """Those of the comparison, with the masks around the middle of these larger images."""
    centres = tuple(centre + MARGIN for centre in digits.BOXES["centres"])
    masks = half_planes(shape, 8, digits.OFFSETS)
    masks += boxes(shape, centres, digits.BOXES["reach"])
    return {
        "whole": [MaskedPersistence(bright=True), MaskedPersistence(bright=False)],
        "parts": [MaskedPersistence(mask) for mask in masks],
    }


def shrunk(test: dict[str, Images], radius: NDArray[np.float64]) -> Images:
    """On the way from clean to noisy images, just inside the radius of each.

    The noise is that of :data:`~benchmarks.noises.GREY`, one kind after the other, at its second
    level: shrunk, both levels are much the same.
    """
    clean, names = test[CLEAN], noises_of(GREY)[1::2]
    moved = np.stack([test[names[i % len(names)]][i] for i in range(len(clean))])
    changes = np.abs(moved - clean).max(axis=(1, 2))
    shares = np.minimum(1.0, SHRINK * radius / np.where(changes > 0, changes, 1.0))
    return clean + (moved - clean) * shares[:, None, None]


def pairs_kept(claims: Certificates, clean: Images, moved: Images, predicted: NDArray[Any]) -> int:
    """How many images were changed within their certified radius.

    Raises
    ------
    RuntimeError
        If the prediction of one of them changed.
    """
    changes = np.nextafter(np.abs(moved - clean).max(axis=(1, 2)), np.inf)  # as computed, or more
    inside = (moved != clean).any(axis=(1, 2)) & (changes < claims.radius)
    broken = np.flatnonzero(inside & (predicted != claims.prediction))
    if broken.size:
        i = broken[0]
        raise RuntimeError(
            f"{broken.size} certificates are violated: image {i} was certified up to "
            f"{claims.radius[i]:g}, and a change by {changes[i]:g} made a {predicted[i]} of a "
            f"{claims.prediction[i]}."
        )
    return int(inside.sum())


if __name__ == "__main__":
    main()

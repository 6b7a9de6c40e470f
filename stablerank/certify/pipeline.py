"""Certify any pipeline whose stages say how stable they are, by the product of constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from stablerank.certify.certificate import Certificates
from stablerank.certify.margins import margin_radii
from stablerank.certify.threats import DIAGRAM_THREATS, chain_of_stages, threat_space
from stablerank.diagrams.batch import DiagramBatch
from stablerank.diagrams.cloud_diagrams import CloudDiagrams
from stablerank.diagrams.shards import DiagramShards
from stablerank.stability import StabilityChain, StabilityError


def certify(
    pipeline: Any,
    X: Any,
    *,
    threat: str = "per_point",
    p: float | None = None,
    q: float | None = None,
) -> Certificates:
    """One certified radius for each input, in the unit of the threat.

    Parameters
    ----------
    pipeline : StableRankClassifier, sklearn Pipeline or LipschitzClassifier
        Fitted. Every step has ``stability(source)``; the last one is a classifier with logits.
    X : list of clouds, CloudDiagrams, DiagramShards or DiagramBatch
        Clouds for the threats against points, or what the very persistence of this pipeline has
        made of them: :class:`~stablerank.diagrams.CloudDiagrams`, or shards, which are certified
        one after the other. Diagrams of any kind for the threats against diagrams (the steps that
        compute diagrams are then left out).
    threat : str, default="per_point"
        What the adversary may do. ``"per_point"``: move every point by at most the radius in ℓ2;
        ``"hausdorff"``: hand in any cloud within that Hausdorff distance; ``"per_coordinate"``:
        move every coordinate by at most the radius; ``"sup"``: change every entry of a
        dissimilarity matrix; ``"bottleneck"``, ``"wasserstein"``: change the diagrams, in each
        homology dimension by at most that distance.
    p, q : float, optional
        Exponent and ground norm of ``"wasserstein"``.

    Returns
    -------
    Certificates

    Raises
    ------
    StabilityError
        If a stage has no constant for this threat: nothing defaults to 1.
    ValueError
        For inputs that are no clouds, or no diagrams, and for unknown threats.

    Notes
    -----
    Facts D1 to D3 from points to diagrams, R2 and R3 to vectors, N1 through the network, N3 for
    the head: with L the constant up to the features before the head W, the radius is
    ``min_j (z_t − z_j) / (L ‖w_t − w_j‖₁)``, less all rounding (N5).

    Examples
    --------
    >>> from stablerank import StableRankClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(30, 2)) * (1 + i % 2) for i in range(40)]
    >>> y = [i % 2 for i in range(40)]
    >>> model = StableRankClassifier(random_state=0).fit(X, y)
    >>> certify(model, X[:2], threat="hausdorff").radius > 0
    array([ True,  True])
    """
    if isinstance(X, DiagramShards):
        return Certificates.concatenate(
            [certify(pipeline, batch, threat=threat, p=p, q=q) for batch in X.batches()]
        )
    stages = pipeline_stages(pipeline)
    space, unit = threat_space(threat, p, q)
    stages = _matching_stages(stages, X, threat)
    classifier = stages[-1]
    _check_classifier(classifier)
    chain = chain_of_stages(stages, space)
    upto_vectors = chain_of_stages(stages[:-1], space) if len(stages) > 1 else None
    source = upto_vectors.target if upto_vectors is not None else space
    features = classifier.feature_stability(source)
    constant = (features if upto_vectors is None else upto_vectors.then(features)).constant

    vectors, error = _vectors_with_errors(stages[:-1], X, space)
    vectors = np.asarray(vectors, dtype=np.float64)
    logits = classifier.logits(vectors)
    to_vectors = 1.0 if upto_vectors is None else upto_vectors.constant
    largest = np.abs(vectors).max(axis=1, initial=0.0)

    def logit_error(reach: NDArray[np.float64]) -> NDArray[np.float64]:
        vector_error = error(reach)
        # the exact vectors may be larger than the computed ones, by their error
        magnitude = (largest + vector_error + to_vectors * reach) * (1 + 1e-12)
        bound: NDArray[np.float64] = classifier.rounding(magnitude, vector_error)
        return bound

    radius = margin_radii(logits, classifier.pairwise_constants(), constant, logit_error)
    top_two = np.sort(logits, axis=1)[:, -2:]
    return Certificates(
        radius=radius,
        prediction=classifier.classes_[logits.argmax(axis=1)],
        margin=top_two[:, 1] - top_two[:, 0],
        threat=threat,
        unit=unit,
        chain=chain,
    )


def stability_chain(
    pipeline: Any, *, threat: str = "per_point", p: float | None = None, q: float | None = None
) -> StabilityChain:
    """The chain of constants from a threat to the logits of a fitted pipeline.

    Parameters
    ----------
    pipeline, threat, p, q
        As in :func:`certify`; for threats against diagrams, stages that compute them are left out.

    Returns
    -------
    StabilityChain
    """
    stages = pipeline_stages(pipeline)
    space, _ = threat_space(threat, p, q)
    if threat in DIAGRAM_THREATS:
        stages = [stage for stage in stages if not _computes_diagrams(stage)]
    return chain_of_stages(stages, space)


def pipeline_stages(pipeline: Any) -> list[Any]:
    """The fitted steps of an estimator, a scikit-learn pipeline, or a single stage."""
    if hasattr(pipeline, "pipeline_"):
        pipeline = pipeline.pipeline_
    if isinstance(pipeline, Pipeline):
        return [step for _, step in pipeline.steps if step not in (None, "passthrough")]
    if hasattr(pipeline, "certify") and not hasattr(pipeline, "stability"):
        from sklearn.exceptions import NotFittedError

        raise NotFittedError(
            f"This {type(pipeline).__name__} is not fitted yet: call fit(X, y) before certify."
        )
    return [pipeline]


def _computes_diagrams(stage: Any) -> bool:
    return hasattr(stage, "homology_dimensions") and hasattr(stage, "relative_rounding")


def _matching_stages(stages: Sequence[Any], X: Any, threat: str) -> list[Any]:
    """The stages that X has still to go through; a refusal when X and threat do not fit."""
    starts_from_clouds = _computes_diagrams(stages[0])
    is_diagrams = isinstance(X, DiagramBatch)
    if threat in DIAGRAM_THREATS:
        if not is_diagrams:
            raise ValueError(
                f'threat="{threat}" changes diagrams, but X is no DiagramBatch: for clouds use '
                f'threat="per_point" or "hausdorff", or certify the diagrams of pipeline[0].'
            )
        return [stage for stage in stages if not _computes_diagrams(stage)]
    if isinstance(X, CloudDiagrams) and starts_from_clouds:
        X.check_filtration(stages[0])
    elif is_diagrams:
        raise ValueError(
            f'threat="{threat}" moves points, but X holds diagrams: give the clouds, or what '
            f"CloudDiagrams.compute(pipeline[0], clouds) makes of them, or use "
            f'threat="bottleneck" or "wasserstein".'
        )
    if not starts_from_clouds and any(_computes_diagrams(stage) for stage in stages):
        raise StabilityError(
            f"{type(stages[0]).__name__} stands before the persistence: what it does to distances "
            f"between clouds is not known. Apply it to the clouds first, and certify the rest."
        )
    if not starts_from_clouds:
        raise ValueError(
            f'threat="{threat}" moves points, but this pipeline starts from '
            f"{type(stages[0]).__name__}, behind the persistence: certify the whole pipeline."
        )
    return list(stages)


def _vectors_with_errors(stages: Sequence[Any], X: Any, space: Any) -> tuple[Any, Any]:
    """The classifier's input, and how far it can be from the exact one, as a function of reach."""
    if len(stages) == 0:
        n = len(X)
        return X, lambda reach: np.zeros(n)
    relative, to_diagrams, diagrams = 0.0, 1.0, None
    largest_possible: NDArray[np.float64] | float = 0.0
    for i, stage in enumerate(stages):
        if _computes_diagrams(stage):
            relative = stage.relative_rounding()
            to_diagrams = chain_of_stages(stages[: i + 1], space).constant
            largest_possible = _largest_possible_values(stage, X)
            if isinstance(X, CloudDiagrams):
                continue  # computed by this very stage, which _matching_stages has checked
        elif diagrams is None:
            diagrams = X
        else:
            raise StabilityError(
                f"{type(stage).__name__} stands between the vectorizer and the classifier: its "
                f"rounding is not known, so nothing behind it can be certified."
            )
        X = stage.transform(X)
    vectorizer = stages[-1]
    if not hasattr(vectorizer, "rounding"):
        raise StabilityError(
            f"{type(vectorizer).__name__} does not say how it rounds: give it a method rounding("
            f"diagrams, relative, reach), as StableRank has."
        )

    def error(reach: NDArray[np.float64]) -> NDArray[np.float64]:
        # The adversary's cloud may have short bars at any height, wherever those of X are: on the
        # hypotenuse of a right triangle, say, which has no bar at all.
        bound: NDArray[np.float64] = vectorizer.rounding(
            diagrams, relative, (largest_possible + to_diagrams * reach) * (1 + 1e-12)
        )
        return bound

    return X, error


def _largest_possible_values(stage: Any, X: Any) -> NDArray[np.float64]:
    """Of each input an upper bound of all births and deaths that its filtration can have.

    What the adversary makes of it has values of at most that much and the constant times ε.
    """
    if not hasattr(stage, "largest_values"):
        raise StabilityError(
            f"{type(stage).__name__}: how large its births and deaths can be is not known, and so "
            f"neither is their rounding. Give it a method largest_values(X), as Filtration asks."
        )
    if isinstance(X, CloudDiagrams):
        return X.largest_values
    values: NDArray[np.float64] = stage.largest_values(X)
    return values


def _check_classifier(classifier: Any) -> None:
    for method in ("logits", "feature_stability", "pairwise_constants", "rounding"):
        if not hasattr(classifier, method):
            raise StabilityError(
                f"{type(classifier).__name__} is the last step, but has no {method}(): only "
                f"classifiers with logits and constants can be certified, such as "
                f"LipschitzClassifier."
            )

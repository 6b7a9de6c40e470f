"""Certify any pipeline whose stages say how stable they are: by constants, and by boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stablerank.certify.boxes import largest_sizes
from stablerank.certify.certificate import Certificates
from stablerank.certify.certificate_files import Provenance
from stablerank.certify.counts import certify_counts, certify_votes
from stablerank.certify.inputs import StudiedInputs, study
from stablerank.certify.margins import margin_radii
from stablerank.certify.smoothing import SmoothedClassifier
from stablerank.certify.threats import COUNTING_THREATS, DIAGRAM_THREATS, threat_space
from stablerank.certify.votes import HashedVotes
from stablerank.diagrams.batch import DiagramBatch
from stablerank.diagrams.cloud_diagrams import CloudDiagrams
from stablerank.diagrams.shards import DiagramShards
from stablerank.stability import FROBENIUS, L2, Block, Space, StabilityChain, StabilityError
from stablerank.stages import (
    chain_of_stages,
    computes_diagrams,
    pipeline_stages,
    starts_from_inputs,
)

_Way: TypeAlias = tuple[float, NDArray[np.float64]]  # to the features, and of pairs of logits

METHODS = {
    "best": ("global", "l2", "linear"),
    "global": ("global",),
    "l2": ("l2",),
    "interval": ("interval",),
    "linear": ("linear",),
}


def certify(
    pipeline: Any,
    X: Any,
    *,
    threat: str = "per_point",
    p: float | None = None,
    q: float | None = None,
    method: str = "best",
) -> Certificates:
    """One certified radius for each input, in the unit of the threat.

    Parameters
    ----------
    pipeline : StableRankClassifier, sklearn Pipeline, LipschitzClassifier, or one of the next two
        Fitted. Every step has ``stability(source)``; the last one is a classifier with logits.
        :class:`HashedVotes` and, in Frobenius norm, :class:`SmoothedClassifier` stand alone, around
        any classifier of clouds.
    X : list of clouds, CloudDiagrams, DiagramShards or DiagramBatch
        Clouds for the threats against points, or what the very persistence of this pipeline has
        made of them: :class:`~stablerank.diagrams.CloudDiagrams`, or shards, which are certified
        one after the other. Diagrams of any kind for the threats against diagrams (the steps that
        compute diagrams are then left out).
    threat : str, default="per_point"
        What the adversary may do. ``"per_point"``: move every point by at most the radius in ℓ2;
        ``"hausdorff"``: hand in any cloud within that Hausdorff distance; ``"per_coordinate"``:
        move every coordinate by at most the radius; ``"sup"``: change every entry of a
        dissimilarity matrix; ``"deletion"``: delete as many points as the radius says;
        ``"points"``: add, delete or replace as many; ``"bottleneck"``, ``"wasserstein"``: change
        the diagrams, in each homology dimension by at most that distance; ``"frobenius"``: move
        the points by at most the radius in all, the root of the sum of their squared displacements.
    p, q : float, optional
        Exponent and ground norm of ``"wasserstein"``.
    method : {"best", "global", "l2", "interval", "linear"}, default="best"
        ``"global"``: the margin divided by the product of constants. ``"l2"``: the same in ℓ2, for
        ``threat="frobenius"``. ``"interval"``: the largest ε whose box of inputs, carried through
        every stage, keeps the class; ``"linear"``: the same with linear relaxations of the network.
        ``"best"``: the largest of global, linear and, under ``"frobenius"``, l2, for each input.

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

    In ℓ2, fact D7 in place of D6: the deaths of H0 move together, and not each by as much as one
    could alone. From there two ways lead on, and the larger radius counts. With spectral norms of
    all layers (N2), the radius is ``min_j (z_t − z_j) / (L₂ ‖w_t − w_j‖₂)``. Or the first layer
    takes each block of its inputs in ℓ2 or in ℓ∞, whichever says more, and ℓ∞ goes on behind it.

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
    if isinstance(pipeline, SmoothedClassifier):
        threat_space(threat, p, q)  # raises for unknown threats
        if threat != "frobenius":
            raise StabilityError(
                f'A SmoothedClassifier is certified against threat="frobenius", in which its noise '
                f'is spread, not against "{threat}".'
            )
        return pipeline.certify(X)
    certificates = _certify(pipeline, X, threat=threat, p=p, q=q, method=method)
    return replace(certificates, provenance=Provenance.of(pipeline, X, p, q))


def _certify(
    pipeline: Any, X: Any, *, threat: str, p: float | None, q: float | None, method: str
) -> Certificates:
    if method not in METHODS:
        raise ValueError(f"method={method!r}: expected one of {list(METHODS)}.")
    if isinstance(X, DiagramShards):
        return Certificates.concatenate(
            [
                certify(pipeline, batch, threat=threat, p=p, q=q, method=method)
                for batch in X.batches()
            ]
        )
    stages = pipeline_stages(pipeline)
    space, unit = threat_space(threat, p, q)
    if method == "l2" and space != FROBENIUS:
        raise StabilityError(
            f'method="l2" is for threat="frobenius", where points share one budget, not for '
            f'threat="{threat}": use method="global".'
        )
    if isinstance(stages[0], HashedVotes):
        return certify_votes(stages[0], X, threat=threat)
    stages = _matching_stages(stages, X, threat)
    *before, classifier = stages
    _require(classifier, "logits")
    if not before:
        raise StabilityError(
            f"{type(classifier).__name__} takes vectors, and no threat changes these: certify the "
            f"pipeline from the inputs on."
        )
    if threat in COUNTING_THREATS:
        return certify_counts(stages, X, threat=threat, method=method, certify=certify)
    studied = study(before, X, space)
    logits = classifier.logits(studied.vectors)
    routes = _routes(studied, classifier, space, logits, method)
    names = list(routes)
    radii = np.stack([routes[name] for name in names])
    best = radii.argmax(axis=0)  # of equal radii the first: the global one
    top_two = np.sort(logits, axis=1)[:, -2:]
    return Certificates(
        radius=radii[best, np.arange(len(logits))],
        prediction=classifier.classes_[logits.argmax(axis=1)],
        margin=top_two[:, 1] - top_two[:, 0],
        threat=threat,
        unit=unit,
        chain=_chain(studied, classifier, method),
        method=method,
        route=np.array(names)[best],
    )


def _routes(
    studied: StudiedInputs,
    classifier: Any,
    source: Space,
    logits: NDArray[np.float64],
    method: str,
) -> dict[str, NDArray[np.float64]]:
    """The radii by each way that the method takes; an error only if all of them are closed."""
    routes: dict[str, NDArray[np.float64]] = {}
    reasons: list[StabilityError] = []
    for name in METHODS[method]:
        try:
            if name == "global":
                routes[name] = _global_radii(studied, classifier, logits)
            elif name == "l2":
                routes[name] = _l2_radii(studied, classifier, source, logits)
            else:
                start = routes.get("l2", routes.get("global"))
                routes[name] = _local_radii(studied, classifier, logits, start, name)
        except StabilityError as reason:
            reasons.append(reason)
    if not routes:
        raise reasons[0]
    return routes


def _global_radii(
    studied: StudiedInputs, classifier: Any, logits: NDArray[np.float64]
) -> NDArray[np.float64]:
    """By the product of constants."""
    _require(classifier, "feature_stability", "pairwise_constants", "rounding")
    chain = studied.chain()
    features = chain.then(classifier.feature_stability(chain.target))
    # layers made for ℓ2 end in ℓ2, behind a conversion that stands in their chain
    pairwise = classifier.pairwise_constants(features.target)
    return _margin_radii(studied, classifier, logits, chain.constant, features.constant, pairwise)


def _l2_radii(
    studied: StudiedInputs, classifier: Any, source: Space, logits: NDArray[np.float64]
) -> NDArray[np.float64]:
    """By the product of constants in ℓ2, and by blocks of the first layer's inputs."""
    _require(classifier, "feature_stability", "pairwise_constants", "rounding")
    chain = studied.l2_chain()
    ways = [_spectral_way(chain, classifier), _block_way(chain, studied, classifier, source)]
    reasons = [way for way in ways if isinstance(way, StabilityError)]
    if len(reasons) == len(ways):
        raise reasons[0]
    # ℓ∞ <= ℓ2: no coordinate of the vectors moves by more than all of them
    radii = [
        _margin_radii(studied, classifier, logits, chain.constant, *way)
        for way in ways
        if not isinstance(way, StabilityError)
    ]
    return np.maximum.reduce(radii)


def _spectral_way(chain: StabilityChain, classifier: Any) -> _Way | StabilityError:
    try:
        constant = chain.then(classifier.feature_stability(L2)).constant
        constant *= 1 + 1e-9  # for whoever bounds the spectral norms in another way
        return constant, classifier.pairwise_constants(L2)
    except StabilityError as reason:
        return reason


def _block_way(
    chain: StabilityChain, studied: StudiedInputs, classifier: Any, source: Space
) -> _Way | StabilityError:
    try:
        _require(classifier, "block_stability")
        blocks, alone = chain.blocks, studied.chain().constants
        if blocks is None or alone is None:
            raise StabilityError("The blocks of coordinates that move together are not known.")
        ends = np.cumsum([block.each.size for block in blocks])[:-1]
        least = [
            Block(block.together, np.minimum(block.each, own))
            for block, own in zip(blocks, np.split(alone, ends), strict=True)
        ]
        constant = classifier.block_stability(source, least).constant
        return constant, classifier.pairwise_constants()
    except StabilityError as reason:
        return reason


def _margin_radii(
    studied: StudiedInputs,
    classifier: Any,
    logits: NDArray[np.float64],
    to_vectors: float,
    constant: float,
    pairwise: NDArray[np.float64],
) -> NDArray[np.float64]:
    """From constants to the vectors and to the features, and of pairs of logits behind these."""
    largest = np.abs(studied.vectors).max(axis=1, initial=0.0)

    def logit_error(reach: NDArray[np.float64]) -> NDArray[np.float64]:
        vector_error = studied.error(reach)
        # the exact vectors may be larger than the computed ones, by their error
        magnitude = (largest + vector_error + to_vectors * reach) * (1 + 1e-12)
        bound: NDArray[np.float64] = classifier.rounding(magnitude, vector_error)
        return bound

    return margin_radii(logits, pairwise, constant, logit_error)


def _local_radii(
    studied: StudiedInputs,
    classifier: Any,
    logits: NDArray[np.float64],
    certified: NDArray[np.float64] | None,
    relaxation: str,
) -> NDArray[np.float64]:
    """By boxes, from the radii on that are certified already."""
    _require(classifier, "margin_bounds")
    predicted = logits.argmax(axis=1)
    top_two = np.sort(logits, axis=1)[:, -2:]
    clear = np.flatnonzero(top_two[:, 1] > top_two[:, 0])  # False for NaN

    def keeps(sizes: NDArray[np.float64], rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        chosen = clear[rows]
        lower, upper = studied.box(sizes, chosen)
        margins = classifier.margin_bounds(lower, upper, predicted[chosen], method=relaxation)
        return np.asarray(margins > 0)

    radii = np.zeros(len(logits))
    if clear.size:
        start = np.zeros(clear.size) if certified is None else certified[clear]
        radii[clear] = largest_sizes(keeps, start, studied.scale()[clear])
    return radii


def _chain(studied: StudiedInputs, classifier: Any, method: str) -> StabilityChain | None:
    try:
        chain = studied.l2_chain() if method == "l2" else studied.chain()
        return chain.then(classifier.stability(chain.target))
    except StabilityError:
        return None


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
        stages = [stage for stage in stages if not computes_diagrams(stage)]
    return chain_of_stages(stages, space)


def _matching_stages(stages: Sequence[Any], X: Any, threat: str) -> list[Any]:
    """The stages that X has still to go through; a refusal when X and threat do not fit."""
    starts_from_clouds = starts_from_inputs(stages[0])
    is_diagrams = isinstance(X, DiagramBatch)
    if threat in DIAGRAM_THREATS:
        if not is_diagrams:
            raise ValueError(
                f'threat="{threat}" changes diagrams, but X is no DiagramBatch: for clouds use '
                f'threat="per_point" or "hausdorff", or certify the diagrams of pipeline[0].'
            )
        return [stage for stage in stages if not computes_diagrams(stage)]
    if is_diagrams and not isinstance(X, CloudDiagrams):
        raise ValueError(
            f'threat="{threat}" moves points, but X holds diagrams: give the clouds, or what '
            f"CloudDiagrams.compute(pipeline[0], clouds) makes of them, or use "
            f'threat="bottleneck" or "wasserstein".'
        )
    if not starts_from_clouds and any(starts_from_inputs(stage) for stage in stages):
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


def _require(classifier: Any, *methods: str) -> None:
    for method in methods:
        if not hasattr(classifier, method):
            raise StabilityError(
                f"{type(classifier).__name__} is the last step, but has no {method}(): only "
                f"classifiers with logits, and with constants or boxes, can be certified, such as "
                f"LipschitzClassifier."
            )

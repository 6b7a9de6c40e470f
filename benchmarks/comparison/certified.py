"""Our side of the comparison: stages with constants, and a Lipschitz network behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.pipeline import Pipeline, make_pipeline

from stablerank import Certificates, LipschitzClassifier, certify
from stablerank.certify.threats import threat_space
from stablerank.nn.classifier import parameter_count
from stablerank.stages import chain_of_stages


class CertifiedPipeline(ClassifierMixin, BaseEstimator):
    """A vectorizer of clouds and a :class:`~stablerank.LipschitzClassifier`, fitted as one.

    Parameters
    ----------
    vectorizer : stage, union of stages, or pipeline of stages
        From clouds to vectors, with constants.
    network : mapping of str to object
        Settings of the classifier; the constants of the vectors it gets from the stages.
    threat : str, default="per_point"
        Where the constants begin, and what certificates are against.
    random_state : int or None, default=None
        Of the training.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    pipeline_ : Pipeline
        The fitted stages and the network.
    n_parameters_ : int
    """

    def __init__(
        self,
        vectorizer: Any,
        network: Mapping[str, Any],
        threat: str = "per_point",
        random_state: int | None = None,
    ) -> None:
        self.vectorizer = vectorizer
        self.network = network
        self.threat = threat
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> CertifiedPipeline:
        """Fit the stages, and train the network on their vectors."""
        stage = clone(self.vectorizer)
        vectors = stage.fit_transform(X)
        stages = [step for _, step in stage.steps] if isinstance(stage, Pipeline) else [stage]
        source, _ = threat_space(self.threat, None, None)
        classifier = LipschitzClassifier(
            constants=np.asarray(chain_of_stages(stages, source).constants),
            random_state=self.random_state,
            **self.network,
        ).fit(vectors, y)
        self.pipeline_ = make_pipeline(*stages, classifier)
        self.classes_ = classifier.classes_
        self.n_parameters_ = parameter_count(classifier.network_)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The label of each cloud."""
        return np.asarray(self.pipeline_.predict(X))

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """The logits, shape (n_clouds, n_classes)."""
        return np.asarray(self.pipeline_.decision_function(X))

    def certify(self, X: Any) -> Certificates:
        """Certificates by the global constant."""
        return certify(self.pipeline_, X, threat=self.threat, method="global")

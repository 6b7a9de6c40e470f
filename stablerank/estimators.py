"""From point clouds to certified predictions, in one scikit-learn estimator."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline

from stablerank.certify import Certificates, certify, stability_chain, threat_space
from stablerank.certify.inputs import study
from stablerank.diagrams import (
    AlphaPersistence,
    CloudDiagrams,
    CubicalPersistence,
    RipsPersistence,
)
from stablerank.nn import LipschitzClassifier
from stablerank.nn.classifier import check_classes, seed_of
from stablerank.ranks import StableRank
from stablerank.ranks.stable_rank import ContourChoice
from stablerank.stability import Space, StabilityChain, StabilityError
from stablerank.stages import LipschitzUnion, chain_of_stages, computes_vectors

_STEPS = ("persistence", "ranks", "network")


class StableRankClassifier(ClassifierMixin, BaseEstimator):
    """Classifies point clouds, each prediction with a certified radius in the units of the points.

    A thin estimator over a scikit-learn ``Pipeline`` of three public steps: persistence diagrams,
    stable ranks, Lipschitz network. Parameters of the steps are set with their names in front, as
    in skorch: ``StableRankClassifier(network__lr=0.01, ranks__p=2)``, and in a grid search.

    Parameters
    ----------
    epsilon : float, optional
        The perturbation to train for, in the units of the points; by default it follows the
        spread of the training vectors, see :class:`~stablerank.nn.LipschitzClassifier`.
    loss : {"cross-entropy", "margin", "offset", "box"}, default="cross-entropy"
        Of the network, see there.
    certified_training : {"margin", "box"}, optional
        Train for certificates at `epsilon` rather than for accuracy, whatever `loss` says.
        "margin": the loss counts samples that the product of constants certifies. "box": it is
        the cross-entropy at the worst logits over the box that every stage makes of an
        adversary of size `epsilon`, ramped up over the first half of the epochs;
        ``network__clean_weight`` from 0 to 1 trades certified for clean accuracy.
    temperature : float, default=1.0
        Trades robustness (0.3: large certified radii) against accuracy (20), see there.
    persistence : {"alpha", "rips"}, a filtration, a field or a LipschitzUnion, default="alpha"
        How diagrams are computed. "alpha" is for points in R² and R³. A union of pipelines, each
        of a filtration and a vectorizer, gives vectors itself, and there is no step `ranks`. So
        does a field of :mod:`stablerank.fields`, alone or as a branch of a union, which computes no
        diagrams at all.
    ranks : "stable-rank", a vectorizer or a LipschitzUnion of such, default="stable-rank"
        How diagrams become vectors. Those of :mod:`stablerank.learned` are trained with the labels,
        each with a network of its own, and then frozen before the network is trained on their
        vectors.
    homology_dimensions : tuple of int, default=(0, 1)
        Which diagrams enter.
    p : float, default=inf
        Exponent of the stable rank.
    n_ranks : int or dict of int to int, optional
        Jump points for each homology dimension; by default as many as the largest training
        diagram has bars, and at most 200.
    contour : "standard" or Contour, or dict of int to such, default="standard"
        How the length of a bar is measured; a dict gives each homology dimension its own contour.
    max_epochs : int, default=60
        Passes over the training data.
    n_jobs : int, optional
        Workers for the diagrams, as in joblib.
    random_state : int, Generator, RandomState or None, default=None
        Seed of the training, and of steps whose own `random_state` is None.
    verbose : int, default=0
        skorch's table of epochs.
    **step_params
        ``persistence__…``, ``ranks__…`` and ``network__…``: parameters of the steps.

    Raises
    ------
    ValueError
        For a parameter of another name; the message says which was probably meant.

    Attributes
    ----------
    pipeline_ : sklearn.pipeline.Pipeline
        The three fitted steps, each usable alone.
    classes_ : ndarray of shape (n_classes,)
        The labels.
    stability_ : StabilityChain
        The constants from a per-point displacement to the logits, a line a stage.

    See Also
    --------
    stablerank.certify : The same certificate for any pipeline of such steps.

    Examples
    --------
    >>> from stablerank.datasets import make_orbits
    >>> X, y = make_orbits(n_per_class=20, n_points=100, random_state=0, parameters=(2.5, 4.0))
    >>> model = StableRankClassifier(random_state=0).fit(X, y)
    >>> model.predict(X[:2])
    array([0, 0])
    >>> bool((model.certify(X).radius > 0).any())
    True
    """

    def __init__(
        self,
        epsilon: float | None = None,
        loss: Literal["cross-entropy", "margin", "offset", "box"] = "cross-entropy",
        temperature: float = 1.0,
        certified_training: Literal["margin", "box"] | None = None,
        persistence: Any = "alpha",
        ranks: Any = "stable-rank",
        homology_dimensions: Sequence[int] = (0, 1),
        p: float = math.inf,
        n_ranks: int | Mapping[int, int] | None = None,
        contour: ContourChoice | Mapping[int, ContourChoice] = "standard",
        max_epochs: int = 60,
        n_jobs: int | None = None,
        random_state: int | None = None,
        verbose: int = 0,
        **step_params: Any,
    ) -> None:
        self.epsilon = epsilon
        self.loss = loss
        self.temperature = temperature
        self.certified_training = certified_training
        self.persistence = persistence
        self.ranks = ranks
        self.homology_dimensions = homology_dimensions
        self.p = p
        self.n_ranks = n_ranks
        self.contour = contour
        self.max_epochs = max_epochs
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self._set_step_params(step_params)

    def fit(self, X: Any, y: Any) -> StableRankClassifier:
        """Compute diagrams and ranks, and train the network.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d), or ndarray of shape (n_clouds, n_points, d)
            The clouds.
        y : array-like of shape (n_clouds,)
            Labels of one kind: strings, integers, booleans, or floats that are whole numbers.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad clouds (with their index), labels and parameters.
        TypeError
            For what is no list of clouds, or holds no real numbers.
        KeyboardInterrupt
            At Ctrl-C.

        Notes
        -----
        Whatever is raised, the estimator is as it was before, with an earlier fit if there was one.
        """
        persistence = self._persistence()
        network = self._network()
        network._check_parameters()
        if starts_with_vectors(persistence):
            labels = _check_labels(y, _count(X))
            check_classes(labels)
            vectors = persistence.fit_transform(X, labels)
            before, inputs = [persistence], X
        else:
            persistence.fit(X)  # checks the clouds before any long work
            labels = _check_labels(y, _count(X))
            check_classes(labels)
            nothing = [{k: np.empty((0, 2)) for k in persistence.homology_dimensions}]
            self._ranks(1).fit(nothing)
            inputs = CloudDiagrams.compute(persistence, X)
            ranks = self._ranks(_most_bars(inputs))
            vectors = ranks.fit_transform(inputs, labels)
            before = [persistence, ranks]
        source, _ = threat_space(_own_threat(persistence))
        if "constants" not in self._params_of("network"):
            network.set_params(constants=_constants(before, source))
        if network.loss == "box":
            network.fit(vectors, labels, *self._boxes(before, inputs, source))
        else:
            network.fit(vectors, labels)
        names = ("persistence", "ranks")[: len(before)]
        steps = [*zip(names, before, strict=True), ("network", network)]
        self.pipeline_ = Pipeline(steps)
        self.classes_ = network.classes_
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The label of every cloud, shape (n_clouds,)."""
        return np.asarray(self._fitted().predict(X))

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Softmax of temperature times logits, shape (n_clouds, n_classes)."""
        return np.asarray(self._fitted().predict_proba(X))

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Logits, shape (n_clouds, n_classes); for two classes their difference, (n_clouds,)."""
        return np.asarray(self._fitted().decision_function(X))

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Accuracy on the given clouds and labels.

        Raises
        ------
        ValueError
            If there is not one label a cloud.
        """
        labels = _check_labels(y, len(X))
        return float(super().score(X, labels, sample_weight))

    @property
    def stability_(self) -> StabilityChain:
        """The constants from a displacement of every point to the logits."""
        persistence = self._fitted().named_steps["persistence"]
        return stability_chain(self, threat=_own_threat(persistence))

    def certify(
        self,
        X: Any,
        threat: str = "per_point",
        *,
        p: float | None = None,
        q: float | None = None,
        method: str = "best",
    ) -> Certificates:
        """One certified radius a cloud; see :func:`stablerank.certify`.

        Parameters
        ----------
        X : list of clouds, CloudDiagrams, DiagramShards or DiagramBatch
            What is to be certified.
        threat : str, default="per_point"
            What the adversary may do.
        p, q : float, optional
            Exponent and ground norm of ``threat="wasserstein"``.
        method : {"best", "global", "l2", "interval", "linear"}, default="best"
            By the product of constants, by boxes, or by whichever gives more.

        Returns
        -------
        Certificates
        """
        self._fitted()
        return certify(self, X, threat=threat, p=p, q=q, method=method)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one file of tensors and JSON; nothing is pickled.

        Parameters
        ----------
        path : path-like
            By custom ``….srn``. Replaced only once the new file is whole.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        ValueError
            If a part of the model cannot be written without pickling, such as a filtration of your
            own.

        Notes
        -----
        The loaded model predicts and certifies with the same bits. It has the same parameters, save
        those that only training needs and that would have to be pickled: optimizer, callbacks,
        train_split, and a random_state that is a generator, which are the defaults again.
        """
        from stablerank.models import save_model

        save_model(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> StableRankClassifier:
        """Read a model that :meth:`save` wrote; no code of the file is run.

        Parameters
        ----------
        path : path-like
            What :meth:`save` wrote.

        Returns
        -------
        StableRankClassifier
            Fitted.

        Raises
        ------
        FileNotFoundError
            If there is no file.
        ValueError
            If the file is damaged in any bit, of another kind, or from a newer version.
        """
        from stablerank.models import load_model

        return load_model(cls, path)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name, those of the steps included."""
        return {**super().get_params(deep=deep), **self._step_params()}

    def set_params(self, **params: Any) -> StableRankClassifier:
        """Set parameters by name; ``persistence__…``, ``ranks__…``, ``network__…`` for the steps.

        Raises
        ------
        ValueError
            For unknown names; then nothing is set.
        """
        own = {name: value for name, value in params.items() if name in self._get_param_names()}
        self._set_step_params({n: v for n, v in params.items() if n not in own})
        super().set_params(**own)
        return self

    def _set_step_params(self, params: Mapping[str, Any]) -> None:
        known = {
            "persistence": {
                *AlphaPersistence._get_param_names(),
                *RipsPersistence._get_param_names(),
            },
            "ranks": set(StableRank._get_param_names()),
            "network": set(LipschitzClassifier._get_param_names()),
        }
        for step in ("persistence", "ranks"):
            own = getattr(self, step)
            if hasattr(own, "get_params") and not isinstance(own, type):
                known[step] |= set(own.get_params())
        names = sorted(f"{step}__{name}" for step in known for name in known[step])
        for name in params:
            if name not in names:
                raise ValueError(
                    f"{name!r} is no parameter of {type(self).__name__}."
                    f"{_meant(name, [*self._get_param_names(), *names])}"
                )
        for name, value in params.items():
            setattr(self, name, value)

    def _step_params(self) -> dict[str, Any]:
        prefixes = tuple(f"{step}__" for step in _STEPS)
        return {name: value for name, value in vars(self).items() if name.startswith(prefixes)}

    def _params_of(self, step: str) -> dict[str, Any]:
        prefix = f"{step}__"
        return {
            name[len(prefix) :]: value
            for name, value in self._step_params().items()
            if name.startswith(prefix)
        }

    def _persistence(self) -> Any:
        kinds = {"alpha": AlphaPersistence, "rips": RipsPersistence}
        if isinstance(self.persistence, str) and self.persistence in kinds:
            step = kinds[self.persistence](
                homology_dimensions=self.homology_dimensions, n_jobs=self.n_jobs
            )
        elif _is_stage(self.persistence):
            step = clone(self.persistence)
        else:
            raise ValueError(
                f"persistence={self.persistence!r}: expected one of {sorted(kinds)}, a filtration "
                f"such as AlphaPersistence(), or a LipschitzUnion."
            )
        return self._seeded(step.set_params(**self._params_of("persistence")))

    def _ranks(self, default: int | dict[int, int]) -> Any:
        if self.ranks == "stable-rank":
            n_ranks = default if self.n_ranks is None else self.n_ranks
            ranks: Any = StableRank(p=self.p, contour=self.contour, n_ranks=n_ranks)
        elif _is_stage(self.ranks):
            ranks = clone(self.ranks)
        else:
            raise ValueError(
                f'ranks={self.ranks!r}: expected "stable-rank", a vectorizer such as Landscapes(), '
                f"or a LipschitzUnion of vectorizers."
            )
        return self._seeded(ranks.set_params(**self._params_of("ranks")))

    def _seeded(self, step: Any) -> Any:
        """The step, with a seed wherever it, or a part of it, has none of its own."""
        names = [
            name
            for name, value in step.get_params().items()
            if name.rpartition("__")[2] == "random_state" and value is None
        ]
        if not names:  # a generator is not moved on
            return step
        return step.set_params(**dict.fromkeys(names, seed_of(self.random_state)))

    def _boxes(self, before: list[Any], inputs: Any, source: Space) -> tuple[Any, Any]:
        """What an adversary of size epsilon can make of each training vector."""
        if self.epsilon is None:
            raise ValueError(
                "epsilon=None: training on boxes needs the size of the perturbations, in the units "
                "of the points."
            )
        rows = np.arange(_count(inputs))
        lower, upper = study(before, inputs, source).box(np.full(len(rows), self.epsilon), rows)
        return lower.numpy(), upper.numpy()

    def _network(self) -> LipschitzClassifier:
        if self.certified_training not in (None, "margin", "box"):
            raise ValueError(
                f'certified_training={self.certified_training!r}: expected "margin", "box" or None.'
            )
        network = LipschitzClassifier(
            epsilon=self.epsilon,
            loss=self.loss if self.certified_training is None else self.certified_training,
            temperature=self.temperature,
            max_epochs=self.max_epochs,
            random_state=self.random_state,
            verbose=self.verbose,
        )
        return network.set_params(**self._params_of("network"))

    def _fitted(self) -> Pipeline:
        if not hasattr(self, "pipeline_"):
            raise NotFittedError(
                "This StableRankClassifier is not fitted yet: call fit(X, y), or load a model."
            )
        return self.pipeline_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags


def starts_with_vectors(persistence: Any) -> bool:
    """Whether the first step gives vectors itself, as a union of pipelines and fields do."""
    return isinstance(persistence, LipschitzUnion) or computes_vectors(persistence)


def _own_threat(persistence: Any) -> str:
    """What an adversary does to the inputs of a filtration unless another threat is named."""
    stages = (
        [stages[0] for _, stages in persistence.branches()]
        if isinstance(persistence, LipschitzUnion)
        else [persistence]
    )
    entries = any(
        getattr(stage, "metric", None) == "precomputed" or isinstance(stage, CubicalPersistence)
        for stage in stages
    )
    return "sup" if entries else "per_point"


def _constants(stages: Sequence[Any], source: Space) -> NDArray[np.float64] | None:
    """The constant of each coordinate, or None where there are none and boxes alone certify."""
    try:
        return chain_of_stages(stages, source).constants
    except StabilityError:
        return None


def _most_bars(diagrams: CloudDiagrams) -> dict[int, int]:
    return {
        k: int(min(max(diagrams.n_bars(k).max(), 1), 200)) for k in diagrams.homology_dimensions
    }


def _is_stage(value: Any) -> bool:
    bounded = hasattr(value, "stability") or hasattr(value, "bounds")
    return bounded and not isinstance(value, type)


def _count(X: Any) -> int:
    try:
        return len(X)
    except TypeError:
        raise TypeError(f"X is a {type(X).__name__}: expected a list of clouds.") from None


def _check_labels(y: Any, n_clouds: int) -> NDArray[Any]:
    # asked before NumPy makes one type of them: [1, "a"] would become ["1", "a"], [0, True] [0, 1]
    items = y.tolist() if hasattr(y, "tolist") else y
    if isinstance(items, (list, tuple)):
        kinds = sorted({_kind_of_label(label) for label in items})
        if len(kinds) > 1:
            raise ValueError(
                f"y mixes labels of kinds {kinds}: give all of them one type, such as str."
            )
    try:
        labels = np.asarray(y)
        if labels.dtype.kind == "O":
            labels = np.array(labels.tolist())
    except ValueError:
        raise ValueError("y is ragged: expected one label a cloud.") from None
    if labels.ndim != 1 or len(labels) != n_clouds:
        raise ValueError(
            f"y has shape {labels.shape}, but X has {n_clouds} clouds: expected one label a cloud."
        )
    if labels.dtype.kind not in "biufU":
        raise ValueError(
            f"y has dtype {labels.dtype}: expected strings, integers, booleans, or floats that "
            f"are whole numbers."
        )
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        bad = int(np.flatnonzero(~np.isfinite(labels))[0])
        raise ValueError(
            f"y[{bad}] is {float(labels[bad])!r}: labels are neither NaN nor infinite."
        )
    return labels


def _kind_of_label(label: Any) -> str:
    if isinstance(label, (bool, np.bool_)):
        return "bool"
    if isinstance(label, (int, float, np.integer, np.floating)):
        return "number"
    return "str" if isinstance(label, str) else type(label).__name__


def _meant(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f" Did you mean {close[0]!r}?" if close else f" Its parameters are {', '.join(names)}."

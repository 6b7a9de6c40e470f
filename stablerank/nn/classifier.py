"""The network as a scikit-learn classifier of vectors: skorch trains it, float64 bits predict."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from stablerank.nn.annealing import LogitAnnealing
from stablerank.nn.architecture import check_architecture
from stablerank.nn.certificate_losses import CertificateRegularization, GloRoCrossEntropy
from stablerank.nn.hinge import HingeLoss, HingeMixture
from stablerank.nn.hkr import HKRLoss
from stablerank.nn.losses import (
    BoxCrossEntropy,
    CertifiedMarginLoss,
    OffsetCrossEntropy,
    TemperatureCrossEntropy,
)
from stablerank.nn.margins import check_boxes, margin_bounds
from stablerank.nn.network import StableRankNetwork
from stablerank.nn.training import EpochProgress, LipschitzNet, OneCycle, TensorBatches
from stablerank.progress import ProgressBar
from stablerank.stability import LINF, Block, Space, StabilityChain

_LOSSES: dict[str, type[nn.Module]] = {
    "cross-entropy": TemperatureCrossEntropy,
    "margin": CertifiedMarginLoss,
    "offset": OffsetCrossEntropy,
    "box": BoxCrossEntropy,
    "hinge": HingeLoss,
    "hkr": HKRLoss,
    "certified": CertificateRegularization,
    "annealing": LogitAnnealing,
    "gloro": GloRoCrossEntropy,
    "mixture": HingeMixture,
}
_OF_THE_HEAD = ("margin", "offset", "certified", "gloro")  # its rows, behind a 1-Lipschitz body
_SPREAD_TO_EPSILON = 0.05
_BATCH_ROWS = 4096


class LipschitzClassifier(ClassifierMixin, BaseEstimator):
    """Classifies vectors by a network with a known constant in ℓ∞ or ℓ2, trained by skorch.

    After training the weights are folded once into float64; those bits predict, are certified and
    are saved.

    Parameters
    ----------
    epsilon : float, optional
        The perturbation to train for, in the unit of the adversary. By default a twentieth of the
        largest standard deviation among the coordinates (divided by their constants).
    loss : str, default="cross-entropy"
        "cross-entropy": :class:`~stablerank.nn.TemperatureCrossEntropy`. "margin":
        :class:`~stablerank.nn.CertifiedMarginLoss`, which counts samples that are certified: on
        ORBIT5K it certifies more at the same accuracy, on small noisy data it fits less. "offset":
        :class:`~stablerank.nn.OffsetCrossEntropy`, cross-entropy at the radius `offset`. "box":
        :class:`~stablerank.nn.BoxCrossEntropy`, cross-entropy at the worst logits over a box, the
        one for layers that are free. "hinge": :class:`~stablerank.nn.HingeLoss`. "hkr":
        :class:`~stablerank.nn.HKRLoss`. "certified":
        :class:`~stablerank.nn.CertificateRegularization`. "annealing":
        :class:`~stablerank.nn.LogitAnnealing`. "gloro":
        :class:`~stablerank.nn.GloRoCrossEntropy`. "mixture": :class:`~stablerank.nn.HingeMixture`.
        Those that ask for more and more are ramped over the first half of the epochs.
    temperature : float, default=1.0
        Of the loss, in units of 1/epsilon: small values (0.3) for large certified radii, large
        values (20) for accuracy. The margin loss wants about 3.
    offset : float or sequence of float, default=0.25
        The radius that the loss asks for, in units of epsilon; for the margin loss it may be
        several. The offset loss and GloRo want 1. For "hinge", "hkr", "annealing" and "mixture" the
        margin, or the offset, of logits is twice as much: each of them is 1-Lipschitz.
    clean_weight : float, default=0.0
        What the box loss gives to the logits themselves, from 0 (certified accuracy at epsilon)
        to 1 (clean accuracy).
    loss_options : dict of str to float, optional
        Further parameters of the loss by name, in place of what follows from the others: `alpha` of
        "hkr", `weight` of "certified", `beta` of "annealing".
    hidden : tuple of int, default=(128, 128, 128)
        Widths of the hidden layers.
    layer, activation : str, default="linf", "maxmin"
        See :class:`~stablerank.nn.StableRankNetwork`.
    constants : array-like of shape (n_features,), optional
        How far each coordinate moves when the adversary moves by 1, from
        ``StabilityChain.constants``; coordinates are divided by them. 1 by default.
    max_epochs : int, default=60
        Number of passes over the training data.
    lr : float, default=0.01
        Largest learning rate of a one-cycle schedule.
    batch_size : int, optional
        Vectors a step; by default 128, and fewer where that would give less than 25 steps a pass.
    optimizer : type, default=torch.optim.Adam
        Class of the optimizer.
    callbacks : list of skorch callbacks, optional
        Besides the schedule and the progress bar.
    train_split : skorch ValidSplit, optional
        Held-out part of the training data for callbacks such as EarlyStopping; none by default.
        A random split has a `random_state` of its own.
    device : str, default="cpu"
        Where training runs. Prediction and certificates are computed in float64 on the CPU.
    random_state : int, Generator, RandomState or None, default=None
        Seed of initial weights and order of batches. torch's global generator is left as it was.
    verbose : int, default=0
        skorch's table of epochs.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    network_ : StableRankNetwork
        Folded, float64, on the CPU.
    net_ : skorch.NeuralNetClassifier
        What was trained, with its history; not there in loaded models.
    epsilon_ : float
        The perturbation that was trained for.
    temperature_ : float
        The temperature that was trained with.
    n_features_in_ : int
        Length of the vectors.

    Examples
    --------
    >>> X = np.array([[0.0], [0.1], [1.0], [1.1]] * 10)
    >>> y = np.array(["small", "small", "large", "large"] * 10)
    >>> classifier = LipschitzClassifier(hidden=(8,), random_state=0).fit(X, y)
    >>> classifier.predict([[0.05], [1.05]])
    array(['small', 'large'], dtype='<U5')
    """

    def __init__(
        self,
        epsilon: float | None = None,
        loss: str = "cross-entropy",
        temperature: float = 1.0,
        offset: float | Sequence[float] = 0.25,
        clean_weight: float = 0.0,
        loss_options: Mapping[str, float] | None = None,
        hidden: Sequence[int] = (128, 128, 128),
        layer: str = "linf",
        activation: str = "maxmin",
        constants: Any = None,
        max_epochs: int = 60,
        lr: float = 0.01,
        batch_size: int | None = None,
        optimizer: Any = torch.optim.Adam,
        callbacks: Any = None,
        train_split: Any = None,
        device: str = "cpu",
        random_state: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.epsilon = epsilon
        self.loss = loss
        self.temperature = temperature
        self.offset = offset
        self.clean_weight = clean_weight
        self.loss_options = loss_options
        self.hidden = hidden
        self.layer = layer
        self.activation = activation
        self.constants = constants
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.callbacks = callbacks
        self.train_split = train_split
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, lower: Any = None, upper: Any = None) -> LipschitzClassifier:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Finite vectors.
        y : array-like of shape (n_samples,)
            Labels of any kind that scikit-learn sorts: strings, integers, booleans.
        lower, upper : array-like of shape (n_samples, n_features), optional
            The ends of the box of each sample, for the box loss; by default X − and + `constants`
            times epsilon.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For vectors that are not finite, labels of the wrong number, fewer than two classes,
            boxes that do not hold their vectors, and parameters out of range.
        KeyboardInterrupt
            At Ctrl-C. skorch's callbacks, which raise it too, only end the training.

        Notes
        -----
        Whatever is raised, the estimator is as it was before, with an earlier fit if there was one.
        """
        before = self.__dict__.copy()
        try:
            self._check_parameters()
            X, y = validate_data(self, X, y, dtype=np.float64)
            X = np.array(X, order="C")
            self._fit(X, *check_classes(y), self._check_boxes(X, lower, upper))
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        return self

    def _fit(
        self,
        X: NDArray[np.float64],
        classes: NDArray[Any],
        encoded: NDArray[np.int64],
        boxes: NDArray[np.float64] | None,
    ) -> None:
        self.classes_ = classes
        network = self._network_settings(X)
        self._train(X if boxes is None else boxes, encoded, StableRankNetwork, network)
        self.network_ = self.net_.module_.cpu().folded()

    def fit_behind(self, front: nn.Module, inputs: Tensor, y: Any) -> LipschitzClassifier:
        """Train the network together with a module that makes its vectors.

        The vectors are shifted and scaled as those are with which training begins. Afterwards the
        network is that of the vectors of the trained module, which keeps its gradients.

        Parameters
        ----------
        front : nn.Module
            From a batch of inputs to vectors of shape (n, n_features); its parameters are trained
            in place.
        inputs : Tensor of shape (n_samples, …), of two axes or more than three
            What it takes.
        y : array-like of shape (n_samples,)
            Labels.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad parameters and labels, and for the box loss, which needs boxes of the inputs.
        KeyboardInterrupt
            At Ctrl-C.

        Notes
        -----
        Whatever is raised, the estimator is as it was before; the parameters of `front` are not.
        """
        before = self.__dict__.copy()
        try:
            self._check_parameters()
            if self.loss == "box":
                raise ValueError(
                    'loss="box" needs a box of each input, and is not known behind a module that '
                    'is trained: use "margin".'
                )
            self.classes_, encoded = check_classes(np.asarray(y))
            with torch.no_grad():
                parts = [front(part).double() for part in inputs.split(_BATCH_ROWS)]
            vectors = torch.cat(parts).cpu().numpy()
            self.n_features_in_ = vectors.shape[1]
            network = self._network_settings(vectors)
            self._train(inputs.numpy(), encoded, _Behind, {"front": front, **network})
            self.network_ = self.net_.module_.network.cpu().folded()
            front.cpu()
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        return self

    def _network_settings(self, X: NDArray[np.float64]) -> dict[str, Any]:
        center, scale, gain = self._standardization(X)
        return {
            "n_features": X.shape[1],
            "n_classes": len(self.classes_),
            "hidden": tuple(self.hidden),
            "layer": self.layer,
            "activation": self.activation,
            "center": center,
            "scale": scale,
            "gain": gain,
        }

    def _train(
        self, X: NDArray[Any], encoded: NDArray[np.int64], module: Any, settings: dict[str, Any]
    ) -> None:
        self.temperature_ = float(self.temperature)
        batch_size = self.batch_size or min(128, max(8, len(X) // 25))
        with (
            torch.random.fork_rng(devices=[]),
            ProgressBar("training", self.max_epochs) as progress,
        ):
            # the generator of the CPU, where all is drawn; torch.manual_seed seeds every device's
            torch.default_generator.manual_seed(seed_of(self.random_state))
            self.net_ = LipschitzNet(
                module,
                **{f"module__{name}": value for name, value in settings.items()},
                **self._criterion(),
                optimizer=self.optimizer,
                lr=self.lr,
                max_epochs=self.max_epochs,
                batch_size=batch_size,
                iterator_train=TensorBatches,
                iterator_train__shuffle=True,
                iterator_valid=TensorBatches,
                train_split=self.train_split,
                classes=np.arange(len(self.classes_)),
                callbacks=[
                    ("schedule", OneCycle(self.lr)),
                    ("progress", EpochProgress(progress)),
                    *(self.callbacks or ()),
                ],
                device=self.device,
                verbose=self.verbose,
            )
            self.net_.fit(X, encoded)

    def logits(self, X: Any) -> NDArray[np.float64]:
        """The network's outputs, shape (n_samples, n_classes), computed in float64."""
        check_is_fitted(self, "network_")
        X = validate_data(self, X, reset=False, dtype=np.float64)
        with torch.no_grad():
            # a copy, since torch takes no read-only arrays and none that run backwards
            parts = torch.from_numpy(np.array(X, order="C")).split(_BATCH_ROWS)
            logits = torch.cat([self.network_(part) for part in parts])
        return np.asarray(logits.numpy(), dtype=np.float64)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Logits, shape (n_samples, n_classes); for two classes their difference, (n_samples,)."""
        logits = self.logits(X)
        return np.asarray(logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits)

    def predict(self, X: Any) -> NDArray[Any]:
        """The label with the largest logit; the first of them in a tie."""
        winners = self.logits(X).argmax(axis=1)
        return np.asarray(self.classes_[winners])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Softmax of temperature times logits, shape (n_samples, n_classes)."""
        scores = self.logits(X)
        scores *= self.temperature_
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))

    def stability(self, source: Space = LINF) -> StabilityChain:
        """The bounds from the vectors to the logits."""
        check_is_fitted(self, "network_")
        return self.network_.stability(source)

    def feature_stability(self, source: Space = LINF) -> StabilityChain:
        """The bounds from the vectors to the features before the head."""
        check_is_fitted(self, "network_")
        return self.network_.feature_stability(source)

    def block_stability(self, source: Space, blocks: Sequence[Block]) -> StabilityChain:
        """The bounds from an adversary to the features, by blocks; see StableRankNetwork."""
        check_is_fitted(self, "network_")
        return self.network_.block_stability(source, blocks)

    def pairwise_constants(self, source: Space = LINF) -> NDArray[np.float64]:
        """The constant of each difference of two logits in terms of the features."""
        check_is_fitted(self, "network_")
        return self.network_.pairwise_constants(source)

    def rounding(
        self, magnitude: NDArray[np.float64], error: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """How far computed logits can be from exact ones; see :class:`StableRankNetwork`."""
        check_is_fitted(self, "network_")
        return self.network_.rounding(magnitude, error)

    def bounds(self, lower: Any, upper: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """The box of the logits over boxes of vectors; see :class:`StableRankNetwork`."""
        check_is_fitted(self, "network_")
        with torch.no_grad():
            return self.network_.bounds(*check_boxes(lower, upper))

    def margin_bounds(
        self,
        lower: Any,
        upper: Any,
        predicted: Any,
        method: Literal["interval", "linear"] = "linear",
    ) -> NDArray[np.float64]:
        """How far logits stay apart over boxes of vectors; see :func:`margin_bounds`."""
        check_is_fitted(self, "network_")
        return margin_bounds(self.network_, lower, upper, predicted, method)

    def _criterion(self) -> dict[str, Any]:
        kind = _LOSSES[self.loss]
        offsets = self._offsets()
        settings: dict[str, Any] = {
            "temperature": float(self.temperature),
            "offset": offsets if self.loss == "margin" else float(offsets[0]),
            "margin": 2 * float(offsets[0]),
            "clean_weight": float(self.clean_weight),
        }
        if self.loss == "annealing":
            settings["offset"] *= 2
        names = inspect.signature(kind).parameters
        options = dict(self.loss_options or {})
        unknown = sorted(set(options) - set(names))
        if unknown:
            raise ValueError(
                f"loss_options has {unknown[0]!r}, but loss={self.loss!r} takes {list(names)}."
            )
        settings = {name: value for name, value in settings.items() if name in names} | options
        return {"criterion": kind} | {f"criterion__{k}": v for k, v in settings.items()}

    def _offsets(self) -> tuple[Any, ...]:
        offset = self.offset
        return tuple(offset) if isinstance(offset, (list, tuple, np.ndarray)) else (offset,)

    def _check_boxes(
        self, X: NDArray[np.float64], lower: Any, upper: Any
    ) -> NDArray[np.float64] | None:
        """The vectors with the ends of their boxes, shape (n_samples, 3, n_features)."""
        if lower is None and upper is None:
            return None
        if self.loss != "box":
            raise ValueError(
                f'lower and upper are boxes to train on, for loss="box", but loss={self.loss!r}.'
            )
        if lower is None or upper is None:
            raise ValueError("lower and upper are the two ends of boxes: give both, or none.")
        ends = [np.asarray(end, dtype=np.float64) for end in (lower, upper)]
        for name, end, sign in zip(("lower", "upper"), ends, (-1, 1), strict=True):
            if end.shape != X.shape:
                raise ValueError(f"{name} has shape {end.shape}, but X {X.shape}: expected that.")
            wrong = ~(np.isfinite(end) & (sign * end >= sign * X)).all(axis=1)
            if wrong.any():
                raise ValueError(
                    f"{name}[{int(np.flatnonzero(wrong)[0])}] is not a finite end of a box around "
                    f"its vector: expected lower <= X <= upper."
                )
        return np.stack([X, *ends], axis=1)

    def _standardization(self, X: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        constants = np.ones(X.shape[1])
        if self.constants is not None:
            constants = np.array(self.constants, dtype=np.float64)
            if constants.shape != (X.shape[1],):
                raise ValueError(
                    f"constants has shape {constants.shape}, but X has {X.shape[1]} features: "
                    f"expected one constant a feature."
                )
            if not (np.isfinite(constants).all() and (constants >= 0).all()):
                bad = int(np.flatnonzero(~(np.isfinite(constants) & (constants >= 0)))[0])
                raise ValueError(
                    f"constants[{bad}] is {float(constants[bad])!r}: expected finite numbers >= 0."
                )
            constants[constants == 0] = 1.0  # a coordinate that cannot move: any scale will do
        center, deviations = _mean_and_deviations(X)
        spread = deviations / constants
        largest = float(spread.max())
        if self.epsilon is not None:
            self.epsilon_ = float(self.epsilon)
        else:
            self.epsilon_ = _SPREAD_TO_EPSILON * largest if largest > 0 else 1.0
        gain = np.maximum(spread / max(largest, sys.float_info.min), 1e-3)
        return center, constants * self.epsilon_, gain

    def _check_parameters(self) -> None:
        if self.loss not in _LOSSES:
            raise ValueError(f"loss={self.loss!r}: expected one of {tuple(_LOSSES)}.")
        if self.layer == "free" and self.loss in _OF_THE_HEAD:
            raise ValueError(
                f"loss={self.loss!r} trains the radius of a body that is 1-Lipschitz, and "
                f'layer="free" is none: use loss="box" or "cross-entropy".'
            )
        if self.epsilon is not None and not _is_positive(self.epsilon):
            raise ValueError(
                f"epsilon={self.epsilon!r}: expected a positive finite number, the size of the "
                f"perturbations to train for, or None."
            )
        for name in ("temperature", "lr"):
            if not _is_positive(getattr(self, name)):
                raise ValueError(
                    f"{name}={getattr(self, name)!r}: expected a positive finite number."
                )
        several = self.loss == "margin"
        if not all(_is_real(one) and 0 <= one < math.inf for one in self._offsets()) or not (
            1 <= len(self._offsets()) <= (math.inf if several else 1)
        ):
            expected = "a finite number >= 0" + (", or several" if several else "")
            raise ValueError(f"offset={self.offset!r}: expected {expected}.")
        if not (_is_real(self.clean_weight) and 0 <= self.clean_weight <= 1):
            raise ValueError(f"clean_weight={self.clean_weight!r}: expected a number from 0 to 1.")
        for name in ("max_epochs", "batch_size"):
            value = getattr(self, name)
            if value is None and name == "batch_size":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name}={value!r}: expected an integer >= 1.")
        settings = self._criterion()
        settings.pop("criterion")(**{k.split("__")[1]: v for k, v in settings.items()})
        check_architecture(self.hidden, self.layer, self.activation)


class _Behind(nn.Module):
    """A network and the module that makes its vectors, trained as one.

    Losses ask for the head by the name that it has in a network alone.
    """

    def __init__(self, front: nn.Module, **network: Any) -> None:
        super().__init__()
        self.front = front
        self.network = StableRankNetwork(**network)

    @property
    def head(self) -> nn.Module:
        """That of the network."""
        return self.network.head

    @property
    def layer(self) -> str:
        """The network's kind of layers."""
        return self.network.layer

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.network(self.front(inputs))
        return logits


def check_classes(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The classes in order, and the index of each sample's class.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Labels.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
    encoded : ndarray of shape (n_samples,), int64

    Raises
    ------
    ValueError
        If they are numbers that are not whole, or all the same.
    """
    check_classification_targets(y)
    classes, encoded = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"y has only one class, {classes.tolist()[0]!r}: a classifier needs at least two."
        )
    return classes, encoded.astype(np.int64)


def seed_of(random_state: Any) -> int:
    """A seed for torch, drawn from what scikit-learn calls a random state.

    Raises
    ------
    ValueError
        For anything else.
    """
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    try:
        return int(np.random.default_rng(random_state).integers(2**31))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"random_state={random_state!r}: expected an integer >= 0, a NumPy generator or None."
        ) from error


def _mean_and_deviations(X: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Mean and standard deviation of each column; their squares neither overflow nor vanish."""
    _, exponent = np.frexp(np.abs(X).max())
    scaled = np.ldexp(X, -int(exponent))
    deviations = scaled.std(axis=0)
    deviations[scaled.min(axis=0) == scaled.max(axis=0)] = 0.0  # not the rounding of their mean
    return np.ldexp(scaled.mean(axis=0), exponent), np.ldexp(deviations, exponent)


def _is_real(value: Any) -> bool:
    real = isinstance(value, (int, float, np.integer, np.floating))
    return real and not isinstance(value, bool)


def _is_positive(value: Any) -> bool:
    return _is_real(value) and bool(0 < value < math.inf)


def parameter_count(network: nn.Module) -> int:
    """How many numbers were learned."""
    return sum(parameter.numel() for parameter in network.parameters())

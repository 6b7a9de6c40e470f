"""The network as a scikit-learn classifier of vectors: skorch trains it, float64 bits predict."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, LRScheduler
from skorch.dataset import unpack_data
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from stablerank.nn.losses import CertifiedMarginLoss, TemperatureCrossEntropy
from stablerank.nn.network import StableRankNetwork
from stablerank.progress import ProgressBar
from stablerank.stability import LINF, Space, StabilityChain

_SPREAD_TO_EPSILON = 0.05
_BATCH_ROWS = 4096


class LipschitzClassifier(ClassifierMixin, BaseEstimator):
    """Classifies vectors by a network that is 1-Lipschitz in ℓ∞, trained by skorch.

    After training the weights are folded once into float64; those bits predict, are certified and
    are saved.

    Parameters
    ----------
    epsilon : float, optional
        The perturbation to train for, in the unit of the adversary. By default a twentieth of the
        largest standard deviation among the coordinates (divided by their constants).
    loss : {"margin", "cross-entropy"}, default="margin"
        :class:`~stablerank.nn.CertifiedMarginLoss`, which counts samples that are certified, or
        :class:`~stablerank.nn.TemperatureCrossEntropy`.
    temperature : float, default=3.0
        Of the loss, in units of 1/epsilon: small values for large certified radii, large values
        (20) for accuracy.
    offset : float, default=0.25
        The radius that the margin loss asks for, in units of epsilon.
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
    device : str, default="cpu"
        Where training runs. Prediction and certificates are computed in float64 on the CPU.
    random_state : int or None, default=None
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
        What was trained, with its history.
    epsilon_ : float
        The perturbation that was trained for.
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
        loss: Literal["margin", "cross-entropy"] = "margin",
        temperature: float = 3.0,
        offset: float = 0.25,
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

    def fit(self, X: Any, y: Any) -> LipschitzClassifier:
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Finite vectors.
        y : array-like of shape (n_samples,)
            Labels of any kind that scikit-learn sorts: strings, integers, booleans.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For vectors that are not finite, labels of the wrong number, fewer than two classes,
            and parameters out of range.
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self._check_parameters()
        self.classes_, encoded = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y has only one class, {self.classes_[0]!r}: a classifier needs at least two."
            )
        center, scale, gain = self._standardization(X)
        batch_size = self.batch_size or min(128, max(8, len(X) // 25))
        batches = math.ceil(len(X) / batch_size)
        seed = int(np.random.default_rng(self.random_state).integers(2**31))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net_ = _Net(
                StableRankNetwork,
                module__n_features=X.shape[1],
                module__n_classes=len(self.classes_),
                module__hidden=tuple(self.hidden),
                module__layer=self.layer,
                module__activation=self.activation,
                module__center=center,
                module__scale=scale,
                module__gain=gain,
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
                    (
                        "schedule",
                        LRScheduler(
                            OneCycleLR,
                            step_every="batch",
                            max_lr=self.lr,
                            total_steps=max(2, batches * self.max_epochs + 1),
                            pct_start=0.1,
                        ),
                    ),
                    ("progress", _Progress()),
                    *(self.callbacks or ()),
                ],
                device=self.device,
                verbose=self.verbose,
            )
            self.net_.fit(X, encoded.astype(np.int64))
        self.network_ = self.net_.module_.cpu().folded()
        return self

    def logits(self, X: Any) -> NDArray[np.float64]:
        """The network's outputs, shape (n_samples, n_classes), computed in float64."""
        check_is_fitted(self, "network_")
        X = validate_data(self, X, reset=False, dtype=np.float64)
        with torch.no_grad():
            parts = torch.from_numpy(X).split(_BATCH_ROWS)
            logits = torch.cat([self.network_(part) for part in parts])
        return np.asarray(logits.numpy(), dtype=np.float64)

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Logits, shape (n_samples, n_classes); for two classes their difference, (n_samples,)."""
        logits = self.logits(X)
        return np.asarray(logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits)

    def predict(self, X: Any) -> NDArray[Any]:
        """The label with the largest logit; the first of them in a tie."""
        return np.asarray(self.classes_[self.logits(X).argmax(axis=1)])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Softmax of temperature times logits, shape (n_samples, n_classes)."""
        scores = float(self.temperature) * self.logits(X)
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

    def pairwise_constants(self) -> NDArray[np.float64]:
        """The constant of each difference of two logits in terms of the features."""
        check_is_fitted(self, "network_")
        return self.network_.pairwise_constants()

    def rounding(
        self, magnitude: NDArray[np.float64], error: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """How far computed logits can be from exact ones; see :class:`StableRankNetwork`."""
        check_is_fitted(self, "network_")
        return self.network_.rounding(magnitude, error)

    def _criterion(self) -> dict[str, Any]:
        settings: dict[str, Any] = {"criterion__temperature": float(self.temperature)}
        if self.loss == "margin":
            settings.update(criterion=CertifiedMarginLoss, criterion__offset=float(self.offset))
        else:
            settings.update(criterion=TemperatureCrossEntropy)
        return settings

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
                raise ValueError("constants must be finite and not negative.")
            constants[constants == 0] = 1.0  # a coordinate that cannot move: any scale will do
        spread = X.std(axis=0) / constants
        largest = float(spread.max())
        if self.epsilon is not None:
            self.epsilon_ = float(self.epsilon)
        else:
            self.epsilon_ = _SPREAD_TO_EPSILON * largest if largest > 0 else 1.0
        gain = np.maximum(spread / max(largest, sys.float_info.min), 1e-3)
        return X.mean(axis=0), constants * self.epsilon_, gain

    def _check_parameters(self) -> None:
        if self.loss not in ("margin", "cross-entropy"):
            raise ValueError(f'loss={self.loss!r}: expected "margin" or "cross-entropy".')
        if self.epsilon is not None and not 0 < self.epsilon < math.inf:
            raise ValueError(
                f"epsilon={self.epsilon!r}: expected a positive finite number, the size of the "
                f"perturbations to train for, or None."
            )
        for name in ("max_epochs", "batch_size"):
            value = getattr(self, name)
            if value is None and name == "batch_size":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name}={value!r}: expected an integer >= 1.")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr={self.lr!r}: expected a positive finite number.")


class _Net(NeuralNetClassifier):
    """skorch's classifier, which shows the head to losses that need it."""

    def get_loss(
        self, y_pred: Tensor, y_true: Tensor, X: Any = None, training: bool = False
    ) -> Any:
        """The loss of a batch."""
        if isinstance(self.criterion_, CertifiedMarginLoss):
            return self.criterion_(y_pred, y_true.to(y_pred.device), self.module_.head.weight)
        return super().get_loss(y_pred, y_true, X=X, training=training)


class TensorBatches:
    """Batches of a data set that lies in memory, without a Python loop over samples.

    Parameters
    ----------
    dataset : torch Dataset
        Of pairs (x, y), or a Subset of one.
    batch_size : int
        Samples a batch; the last one may be smaller.
    shuffle : bool, default=False
        A new order at each pass, drawn from torch's generator.
    """

    def __init__(self, dataset: Any, batch_size: int, shuffle: bool = False) -> None:
        x, y = _as_tensors(dataset)
        self.x, self.y, self.batch_size, self.shuffle = x, y, batch_size, shuffle

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        n = len(self.x)
        order = torch.randperm(n) if self.shuffle else torch.arange(n)
        for rows in order.split(self.batch_size):
            yield self.x[rows], self.y[rows]

    def __len__(self) -> int:
        return math.ceil(len(self.x) / self.batch_size)


class _Progress(Callback):
    """Counts epochs in a progress bar, and ramps the loss's offset over the first half of them."""

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        if isinstance(net.criterion_, CertifiedMarginLoss):
            net.criterion_.progress = min(1.0, 2 * len(net.history) / net.max_epochs)

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        self.bar_ = ProgressBar("training", net.max_epochs)
        self.bar_.__enter__()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        self.bar_.advance()

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        self.bar_.__exit__(None, None, None)


def _as_tensors(dataset: Any) -> tuple[Tensor, Tensor]:
    if isinstance(dataset, torch.utils.data.Subset):
        x, y = _as_tensors(dataset.dataset)
        rows = torch.as_tensor(np.asarray(dataset.indices))
        return x[rows], y[rows]
    if hasattr(dataset, "X") and hasattr(dataset, "y"):
        x = torch.as_tensor(dataset.X)
        y = (
            torch.zeros(len(x), dtype=torch.int64)
            if dataset.y is None
            else torch.as_tensor(dataset.y)
        )
        return x, y
    pairs = [unpack_data(dataset[i]) for i in range(len(dataset))]
    return torch.stack([p[0] for p in pairs]), torch.as_tensor([int(p[1]) for p in pairs])


def parameter_count(network: nn.Module) -> int:
    """How many numbers were learned."""
    return sum(parameter.numel() for parameter in network.parameters())

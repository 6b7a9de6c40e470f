"""What the neural baselines share: skorch trains an unconstrained network of clouds."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNetClassifier
from torch import Tensor, nn

from benchmarks.baselines.vectorizer import check_count
from stablerank.nn.classifier import check_classes, parameter_count, seed_of
from stablerank.nn.training import LipschitzNet, OneCycle, TensorBatches

_CLOUDS_AT_ONCE = 128


class CloudNetwork(ClassifierMixin, BaseEstimator):
    """A classifier of clouds by a network that nothing bounds.

    A subclass says what the network's inputs are (`_fit_inputs`, `_inputs`), also with gradients
    (`_inputs_with_gradients`), and which network it is (`_module`). All is learned in float32, by
    cross-entropy and `optimizer`, with a learning rate that rises for a tenth of the steps and then
    falls along a cosine.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    network_ : nn.Module
        From inputs to logits, as it predicts.
    n_parameters_ : int
        How many numbers were learned.
    history_ : skorch.history.History
        The losses of training.
    """

    max_epochs: int
    lr: float
    batch_size: int | None
    weight_decay: float
    random_state: int | None
    largest_batch: ClassVar[int] = 128  # where no `batch_size` is given

    def fit(self, X: Any, y: Any) -> CloudNetwork:
        """Train the network.

        Parameters
        ----------
        X : list of ndarray of shape (n_points, d)
            The clouds; their numbers of points may differ.
        y : array-like of shape (n_clouds,)
            Labels of any kind that scikit-learn sorts.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad parameters or clouds, labels of the wrong number, and fewer than two classes.
        KeyboardInterrupt
            At Ctrl-C, which skorch would take for the end of training.
        """
        self._check_parameters()
        seed = seed_of(self.random_state)
        inputs = self._fit_inputs(X)
        labels = np.asarray(y)
        if labels.shape != (len(inputs),):
            raise ValueError(
                f"y has shape {labels.shape}, but X has {len(inputs)} clouds: expected a label a "
                f"cloud."
            )
        self.classes_, encoded = check_classes(labels)
        # the generator of the CPU, where all is drawn; the others are left alone
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            net = _Net(
                self._module(len(self.classes_)),
                criterion=nn.CrossEntropyLoss,
                optimizer=torch.optim.AdamW,
                optimizer__weight_decay=self.weight_decay,
                lr=self.lr,
                max_epochs=self.max_epochs,
                batch_size=self._batch_size(len(inputs)),
                iterator_train=TensorBatches,
                iterator_train__shuffle=True,
                train_split=None,
                classes=np.arange(len(self.classes_)),
                callbacks=[("schedule", OneCycle(self.lr))],
                verbose=0,
            ).fit(inputs, encoded)
        self.network_ = net.module_.eval().requires_grad_(False)
        self.history_ = net.history
        self.n_parameters_ = parameter_count(self.network_)
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """The network's logits, shape (n_clouds, n_classes), for two classes as well."""
        check_is_fitted(self, "network_")
        inputs = self._inputs(X)
        with torch.no_grad():
            parts = [self._logits(part) for part in inputs.split(_CLOUDS_AT_ONCE)]
        return np.asarray(torch.cat(parts).numpy())

    def predict(self, X: Any) -> NDArray[Any]:
        """The label with the largest logit; the first of them in a tie."""
        winners = self.decision_function(X).argmax(axis=1)
        return np.asarray(self.classes_[winners])

    def differentiable_logits(
        self, points: Tensor, offsets: NDArray[np.int64], shapes: Sequence[Any] | None = None
    ) -> Tensor:
        """Logits that are differentiable with respect to the points.

        Parameters
        ----------
        points : Tensor of shape (n_points, d), float64
            All clouds, one after the other.
        offsets : ndarray of shape (n_clouds + 1,), int64
            Cloud i is ``points[offsets[i]:offsets[i + 1]]``.
        shapes : sequence of tuple of int, optional
            The shape of each image, where a filtration takes images.

        Returns
        -------
        Tensor of shape (n_clouds, n_classes), float64
            Those of :meth:`decision_function`, up to the network's own precision.
        """
        check_is_fitted(self, "network_")
        return self._logits(self._inputs_with_gradients(points, offsets, shapes))

    def _batch_size(self, n_clouds: int) -> int:
        """As LipschitzClassifier's, and never such that a last batch of one cloud is left.

        Batch normalisation knows no spread of a single one.
        """
        size = self.batch_size or min(self.largest_batch, max(8, n_clouds // 25))
        while size < n_clouds and n_clouds % size == 1:
            size += 1
        return size

    def _logits(self, inputs: Tensor) -> Tensor:
        precision = next(self.network_.parameters()).dtype
        logits: Tensor = self.network_(inputs.to(precision))
        return logits.double()

    def _check_parameters(self) -> None:
        check_count(self.max_epochs, "max_epochs")
        if self.batch_size is not None:
            check_count(self.batch_size, "batch_size")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr={self.lr!r}: expected a positive finite number.")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay={self.weight_decay!r}: expected a finite number >= 0.")

    @abstractmethod
    def _fit_inputs(self, X: Any) -> Tensor:
        """Learn how inputs are scaled; the inputs of training, float32, a row a cloud."""

    @abstractmethod
    def _inputs(self, X: Any) -> Tensor: ...

    @abstractmethod
    def _inputs_with_gradients(
        self, points: Tensor, offsets: NDArray[np.int64], shapes: Sequence[Any] | None
    ) -> Tensor: ...

    @abstractmethod
    def _module(self, n_classes: int) -> nn.Module:
        """The network, its weights drawn from torch's generator."""


class _Net(LipschitzNet):
    """skorch's classifier, interrupted by Ctrl-C; inputs of three axes are no boxes here."""

    def infer(self, x: Tensor, **fit_params: Any) -> Any:
        return NeuralNetClassifier.infer(self, x, **fit_params)

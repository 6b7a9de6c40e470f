"""How skorch trains a Lipschitz network: batches, schedule, progress, and interrupts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, LRScheduler
from skorch.dataset import unpack_data
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

from stablerank.interrupts import from_the_keyboard
from stablerank.nn.architecture import IN_L2
from stablerank.nn.losses import BoxCrossEntropy, RampedLoss
from stablerank.progress import ProgressBar


class LipschitzNet(NeuralNetClassifier):
    """skorch's classifier, which shows the head or the box to losses that need it.

    For :class:`BoxCrossEntropy`, X is vectors of shape (n, n_features), whose boxes are one unit
    of the standardised input to each side, or of shape (n, 3, n_features), with the lower and the
    upper ends of the box of each beside it.

    skorch ends the training quietly at a KeyboardInterrupt, since its callbacks, such as
    EarlyStopping, raise it to that end. Ctrl-C is not taken for that here: it interrupts.
    """

    def partial_fit(self, X: Any, y: Any = None, **params: Any) -> LipschitzNet:
        """Train, and raise the interrupts that are not from callbacks."""
        self.interrupted_ = False
        with from_the_keyboard() as interrupts:
            super().partial_fit(X, y, **params)
        if interrupts or self.interrupted_:
            raise KeyboardInterrupt
        return self

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **params: Any) -> Any:
        """Train, and remember an interrupt that is not from a callback."""
        try:
            return super().fit_loop(X, y, epochs, **params)
        except KeyboardInterrupt:
            self.interrupted_ = not self.in_callbacks_
            raise

    def notify(self, method_name: str, **arguments: Any) -> None:
        """Call the callbacks."""
        self.in_callbacks_ = True
        super().notify(method_name, **arguments)
        self.in_callbacks_ = False

    def get_loss(
        self, y_pred: Tensor, y_true: Tensor, X: Any = None, training: bool = False
    ) -> Any:
        """The loss of a batch."""
        loss = self.criterion_
        if isinstance(loss, BoxCrossEntropy):
            y_true = y_true.to(y_pred.device)
            lower, upper = self._boxes(X.to(y_pred.device), loss.progress)
            return loss(y_pred, y_true, self.module_.box_margins(lower, upper, y_true))
        if isinstance(loss, RampedLoss):
            loss.order = 2.0 if self.module_.layer in IN_L2 else 1.0
            return loss(y_pred, y_true.to(y_pred.device), self.module_.head.weight)
        return super().get_loss(y_pred, y_true, X=X, training=training)

    def infer(self, x: Tensor, **fit_params: Any) -> Any:
        """The network's logits of the vectors, without the boxes beside them."""
        return super().infer(x[:, 0] if x.ndim == 3 else x, **fit_params)

    def _boxes(self, x: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        if x.ndim == 3:
            x, lower, upper = x.unbind(1)
            return torch.lerp(x, lower, progress), torch.lerp(x, upper, progress)
        reach = progress / self.module_.standardize.factor
        return x - reach, x + reach


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


class OneCycle(LRScheduler):
    """skorch's scheduler with one cycle over all batches, however many samples are held out.

    Parameters
    ----------
    max_lr : float
        The largest learning rate, after a tenth of the batches.
    """

    def __init__(self, max_lr: float) -> None:
        super().__init__(OneCycleLR, step_every="batch")
        self.max_lr = max_lr

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Wait for the first epoch: only then is known how many samples are trained on."""
        self.lr_scheduler_: OneCycleLR | None = None

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, **kwargs: Any) -> None:
        """Lay the cycle over all epochs."""
        if self.lr_scheduler_ is None:
            steps = math.ceil(len(dataset_train) / net.batch_size) * net.max_epochs + 1
            self.lr_scheduler_ = OneCycleLR(
                net.optimizer_,
                max_lr=self.max_lr,
                total_steps=steps,
                pct_start=max(0.1, 2 / steps),  # torch divides by 0 if it rises within no step
                cycle_momentum=bool({"momentum", "betas"} & net.optimizer_.defaults.keys()),
            )


class EpochProgress(Callback):
    """Counts epochs in a progress bar, and ramps a ramped loss over the first half of them.

    Parameters
    ----------
    bar : ProgressBar
        Opened and closed by whoever trains.
    """

    def __init__(self, bar: ProgressBar) -> None:
        self.bar = bar

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Ramp the loss."""
        if isinstance(net.criterion_, RampedLoss):
            net.criterion_.progress = min(1.0, 2 * len(net.history) / net.max_epochs)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Count the epoch."""
        self.bar.advance()


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

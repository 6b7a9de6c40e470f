"""Learned templates: order statistics of min(l/2, net(b, d)₊), the net 1-Lipschitz in ℓ∞ (R4)."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from stablerank.diagrams.batch import DiagramBatch, check_diagrams
from stablerank.learned.fronts import Front
from stablerank.learned.training import check_at_least, check_training, learn
from stablerank.nn.activations import MaxMin
from stablerank.nn.affine import linear_bounds, linear_rounding, row_norms_upper
from stablerank.nn.classifier import seed_of
from stablerank.nn.linf import LinfLinear
from stablerank.ranks.boxes import BarBoxes
from stablerank.ranks.contours import UNIT_ROUNDOFF
from stablerank.ranks.order_statistics import OrderStatistics
from stablerank.ranks.stable_rank import check_counts
from stablerank.ranks.templates import Template, k_largest

Array = NDArray[np.float64]


class LearnedTemplates(OrderStatistics):
    """The k-th largest values of functions of a bar that were trained for the labels.

    Each function is min((d − b)/2, net(b, d)₊), with a network that is 1-Lipschitz for the maximum
    norm of (b, d): affine layers with rows in the ℓ1 ball, and MaxMin between them. So it is a
    template of fact R4, whatever was learned. `fit` trains the templates of all homology
    dimensions and a Lipschitz network behind them as one; then the templates are frozen into
    float64, and the network of the training is discarded, as of
    :class:`~stablerank.learned.LearnedStableRank`.

    Parameters
    ----------
    n_templates : int, default=16
        How many functions in each homology dimension.
    n_levels : int or dict of int to int, default=16
        How many levels k, for each homology dimension.
    width : int, default=16
        Even; of the two hidden layers of the networks of bars.
    epsilon : float, optional
        The perturbation to train for, in the unit of the diagrams; see
        :class:`~stablerank.nn.LipschitzClassifier`, as for all that follow.
    loss : {"cross-entropy", "margin", "offset"}, default="cross-entropy"
        Of the training.
    temperature, offset : float, default=1.0, 0.25
        Of the loss.
    hidden, layer, activation : default=(128, 128, 128), "linf", "maxmin"
        The network of the training, behind the vectors.
    max_epochs, lr, batch_size : default=60, 0.01, None
        Of the training.
    random_state : int, Generator, RandomState or None, default=None
        Seed of the templates and of the training.
    verbose : int, default=0
        skorch's table of epochs.

    Attributes
    ----------
    weights_ : dict of int to ndarray of shape (n_weights,), float64
        For each homology dimension the weights and biases of the three layers, one after the other.
    homology_dimensions_ : tuple of int
        Those of the training diagrams.
    n_levels_ : dict of int to int
        For each homology dimension.
    n_features_out_ : int
        Length of the vectors.

    Examples
    --------
    >>> y = np.arange(40) % 2
    >>> diagrams = [{1: [[0, 1], [1, 2 + 0.1 * (i % 3)] if y[i] else [2, 3]]} for i in range(40)]
    >>> templates = LearnedTemplates(4, 2, width=4, hidden=(8,), max_epochs=5, random_state=0)
    >>> templates.fit(diagrams, y).transform(diagrams).shape
    (40, 8)
    """

    _feature = "template"

    def __init__(
        self,
        n_templates: int = 16,
        n_levels: int | Mapping[int, int] = 16,
        width: int = 16,
        epsilon: float | None = None,
        loss: Literal["cross-entropy", "margin", "offset"] = "cross-entropy",
        temperature: float = 1.0,
        offset: float | Sequence[float] = 0.25,
        hidden: Sequence[int] = (128, 128, 128),
        layer: str = "linf",
        activation: str = "maxmin",
        max_epochs: int = 60,
        lr: float = 0.01,
        batch_size: int | None = None,
        random_state: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_templates = n_templates
        self.n_levels = n_levels
        self.width = width
        self.epsilon = epsilon
        self.loss = loss
        self.temperature = temperature
        self.offset = offset
        self.hidden = hidden
        self.layer = layer
        self.activation = activation
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> LearnedTemplates:
        """Train the templates together with a network, and freeze them.

        Parameters
        ----------
        X : DiagramBatch or list of dict of int to ndarray of shape (n_bars, 2)
            The training diagrams.
        y : array-like of shape (n_clouds,)
            Labels. Diagrams without any bar need none: there is nothing to learn.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For bad parameters and labels, or without labels.
        KeyboardInterrupt
            At Ctrl-C.

        Notes
        -----
        Whatever is raised, the estimator is as it was before, with an earlier fit if there was one.
        """
        batch = check_diagrams(X)
        check_training(self)
        check_at_least("n_templates", self.n_templates, 1)
        check_at_least("width", self.width, 2)
        if self.width % 2:
            raise ValueError(f"width={self.width!r}: expected an even number, for MaxMin.")
        levels = check_counts("n_levels", self.n_levels, batch.homology_dimensions)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(self.random_state))
            parts = {
                k: LearnableTemplates(batch.bars[k], self.n_templates, n_levels, self.width)
                for k, n_levels in levels.items()
            }
        learn(self, Front(parts), batch, y, None)  # constants are 1 for every metric (R4)
        self.weights_ = {k: part.frozen() for k, part in parts.items()}
        self.homology_dimensions_, self.n_levels_ = batch.homology_dimensions, levels
        self.n_features_out_ = int(self.n_templates) * sum(levels.values())
        return self

    def _fit_template(self, batch: DiagramBatch) -> None:
        """Nothing to fix here: `fit` does it."""

    def _template(self, dimension: int) -> Template:
        check_is_fitted(self, "weights_")
        return NetworkTemplate(self.weights_[dimension], int(self.n_templates), int(self.width))


class NetworkTemplate(Template):
    """The functions min((d − b)/2, net(b, d)₊) of a network with weights in float64.

    Parameters
    ----------
    weights : ndarray of shape (n_weights,), float64
        Weights, row by row, and biases of three layers, 2 → width → width → n_templates.
    n_templates, width : int
        Sizes.

    Raises
    ------
    ValueError
        If their number is another, they are not finite, or a row has an ℓ1 norm above 1: then
        these would be no templates.
    """

    def __init__(self, weights: Array, n_templates: int, width: int) -> None:
        sizes = (2, width, width, n_templates)
        expected = sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(sizes))
        if weights.shape != (expected,) or not np.isfinite(weights).all():
            raise ValueError(
                f"weights has shape {weights.shape}: expected ({expected},) finite numbers, of "
                f"{n_templates} templates of width {width}."
            )
        self.layers: list[nn.Linear] = []
        rest = torch.tensor(weights, dtype=torch.float64)
        for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
            weight, bias, rest = rest.split([n_in * n_out, n_out, len(rest) - (n_in + 1) * n_out])
            layer = nn.Linear(n_in, n_out).double().requires_grad_(False)
            layer.weight.copy_(weight.reshape(n_out, n_in))
            layer.bias.copy_(bias)
            largest = float(row_norms_upper(layer.weight).max())
            if largest > 1:
                raise ValueError(
                    f"layer {i} has a row of ℓ1 norm {largest!r}: expected at most 1, else the "
                    f"templates are not 1-Lipschitz."
                )
            self.layers.append(layer)

    def __len__(self) -> int:
        return self.layers[-1].out_features

    def values(self, births: Tensor, deaths: Tensor) -> Tensor:
        """The networks of every bar, up to half its length."""
        x = [births, deaths]
        for layer in self.layers:
            # sums in a fixed order: no value's bits depend on how many bars stand beside it
            weight, bias = layer.weight.to(births), layer.bias.to(births)
            y = torch.zeros_like(births).unsqueeze(-2) + bias[:, None]
            for i, column in enumerate(x):
                y = y + weight[:, i, None] * column.unsqueeze(-2)
            if layer is not self.layers[-1]:
                first, second = y[..., 0::2, :], y[..., 1::2, :]
                y = torch.stack([torch.maximum(first, second), torch.minimum(first, second)], -2)
                y = y.flatten(-3, -2)
                x = list(y.unbind(-2))
        half = ((deaths - births) / 2).unsqueeze(-2)
        return torch.minimum(half, y).clamp_min(0.0)

    def bounds(self, boxes: BarBoxes) -> tuple[Tensor, Tensor]:
        """Half lengths at the ends, and the networks by interval propagation, with rounding."""
        shape = boxes.births_low.shape
        lower = torch.stack([boxes.births_low, boxes.deaths_low], -1).reshape(-1, 2)
        upper = torch.stack([boxes.births_high, boxes.deaths_high], -1).reshape(-1, 2)
        for layer in self.layers:
            lower, upper = linear_bounds(layer, lower, upper)
            if layer is not self.layers[-1]:
                lower, upper = _MAXMIN.bounds(lower, upper)
        lower, upper = (ends.reshape(*shape, len(self)).movedim(-1, -2) for ends in (lower, upper))
        shortest = ((boxes.deaths_low - boxes.births_high) / 2).unsqueeze(-2)
        longest = ((boxes.deaths_high - boxes.births_low) / 2).unsqueeze(-2)
        lower, upper = torch.minimum(shortest, lower), torch.minimum(longest, upper)
        return lower.clamp_min(0.0), upper.clamp_min(0.0)

    def short_bars(self, reach: Tensor, lowest: float) -> Tensor:
        """The reach: half the length of the longest of them."""
        return reach[:, None].expand(-1, len(self))

    def rounding(self, largest: Any) -> Any:
        """Of the half length one subtraction, and of the network that of its layers."""
        reach = np.atleast_1d(np.asarray(largest, dtype=np.float64))
        magnitude, error = reach, np.zeros_like(reach)
        for layer in self.layers:
            magnitude, error = linear_rounding(layer, magnitude, error)
        worst = np.maximum(error, UNIT_ROUNDOFF * reach)
        return worst if np.ndim(largest) else float(worst[0])


_MAXMIN = MaxMin()


class LearnableTemplates(nn.Module):
    """The templates of one homology dimension in training: from bars to their largest values.

    Parameters
    ----------
    bars : ndarray of shape (n_bars, 2), float64
        The training bars. There may be none.
    n_templates, n_levels, width : int
        Sizes.

    Attributes
    ----------
    origin, unit : float
        Births and deaths come in as (x − origin)/unit.
    """

    def __init__(self, bars: Array, n_templates: int, n_levels: int, width: int) -> None:
        super().__init__()
        self.n_levels = int(n_levels)
        bars = bars if len(bars) else np.zeros((1, 2))
        self.origin = float(np.median(bars[:, 0]))
        span = float(np.quantile(bars[:, 1] - bars[:, 0], 0.9)) / 2
        # nothing is larger than a million units, in float32
        span = max(span, 1e-6 * float(np.abs(bars - self.origin).max()))
        self.unit = span if span > 1e-290 else 1.0
        last = LinfLinear(int(width), int(n_templates))
        with torch.no_grad():  # some look at all bars, and some only at those far away
            last.bias.copy_(torch.linspace(-0.5, 1.0, int(n_templates)))
        self.net: Any = nn.Sequential(
            LinfLinear(2, int(width)),
            MaxMin(),
            LinfLinear(int(width), int(width)),
            MaxMin(),
            last,
        )

    def forward(self, births: Tensor, deaths: Tensor) -> Tensor:
        """The largest values, template by template, in the unit of the filtration."""
        values = self.net(torch.stack([births, deaths], dim=-1)).movedim(-1, -2)
        half = ((deaths - births) / 2).unsqueeze(-2)
        values = torch.minimum(half, values).clamp_min(0.0)
        return self.unit * k_largest(values, self.n_levels).flatten(-2).double()

    def frozen(self) -> Array:
        """The weights in float64, rows of norm at most 1, of births and deaths as they are.

        The layers are positively homogeneous but for their biases: the unit multiplies these, and
        the origin goes into the first.
        """
        net = copy.deepcopy(self.net).cpu().double()
        flat: list[Array] = []
        for i, layer in enumerate(net[::2]):
            layer.fold()
            weight, bias = (part.detach().numpy() for part in (layer.weight, layer.bias))
            bias = self.unit * bias - (self.origin * weight.sum(axis=1) if i == 0 else 0.0)
            flat += [weight.ravel(), bias]
        return np.concatenate(flat)

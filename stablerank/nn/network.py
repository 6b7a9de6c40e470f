"""The stable rank network: standardised ranks through Lipschitz layers to logits."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules import module as torch_modules
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _Orthogonal

from stablerank.nn.affine import linear_bound, linear_bounds, linear_rounding, pairwise_norms_upper
from stablerank.nn.architecture import (
    AFFINE,
    IN_L2,
    body_layers,
    check_architecture,
    head_layer,
    is_integer,
)
from stablerank.nn.blocks import row_constants
from stablerank.nn.linf import Standardize
from stablerank.stability import (
    L2,
    LINF,
    Block,
    Bound,
    Space,
    StabilityChain,
    StabilityError,
    conversion,
)


class StableRankNetwork(nn.Module):
    """A classifier of rank vectors: 1-Lipschitz up to its features in ℓ∞ or in ℓ2, unless free.

    Parameters
    ----------
    n_features, n_classes : int
        Length of the vectors, number of classes (at least 2).
    hidden : sequence of int, default=(128, 128, 128)
        Widths of the hidden layers.
    layer : str, default="linf"
        In ℓ∞: "linf", affine layers with rows in the ℓ1 ball; "linf-distance" and "sortnet",
        neurons without activation. In ℓ2: "cayley", "exponential", "bjorck", "bro", "aol", "gram"
        and "spectral", affine layers whose weights are orthogonal or divided by a norm; "sll"
        and "cpl", residual layers without activation, behind an orthogonal one where the width
        changes. "free": affine layers without constraint; their constant is a product of norms,
        and mostly says nothing, but boxes may certify them, when they were trained for it.
    activation : {"maxmin", "groupsort", "abs", "relu", "householder"}, default="maxmin"
        Between affine layers; groups of 2, 4, 1, 1 and 2.
    center, scale : array-like of shape (n_features,), optional
        The inputs are shifted and divided by these; 0 and 1 by default.
    gain : array-like of shape (n_features,), optional
        How much the standardised inputs vary, for the initial weights.

    Raises
    ------
    ValueError
        For sizes and names out of range: widths have to be multiples of the activation's group.

    Attributes
    ----------
    n_features, n_classes, hidden, layer, activation
        As given.
    standardize : Standardize
        From vectors to inputs in units of epsilon, in float64.
    body : nn.Sequential
        From these to features.
    head : LinfLinear, UnitRowLinear in ℓ2, or nn.Linear when free
        From features to logits; pairs of its rows give the margin's constants (N3).

    Examples
    --------
    >>> network = StableRankNetwork(n_features=4, n_classes=3, hidden=(8,))
    >>> network(torch.zeros(5, 4)).shape
    torch.Size([5, 3])
    >>> network.stability().constant <= 1 + 1e-6
    True
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        hidden: Sequence[int] = (128, 128, 128),
        layer: str = "linf",
        activation: str = "maxmin",
        center: Any = None,
        scale: Any = None,
        gain: Any = None,
    ) -> None:
        super().__init__()
        for name, value, least in (("n_features", n_features, 1), ("n_classes", n_classes, 2)):
            if not is_integer(value) or value < least:
                raise ValueError(f"{name}={value!r}: expected an integer >= {least}.")
        check_architecture(hidden, layer, activation)
        self.n_features, self.n_classes = int(n_features), int(n_classes)
        self.hidden = tuple(int(width) for width in hidden)
        self.layer, self.activation = layer, activation
        self.standardize = Standardize(
            np.zeros(n_features) if center is None else center,
            np.ones(n_features) if scale is None else scale,
        )
        spread = None if gain is None else torch.as_tensor(np.asarray(gain), dtype=torch.float32)
        if self.standardize.center.numel() != n_features:
            raise ValueError(
                f"center and scale have {self.standardize.center.numel()} entries, but "
                f"n_features={n_features}: expected one a feature."
            )
        layers = body_layers(self.n_features, self.hidden, layer, activation, spread)
        self.body = nn.Sequential(*layers)
        width = self.hidden[-1] if self.hidden else self.n_features
        self.head = head_layer(layer, width, self.n_classes, None if hidden else spread)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of vectors: shape (n, n_features) to (n, n_classes)."""
        # float64 up to here: what distinguishes the vectors may be small beside their center
        standard = self.standardize(x).to(self.head.weight.dtype)
        logits: Tensor = self.head(self.body(standard))
        return logits

    def stability(self, source: Space = LINF) -> StabilityChain:
        """The bounds from the vectors to the logits, a line a layer: from ℓ∞, or from ℓ2.

        Raises
        ------
        StabilityError
            If a layer has no `stability` and is none of the known ones.
        """
        features = self.feature_stability(source)
        return features.then(layer_bound(self.head, features.target))

    def feature_stability(self, source: Space = LINF) -> StabilityChain:
        """The bounds from the vectors to the features before the head.

        From ℓ∞, layers made for ℓ2 stand behind a conversion, which costs the root of the number
        of features: the chain then ends in ℓ2, and :meth:`pairwise_constants` of that belong to it.
        """
        standardize, *layers = certified_layers(self)[:-1]
        chain = chain_of_layers(standardize, source)
        if source == LINF and self.layer in IN_L2 and layers:
            chain = chain.then(conversion(LINF, L2, dimension=self.n_features))
        if not layers:
            return chain
        return chain.then(chain_of_layers(nn.Sequential(*layers), chain.target))

    def block_stability(self, source: Space, blocks: Sequence[Block]) -> StabilityChain:
        """The bounds from an adversary to the features in ℓ∞, by blocks of coordinates.

        Parameters
        ----------
        source : Space
            In which metric the adversary moves.
        blocks : sequence of Block
            How far the vectors move when the adversary moves by 1.

        Returns
        -------
        StabilityChain
            Standardization and the first layer in one line (`row_constants`), then a line a layer.

        Raises
        ------
        StabilityError
            If the first layer is not affine, or is the head.
        """
        layers = certified_layers(self)
        first: Any = layers[1]
        if len(layers) < 3 or _torch_layer(first) not in AFFINE:
            raise StabilityError("Blocks of coordinates need a first layer that is affine.")
        weight = first.weight.detach().double().cpu().numpy()
        scales = self.standardize.factor.detach().double().cpu().numpy()
        rows = row_constants(weight, blocks, scales)
        theorem = "N1: rows, in ℓ2 or ℓ∞ by blocks"
        start = Bound.by_coordinate(source, rows, theorem, stage="points to first layer")
        return StabilityChain(start, chain_of_layers(nn.Sequential(*layers[2:-1])))

    def pairwise_constants(self, source: Space = LINF) -> NDArray[np.float64]:
        """‖w_i − w_j‖₁ of the head: z_i − z_j moves by that times the features (N3).

        For features that are measured in ℓ2 it is ‖w_i − w_j‖₂.
        """
        return pairwise_norms_upper(self.head.weight, source)

    def bounds(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
        """A box that holds all logits computed from vectors of a box, by interval propagation.

        In a network of ℓ∞ layers it lies within the logits ± constant·r for every box x ± r: each
        layer widens an interval no more than its constant, and keeps the order of inclusions.

        Parameters
        ----------
        lower, upper : Tensor of shape (n, n_features), float64
            The ends of the boxes.

        Returns
        -------
        lower, upper : Tensor of shape (n, n_classes), float64

        Raises
        ------
        StabilityError
            If the weights are not float64: see :meth:`folded`.
        """
        for layer in certified_layers(self):
            lower, upper = layer_bounds(layer, lower, upper)
        return lower, upper

    def box_margins(self, lower: Tensor, upper: Tensor, target: Tensor) -> Tensor:
        """How far the class y stays ahead of each other over a box at least; differentiable.

        Intervals up to the features, with centre c and radius r, and then the head as differences
        of rows: (w_y − w_j)·c + b_y − b_j − |w_y − w_j|·r. For training: rounding is not charged,
        and the dtype is that of the weights.

        Parameters
        ----------
        lower, upper : Tensor of shape (n, n_features), float64
            The ends of the boxes.
        target : Tensor of shape (n,)
            The class y of each.

        Returns
        -------
        Tensor of shape (n, n_classes)
            0 for the class itself.
        """
        lower, upper = self.standardize.bounds(lower, upper)
        weight, bias = self.head.weight, self.head.bias
        lower, upper = lower.to(weight.dtype), upper.to(weight.dtype)
        for layer in leaf_layers(self.body):
            lower, upper = layer_bounds(layer, lower, upper, rounding=False)
        center, radius = (lower + upper) / 2, (upper - lower) / 2
        rows = weight[target].unsqueeze(1) - weight
        gaps = bias[target].unsqueeze(1) - bias
        least = rows @ center.unsqueeze(-1) - rows.abs() @ radius.unsqueeze(-1)
        return gaps + least.squeeze(-1)

    def rounding(
        self, magnitude: NDArray[np.float64], error: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """How far computed logits can be from exact ones.

        Parameters
        ----------
        magnitude : ndarray of shape (n,)
            A bound on the ℓ∞ norm of the vectors that the adversary can reach.
        error : ndarray of shape (n,)
            A bound on the error of these vectors.

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        StabilityError
            If the weights are not float64: see :meth:`folded`.
        """
        for layer in certified_layers(self):
            magnitude, error = layer_rounding(layer, magnitude, error)
        return error * (1 + 1e-12)

    def folded(self) -> StableRankNetwork:
        """A float64 copy with plain weights: those bits are saved, predict and are certified."""
        copied = copy.deepcopy(self).double().eval()
        for layer in [*leaf_layers(copied.body), copied.head]:
            own: Any = layer
            if hasattr(own, "fold"):
                own.fold()
        for parameter in copied.parameters():
            parameter.requires_grad_(False)
        return copied


def chain_of_layers(body: nn.Module, source: Space = LINF) -> StabilityChain:
    """The bounds of layers that stand one after the other.

    Raises
    ------
    StabilityError
        If a layer has no `stability` and is none of the known ones: nothing defaults to 1. And as
        :func:`certified_layers`.
    """
    bounds: list[Bound | StabilityChain] = []
    for layer in certified_layers(body):
        bounds.append(layer_bound(layer, source))
        source = bounds[-1].target
    return StabilityChain(*bounds)


def leaf_layers(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of nested ``Sequential`` containers, and of our networks, in order."""
    if type(module) is StableRankNetwork:
        yield from (module.standardize, *leaf_layers(module.body), module.head)
    elif type(module) is nn.Sequential:  # a subclass may do other things than its layers in turn
        for child in module:
            yield from leaf_layers(child)
    else:
        yield module


def certified_layers(module: nn.Module) -> list[nn.Module]:
    """The layers of :func:`leaf_layers`, of which each computes what its class says.

    A hook may make anything of a layer's input, output or weights, a statistic of the batch for
    one, and nobody would see it in the layer. The older normalisations of ``torch.nn.utils`` are
    hooks: the weight that a layer shows is then that of its last forward pass. Hooks of torch
    itself, for all modules at once, are in none of them.

    Raises
    ------
    StabilityError
        If torch or a module has forward hooks or a module a replaced ``forward``, or is
        parametrized by weights that move while it is in training mode, as with
        ``parametrizations.spectral_norm``.
    """
    # hooks of the backward pass may change gradients, and nothing that is certified
    if torch_modules._global_forward_hooks or torch_modules._global_forward_pre_hooks:
        raise StabilityError(
            "torch has a global forward hook: what any layer computes is not what its class says. "
            "Remove it; torch.nn.modules.module.register_module_forward_hook returned its handle."
        )
    for name, part in module.named_modules():
        where = f"{name}: {type(part).__name__}" if name else type(part).__name__
        if part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part):
            raise StabilityError(
                f"{where} has a forward hook, or a forward of its own: what it computes is not "
                f"what its class says. Remove it, or put it into a layer with stability and bounds."
            )
        moving = isinstance(part, parametrize.ParametrizationList) and any(
            next(own.buffers(), None) is not None
            for own in part
            if type(own) is not _Orthogonal  # whose buffer is the matrix that it began with
        )
        if moving and part.training:
            raise StabilityError(
                f"{where} changes the weights whenever they are read, in training mode: call "
                f"eval() first."
            )
    return list(leaf_layers(module))


def layer_bound(layer: nn.Module, source: Space) -> Bound | StabilityChain:
    """A layer's own `stability`, or the bound of one of torch's layers that are known here."""
    if hasattr(layer, "stability"):
        own: Any = layer
        bound: Bound | StabilityChain = own.stability(source)
        return bound
    kind = _torch_layer(layer)
    if kind is nn.Linear:
        return linear_bound(cast(nn.Linear, layer), source)
    if kind in (nn.ReLU, nn.Identity) and source in (LINF, L2):
        return Bound(source, source, 1.0, "N1: 1-Lipschitz activation", type(layer).__name__)
    raise StabilityError(
        f"{type(layer).__name__} has no proven Lipschitz constant from {source} here. Give it a "
        f"method stability(source) -> Bound, or use the layers of stablerank.nn."
    )


def layer_rounding(
    layer: nn.Module, magnitude: NDArray[np.float64], error: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A layer's own `rounding`, or that of one of torch's layers that are known here."""
    if hasattr(layer, "rounding"):
        own: Any = layer
        result: tuple[NDArray[np.float64], NDArray[np.float64]] = own.rounding(magnitude, error)
        return result
    kind = _torch_layer(layer)
    if kind is nn.Linear:
        return linear_rounding(cast(nn.Linear, layer), magnitude, error)
    if kind in (nn.ReLU, nn.Identity):
        return magnitude, error
    raise StabilityError(
        f"{type(layer).__name__} does not say how it rounds: give it a method rounding(magnitude, "
        f"error), as the layers of stablerank.nn have."
    )


def layer_bounds(
    layer: nn.Module, lower: Tensor, upper: Tensor, rounding: bool = True
) -> tuple[Tensor, Tensor]:
    """The box of a layer's outputs over boxes of its inputs.

    A layer's own `bounds`, or those of one of torch's layers that are known here.

    Parameters
    ----------
    layer : nn.Module
        The layer.
    lower, upper : Tensor of shape (n, n_in)
        The ends of the input boxes.
    rounding : bool, default=True
        Whether the box is to hold what the layer computes in float64: for certificates. Without,
        any dtype will do, and the ends are differentiable: for training.

    Returns
    -------
    lower, upper : Tensor of shape (n, n_out)
        With rounding, ends that would be NaN are infinite.

    Raises
    ------
    StabilityError
        If a layer has no `bounds` and is none of the known ones, and if rounding is asked for
        and the numbers are not float64.
    """
    if rounding and lower.dtype != torch.float64:
        raise StabilityError(f"Boxes that are to be certified are float64, not {lower.dtype}.")
    kind = _torch_layer(layer)
    if hasattr(layer, "bounds"):
        own: Any = layer
        lower, upper = own.bounds(lower, upper, rounding=rounding)
    elif kind is nn.Linear:
        lower, upper = linear_bounds(cast(nn.Linear, layer), lower, upper, rounding)
    elif kind is nn.ReLU:
        lower, upper = lower.clamp_min(0), upper.clamp_min(0)
    elif kind is not nn.Identity:
        raise StabilityError(
            f"{type(layer).__name__} has no known box of its outputs: give it a method "
            f"bounds(lower, upper, rounding=True), as the layers of stablerank.nn have."
        )
    if rounding:  # ∞ − ∞: nothing is known
        lower = torch.where(lower.isnan(), -torch.inf, lower)
        upper = torch.where(upper.isnan(), torch.inf, upper)
    return lower, upper


def _torch_layer(layer: nn.Module) -> type[nn.Module]:
    """The layer's class; a subclass of a known one, which may compute anything, is not known."""
    return cast("type[nn.Module]", parametrize.type_before_parametrizations(layer))

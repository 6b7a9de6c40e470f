"""Logit annealing: cross-entropy that lets go of samples as they are learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stablerank.nn.losses import TemperatureCrossEntropy, check_not_negative


class LogitAnnealing(TemperatureCrossEntropy):
    """Cross-entropy with an offset, times a power of what is still to be learned.

    With the class y handicapped by ξ, p its share of the softmax of τ (z − ξ 1_y), the loss is

        − (1/τ) (1 − p)^β log p,

    averaged [1]_. A 1-Lipschitz network can give large margins to few samples only; the factor,
    that of the focal loss, spends them on many.

    Parameters
    ----------
    temperature : float, default=4/3
        τ > 0, in units of 1/ε when the network's input is in units of ε. [1]_ divides by
        T = 1/τ = 0.75.
    offset : float, default=2.0
        ξ, in units of ε; as in [1]_.
    beta : float, default=5.0
        β >= 0, as in [1]_; 0 is cross-entropy with an offset, divided by τ.

    Raises
    ------
    ValueError
        If τ is not positive and finite, or ξ or β not finite or negative.

    References
    ----------
    .. [1] Lai, Huang, Kung, Chen (2025), "Enhancing certified robustness via block reflector
       orthogonal layers and logit annealing loss", ICML, arXiv:2505.15174.

    Examples
    --------
    A margin of ξ leaves a tie: (1 − ½)^β log 2 / τ.

    >>> loss = LogitAnnealing(temperature=1.0, offset=2.0, beta=1.0)
    >>> loss(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
    tensor(0.3466)
    """

    def __init__(self, temperature: float = 4 / 3, offset: float = 2.0, beta: float = 5.0) -> None:
        super().__init__(temperature)
        check_not_negative("offset", offset)
        check_not_negative("beta", beta)
        self.offset, self.beta = offset, beta

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The mean loss over logits of shape (n, n_classes) and class indices of shape (n,)."""
        own = nn.functional.one_hot(target, logits.shape[1]).to(logits.dtype)
        entropy = nn.functional.cross_entropy(
            self.temperature * (logits - self.offset * own), target, reduction="none"
        )
        # 1 − p without the loss of digits that p near 1 would bring
        left = -torch.expm1(-entropy)
        if self.beta == 0:
            return entropy.mean() / self.temperature
        # the slope of a power below 1 is infinite at 0
        left = left.clamp_min(torch.finfo(logits.dtype).tiny)
        return (left**self.beta * entropy).mean() / self.temperature

"""Losses for 1-Lipschitz networks: the temperature sets accuracy against robustness."""

from __future__ import annotations

import math

from torch import Tensor, nn


class TemperatureCrossEntropy(nn.Module):
    """Cross-entropy of τ times the logits.

    Parameters
    ----------
    temperature : float, default=1.0
        τ > 0, in units of 1/ε when the network's input is in units of ε. Small values keep asking
        for larger margins and give large radii; large values are content with small ones and
        give accuracy [1]_.

    Raises
    ------
    ValueError
        If τ is not positive and finite.

    References
    ----------
    .. [1] Béthune, Boissin, Serrurier, Mamalet, Friedrich, González Sanz (2022), "Pay attention
       to your loss: understanding misconceptions about 1-Lipschitz neural networks", NeurIPS.

    Examples
    --------
    Two equal logits cost log 2 at every temperature.

    >>> import torch
    >>> TemperatureCrossEntropy(20.0)(torch.zeros(1, 2), torch.tensor([0]))
    tensor(0.6931)
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ValueError(f"temperature={temperature!r}: expected a positive finite number.")
        self.temperature = temperature

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The mean loss over logits of shape (n, n_classes) and class indices of shape (n,)."""
        return nn.functional.cross_entropy(self.temperature * logits, target)

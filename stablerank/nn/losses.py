"""Losses for 1-Lipschitz networks: the temperature sets accuracy against robustness."""

from __future__ import annotations

import math

import torch
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


class CertifiedMarginLoss(nn.Module):
    """A smooth count of samples whose certified radius is below the offset.

    With r = min_{j≠y} (z_y − z_j)/‖w_y − w_j‖₁, the certified radius of the true class y by a
    head with rows w (N3) and negative where another class wins, the loss is
    ``sigmoid(−τ (r − offset))``, averaged. It saturates on both sides: samples beyond reach
    are given up, and samples that are certified pull no more. So it raises the number of
    certified samples rather than the size of margins that are large already.

    Asked for at once, it would give up samples that the network has not yet learned. So training
    ramps `progress` s from 0 to 1, and the loss is
    ``s · sigmoid(−τ (r − s · offset)) + (1 − s) · softplus(−τ r)``: it starts as the logistic loss.

    Parameters
    ----------
    temperature : float, default=3.0
        τ > 0, in units of 1/ε when the network's input is in units of ε. Small values reach out
        for large radii, large values come near the 0–1 loss.
    offset : float, default=0.25
        The radius to be certified, in units of ε.

    Attributes
    ----------
    progress : float
        The s above, between 0 and 1; 1 unless a training loop ramps it.

    Raises
    ------
    ValueError
        If τ is not positive and finite, or the offset is not finite or negative.

    Examples
    --------
    >>> import torch
    >>> head = torch.tensor([[0.5], [-0.5]])  # the rows differ by 1
    >>> loss = CertifiedMarginLoss(temperature=1.0, offset=0.0)
    >>> loss(torch.tensor([[1.0, 1.0]]), torch.tensor([0]), head)  # a tie: sigmoid(0)
    tensor(0.5000)
    """

    def __init__(self, temperature: float = 3.0, offset: float = 0.25) -> None:
        super().__init__()
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ValueError(f"temperature={temperature!r}: expected a positive finite number.")
        if not (offset >= 0 and math.isfinite(offset)):
            raise ValueError(f"offset={offset!r}: expected a finite number >= 0.")
        self.temperature = temperature
        self.offset = offset
        self.progress = 1.0

    def forward(self, logits: Tensor, target: Tensor, head: Tensor) -> Tensor:
        """The mean loss.

        Parameters
        ----------
        logits : Tensor of shape (n, n_classes)
        target : Tensor of shape (n,)
            Class indices.
        head : Tensor of shape (n_classes, n_features)
            The rows w that made the logits.

        Returns
        -------
        Tensor of shape ()
        """
        radius = certified_radii(logits, target, head)
        s = self.progress
        loss = s * torch.sigmoid(-self.temperature * (radius - s * self.offset))
        if s < 1:
            loss = loss + (1 - s) * nn.functional.softplus(-self.temperature * radius)
        return loss.mean()


def certified_radii(logits: Tensor, target: Tensor, head: Tensor) -> Tensor:
    """min_{j≠y} (z_y − z_j)/‖w_y − w_j‖₁ of each sample, shape (n,); differentiable."""
    distances = torch.cdist(head, head, p=1.0)[target].clamp_min(1e-12)
    gaps = logits.gather(1, target.unsqueeze(1)) - logits
    own = nn.functional.one_hot(target, logits.shape[1]).bool()
    return (gaps / distances).masked_fill(own, math.inf).amin(dim=1)

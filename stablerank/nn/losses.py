"""Losses for 1-Lipschitz networks: the temperature sets accuracy against robustness."""

from __future__ import annotations

import math
from collections.abc import Sequence

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


class RampedLoss(nn.Module):
    """A loss that asks for more as training goes on.

    Attributes
    ----------
    progress : float
        Between 0 and 1, how much of it is asked for; 1 unless a training loop ramps it.
    order : float
        1, for a body whose features are 1-Lipschitz in ℓ∞, or 2 for one in ℓ2: of the norm of
        differences of rows of the head, the dual one (N3).
    """

    order = 1.0

    def __init__(self, temperature: float) -> None:
        super().__init__()
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ValueError(f"temperature={temperature!r}: expected a positive finite number.")
        self.temperature = temperature
        self.progress = 1.0

    def head_distances(self, head: Tensor) -> Tensor:
        """How far z_i − z_j moves when the features move by 1, shape (n_classes, n_classes)."""
        return torch.cdist(head, head, p=self.order)


class CertifiedMarginLoss(RampedLoss):
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
    offset : float or sequence of float, default=0.25
        The radius to be certified, in units of ε; or several radii, and the loss is the mean over
        them, so that samples beyond the reach of the largest still count at the smaller ones.

    Attributes
    ----------
    progress : float
        The s above.

    Raises
    ------
    ValueError
        If τ is not positive and finite, or an offset is not finite or negative.

    Examples
    --------
    >>> import torch
    >>> head = torch.tensor([[0.5], [-0.5]])  # the rows differ by 1
    >>> loss = CertifiedMarginLoss(temperature=1.0, offset=0.0)
    >>> loss(torch.tensor([[1.0, 1.0]]), torch.tensor([0]), head)  # a tie: sigmoid(0)
    tensor(0.5000)
    """

    def __init__(self, temperature: float = 3.0, offset: float | Sequence[float] = 0.25) -> None:
        super().__init__(temperature)
        self.offsets = tuple(offset) if isinstance(offset, Sequence) else (offset,)
        if not self.offsets:
            raise ValueError("offset=(): expected a radius, or several.")
        for one in self.offsets:
            check_not_negative("offset", one)

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
        radius = certified_radii(logits, target, head, self.order)
        s = self.progress
        counts = [torch.sigmoid(-self.temperature * (radius - s * one)) for one in self.offsets]
        loss = s * torch.stack(counts).mean(dim=0)
        if s < 1:
            loss = loss + (1 - s) * nn.functional.softplus(-self.temperature * radius)
        return loss.mean()


class OffsetCrossEntropy(RampedLoss):
    """Cross-entropy of logits with a handicap: what the other classes gain at a radius.

    Features that move by `offset` in ℓ∞ raise z_j − z_y by offset·‖w_y − w_j‖₁ at most, w the rows
    of the head (N3). The loss is the cross-entropy of

        τ (z_j + s · offset · ‖w_y − w_j‖₁),

    and with s = 1 no more than log 2 only where the class y is certified at the radius `offset`.
    Training ramps `progress` s from 0 to 1: asked for at once, it would not learn at all.

    Parameters
    ----------
    temperature : float, default=1.0
        τ > 0, in units of 1/ε when the network's input is in units of ε.
    offset : float, default=1.0
        The radius, in units of ε.

    Attributes
    ----------
    progress : float
        The s above.

    Raises
    ------
    ValueError
        If τ is not positive and finite, or the offset is not finite or negative.

    Examples
    --------
    A margin of 1 between rows that differ by 1 is a tie at the radius 1.

    >>> import torch
    >>> head = torch.tensor([[0.5], [-0.5]])
    >>> OffsetCrossEntropy(offset=1.0)(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), head)
    tensor(0.6931)
    """

    def __init__(self, temperature: float = 1.0, offset: float = 1.0) -> None:
        super().__init__(temperature)
        check_not_negative("offset", offset)
        self.offset = offset

    def forward(self, logits: Tensor, target: Tensor, head: Tensor) -> Tensor:
        """The mean loss; arguments as of :meth:`CertifiedMarginLoss.forward`."""
        gains = self.progress * self.offset * self.head_distances(head)[target]
        return nn.functional.cross_entropy(self.temperature * (logits + gains), target)


class BoxCrossEntropy(RampedLoss):
    """Cross-entropy of the worst logits over a box, mixed with that of the logits themselves.

    With m_j a lower bound of z_y − z_j over the box of a sample (m_y = 0), the loss is

        (1 − κ) log Σ_j exp(−τ m_j) + κ log Σ_j exp(−τ (z_y − z_j)),

    averaged [1]_. Training ramps `progress` s from 0 to 1: the box at s reaches the share s of the
    way from the sample to the ends.

    Parameters
    ----------
    temperature : float, default=1.0
        τ > 0, in units of 1/ε when the network's input is in units of ε.
    clean_weight : float, default=0.0
        κ, from 0 to 1: 0 asks for certified accuracy at the box's size alone, 1 for clean
        accuracy alone.

    Attributes
    ----------
    progress : float
        The s above.

    Raises
    ------
    ValueError
        If τ is not positive and finite, or κ not between 0 and 1.

    References
    ----------
    .. [1] Gowal, Dvijotham, Stanforth, Bunel, Qin, Uesato, Arandjelović, Mann, Kohli (2019),
       "Scalable verified training for provably robust image classification", ICCV.

    Examples
    --------
    A margin of 1 that the box uses up is a tie.

    >>> import torch
    >>> loss = BoxCrossEntropy()
    >>> loss(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), torch.tensor([[0.0, 0.0]]))
    tensor(0.6931)
    """

    def __init__(self, temperature: float = 1.0, clean_weight: float = 0.0) -> None:
        super().__init__(temperature)
        if not 0 <= clean_weight <= 1:
            raise ValueError(f"clean_weight={clean_weight!r}: expected a number from 0 to 1.")
        self.clean_weight = clean_weight

    def forward(self, logits: Tensor, target: Tensor, margins: Tensor) -> Tensor:
        """The mean loss.

        Parameters
        ----------
        logits : Tensor of shape (n, n_classes)
        target : Tensor of shape (n,)
            Class indices y.
        margins : Tensor of shape (n, n_classes)
            The m_j, from :meth:`StableRankNetwork.box_margins`.

        Returns
        -------
        Tensor of shape ()
        """
        worst = nn.functional.cross_entropy(-self.temperature * margins, target)
        clean = nn.functional.cross_entropy(self.temperature * logits, target)
        return (1 - self.clean_weight) * worst + self.clean_weight * clean


def certified_radii(logits: Tensor, target: Tensor, head: Tensor, order: float = 1.0) -> Tensor:
    """min_{j≠y} (z_y − z_j)/‖w_y − w_j‖ of each sample, shape (n,); differentiable."""
    distances = torch.cdist(head, head, p=order)[target].clamp_min(1e-12)
    gaps = logits.gather(1, target.unsqueeze(1)) - logits
    own = nn.functional.one_hot(target, logits.shape[1]).bool()
    return (gaps / distances).masked_fill(own, math.inf).amin(dim=1)


def check_not_negative(name: str, value: float) -> None:
    """Refuse what is no finite number >= 0.

    Raises
    ------
    ValueError
        If it is negative, infinite or NaN.
    """
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"{name}={value!r}: expected a finite number >= 0.")

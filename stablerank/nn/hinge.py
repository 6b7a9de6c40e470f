"""Hinge losses: a margin is asked for, and nothing beyond it."""

from __future__ import annotations

import math

from torch import Tensor, nn

from stablerank.nn.losses import RampedLoss, check_not_negative


class HingeLoss(nn.Module):
    """The multi-class hinge: what each other class lacks of a margin.

    With m the margin and c classes, the mean over samples of

        1/c · Σ_{j≠y} max(0, m − (z_y − z_j)),

    which is torch's ``multi_margin_loss``. Samples whose margin is m at least pull no more.

    Parameters
    ----------
    margin : float, default=1.0
        m > 0, in units of ε when the network's input is. If every logit is 1-Lipschitz, no loss
        means a certified radius of m/2. [1]_ shows that m sets accuracy against robustness, as the
        temperature of the cross-entropy does; it has no value that is best.

    Raises
    ------
    ValueError
        If m is not positive and finite.

    References
    ----------
    .. [1] Béthune, Boissin, Serrurier, Mamalet, Friedrich, González Sanz (2022), "Pay attention
       to your loss: understanding misconceptions about 1-Lipschitz neural networks", NeurIPS.

    Examples
    --------
    Of three logits one lacks ½ of the margin.

    >>> import torch
    >>> HingeLoss(1.0)(torch.tensor([[1.0, 0.5, -1.0]]), torch.tensor([0]))
    tensor(0.1667)
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = check_margin(margin)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The mean loss over logits of shape (n, n_classes) and class indices of shape (n,)."""
        return nn.functional.multi_margin_loss(logits, target, margin=self.margin)


class HingeMixture(RampedLoss):
    """A hinge that is clipped at both ends, and less and less cross-entropy beside it.

    With r = min_{j≠y} (z_y − z_j), the mean over samples of

        min(max(0, 1 − r/θ), 1) + λ · CE(τ z, y),      λ = λ₁ (λ₂/λ₁)^s.

    The clipped hinge counts what is not certified, smoothly, and has no gradient where a class is
    far from right, so that alone it does not begin to learn; cross-entropy does [1]_. Training
    ramps s from 0 to 1.

    Parameters
    ----------
    temperature : float, default=1.0
        τ > 0; in [1]_ it is learned.
    margin : float, default=1.0
        θ > 0. [1]_ takes 5 times the margin that is to be certified: θ = 80/255 for ε = 8/255.
    first_weight, last_weight : float, default=0.1, 0.0005
        λ₁ and λ₂ > 0; the defaults are those of [1]_ on CIFAR-10 at ε = 8/255.

    Attributes
    ----------
    progress : float
        The s above.

    Raises
    ------
    ValueError
        If one of them is not positive and finite.

    References
    ----------
    .. [1] Zhang, Jiang, He, Wang (2022), "Boosting the certified robustness of L-infinity distance
       nets", ICLR, arXiv:2110.06850.

    Examples
    --------
    Half of the margin costs ½, and with little weight the cross-entropy hardly anything.

    >>> import torch
    >>> loss = HingeMixture(margin=1.0, last_weight=1e-9)
    >>> loss(torch.tensor([[0.5, 0.0]]), torch.tensor([0]))
    tensor(0.5000)
    """

    def __init__(
        self,
        temperature: float = 1.0,
        margin: float = 1.0,
        first_weight: float = 0.1,
        last_weight: float = 0.0005,
    ) -> None:
        super().__init__(temperature)
        self.margin = check_margin(margin)
        for name, value in (("first_weight", first_weight), ("last_weight", last_weight)):
            check_not_negative(name, value)
            if value == 0:
                raise ValueError(f"{name}=0: expected a positive number, however small.")
        self.first_weight, self.last_weight = first_weight, last_weight

    def forward(self, logits: Tensor, target: Tensor, head: Tensor | None = None) -> Tensor:
        """The mean loss; the rows of the head do not matter."""
        hinge = 1 - least_gaps(logits, target) / self.margin
        weight = self.first_weight * (self.last_weight / self.first_weight) ** self.progress
        entropy = nn.functional.cross_entropy(self.temperature * logits, target)
        return hinge.clamp(0.0, 1.0).mean() + weight * entropy


def least_gaps(logits: Tensor, target: Tensor) -> Tensor:
    """min_{j≠y} (z_y − z_j) of each sample, shape (n,); negative where another class wins."""
    own = nn.functional.one_hot(target, logits.shape[1]).bool()
    others = logits.masked_fill(own, -math.inf).amax(dim=1)
    return logits.gather(1, target.unsqueeze(1)).squeeze(1) - others


def check_margin(margin: float) -> float:
    """The margin, if it is a positive finite number.

    Raises
    ------
    ValueError
        If not.
    """
    if not (margin > 0 and math.isfinite(margin)):
        raise ValueError(f"margin={margin!r}: expected a positive finite number.")
    return margin

"""Hinge–Kantorovich–Rubinstein: as far apart as optimal transport allows, and at least a margin."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stablerank.nn.hinge import check_margin


class HKRLoss(nn.Module):
    """The distance of the classes in optimal transport, and a hinge.

    Of two classes, with f = (z₁ − z₀)/2 and y = ±1, of the batch:

        α · mean max(0, m/2 − y f) − (1 − α) · (mean of f over class 1 − mean of f over class 0).

    Where f is 1-Lipschitz, the second part is at most the Wasserstein distance W₁ of the classes,
    and equal to it for the best f (Kantorovich and Rubinstein) [1]_. Of c > 2 classes, the mean
    over classes k of the same for the logit z_k, class k against all others, where in the hinge
    the samples of class k weigh c − 1 times as much.

    Parameters
    ----------
    alpha : float, default=10/11
        From 0 (only transport) to 1 (only hinge). [1]_ writes the second part + λ times the first,
        so α = λ/(1 + λ), and takes λ = 10.
    margin : float, default=2.0
        m > 0, between the two sides, in units of ε when the network's input is: [1]_ has m/2 = 1.
        [2]_ varies α and m to trade accuracy against robustness.

    Raises
    ------
    ValueError
        If α is not between 0 and 1, or m not positive and finite.

    Notes
    -----
    A class that is not in the batch, or is all of it, has no difference of means, and adds none.

    References
    ----------
    .. [1] Serrurier, Mamalet, González-Sanz, Boissin, Loubes, del Barrio (2021), "Achieving
       robustness in classification using optimal transport with hinge regularization", CVPR.
    .. [2] Béthune, Boissin, Serrurier, Mamalet, Friedrich, González Sanz (2022), "Pay attention
       to your loss: understanding misconceptions about 1-Lipschitz neural networks", NeurIPS.

    Examples
    --------
    Two samples at f = −1.5 and f = 1.5, beyond the margin: transport alone is left.

    >>> logits = torch.tensor([[1.5, -1.5], [-1.5, 1.5]])
    >>> HKRLoss(alpha=0.5)(logits, torch.tensor([0, 1]))
    tensor(-1.5000)
    """

    def __init__(self, alpha: float = 10 / 11, margin: float = 2.0) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha={alpha!r}: expected a number from 0 to 1.")
        self.alpha, self.margin = alpha, check_margin(margin)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch: logits of shape (n, n_classes), class indices of shape (n,)."""
        member = nn.functional.one_hot(target, logits.shape[1]).to(logits.dtype)
        if logits.shape[1] == 2:
            scores = (logits[:, 1:] - logits[:, :1]) / 2
            member = member[:, 1:]
        else:
            scores = logits
        hinge = torch.relu(self.margin / 2 - (2 * member - 1) * scores)
        if logits.shape[1] > 2:
            hinge = torch.where(member > 0, (logits.shape[1] - 1) * hinge, hinge)
        apart = transport(scores, member).mean()
        return self.alpha * hinge.mean() - (1 - self.alpha) * apart


def transport(scores: Tensor, member: Tensor) -> Tensor:
    """Mean score of the members less that of the others, of each column; 0 if there are none.

    Parameters
    ----------
    scores, member : Tensor of shape (n, k)
        Members are 1, others 0.

    Returns
    -------
    Tensor of shape (k,)
        For a score that is 1-Lipschitz at most the Wasserstein distance W₁ of the two samples.
    """
    n_members, n_others = member.sum(dim=0), (1 - member).sum(dim=0)
    inside = (scores * member).sum(dim=0) / n_members.clamp_min(1)
    outside = (scores * (1 - member)).sum(dim=0) / n_others.clamp_min(1)
    both = (n_members > 0) & (n_others > 0)
    return torch.where(both, inside - outside, torch.zeros_like(inside))

"""Cross-entropy that sees the certificate: as one more class, or as a reward beside it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stablerank.nn.losses import RampedLoss, certified_radii, check_not_negative


class GloRoCrossEntropy(RampedLoss):
    """Cross-entropy with one more class, "not certified", which nobody is.

    With t the predicted class, d_tj = ‖w_t − w_j‖ the distances of the head's rows, and ε the
    offset, the extra logit is

        z_⊥ = max_{j≠t} (z_j + s ε d_tj),

    the most that another class can have within ε, and the loss is the cross-entropy of
    τ (z, z_⊥) [1]_. Where z_⊥ < z_t the prediction is certified at ε; a tie is not.

    Parameters
    ----------
    temperature : float, default=1.0
        τ > 0, in units of 1/ε when the network's input is in units of ε; 1 in [1]_.
    offset : float, default=1.0
        The radius ε, in the units of the network's input. [1]_ raises it during training up to the
        radius of the test, or a little beyond.

    Attributes
    ----------
    progress : float
        The s above.

    Raises
    ------
    ValueError
        If τ is not positive and finite, or the offset is not finite or negative.

    References
    ----------
    .. [1] Leino, Wang, Fredrikson (2021), "Globally-robust neural networks", ICML,
       arXiv:2102.08452.

    Examples
    --------
    A margin that the offset uses up: class and extra logit tie, log 2, but for the third.

    >>> head = torch.tensor([[0.5], [-0.5]])
    >>> loss = GloRoCrossEntropy(temperature=100.0, offset=1.0)
    >>> loss(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), head)
    tensor(0.6931)
    >>> loss.rejects(torch.tensor([[1.0, 0.0], [1.5, 0.0]]), head)
    tensor([ True, False])
    """

    def __init__(self, temperature: float = 1.0, offset: float = 1.0) -> None:
        super().__init__(temperature)
        check_not_negative("offset", offset)
        self.offset = offset

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
        extra = self.extra_logit(logits, head).unsqueeze(1)
        both = torch.cat([logits, extra], dim=1)
        return nn.functional.cross_entropy(self.temperature * both, target)

    def extra_logit(self, logits: Tensor, head: Tensor) -> Tensor:
        """The z_⊥ of each sample, shape (n,)."""
        top = logits.argmax(dim=1)
        gains = self.progress * self.offset * self.head_distances(head)[top]
        own = nn.functional.one_hot(top, logits.shape[1]).bool()
        return (logits + gains).masked_fill(own, -torch.inf).amax(dim=1)

    def rejects(self, logits: Tensor, head: Tensor) -> Tensor:
        """Whether the extra logit is the largest, or ties with it; bool, shape (n,)."""
        return self.extra_logit(logits, head) >= logits.amax(dim=1)


class CertificateRegularization(RampedLoss):
    """Cross-entropy, less a multiple of the certified radius of what is classified rightly.

    With r the certified radius of class y, negative where another class wins,

        CE(τ z, y) − s γ max(0, r),

    averaged [1]_. Samples that are wrong see cross-entropy alone.

    Parameters
    ----------
    temperature : float, default=1.0
        τ > 0, in units of 1/ε when the network's input is in units of ε; 1 in [1]_.
    weight : float, default=0.1
        γ >= 0, with radii in units of ε. The default is ours: published code has 0, no
        regularization, unless it is told otherwise.

    Attributes
    ----------
    progress : float
        The s above, 1 throughout in [1]_.

    Raises
    ------
    ValueError
        If τ is not positive and finite, or γ is not finite or negative.

    References
    ----------
    .. [1] Singla, Singla, Feizi (2022), "Improved deterministic l2 robustness on CIFAR-10 and
       CIFAR-100", ICLR, arXiv:2108.04062.

    Examples
    --------
    Rows that differ by 1, so a margin of 2 is a radius of 2, of which a tenth is taken off.

    >>> head = torch.tensor([[0.5], [-0.5]])
    >>> loss = CertificateRegularization(temperature=50.0, weight=0.1)
    >>> loss(torch.tensor([[2.0, 0.0]]), torch.tensor([0]), head)
    tensor(-0.2000)
    """

    def __init__(self, temperature: float = 1.0, weight: float = 0.1) -> None:
        super().__init__(temperature)
        check_not_negative("weight", weight)
        self.weight = weight

    def forward(self, logits: Tensor, target: Tensor, head: Tensor) -> Tensor:
        """The mean loss; arguments as of :meth:`GloRoCrossEntropy.forward`."""
        entropy = nn.functional.cross_entropy(self.temperature * logits, target)
        radius = certified_radii(logits, target, head, self.order)
        return entropy - self.progress * self.weight * torch.relu(radius).mean()

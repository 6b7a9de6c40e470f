"""Convolutions of the sorted vector around a circle, orthogonal at every frequency (fact N1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from stablerank.nn.orthogonal import reflection
from stablerank.nn.parametrized import ParametrizedLinear


class CircularReflector(nn.Module):
    """Parametrization of a circulant matrix by block reflections at each frequency [1]_.

    V has a short kernel for each channel and direction. Its Fourier transform is a complex matrix
    V̂(ω) at each frequency, Ŵ(ω) = I − 2V̂(V̂*V̂)⁻¹V̂* is unitary, and so is the circular convolution
    with the kernel whose transform Ŵ is: real, since V is, and as long as the vectors. Of the
    channels, only the first ones are kept where there are fewer inputs or outputs.

    Parameters
    ----------
    length : int
        Of the circle.
    n_out, n_in : int
        Channels.

    References
    ----------
    .. [1] Lai, Huang, Kung, Chen (2025), "Enhancing certified robustness via block reflector
       orthogonal layers and logit annealing loss", ICML.
    """

    def __init__(self, length: int, n_out: int, n_in: int, rank: int, kernel: int) -> None:
        super().__init__()
        self.length, self.n_out, self.n_in = length, n_out, n_in
        self.rank, self.kernel = rank, kernel

    def forward(self, kernels: Tensor) -> Tensor:
        """The matrix, shape (n_out·length, n_in·length), of kernels (channels, rank, kernel)."""
        transformed = torch.fft.rfft(kernels, n=self.length, dim=-1).permute(2, 0, 1)
        reflected = reflection(transformed)[:, : self.n_out, : self.n_in]
        response = torch.fft.irfft(reflected.permute(1, 2, 0), n=self.length, dim=-1)
        places = torch.arange(self.length, device=kernels.device)
        back = (places.unsqueeze(1) - places) % self.length
        blocks = response[:, :, back].permute(0, 2, 1, 3)
        return blocks.reshape(self.n_out * self.length, self.n_in * self.length)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Random kernels to begin with: hardly any weight is of that kind."""
        channels = max(self.n_out, self.n_in)
        return torch.randn(
            channels, self.rank, self.kernel, dtype=weight.dtype, device=weight.device
        )


class CircularLinear(ParametrizedLinear):
    """A circular convolution with several channels, orthogonal; see :class:`CircularReflector`.

    Vectors of length in_channels·length are channel after channel: with one channel in, a sorted
    vector of ranks, whose neighbours are then seen together. It is an affine layer whose weight
    is the circulant matrix, so that its constant is the proven norm of that; each output has a
    bias of its own.

    Parameters
    ----------
    length : int
        Of each channel.
    in_channels, out_channels : int
        Their numbers.
    kernel : int, default=3
        Length of the kernels of V, at most `length`.
    bias : bool, default=True
        Whether a constant is added.
    rank : int, optional
        Directions at each frequency, by default half of the larger number of channels.

    Raises
    ------
    ValueError
        If a number is out of range; with one channel on both sides a reflection is only a sign.

    Examples
    --------
    >>> layer = CircularLinear(length=5, in_channels=1, out_channels=4)
    >>> layer(torch.zeros(2, 5)).shape
    torch.Size([2, 20])
    """

    def __init__(
        self,
        length: int,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        bias: bool = True,
        rank: int | None = None,
    ) -> None:
        channels = max(in_channels, out_channels)
        if min(in_channels, out_channels) < 1 or channels < 2:
            raise ValueError(
                f"in_channels={in_channels!r}, out_channels={out_channels!r}: expected integers "
                f">= 1, one of them >= 2."
            )
        if not 1 <= kernel <= length:
            raise ValueError(f"kernel={kernel!r}: expected an integer from 1 to {length}.")
        rank = channels // 2 if rank is None else rank
        if not 1 <= rank <= channels:
            raise ValueError(f"rank={rank!r}: expected an integer from 1 to {channels}.")
        self.channels = length, out_channels, in_channels, rank, kernel
        super().__init__(in_channels * length, out_channels * length, bias)

    def draw(self, gain: Tensor | None) -> None:
        """Only the bias: kernels are drawn where they are trained."""
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def constrain(self) -> None:
        """See :class:`CircularReflector`."""
        reflector = CircularReflector(*self.channels)
        parametrize.register_parametrization(self, "weight", reflector, unsafe=True)

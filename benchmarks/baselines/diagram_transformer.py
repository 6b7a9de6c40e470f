"""A transformer on persistence diagrams, after Persformer (Reinauer et al. 2021)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.baselines.diagram_network import DiagramNetwork, used_columns
from benchmarks.baselines.vectorizer import check_count


class DiagramTransformer(DiagramNetwork):
    """Bars as tokens, self-attention among them without positions, pooled by a learned query.

    A token is (birth, death), standardised in each homology dimension, and the dimension as a
    one-hot code, as in Persformer [1]_; so are the blocks (attention, then two dense layers with
    GELU, each behind a layer normalisation and with a skip connection), the multi-head attention
    pooling and the linear head. It is smaller, to train in minutes on one core: 2 blocks of width
    32 with 2 heads, the 100 longest bars of each homology dimension. The number of bars, the epochs
    and the learning rate were chosen on a quarter of the training part of ORBIT5K of
    ``random_state=0``.

    Parameters
    ----------
    filtration : Filtration, optional
        ``AlphaPersistence()`` by default.
    n_bars : int, default=100
        How many of the longest bars of each homology dimension are kept.
    n_blocks : int, default=2
        Blocks of self-attention.
    width : int, default=32
        Numbers in a token, twice as many between the two dense layers of a block.
    n_heads : int, default=2
        Attention heads; a divisor of `width`.
    max_epochs : int, default=15
        Passes over the training clouds.
    lr : float, default=0.005
        Largest learning rate.
    batch_size : int, optional
        Clouds a step; by default 32, and fewer where that would give less than 25 steps a pass.
    weight_decay : float, default=0.01
        Of AdamW.
    random_state : int or None, default=None
        Seed of initial weights and of the order of batches.

    Notes
    -----
    To a cloud without any bar, one token of zeros stands for them.

    References
    ----------
    .. [1] Reinauer, Caorsi, Berkouk (2021), "Persformer: a transformer architecture for topological
       machine learning", arXiv:2112.15210.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.uniform(size=(20, 2)) * size for size in [1.0, 3.0] * 20]
    >>> model = DiagramTransformer(max_epochs=10, random_state=0)
    >>> model.fit(X, ["small", "large"] * 20).predict(X[:2])
    array(['small', 'large'], dtype='<U5')
    """

    largest_batch: ClassVar[int] = 32

    def __init__(
        self,
        filtration: Any = None,
        n_bars: int = 100,
        n_blocks: int = 2,
        width: int = 32,
        n_heads: int = 2,
        max_epochs: int = 15,
        lr: float = 0.005,
        batch_size: int | None = None,
        weight_decay: float = 0.01,
        random_state: int | None = None,
    ) -> None:
        self.filtration = filtration
        self.n_bars = n_bars
        self.n_blocks = n_blocks
        self.width = width
        self.n_heads = n_heads
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        for name in ("n_blocks", "width", "n_heads"):
            check_count(getattr(self, name), name)
        if self.width % self.n_heads:
            raise ValueError(
                f"width={self.width!r} is no multiple of n_heads={self.n_heads!r}, but heads share "
                f"it evenly."
            )

    def _shift_and_scale(
        self, bars: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return bars.mean(axis=0), bars.std(axis=0)

    def _module(self, n_classes: int) -> nn.Module:
        n_dimensions = len(self.homology_dimensions_)
        one_hot = torch.eye(n_dimensions).repeat_interleave(self.n_bars, dim=0)
        blocks = [_Block(self.width, self.n_heads) for _ in range(self.n_blocks)]
        return _Transformer(one_hot, blocks, _Pooling(self.width, self.n_heads), n_classes)


class _Transformer(nn.Module):
    """Rows of bars to logits; `one_hot` has the homology dimension of each column."""

    one_hot: Tensor

    def __init__(
        self, one_hot: Tensor, blocks: list[_Block], pooling: _Pooling, n_classes: int
    ) -> None:
        super().__init__()
        self.register_buffer("one_hot", one_hot)
        width = pooling.query.shape[2]
        self.embedding = nn.Linear(2 + one_hot.shape[1], width)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width)
        self.pooling = pooling
        self.head = nn.Linear(width, n_classes)

    def forward(self, rows: Tensor) -> Tensor:
        """Logits of rows of shape (n_clouds, n_dimensions n_bars, 3)."""
        used = used_columns(rows)
        rows = rows[:, used]
        kinds = rows[..., 2:] * self.one_hot[used]  # 0 for padding, as its birth and death are
        tokens = self.embedding(torch.cat([rows[..., :2], kinds], dim=2))
        mask = _mask(rows[..., 2] > 0)
        for block in self.blocks:
            tokens = block(tokens, mask)
        logits: Tensor = self.head(self.pooling(self.norm(tokens), mask))
        return logits


class _Block(nn.Module):
    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        self.dense = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        parts = self.queries_keys_values(self.norm(tokens)).chunk(3, dim=2)
        tokens = tokens + self.mixed(_attend(*parts, self.n_heads, mask))
        result: Tensor = tokens + self.dense(tokens)
        return result


class _Pooling(nn.Module):
    """Attention of one learned query to all tokens: a vector of the same width for each cloud."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Parameter(torch.randn(1, 1, width))
        self.keys_values = nn.Linear(width, 2 * width)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        keys, values = self.keys_values(tokens).chunk(2, dim=2)
        queries = self.query.expand(len(tokens), -1, -1)
        return _attend(queries, keys, values, self.n_heads, mask)[:, 0]


def _mask(there: Tensor) -> Tensor | None:
    """Which tokens are attended to, shape (n_clouds, 1, 1, n_tokens); None if all are.

    The first token of an empty diagram is, though it is padding.
    """
    if bool(there.all()):
        return None
    there = there.clone()
    there[:, 0] |= ~there.any(dim=1)
    return there[:, None, None, :]


def _attend(
    queries: Tensor, keys: Tensor, values: Tensor, n_heads: int, mask: Tensor | None
) -> Tensor:
    """Multi-head attention, from and to shape (n_clouds, n_tokens, width)."""
    heads = (part.unflatten(2, (n_heads, -1)).transpose(1, 2) for part in (queries, keys, values))
    return scaled_dot_product_attention(*heads, attn_mask=mask).transpose(1, 2).flatten(2)

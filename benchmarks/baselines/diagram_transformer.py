"""A transformer on persistence diagrams, after Persformer (Reinauer et al. 2021)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.baselines.diagram_network import DiagramNetwork
from benchmarks.baselines.vectorizer import check_count


class DiagramTransformer(DiagramNetwork):
    def __init__(
        self,
        filtration: Any = None,
        n_bars: int = 100,
        n_blocks: int = 2,
        width: int = 32,
        n_heads: int = 4,
        dropout: float = 0.0,
        max_epochs: int = 20,
        lr: float = 0.002,
        batch_size: int | None = None,
        weight_decay: float = 0.01,
        random_state: int | None = None,
    ) -> None:
        self.filtration = filtration
        self.n_bars = n_bars
        self.n_blocks = n_blocks
        self.width = width
        self.n_heads = n_heads
        self.dropout = dropout
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
                f"width={self.width!r} is not a multiple of n_heads={self.n_heads!r}: every head "
                f"sees as many numbers."
            )

    def _module(self, n_classes: int) -> nn.Module:
        return _Transformer(
            len(self.homology_dimensions_), self.n_bars, self.n_blocks, self.width, self.n_heads, n_classes, self.dropout
        )


class _Transformer(nn.Module):
    def __init__(
        self, n_dimensions: int, n_bars: int, n_blocks: int, width: int, n_heads: int, n_classes: int, dropout: float
    ) -> None:
        super().__init__()
        one_hot = torch.eye(n_dimensions).repeat_interleave(n_bars, dim=0)
        self.register_buffer("one_hot", one_hot)
        self.embedding = nn.Linear(2 + n_dimensions, width)
        self.blocks = nn.ModuleList(_Block(width, n_heads, dropout) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(width)
        self.pooling = _Pooling(width, n_heads)
        self.head = nn.Linear(width, n_classes)

    def forward(self, rows: Tensor) -> Tensor:
        there = rows[..., 2] > 0
        used = there.any(dim=0)
        used[0] = True
        there = there[:, used]
        bars = rows[:, used, :2]
        kinds = self.one_hot[used].to(rows.dtype) * there[..., None]
        # an empty diagram is one row of zeros, so that there is something to attend to
        first = torch.zeros_like(there)
        first[:, 0] = True
        there = there | (first & ~there.any(dim=1, keepdim=True))
        mask = None if bool(there.all()) else there[:, None, None, :]
        tokens = self.embedding(torch.cat([bars, kinds], dim=2))
        for block in self.blocks:
            tokens = block(tokens, mask)
        return self.head(self.pooling(self.norm(tokens), mask))


class _Block(nn.Module):
    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.before_attention = nn.LayerNorm(width)
        self.to_all = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        parts = self.to_all(self.before_attention(tokens)).chunk(3, dim=2)
        q, k, v = (_heads(part, self.n_heads) for part in parts)
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=mask)
        tokens = tokens + self.dropout(self.attended(mixed.transpose(1, 2).flatten(2)))
        return tokens + self.dropout(self.feed_forward(tokens))


class _Pooling(nn.Module):
    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Parameter(torch.randn(1, 1, width))
        self.to_keys = nn.Linear(width, 2 * width)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        k, v = (_heads(part, self.n_heads) for part in self.to_keys(tokens).chunk(2, dim=2))
        query = _heads(self.query.expand(len(tokens), -1, -1), self.n_heads)
        pooled = scaled_dot_product_attention(query, k, v, attn_mask=mask)
        return pooled.transpose(1, 2).flatten(1)


def _heads(tokens: Tensor, n_heads: int) -> Tensor:
    """From (n, tokens, width) to (n, heads, tokens, width / heads)."""
    return tokens.unflatten(2, (n_heads, -1)).transpose(1, 2)

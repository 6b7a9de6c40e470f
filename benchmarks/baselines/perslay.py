"""PersLay (Carrière et al. 2020) without bounds, with its authors' settings for ORBIT5K."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.baselines.diagram_network import DiagramNetwork, filled

Transformation = Literal["equivariant", "gaussian", "hat", "line"]


class PersLay(DiagramNetwork):
    def __init__(
        self,
        filtration: Any = None,
        transformation: Transformation = "equivariant",
        weight: Literal["grid", "power"] = "grid",
        operation: Literal["top", "sum", "max"] = "top",
        n_functions: int = 25,
        n_kept: int = 5,
        hidden: int = 0,
        n_bars: int = 500,
        max_epochs: int = 60,
        lr: float = 0.01,
        batch_size: int | None = None,
        weight_decay: float = 0.0,
        random_state: int | None = None,
    ) -> None:
        self.filtration = filtration
        self.transformation = transformation
        self.weight = weight
        self.operation = operation
        self.n_functions = n_functions
        self.n_kept = n_kept
        self.hidden = hidden
        self.n_bars = n_bars
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.random_state = random_state

    def _module(self, n_classes: int) -> nn.Module:
        return _PersLayNetwork(self, n_classes)


class _PersLayNetwork(nn.Module):
    def __init__(self, s: PersLay, n_classes: int) -> None:
        super().__init__()
        self.n_bars = s.n_bars
        self.channels = nn.ModuleList(_Channel(s) for _ in s.homology_dimensions_)
        width = len(self.channels) * s.n_functions * (s.n_kept if s.operation == "top" else 1)
        self.norm = nn.BatchNorm1d(width) if s.hidden < 0 or s.hidden else nn.Identity()
        self.head: nn.Module = (
            nn.Sequential(nn.Linear(width, s.hidden), nn.ReLU(), nn.Linear(s.hidden, n_classes))
            if s.hidden > 0
            else nn.Linear(width, n_classes)
        )

    def forward(self, rows: Tensor) -> Tensor:
        parts = rows.split(self.n_bars, dim=1)
        vectors = [c(filled(p)) for c, p in zip(self.channels, parts, strict=True)]
        return self.head(self.norm(torch.cat(vectors, dim=1)))


class _Channel(nn.Module):
    def __init__(self, s: PersLay) -> None:
        super().__init__()
        self.operation, self.n_kept = s.operation, s.n_kept
        self.points = _TRANSFORMATIONS[s.transformation](s.n_functions)
        self.weights = _Grid() if s.weight == "grid" else _Power()

    def forward(self, rows: Tensor) -> Tensor:
        bars, there = rows[..., :2], rows[..., 2:] > 0
        values = self.points(bars, there) * self.weights(bars)[..., None]
        if self.operation == "sum":
            return torch.where(there, values, 0.0).sum(dim=1)
        values = values.masked_fill(~there, -torch.inf).transpose(1, 2)
        k = 1 if self.operation == "max" else self.n_kept
        best = values.topk(min(k, values.shape[2]), dim=2).values
        best = torch.where(best > -torch.inf, best, 0.0)
        return nn.functional.pad(best, (0, k - best.shape[2])).flatten(1)


class _Equivariant(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.first = nn.Linear(2, n)
        self.second = nn.Linear(n, n)
        self.largest = nn.Linear(n, n, bias=False)
        for p in self.parameters():
            nn.init.uniform_(p, 0.0, 1.0)

    def forward(self, bars: Tensor, there: Tensor) -> Tensor:
        x = self.first(bars)
        top = x.masked_fill(~there, -torch.inf).amax(dim=1, keepdim=True)
        top = torch.where(top > -torch.inf, top, 0.0)
        return self.second(x) - self.largest(top)


class _Gaussian(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.rand(n, 2))
        self.widths = nn.Parameter(torch.full((n, 2), 3.0))

    def forward(self, bars: Tensor, there: Tensor) -> Tensor:
        d = (bars[:, :, None] - self.centres) * self.widths
        return torch.exp(-d.square().sum(-1))


class _Hat(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.rand(n, 2))
        self.radius = nn.Parameter(torch.full((n,), 0.25))

    def forward(self, bars: Tensor, there: Tensor) -> Tensor:
        x = (bars[:, :, None] - self.centres).abs().sum(-1)
        return 1 / (1 + x) - 1 / (1 + (self.radius.abs() - x).abs())


class _Line(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.line = nn.Linear(2, n)

    def forward(self, bars: Tensor, there: Tensor) -> Tensor:
        return self.line(bars)


_TRANSFORMATIONS = {
    "equivariant": _Equivariant,
    "gaussian": _Gaussian,
    "hat": _Hat,
    "line": _Line,
}


class _Grid(nn.Module):
    def __init__(self, size: int = 10) -> None:
        super().__init__()
        self.size = size
        self.values = nn.Parameter(torch.ones(size * size))

    def forward(self, bars: Tensor) -> Tensor:
        c = (bars.detach() * self.size).long().clamp(0, self.size - 1)
        return self.values[c[..., 0] * self.size + c[..., 1]]


class _Power(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, bars: Tensor) -> Tensor:
        return self.factor * (bars[..., 1] - bars[..., 0]).abs()

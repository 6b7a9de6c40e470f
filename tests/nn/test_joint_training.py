"""A network trained together with the module that makes its vectors."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stablerank.nn import LipschitzClassifier


class Sum(nn.Module):
    """Of the inputs, weighted by what is learned; in front of a network."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 0.0]))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.stack([inputs @ self.weight, torch.zeros(len(inputs))], dim=1).double()


def problem() -> tuple[Tensor, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """The label is the sign of the second input, which the module does not see at first."""
    inputs = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    return inputs, (inputs[:, 1] > 0).numpy().astype(np.int64)


@pytest.mark.parametrize("loss", ["cross-entropy", "margin", "offset"])
def test_both_are_trained(loss: str) -> None:
    inputs, y = problem()
    front = Sum()
    head = LipschitzClassifier(hidden=(8,), loss=loss, max_epochs=20, lr=0.05, random_state=0)
    blind = head.fit(front(inputs).detach().numpy(), y)
    assert blind.score(front(inputs).detach().numpy(), y) < 0.7
    assert head.fit_behind(front, inputs, y) is head
    with torch.no_grad():
        vectors = front(inputs).numpy()
    assert head.score(vectors, y) > 0.9
    assert head.n_features_in_ == 2
    assert head.stability().constant <= (1 + 1e-12) / head.epsilon_
    assert all(parameter.dtype == torch.float64 for parameter in head.network_.parameters())


def test_seeds_are_reproducible_and_the_global_generator_stays() -> None:
    inputs, y = problem()
    before, found = torch.random.get_rng_state(), []
    for _ in range(2):
        front = Sum()
        LipschitzClassifier(hidden=(8,), max_epochs=3, random_state=1).fit_behind(front, inputs, y)
        found.append(front.weight.detach())
    assert torch.equal(*found)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_is_raised_leaves_the_estimator_as_it_was() -> None:
    inputs, y = problem()
    head = LipschitzClassifier(hidden=(8,), max_epochs=1, random_state=0)
    network = head.fit_behind(Sum(), inputs, y).network_
    with pytest.raises(ValueError, match=re.escape('loss="box" needs a box of each input')):
        head.set_params(loss="box").fit_behind(Sum(), inputs, y)
    with pytest.raises(ValueError, match="only one class"):
        head.set_params(loss="margin").fit_behind(Sum(), inputs, np.zeros(200))
    assert head.network_ is network

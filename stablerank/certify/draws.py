"""What certificates by smoothing rest on: the noise, how much was drawn, and what came out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Draws:
    """The sample from which :class:`~stablerank.certify.smoothing.SmoothedClassifier` certified.

    Parameters
    ----------
    sigma : float
        Standard deviation of the noise of every coordinate.
    alpha : float
        The probability, for each cloud, that its certificate does not hold.
    n_samples, n_selection : int
        Draws for the certificate, and those before by which its label was chosen.
    temperature : float or None
        Of the softmax whose average was certified; None where labels were counted.
    random_state : int or None
        The seed.
    counts : ndarray of shape (n_clouds, n_classes), int
        How often each label came in the `n_samples` draws; with a temperature, which score was
        largest.
    """

    sigma: float
    alpha: float
    n_samples: int
    n_selection: int
    temperature: float | None
    random_state: int | None
    counts: NDArray[np.intp]

    def __getitem__(self, rows: Any) -> Draws:
        """Those of some of the clouds, by their numbers."""
        return replace(self, counts=self.counts[rows])

    def __str__(self) -> str:
        of = "labels" if self.temperature is None else f"scores at temperature {self.temperature:g}"
        return f"{self.alpha:g} for each cloud: {of} of {self.n_samples} draws, σ = {self.sigma:g}"

    def same_claim(self) -> tuple[Any, ...]:
        """All but the counts: what certificates have in common that are one claim."""
        return (
            self.sigma,
            self.alpha,
            self.n_samples,
            self.n_selection,
            self.temperature,
            self.random_state,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "sigma": self.sigma,
            "alpha": self.alpha,
            "n_samples": self.n_samples,
            "n_selection": self.n_selection,
            "temperature": self.temperature,
            "random_state": self.random_state,
            "counts": self.counts.tolist(),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Draws:
        """From what :meth:`to_dict` gives."""
        return cls(**{**content, "counts": np.array(content["counts"], dtype=np.intp)})

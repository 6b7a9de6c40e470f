"""What an attack found."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class AttackResult:
    """The inputs that an attack ended with, as the pipeline itself judges them.

    Parameters
    ----------
    inputs : list of clouds, or DiagramBatch
        For each original the candidate that changes the prediction, or the one that came nearest.
    success : ndarray of shape (n_clouds,), bool
        Whether the prediction is not the label. An original that is misclassified is one with
        displacement 0.
    prediction : ndarray of shape (n_clouds,)
        The pipeline's labels for `inputs`.
    displacement : ndarray of shape (n_clouds,), float64
        How far each input is from its original, in `unit`, rounded up; never above `radius`.
    radius : ndarray of shape (n_clouds,), float64
        What the adversary was allowed.
    n_queries : ndarray of shape (n_clouds,), int
        Inputs that the search had the pipeline judge.
    threat, unit : str
        What the adversary may do, and what displacement and radius measure.
    """

    inputs: Any = field(repr=False)
    success: NDArray[np.bool_]
    prediction: NDArray[Any]
    displacement: NDArray[np.float64]
    radius: NDArray[np.float64]
    n_queries: NDArray[np.int64]
    threat: str
    unit: str

    @property
    def accuracy(self) -> float:
        """The share of clouds that are still classified rightly."""
        return float(1 - self.success.mean())

    @property
    def breaking_displacement(self) -> NDArray[np.float64]:
        """The displacement where the attack succeeded, infinity elsewhere; shape (n_clouds,)."""
        return np.where(self.success, self.displacement, np.inf)

    def __len__(self) -> int:
        return len(self.success)

    def __str__(self) -> str:
        rows = self._rows()
        lines = [f"{name:<26}{value}" for name, value in self._summary()]
        lines += ["", "  ".join(f"{name:>12}" for name in _COLUMNS)]
        lines += ["  ".join(f"{cell:>12}" for cell in row) for row in rows]
        if len(self) > len(rows):
            lines.append(f"… and {len(self) - len(rows)} more")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        summary = "".join(f"<p>{name}: {html.escape(value)}</p>" for name, value in self._summary())
        head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._rows()
        )
        return f"{summary}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _summary(self) -> list[tuple[str, str]]:
        return [
            ("threat", self.threat),
            ("unit of the displacement", self.unit),
            ("clouds", str(len(self))),
            ("attacked accuracy", f"{self.accuracy:.4g}"),
            ("queries a cloud", f"{self.n_queries.mean():.4g}"),
        ]

    def _rows(self, most: int = 10) -> list[tuple[str, ...]]:
        return [
            (
                str(i),
                "yes" if self.success[i] else "no",
                str(self.prediction[i]),
                f"{self.displacement[i]:.4g}",
                f"{self.radius[i]:.4g}",
                str(self.n_queries[i]),
            )
            for i in range(min(most, len(self)))
        ]


_COLUMNS = ("cloud", "success", "prediction", "displacement", "radius", "queries")

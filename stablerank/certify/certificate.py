"""What a certificate says: one radius a cloud, within which no adversary changes the prediction."""

from __future__ import annotations

import html
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stablerank.certify.certificate_files import (
    Digests,
    Provenance,
    load_certificates,
    save_certificates,
)
from stablerank.certify.draws import Draws
from stablerank.stability import StabilityChain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class Certificates:
    """Certified radii of many clouds.

    The claim for cloud i: every input that the adversary can make of it with less than
    ``radius[i]`` gets the same predicted class. A radius of 0 claims nothing. Where the radius
    counts points the claim is closed: it is about ``radius[i]`` points as well. Where there are
    `draws`, the class is that of a smoothed classifier, and each claim holds with their probability
    only.

    Parameters
    ----------
    radius : ndarray of shape (n_clouds,), float64
        In `unit`; never negative or NaN.
    prediction : ndarray of shape (n_clouds,)
        The predicted labels that the radii protect.
    margin : ndarray of shape (n_clouds,), float64
        Largest minus second largest logit, in the unit of the network's input.
    threat : str
        What the adversary may do.
    unit : str
        What the radius measures.
    chain : StabilityChain or None
        The constants from the adversary's metric to the logits; None where a stage has none, and
        boxes alone certify.
    method : str, default="global"
        Which certificate was asked for, as in :func:`stablerank.certify`.
    route : ndarray of shape (n_clouds,) of str, optional
        Which way gave each radius: ``"global"`` is by the product of constants, ``"l2"`` by those
        in ℓ2 (D7), ``"interval"`` and ``"linear"`` by boxes, ``"votes"`` by counting votes,
        ``"smoothing"`` by draws. By default `method` for all.
    closed : bool, default=False
        Whether what the adversary makes with exactly the radius is covered too.
    provenance : Provenance or Digests, optional
        Of which model and clouds these are, for :meth:`save`.
    draws : Draws, optional
        What certificates by smoothing rest on, with the probability that one does not hold.
    """

    radius: NDArray[np.float64]
    prediction: NDArray[Any]
    margin: NDArray[np.float64]
    threat: str
    unit: str
    chain: StabilityChain | None = field(repr=False)
    method: str = "global"
    route: NDArray[np.str_] | None = None
    closed: bool = False
    provenance: Provenance | Digests | None = field(default=None, repr=False)
    draws: Draws | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.route is None:
            object.__setattr__(self, "route", np.full(len(self.radius), self.method))
        if not (len(self.radius) == len(self.prediction) == len(self.margin)):
            raise ValueError("radius, prediction and margin need one entry a cloud.")
        if self.draws is not None and len(self.draws.counts) != len(self.radius):
            raise ValueError("draws need counts of each cloud.")
        if np.isnan(self.radius).any() or (self.radius < 0).any():
            raise ValueError("A certified radius is never negative or NaN.")

    def certified_accuracy(self, y: ArrayLike, epsilon: ArrayLike) -> Any:
        """The share of clouds that are classified rightly and certified beyond epsilon.

        Parameters
        ----------
        y : array-like of shape (n_clouds,)
            True labels.
        epsilon : float or array-like of float
            Not negative, in `unit`. A cloud counts when its radius is larger, or, if `closed`, when
            it is as large.

        Returns
        -------
        float or ndarray of the shape of `epsilon`

        Raises
        ------
        ValueError
            If y has another length, an epsilon is negative or NaN, or there are no clouds.
        """
        labels = np.asarray(y)
        if labels.shape != (len(self),):
            raise ValueError(
                f"y has shape {labels.shape}, but there are {len(self)} certificates: expected one "
                f"label a cloud."
            )
        if len(self) == 0:
            raise ValueError("There are no certificates, and no share of none.")
        sizes = np.asarray(epsilon, dtype=np.float64)
        if not (sizes >= 0).all():
            raise ValueError(f"epsilon={epsilon!r}: expected numbers >= 0.")
        right = self.prediction == labels
        limits = sizes[..., None]
        covered = self.radius >= limits if self.closed else self.radius > limits
        shares = (right & covered).mean(axis=-1)
        return float(shares) if sizes.ndim == 0 else shares

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the claims and what they rest on."""
        return {
            "threat": self.threat,
            "unit": self.unit,
            "method": self.method,
            "radius": self.radius.tolist(),
            "margin": self.margin.tolist(),
            "prediction": self.prediction.tolist(),
            "route": np.asarray(self.route).tolist(),
            "closed": self.closed,
            "chain": None if self.chain is None else self.chain.to_list(),
            "draws": None if self.draws is None else self.draws.to_dict(),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the claims, and digests of the model and of each cloud, to a file of JSON.

        With the model's own file, and the clouds by ``numpy.savez(path, *clouds)``, everybody can
        derive the claims again: ``stablerank check FILE --model M.srn --clouds clouds.npz``.

        Parameters
        ----------
        path : path-like
            By custom ``….cert.json``. Replaced only once the new file is whole.

        Raises
        ------
        ValueError
            If the model cannot be saved or was fitted again, if the clouds are not known, as when
            diagrams were certified, or if a number is not finite.
        """
        save_certificates(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Certificates:
        """Read what :meth:`save` wrote.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        Certificates
            Not checked again but for the file's own digest.

        Raises
        ------
        FileNotFoundError
            If there is no file.
        ValueError
            If it was changed in any bit, or is of another kind.
        """
        return load_certificates(cls, path)

    def plot(self, y: ArrayLike, ax: Axes | None = None, **style: Any) -> Axes:
        """Draw certified accuracy against epsilon; see :func:`stablerank.plotting`."""
        from stablerank.plotting import plot_certified_accuracy

        return plot_certified_accuracy(self, y, ax=ax, **style)

    @classmethod
    def concatenate(cls, parts: Sequence[Certificates]) -> Certificates:
        """The certificates of several lots of clouds against one threat, one after the other.

        Raises
        ------
        ValueError
            If there are none, or they are not by the same constants against the same threat.
        """
        claims = {
            (p.threat, p.unit, p.chain, p.method, p.closed, p.draws and p.draws.same_claim())
            for p in parts
        }
        if len(claims) != 1:
            raise ValueError(
                f"Cannot concatenate {len(parts)} certificates of {len(claims)} different claims: "
                f"all need the same threat, chain of constants and method."
            )
        threat, unit, chain, method, closed, _ = claims.pop()
        draws = [part.draws for part in parts if part.draws is not None]
        return cls(
            np.concatenate([part.radius for part in parts]),
            np.concatenate([part.prediction for part in parts]),
            np.concatenate([part.margin for part in parts]),
            threat,
            unit,
            chain,
            method,
            np.concatenate([np.asarray(part.route) for part in parts]),
            closed=closed,
            draws=replace(draws[0], counts=np.concatenate([own.counts for own in draws]))
            if draws
            else None,
        )

    def __len__(self) -> int:
        return len(self.radius)

    def __getitem__(self, index: Any) -> Certificates:
        """The certificates of some of the clouds: a slice, a mask or an array of indices."""
        return Certificates(
            np.atleast_1d(self.radius[index]),
            np.atleast_1d(self.prediction[index]),
            np.atleast_1d(self.margin[index]),
            self.threat,
            self.unit,
            self.chain,
            self.method,
            np.atleast_1d(np.asarray(self.route)[index]),
            self.closed,
            None if self.provenance is None else self.provenance[self._rows_of(index)],
            None if self.draws is None else self.draws[self._rows_of(index)],
        )

    def _rows_of(self, index: Any) -> NDArray[np.intp]:
        return np.atleast_1d(np.arange(len(self))[index])

    def __str__(self) -> str:
        rows = self._rows()
        lines = [f"{name:<26}{value}" for name, value in self._summary()]
        lines += ["", f"{'cloud':>6}  {'prediction':<16} {'margin':>12} {'radius':>12}"]
        lines += [
            f"{i:>6}  {label:<16} {margin:>12} {radius:>12}" for i, label, margin, radius in rows
        ]
        if len(self) > len(rows):
            lines.append(f"… and {len(self) - len(rows)} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<p>{name}: {html.escape(value)}</p>" for name, value in self._summary())
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
            for row in self._rows()
        )
        columns = "".join(
            f"<th>{name}</th>" for name in ("cloud", "prediction", "margin", "radius")
        )
        return f"{head}<table><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table>"

    def _summary(self) -> list[tuple[str, str]]:
        median = float(np.median(self.radius)) if len(self) else math.nan
        doubt = [] if self.draws is None else [("failure probability", str(self.draws))]
        return [
            ("threat", self.threat),
            ("unit of the radius", self.unit),
            ("clouds", str(len(self))),
            ("certified (radius > 0)", str(int((self.radius > 0).sum()))),
            ("median radius", f"{median:.4g}"),
            ("method", self._method()),
            *doubt,
        ]

    def _method(self) -> str:
        ways, counts = np.unique(np.asarray(self.route), return_counts=True)
        shares = ", ".join(f"{way} {count}" for way, count in zip(ways, counts, strict=True))
        method = self.method if len(ways) < 2 else f"{self.method} ({shares})"
        return method if self.chain is None else f"{method}, constant {self.chain.constant:.6g}"

    def _rows(self, most: int = 10) -> list[tuple[int, str, str, str]]:
        return [
            (i, str(self.prediction[i]), f"{self.margin[i]:.4g}", f"{self.radius[i]:.4g}")
            for i in range(min(most, len(self)))
        ]

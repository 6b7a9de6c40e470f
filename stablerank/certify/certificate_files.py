"""Certificates as files: what they claim, of which model, and of which clouds. No pickle.

The file names its model and its clouds by digests, so that whoever has the three can derive every
claim again: ``stablerank check``, by :mod:`stablerank.checker`.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stablerank.certify.draws import Draws
from stablerank.certify.threats import DIAGRAM_THREATS
from stablerank.certify.votes import HashedVotes
from stablerank.checker.claims import ClaimError
from stablerank.checker.file_format import (
    FORMAT,
    cloud_digest,
    diagram_rows,
    read_certificates,
    with_digest,
)
from stablerank.diagrams.shards import DiagramShards
from stablerank.files import write_atomically
from stablerank.stability import StabilityChain

if TYPE_CHECKING:
    from stablerank.certify.certificate import Certificates

_PACKAGES = ("stablerank", "numpy", "torch", "gudhi")


@dataclass(frozen=True, eq=False)
class Provenance:
    """Of which model and of which inputs certificates are: by reference, digested when saved.

    Parameters
    ----------
    model : Any
        What was certified.
    fitted : Any
        Its fitted pipeline at that time: a model that is fitted again is another one.
    inputs : sequence
        Of each certificate the cloud, or for threats against diagrams the diagrams.
    p, q : float, optional
        Exponents of the threat.
    votes : mapping of str to int, optional
        How :class:`~stablerank.certify.votes.HashedVotes` splits clouds, and what sub-clouds vote
        for that are too small for its model.
    """

    model: Any
    fitted: Any
    inputs: Sequence[Any]
    p: float | None = None
    q: float | None = None
    votes: Mapping[str, int] | None = None

    @classmethod
    def of(cls, model: Any, X: Any, p: float | None, q: float | None) -> Provenance | None:
        """Where certificates of these inputs come from; None for shards, which are not kept."""
        if isinstance(X, DiagramShards):
            return None
        return cls(model, _fitted(model), X, p, q, _split(model))

    def __getitem__(self, rows: Any) -> Provenance:
        """That of some of the certificates, by their numbers."""
        return replace(self, inputs=[self.inputs[int(i)] for i in rows])


@dataclass(frozen=True)
class Digests:
    """The digests of a file that was read, of its model and of each cloud."""

    model: str
    inputs: tuple[str, ...]
    p: float | None = None
    q: float | None = None
    votes: Mapping[str, int] | None = None

    def __getitem__(self, rows: Any) -> Digests:
        """Those of some of the certificates, by their numbers."""
        return replace(self, inputs=tuple(self.inputs[int(i)] for i in rows))


def save_certificates(certificates: Certificates, path: str | os.PathLike[str]) -> None:
    """Write certificates; see :meth:`Certificates.save`."""
    digests = _digests(certificates)
    for name in ("radius", "margin"):
        bad = np.flatnonzero(~np.isfinite(getattr(certificates, name)))
        if bad.size:
            raise ValueError(
                f"{name}[{bad[0]}] is {getattr(certificates, name)[bad[0]].item()!r}: certificates "
                f"are saved with finite numbers only."
            )
    chain = certificates.chain
    rows = zip(
        digests.inputs,
        certificates.prediction.tolist(),
        certificates.radius.tolist(),
        certificates.margin.tolist(),
        np.asarray(certificates.route).tolist(),
        strict=True,
    )
    content = {
        "format": FORMAT,
        "model": digests.model,
        "threat": certificates.threat,
        "p": None if digests.p is None else float(digests.p).hex(),
        "q": None if digests.q is None else float(digests.q).hex(),
        "unit": certificates.unit,
        "closed": certificates.closed,
        "method": certificates.method,
        "constant": None if chain is None else float(chain.constant).hex(),
        "chain": None if chain is None else chain.to_list(),
        "versions": _versions(),
        "clouds": [
            {
                "input": own,
                "prediction": label,
                "radius": radius.hex(),
                "margin": margin.hex(),
                "route": route,
            }
            for own, label, radius, margin, route in rows
        ],
    }
    if digests.votes is not None:
        content["votes"] = dict(digests.votes)
    if certificates.draws is not None:
        content["draws"] = certificates.draws.to_dict()
    data = with_digest(content)
    with write_atomically(path) as file:
        file.write(data)


def load_certificates(kind: type[Certificates], path: str | os.PathLike[str]) -> Certificates:
    """Read certificates; see :meth:`Certificates.load`."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There are no certificates at {path}.")
    try:
        content = read_certificates(path.read_bytes())
        clouds = content["clouds"]
        chain = content["chain"]
        p, q = (None if content[n] is None else float.fromhex(content[n]) for n in ("p", "q"))
        return kind(
            radius=np.array([cloud["radius"] for cloud in clouds], dtype=np.float64),
            prediction=np.array([cloud["prediction"] for cloud in clouds]),
            margin=np.array([cloud["margin"] for cloud in clouds], dtype=np.float64),
            threat=content["threat"],
            unit=content["unit"],
            chain=None if chain is None else StabilityChain._from_list(chain),
            method=content["method"],
            route=np.array([cloud["route"] for cloud in clouds], dtype=np.str_),
            closed=content["closed"],
            provenance=Digests(
                content["model"],
                tuple(cloud["input"] for cloud in clouds),
                p,
                q,
                content.get("votes"),
            ),
            draws=Draws.from_dict(content["draws"]) if "draws" in content else None,
        )
    except (
        ArithmeticError,
        AttributeError,
        ClaimError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(f"{path} holds no certificates, or is damaged: {error}") from error


def _digests(certificates: Certificates) -> Digests:
    origin = certificates.provenance
    if isinstance(origin, Digests):
        return origin
    on_diagrams = certificates.threat in DIAGRAM_THREATS
    if origin is None or any(isinstance(item, Mapping) != on_diagrams for item in origin.inputs):
        raise ValueError(
            "These certificates do not know their clouds, and nobody could check their file: "
            "certify the clouds themselves, not diagrams of them, by model.certify(X)."
        )
    from stablerank.estimators import StableRankClassifier
    from stablerank.models import model_digest

    model = origin.model if origin.votes is None else origin.model.estimator_
    if type(model) is not StableRankClassifier:
        raise ValueError(
            f"Only certificates of a StableRankClassifier can be saved, whose model can be, or of "
            f"HashedVotes around one, not of a {type(model).__name__}."
        )
    if _fitted(origin.model) is not origin.fitted:
        raise ValueError(
            "The model was fitted again after it gave these certificates: certify once more."
        )
    if origin.model.classes_.tolist() != model.classes_.tolist():
        raise ValueError("HashedVotes and its estimator_ know different classes.")
    rows = map(diagram_rows, origin.inputs) if on_diagrams else origin.inputs
    inputs = tuple(cloud_digest(item) for item in rows)
    return Digests(model_digest(model), inputs, origin.p, origin.q, origin.votes)


def _fitted(model: Any) -> Any:
    """What another fit replaces."""
    return getattr(getattr(model, "estimator_", model), "pipeline_", None)


def _split(model: Any) -> dict[str, int] | None:
    if type(model) is not HashedVotes:
        return None
    return {
        "n_parts": int(model.n_parts),
        "min_points": int(model.min_points),
        "random_state": int(model.random_state),
        "fixed_vote": int(model.fixed_vote_),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from its folder
            continue
    return found

"""Accept a file of certificates, or name the first claim in it that does not hold.

What is checked is about the exact function that the model's file describes: that no cloud which the
adversary can make with less than the radius has another class. The radii by constants rest on
facts D1 to D3, D6, D7, R2 to R4 and N1 to N3, and those by boxes on R5 and N4.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stablerank.checker import spectral, vectors
from stablerank.checker.chain import end_to_end
from stablerank.checker.claims import ClaimError
from stablerank.checker.file_format import cloud_digest, read_certificates
from stablerank.checker.model_file import Model, read_model
from stablerank.checker.network import Network, read_network
from stablerank.checker.relaxation import least_gap
from stablerank.checker.rounding import Array, down, times_up

_UNITS = {
    "per_point": "ℓ2 displacement of every point, in the units of the points",
    "hausdorff": "Hausdorff distance, in the units of the points",
    "per_coordinate": "change of every coordinate, in the units of the points",
    "frobenius": "ℓ2 norm of the displacements of all points together",
}
_ROUNDED = 2.0**-40  # by how much two products of the same constants may differ
_NOT_THESE_FILES = {
    "digest of the file",
    "format",
    "digest of the model",
    "clouds",
    "digest of the cloud",
}
_MARGIN_ROUNDING = 2.0**-24  # a margin is no guarantee: it is compared up to this


@dataclass(frozen=True)
class Verdict:
    """What became of a file.

    Attributes
    ----------
    accepted : bool
        Whether every claim was derived again.
    n_clouds : int
        How many certificates were accepted before anything else was found.
    claim, reason : str or None
        The first claim that does not hold, and why.
    cloud : int or None
        Whose certificate it stands in.
    claimed, derived : str or None
        What the file says, and what was found.
    """

    accepted: bool
    n_clouds: int
    claim: str | None = None
    reason: str | None = None
    cloud: int | None = None
    claimed: str | None = None
    derived: str | None = None

    @property
    def about_files(self) -> bool:
        """Whether a file is damaged or belongs to others, so that no claim was put to the test."""
        return self.claim in _NOT_THESE_FILES

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        if self.accepted:
            return f"accepted: all {self.n_clouds} certificates were derived again."
        where = "" if self.cloud is None else f" of cloud {self.cloud}"
        sides = "" if self.claimed is None else f" (claimed {self.claimed}"
        if sides:
            sides += ")" if self.derived is None else f", derived {self.derived})"
        return f"not accepted: {self.claim}{where}: {self.reason}{sides}."


def check_files(
    certificates: str | os.PathLike[str],
    model: str | os.PathLike[str],
    clouds: str | os.PathLike[str],
) -> Verdict:
    """Derive every claim of a file again.

    Parameters
    ----------
    certificates : path-like
        What ``Certificates.save`` wrote.
    model : path-like
        The model that was certified, as ``StableRankClassifier.save`` wrote it.
    clouds : path-like
        The clouds in order, as ``numpy.savez(path, *clouds)`` writes them.

    Returns
    -------
    Verdict

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    data, weights = Path(certificates).read_bytes(), Path(model).read_bytes()
    points = Path(clouds)
    points.stat()
    accepted = 0
    try:
        content = read_certificates(data)
        own = read_model(weights)
        _equal("digest of the model", content["model"], own.digest, "it is of another model")
        inputs = _read_clouds(points)
        _equal("clouds", len(content["clouds"]), len(inputs), "not one certificate a cloud")
        with _refusing(), np.errstate(all="ignore"):  # NaN fails every comparison
            network = read_network(own)
            _check_threat(content)
            _check_constant(content, own, network, inputs)
        for i, (claim, cloud) in enumerate(zip(content["clouds"], inputs, strict=True)):
            with _refusing(i), np.errstate(all="ignore"):
                _check_cloud(claim, cloud, content["threat"], own, network)
            accepted += 1
    except ClaimError as error:
        return Verdict(
            False, accepted, error.claim, error.reason, error.cloud, error.claimed, error.derived
        )
    return Verdict(True, accepted)


@contextmanager
def _refusing(cloud: int | None = None) -> Iterator[None]:
    """Say whose claim it is; a model that makes no sense anywhere is refused, not a crash."""
    try:
        yield
    except ClaimError as error:
        error.cloud = cloud
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as e:
        raise ClaimError("model", f"cannot be checked: {e!r}", cloud=cloud) from e


def _read_clouds(path: Path) -> list[Array]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = [f"arr_{i}" for i in range(len(archive.files))]
            return [np.asarray(archive[name], dtype=np.float64) for name in names]
    except (zipfile.BadZipFile, AttributeError, EOFError, KeyError, TypeError, ValueError) as error:
        raise ClaimError("clouds", f"they cannot be read: {error}") from error


def _check_threat(content: dict[str, Any]) -> None:
    threat = content["threat"]
    if threat not in _UNITS or content["p"] is not None or content["q"] is not None:
        raise ClaimError("threat", f"threat={threat!r} cannot be checked")
    _equal("unit", content["unit"], _UNITS[threat], "that is not the unit of this threat")
    if content["closed"]:
        raise ClaimError("closed", "cannot be checked: only open balls are")


def _check_constant(
    content: dict[str, Any], model: Model, network: Network, clouds: list[Array]
) -> None:
    """The constant is the product of its chain, and no smaller than what is derived here."""
    if (content["constant"] is None) != (content["chain"] is None):
        raise ClaimError("constant", "it stands without its chain, or the chain without it")
    if content["constant"] is None or not clouds:
        return
    if content["method"] == "l2":
        raise ClaimError(
            "chain",
            "cannot be checked: it goes through ℓ2, which is not multiplied again here; certify by "
            'method="best", whose radii in ℓ2 are',
        )
    stated = end_to_end(content["chain"])
    if not abs(stated - content["constant"]) <= _ROUNDED * stated:
        raise ClaimError(
            "constant",
            "it is not the product of its chain",
            claimed=repr(content["constant"]),
            derived=repr(stated),
        )
    coordinates = _coordinates(model, network, clouds[0].shape[-1], content["threat"])
    features = network.constant(coordinates)
    rows = np.abs(network.head.weight)
    derived = float(times_up(features, max(float(np.sum(row)) for row in rows)))
    if not content["constant"] >= derived * (1 - _ROUNDED):
        raise ClaimError(
            "constant",
            "the product of the constants is larger",
            claimed=repr(content["constant"]),
            derived=repr(derived),
        )


def _check_cloud(
    claim: dict[str, Any], cloud: Array, threat: str, model: Model, network: Network
) -> None:
    _equal("digest of the cloud", claim["input"], cloud_digest(cloud), "it is of another cloud")
    labels = [i for i, name in enumerate(model.classes) if _same(name, claim["prediction"])]
    if len(labels) != 1:
        raise ClaimError("prediction", "it is no class of the model", claimed=claim["prediction"])
    top, radius = labels[0], claim["radius"]
    boxes = network.boxes(*_vectors(model, network, cloud, threat, 0.0))
    lower, upper = network.gaps(boxes[-1], top)
    others = np.arange(len(lower)) != top
    # where two classes tie within rounding, either may be predicted, and nothing is certified
    least = upper if radius == 0 else lower
    if not (least[others] >= 0).all() or (radius > 0 and not (lower[others] > 0).all()):
        best = int(np.argmin(np.where(others, upper, np.inf)))
        raise ClaimError(
            "prediction",
            "another class is not behind it",
            claimed=repr(model.classes[top]),
            derived=repr(model.classes[best]),
        )
    _check_margin(claim["margin"], float(lower[others].min()), float(upper[others].min()), boxes)
    if radius > 0:
        _check_radius(claim, cloud, threat, model, network, top, lower)


def _check_margin(margin: float, least: float, largest: float, boxes: list[Any]) -> None:
    size = _MARGIN_ROUNDING * (1 + float(np.abs(boxes[-1]).max()))
    if not least - size <= margin <= largest + size:
        raise ClaimError(
            "margin",
            "the logits differ by another number",
            claimed=repr(margin),
            derived=repr(least),
        )


def _check_radius(
    claim: dict[str, Any],
    cloud: Array,
    threat: str,
    model: Model,
    network: Network,
    top: int,
    lower: Array,
) -> None:
    radius, route = claim["radius"], claim["route"]
    if route == "global":
        features = network.constant(_coordinates(model, network, cloud.shape[1], threat))
        steepness = times_up(network.steepness(top), features)
        others = np.arange(len(lower)) != top
        with np.errstate(divide="ignore"):
            derived = float(np.where(others, down(lower / steepness), np.inf).min())
        if not derived >= radius:
            raise ClaimError(
                "radius", "the constants give less", claimed=repr(radius), derived=repr(derived)
            )
        return
    if route == "l2" and threat == "frobenius":
        d = cloud.shape[1]
        each = _coordinates(model, network, d, threat)
        derived = spectral.radius(model.stages, network, each, d, top, lower)
        if not derived >= radius:
            raise ClaimError(
                "radius",
                "the constants in ℓ2 give less",
                claimed=repr(radius),
                derived=repr(derived),
            )
        return
    if route not in ("interval", "linear"):
        raise ClaimError("route", f"{route!r} cannot be checked")
    ends = _vectors(model, network, cloud, threat, radius)
    gap = least_gap(network, network.boxes(*ends), top, linear=route == "linear")
    if not gap > 0:
        raise ClaimError(
            "radius",
            f"the box of this size lets another class come within {gap!r}",
            claimed=repr(radius),
            derived="less",
        )


def _vectors(
    model: Model, network: Network, cloud: Array, threat: str, radius: float
) -> tuple[Array, Array]:
    lower, upper = vectors.box(model.stages, cloud, threat, radius)
    if lower.shape != network.center.shape:
        raise ClaimError("network", "the vectors are not of its length")
    return lower, upper


def _coordinates(model: Model, network: Network, d: int, threat: str) -> Array:
    found = vectors.constants(model.stages, d, threat)
    if found.shape != network.center.shape:
        raise ClaimError("network", "the vectors are not of its length")
    return found


def _same(name: Any, other: Any) -> bool:
    return type(name) is type(other) and bool(name == other)


def _equal(claim: str, claimed: Any, derived: Any, reason: str) -> None:
    if claimed != derived:
        raise ClaimError(claim, reason, claimed=str(claimed), derived=str(derived))

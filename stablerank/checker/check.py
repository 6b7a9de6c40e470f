"""Accept a file of certificates, or name the first claim in it that does not hold.

What is checked is about the exact function that the model's file describes: that no input which the
adversary can make with less than the radius, or with so many changed points, has another class. The
radii by constants rest on facts D1 to D7, R2 to R4 and N1 to N3, and those by boxes on R5 and N4.
Every link of a chain of constants is derived by itself.
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

from stablerank.checker.chain import end_to_end
from stablerank.checker.claims import ClaimError, NotChecked
from stablerank.checker.file_format import cloud_digest, read_certificates
from stablerank.checker.inputs import Input
from stablerank.checker.links import check_links, links_to_logits, links_to_vectors
from stablerank.checker.model_file import Model, Stage, read_model
from stablerank.checker.network import Network, read_network
from stablerank.checker.radii import ROUTES, Subject, check_count, check_radius
from stablerank.checker.rounding import Array
from stablerank.checker.threats import Threat, read_threat
from stablerank.checker.vectors import VECTORIZERS, homology_dimensions, pairs
from stablerank.checker.votes import check_voters, check_votes

_ROUNDED = 2.0**-40  # by how much two products of the same constants may differ
_MARGIN_ROUNDING = 2.0**-24  # a margin is no guarantee: it is compared up to this
_NOT_THESE_FILES = {
    "digest of the file",
    "format",
    "digest of the model",
    "clouds",
    "digest of the cloud",
}


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
    checked : bool
        False if that claim may hold, and its derivation is not known here.
    """

    accepted: bool
    n_clouds: int
    claim: str | None = None
    reason: str | None = None
    cloud: int | None = None
    claimed: str | None = None
    derived: str | None = None
    checked: bool = True

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
        verdict = "not accepted" if self.checked else "not checked"
        return f"{verdict}: {self.claim}{where}: {self.reason}{sides}."


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
        The clouds, images or matrices in order, as ``numpy.savez(path, *clouds)`` writes them; for
        threats against diagrams :func:`~stablerank.checker.file_format.diagram_rows` of each.

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
            case = _read_case(content, own)
            _check_chain(content, case)
        for i, (claim, cloud) in enumerate(zip(content["clouds"], inputs, strict=True)):
            with _refusing(i), np.errstate(all="ignore"):
                _check_cloud(claim, cloud, case)
            accepted += 1
    except ClaimError as error:
        return Verdict(
            False,
            accepted,
            error.claim,
            error.reason,
            error.cloud,
            error.claimed,
            error.derived,
            checked=not isinstance(error, NotChecked),
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
        raise NotChecked("model", f"it makes no sense here: {e!r}", cloud=cloud) from e


def _read_clouds(path: Path) -> list[Array]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = [f"arr_{i}" for i in range(len(archive.files))]
            return [np.asarray(archive[name], dtype=np.float64) for name in names]
    except (zipfile.BadZipFile, AttributeError, EOFError, KeyError, TypeError, ValueError) as error:
        raise ClaimError("clouds", f"they cannot be read: {error}") from error


@dataclass(frozen=True, eq=False)
class _Case:
    """What is the same for all certificates of a file."""

    threat: Threat
    stages: tuple[Stage, ...]
    network: Network
    classes: list[Any]
    voters: dict[str, Any] | None

    def subject(self, item: Array) -> Subject:
        dimensions = {k for _, own in pairs(self.stages) for k in homology_dimensions(own)}
        return Subject(self.stages, self.network, Input(item, dimensions))

    def candidates(self, item: Array) -> list[int]:
        """The classes that may be predicted: one, unless others tie with it within rounding."""
        features = self.subject(item).own_boxes()[-1]
        found = []
        for top in range(len(self.classes)):
            lower, upper = (np.delete(ends, top) for ends in self.network.gaps(features, top))
            if (lower > 0).all():
                return [top]
            if not (upper < 0).any():  # NaN may be anything
                found.append(top)
        return found or list(range(len(self.classes)))


def _read_case(content: dict[str, Any], model: Model) -> _Case:
    if "draws" in content or content["method"] == "smoothing":
        raise NotChecked(
            "draws",
            "certificates by smoothing are about another classifier than the model alone, and hold "
            "with a probability over draws, which are not repeated here",
        )
    threat, stages, voters = read_threat(content), model.stages, content.get("votes")
    network = read_network(model)
    if threat.on_diagrams and stages[0].kind not in ("union", *VECTORIZERS):
        stages = stages[1:]  # the adversary is behind the filtration
    given = any(filtration is None for filtration, _ in pairs(stages))
    if given != threat.on_diagrams:
        raise NotChecked("threat", f"{threat.name!r} does not change what this model starts from")
    if voters is not None:
        check_voters(voters, len(model.classes))
        if not threat.counts:
            raise ClaimError("threat", "votes are certified against counted points only")
    return _Case(threat, stages, network, model.classes, voters)


def _check_chain(content: dict[str, Any], case: _Case) -> None:
    """Every link is derived by itself, and the constant is the product of them."""
    if (content["constant"] is None) != (content["chain"] is None):
        raise ClaimError("constant", "it stands without its chain, or the chain without it")
    if content["constant"] is None:
        return
    if content["method"] == "l2":
        raise NotChecked(
            "chain",
            "it goes through ℓ2, which is not multiplied again here; certify by "
            'method="best", whose radii in ℓ2 are',
        )
    space = case.threat.space
    if case.threat.name == "deletion" and case.voters is None:
        space = {"kind": "points", "metric": "hausdorff"}
    if space is None:
        raise ClaimError("chain", "there is no constant from a number of points")
    check_links(
        content["chain"], [*links_to_vectors(case.stages, space), *links_to_logits(case.network)]
    )
    stated = end_to_end(content["chain"])
    if not abs(stated - content["constant"]) <= _ROUNDED * stated:
        raise ClaimError(
            "constant",
            "it is not the product of its chain",
            claimed=repr(content["constant"]),
            derived=repr(stated),
        )


def _check_cloud(claim: dict[str, Any], cloud: Array, case: _Case) -> None:
    _equal("digest of the cloud", claim["input"], cloud_digest(cloud), "it is of another cloud")
    labels = [i for i, name in enumerate(case.classes) if _same(name, claim["prediction"])]
    if len(labels) != 1:
        raise ClaimError("prediction", "it is no class of the model", claimed=claim["prediction"])
    top, radius, route = labels[0], claim["radius"], claim["route"]
    if route not in (("votes",) if case.voters else ROUTES):
        raise NotChecked("route", f"{route!r} is not known of such certificates")
    if case.voters is not None:
        size = len(case.classes)
        check_votes(claim, top, cloud, case.threat.name, case.voters, case.candidates, size)
        return
    subject = case.subject(cloud)
    _check_prediction(claim, subject, top, case.classes)
    if radius > 0 and case.threat.space is None:
        check_count(subject, case.threat.name, route, radius, top)
    elif radius > 0 and case.threat.space is not None:
        check_radius(subject, case.threat.space, route, radius, top)


def _check_prediction(
    claim: dict[str, Any], subject: Subject, top: int, classes: list[Any]
) -> None:
    """Where two classes tie within rounding either may be predicted, and nothing is certified."""
    features = subject.own_boxes()[-1]
    lower, upper = (np.delete(ends, top) for ends in subject.network.gaps(features, top))
    good = (lower > 0).all() if claim["radius"] > 0 else (upper >= 0).all()
    if not good:
        rivals = np.delete(np.arange(len(classes)), top)
        raise ClaimError(
            "prediction",
            "another class is not behind it",
            claimed=repr(classes[top]),
            derived=repr(classes[int(rivals[np.argmin(upper)])]),
        )
    size = _MARGIN_ROUNDING * (1 + float(np.abs(features).max()))
    if not lower.min() - size <= claim["margin"] <= upper.min() + size:
        raise ClaimError(
            "margin",
            "the logits differ by another number",
            claimed=repr(claim["margin"]),
            derived=repr(float(lower.min())),
        )


def _same(name: Any, other: Any) -> bool:
    return type(name) is type(other) and bool(name == other)


def _equal(claim: str, claimed: Any, derived: Any, reason: str) -> None:
    if claimed != derived:
        raise ClaimError(claim, reason, claimed=str(claimed), derived=str(derived))

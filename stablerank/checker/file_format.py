"""How certificates lie in a file: JSON with the SHA-256 of the whole, and digests of the inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stablerank.checker.claims import ClaimError

FORMAT = 1
NO_DIGEST = "0" * 64
KEYS = {
    "sha256",
    "format",
    "model",
    "threat",
    "p",
    "q",
    "unit",
    "closed",
    "method",
    "constant",
    "chain",
    "versions",
    "clouds",
}
OPTIONAL_KEYS = {"votes", "draws"}
"""Where sub-clouds vote, how clouds are split; where noise was drawn, how much, and what came."""
CLOUD_KEYS = {"input", "prediction", "radius", "margin", "route"}
_START = b'{\n "sha256": "'


def cloud_digest(cloud: ArrayLike) -> str:
    """The SHA-256 of a cloud: of its shape, and of its coordinates as float64, little-endian.

    Examples
    --------
    >>> cloud_digest([[0, 1]]) == cloud_digest([[0.0, 1.0]]) != cloud_digest([[0.0], [1.0]])
    True
    """
    points = np.ascontiguousarray(cloud, dtype="<f8")
    return hashlib.sha256(f"{points.shape}".encode() + points.tobytes()).hexdigest()


def diagram_rows(diagram: Mapping[int, ArrayLike]) -> NDArray[np.float64]:
    """The diagrams of one input as one array: a row (birth, death, homology dimension) a bar.

    Certificates against changes of diagrams are about these, and ``stablerank check`` takes them
    where it otherwise takes clouds: ``numpy.savez(path, *map(diagram_rows, batch))``.

    Parameters
    ----------
    diagram : mapping of int to array-like of shape (n_bars, 2)
        For each homology dimension births and deaths, as the entries of a ``DiagramBatch``.

    Returns
    -------
    ndarray of shape (n_bars, 3), float64

    Examples
    --------
    >>> diagram_rows({0: [[0, 2], [0, 1]], 1: [[2, 3]]})
    array([[0., 2., 0.],
           [0., 1., 0.],
           [2., 3., 1.]])
    """
    parts = [np.empty((0, 3))]
    for k, bars in sorted(diagram.items()):
        ends = np.asarray(bars, dtype=np.float64).reshape(-1, 2)
        parts.append(np.column_stack([ends, np.full(len(ends), float(k))]))
    return np.concatenate(parts)


def with_digest(content: dict[str, Any]) -> bytes:
    """The bytes of a file with this content; the digest is computed with zeros in its place.

    Raises
    ------
    ValueError
        If it holds a NaN or an infinity, which JSON does not know.
    """
    text = json.dumps({"sha256": NO_DIGEST, **content}, indent=1, allow_nan=False, sort_keys=False)
    data = (text + "\n").encode()
    digest = hashlib.sha256(data).hexdigest().encode()
    return data[: len(_START)] + digest + data[len(_START) + 64 :]


def read_certificates(data: bytes) -> dict[str, Any]:
    """The content of a file, once its digest and its shape are right.

    Raises
    ------
    ClaimError
        If a bit of it has changed, or it is no such file.
    """
    start, stop = len(_START), len(_START) + 64
    whole = hashlib.sha256(data[:start] + NO_DIGEST.encode() + data[stop:]).hexdigest()
    if not data.startswith(_START) or data[start:stop] != whole.encode():
        raise ClaimError(
            "digest of the file",
            "the file was changed after it was written, or is no file of certificates",
            claimed=data[start:stop].decode("ascii", "replace"),
            derived=whole,
        )
    try:
        content = json.loads(data, parse_constant=_refuse)
        _check_shape(content)
    except (LookupError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise ClaimError("format", f"this is no file of certificates: {error}") from error
    return dict(content)


def _check_shape(content: Any) -> None:
    if not isinstance(content, dict) or set(content) - OPTIONAL_KEYS != KEYS:
        raise ValueError(f"expected an object with the keys {sorted(KEYS)}")
    if content["format"] != FORMAT or isinstance(content["format"], bool):
        raise ValueError(f"its format is {content['format']!r}, and this version reads {FORMAT}")
    for name in ("model", "threat", "unit", "method"):
        if not isinstance(content[name], str):
            raise ValueError(f"{name} is no text")
    if not isinstance(content["closed"], bool) or not isinstance(content["clouds"], list):
        raise ValueError("closed is no truth value, or clouds is no list")
    for i, cloud in enumerate(content["clouds"]):
        if not isinstance(cloud, dict) or set(cloud) != CLOUD_KEYS:
            raise ValueError(f"clouds[{i}] has other keys than {sorted(CLOUD_KEYS)}")
        for name in ("radius", "margin"):
            cloud[name] = float.fromhex(cloud[name])
            if not 0 <= cloud[name] < np.inf:
                raise ValueError(f"the {name} of clouds[{i}] is {cloud[name]!r}")
    if content["constant"] is not None:
        content["constant"] = float.fromhex(content["constant"])


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number")

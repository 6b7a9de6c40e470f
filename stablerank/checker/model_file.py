"""Model files of format 2, read from their bytes: the stages, the tensors, and the digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stablerank.checker.claims import ClaimError

FORMAT = 2
_DIGEST_KEY = rb"{\"sha256\": \""


@dataclass(frozen=True, eq=False)
class Stage:
    """A step before the network, as written: its kind, parameters and fitted values.

    A union has branches instead, each a name and a list of stages.
    """

    kind: str
    parameters: dict[str, Any]
    fitted: dict[str, Any]
    branches: tuple[tuple[str, tuple[Stage, ...]], ...] = ()


@dataclass(frozen=True, eq=False)
class Model:
    """What a file says of a model.

    Attributes
    ----------
    digest : str
        The SHA-256 of the file, with zeros in its place.
    stages : tuple of Stage
        Before the network.
    layer, activation : str
        Kinds of the network's layers.
    hidden : int
        How many hidden layers there are.
    tensors : dict of str to ndarray, float64
        Its weights.
    classes : list
        The labels, in the order of the logits.
    """

    digest: str
    stages: tuple[Stage, ...]
    layer: str
    activation: str
    hidden: int
    tensors: dict[str, NDArray[np.float64]]
    classes: list[Any]


def read_model(data: bytes) -> Model:
    """Read the bytes of a model file.

    Raises
    ------
    ClaimError
        If its digest is not that of its bytes, or it is of another kind.
    """
    start = data.find(_DIGEST_KEY) + len(_DIGEST_KEY)
    stop = start + 64
    whole = hashlib.sha256(data[:start] + b"0" * 64 + data[stop:]).hexdigest()
    if data[start:stop] != whole.encode():
        raise ClaimError(
            "digest of the model",
            "the model's file was changed after it was written, or is no model",
            claimed=data[start:stop].decode("ascii", "replace"),
            derived=whole,
        )
    try:
        return _read(data, whole)
    except (LookupError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise ClaimError("model", f"this model cannot be read: {error!r}") from error


def _read(data: bytes, digest: str) -> Model:
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    description = json.loads(header.pop("__metadata__")["stablerank"])
    if description["format"] != FORMAT:
        raise ValueError(f"its format is {description['format']!r}, not {FORMAT}")
    network = description["network"]
    return Model(
        digest,
        tuple(_stage(own) for own in description["steps"]),
        network["layer"],
        network["activation"],
        len(network["hidden"]),
        {name: _tensor(data[8 + length :], **entry) for name, entry in header.items()},
        list(description["classes"]["values"]),
    )


def _tensor(
    data: bytes, dtype: str, shape: list[int], data_offsets: list[int]
) -> NDArray[np.float64]:
    if dtype != "F64":
        raise ValueError(f"a tensor of {dtype}")
    values = np.frombuffer(data[data_offsets[0] : data_offsets[1]], "<f8").reshape(shape)
    if not np.isfinite(values).all():
        raise ValueError("a weight is not finite")
    return values.astype(np.float64)


def _stage(plain: dict[str, Any]) -> Stage:
    parameters = _values(plain["parameters"])
    if plain["kind"] == "union":
        branches = tuple(
            (str(name), tuple(_stage(own) for own in stages)) for name, stages in plain["branches"]
        )
        return Stage("union", parameters, {}, branches)
    return Stage(plain["kind"], parameters, _values(plain["fitted"]))


def _values(plain: dict[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in plain.items()}


def _value(plain: Any) -> Any:
    if not isinstance(plain, dict):
        return plain
    ((kind, value),) = plain.items()
    if kind == "float":
        return float.fromhex(value)
    if kind == "items":
        return {_value(k): _value(v) for k, v in value}
    if kind == "array":
        numbers = [float.fromhex(number) for number in value["values"]]
        return np.array(numbers, dtype=np.float64).reshape(value["shape"])
    if kind in ("tuple", "list"):
        return [_value(v) for v in value]
    if kind == "stage":
        return _stage(value)
    return plain  # a contour: whoever needs it says whether it is known

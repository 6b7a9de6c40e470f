"""Models as files: one safetensors file with the tensors, and JSON in its header. No pickle.

The file holds the folded float64 weights, bit for bit those that predict and are certified. The
JSON begins with the SHA-256 of the whole file (with zeros in its own place), so that no bit of a
file can change unnoticed. A digest is no signature: whoever writes a file can write any weights,
so everything else in it is checked as well.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as bytes_from_tensors
from sklearn.pipeline import Pipeline

from stablerank.files import write_atomically
from stablerank.nn import LipschitzClassifier, StableRankNetwork
from stablerank.nn.architecture import check_architecture, state_shapes
from stablerank.stage_files import (
    check_dimensions,
    is_field,
    n_features_of,
    plain_parameters,
    plain_stage,
    read_stage,
    restored_parameters,
    starts,
)
from stablerank.stages import LipschitzUnion, starts_from_inputs

if TYPE_CHECKING:
    from stablerank.estimators import StableRankClassifier

FORMAT = 2
_LABELS = {"b", "i", "u", "f", "U"}
_LONGEST_LABEL = 10_000
_NO_DIGEST = "0" * 64
_DIGEST_KEY = rb"{\"sha256\": \""
_ONLY_FOR_TRAINING = {"optimizer", "callbacks", "train_split"}
_KEYS = {
    "model": {"sha256", "format", "parameters", "steps", "network", "classes"},
    "network": {"parameters", "layer", "activation", "hidden", "epsilon", "temperature"},
    "classes": {"dtype", "values"},
}


def save_model(model: StableRankClassifier, path: str | os.PathLike[str]) -> None:
    """Write a fitted model; see :meth:`StableRankClassifier.save`."""
    data = model_bytes(model)
    with write_atomically(path) as file:
        file.write(data)


def model_digest(model: StableRankClassifier) -> str:
    """The SHA-256 that stands in the model's file, whether or not there is one yet."""
    data = model_bytes(model)
    start = _digest_start(data)
    return data[start : start + len(_NO_DIGEST)].decode()


def model_bytes(model: StableRankClassifier) -> bytes:
    """What :func:`save_model` writes.

    Raises
    ------
    ValueError
        If a part of the model cannot be written without pickling.
    """
    *before, classifier = (step for _, step in model._fitted().steps)
    if type(classifier) is not LipschitzClassifier:
        raise ValueError(
            f"Only models that end in a LipschitzClassifier can be saved, not in a "
            f"{type(classifier).__name__}."
        )
    network = classifier.network_
    description = {
        "sha256": _NO_DIGEST,
        "format": FORMAT,
        "parameters": _plain(model.get_params(deep=False)),
        "steps": [plain_stage(step) for step in before],
        "network": {
            "parameters": _plain(classifier.get_params(deep=False)),
            "layer": network.layer,
            "activation": network.activation,
            "hidden": list(network.hidden),
            "epsilon": classifier.epsilon_,
            "temperature": classifier.temperature_,
        },
        "classes": _plain_labels(classifier.classes_),
    }
    text = json.dumps(description, allow_nan=False)
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    data = bytes_from_tensors(state, metadata={"stablerank": text})
    start = _digest_start(data)
    digest = hashlib.sha256(data).hexdigest().encode()
    return data[:start] + digest + data[start + len(digest) :]


def load_model(kind: type[StableRankClassifier], path: str | os.PathLike[str]) -> Any:
    """Read a model; see :meth:`StableRankClassifier.load`."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no model at {path}.")
    data = path.read_bytes()
    try:
        description = _description(data)
    except (LookupError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is no model of stablerank, or it is damaged: {error}. Save it again."
        ) from error
    if description["format"] > FORMAT:
        raise ValueError(
            f"{path} has format {description['format']}, and this version reads up to {FORMAT}: "
            f"upgrade stablerank."
        )
    if description["format"] < FORMAT:
        raise ValueError(
            f"{path} has format {description['format']} of an early version, and this one reads "
            f"format {FORMAT}: fit the model again."
        )
    _check_digest(data, path)
    try:
        return _assemble(kind, description, tensors_from_bytes(data))
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        RuntimeError,
        SafetensorError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(f"{path} is no valid model: {error}") from error


def _description(data: bytes) -> dict[str, Any]:
    """The JSON in the header of a safetensors file: its length in 8 bytes, then the header."""
    length = int.from_bytes(data[:8], "little")
    if not 8 <= length <= len(data) - 8:
        raise ValueError("its header is incomplete")
    header = json.loads(data[8 : 8 + length])
    text = header["__metadata__"]["stablerank"]
    description = json.loads(text, parse_constant=_refuse_constant)
    number = description["format"]
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"its format is {number!r}")
    return dict(description)


def _check_digest(data: bytes, path: Path) -> None:
    start = _digest_start(data)
    stop = start + len(_NO_DIGEST)
    whole = hashlib.sha256(data[:start])
    whole.update(_NO_DIGEST.encode())
    whole.update(data[stop:])
    if start < 0 or data[start:stop] != whole.hexdigest().encode():
        raise ValueError(
            f"{path} is damaged: it does not have the digest that was saved with it. Save it again."
        )


def _digest_start(data: bytes) -> int:
    """Where the digest stands: after its key, which is the first of the JSON."""
    found = data.find(_DIGEST_KEY)
    return found + len(_DIGEST_KEY) if found >= 0 else -1


def _assemble(
    kind: type[StableRankClassifier],
    description: dict[str, Any],
    state: dict[str, torch.Tensor],
) -> StableRankClassifier:
    for name, keys in _KEYS.items():
        found = set(description if name == "model" else description[name])
        if found != keys:
            raise ValueError(f"its {name} has the keys {sorted(found)}: expected {sorted(keys)}.")
    before = [read_stage(step) for step in description["steps"]]
    alone = len(before) == 1 and (isinstance(before[0], LipschitzUnion) or is_field(before[0]))
    if len(before) != (1 if alone else 2) or not all(map(starts_from_inputs, starts(before[0]))):
        raise ValueError(f"its steps are {before!r}.")
    check_dimensions(before)
    classes = _read_labels(**description["classes"])
    n_features = n_features_of(before[-1])
    classifier = _read_classifier(description["network"], n_features, classes, state)
    model = kind(**restored_parameters(description["parameters"]))
    names = ("persistence", "ranks")[: len(before)]
    model.pipeline_ = Pipeline([*zip(names, before, strict=True), ("network", classifier)])
    model.classes_ = classes
    return model


def _read_classifier(
    part: dict[str, Any],
    n_features: int,
    classes: NDArray[Any],
    state: dict[str, torch.Tensor],
) -> LipschitzClassifier:
    classifier = LipschitzClassifier(**restored_parameters(part["parameters"]))
    classifier._check_parameters()
    for name in ("epsilon", "temperature"):
        if not isinstance(part[name], float) or not 0 < part[name] < math.inf:
            raise ValueError(f"{name}={part[name]!r}: expected a positive number.")
    hidden, layer, activation = part["hidden"], part["layer"], part["activation"]
    check_architecture(hidden, layer, activation)
    # before anything is built, since sizes beyond the file's own would fill the memory
    shapes = state_shapes(n_features, hidden, len(classes), layer, activation)
    for name in sorted({*shapes, *state}):
        found = tuple(state[name].shape) if name in state else None
        if found != shapes.get(name):
            raise ValueError(f"{name} has the shape {found}: expected {shapes.get(name)}.")
        if state[name].dtype != torch.float64 or not bool(torch.isfinite(state[name]).all()):
            raise ValueError(f"{name} is not of finite float64 numbers.")
    if not bool((state["standardize.factor"] >= 0).all()):
        raise ValueError("standardize.factor has negative numbers.")
    with torch.random.fork_rng(devices=[]):  # its first weights are random
        network = StableRankNetwork(n_features, len(classes), hidden, layer, activation).folded()
    network.load_state_dict(state)
    classifier.network_, classifier.classes_ = network, classes
    classifier.epsilon_, classifier.temperature_ = part["epsilon"], part["temperature"]
    classifier.n_features_in_ = n_features
    return classifier


def _plain_labels(classes: NDArray[Any]) -> dict[str, Any]:
    longest = 4 * _LONGEST_LABEL if classes.dtype.kind == "U" else 8
    if classes.dtype.kind not in _LABELS or classes.dtype.itemsize > longest:
        raise ValueError(
            f"Labels of dtype {classes.dtype} cannot be saved: use strings of at most "
            f"{_LONGEST_LABEL} characters, or numbers of at most 64 bits."
        )
    return {"dtype": classes.dtype.str, "values": classes.tolist()}


def _read_labels(dtype: str, values: list[Any]) -> NDArray[Any]:
    kind = np.dtype(dtype)
    if kind.kind not in _LABELS or kind.itemsize > 4 * _LONGEST_LABEL:
        raise ValueError(f"its labels have dtype {dtype!r}: expected strings or numbers.")
    types = {"U": str, "b": bool, "f": float}.get(kind.kind, int)
    if not isinstance(values, list) or {type(value) for value in values} != {types}:
        raise ValueError(f"its labels are not of dtype {dtype!r}.")
    classes = np.array(values, dtype=kind)
    if classes.tolist() != values or len(classes) < 2 or (classes[1:] <= classes[:-1]).any():
        raise ValueError("its labels are not two or more, each once, in order.")
    return classes


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters as JSON; without those that only training needs and that JSON cannot hold."""
    kept = {}
    for name, value in parameters.items():
        short = name.rpartition("__")[2]
        number = value is None or isinstance(value, (int, np.integer))
        if short not in _ONLY_FOR_TRAINING and not (short == "random_state" and not number):
            kept[name] = value
    return plain_parameters(kept)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")

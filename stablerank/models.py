"""Models as files: one safetensors file with the tensors, and JSON in its header. No pickle.

The file holds the folded float64 weights, bit for bit those that predict and are certified.
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
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from sklearn.pipeline import Pipeline

from stablerank.diagrams import AlphaPersistence, RipsPersistence
from stablerank.files import write_atomically
from stablerank.nn import LipschitzClassifier, StableRankNetwork
from stablerank.ranks import Contour, StableRank
from stablerank.ranks.contours import contour_from_dict

if TYPE_CHECKING:
    from stablerank.estimators import StableRankClassifier

FORMAT = 1
_FILTRATIONS = {"alpha": AlphaPersistence, "rips": RipsPersistence}
_LABEL_KINDS = "biufU"


def save_model(model: StableRankClassifier, path: str | os.PathLike[str]) -> None:
    """Write a fitted model; see :meth:`StableRankClassifier.save`."""
    persistence, ranks, classifier = (step for _, step in model._fitted().steps)
    kind = next((k for k, c in _FILTRATIONS.items() if type(persistence) is c), None)
    if kind is None or type(ranks) is not StableRank or type(classifier) is not LipschitzClassifier:
        raise ValueError(
            f"Only models of AlphaPersistence or RipsPersistence, StableRank and "
            f"LipschitzClassifier can be saved, not of {type(persistence).__name__}, "
            f"{type(ranks).__name__} and {type(classifier).__name__}."
        )
    classes = model.classes_
    if classes.dtype.kind not in _LABEL_KINDS:
        raise ValueError(
            f"Labels of dtype {classes.dtype} cannot be saved without pickling: use strings or "
            f"numbers."
        )
    network = classifier.network_
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    description = {
        "format": FORMAT,
        "persistence": {
            "kind": kind,
            "parameters": _plain(persistence.get_params()),
            "dimension": persistence.dimension_,
        },
        "ranks": {
            "parameters": _plain(ranks.get_params()),
            "homology_dimensions": list(ranks.homology_dimensions_),
            "n_ranks": [[k, n] for k, n in ranks.n_ranks_.items()],
            "max_bars": [[k, n] for k, n in ranks.max_bars_.items()],
        },
        "network": {
            "layer": classifier.layer,
            "activation": classifier.activation,
            "hidden": [int(width) for width in classifier.hidden],
            "n_features": int(classifier.n_features_in_),
            "loss": classifier.loss,
            "temperature": float(classifier.temperature),
            "offset": float(classifier.offset),
            "epsilon": classifier.epsilon_,
        },
        "classes": {"dtype": classes.dtype.str, "values": classes.tolist()},
        "digest": _digest(state),
    }
    text = json.dumps(description, allow_nan=False)
    with write_atomically(path) as file:
        file.write(safetensors_bytes(state, metadata={"stablerank": text}))


def load_model(kind: type[StableRankClassifier], path: str | os.PathLike[str]) -> Any:
    """Read a model; see :meth:`StableRankClassifier.load`."""
    description, state = _read(Path(path))
    try:
        return _assemble(kind, description, state)
    except (KeyError, TypeError, RuntimeError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} is not a valid model: {error}") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    if not path.exists():
        raise FileNotFoundError(f"There is no model at {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        description = json.loads(metadata["stablerank"])
    except (SafetensorError, KeyError, ValueError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is no model of stablerank, or it is damaged: {error}. Save it again."
        ) from error
    if not isinstance(description, dict) or not isinstance(description.get("format"), int):
        raise ValueError(f"{path} is no model of stablerank: its header has no format.")
    if description["format"] > FORMAT:
        raise ValueError(
            f"{path} has format {description['format']}, and this version reads up to {FORMAT}: "
            f"upgrade stablerank."
        )
    if description.get("digest") != _digest(state):
        raise ValueError(
            f"{path} is damaged: its weights do not have the digest that was saved with them."
        )
    return description, state


def _assemble(
    kind: type[StableRankClassifier],
    description: dict[str, Any],
    state: dict[str, torch.Tensor],
) -> StableRankClassifier:
    part = description["persistence"]
    if part["kind"] not in _FILTRATIONS:
        raise ValueError(f"Unknown filtration {part['kind']!r} in the file.")
    parameters = _restored(part["parameters"])
    persistence: Any = _FILTRATIONS[part["kind"]](**parameters)
    persistence._check_parameters()
    persistence.dimension_ = part["dimension"]

    part = description["ranks"]
    ranks = StableRank(**_restored(part["parameters"]))
    ranks.homology_dimensions_ = tuple(int(k) for k in part["homology_dimensions"])
    ranks.n_ranks_ = {int(k): int(n) for k, n in part["n_ranks"]}
    ranks.max_bars_ = {int(k): int(n) for k, n in part["max_bars"]}
    ranks.n_features_out_ = sum(ranks.n_ranks_.values())

    part = description["network"]
    classes = np.array(description["classes"]["values"], dtype=description["classes"]["dtype"])
    if classes.dtype.kind not in _LABEL_KINDS or len(classes) < 2:
        raise ValueError("The file's labels are neither strings nor numbers, or fewer than two.")
    classifier = LipschitzClassifier(
        epsilon=part["epsilon"],
        loss=part["loss"],
        temperature=part["temperature"],
        offset=part["offset"],
        hidden=tuple(part["hidden"]),
        layer=part["layer"],
        activation=part["activation"],
    )
    if ranks.n_features_out_ != part["n_features"]:
        raise ValueError("The file's ranks do not fit its network.")
    network = StableRankNetwork(
        n_features=part["n_features"],
        n_classes=len(classes),
        hidden=part["hidden"],
        layer=part["layer"],
        activation=part["activation"],
    ).folded()
    if any(tensor.dtype != torch.float64 for tensor in state.values()):
        raise ValueError("The file's weights are not float64.")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise ValueError("The file's weights are not finite.")
    network.load_state_dict(state, strict=True)
    classifier.network_ = network
    classifier.classes_ = classes
    classifier.epsilon_ = part["epsilon"]
    classifier.n_features_in_ = part["n_features"]

    model = kind(
        epsilon=part["epsilon"],
        loss=part["loss"],
        temperature=part["temperature"],
        persistence=description["persistence"]["kind"],
        homology_dimensions=persistence.homology_dimensions,
        p=ranks.p,
        n_ranks=ranks.n_ranks,
        contour=ranks.contour,
        n_jobs=persistence.n_jobs,
        network__offset=part["offset"],
        network__hidden=tuple(part["hidden"]),
        network__layer=part["layer"],
        network__activation=part["activation"],
        **{
            f"persistence__{name}": value
            for name, value in parameters.items()
            if name not in ("homology_dimensions", "n_jobs")
        },
        ranks__max_bars=ranks.max_bars,
    )
    steps = [("persistence", persistence), ("ranks", ranks), ("network", classifier)]
    model.pipeline_ = Pipeline(steps)
    model.classes_ = classes
    return model


def _digest(state: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name]
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters as JSON: infinities as strings, contours and dicts by their parts."""
    plain: dict[str, Any] = {}
    for name, value in parameters.items():
        if isinstance(value, Contour):
            plain[name] = {"contour": value.to_dict()}
        elif isinstance(value, dict):
            plain[name] = {"items": [[int(k), int(v)] for k, v in value.items()]}
        elif isinstance(value, (tuple, list)):
            plain[name] = {"tuple": [int(v) for v in value]}
        elif isinstance(value, (float, np.floating)) and not isinstance(value, int):
            plain[name] = {"float": float(value).hex() if math.isfinite(value) else str(value)}
        elif isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            plain[name] = int(value)
        elif value is None or isinstance(value, str):
            plain[name] = value
        else:
            raise ValueError(f"{name}={value!r} cannot be written as JSON.")
    return plain


def _restored(parameters: dict[str, Any]) -> dict[str, Any]:
    restored: dict[str, Any] = {}
    for name, value in parameters.items():
        if not isinstance(value, dict):
            restored[name] = value
        elif "contour" in value:
            restored[name] = contour_from_dict(value["contour"])
        elif "items" in value:
            restored[name] = {int(k): int(v) for k, v in value["items"]}
        elif "tuple" in value:
            restored[name] = tuple(int(v) for v in value["tuple"])
        else:
            text = value["float"]
            restored[name] = float(text) if text in ("inf", "-inf") else float.fromhex(text)
    return restored

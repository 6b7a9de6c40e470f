"""Stages as plain data for JSON, and back: filtrations, vectorizers, and unions of them.

What is written are parameters and fitted attributes, by name; what is read is put through the same
checks as what a user sets, and asked for the vector of an empty diagram. Nothing is pickled.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from stablerank.diagrams import (
    AlphaPersistence,
    AnisotropicPersistence,
    CachedPersistence,
    CubicalPersistence,
    DiagramBatch,
    DistanceToMeasurePersistence,
    LandmarkPersistence,
    RipsPersistence,
)
from stablerank.diagrams.grid import check_box
from stablerank.fields import DistanceField, SortedNeighbourDistances
from stablerank.learned import LearnedStableRank, LearnedTemplates
from stablerank.ranks import (
    Contour,
    HalfLengths,
    Landscapes,
    PersistenceImages,
    PersLaySums,
    StableRank,
    Windows,
)
from stablerank.ranks.contour_files import CONTOURS, contour_from_dict
from stablerank.ranks.sums import BarSums
from stablerank.stages import LipschitzUnion, pipeline_stages

_FILTRATIONS: dict[str, Any] = {
    "alpha": AlphaPersistence,
    "rips": RipsPersistence,
    "distance to measure": DistanceToMeasurePersistence,
    "cubical": CubicalPersistence,
    "anisotropic": AnisotropicPersistence,
    "landmarks": LandmarkPersistence,
}
_VECTORIZERS: dict[str, Any] = {
    "stable ranks": StableRank,
    "half lengths": HalfLengths,
    "landscapes": Landscapes,
    "windows": Windows,
    "persistence images": PersistenceImages,
    "learned stable ranks": LearnedStableRank,
    "learned templates": LearnedTemplates,
    "PersLay sums": PersLaySums,
}
_FIELDS: dict[str, Any] = {
    "distance field": DistanceField,
    "sorted neighbour distances": SortedNeighbourDistances,
}
_UNION = "union"
_STAGE_KEYS = {"kind", "parameters", "fitted"}


def plain_stage(stage: Any) -> dict[str, Any]:
    """A stage, fitted or not, as plain data; of a cache the filtration inside.

    Raises
    ------
    ValueError
        If it is of another class, or a parameter is of a type that JSON cannot hold.
    """
    if type(stage) is LipschitzUnion:
        parameters = stage.get_params(deep=False)
        branches = [
            [name, [plain_stage(own) for own in pipeline_stages(branch)]]
            for name, branch in parameters.pop("transformer_list")
        ]
        return {"kind": _UNION, "parameters": plain_parameters(parameters), "branches": branches}
    if type(stage) is CachedPersistence:  # where it caches is no part of the model
        return plain_stage(getattr(stage, "filtration_", stage.filtration))
    kinds = {**_FILTRATIONS, **_VECTORIZERS, **_FIELDS}
    kind = next((name for name, own in kinds.items() if type(stage) is own), None)
    if kind is None:
        names = ", ".join(own.__name__ for own in kinds.values())
        raise ValueError(
            f"Only {names} and LipschitzUnion can be saved, and LipschitzClassifier behind them, "
            f"not {type(stage).__name__}."
        )
    fitted = {
        name: value
        for name, value in vars(stage).items()
        if name.endswith("_") and not name.startswith("_")
    }
    parameters = stage.get_params(deep=False)
    seed = parameters.get("random_state")
    if seed is not None and not _is_integer(seed):  # a generator, which only training needs
        parameters["random_state"] = None
    return {
        "kind": kind,
        "parameters": plain_parameters(parameters),
        "fitted": plain_parameters(fitted),
    }


def read_stage(plain: dict[str, Any]) -> Any:
    """The inverse of :func:`plain_stage`.

    Raises
    ------
    ValueError, TypeError, LookupError
        If it is not the data of a stage.
    """
    if plain.get("kind") == _UNION:
        if set(plain) != {"kind", "parameters", "branches"}:
            raise ValueError(f"a union has the keys {sorted(plain)}")
        branches = [
            (_text(name), _branch([read_stage(own) for own in stages]))
            for name, stages in plain["branches"]
        ]
        union = LipschitzUnion(branches, **restored_parameters(plain["parameters"]))
        union._validate_transformers()
        return union
    if set(plain) != _STAGE_KEYS:
        raise ValueError(f"a step has the keys {sorted(plain)}: expected {sorted(_STAGE_KEYS)}")
    kind = plain["kind"]
    parameters = restored_parameters(plain["parameters"])
    fitted = restored_parameters(plain["fitted"])
    if kind in _FILTRATIONS:
        stage: Any = _FILTRATIONS[kind](**parameters)
        stage._check_parameters()
        if fitted:
            _check_fitted_filtration(stage, fitted)
    elif kind in _FIELDS:
        stage = _FIELDS[kind](**parameters)
        stage._check_parameters()
        if fitted:
            _check_fitted_field(stage, fitted)
    elif kind in _VECTORIZERS:
        stage = _VECTORIZERS[kind](**parameters)
        if fitted:
            _check_fitted_vectorizer(stage, fitted)
    else:
        raise ValueError(f"it has a step of the unknown kind {kind!r}.")
    for name, value in fitted.items():
        setattr(stage, name, value)
    if isinstance(stage, BarSums) and fitted:
        stage._check_fitted()
    if kind in _VECTORIZERS and fitted:
        _check_empty_vector(stage)
    return stage


def plain_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """Named values as plain data.

    Raises
    ------
    ValueError
        Naming the one that JSON cannot hold.
    """
    plain: dict[str, Any] = {}
    for name, value in parameters.items():
        try:
            plain[name] = _plain_value(value)
        except TypeError:
            raise ValueError(f"{name}={value!r} cannot be saved without pickling.") from None
    return plain


def restored_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """The inverse of :func:`plain_parameters`."""
    return {_text(name): _restored_value(value) for name, value in parameters.items()}


def is_count(value: Any) -> bool:
    """Whether a value is an integer above 0, and one that float64 holds."""
    return _is_integer(value) and 0 < value < 2**53


def starts(stage: Any) -> list[Any]:
    """The filtrations of a step: itself, or the first stages of a union's branches."""
    if isinstance(stage, LipschitzUnion):
        return [stages[0] for _, stages in stage.branches()]
    return [stage]


def is_field(stage: Any) -> bool:
    """Whether a stage makes vectors of clouds itself, without diagrams."""
    return type(stage) in _FIELDS.values()


def check_dimensions(stages: list[Any]) -> None:
    """Raise unless every vectorizer was fitted on the diagrams of the filtration before it."""
    if is_field(stages[0]):
        if len(stages) > 1 or not hasattr(stages[0], "dimension_"):
            raise ValueError("its field was not fitted, or has something behind it.")
        return
    if isinstance(stages[0], LipschitzUnion):
        for _, own in stages[0].branches():
            check_dimensions(own)
        return
    filtration, vectorizers = stages[0], stages[1:]
    for vectorizer in vectorizers:
        if not hasattr(filtration, "dimension_"):
            raise ValueError("its filtration was not fitted: it has no dimension.")
        parts = (
            [own[-1] for _, own in vectorizer.branches()]
            if isinstance(vectorizer, LipschitzUnion)
            else [vectorizer]
        )
        dimensions = tuple(sorted(filtration.homology_dimensions))
        if any(part.homology_dimensions_ != dimensions for part in parts):
            raise ValueError(
                "the homology dimensions of its ranks are not those of its filtration."
            )


def n_features_of(stage: Any) -> int:
    """How long the vectors of a vectorizer or a union are."""
    if isinstance(stage, LipschitzUnion):
        return sum(n_features_of(stages[-1]) for _, stages in stage.branches())
    return int(stage.n_features_out_)


def _branch(stages: list[Any]) -> Any:
    if len(stages) == 1:
        return stages[0]
    return Pipeline([(type(stage).__name__.lower(), stage) for stage in stages])


def _check_fitted_filtration(stage: Any, fitted: dict[str, Any]) -> None:
    expected = {"dimension_"}
    if isinstance(stage, DistanceToMeasurePersistence):
        expected = {"dimension_", "box_"}
    if isinstance(stage, (AnisotropicPersistence, LandmarkPersistence)):
        expected = {"dimension_", "mapped_filtration_"}
    if set(fitted) != expected:
        raise ValueError(f"a filtration has {sorted(fitted)}: expected {sorted(expected)}")
    dimension = fitted["dimension_"]
    without = getattr(stage, "metric", None) == "precomputed"
    if (dimension is None) != without or not (without or is_count(dimension)):
        raise ValueError(f"its clouds have the dimension {dimension!r}.")
    if "box_" in fitted:
        _check_corners(fitted["box_"], dimension)
    if isinstance(stage, AnisotropicPersistence):
        rows, columns = np.asarray(stage.matrix).shape
        _check_inner_filtration(stage, fitted["mapped_filtration_"], rows)
        if columns != dimension:
            raise ValueError("its dimension does not fit its matrix")
    if isinstance(stage, LandmarkPersistence):
        _check_inner_filtration(stage, fitted["mapped_filtration_"], dimension)


def _check_fitted_field(stage: Any, fitted: dict[str, Any]) -> None:
    on_a_grid = isinstance(stage, DistanceField)
    expected = {"dimension_", "n_features_out_"} | ({"box_"} if on_a_grid else set())
    if set(fitted) != expected:
        raise ValueError(f"a field has {sorted(fitted)}: expected {sorted(expected)}")
    dimension = fitted["dimension_"]
    if not is_count(dimension):
        raise ValueError(f"its clouds have the dimension {dimension!r}.")
    if on_a_grid:
        _check_corners(fitted["box_"], dimension)
    count = stage._count_features(dimension)
    if fitted["n_features_out_"] != count:
        raise ValueError(f"it claims {fitted['n_features_out_']!r} features, and has {count}.")


def _check_corners(box: Any, dimension: int) -> None:
    if not isinstance(box, np.ndarray) or box.shape != (2, dimension):
        raise ValueError(f"its box is {box!r}: expected two corners in R^{dimension}.")
    check_box(box, dimension)


def _check_inner_filtration(stage: Any, inner: Any, dimension: int) -> None:
    """The filtration that was fitted is the one that was to be, for points of the right space."""
    given = stage.filtration
    same = type(inner) is type(given) and plain_parameters(
        inner.get_params(deep=False)
    ) == plain_parameters(given.get_params(deep=False))
    if not same or getattr(inner, "dimension_", None) != dimension:
        raise ValueError("its filtration does not fit its clouds, or is another than its parameter")


def _check_fitted_vectorizer(stage: Any, fitted: dict[str, Any]) -> None:
    dimensions = fitted.get("homology_dimensions_")
    if not isinstance(dimensions, tuple) or not all(_is_integer(k) and k >= 0 for k in dimensions):
        raise ValueError(f"its homology dimensions are {dimensions!r}.")
    stage.fit([{k: np.empty((0, 2)) for k in dimensions}])  # checks the parameters
    expected = {name for name in vars(stage) if name.endswith("_") and not name.startswith("_")}
    if set(fitted) != expected:
        raise ValueError(f"a vectorizer has {sorted(fitted)}: expected {sorted(expected)}")
    if not is_count(fitted["n_features_out_"]):
        raise ValueError(f"it has {fitted['n_features_out_']!r} features.")
    for name in expected - {"homology_dimensions_", "n_features_out_"}:
        _check_by_dimension(name, fitted[name], dimensions, getattr(stage, name))


def _check_by_dimension(
    name: str, values: Any, dimensions: tuple[int, ...], example: dict[int, Any]
) -> None:
    """A dict with a count, a threshold, a finite array or a contour, as the example, for each."""
    if not isinstance(values, dict) or tuple(values) != dimensions:
        raise ValueError(f"{name}={values!r}: expected one entry for each homology dimension.")
    for k, value in values.items():
        if isinstance(example[k], np.ndarray):
            good = (
                isinstance(value, np.ndarray)
                and value.ndim == example[k].ndim
                and value.shape[1:] == example[k].shape[1:]
                and bool(np.isfinite(value).all())
            )
        elif isinstance(example[k], float):
            good = isinstance(value, float) and 0 <= value < math.inf
        elif isinstance(example[k], Contour):
            good = type(value) is type(example[k])
        else:
            good = is_count(value)
        if not good:
            raise ValueError(f"{name}[{k}]={value!r} is no such thing.")


def _check_empty_vector(stage: Any) -> None:
    """A vectorizer that was read makes a vector of the length that it claims."""
    nothing = [{k: np.empty((0, 2)) for k in stage.homology_dimensions_}]
    claimed = n_features_of(stage)
    counts = [
        sum(value.values())
        for name, value in vars(stage).items()
        if name in ("n_ranks_", "n_levels_")
    ]
    if sum(counts) > claimed:  # before anything is built, since it would fill the memory
        raise ValueError(f"it claims {claimed} features, and has {sum(counts)}.")
    found = stage.transform(DiagramBatch.from_diagrams(nothing)).shape
    if found != (1, claimed):
        raise ValueError(f"its vectors have {found[1]} entries: expected {claimed}.")


def _plain_value(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool)):
        return value
    if _is_integer(value):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return {"float": float(value).hex()}
    if type(value) in CONTOURS.values():
        return {"contour": value.to_dict()}
    if hasattr(value, "get_params") and not isinstance(value, type):
        return {"stage": plain_stage(value)}
    if isinstance(value, dict):
        return {"items": [[_plain_value(k), _plain_value(v)] for k, v in value.items()]}
    if isinstance(value, np.ndarray):
        flat = value.astype(np.float64).ravel().tolist()
        return {"array": {"shape": list(value.shape), "values": [v.hex() for v in flat]}}
    if isinstance(value, (tuple, list)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_plain_value(v) for v in value]}
    raise TypeError


def _restored_value(plain: Any) -> Any:
    if not isinstance(plain, dict):
        if not (plain is None or isinstance(plain, (str, int))):
            raise ValueError(f"{plain!r} is no value of a parameter.")
        return plain
    ((kind, value),) = plain.items()
    if kind == "float":
        return float.fromhex(value)
    if kind == "contour":
        return contour_from_dict(value)
    if kind == "stage":
        return read_stage(value)
    if kind == "items":
        return {_restored_value(k): _restored_value(v) for k, v in value}
    if kind == "array":
        return _restored_array(**value)
    if kind not in ("tuple", "list"):
        raise ValueError(f"{kind!r} is no kind of parameter.")
    values = [_restored_value(v) for v in value]
    return tuple(values) if kind == "tuple" else values


def _restored_array(shape: list[int], values: list[str]) -> NDArray[np.float64]:
    if not all(_is_integer(n) and n >= 0 for n in shape) or math.prod(shape) != len(values):
        raise ValueError(f"an array of {len(values)} numbers has the shape {shape!r}.")
    return np.array([float.fromhex(value) for value in values]).reshape(shape)


def _text(name: Any) -> str:
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is no name.")
    return name


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)

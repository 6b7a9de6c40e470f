"""Saved models: the same bits again, or an error; never code, never half of a file."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline, make_pipeline
from skorch.callbacks import EarlyStopping
from skorch.dataset import ValidSplit

from stablerank import (
    AlphaPersistence,
    CachedPersistence,
    DistanceContour,
    DistanceToMeasurePersistence,
    HalfLengths,
    Landscapes,
    LipschitzUnion,
    RipsPersistence,
    StableRank,
    StableRankClassifier,
    Windows,
)
from stablerank.diagrams.filtration import Filtration

N = 24
QUICK: dict[str, Any] = {"max_epochs": 2, "random_state": 0, "network__hidden": (8, 4)}


def make_clouds(seed: int = 0) -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(20 + i, 2)) * (1 + i % 3) for i in range(N)]


X = make_clouds()
Y = np.array(["a", "b", "c"])[np.arange(N) % 3]


def fit(labels: Any = Y, **settings: Any) -> StableRankClassifier:
    return StableRankClassifier(**{**QUICK, **settings}).fit(X, labels)


@pytest.fixture(scope="module")
def model() -> StableRankClassifier:
    return fit()


@pytest.fixture
def path(model: StableRankClassifier, tmp_path: Path) -> Path:
    model.save(tmp_path / "model.srn")
    return tmp_path / "model.srn"


def load(path: Path) -> StableRankClassifier:
    return StableRankClassifier.load(path)


def same(a: Any, b: Any) -> bool:
    if hasattr(a, "get_params"):
        return type(a) is type(b) and str(a) == str(b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return bool(a.dtype == b.dtype and a.shape == b.shape and (a == b).all())
    return type(a) is type(b) and bool(a == b)


def assert_same_model(a: StableRankClassifier, b: StableRankClassifier, clouds: Any = X) -> None:
    """To the last bit: what is predicted, certified, and said of constants and parameters."""
    threat = "sup" if a.get_params().get("persistence__metric") == "precomputed" else "per_point"
    for name in ("predict", "decision_function", "predict_proba"):
        assert same(getattr(a, name)(clouds), getattr(b, name)(clouds)), name
    certificates, others = (m.certify(clouds, threat=threat) for m in (a, b))
    assert same(certificates.radius, others.radius)
    assert same(certificates.margin, others.margin)
    assert a.stability_ == b.stability_
    assert same(a.classes_, b.classes_)
    for one, other in zip(a.pipeline_.named_steps.values(), b.pipeline_.named_steps.values(),
                          strict=True):  # fmt: skip
        own, others_ = one.get_params(), other.get_params()
        assert own.keys() == others_.keys()
        assert all(same(own[name], others_[name]) for name in own)
    for tensor, other in zip(
        a.pipeline_[-1].network_.state_dict().values(),
        b.pipeline_[-1].network_.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(tensor, other)


# Round trips.

SETTINGS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "p = 2 and ranks by dimension": {"p": 2, "n_ranks": {0: 5, 1: 3}},
    "p = 2.5, bars, one dimension": {"p": 2.5, "ranks__max_bars": 7, "homology_dimensions": [1]},
    "a contour": {"contour": DistanceContour([0.1, 0.3], [0.1, 0.2], [0.3, 1e-17], floor=0.1)},
    "Rips": {"persistence": "rips", "homology_dimensions": (0,)},
    "a filtration": {"persistence": AlphaPersistence((0,)), "persistence__n_jobs": 1},
    "distances": {"network__layer": "linf-distance", "network__hidden": (3,)},
    "order statistics": {"network__layer": "sortnet", "network__hidden": (3,)},
    "reflections": {"network__layer": "bro", "network__activation": "householder"},
    "residual layers": {"network__layer": "sll", "network__hidden": (3, 3)},
    "power iteration": {"network__layer": "spectral"},
    "abs": {"network__activation": "abs", "network__hidden": (3,)},
    "groupsort": {"network__activation": "groupsort"},
    "no hidden layer": {"network__hidden": ()},
    "margin": {"loss": "margin", "temperature": 3.0, "epsilon": 0.1, "network__offset": 0.5},
    "landscapes": {"ranks": Landscapes(3, 2)},
    "several ranks": {
        "ranks": LipschitzUnion([("lengths", StableRank(n_ranks=3)), ("windows", Windows(2, 2))]),
    },
    "several filtrations": {
        "persistence": LipschitzUnion(
            [
                ("alpha", make_pipeline(AlphaPersistence(), StableRank(n_ranks=3))),
                (
                    "grid",
                    make_pipeline(
                        DistanceToMeasurePersistence(3, resolution=6), HalfLengths(n_levels=2)
                    ),
                ),
            ]
        ),
        "persistence__alpha__stablerank__p": 2,
    },
    "distance to measure": {
        "persistence": DistanceToMeasurePersistence(3, resolution=6, box=((-3, -3), (3, 3))),
    },
    "boxes": {"certified_training": "box", "epsilon": 0.01, "network__clean_weight": 0.5},
    "free": {"network__layer": "free", "network__activation": "relu"},
    "offset": {"loss": "offset", "network__offset": 1.0},
    "constants": {"n_ranks": 1, "network__constants": [0.1, 3.0], "verbose": False},
    "NumPy's numbers": {
        "p": np.float64(3.0),
        "n_ranks": np.int64(4),
        "temperature": np.float32(0.1),
        "random_state": np.int64(3),
    },
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=list(SETTINGS))
def test_a_loaded_model_is_the_saved_one(settings: dict[str, Any], tmp_path: Path) -> None:
    saved = fit(**settings)
    saved.save(tmp_path / "new folder" / "model.srn")
    generator = torch.get_rng_state()
    loaded = load(tmp_path / "new folder" / "model.srn")
    assert torch.equal(torch.get_rng_state(), generator)
    if settings is not SETTINGS["NumPy's numbers"]:
        assert_same_model(saved, loaded)
        assert str(loaded) == str(saved)
    own, others = saved.get_params(deep=False), loaded.get_params(deep=False)
    assert own.keys() == others.keys()
    for name in own.keys() - {"persistence", "ranks"}:
        assert own[name] == others[name]
    assert type(own["persistence"]) is type(others["persistence"])
    # training goes on from there as it did
    assert same(clone(loaded).fit(X, Y).decision_function(X), saved.decision_function(X))
    # and saving it again gives the same file
    loaded.save(tmp_path / "again.srn")
    again = (tmp_path / "again.srn").read_bytes()
    assert again == (tmp_path / "new folder" / "model.srn").read_bytes()


def test_a_cache_is_saved_as_what_it_caches(tmp_path: Path) -> None:
    # It used to be refused: a model of a grid search could not be saved.
    saved = fit(persistence=CachedPersistence(AlphaPersistence((0,)), tmp_path / "cache"))
    saved.save(tmp_path / "a")
    loaded = load(tmp_path / "a")
    assert type(loaded.pipeline_[0]) is AlphaPersistence
    assert same(loaded.decision_function(X), saved.decision_function(X))
    assert same(loaded.certify(X).radius, saved.certify(X).radius)


def test_a_model_of_dissimilarities(tmp_path: Path) -> None:
    matrices = [np.abs(np.subtract.outer(cloud[:12, 0], cloud[:12, 0])) for cloud in X]
    settings = {"persistence": RipsPersistence((0,), metric="precomputed")}
    saved = StableRankClassifier(**{**QUICK, **settings}).fit(matrices, Y)
    saved.save(tmp_path / "a")
    loaded = load(tmp_path / "a")
    assert loaded.pipeline_[0].dimension_ is None
    assert same(loaded.decision_function(matrices), saved.decision_function(matrices))
    radii = (m.certify(matrices, threat="sup").radius for m in (saved, loaded))
    assert same(*radii)


@pytest.mark.parametrize(
    "labels",
    [
        [3, 1, 2],
        [-5, 0, 10**15],
        [False, True, True],
        [0.0, 2.0, -3.0],
        ["yes", "Čech ≤ ε", "\U0001f600"],
        ["", '"\\', "a\nb"],
        ["0" * 64, '{"sha256": "', "\ud800"],
        np.array([0, 1, 2], dtype=np.uint8),
        np.array([2**64 - 1, 1, 2], dtype=np.uint64),
        np.array([1.0, 2.0, 3.0], dtype=np.float16),
        np.array([1, 2, 3], dtype=">i4"),
        np.array(["a", "b", "c"], dtype="U40"),
    ],
    ids=repr,
)
def test_labels_come_back_as_they_were(labels: Any, tmp_path: Path) -> None:
    saved = fit(np.asarray(labels)[np.arange(N) % 3], n_ranks=2)
    saved.save(tmp_path / "a")
    loaded = load(tmp_path / "a")
    assert same(loaded.classes_, saved.classes_)
    assert same(loaded.predict(X), saved.predict(X))


def test_what_only_training_needs_is_left_out(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    saved = fit(
        random_state=generator,
        network__optimizer=torch.optim.SGD,
        network__callbacks=[EarlyStopping("train_loss")],
        network__train_split=ValidSplit(2),
    )
    saved.save(tmp_path / "a")
    loaded = load(tmp_path / "a")
    assert same(loaded.decision_function(X), saved.decision_function(X))
    parameters = loaded.get_params(deep=False)
    assert parameters["random_state"] is None
    assert not {"network__optimizer", "network__callbacks", "network__train_split"} & {*parameters}
    assert parameters["network__hidden"] == (8, 4)
    assert not hasattr(loaded.pipeline_[-1], "net_")


def test_parameters_that_changed_after_fit_do_not_spoil_the_file(tmp_path: Path) -> None:
    # The file used to say the network had the widths of the parameter.
    saved = fit()
    saved.pipeline_[-1].set_params(hidden=(2,), activation="abs")
    saved.set_params(temperature=7.0)
    saved.save(tmp_path / "a")
    loaded = load(tmp_path / "a")
    assert_same_model(saved, loaded)
    assert loaded.temperature == 7.0


def test_subclasses_load_as_themselves(path: Path) -> None:
    class Own(StableRankClassifier):
        pass

    assert type(Own.load(path)) is Own
    assert type(StableRankClassifier.load(str(path))) is StableRankClassifier


def test_a_file_can_be_read_where_it_cannot_be_written(
    path: Path, model: StableRankClassifier
) -> None:
    path.chmod(0o400)
    assert_same_model(load(path), model)


# Damage.


def test_every_truncation_is_noticed(path: Path) -> None:
    data = path.read_bytes()
    load(path)
    for size in (*range(0, len(data), 200), len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match="damaged"):
            load(path)
    path.write_bytes(data + b" ")
    with pytest.raises(ValueError, match="damaged"):
        load(path)


def test_every_flipped_bit_is_noticed(path: Path, seed: int) -> None:
    # Those of the description, beside the weights, used to pass: a radius could be another.
    data = path.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    rng = np.random.default_rng(seed)
    places = [*range(8), *rng.integers(header, size=300), *rng.integers(len(data), size=200)]
    start = data.find(b"sha256") + len(b'sha256\\": \\"')
    for place in (*places, *range(start, start + 64)):  # and in the digest itself
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"damaged|upgrade stablerank"):
            load(path)


def test_swapped_weights_are_noticed(path: Path) -> None:
    data = path.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    weights = data[header:]
    path.write_bytes(data[:header] + weights[8:] + weights[:8])
    with pytest.raises(ValueError, match="does not have the digest that was saved with it"):
        load(path)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_kill_while_saving_leaves_the_old_file(path: Path, model: StableRankClassifier) -> None:
    script = (
        "import os, signal, sys\n"
        "from stablerank import StableRankClassifier\n"
        "model = StableRankClassifier.load(sys.argv[1])\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "model.pipeline_[-1].network_.head.bias.add_(1.0)\n"
        "model.save(sys.argv[1])\n"
    )
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", script, path], timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == before
    assert_same_model(load(path), model)


def test_an_error_while_saving_leaves_the_old_file(
    path: Path, model: StableRankClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("no space left on device")

    before = path.read_bytes()
    other = pickle.loads(pickle.dumps(model))
    other.pipeline_[-1].network_.head.bias.add_(1.0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(OSError, match="no space"):
            other.save(path)
    assert os.listdir(path.parent) == ["model.srn"]
    assert path.read_bytes() == before
    other.save(path)
    assert path.read_bytes() != before


# Files with a right digest, written by somebody else.


def parts(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The description and the tensors of a file, by the format alone."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    text = json.loads(data[8 : 8 + size])["__metadata__"]["stablerank"]
    return json.loads(text), load_tensors(data)


def write(path: Path, description: Any, tensors: dict[str, torch.Tensor]) -> None:
    """Sign it: SHA-256 of the file with 64 zeros where it shall stand."""
    zeros = "0" * 64
    text = description if isinstance(description, str) else json.dumps(description)
    data = save_tensors(tensors, metadata={"stablerank": text.replace("DIGEST", zeros)})
    digest = hashlib.sha256(data).hexdigest()
    path.write_bytes(data.replace(zeros.encode(), digest.encode(), 1))


Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], None]


def changed(path: Path, change: Change) -> None:
    description, tensors = parts(path)
    description["sha256"] = "DIGEST"
    change(description, tensors)
    write(path, description, tensors)


def test_the_format_is_as_described(path: Path, model: StableRankClassifier) -> None:
    before = path.read_bytes()
    changed(path, lambda description, tensors: None)
    assert path.read_bytes() == before
    assert_same_model(load(path), model)
    description, tensors = parts(path)
    assert next(iter(description)) == "sha256"
    assert description["format"] == 2
    assert tensors.keys() == model.pipeline_[-1].network_.state_dict().keys()
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float64}


def setting(*keys: Any) -> Callable[[Any], Change]:
    """A change of the description at these keys."""

    def to(value: Any) -> Change:
        def change(description: dict[str, Any], _: dict[str, torch.Tensor]) -> None:
            place = description
            for key in keys[:-1]:
                place = place[key]
            place[keys[-1]] = value

        return change

    return to


def without(*keys: Any) -> Change:
    def change(description: dict[str, Any], _: dict[str, torch.Tensor]) -> None:
        place = description
        for key in keys[:-1]:
            place = place[key]
        del place[keys[-1]]

    return change


def tensor(name: str, new: Callable[[torch.Tensor], torch.Tensor | None]) -> Change:
    def change(_: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        value = new(tensors.pop(name) if name in tensors else torch.zeros(1))
        if value is not None:
            tensors[name] = value.contiguous()

    return change


def filled(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda t: t.index_fill(0, torch.tensor([0]), value)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"tuple": [value]}
    return value


HOSTILE: dict[str, tuple[Change, str]] = {
    "newer": (setting("format")(3), "has format 3, and this version reads up to 2: upgrade"),
    "older": (setting("format")(1), "has format 1 of an early version, and this one reads"),
    "format 0": (setting("format")(0), "its format is 0"),
    "format true": (setting("format")(True), "its format is True"),
    "format as text": (setting("format")("1"), "its format is '1'"),
    "no format": (without("format"), "'format'"),
    "unknown key": (setting("run")("rm -rf"), "its model has the keys"),
    "unknown key of the network": (setting("network", "code")("1"), "its network has the keys"),
    "no classes": (without("classes"), "its model has the keys"),
    "no epsilon": (without("network", "epsilon"), "its network has the keys"),
    "ranks that are none": (setting("steps", 1)(None), "has no attribute 'get'"),
    "no steps": (setting("steps")([]), "its steps are []"),
    "the network twice": (lambda d, _: d["steps"].append(d["steps"][1]), "its steps are ["),
    "steps turned": (lambda d, _: d["steps"].reverse(), "its steps are [StableRank"),
    "unknown filtration": (setting("steps", 0, "kind")("os.system"), "unknown kind 'os.system'"),
    "a list for a filtration": (setting("steps", 0, "kind")([]), "unhashable"),
    "unknown key of a step": (setting("steps", 0, "code")("1"), "a step has the keys"),
    "not fitted": (setting("steps", 0, "fitted")({}), "dimension"),
    "fitted to more": (setting("steps", 0, "fitted", "transform")("1"), "a filtration has ["),
    "ranks fitted to more": (setting("steps", 1, "fitted", "fit_")(1), "a vectorizer has ["),
    "an array without a shape": (
        setting("steps", 1, "fitted", "n_ranks_")({"array": {"shape": [2], "values": []}}),
        "an array of 0 numbers has the shape [2]",
    ),
    "unknown parameter": (setting("parameters", "exec")("1"), "'exec' is no parameter of"),
    "class as parameter": (setting("parameters", "__class__")("1"), "is no parameter of"),
    "unknown parameter of the step": (
        setting("steps", 1, "parameters", "q")(1),
        "unexpected keyword",
    ),
    "unknown kind of value": (
        setting("steps", 1, "parameters", "p")({"eval": "1"}),
        "'eval' is no",
    ),
    "p = NaN": (
        setting("steps", 1, "parameters", "p")({"float": "nan"}),
        "p=nan is not the exponent",
    ),
    "p as text": (setting("steps", 1, "parameters", "p")("2"), "p='2' is not the exponent"),
    "unknown contour": (
        setting("steps", 1, "parameters", "contour")({"contour": {"contour": "pickle"}}),
        "contour='pickle' is not one that can be read",
    ),
    "nested values": (setting("steps", 1, "parameters", "p")(nested(300)), "not the exponent of a"),
    "dimension": (setting("steps", 0, "fitted", "dimension_")(-1), "have the dimension -1"),
    "dimension as text": (
        setting("steps", 0, "fitted", "dimension_")("2"),
        "have the dimension '2'",
    ),
    "no dimension": (setting("steps", 0, "fitted", "dimension_")(None), "have the dimension None"),
    "other dimensions": (
        setting("steps", 0, "parameters", "homology_dimensions")({"tuple": [0]}),
        "are not those of its",
    ),
    "counts for others": (
        setting("steps", 1, "fitted", "n_ranks_")({"items": [[0, 1], [2, 2]]}),
        "expected one entry",
    ),
    "no bars": (
        setting("steps", 1, "fitted", "max_bars_")({"items": [[0, 0], [1, 5]]}),
        "max_bars_[0]=0 is no",
    ),
    "many bars": (
        setting("steps", 1, "fitted", "max_bars_")({"items": [[0, 10**30], [1, 5]]}),
        "is no such thing",
    ),
    "negative ranks": (
        setting("steps", 1, "fitted", "n_ranks_")({"items": [[0, -3], [1, 60]]}),
        "n_ranks_[0]=-3 is no",
    ),
    "many ranks": (
        setting("steps", 1, "fitted", "n_ranks_")({"items": [[0, 10**12], [1, 5]]}),
        "it claims ",
    ),
    "wide": (setting("network", "hidden")([10**12, 4]), "body.0.bias has the shape (8,)"),
    "deep": (setting("network", "hidden")([8] * 1000), "has the shape None: expected"),
    "narrow": (setting("network", "hidden")([7, 4]), "multiples of 2"),
    "widths as text": (setting("network", "hidden")("84"), "expected a tuple of widths"),
    "another layer": (setting("network", "layer")("linf-distance"), "has the shape"),
    "unknown layer": (setting("network", "layer")("pickle"), "layer='pickle': expected"),
    "unknown activation": (setting("network", "activation")({}), "activation={}: expected"),
    "epsilon = 0": (setting("network", "epsilon")(0.0), "epsilon=0.0: expected a positive number"),
    "epsilon as text": (setting("network", "epsilon")("1"), "epsilon='1': expected"),
    "no temperature": (setting("network", "temperature")(None), "temperature=None: expected"),
    "learning rate": (setting("network", "parameters", "lr")(-1), "lr=-1: expected"),
    "one class": (setting("classes", "values")(["a"]), "not two or more, each once, in order"),
    "a class twice": (setting("classes", "values")(["a", "a", "b"]), "each once, in order"),
    "unsorted": (setting("classes", "values")(["b", "a", "c"]), "each once, in order"),
    "more classes": (setting("classes", "values")(["a", "b", "c", "d"]), "has the shape"),
    "numbers for strings": (setting("classes", "values")([1, 2, 3]), "are not of dtype '<U1'"),
    "long labels": (setting("classes", "values")(["a", "b", "cc"]), "each once, in order"),
    "objects": (setting("classes", "dtype")("O"), "its labels have dtype 'O'"),
    "wide strings": (setting("classes", "dtype")("<U100000"), "its labels have dtype '<U100000'"),
    "unknown dtype": (setting("classes", "dtype")("os"), "data type 'os' not understood"),
    "labels as a dict": (setting("classes", "values")({"a": 1}), "are not of dtype"),
    "float32": (tensor("head.weight", torch.Tensor.float), "is not of finite float64 numbers"),
    "NaN": (tensor("head.weight", filled(math.nan)), "is not of finite float64 numbers"),
    "infinity": (tensor("body.0.bias", filled(math.inf)), "is not of finite float64 numbers"),
    "transposed": (tensor("body.0.weight", torch.Tensor.t), "body.0.weight has the shape"),
    "a missing tensor": (tensor("head.bias", lambda _: None), "head.bias has the shape None"),
    "one tensor more": (tensor("body.9.weight", lambda t: t), "body.9.weight has the shape (1,)"),
    "negative factors": (tensor("standardize.factor", torch.neg), "factor has negative numbers"),
}


@pytest.mark.parametrize(("change", "message"), HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_files_are_refused(change: Change, message: str, path: Path) -> None:
    changed(path, change)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load(path)
    assert str(path) in str(caught.value)


HOSTILE_TEXTS = {
    "no JSON": "import os",
    "NaN": '{"sha256": "DIGEST", "format": 2, "epsilon": NaN}',
    "a list": '["sha256", "DIGEST"]',
    "a number": "1",
    "nothing": "",
    "depth": '{"sha256": "DIGEST", "format": 2, "a": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "a long number": '{"sha256": "DIGEST", "format": ' + "9" * 10_000 + "}",
}


@pytest.mark.parametrize("text", HOSTILE_TEXTS.values(), ids=list(HOSTILE_TEXTS))
def test_hostile_descriptions_are_refused(text: str, path: Path) -> None:
    _, tensors = parts(path)
    write(path, text, tensors)
    with pytest.raises(ValueError, match="is no model of stablerank"):
        load(path)


def pickled_bomb(target: Path) -> bytes:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(target),)

    return pickle.dumps(Bomb())


def other_files(target: Path) -> dict[str, bytes]:
    torch_file, npz, objects = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({"a": torch.zeros(2)}, torch_file)
    np.savez(npz, a=np.zeros(3))
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    plain = save_tensors({"a": torch.zeros(2)})
    return {
        "empty": b"",
        "a few bytes": b"abc",
        "pickle": pickled_bomb(target),
        "torch": torch_file.getvalue(),
        "npz": npz.getvalue(),
        "npy": objects.getvalue(),
        "text": b"{}" * 100,
        "huge header": (2**63).to_bytes(8, "little") + b"{}",
        "header beyond the file": (10**6).to_bytes(8, "little") + b" " * 1000,
        "zeros": bytes(1000),
        "header not UTF-8": (16).to_bytes(8, "little") + b"\xff" * 16,
        "header not JSON": (16).to_bytes(8, "little") + b"a" * 16,
        "header a list": (16).to_bytes(8, "little") + b"[1]".ljust(16),
        "safetensors of others": plain,
        "metadata of others": save_tensors({"a": torch.zeros(2)}, metadata={"format": "pt"}),
    }


@pytest.mark.parametrize("kind", other_files(Path("unused")))
def test_other_files_are_refused_and_run_nothing(kind: str, tmp_path: Path) -> None:
    path, target = tmp_path / "model.srn", tmp_path / "made by a bomb"
    path.write_bytes(other_files(target)[kind])
    with pytest.raises(ValueError, match="is no model of stablerank, or it is damaged"):
        load(path)
    assert not target.exists()


def test_the_bomb_would_explode_elsewhere(tmp_path: Path) -> None:
    pickle.loads(pickled_bomb(tmp_path / "made by a bomb"))
    assert (tmp_path / "made by a bomb").exists()


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no model at"):
        load(tmp_path / "missing.srn")
    with pytest.raises(IsADirectoryError):
        load(tmp_path)


# What cannot be saved.


def test_models_that_are_not_fitted(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        StableRankClassifier().save(tmp_path / "a")
    assert os.listdir(tmp_path) == []


class OwnFiltration(AlphaPersistence):
    """A subclass may compute anything: no file can say what."""


class OwnContour(DistanceContour):
    """Its parameters are those of its parent, and would be read as such."""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"persistence": OwnFiltration()}, "behind them, not OwnFiltration"),
        ({"contour": OwnContour([0.2], [0.1], [1.0])}, "contour=DistanceContour(means=[0.2]"),
        ({"network__device": torch.device("cpu")}, "network__device=device(type='cpu') cannot be"),
    ],
)
def test_parts_that_need_code(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    saved = fit(**settings)
    with pytest.raises(ValueError, match=re.escape(message)):
        saved.save(tmp_path / "a")
    assert os.listdir(tmp_path) == []


def test_steps_of_your_own(model: StableRankClassifier, tmp_path: Path) -> None:
    other = pickle.loads(pickle.dumps(model))
    steps = [*other.pipeline_.steps[:-1], ("network", OwnFiltration())]
    other.pipeline_ = Pipeline(steps)
    with pytest.raises(ValueError, match="can be saved, not in a OwnFiltration"):
        other.save(tmp_path / "a")
    assert issubclass(OwnFiltration, Filtration)


@pytest.mark.parametrize(
    "labels", [np.array([1, 2, 3], dtype=np.longdouble), np.array(["a" * 10_001, "b", "c"])]
)
def test_labels_that_no_file_holds(labels: Any, tmp_path: Path) -> None:
    saved = fit(labels[np.arange(N) % 3], n_ranks=2)
    with pytest.raises(ValueError, match="cannot be saved: use strings of at most 10000"):
        saved.save(tmp_path / "a")
    assert os.listdir(tmp_path) == []

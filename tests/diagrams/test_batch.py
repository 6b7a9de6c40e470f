"""DiagramBatch: what goes in comes out, in order, bit for bit, or is refused with its cloud."""

from __future__ import annotations

import copy
import io
import math
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import KFold, cross_val_score, train_test_split

from stablerank.diagrams import DiagramBatch, check_diagrams

# Cloud 0 has two components' bars and a hole, cloud 1 nothing at all, cloud 2 three bars.
DIAGRAMS: list[dict[int, Any]] = [
    {0: [[0, 2], [0, 3]], 1: [[1, 5]]},
    {0: [], 1: []},
    {0: [[0, 1]], 1: [[2, 3], [0, 4], [1, 2]]},
]


@pytest.fixture
def batch() -> DiagramBatch:
    return DiagramBatch.from_diagrams(DIAGRAMS)


def random_diagrams(seed: int, n_clouds: int = 20) -> list[dict[int, NDArray[np.float64]]]:
    rng = np.random.default_rng(seed)

    def bars() -> NDArray[np.float64]:
        births, lengths = rng.integers(0, 5, (2, rng.integers(0, 9))) / rng.choice([1, 3])
        return np.column_stack([births, births + lengths])

    return [{0: bars(), 1: bars(), 2: bars()} for _ in range(n_clouds)]


def sorted_bars(bars: NDArray[np.float64]) -> list[list[float]]:
    """The canonical form in one line: no bars of length zero, longest first, then by birth."""
    return sorted(
        ([b, d] for b, d in bars.tolist() if b != d), key=lambda bar: (bar[0] - bar[1], *bar)
    )


# Closed form.


def test_bars_stand_longest_first_then_by_birth(batch: DiagramBatch) -> None:
    assert len(batch) == 3
    assert batch.homology_dimensions == (0, 1)
    assert batch.diagram(0, 0).tolist() == [[0, 3], [0, 2]]
    assert batch.diagram(2, 1).tolist() == [[0, 4], [1, 2], [2, 3]]
    assert batch.diagram(1, 0).shape == (0, 2)
    assert batch.n_bars(0).tolist() == [2, 0, 1]
    assert batch.n_bars(1).tolist() == [1, 0, 3]
    assert repr(batch) == "DiagramBatch(3 clouds; H0: 3 bars, H1: 4 bars)"


def test_the_infinite_bar_of_h0_and_bars_of_length_zero_are_dropped() -> None:
    batch = DiagramBatch.from_diagrams(
        [{0: [[0, 1], [0, np.inf], [0, 0]], 1: [[2, 2], [2, 3]]}, {0: [[0, np.inf]], 1: []}]
    )
    assert batch.diagram(0, 0).tolist() == [[0, 1]]
    assert batch.diagram(0, 1).tolist() == [[2, 3]]
    assert batch.n_bars(0).tolist() == [1, 0]


def test_padding_puts_zeros_behind(batch: DiagramBatch) -> None:
    assert batch.padded(0).tolist() == [[[0, 3], [0, 2]], [[0, 0], [0, 0]], [[0, 1], [0, 0]]]
    assert batch.padded(0, 1).tolist() == [[[0, 3]], [[0, 0]], [[0, 1]]]
    assert batch.padded(0, 3)[:, 2].tolist() == [[0, 0]] * 3
    assert batch.padded(0, 0).shape == (3, 0, 2)
    assert batch[[1]].padded(1).shape == (1, 0, 2)
    tensor = batch.to_tensor(1, 2)
    assert tensor.dtype == torch.float64
    assert tensor.tolist() == batch.padded(1, 2).tolist()


def test_cubical_bars_may_start_below_zero() -> None:
    bars = [[-3.0, -1.0], [-1.0, 4.0]]
    assert DiagramBatch.from_diagrams([{0: bars}]).diagram(0, 0).tolist() == bars[::-1]


# The law: selecting clouds is selecting dicts, whatever the index.


def test_from_diagrams_keeps_every_bar(seed: int) -> None:
    diagrams = random_diagrams(seed)
    batch = DiagramBatch.from_diagrams(diagrams)
    for i, diagram in enumerate(diagrams):
        for dimension in (0, 1, 2):
            assert batch.diagram(i, dimension).tolist() == sorted_bars(diagram[dimension])


def test_the_order_in_which_bars_come_does_not_matter(seed: int) -> None:
    # One birth, and lengths that are equal after rounding: only the deaths tell these two apart,
    # and the batch used to keep them as they came.
    ties = np.array([[-1e17, 1.0], [-1e17, 2.0]])
    assert len(set((ties[:, 1] - ties[:, 0]).tolist())) == 1
    rng = np.random.default_rng(seed)
    diagrams = [{0: np.concatenate([d[0], ties])} for d in random_diagrams(seed)]
    shuffled = [{0: rng.permutation(d[0])} for d in diagrams]
    assert DiagramBatch.from_diagrams(diagrams) == DiagramBatch.from_diagrams(shuffled)


INDICES: dict[str, Any] = {
    "a slice": slice(3, 11),
    "a negative step": slice(None, None, -2),
    "an empty slice": slice(4, 4),
    "a list": [3, 0, 3, -1],
    "an empty list": [],
    "an array": np.array([5, 5, 19, -20]),
    "an empty array": np.array([], dtype=int),
    "a mask": np.arange(20) % 3 == 0,
    "a list of booleans": [i % 3 == 0 for i in range(20)],
    "an empty mask": np.zeros(20, dtype=bool),
    "a tensor": torch.tensor([4, 2]),
    "everything": ...,
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_indexing_selects_clouds(index: Any, seed: int) -> None:
    batch = DiagramBatch.from_diagrams(random_diagrams(seed))
    empty_list = isinstance(index, list) and not index
    chosen = np.arange(20)[np.empty(0, dtype=int) if empty_list else index]
    part = batch[index]
    assert isinstance(part, DiagramBatch)
    assert len(part) == len(chosen)
    assert part.homology_dimensions == (0, 1, 2)
    for i, j in enumerate(chosen):
        for dimension in (0, 1, 2):
            assert part.diagram(i, dimension).tolist() == batch.diagram(j, dimension).tolist()
    if len(chosen):
        assert part == DiagramBatch.from_diagrams([batch[j] for j in chosen])


def test_an_int_gives_a_dict_of_copies(batch: DiagramBatch) -> None:
    for i in (0, -3, np.int64(0)):
        cloud = batch[i]
        assert {d: bars.tolist() for d, bars in cloud.items()} == {0: [[0, 3], [0, 2]], 1: [[1, 5]]}
        cloud[0][:] = 7
    assert batch.diagram(0, 0).tolist() == [[0, 3], [0, 2]]
    assert batch.diagram(-1, 0).tolist() == [[0, 1]]


def test_iterating_gives_what_from_diagrams_takes(seed: int) -> None:
    batch = DiagramBatch.from_diagrams(random_diagrams(seed))
    assert DiagramBatch.from_diagrams(list(batch)) == batch
    assert check_diagrams(tuple(batch)) == batch


def test_concatenation_is_the_inverse_of_cutting(seed: int) -> None:
    batch = DiagramBatch.from_diagrams(random_diagrams(seed))
    pieces = [batch[:7], batch[7:7], batch[7:8], batch[8:]]
    assert DiagramBatch.concatenate(pieces) == batch
    assert DiagramBatch.concatenate([batch[:0], batch[:0]]) == batch[:0]
    assert DiagramBatch.concatenate(pieces[::-1]) != batch


# The contract: inputs, pickle, files, scikit-learn.


def test_inputs_are_copied() -> None:
    bars = np.array([[0.0, 2.0], [0.0, 3.0]])
    flat, offsets = bars.copy(), np.array([0, 1, 2])
    first = DiagramBatch.from_diagrams([{0: bars}])
    second = DiagramBatch({0: flat}, {0: offsets})
    bars[:] = flat[:] = offsets[:] = 9
    assert first.diagram(0, 0).tolist() == [[0, 3], [0, 2]]
    assert second.diagram(1, 0).tolist() == [[0, 3]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64, np.uint8])
def test_other_numbers_become_float64(dtype: Any) -> None:
    diagram: dict[Any, Any] = {np.int64(0): np.array([[1, 2]], dtype=dtype)}
    batch = DiagramBatch.from_diagrams([diagram])
    assert batch.bars[0].dtype == np.float64
    assert batch.bars[0].tolist() == [[1, 2]]
    assert type(batch.homology_dimensions[0]) is int


def bits(batch: DiagramBatch) -> list[bytes]:
    return [
        a.tobytes() for d in batch.homology_dimensions for a in (batch.bars[d], batch.offsets[d])
    ]


AWKWARD = DiagramBatch.from_diagrams(
    [{0: [[0.1, 0.3], [-0.0, 5e-324], [1e-310, 1e300]], 3: []}, {0: [], 3: [[math.pi, 1e16]]}]
)


@pytest.mark.parametrize("batch", [AWKWARD, AWKWARD[:0], AWKWARD[[1]]], ids=["all", "none", "one"])
def test_pickle_and_npz_keep_every_bit(batch: DiagramBatch, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "diagrams"  # no suffix is added
    batch.save(path)
    for same in (DiagramBatch.load(path), pickle.loads(pickle.dumps(batch)), copy.deepcopy(batch)):
        assert same == batch
        assert bits(same) == bits(batch)
        assert same.homology_dimensions == batch.homology_dimensions
    batch.save(str(path))  # over the old one
    assert [p.name for p in path.parent.iterdir()] == ["diagrams"]


def test_equality(batch: DiagramBatch) -> None:
    assert batch == DiagramBatch.from_diagrams(DIAGRAMS)
    assert batch != DiagramBatch.from_diagrams(DIAGRAMS, [0])
    assert batch != batch[:2]
    assert batch != batch[[0, 2, 1]]
    assert batch != DIAGRAMS
    with pytest.raises(TypeError, match="unhashable"):
        hash(batch)


def test_homology_dimensions_can_be_chosen() -> None:
    batch = DiagramBatch.from_diagrams(DIAGRAMS, homology_dimensions=[1])
    assert batch.homology_dimensions == (1,)


class CountsBars(ClassifierMixin, BaseEstimator):
    """Predicts whether a cloud has more than `threshold` bars in H0."""

    def __init__(self, threshold: int = 3) -> None:
        self.threshold = threshold

    def fit(self, X: Any, y: Any) -> CountsBars:
        self.classes_ = np.array([False, True])
        assert len(check_diagrams(X)) == len(y)
        return self

    def predict(self, X: Any) -> NDArray[np.bool_]:
        return check_diagrams(X).n_bars(0) > self.threshold


def test_scikit_learn_can_split_batches(seed: int) -> None:
    batch = DiagramBatch.from_diagrams(random_diagrams(seed))
    y = batch.n_bars(0) > 3
    numbers = np.arange(20)
    train, test, train_numbers, test_numbers = train_test_split(batch, numbers, random_state=seed)
    assert check_diagrams(train) == batch[train_numbers]
    assert check_diagrams(test) == batch[test_numbers]
    for fit, held_out in KFold(4, shuffle=True, random_state=seed).split(batch):
        assert len(batch[fit]) + len(batch[held_out]) == 20
    scores = cross_val_score(CountsBars(), batch, y, cv=KFold(4))
    assert scores.tolist() == [1, 1, 1, 1]  # order and labels were kept together


def test_check_diagrams_takes_object_arrays_and_leaves_batches_alone(batch: DiagramBatch) -> None:
    assert check_diagrams(batch) is batch
    array = np.empty(3, dtype=object)
    array[:] = list(batch)
    assert check_diagrams(array) == batch


# Errors: with the cloud's index.


@pytest.mark.parametrize(
    ("bars", "message"),
    [
        ([[1, np.inf]], "diagrams[1] has 1 infinite bars in H1, expected at most 0"),
        ([[np.nan, 1]], "diagrams[1] has the bar [nan, 1.0] in H1: expected finite numbers"),
        ([[0, 1], [0, np.nan]], "diagrams[1] has the bar [0.0, nan] in H1"),
        ([[-np.inf, 1]], "diagrams[1] has the bar [-inf, 1.0] in H1"),
        ([[np.inf, np.inf]], "diagrams[1] has the bar [inf, inf] in H1"),
        ([[0, 1], [3, 2]], "diagrams[1] has the bar [3.0, 2.0] in H1: expected finite numbers, bi"),
        ([[-1.7e308, 1.7e308]], "diagrams[1] has the bar [-1.7e+308, 1.7e+308] in H1"),
        ([0, 1], "diagrams[1] in H1 has shape (2,): expected (n_bars, 2), a row (birth, death)"),
        ([[0, 1, 2]], "diagrams[1] in H1 has shape (1, 3): expected (n_bars, 2)"),
        ([[0, 1], [2]], "diagrams[1] in H1 is ragged: expected (n_bars, 2)"),
    ],
)
def test_bad_bars_are_refused_with_their_cloud(bars: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        DiagramBatch.from_diagrams([DIAGRAMS[0], {0: [], 1: bars}])


@pytest.mark.parametrize("bars", [[["0", "1"]], [[0, 1j]], [[False, True]], [[None, 1]]])
def test_bars_that_are_no_numbers_are_refused(bars: Any) -> None:
    # Strings and None used to be parsed.
    with pytest.raises(TypeError, match=r"diagrams\[1\] in H1 has dtype .*: births and deaths are"):
        DiagramBatch.from_diagrams([DIAGRAMS[0], {0: [], 1: bars}])


def test_two_infinite_bars_in_h0_are_refused() -> None:
    message = "diagrams[1] has 2 infinite bars in H0, expected at most 1: only the last component"
    with pytest.raises(ValueError, match=re.escape(message)):
        DiagramBatch.from_diagrams([{0: []}, {0: [[0, np.inf], [0, np.inf]]}])


def test_what_is_no_list_of_diagrams_is_refused() -> None:
    with pytest.raises(ValueError, match="diagrams is empty"):
        DiagramBatch.from_diagrams([])
    with pytest.raises(TypeError, match=r"diagrams\[1\] is a list: expected a dict from homology"):
        DiagramBatch.from_diagrams([{0: []}, [[0, 1]]])  # type: ignore[list-item]
    message = "diagrams[1] has homology dimensions [0], H1 is missing. Give an empty array"
    with pytest.raises(ValueError, match=re.escape(message)):
        DiagramBatch.from_diagrams([{0: [], 1: []}, {0: []}])
    # H1 of cloud 1 used to be dropped silently.
    message = "diagrams[1] has homology dimensions [0, 1], diagrams[0] has [0]"
    with pytest.raises(ValueError, match=re.escape(message)):
        DiagramBatch.from_diagrams([{0: []}, {0: [], 1: []}])
    for bad in (-1, 0.5, "0", True):
        with pytest.raises((TypeError, ValueError), match="is no homology dimension"):
            DiagramBatch.from_diagrams([{bad: []}])  # type: ignore[dict-item]


ONE_BAR = np.array([[0.0, 1.0]])


@pytest.mark.parametrize(
    ("bars", "offsets", "message"),
    [
        ({}, {}, "both need the same, and at least one"),
        ({0: ONE_BAR}, {1: [0, 1]}, "bars has homology dimensions [0], offsets has [1]"),
        ({0: ONE_BAR}, {0: [0, 2]}, "H0: offsets must run from 0 to the number of bars, 1"),
        ({0: ONE_BAR}, {0: [1, 1]}, "H0: offsets must run from 0"),
        ({0: ONE_BAR}, {0: [[0, 1]]}, "H0: offsets must run from 0"),
        ({0: ONE_BAR}, {0: np.array([], dtype=int)}, "H0: offsets must run from 0"),
        ({0: ONE_BAR}, {0: [0, 2, 1]}, "H0: offsets must not decrease"),
        ({0: ONE_BAR}, {0: np.array([0, 2, 1], dtype=np.uint8)}, "H0: offsets must not decrease"),
        ({0: ONE_BAR}, {0: [0.0, 1.0]}, "H0: offsets have dtype float64, expected integers"),
        ({0: [[0, 1, 2], [3, 4, 5]]}, {0: [0, 3]}, "bars[0] has shape (2, 3): expected (n_bars"),
        ({0: [0.0, 1.0]}, {0: [0, 1]}, "bars[0] has shape (2,): expected (n_bars, 2)"),
        (
            {0: [[0, np.inf]]},
            {0: [0, 0, 1]},
            "Cloud 1 has the bar [0.0, inf] in H0: expected a fin",
        ),
        ({0: [[0, np.nan]]}, {0: [0, 1, 1]}, "Cloud 0 has the bar [0.0, nan] in H0"),
        ({0: [[2, 1]]}, {0: [0, 0, 0, 1]}, "Cloud 2 has the bar [2.0, 1.0] in H0"),
        (
            {0: ONE_BAR, 1: ONE_BAR},
            {0: [0, 1], 1: [0, 0, 1]},
            "different numbers of clouds: [1, 2]",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(bars: Any, offsets: Any, message: str) -> None:
    # (2, 3) bars used to be reshaped to (3, 2), and fractional offsets cut.
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        DiagramBatch(bars, offsets)


@pytest.mark.parametrize(
    "index", [3, -4, True, None, [0, 7], np.ones(2, bool), [[0]], "0", 0.5, (0, 1)]
)
def test_bad_indices(index: Any, batch: DiagramBatch) -> None:
    with pytest.raises(IndexError):
        batch[index]


def test_messages_of_access(batch: DiagramBatch) -> None:
    with pytest.raises(IndexError, match=r"There is no cloud 3 in this batch of 3\."):
        batch.diagram(3, 0)
    message = "There is no H2 in this batch, which has homology dimensions (0, 1)."
    for call in (batch.n_bars, batch.padded, lambda k: batch.diagram(0, k)):
        with pytest.raises(ValueError, match=re.escape(message)):
            call(2)
    with pytest.raises(ValueError, match="n_bars=-1: expected a number of bars, 0 or more"):
        batch.padded(0, -1)
    with pytest.raises(ValueError, match=r"homology dimensions \[\(0,\), \(0, 1\)\]: all need"):
        DiagramBatch.concatenate([batch, DiagramBatch.from_diagrams(DIAGRAMS, [0])])
    with pytest.raises(ValueError, match="Cannot concatenate"):
        DiagramBatch.concatenate([])


@pytest.mark.parametrize(
    "X", [None, 3, "X", {0: []}, [[[0, 1]]], np.zeros((2, 3, 2)), [{0: []}, 3]]
)
def test_check_diagrams_names_the_way_out(X: Any) -> None:
    with pytest.raises(TypeError, match=re.escape("call AlphaPersistence().fit_transform(data)")):
        check_diagrams(X, name="data")


def test_check_diagrams_refuses_nothing(batch: DiagramBatch) -> None:
    with pytest.raises(ValueError, match="X is an empty DiagramBatch"):
        check_diagrams(batch[:0])
    with pytest.raises(ValueError, match="X is empty: there is no cloud in it"):
        check_diagrams([])


# Hostile files.


class Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("something in the file was run",))


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def header(shape: str) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


GOOD_PARTS = {
    "homology_dimensions": np.array([0]),
    "bars_0": ONE_BAR,
    "offsets_0": np.array([0, 1]),
}
GOOD_FILE = npz(**GOOD_PARTS)
HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "text": b"no archive",
    "a pickle": pickle.dumps(Bomb()),
    "a plain array": npy(ONE_BAR),
    "cut off": GOOD_FILE[: len(GOOD_FILE) // 2],
    "flipped bits": bytes(b ^ (0xFF if 300 < i < 330 else 0) for i, b in enumerate(GOOD_FILE)),
    "another archive": npz(x=ONE_BAR),
    "no bars": npz(homology_dimensions=np.array([0]), offsets_0=np.array([0, 1])),
    "no offsets": npz(homology_dimensions=np.array([0]), bars_0=ONE_BAR),
    "no dimensions": npz(**GOOD_PARTS | {"homology_dimensions": np.array([], dtype=int)}),
    "a number for dimensions": npz(**GOOD_PARTS | {"homology_dimensions": np.array(0)}),
    "a table for dimensions": npz(**GOOD_PARTS | {"homology_dimensions": np.array([[0]])}),
    "a negative dimension": npz(
        homology_dimensions=np.array([-1]), **{"bars_-1": ONE_BAR, "offsets_-1": np.array([0, 1])}
    ),
    "pickled objects": npz(**GOOD_PARTS | {"bars_0": np.array([[Bomb(), Bomb()]], dtype=object)}),
    "strings": npz(**GOOD_PARTS | {"bars_0": np.array([["0", "1"]])}),
    "NaN": npz(**GOOD_PARTS | {"bars_0": np.array([[0, np.nan]])}),
    "infinity": npz(**GOOD_PARTS | {"bars_0": np.array([[0, np.inf]])}),
    "a wrong shape": npz(**GOOD_PARTS | {"bars_0": np.zeros((2, 1))}),
    "fractional offsets": npz(**GOOD_PARTS | {"offsets_0": np.array([0.0, 0.5, 1.0])}),
    "offsets too far": npz(**GOOD_PARTS | {"offsets_0": np.array([0, 10**12])}),
    "offsets back and forth": npz(**GOOD_PARTS | {"offsets_0": np.array([0, 5, 1])}),
    "raw bytes": archive(homology_dimensions=b"\x00", bars_0=b"\x00", offsets_0=b"\x00"),
    "a huge shape": archive(
        **{
            "homology_dimensions.npy": npy(np.array([0])),
            "bars_0.npy": header(f"({10**15}, 2)"),
            "offsets_0.npy": npy(np.array([0, 10**15])),
        }
    ),
}


def test_the_file_that_the_hostile_ones_are_made_from_is_good(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(GOOD_FILE)
    assert DiagramBatch.load(tmp_path / "file").diagram(0, 0).tolist() == [[0, 1]]


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "hostile.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f"{path} holds no DiagramBatch: ")):
        DiagramBatch.load(path)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        DiagramBatch.load(tmp_path / "nothing.npz")


def test_padded_lengths_are_those_of_padded_bars() -> None:
    batch = DiagramBatch.from_diagrams([{1: [[0, 2], [1, 4]]}, {1: []}, {1: [[1, 1.5]]}])
    assert batch.padded_lengths(1, 2).tolist() == [[3, 2], [0, 0], [0.5, 0]]
    for width in (0, 1, 2, 5):
        bars = batch.padded(1, width)
        assert np.array_equal(batch.padded_lengths(1, width), bars[..., 1] - bars[..., 0])

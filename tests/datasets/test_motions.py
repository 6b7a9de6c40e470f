"""load_motions: the released bytes, their labels and split, and how they were converted."""

from __future__ import annotations

import hashlib
import re
import runpy
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.utils import Bunch

from stablerank import TakensEmbedding
from stablerank.datasets import load_motions
from stablerank.datasets import motions as module

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "datasets" / "motions.npz"


@pytest.fixture(scope="module")
def motions() -> Bunch:
    return load_motions()


@pytest.fixture
def converter(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(ROOT / "datasets")  # it takes npz_bytes from its neighbour
    return runpy.run_path(str(ROOT / "datasets" / "make_motions.py"), run_name="make_motions")


# What the file holds: counts and first and last numbers are those of the source's text files.


def test_counts(motions: Bunch) -> None:
    assert len(motions.data) == len(motions.target) == 80
    assert {series.shape for series in motions.data} == {(100, 6)}
    for part in (motions.test, ~motions.test):
        assert np.bincount(motions.target[part]).tolist() == [10, 10, 10, 10]


def test_the_first_and_last_values_are_those_of_the_source(motions: Bunch) -> None:
    first, last = motions.data[0], motions.data[-1]
    assert first[:3, 0].tolist() == [0.079106, 0.079106, -0.903497]
    assert motions.target_names[motions.target[0]] == "standing"
    assert motions.data[2][39:42, 0].tolist() == [-0.265478, -0.156517, 7.58e-4]
    assert motions.target_names[motions.target[-1]] == "badminton"
    assert last[-1, -1] == -1.77647


def test_every_value_is_the_nearest_to_its_decimals(motions: Bunch) -> None:
    for series in motions.data:
        assert all(float(f"{value:.6f}") == value for value in series.reshape(-1))


# The file itself.


def test_sha256_and_size_are_those_of_the_readme() -> None:
    content = FILE.read_bytes()
    row = f"| `motions.npz` | {len(content)} | `{hashlib.sha256(content).hexdigest()}` |"
    assert row in (ROOT / "datasets" / "README.md").read_text(encoding="utf-8")


def test_writing_the_arrays_again_gives_the_same_bytes(converter: dict[str, Any]) -> None:
    with np.load(FILE, allow_pickle=False) as arrays:
        assert converter["npz_bytes"](dict(arrays)) == FILE.read_bytes()
        changed = dict(arrays)
    changed["millionths"][0, 0, 0] += 1
    assert converter["npz_bytes"](changed) != FILE.read_bytes()


def test_the_converter_reads_lines_of_channels_and_a_label(converter: dict[str, Any]) -> None:
    header = "# words with @data in them? no\n@problemName A\n@data\n"
    arrays = converter["join_parts"](header + "1,7.5E-5:-2,3:Walking\n", header + "0,0:4,5:Running")
    assert arrays["millionths"].tolist() == [
        [[1_000_000, -2_000_000], [75, 3_000_000]],
        [[0, 4_000_000], [0, 5_000_000]],
    ]
    assert arrays["motion"].tolist() == ["walking", "running"]
    assert arrays["test"].tolist() == [False, True]


def test_the_converter_refuses_to_lose_decimals(converter: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Recording 1 has numbers of more than six decimals"):
        converter["parse_series"]("@data\n1,2:Walking\n1,0.0000001:Walking")


def test_the_converter_refuses_another_release(converter: dict[str, Any], tmp_path: Path) -> None:
    wheel = tmp_path / "aeon.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(converter["FOLDER"] + "BasicMotions_TRAIN.ts", "1 2")
    with pytest.raises(ValueError, match=r"TRAIN\.ts in .* has sha256 .* another release"):
        converter["read_wheel"](wheel)


# The contract.


def test_bunch(motions: Bunch) -> None:
    assert set(motions) == {"data", "target", "target_names", "test", "DESCR", "filename"}
    assert isinstance(motions.data, list)
    for series in motions.data:
        assert series.dtype == np.float64
        assert series.flags.owndata
        assert series.flags.c_contiguous
    assert motions.target.dtype == np.int64
    assert motions.target_names.tolist() == ["badminton", "running", "standing", "walking"]
    assert hashlib.sha256(Path(motions.filename).read_bytes()).hexdigest() == module._SHA256


def test_subsets_are_the_two_parts(motions: Bunch) -> None:
    X_train, y_train = load_motions(subset="train", return_X_y=True)
    X_test, y_test = load_motions(subset="test", return_X_y=True)
    assert np.array_equal(np.stack(X_train + X_test), np.stack(motions.data))
    assert np.concatenate([y_train, y_test]).tolist() == motions.target.tolist()
    assert not load_motions(subset="train").test.any()
    assert load_motions(subset="test").test.all()


def test_series_go_into_an_embedding(motions: Bunch) -> None:
    clouds = TakensEmbedding(2, 3).fit_transform(motions.data[:2])
    assert [cloud.shape for cloud in clouds] == [(97, 12)] * 2


def test_changing_what_was_loaded_does_not_change_the_next_load() -> None:
    load_motions().data[0][:] = 0
    assert load_motions().data[0][0, 0] == 0.079106


def test_an_unknown_subset_is_refused() -> None:
    message = "subset='both': expected 'all', 'train' or 'test'."
    with pytest.raises(ValueError, match=re.escape(message)):
        load_motions(subset="both")  # type: ignore[call-overload]


def test_a_missing_file_is_reported_with_both_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_candidates", lambda: (tmp_path / "a.npz", tmp_path / "b.npz"))
    message = r"motions\.npz is neither in the installed package \(.*a\.npz\).*\(.*b\.npz\)"
    with pytest.raises(FileNotFoundError, match=message):
        load_motions()


def test_a_single_changed_bit_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(FILE.read_bytes())
    content[1000] ^= 1
    damaged = tmp_path / "motions.npz"
    damaged.write_bytes(content)
    monkeypatch.setattr(module, "_candidates", lambda: (damaged, FILE))
    with pytest.raises(ValueError, match=r"has sha256 [0-9a-f]{64}, but the released file has"):
        load_motions()

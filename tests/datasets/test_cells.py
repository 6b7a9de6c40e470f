"""load_cells: the released bytes, their labels and boundaries, and how they were converted."""

from __future__ import annotations

import hashlib
import re
import runpy
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.utils import Bunch

from stablerank.datasets import cells as module
from stablerank.datasets import load_cells

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "datasets" / "cells.npz"


@pytest.fixture(scope="module")
def cells() -> Bunch:
    return load_cells()


@pytest.fixture(scope="module")
def converter() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "datasets" / "make_cells.py"), run_name="make_cells")


# What the file holds. The counts are those of the source's text files, counted with `uniq -c`;
# 182279 is the number of its lines with a point.


def test_counts(cells: Bunch) -> None:
    sizes = np.array([len(cloud) for cloud in cells.data])
    assert len(cells.data) == len(cells.cell_line) == len(cells.treatment) == 650
    assert (sizes.min(), sizes.max(), sizes.sum()) == (20, 1759, 182279)
    lines, line_counts = np.unique(cells.cell_line, return_counts=True)
    assert dict(zip(lines.tolist(), line_counts.tolist(), strict=True)) == {
        "dlm8": 258,
        "dunn": 392,
    }
    drugs, drug_counts = np.unique(cells.treatment, return_counts=True)
    assert dict(zip(drugs.tolist(), drug_counts.tolist(), strict=True)) == {
        "control": 318,
        "cytd": 175,
        "jasp": 157,
    }


def test_the_first_and_last_points_are_those_of_the_source(cells: Bunch) -> None:
    # The first and the last lines of the source's cells.txt.
    assert cells.data[0][:3].tolist() == [[916, -603], [915, -604], [914, -604]]
    assert cells.data[649][-3:].tolist() == [[354, -305], [352, -305], [350, -303]]


def test_each_cloud_is_one_closed_outline(cells: Bunch) -> None:
    # Were a boundary between two cells in the wrong place, an outline would jump across the
    # image: the ends meet within 23 pixels, and no step inside an outline is longer than 46.
    for cloud in cells.data:
        assert np.linalg.norm(cloud[0] - cloud[-1]) < 23
        assert np.linalg.norm(np.diff(cloud, axis=0), axis=1).max() <= 46
    # ... and the check can fail: two cells in one are found out.
    joined = np.concatenate(cells.data[:2])
    assert np.linalg.norm(np.diff(joined, axis=0), axis=1).max() > 46


def test_outlines_are_counter_clockwise(cells: Bunch) -> None:
    for cloud in cells.data:
        x, y = cloud.T
        assert np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) > 0


def test_what_the_description_says(cells: Bunch) -> None:
    repeated = np.array([len(cloud) - len(np.unique(cloud, axis=0)) for cloud in cells.data])
    assert ((repeated > 0).sum(), repeated.sum(), repeated.max()) == (304, 866, 22)
    assert "304 outlines pass through a pixel more than once (866 repeated points" in cells.DESCR

    first: dict[bytes, int] = {}
    pairs = [
        (first[key], i)
        for i, key in enumerate(cloud.tobytes() for cloud in cells.data)
        if first.setdefault(key, i) != i
    ]
    assert pairs == [(363, 396), (513, 519)]
    for i, j in pairs:
        assert f"{i} and {j} ({cells.cell_line[i]}, {cells.treatment[i]})" in cells.DESCR
        assert (cells.cell_line[i], cells.treatment[i]) == (cells.cell_line[j], cells.treatment[j])

    diameters = np.array([pdist(cloud).max() for cloud in cells.data])
    assert round(np.median(diameters)) == 131
    assert (round(diameters.min()), round(diameters.max())) == (22, 514)
    assert "diameter of at most 131 pixels (range 22 to 514)" in cells.DESCR


# The file itself.


def test_sha256_and_size_are_those_of_the_readme() -> None:
    content = FILE.read_bytes()
    row = f"| `cells.npz` | {len(content)} | `{hashlib.sha256(content).hexdigest()}` |"
    assert row in (ROOT / "datasets" / "README.md").read_text(encoding="utf-8")


def test_the_file_holds_no_pickled_objects() -> None:
    with np.load(FILE, allow_pickle=False) as arrays:
        kinds = {name: (arrays[name].dtype.kind, arrays[name].shape) for name in arrays}
    assert kinds == {
        "points": ("i", (182279, 2)),
        "offsets": ("i", (651,)),
        "cell_line": ("U", (650,)),
        "treatment": ("U", (650,)),
    }


def test_writing_the_arrays_again_gives_the_same_bytes(converter: dict[str, Any]) -> None:
    with np.load(FILE, allow_pickle=False) as arrays:
        assert converter["npz_bytes"](dict(arrays)) == FILE.read_bytes()
        changed = dict(arrays)
    changed["points"][0, 0] += 1
    assert converter["npz_bytes"](changed) != FILE.read_bytes()


def test_the_converter_splits_cells_at_empty_lines(converter: dict[str, Any]) -> None:
    arrays = converter["parse_cells"]("1 -2\n3 -4\n\n5 -6", "dunn\ndlm8", "jasp\ncontrol\n")
    assert arrays["points"].tolist() == [[1, -2], [3, -4], [5, -6]]
    assert arrays["offsets"].tolist() == [0, 2, 3]
    assert arrays["cell_line"].tolist() == ["dunn", "dlm8"]
    assert arrays["treatment"].tolist() == ["jasp", "control"]


def test_the_converter_refuses_labels_that_do_not_fit(converter: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="2 outlines, 1 cell lines and 2 treatments"):
        converter["parse_cells"]("1 -2\n\n5 -6", "dunn", "jasp\njasp")


def test_the_converter_refuses_another_release(converter: dict[str, Any], tmp_path: Path) -> None:
    wheel = tmp_path / "geomstats.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(converter["FOLDER"] + "cells.txt", "1 2")
    with pytest.raises(ValueError, match=r"cells\.txt in .* has sha256 .* another release"):
        converter["read_wheel"](wheel)


# The contract.


def test_bunch(cells: Bunch) -> None:
    assert set(cells) == {
        "data", "target", "target_names", "cell_line", "treatment", "DESCR", "filename",
    }  # fmt: skip
    assert isinstance(cells.data, list)
    for cloud in cells.data:
        assert cloud.dtype == np.float64
        assert cloud.shape == (len(cloud), 2)
        assert cloud.flags.owndata
        assert np.isfinite(cloud).all()
    assert hashlib.sha256(Path(cells.filename).read_bytes()).hexdigest() == module._SHA256


@pytest.mark.parametrize(
    ("target", "names"),
    [("cell_line", ["dlm8", "dunn"]), ("treatment", ["control", "cytd", "jasp"])],
)
def test_target_is_the_label_that_was_asked_for(target: Any, names: list[str]) -> None:
    cells = load_cells(target=target)
    assert cells.target.dtype == np.int64
    assert cells.target_names.tolist() == names
    assert (cells.target_names[cells.target] == cells[target]).all()


def test_return_X_y(cells: Bunch) -> None:
    X, y = load_cells(target="treatment", return_X_y=True)
    assert all(np.array_equal(a, b) for a, b in zip(X, cells.data, strict=True))
    assert (y == load_cells(target="treatment").target).all()
    assert (load_cells(return_X_y=True)[1] == cells.target).all()


def test_changing_what_was_loaded_does_not_change_the_next_load() -> None:
    load_cells().data[0][:] = 0
    assert load_cells().data[0][0].tolist() == [916, -603]


# Errors, and where the file is looked for.


def test_an_unknown_target_is_refused() -> None:
    message = "target='both' is no label of the cells: expected 'cell_line' or 'treatment'."
    with pytest.raises(ValueError, match=re.escape(message)):
        load_cells(target="both")  # type: ignore[call-overload]


def test_the_installed_file_is_looked_for_before_that_of_the_checkout() -> None:
    installed, checkout = module._candidates()
    assert Path(str(installed)) == Path(module.__file__).parent / "data" / "cells.npz"
    assert Path(str(checkout)) == FILE


def test_the_first_file_that_exists_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "cells.npz"
    copy.write_bytes(FILE.read_bytes())
    monkeypatch.setattr(module, "_candidates", lambda: (copy, FILE))
    assert load_cells().filename == str(copy)
    monkeypatch.setattr(module, "_candidates", lambda: (tmp_path / "no.npz", copy))
    assert load_cells().filename == str(copy)


def test_a_missing_file_is_reported_with_both_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_candidates", lambda: (tmp_path / "a.npz", tmp_path / "b.npz"))
    with pytest.raises(FileNotFoundError, match=r"installed package \(.*a\.npz\).*\(.*b\.npz\)"):
        load_cells()


@pytest.mark.parametrize("position", [0, 1000, -1])
def test_a_single_changed_bit_is_reported(
    position: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray(FILE.read_bytes())
    content[position] ^= 1
    damaged = tmp_path / "cells.npz"
    damaged.write_bytes(content)
    monkeypatch.setattr(module, "_candidates", lambda: (damaged, FILE))
    with pytest.raises(ValueError, match=r"has sha256 [0-9a-f]{64}, but the released file has"):
        load_cells()

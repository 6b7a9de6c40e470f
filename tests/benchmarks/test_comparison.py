"""The comparison: data, one run of everything small, files that resume, the report's own check."""

from __future__ import annotations

import copy
import doctest
import io
import json
import re
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.base import BaseEstimator, ClassifierMixin, clone

import benchmarks.__main__ as command
from benchmarks import record
from benchmarks.comparison import cells, measure, outlines, report, runs, tables
from benchmarks.comparison.certified import CertifiedPipeline
from benchmarks.comparison.figures import _LEAST_GAP, _spread, accuracy_figure
from benchmarks.comparison.task import Split, Task
from benchmarks.comparison.tasks import TASKS
from stablerank import AlphaPersistence, LipschitzUnion, StableRank
from stablerank.datasets import load_cells, make_orbits


def load_small(seed: int, quick: bool) -> Split:
    X, y = make_orbits(8, 60, random_state=seed)
    return Split.of(X, y, np.arange(0, 40, 2), np.arange(1, 40, 2))


def certified(seed: int, quick: bool) -> CertifiedPipeline:
    stage = LipschitzUnion([("alpha", AlphaPersistenceAndRanks())])
    return CertifiedPipeline(stage, {"max_epochs": 2, "epsilon": 1e-3}, random_state=seed)


def AlphaPersistenceAndRanks() -> Any:
    from sklearn.pipeline import make_pipeline

    return make_pipeline(AlphaPersistence(), StableRank(n_ranks=10))


class Width(ClassifierMixin, BaseEstimator):
    """Unconstrained, without gradients, cheap: the nearest mean width."""

    def fit(self, X: Any, y: Any) -> Width:
        widths = np.array([np.ptp(cloud) for cloud in X])
        self.classes_ = np.unique(y)
        self.means_ = np.array([widths[y == label].mean() for label in self.classes_])
        self.n_parameters_ = len(self.classes_)
        return self

    def decision_function(self, X: Any) -> Any:
        widths = np.array([np.ptp(cloud) for cloud in X])
        return -np.abs(widths[:, None] - self.means_)

    def predict(self, X: Any) -> Any:
        return self.classes_[self.decision_function(X).argmax(axis=1)]


SMALL = Task(
    name="small",
    title="Small",
    unit="unit square",
    load=load_small,
    epsilons=(1e-4, 1e-2),
    models={"width": lambda seed, quick: Width(), "ranks": certified},
    n_attacked=5,
    published={"somebody": "50.0"},
)


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Any]]:
    return {name: measure.measure(SMALL, name, 1, False) for name in SMALL.models}


@pytest.fixture
def files(
    rows: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, dict[str, Any]]:
    for module in (record, runs):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "REPORT", tmp_path / "report")
    monkeypatch.setattr(report, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text(
        "Above.\n<!-- small -->\nold\n<!-- end of small -->\nBelow.\n"
    )
    for name, row in rows.items():
        runs._keep(SMALL, name, 1, row, 0.0)
    return runs.read_runs(SMALL)


def test_a_run_has_every_column(rows: dict[str, dict[str, Any]]) -> None:
    for name, row in rows.items():
        assert 0 <= row["clean"] <= 1
        assert row["attack"] == ("transfer" if name == "width" else "gradient")
        assert len(row["attacked clouds"]["index"]) == 5
        assert row["parameters"] > 0
        assert ("certified 0.0001" in row) == (name == "ranks")
        assert set(row["processor seconds"]) >= {"fit", "predict", "attack"}


def test_a_cloud_broken_within_its_certificate_ends_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Boasting(Width):
        def certify(self, X: Any) -> Any:
            class Claims:
                radius = np.full(len(X), 1.0)

                def certified_accuracy(self, y: Any, epsilon: float) -> float:
                    return 1.0

            return Claims()

    task = replace(SMALL, models={"boasting": lambda seed, quick: Boasting()}, n_attacked=20)
    task = replace(task, epsilons=(0.5,))
    with pytest.raises(RuntimeError, match="were broken within their certificate"):
        measure.measure(task, "boasting", 1, False)


@pytest.mark.parametrize("threat", ["per_point", "per_coordinate"])
def test_noise_is_as_long_as_it_may_be_and_no_longer(threat: str, seed: int) -> None:
    cloud = np.random.default_rng(seed).random((200, 3))
    (moved,) = measure.moved_at_random([cloud], 0.01, threat, seed)
    steps = moved - cloud
    lengths = np.linalg.norm(steps, axis=1) if threat == "per_point" else np.abs(steps)
    assert lengths.max() <= 0.01
    np.testing.assert_allclose(lengths, 0.01, rtol=1e-6)
    again = measure.moved_at_random([cloud], 0.01, threat, seed)[0]
    assert (again == moved).all()


def test_the_report_has_all_files_and_counts_what_it_checked(
    files: dict[str, Any], tmp_path: Path
) -> None:
    page = report.write_report([SMALL])
    text = page.read_text()
    for part in ("<svg", "<em>somebody, published</em>", "<strong>ranks</strong>"):
        assert part in text
    assert "was checked for 20 pairs" in text  # 2 models, 5 clouds, 2 radii
    assert not re.search(r"""(src|href)=["']http""", text)  # self-contained
    assert (tmp_path / "report" / "small.md").read_text().startswith("| pipeline | clean |")
    for ending in ("png", "svg"):
        assert (tmp_path / "report" / f"small.{ending}").stat().st_size > 1000


def test_the_readme_gets_its_tables_from_the_report(files: dict[str, Any], tmp_path: Path) -> None:
    report.write_report([SMALL])
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("Above.\n<!-- small -->\n| pipeline | clean |")
    assert text.endswith("|\n<!-- end of small -->\nBelow.\n")
    assert "old" not in text
    report.write_report([replace(SMALL, name="another")])
    assert (tmp_path / "README.md").read_text() == text


def test_a_readme_without_a_table_yet_gets_one(tmp_path: Path, files: dict[str, Any]) -> None:
    (tmp_path / "README.md").write_text("<!-- small -->\n<!-- end of small -->\n")
    report.write_report([SMALL])
    assert (tmp_path / "README.md").read_text().count("| pipeline | clean |") == 1


def test_tables_in_the_readme_are_those_of_the_files() -> None:
    text = report.README.read_text(encoding="utf-8")
    shown = 0
    for task in TASKS.values():
        if f"<!-- {task.name} -->" in text and (found := runs.read_runs(task)):
            assert tables.check_order(found) > 0
            assert tables.headline(task, found).markdown() in text
            shown += 1
    assert shown == text.count("<!-- end of ")


def test_the_report_says_which_rows_are_of_other_settings(files: dict[str, Any]) -> None:
    assert "Made with other settings" not in report.write_report([SMALL]).read_text()
    text = report.write_report([replace(SMALL, n_attacked=6)]).read_text()
    assert "Made with other settings than those of now: width, ranks." in text


@pytest.mark.parametrize("kind", ["certified", "attacked", "noise"])
def test_the_report_refuses_what_is_out_of_order(files: dict[str, Any], kind: str) -> None:
    planted = copy.deepcopy(files)
    clouds = planted["ranks"]["rows"]["1"]["attacked clouds"]
    above = {"certified": "attacked", "attacked": "noise", "noise": "clean"}[kind]
    clouds[f"{kind} 0.0001"] = [True] * 5
    clouds[above if above == "clean" else f"{above} 0.0001"] = [True] * 4 + [False]
    assert tables.check_order(files) == 20
    with pytest.raises(RuntimeError, match="is violated for test clouds"):
        tables.check_order(planted)


def test_rows_are_kept_while_the_settings_stay(files: dict[str, Any]) -> None:
    assert set(runs.kept_rows(SMALL, "ranks")) == {"1"}
    other = replace(SMALL, n_attacked=6)
    assert runs.kept_rows(other, "ranks") == {}
    assert runs.kept_rows(replace(SMALL, name="another"), "ranks") == {}
    content = files["ranks"]
    assert content["rows"]["1"]["commit"]
    assert content["versions"]["torch"]


def test_what_is_there_is_not_run_again(
    files: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def job(task: str, name: str, seed: int, quick: bool) -> tuple[str, str, int, dict[str, Any]]:
        asked.append((name, seed))
        return task, name, seed, files[name]["rows"]["1"]

    monkeypatch.setattr(runs, "_job", job)
    runs.run_tasks([SMALL], [1, 2], 1, False)
    assert sorted(asked) == [("ranks", 2), ("width", 2)]
    assert runs.read_runs(SMALL)["ranks"]["seeds"] == [1, 2]
    runs.run_tasks([SMALL], [1, 2], 1, False)
    assert len(asked) == 2
    assert "0 runs" in capsys.readouterr().err


def test_every_settings_text_tells_models_apart() -> None:
    for task in TASKS.values():
        texts = [json.dumps(runs._settings(task, name)) for name in task.models]
        assert len(set(texts)) == len(texts)
        files = [runs._file_name(task, name) for name in task.models]
        assert len(set(files)) == len(files)


def test_every_model_can_be_cloned_and_is_given_its_seed() -> None:
    for task in TASKS.values():
        for name, factory in task.models.items():
            model = factory(7, True)
            assert clone(model).get_params()["random_state"] == 7, name
            assert repr(factory(7, False)) == repr(factory(7, False))


def test_names_at_the_ends_of_lines_do_not_overlap(seed: int) -> None:
    heights = np.random.default_rng(seed).uniform(0, 0.3, size=15)
    placed = _spread(heights)
    assert (np.diff(np.sort(placed)) > 0.9 * _LEAST_GAP).all()
    assert (np.argsort(placed) == np.argsort(heights)).all()


def test_the_figure_has_a_line_a_pipeline_and_ours_twice(files: dict[str, Any]) -> None:
    (axes,) = accuracy_figure(SMALL, files).axes
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert len(dashed) == 1
    assert {text.get_text() for text in axes.texts} == {"width", "ranks"}


def test_equal_cells_stay_on_one_side(seed: int) -> None:
    y = load_cells(return_X_y=True)[1]
    train, test = cells.split(y, seed)
    assert sorted([*train, *test]) == list(range(len(y)))
    for pair in cells.TWINS:
        assert set(pair) <= set(train) or set(pair) <= set(test)


def test_outlines_have_diameter_one(seed: int) -> None:
    outline = np.random.default_rng(seed).normal(size=(50, 2)) * 1000 + 5
    scaled = outlines.at_unit_diameter(outline)
    assert pdist(scaled).max() == pytest.approx(1, rel=1e-12)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-12)


def test_other_outlines_are_refused_before_they_are_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "other.tar.gz"
    with tarfile.open(path, mode="w:gz") as archive:
        member = tarfile.TarInfo(outlines.MEMBER)
        member.size = 3
        archive.addfile(member, io.BytesIO(b"abc"))
    with pytest.raises(ValueError, match=re.escape("MPEG7.npz has sha256 ba7816bf")):
        outlines.read_outlines(path)


def test_without_the_archive_the_command_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STABLERANK_OUTLINES", "no such file")
    monkeypatch.setattr("sys.argv", ["benchmarks", "outlines"])
    command.main()
    assert "pip download fdasrsf==2.7.3 --no-deps" in capsys.readouterr().err


def test_examples() -> None:
    result = doctest.testmod(tables)
    assert result.attempted > 0
    assert result.failed == 0

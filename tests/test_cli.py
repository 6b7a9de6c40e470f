"""The command line: exit codes, what goes to stdout, and one line for every error."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from stablerank import StableRankClassifier, __version__
from stablerank.cli import COMMANDS, main


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(20, 2)) * (1 + i % 2) for i in range(20)]
    model = StableRankClassifier(max_epochs=2, random_state=0).fit(X, ["near", "far"] * 10)
    path = tmp_path_factory.mktemp("model") / "m.srn"
    model.save(path)
    return path


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"stablerank {__version__}"


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_has_examples(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert "examples:\n  stablerank " in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["classify"],
        ["demo", "--dataset", "moons"],
        ["demo", "--seed", "-1"],
        ["demo", "--n-points", "0"],
        ["demo", "--n-attacked", "1.5"],
        ["info"],
    ],
)
def test_wrong_usage_is_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "stablerank" in captured.err


def test_info_for_people(model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(model_file)]) == 0
    out = capsys.readouterr().out
    for word in ("far, near", "AlphaPersistence", "StableRank", "LipschitzClassifier", "D3"):
        assert word in out


def test_info_for_machines(model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(model_file), "--json"]) == 0
    description = json.loads(capsys.readouterr().out)  # JSON and nothing else
    chain = StableRankClassifier.load(model_file).stability_
    assert description["constant"] == chain.constant
    assert description["chain"] == chain.to_list()
    assert description["classes"] == ["far", "near"]
    assert description["bytes"] == model_file.stat().st_size


def test_a_missing_or_damaged_model_is_one_line(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged.srn"
    damaged.write_bytes(model_file.read_bytes()[:-1] + b"?")
    for path in (damaged, tmp_path / "nowhere.srn"):
        assert main(["info", str(path)]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("stablerank: ")
        assert str(path) in lines[0]


def test_what_libraries_make_of_ctrl_c_is_still_ctrl_c(
    model_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A compiler that is interrupted raises an error of its own: that ended with 1, not 130."""

    def compile_something(*arguments: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        except KeyboardInterrupt:
            raise RuntimeError("compilation failed") from None

    monkeypatch.setattr(StableRankClassifier, "load", compile_something)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main(["info", str(model_file)]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert "interrupted" in capsys.readouterr().err

    def fail(*arguments: object) -> None:
        raise RuntimeError("compilation failed")

    monkeypatch.setattr(StableRankClassifier, "load", fail)
    with pytest.raises(RuntimeError, match="compilation failed"):
        main(["info", str(model_file)])

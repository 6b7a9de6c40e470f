"""The demonstration from its command to its files: what is written, what is claimed, what fails."""

import html.parser
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stablerank import StableRankClassifier, demo
from stablerank.checker import check_files
from stablerank.cli import main
from stablerank.demo import run_demo

TINY = {
    "n_per_class": 8,
    "n_points": 40,
    "max_epochs": 4,
    "n_trees": 10,
    "n_attacked": 6,
    "n_queries": 6,
    "n_rounds": 2,
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    output = tmp_path_factory.mktemp("demo") / "new" / "folder"
    return output, run_demo("orbits", True, output, n_jobs=1, **TINY)


def test_every_file_is_written_whole(ran: tuple[Path, dict[str, Any]]) -> None:
    output, summary = ran
    names = {path.name for path in output.iterdir()}
    assert {"report.html", "summary.json", "model.srn", "certificates.json"} <= names
    files = [output / name for name in ("model.cert.json", "model.srn", "clouds.npz")]
    assert check_files(*files).accepted
    assert not [name for name in names if name.startswith(".")]  # temporary neighbours
    assert json.loads((output / "summary.json").read_text()) == summary
    pngs = sorted(output.glob("*.png"))
    assert pngs
    for png in pngs:
        assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert png.with_suffix(".svg").read_text().rstrip().endswith("</svg>")


def test_no_certificate_is_broken_and_the_count_says_how_many_were_tried(
    ran: tuple[Path, dict[str, Any]],
) -> None:
    _, summary = ran
    assert summary["broken"] == 0
    assert summary["settings"]["n_attacked"] == TINY["n_attacked"]


def test_the_model_that_was_written_gives_the_certificates_that_were_written(
    ran: tuple[Path, dict[str, Any]],
) -> None:
    output, _ = ran
    claims = json.loads((output / "certificates.json").read_text())
    model = StableRankClassifier.load(output / "model.srn")
    assert set(claims["prediction"]) <= set(model.classes_.tolist())
    assert len(claims["radius"]) == len(claims["prediction"]) == len(claims["margin"])
    assert (np.array(claims["radius"]) >= 0).all()
    assert claims["chain"] == model.stability_.to_list()


class _Page(html.parser.HTMLParser):
    """Collects what a page would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "data", "poster") or (name == "href" and tag == "link"):
                self.loads.append(value or "")


def test_the_report_is_one_file_that_loads_nothing(ran: tuple[Path, dict[str, Any]]) -> None:
    text = (ran[0] / "report.html").read_text()
    page = _Page()
    page.feed(text)
    assert all(link.startswith("data:") for link in page.loads), page.loads
    assert "script" not in page.tags
    assert not re.search(r"url\(\s*['\"]?https?:", text)
    assert {"table", "h1"} <= page.tags
    assert page.tags & {"img", "svg"}


def test_a_broken_certificate_is_said_and_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # What the user sees when a claim does not hold: nothing may turn it into a success.
    monkeypatch.setattr(demo, "run_demo", lambda *a, **k: {"broken": 3, "wall_seconds": 1.0})
    assert main(["demo", "--json", "--output", str(tmp_path)]) == 1
    assert "3 certificates are broken" in capsys.readouterr().err


def test_certificates_that_are_too_large_are_found_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The test of the test: with radii a hundred times too large the demonstration must notice,
    # by its count of broken certificates or by certified <= attacked <= clean.
    honest = StableRankClassifier.certify

    def boastful(self: Any, X: Any, *args: Any, **kwargs: Any) -> Any:
        claims = honest(self, X, *args, **kwargs)
        object.__setattr__(claims, "radius", 100 * claims.radius)
        return claims

    monkeypatch.setattr(StableRankClassifier, "certify", boastful)
    try:
        summary = run_demo("orbits", True, tmp_path / "out", n_jobs=1, **{**TINY, "n_queries": 20})
    except (RuntimeError, AssertionError):
        return
    assert summary["broken"] > 0


def test_an_interrupted_run_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "demo_page", interrupt)  # after all work, just before the files
    words = ["demo", "--dataset", "orbits", "--quick", "--n-per-class", "8", "--n-points", "40"]
    output = tmp_path / "out"
    assert main([*words, "--n-attacked", "4", "--output", str(output)]) == 130
    error = capsys.readouterr().err
    assert "interrupted; nothing was written." in error
    assert "Traceback" not in error
    assert not output.exists() or not list(output.iterdir())


def test_ctrl_c_ends_the_process_with_130(tmp_path: Path) -> None:
    output = tmp_path / "out"
    words = [sys.executable, "-m", "stablerank", "demo", "--output", str(output)]
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell that starts the tests in the background makes its children deaf to Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    first = process.stderr.readline()  # the first finished step: it is at work
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, first + error
    assert "Traceback" not in error
    assert not output.exists() or not list(output.iterdir())


def test_a_folder_that_cannot_be_written_is_found_out_before_any_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setattr(demo, "load_cells", lambda *a, **k: pytest.fail("work was done"))
    assert main(["demo", "--output", str(blocked)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert blocked.read_text() == "in the way"


@pytest.mark.parametrize(
    ("dataset", "settings"), [("moons", {}), ("orbits", {"n_per_class": 0}), ("orbits", {"x": 1})]
)
def test_bad_arguments_raise(dataset: str, settings: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises((ValueError, TypeError)):
        run_demo(dataset, True, tmp_path / "out", **settings)
    assert not os.path.exists(tmp_path / "out" / "summary.json")

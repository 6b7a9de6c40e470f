"""The progress bar: nothing before two seconds, nothing in logs, nothing on stdout, ever."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from stablerank import progress
from stablerank.progress import ProgressBar, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextmanager
def stderr_is_a_terminal() -> Iterator[Terminal]:
    """Not a fixture: pytest puts its own stderr back between set-up and call."""
    before, stream = sys.stderr, Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        patch.setenv("TERM", "xterm-256color")
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            patch.delenv(name, raising=False)
        yield stream
        assert sys.stderr is stream  # rich, which redirects it, gave it back
    assert sys.stderr is before


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE_SECONDS", -1.0)


@pytest.mark.usefixtures("impatient")
def test_a_terminal_sees_the_count(capsys: pytest.CaptureFixture[str]) -> None:
    with stderr_is_a_terminal() as terminal, ProgressBar("diagrams of clouds", total=7) as bar:
        bar.advance(2)
        bar.advance()
    assert "diagrams of clouds" in terminal.getvalue()
    assert "3/7" in terminal.getvalue()
    assert capsys.readouterr() == ("", "")


def test_short_work_is_silent() -> None:
    with stderr_is_a_terminal() as terminal, ProgressBar("diagrams", total=3) as bar:
        bar.advance(3)
    assert terminal.getvalue() == ""


def test_the_bar_appears_after_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with stderr_is_a_terminal() as terminal, ProgressBar("diagrams", total=3) as bar:
        now = 101.9
        bar.advance()
        assert terminal.getvalue() == ""
        now = 102.1
        bar.advance()
        assert terminal.getvalue() != ""
        bar.advance()
    assert "3/3" in terminal.getvalue()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", ["", "FORCE_COLOR", "TTY_COMPATIBLE"])
def test_logs_stay_clean(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # FORCE_COLOR, which many CI systems set, used to bring the bar into the log.
    if name:
        monkeypatch.setenv(name, "1")
    with ProgressBar("diagrams", total=3) as bar:
        bar.advance(3)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("impatient")
def test_no_stderr_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
    done = []
    with ProgressBar("diagrams", total=3) as bar:
        bar.advance(3)
        done.append("work goes on")
    assert done == ["work goes on"]


@pytest.mark.usefixtures("impatient")
def test_errors_pass_through() -> None:
    def interrupted() -> None:
        with ProgressBar("diagrams", total=3) as bar:
            bar.advance()
            raise KeyboardInterrupt

    with stderr_is_a_terminal() as terminal, pytest.raises(KeyboardInterrupt):
        interrupted()
    assert terminal.getvalue().endswith("\x1b[2K")  # the line is erased


@pytest.mark.usefixtures("impatient")
def test_a_bar_can_be_used_again() -> None:
    # It used to count on from where it was.
    bar = ProgressBar("diagrams", total=5)
    for steps in (4, 5):
        with stderr_is_a_terminal() as terminal, bar:
            bar.advance(steps)
        assert f"{steps}/5" in terminal.getvalue()


@pytest.mark.usefixtures("impatient")
def test_track_yields_everything_in_order() -> None:
    with stderr_is_a_terminal() as terminal:
        assert list(track("abc", "letters")) == ["a", "b", "c"]
    assert "3/3" in terminal.getvalue()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("total", "shown"), [(None, "3/?"), (4, "3/4")])
def test_track_takes_generators(total: int | None, shown: str) -> None:
    def letters() -> Iterator[str]:
        yield from "abc"

    with stderr_is_a_terminal() as terminal:
        assert list(track(letters(), "letters", total)) == ["a", "b", "c"]
    assert shown in terminal.getvalue()


@pytest.mark.usefixtures("impatient")
def test_track_can_be_left_early() -> None:
    with stderr_is_a_terminal() as terminal:
        for number in track(range(10), "numbers"):
            if number == 2:
                break
        del number
    assert terminal.getvalue().endswith("\x1b[2K")

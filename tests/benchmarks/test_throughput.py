"""Competitors do the same work; the ways of measuring say what they should."""

from __future__ import annotations

import mmap
import time
from typing import Any

import gudhi.hera
import numpy as np
import pytest

from benchmarks.contests import CONTESTS, Contest, components_in_space, other_tools
from benchmarks.throughput import contest, interleaved, peak_memory


def diagrams_of(result: Any, who: str, cloud: int, dimension: int) -> Any:
    """The finite bars of one cloud in each tool's own kind of result."""
    if who in ("AlphaPersistence", "RipsPersistence"):
        bars = result.diagram(cloud, dimension)
    elif who in ("ripser.py", "giotto-ph"):
        bars = result[cloud]["dgms"][dimension]
    elif who == "stablebear":
        bars = np.asarray(result[cloud, dimension])
    else:
        bars = result[cloud][dimension]
    bars = np.asarray(bars, dtype=float).reshape(-1, 2)
    return bars[np.isfinite(bars[:, 1])]


@pytest.mark.parametrize(
    ("who", "reference", "tolerance"),
    [
        # Relative 4e-6 is what "safe" may be off; the tools for Rips compute in float32.
        ("GUDHI CechPersistence", "AlphaPersistence", 4e-6),
        ("GUDHI RipsPersistence", "RipsPersistence", 1e-6),
        ("ripser.py", "RipsPersistence", 1e-6),
        ("giotto-ph", "RipsPersistence", 1e-6),
        ("stablebear", "RipsPersistence", 1e-6),
    ],
)
def test_the_other_tools_give_the_same_bars(
    who: str, reference: str, tolerance: float, seed: int
) -> None:
    runs = other_tools(seed, 2)
    run, ours = runs[who], runs[reference]
    assert ours is not None
    if run is None:
        pytest.skip("not installed: pip install stablerank[benchmarks]")
    theirs, expected = run(), ours()
    for cloud in range(2):
        for dimension in (0, 1):
            a = diagrams_of(theirs, who, cloud, dimension)
            b = diagrams_of(expected, reference, cloud, dimension)
            assert len(b) > 0
            assert gudhi.hera.bottleneck_distance(a, b, 0.0) <= tolerance


def test_components_in_space_are_the_same(seed: int) -> None:
    runs = components_in_space(seed, 1)
    ours, theirs = runs["AlphaPersistence((0,))"], runs["GUDHI safe"]
    assert ours is not None
    assert theirs is not None
    np.testing.assert_allclose(ours().bars[0], theirs().bars[0], rtol=4e-6)


def test_interleaved_rounds_measure_the_clock_and_the_work() -> None:
    calls: list[str] = []
    spent = interleaved(
        {"sleeps": lambda: (calls.append("sleeps"), time.sleep(0.02)), "none": lambda: None}, 3
    )
    assert len(calls) == 4  # one warms up
    assert spent["sleeps"].shape == (3, 2)
    assert (spent["sleeps"][:, 0] >= 0.02).all()  # a machine may be late, never early
    assert (spent["sleeps"][:, 1] < 0.02).all()  # sleeping is no work


def test_what_is_not_installed_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.contests._optional", lambda name: None)
    rows = contest("stable ranks, 1000 bars", 0, quick=True)["competitors"]
    assert rows["stablebear"] == {"absent": "not installed"}
    assert rows["StableRank"]["ratio"]["median"] == 1


def test_memory_is_seen_where_tracemalloc_does_not_look(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(seed: int, n_items: int) -> dict[str, Any]:
        def squeeze() -> None:
            with mmap.mmap(-1, n_items * 2**20) as pages:
                pages.write(bytes(n_items * 2**20))

        return {"squeeze": squeeze}

    monkeypatch.setitem(CONTESTS, "pages", Contest(prepare, 60, {}))
    peak = peak_memory("pages", "squeeze", 0)["peak_mb"]
    if peak is None:
        pytest.skip("this system has no /proc/self/clear_refs")
    # The zeros that are written come from untouched memory, which is no page of its own.
    assert 59 <= peak <= 70


def test_every_contest_has_us_first_and_somebody_else() -> None:
    for this in CONTESTS.values():
        runs = this.prepare(0, 2)
        assert len(runs) >= 2
        assert next(iter(runs.values())) is not None
        assert set(this.target) <= set(runs)

"""The contests under pytest-benchmark, to follow one competitor or compare two commits.

Command: ``pytest benchmarks/test_throughput.py --benchmark-group-by=param:name``, and
``--benchmark-autosave``, ``--benchmark-compare`` as its manual says. Inputs are a tenth of those of
``benchmarks.throughput``. Nothing is asserted about time.
"""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.contests import CONTESTS

COMPETITORS = [(name, who) for name in CONTESTS for who in CONTESTS[name].prepare(0, 1)]


@pytest.mark.parametrize(("name", "who"), COMPETITORS)
def test_throughput(name: str, who: str, benchmark: Any) -> None:
    function = CONTESTS[name].prepare(0, max(2, CONTESTS[name].n_items // 10))[who]
    if function is None:
        pytest.skip("not installed: pip install stablerank[benchmarks]")
    benchmark.pedantic(function, rounds=3, warmup_rounds=1)

"""How fast we are, each time against others who do the same work on the same input in the same run.

- contests (``benchmarks.contests``): seconds are medians and quartiles of interleaved rounds after
  a warm-up; in every second round the competitors come in the opposite order. A ratio is the median
  of the quotients within a round, above 1 where we are faster, so whatever else the machine does
  slows both sides of it; ``cpu_ratio`` is the same of the time that the process worked, in which
  others do not count at all. A tool that is not installed is reported as absent.
- memory: the peak of the resident set (VmHWM) while a competitor runs once in a process of its own,
  less what was resident before. tracemalloc would not see compiled code.
- workers: two threads against one, beside a control that spins (``benchmarks.workers``).
- scaling: the exponent of a power law fitted to the seconds, against the number of points, of
  clouds, of bars. 1 is linear.

Command: ``python -m benchmarks.throughput [--quick] [--seed S]`` (about ten minutes), writes
``results/throughput.json``; ``--quick`` (under a minute) measures little and writes nothing. The
other tools come with ``pip install stablerank[benchmarks]``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import record, workers
from benchmarks.contests import CONTESTS, Run, in_the_plane, make_diagrams
from stablerank import StableRank
from stablerank.diagrams import AlphaPersistence

TOOLS = ("ripser", "stablebear", "giotto-ph")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small inputs, two rounds, no file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", nargs=2, metavar=("CONTEST", "NAME"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        print(json.dumps(peak_memory(*arguments.memory, arguments.seed, quick=arguments.quick)))
        return
    started, load = time.time(), os.getloadavg()
    result = run(arguments.seed, quick=arguments.quick)
    if not arguments.quick:
        content = {"seeds": [arguments.seed], "load_before": load, "cores": os.cpu_count()}
        content |= {"tools": {name: _version(name) for name in TOOLS}, **result}
        record.write("throughput", "benchmarks.throughput", started, content)


def run(seed: int, *, quick: bool) -> dict[str, Any]:
    """All four parts, printed as they come."""
    contests = {}
    for name in CONTESTS:
        contests[name] = contest(name, seed, quick=quick)
        for competitor, row in contests[name]["competitors"].items():
            print(f"{name:26} {competitor:24} {_line(row)}", flush=True)
    scaling = measure_scaling(seed, quick=quick)
    for name, row in scaling.items():
        slopes = f"exponent {row['exponent']:.2f}, of work {row['cpu_exponent']:.2f}"
        print(f"{name:51} {slopes}", flush=True)
    two = measure_workers(seed, quick=quick)
    median = {key: two[key]["median"] for key in ("speed_up", "control", "of_control")}
    print("two threads, against one: " + ", ".join(f"{k} x{v:.2f}" for k, v in median.items()))
    return {"contests": contests, "scaling": scaling, "workers": two}


def contest(name: str, seed: int, *, quick: bool) -> dict[str, Any]:
    """Time every competitor in every round, and see how much memory each takes."""
    this = CONTESTS[name]
    n_items = _n_items(this.n_items, quick)
    runs = this.prepare(seed, n_items)
    present = {who: function for who, function in runs.items() if function is not None}
    spent = interleaved(present, 2 if quick else 9)
    ours = spent[next(iter(runs))]
    rows: dict[str, Any] = {}
    for who in runs:
        if who not in present:
            rows[who] = {"absent": "not installed"}
            continue
        rows[who] = {
            "ms_an_item": _quartiles(spent[who][:, 0] / n_items * 1e3),
            "ratio": _quartiles(spent[who][:, 0] / ours[:, 0]),
            "cpu_ratio": _quartiles(spent[who][:, 1] / ours[:, 1]),
        }
        if who in this.target:
            rows[who]["ratio_promised"] = this.target[who]
        if not quick:
            rows[who] |= _in_a_process_of_its_own(name, who, seed)
    return {"n_items": n_items, "rounds": len(ours), "competitors": rows}


def interleaved(runs: dict[str, Run], n_rounds: int) -> dict[str, NDArray[np.float64]]:
    """Seconds of each run, by the clock and of work, a row a round; the first does not count."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for i in range(n_rounds + 1):
        for name in list(runs)[:: 1 if i % 2 else -1]:
            start, work = time.perf_counter(), time.process_time()
            runs[name]()
            if i > 0:
                work = time.process_time() - work
                spent[name].append((time.perf_counter() - start, work))
    return {name: np.array(rows) for name, rows in spent.items()}


def peak_memory(name: str, who: str, seed: int, *, quick: bool = False) -> dict[str, float | None]:
    """Megabytes that one run adds to this process; a small run before it compiles and imports."""
    this = CONTESTS[name]
    function = this.prepare(seed, _n_items(this.n_items, True))[who]
    assert function is not None
    function()
    function = this.prepare(seed, _n_items(this.n_items, quick))[who]
    assert function is not None
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        return {"peak_mb": None}
    reset.write_text("5")  # the peak begins again at what is resident now
    before = _resident("VmRSS")
    function()
    return {"peak_mb": round(_resident("VmHWM") - before, 1)}


def measure_scaling(seed: int, *, quick: bool) -> dict[str, dict[str, Any]]:
    """Seconds against size, and the slope of the line through their logarithms."""
    rng = np.random.default_rng(seed)
    shrink = 10 if quick else 1
    clouds = list(rng.random((5000 // shrink, 100, 2)))
    alpha, rank = AlphaPersistence().fit(clouds[:1]), StableRank(n_ranks=100)

    def of_points_items(n: int) -> int:
        return max(1, 20_000 // shrink // n)

    def of_points(n: int) -> Run:
        function = in_the_plane("uniform", n)(seed, of_points_items(n))["kernel"]
        assert function is not None
        return function

    def of_clouds(n: int) -> Run:
        return lambda: alpha.transform(clouds[:n])

    def of_bars(n: int) -> Run:
        batch = make_diagrams(seed, 500 // shrink, n)
        return lambda: rank.fit(batch).transform(batch)

    curves = {}
    for name, make, sizes, n_items in (
        ("points of a cloud, kernel", of_points, (100, 300, 1000, 3000, 10_000), of_points_items),
        ("clouds, AlphaPersistence", of_clouds, (200, 500, 1000, 2000, 5000), _one),
        ("bars of a diagram, StableRank", of_bars, (30, 100, 300, 1000, 3000), _one),
    ):
        sizes = tuple(size // shrink for size in sizes) if make is of_clouds else sizes
        spent = interleaved({str(n): make(n) for n in sizes}, 2 if quick else 7)
        medians = np.array([np.median(spent[str(n)], axis=0) / n_items(n) for n in sizes])
        wall, cpu = np.polyfit(np.log(sizes), np.log(medians), 1)[0]
        curves[name] = {
            "exponent": float(wall),
            "cpu_exponent": float(cpu),
            "sizes": sizes,
            "seconds": medians[:, 0].tolist(),
            "cpu_seconds": medians[:, 1].tolist(),
        }
    return curves


def _one(size: int) -> int:
    return 1


def measure_workers(seed: int, *, quick: bool) -> dict[str, Any]:
    """AlphaPersistence on 2000 orbits of 1000 points by one thread and by two."""
    model = AlphaPersistence()
    case = workers.Case(model, "orbits", 2000, 1000)
    clouds = workers.make_clouds(case, seed, 0.1 if quick else 1.0)
    model.fit(clouds[:1])
    ways = ["1 worker", "2 threads"]
    rounds = [
        workers.measure(model, clouds, ways[:: 1 if i % 2 else -1])
        for i in range(3 if quick else 10)
    ][1:]
    ups = np.array([r["1 worker"]["seconds"] / r["2 threads"]["seconds"] for r in rounds])
    controls = np.array([r["2 threads"]["control"] for r in rounds])
    return {
        "clouds": len(clouds),
        "rounds": len(rounds),
        "speed_up": _quartiles(ups),
        "control": _quartiles(controls),
        "of_control": _quartiles(ups / controls),
        "speed_up_promised": 1.8,
    }


def _in_a_process_of_its_own(name: str, who: str, seed: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.throughput", "--seed", str(seed)]
    done = subprocess.run(
        [*command, "--memory", name, who], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _n_items(n_items: int, quick: bool) -> int:
    return max(2, n_items // 20) if quick else n_items


def _resident(field: str) -> float:
    """Megabytes, from the kernel's account of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}.")


def _quartiles(values: Any) -> dict[str, float]:
    lower, median, upper = (float(x) for x in np.quantile(values, [0.25, 0.5, 0.75]))
    return {"median": round(median, 5), "lower": round(lower, 5), "upper": round(upper, 5)}


def _line(row: dict[str, Any]) -> str:
    if "absent" in row:
        return "not installed"
    promised = f" (promised {row['ratio_promised']:g})" if "ratio_promised" in row else ""
    memory = f"  {row['peak_mb']} MB" if row.get("peak_mb") is not None else ""
    return (
        f"{row['ms_an_item']['median']:10.3f} ms  x{row['ratio']['median']:.2f}, "
        f"of work x{row['cpu_ratio']['median']:.2f}{promised}{memory}"
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()

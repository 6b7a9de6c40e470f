"""Two workers against one: what processes and threads bring to each filtration.

Threads start at once and share their memory, but gain only where compiled code lets go of the
interpreter's lock, and where little is done without it. Filtrations choose by themselves
(``n_jobs``); this table says whether they are right. All ways must give the same diagrams to the
last bit, which is asserted before writing.

A machine that others use as well does not have two cores to give. So beside each measurement a
control spins: compiled code that needs nothing but a core, once in one thread and once in two. What
two threads bring there is the most that anybody can get at that moment; ``of_control`` is the
speed-up divided by it, 1 for workers without any cost of their own.

Seconds for all clouds are medians, least and largest of interleaved rounds, after one round that
starts the workers and compiles the kernels; ``cpu_seconds`` (threads only) is the time that all
threads of the process worked, which others do not change: its quotient says what a second thread
costs. Speed-ups and controls are medians of the quotients within a round. In every second round
the ways come in the opposite order.

Command: ``python -m benchmarks.workers [--quick]`` (about two minutes on two idle cores). It writes
``results/workers.json``; ``--quick`` writes nothing.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
from numba import njit
from numpy.typing import NDArray

from benchmarks import record
from stablerank.datasets import make_orbits
from stablerank.diagrams import AlphaPersistence, RipsPersistence

Clouds = list[NDArray[np.float64]]


@dataclass(frozen=True)
class Case:
    """A filtration, and how many clouds of which kind it gets."""

    model: AlphaPersistence | RipsPersistence
    kind: str
    n_clouds: int
    n_points: int


CASES = {
    "alpha, kernel": Case(AlphaPersistence(), "orbits", 2000, 1000),
    "alpha, kernel, small clouds": Case(AlphaPersistence(), "uniform", 20_000, 30),
    "alpha, GUDHI": Case(AlphaPersistence(engine="gudhi"), "orbits", 40, 300),
    "alpha in space, H0": Case(AlphaPersistence((0,)), "uniform in space", 600, 1000),
    "Rips": Case(RipsPersistence(), "orbits", 20, 300),
    "Rips, H0": Case(RipsPersistence((0,)), "orbits", 600, 1000),
}
WAYS = {
    "1 worker": ("sequential", 1),
    "2 threads": ("threading", 2),
    "2 processes": ("loky", 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few clouds, two rounds")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.time()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    rounds, share = (2, 0.02) if arguments.quick else (5, 1.0)
    rows = run(arguments.seed, rounds=rounds, share=share)
    for name, row in rows.items():
        print(
            f"{name:42} {row['seconds_median']:7.3f} s   x{row['speed_up']:.2f}   "
            f"control x{row['control']:.2f}   of control {row['of_control']:.2f}"
        )
    if not arguments.quick:
        protocol = {"rounds": rounds, "cores": os.cpu_count(), "load_before": load}
        record.write(
            "workers",
            "benchmarks.workers",
            started,
            {"seeds": [arguments.seed], "protocol": protocol, "ways": rows},
        )


def run(seed: int, *, rounds: int, share: float) -> dict[str, dict[str, Any]]:
    """Time each way in each round; the speed-up is against one worker of the same filtration."""
    rows = {}
    for name, case in CASES.items():
        clouds = make_clouds(case, seed, share)
        case.model.fit(clouds[:1])
        measured = [
            measure(case.model, clouds, list(WAYS)[:: 1 if i % 2 else -1])
            for i in range(rounds + 1)
        ][1:]
        for way in WAYS:
            ups = np.array([r["1 worker"]["seconds"] / r[way]["seconds"] for r in measured])
            controls = np.array([r[way]["control"] for r in measured])
            times = [r[way]["seconds"] for r in measured]
            rows[f"{name}, {way}"] = {
                "clouds": len(clouds),
                "points": case.n_points,
                "kind": case.kind,
                "seconds_median": round(float(np.median(times)), 4),
                "seconds_least": round(min(times), 4),
                "seconds_largest": round(max(times), 4),
                "cpu_seconds": round(float(np.median([r[way]["cpu"] for r in measured])), 4)
                if way != "2 processes"
                else None,
                "speed_up": round(float(np.median(ups)), 3),
                "control": round(float(np.median(controls)), 3),
                "of_control": round(float(np.median(ups / controls)), 3),
            }
    return rows


def make_clouds(case: Case, seed: int, share: float) -> Clouds:
    """All different, in random order."""
    n = max(round(share * case.n_clouds), 20)
    rng = np.random.default_rng(seed)
    if case.kind == "orbits":
        clouds, _ = make_orbits(-(-n // 5), case.n_points, random_state=seed)
        return [clouds[i] for i in rng.permutation(len(clouds))]
    return list(rng.random((n, case.n_points, 3 if case.kind.endswith("space") else 2)))


def measure(
    model: AlphaPersistence | RipsPersistence, clouds: Clouds, ways: list[str]
) -> dict[str, dict[str, float]]:
    """One round: each way, between two controls."""
    result, diagrams = {}, []
    after = control()
    for way in ways:
        before = after
        backend, n_jobs = WAYS[way]
        with joblib.parallel_config(backend=backend, n_jobs=n_jobs):
            cpu, start = time.process_time(), time.perf_counter()
            diagrams.append(model.transform(clouds))
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        after = control()
        result[way] = {"seconds": seconds, "cpu": cpu, "control": (before + after) / 2}
    if any(batch != diagrams[0] for batch in diagrams):
        raise AssertionError(f"{model}: workers change the diagrams.")
    for way in ways:  # of one worker and of two: the moment is that of both
        result[way]["control"] = (result["1 worker"]["control"] + result[way]["control"]) / 2
    return result


def control() -> float:
    """How many times as much two spinning threads do as one, here and now."""
    alone = seconds_of([threading.Thread(target=spin, args=(SPINS,))])
    both = seconds_of([threading.Thread(target=spin, args=(SPINS,)) for _ in range(2)])
    return 2 * alone / both


SPINS = 20_000_000  # about a twentieth of a second


@njit(nogil=True)
def spin(n: int) -> int:
    """Steps of a generator of random numbers, each waiting for the one before."""
    state = np.uint64(1)
    for _ in range(n):
        state ^= state << np.uint64(13)
        state ^= state >> np.uint64(7)
        state ^= state << np.uint64(17)
    return int(state)


def seconds_of(threads: list[threading.Thread]) -> float:
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

"""Two workers against one: what processes and threads bring to each filtration in the plane.

Threads start at once and share their memory, but gain only where compiled code lets go of the
interpreter's lock. Filtrations choose by themselves (``n_jobs``); this table says whether they are
right. All ways must give the same diagrams to the last bit, which is asserted before writing.

Seconds for all clouds, median, least and largest of interleaved rounds, after one round that starts
the workers and compiles the kernel. The speed-up is the median of the quotients within a round: a
round is short, so whatever else the machine does slows its ways alike.

Command: ``python -m benchmarks.workers [--quick]`` (about one minute on two cores). It writes
``results/workers.json``; ``--quick`` writes nothing.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

import joblib
import numpy as np

from benchmarks import record
from stablerank.datasets import make_orbits
from stablerank.diagrams import AlphaPersistence, RipsPersistence

FILTRATIONS: dict[str, tuple[AlphaPersistence | RipsPersistence, float]] = {
    # and the share of the clouds that it gets: Rips is slower by far
    "alpha, GUDHI": (AlphaPersistence(engine="gudhi"), 1.0),
    "alpha, kernel": (AlphaPersistence(engine="planar"), 1.0),
    "Rips": (RipsPersistence(), 0.1),
}
WAYS = {
    "1 worker": ("sequential", 1),
    "2 processes": ("loky", 2),
    "2 threads": ("threading", 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few clouds, two rounds")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.time()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    rounds, per_class = (2, 4) if arguments.quick else (7, 40)
    rows = run(arguments.seed, rounds=rounds, per_class=per_class)
    for name, row in rows.items():
        print(f"{name:26} {row['seconds_median']:7.3f} s   x{row['speed_up']:.2f}")
    if not arguments.quick:
        protocol = {
            "points": 300,
            "rounds": rounds,
            "cores": os.cpu_count(),
            "load_before": load,
        }
        record.write(
            "workers",
            "benchmarks.workers",
            started,
            {"seeds": [arguments.seed], "protocol": protocol, "ways": rows},
        )


def run(seed: int, *, rounds: int, per_class: int) -> dict[str, dict[str, Any]]:
    """Time each way in each round; the speed-up is against one worker of the same filtration."""
    everything, _ = make_orbits(per_class, 300, random_state=seed)
    order = np.random.default_rng(seed).permutation(len(everything))
    seconds: dict[tuple[str, str], list[float]] = {}
    for i in range(rounds + 1):
        for name, (model, share) in FILTRATIONS.items():
            clouds = [everything[k] for k in order[: round(share * len(order))]]
            model.fit(clouds)
            diagrams = []
            for way, (backend, n_jobs) in WAYS.items():
                with joblib.parallel_config(backend=backend, n_jobs=n_jobs):
                    start = time.perf_counter()
                    diagrams.append(model.transform(clouds))
                    if i > 0:
                        taken = time.perf_counter() - start
                        seconds.setdefault((name, way), []).append(taken)
            if any(batch != diagrams[0] for batch in diagrams):
                raise AssertionError(f"{name}: workers change the diagrams.")
    return {
        f"{name}, {way}": {
            "clouds": round(FILTRATIONS[name][1] * len(order)),
            "seconds_median": round(float(np.median(times)), 4),
            "seconds_least": round(min(times), 4),
            "seconds_largest": round(max(times), 4),
            "speed_up": round(float(np.median(np.divide(seconds[name, "1 worker"], times))), 3),
        }
        for (name, way), times in seconds.items()
    }


if __name__ == "__main__":
    main()

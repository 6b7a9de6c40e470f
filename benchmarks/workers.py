"""Two workers against one: what processes and threads bring to alpha persistence in the plane.

GUDHI holds the interpreter's lock and needs processes; the kernel of this package releases it and
takes threads. ``AlphaPersistence`` chooses so by itself, and this table says whether it is right.
All ways must give the same diagrams to the last bit, which is asserted before anything is written.

Seconds for all clouds, median, least and largest of interleaved rounds, after one round that starts
the workers and compiles the kernel. The speed-up is the median of the quotients within a round: a
round is short, so whatever else the machine does slows its ways alike.

Command: ``python -m benchmarks.workers [--quick]`` (about two minutes on two cores). It writes
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
from stablerank.diagrams import AlphaPersistence, DiagramBatch

WAYS: dict[str, tuple[str, int, str]] = {
    # engine, n_jobs, backend
    "gudhi, 1 worker": ("gudhi", 1, "sequential"),
    "gudhi, 2 processes": ("gudhi", 2, "loky"),
    "gudhi, 2 threads": ("gudhi", 2, "threading"),
    "kernel, 1 worker": ("planar", 1, "sequential"),
    "kernel, 2 processes": ("planar", 2, "loky"),
    "kernel, 2 threads": ("planar", 2, "threading"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few clouds, two rounds")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.time()
    rounds, per_class = (2, 4) if arguments.quick else (7, 40)
    rows = run(arguments.seed, rounds=rounds, per_class=per_class)
    for name, row in rows.items():
        print(f"{name:20} {row['seconds_median']:7.3f} s   x{row['speed_up']:.2f}")
    if not arguments.quick:
        protocol = {
            "clouds": 5 * per_class,
            "points": 300,
            "rounds": rounds,
            "cores": os.cpu_count(),
            "load_before": os.getloadavg() if hasattr(os, "getloadavg") else None,
        }
        record.write(
            "workers",
            "benchmarks.workers",
            started,
            {"seeds": [arguments.seed], "protocol": protocol, "ways": rows},
        )


def run(seed: int, *, rounds: int, per_class: int) -> dict[str, dict[str, Any]]:
    """Time each way in each round; the speed-up is against one worker of the same engine."""
    clouds, _ = make_orbits(per_class, 300, random_state=seed)
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for i in range(rounds + 1):
        diagrams: dict[str, list[DiagramBatch]] = {}
        for name, (engine, n_jobs, backend) in WAYS.items():
            model = AlphaPersistence(n_jobs=n_jobs, engine=engine)  # type: ignore[arg-type]
            model.fit(clouds)
            with joblib.parallel_config(backend=backend):
                start = time.perf_counter()
                batch = model.transform(clouds)
                if i > 0:
                    seconds[name].append(time.perf_counter() - start)
            diagrams.setdefault(engine, []).append(batch)
        for engine, batches in diagrams.items():
            if any(batch != batches[0] for batch in batches):
                raise AssertionError(f"{engine}: workers change the diagrams.")
    return {
        name: {
            "seconds_median": round(float(np.median(times)), 4),
            "seconds_least": round(min(times), 4),
            "seconds_largest": round(max(times), 4),
            "speed_up": round(
                float(np.median(np.divide(seconds[name.split(",")[0] + ", 1 worker"], times))), 3
            ),
        }
        for name, times in seconds.items()
    }


if __name__ == "__main__":
    main()

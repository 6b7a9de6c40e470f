"""Whether the planar kernel is right: a million nasty clouds against GUDHI's exact alpha complex.

Each bar of relative length above 1e-9 must have a partner whose birth and death differ by at most
1e-12 relatively, in both directions, and each bar must be what its own generators say. Clouds for
which the kernel says that it gave up are counted, not compared. Most clouds have 3 to 30 points,
one in fifty up to 150, one in five hundred 1000. How fast the kernel is, says
``benchmarks/throughput.py``.

Command: ``python -m benchmarks.planar [--fuzz N] [--seed S] [--quick]``; 1,000,000 clouds take
about 15 minutes on one idle core. The result is in ``results/planar.json``; ``--quick`` fuzzes
2,000 and writes nothing. Progress is saved every 2,000 clouds, and the same seed and sources go on
from there. Clouds k to k + 1,999, for k divisible by 2,000, are drawn from the seed ``[S, k]``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gudhi
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

import stablerank.diagrams.planar as planar
from benchmarks import record
from stablerank.diagrams.planar import PlanarAlphaBatch, planar_alpha

Cloud = NDArray[np.float64]
Bars = NDArray[np.float64]

CHUNK = 2_000
TOLERANCE = 1e-12
SHORT = 1e-9


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2,000 clouds, no result file")
    parser.add_argument("--fuzz", type=int, metavar="N", default=1_000_000, help="so many clouds")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    n_clouds = CHUNK if arguments.quick else arguments.fuzz
    done = run_fuzz(n_clouds, arguments.seed, write=not arguments.quick)
    print(f"{done['clouds']} clouds, {done['failures']} failures, {done['gave_up']} given up")
    if done["failures"]:
        sys.exit(1)


def run_fuzz(n_clouds: int, seed: int, *, write: bool = True) -> dict[str, Any]:
    """Compare the kernel with GUDHI's exact alpha complex on random clouds of all families."""
    sources = [*sorted(Path(planar.__file__).parent.glob("*.py")), Path(__file__)]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:16]
    done: dict[str, Any] = {"seed": seed, "sources_sha256": digest, "asked": n_clouds, "clouds": 0}
    done |= {"compared": 0, "failures": 0, "gave_up": 0, "bars": 0, "points": 0, "largest": 0}
    done |= {"kernel_seconds": 0.0, "fuzz_seconds": 0.0, "failed": []}
    done |= {"families": {name: {"clouds": 0, "gave_up": 0} for name in FAMILIES}}
    results = record.RESULTS / "planar.json"
    if write and results.exists():
        before = json.loads(results.read_text()).get("fuzz", {})
        if (before.get("seed"), before.get("sources_sha256")) == (seed, digest):
            done = {**before, "asked": n_clouds}
    names = list(FAMILIES)
    started = time.time() - done["fuzz_seconds"]
    planar_alpha(np.eye(2), np.array([0, 2]))  # compiles
    while done["clouds"] < n_clouds:
        rng = np.random.default_rng([seed, done["clouds"]])
        size = min(CHUNK, n_clouds - done["clouds"])
        kinds = [names[k] for k in rng.integers(len(names), size=size)]
        clouds = [rng.permutation(FAMILIES[kind](rng, _n_points(rng))) for kind in kinds]
        start = time.perf_counter()
        answer = planar_alpha(*_flatten(clouds))
        done["kernel_seconds"] += time.perf_counter() - start
        for i in compare(clouds, answer):
            done["failures"] += 1
            if len(done["failed"]) < 20:
                done["failed"].append({"family": kinds[i], "points": clouds[i].tolist()})
        for i, kind in enumerate(kinds):
            done["families"][kind]["clouds"] += 1
            done["families"][kind]["gave_up"] += int(answer.gave_up[i])
        done["clouds"] += size
        done["gave_up"] += int(answer.gave_up.sum())
        done["compared"] = done["clouds"] - done["gave_up"]
        done["bars"] += len(answer.h0_deaths) + len(answer.h1_births)
        done["points"] += sum(map(len, clouds))
        done["largest"] = max(done["largest"], *map(len, clouds))
        done["fuzz_seconds"] = time.time() - started
        if write:
            record.write("planar", "benchmarks.planar", started, {"fuzz": done})
    return done


def _n_points(rng: np.random.Generator) -> int:
    lot = rng.random()
    if lot < 0.002:
        return 1000
    return int(rng.integers(31, 151) if lot < 0.022 else rng.integers(3, 31))


def compare(clouds: list[Cloud], answer: PlanarAlphaBatch) -> list[int]:
    """Which clouds the kernel answered otherwise than GUDHI, or against its own generators."""
    wrong = set(_betrayed_by_generators(clouds, answer))
    for i, cloud in enumerate(clouds):
        if answer.gave_up[i]:
            continue
        in_h0 = slice(answer.h0_offsets[i], answer.h0_offsets[i + 1])
        in_h1 = slice(answer.h1_offsets[i], answer.h1_offsets[i + 1])
        expected_0, expected_1 = _gudhi_alpha(cloud, "exact")
        deaths = answer.h0_deaths[in_h0]
        ours_0 = np.column_stack([np.zeros(len(deaths)), deaths])
        ours_1 = np.column_stack([answer.h1_births[in_h1], answer.h1_deaths[in_h1]])
        if not (_agree(ours_0, expected_0) and _agree(ours_1, expected_1)):
            wrong.add(i)
    return sorted(wrong)


def _agree(ours: Bars, theirs: Bars) -> bool:
    if len(ours) == len(theirs):
        if not len(ours):
            return True
        a = ours[np.lexsort(ours.T)]
        b = theirs[np.lexsort(theirs.T)]
        if (np.abs(a - b) <= TOLERANCE * b).all():
            return True
    return _covered(ours, theirs) and _covered(theirs, ours)


def _covered(bars: Bars, others: Bars) -> bool:
    """Whether every bar of some length has its own partner among the others."""
    bars = bars[bars[:, 1] - bars[:, 0] > SHORT * bars[:, 1]]
    near = (np.abs(bars[:, None] - others) <= TOLERANCE * bars[:, None]).all(axis=2)
    partners = maximum_bipartite_matching(csr_array(near), perm_type="column")
    return bool((partners >= 0).all())


def _betrayed_by_generators(clouds: list[Cloud], answer: PlanarAlphaBatch) -> list[int]:
    """Which clouds have a bar that is not the value of its edge or triangle."""
    flat, offsets = _flatten(clouds)
    # By a power of two for each cloud, so that no square leaves the range of floats.
    scale = np.array([2.0 ** -np.frexp(np.abs(cloud).max())[1] for cloud in clouds])
    in_h0 = np.repeat(np.arange(len(clouds)), np.diff(answer.h0_offsets))
    in_h1 = np.repeat(np.arange(len(clouds)), np.diff(answer.h1_offsets))

    def half(edges: NDArray[np.int64], cloud: NDArray[np.int64]) -> NDArray[np.float64]:
        ends = flat[edges + offsets[cloud, None]] * scale[cloud, None, None]
        return 0.5 * np.hypot(*(ends[:, 0] - ends[:, 1]).T)

    corners = flat[answer.h1_triangles + offsets[in_h1, None]] * scale[in_h1, None, None]
    sides = np.roll(corners, -1, axis=1) - np.roll(corners, 1, axis=1)  # side k faces corner k
    lengths = np.hypot(sides[..., 0], sides[..., 1])
    row, longest = np.arange(len(sides)), lengths.argmax(axis=1)
    left, right = sides[row, (longest + 1) % 3], sides[row, (longest + 2) % 3]
    area2 = np.abs(left[:, 0] * right[:, 1] - left[:, 1] * right[:, 0])
    circumradii = lengths.prod(axis=1) / (2 * area2)
    wrong = []
    for values, recomputed, cloud in (
        (answer.h0_deaths, half(answer.h0_edges, in_h0), in_h0),
        (answer.h1_births, half(answer.h1_edges, in_h1), in_h1),
        (answer.h1_deaths, circumradii, in_h1),
    ):
        bad = np.abs(values * scale[cloud] - recomputed) > 1e-14 * recomputed
        wrong.extend(cloud[bad].tolist())
    return wrong


def _gudhi_alpha(cloud: Cloud, precision: str) -> tuple[Bars, Bars]:
    complex_ = gudhi.AlphaComplex(points=cloud, precision=precision)
    tree = complex_.create_simplex_tree(output_squared_values=False)
    tree.compute_persistence()
    h0 = np.asarray(tree.persistence_intervals_in_dimension(0)).reshape(-1, 2)
    h1 = np.asarray(tree.persistence_intervals_in_dimension(1)).reshape(-1, 2)
    return h0[np.isfinite(h0[:, 1])], h1


def _flatten(clouds: list[Cloud]) -> tuple[Cloud, NDArray[np.int64]]:
    sizes = [len(cloud) for cloud in clouds]
    return np.ascontiguousarray(np.concatenate(clouds)), np.cumsum([0, *sizes])


def _ulps(rng: np.random.Generator, cloud: Cloud, most: int = 2) -> Cloud:
    """Move every coordinate that is not zero by at most so many units in the last place."""
    for _ in range(most):
        way = rng.integers(-1, 2, size=cloud.shape)
        moved = np.nextafter(cloud, np.where(way > 0, np.inf, -np.inf))
        cloud = np.where((way != 0) & (cloud != 0), moved, cloud)
    return cloud


def _orbit(rng: np.random.Generator, n: int) -> Cloud:
    rate = rng.choice([2.5, 3.5, 4.0, 4.1, 4.3])
    x, y = rng.random(2)
    cloud = np.empty((n, 2))
    for i in range(n):
        x = (x + rate * y * (1 - y)) % 1
        y = (y + rate * x * (1 - x)) % 1
        cloud[i] = x, y
    return cloud


def _grid(rng: np.random.Generator, n: int) -> Cloud:
    side = int(np.ceil(np.sqrt(n)))
    return np.argwhere(np.ones((side, side)))[:n].astype(float)


def _hexagonal(rng: np.random.Generator, n: int) -> Cloud:
    grid = _grid(rng, n)
    return np.column_stack([grid[:, 0] + 0.5 * (grid[:, 1] % 2), np.sqrt(0.75) * grid[:, 1]])


def _circle(rng: np.random.Generator, n: int) -> Cloud:
    angles = 2 * np.pi * (np.arange(n) / n if rng.random() < 0.5 else rng.random(n))
    return rng.choice([1, 1e-3, 7.0]) * np.column_stack([np.cos(angles), np.sin(angles)])


def _collinear(rng: np.random.Generator, n: int) -> Cloud:
    steps = rng.integers(0, 20, n) if rng.random() < 0.5 else rng.random(n)
    return np.outer(steps, rng.integers(-3, 4, 2)) + rng.integers(0, 2, 2)


def _parabola(rng: np.random.Generator, n: int) -> Cloud:
    x = np.arange(n) - n // 2 if rng.random() < 0.5 else rng.normal(size=n)
    return np.column_stack([x, x**2]).astype(float)


def _mirrored(rng: np.random.Generator, n: int) -> Cloud:
    quarter = rng.random((n // 4 + 1, 2))
    return np.concatenate([quarter, -quarter, quarter * [1, -1], quarter * [-1, 1]])


def _spiral(rng: np.random.Generator, n: int) -> Cloud:
    t = rng.random(n)
    return np.column_stack([t * np.cos(9 * t), t * np.sin(9 * t)])


FAMILIES: dict[str, Callable[[np.random.Generator, int], Cloud]] = {
    "uniform": lambda rng, n: rng.random((n, 2)),
    "normal": lambda rng, n: rng.normal(size=(n, 2)),
    "clusters": lambda rng, n: (
        rng.integers(0, 3, (n, 2)) + 10.0 ** -rng.integers(2, 12) * rng.normal(size=(n, 2))
    ),
    "orbit": _orbit,
    "grid": _grid,
    "grid of thirds": lambda rng, n: _grid(rng, n) / 3,
    "small integers": lambda rng, n: rng.integers(0, rng.integers(2, 7), (n, 2)).astype(float),
    "hexagonal": _hexagonal,
    "circle": _circle,
    "duplicates": lambda rng, n: rng.permutation(np.repeat(_circle(rng, n // 2 + 1), 2, axis=0)),
    "concentric": lambda rng, n: np.concatenate(
        [_circle(rng, n // 2 + 1), 0.5 * _circle(rng, n // 2 + 1), np.zeros((1, 2))]
    ),
    "collinear": _collinear,
    "collinear to an ulp": lambda rng, n: _ulps(rng, _collinear(rng, n)),
    "float32": lambda rng, n: rng.random((n, 2)).astype(np.float32).astype(float),
    "float16": lambda rng, n: rng.random((n, 2)).astype(np.float16).astype(float),
    "offset 1e8": lambda rng, n: 1e8 + rng.random((n, 2)),
    "grid at 1e8": lambda rng, n: 1e8 + _grid(rng, n) / 3,
    "last bits of 1": lambda rng, n: 1 + 2.0**-52 * rng.integers(0, 8, (n, 2)).astype(float),
    "scale 1e-100": lambda rng, n: 1e-100 * rng.random((n, 2)),
    "scale 1e100": lambda rng, n: 1e100 * rng.normal(size=(n, 2)),
    "grid to an ulp": lambda rng, n: _ulps(rng, _grid(rng, n) / 3 + 1),
    "integers to an ulp": lambda rng, n: _ulps(rng, rng.integers(1, 6, (n, 2)).astype(float)),
    "circle to an ulp": lambda rng, n: _ulps(rng, _circle(rng, n)),
    "hexagonal to an ulp": lambda rng, n: _ulps(rng, _hexagonal(rng, n)),
    "one point to an ulp": lambda rng, n: _ulps(rng, np.tile(rng.random(2), (n, 1)), 4),
    "parabola": _parabola,
    "spiral": _spiral,
    "mirrored": _mirrored,
    "mirrored on the diagonal": lambda rng, n: (lambda half: np.concatenate([half, half[:, ::-1]]))(
        rng.random((n // 2 + 1, 2))
    ),
    "flat": lambda rng, n: rng.random((n, 2)) * [1, 10.0 ** -rng.integers(1, 18)],
    "many scales": lambda rng, n: rng.normal(size=(n, 2)) * 10.0 ** rng.integers(-15, 3, (n, 1)),
    "sixty orders of magnitude": lambda rng, n: 10.0 ** rng.uniform(-60, 0, (n, 2)),
    # With (1, 1), which leaves GUDHI nothing to square below 1e-308 where the kernel answers.
    "beyond the kernel": lambda rng, n: np.concatenate(
        [np.ones((1, 2)), 10.0 ** rng.uniform(-300, 0, (n - 1, 2))]
    ),
}


if __name__ == "__main__":
    main()

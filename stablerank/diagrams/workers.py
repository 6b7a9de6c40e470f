"""Work on many clouds at once: chunks over joblib's workers, in order, with a progress bar."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence, Sized
from typing import Any, Literal, TypeVar

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import get_active_backend
from numpy.typing import NDArray

from stablerank.progress import ProgressBar

T = TypeVar("T")
Part = TypeVar("Part", bound=Sized)
_CHUNKS_PER_WORKER = 8
_POINTS_PER_CHUNK = 100_000


def map_chunks(
    function: Callable[[Sequence[NDArray[np.float64]]], list[T]],
    clouds: Sequence[NDArray[np.float64]],
    *,
    n_jobs: int | None,
    prefer: Literal["processes", "threads"],
    description: str,
) -> list[T]:
    """Apply `function`, which gives a list with one result a cloud, as :func:`run_chunks` does.

    Returns
    -------
    list
        One result a cloud, in the order of the clouds.
    """
    parts = run_chunks(function, clouds, n_jobs=n_jobs, prefer=prefer, description=description)
    return list(itertools.chain.from_iterable(parts))


def run_chunks(
    function: Callable[[Sequence[NDArray[np.float64]]], Part],
    clouds: Sequence[NDArray[np.float64]],
    *,
    n_jobs: int | None,
    prefer: Literal["processes", "threads"],
    description: str,
) -> list[Part]:
    """Apply `function` to chunks of the clouds, by `n_jobs` workers, and collect in order.

    Clouds travel in chunks of similar numbers of points, so that small clouds are not eaten by
    the cost of sending them. GUDHI lets go of the interpreter's lock while it computes, and so do
    the kernels of this package: threads serve all, start at once and send nothing
    (``benchmarks/workers.py`` has the numbers). Two threads are twice as fast only while what
    `function` does in Python is short: it should work on a chunk at once, not cloud by cloud.

    A joblib backend that the user has chosen with ``joblib.parallel_config`` takes precedence over
    `prefer`; a cluster is ``with joblib.parallel_config("dask")`` or ``"ray"``. Chunks are pure:
    where a worker of a cluster dies, another may do its chunks again.

    Parameters
    ----------
    function : callable
        From a sequence of clouds to their results, with a length: the number of clouds; picklable.
    clouds : sequence of ndarray
        The inputs.
    n_jobs : int or None
        As in joblib: None is 1 unless a ``parallel_config`` says otherwise, -1 is all cores.
    prefer : {"processes", "threads"}
        Which kind of worker to take where the user has not chosen.
    description : str
        For the progress bar.

    Returns
    -------
    list
        The results of each chunk, in the order of the clouds.
    """
    sizes = [len(cloud) for cloud in clouds]
    workers = min(effective_n_jobs(n_jobs), len(clouds))
    n_chunks = max(sum(sizes) // _POINTS_PER_CHUNK, workers * _CHUNKS_PER_WORKER)
    # A list, not an array: Dask would leave an array with one of its workers, to be lost with it; a
    # list travels with its task, which is done again elsewhere.
    chunks = [list(clouds[start:stop]) for start, stop in _runs(sizes, n_chunks)]
    results: list[Part] = []
    with ProgressBar(description, len(clouds)) as progress:
        parts: Iterable[Part]
        if workers == 1:
            parts = map(function, chunks)
        else:
            # multiprocessing, which a user may have chosen, can only hand over all at the end
            backend, _ = get_active_backend(prefer=prefer)
            return_as = "generator" if backend.supports_return_generator else "list"
            parts = Parallel(n_jobs=workers, prefer=prefer, return_as=return_as)(
                delayed(function)(chunk) for chunk in chunks
            )
        for part in parts:
            results.append(part)
            progress.advance(len(part))
    return results


def check_workers(n_jobs: Any) -> None:
    """Refuse what is no number of workers.

    Raises
    ------
    ValueError
        For 0, and for what is neither a whole number nor None.
    """
    whole = isinstance(n_jobs, (int, np.integer)) and not isinstance(n_jobs, bool)
    if n_jobs is not None and not (whole and n_jobs != 0):
        raise ValueError(
            f"n_jobs={n_jobs!r}: expected a number of workers, -1 for all cores, or None."
        )


def _runs(sizes: Sequence[int], n_runs: int) -> list[tuple[int, int]]:
    """Cut range(len(sizes)) into at most `n_runs` runs of about equal total size."""
    ends = np.cumsum(sizes, dtype=np.int64)
    targets = (ends[-1] * np.arange(1, n_runs + 1)) // n_runs
    cuts = np.unique(np.concatenate([[0], np.searchsorted(ends, targets) + 1, [len(sizes)]]))
    cuts = np.unique(np.minimum(cuts, len(sizes)))
    return [(int(a), int(b)) for a, b in itertools.pairwise(cuts)]

"""Diagrams that are computed once: a filtration that remembers, by the content of each cloud."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from stablerank.diagrams.ball import DiagramBall
from stablerank.diagrams.batch import Diagram, DiagramBatch
from stablerank.diagrams.digests import array_digest, filtration_digest
from stablerank.diagrams.filtration import Filtration
from stablerank.stability import HAUSDORFF, Parallel, Space

_PATIENCE_SECONDS = 60.0
_DIGEST_BYTES = 32
_CREATE = "CREATE TABLE IF NOT EXISTS diagrams (key BLOB PRIMARY KEY, value BLOB)"
_SELECT = "SELECT value FROM diagrams WHERE key = ?"
_INSERT = "INSERT OR REPLACE INTO diagrams VALUES (?, ?)"
T = TypeVar("T")


class CachedPersistence(Filtration):
    """A filtration that looks its diagrams up in a folder before it computes them.

    A diagram is addressed by the content of its cloud and by everything else that it depends on:
    the filtration's class, parameters and the versions that compute. So a grid search over ranks
    and networks computes each diagram once, however it splits the clouds, and so does the next
    session. All else is that of the filtration: constants, rounding, largest values, attributes.

    Parameters
    ----------
    filtration : Filtration
        What computes the diagrams that are not there yet.
    folder : path-like
        Where they are kept, in one database; it is made if it is missing. Several processes may
        share it. It grows with every new cloud; delete it when you like.

    Attributes
    ----------
    filtration_ : Filtration
        The fitted clone that computes.

    Raises
    ------
    TypeError
        At :meth:`fit`, if it is not given a filtration.

    Notes
    -----
    Every entry carries the digest of its key and content, which is checked when it is read; what is
    damaged is computed again, and a database that cannot be read is begun anew. Attacks hand in
    clouds that never come again: give them the pipeline with ``filtration_`` in this one's place.

    Examples
    --------
    >>> import tempfile
    >>> from stablerank.diagrams import AlphaPersistence
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     persistence = CachedPersistence(AlphaPersistence(), folder)
    ...     first = persistence.fit_transform([[[0, 0], [0, 2]]])
    ...     persistence.transform([[[0, 0], [0, 2]]]) == first  # this time it is looked up
    True
    """

    def __init__(self, filtration: Any, folder: str | os.PathLike[str]) -> None:
        self.filtration = filtration
        self.folder = folder

    def fit(self, X: Any, y: Any = None) -> CachedPersistence:
        """Fit a clone of the filtration; no diagram is computed.

        Parameters
        ----------
        X : list of clouds
            Whatever the filtration takes.
        y : ignored

        Returns
        -------
        self
        """
        if not isinstance(self.filtration, Filtration):
            raise TypeError(
                f"filtration={self.filtration!r}: expected a filtration, such as "
                f"AlphaPersistence()."
            )
        self.filtration_ = clone(self.filtration).fit(X)
        return self

    def transform(self, X: Any) -> DiagramBatch:
        """Look the diagrams up, and compute those that are not there.

        Parameters
        ----------
        X : list of clouds
            Whatever the filtration takes.

        Returns
        -------
        DiagramBatch
            Bit for bit what the filtration computes.
        """
        check_is_fitted(self, "filtration_")
        inner = self.filtration_
        inner._check_parameters()
        clouds = inner._check(X, inner.dimension_)
        dimensions = inner._sorted_dimensions()
        identity = bytes.fromhex(filtration_digest(inner))
        keys = [hashlib.sha256(identity + array_digest(cloud)).digest() for cloud in clouds]
        store = _Store(Path(self.folder))
        known = store.read(set(keys), dimensions)
        missing = {key: cloud for key, cloud in zip(keys, clouds, strict=True) if key not in known}
        if missing:
            computed = list(inner.transform(list(missing.values())))
            fresh = dict(zip(missing, computed, strict=True))
            store.write(fresh, dimensions)
            known.update(fresh)
        return DiagramBatch.from_diagrams([known[key] for key in keys], dimensions)

    def bounds(self, X: Any, epsilon: ArrayLike, *, source: Space = HAUSDORFF) -> DiagramBall:
        """As the filtration's; diagrams are looked up unless it has a way of its own."""
        inner = self._inner()
        if type(inner).bounds is not Filtration.bounds:
            return inner.bounds(X, epsilon, source=source)
        return super().bounds(X, epsilon, source=source)

    def ball(
        self,
        diagrams: DiagramBatch,
        largest_values: NDArray[np.float64],
        epsilon: ArrayLike,
        *,
        source: Space = HAUSDORFF,
    ) -> DiagramBall:
        """As the filtration's."""
        return self._inner().ball(diagrams, largest_values, epsilon, source=source)

    def stability(self, source: Space | None = None) -> Parallel:
        """The Lipschitz bounds of the filtration."""
        inner = self._inner()
        return inner.stability() if source is None else inner.stability(source)

    def relative_rounding(self) -> float:
        """The relative rounding of the filtration."""
        return self._inner().relative_rounding()

    def largest_values(self, X: Any) -> NDArray[np.float64]:
        """The largest values of the filtration of each cloud."""
        return self._inner().largest_values(X)

    @property
    def lowest_value(self) -> float:  # type: ignore[override]
        """Nothing of the filtration is born before."""
        return float(self._inner().lowest_value)

    def __getattr__(self, name: str) -> Any:
        # homology_dimensions, n_jobs, metric, dimension_, …: whatever a filtration may have
        if name.startswith("_") or name in ("filtration", "filtration_", "folder"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.")
        return getattr(self._inner(), name)

    def _inner(self) -> Any:
        return self.__dict__.get("filtration_", self.filtration)

    def _check(self, X: Any, dimension: int | None) -> list[NDArray[np.float64]]:
        return self._inner()._check(X, dimension)

    def _diagrams(
        self, clouds: Sequence[NDArray[np.float64]]
    ) -> DiagramBatch | list[dict[int, Diagram]]:
        return self._inner()._diagrams(clouds)


class _Store:
    """Diagrams by key in an SQLite database: whole transactions, for any number of processes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "diagrams.sqlite"

    def read(self, keys: Iterable[bytes], dimensions: list[int]) -> dict[bytes, dict[int, Diagram]]:
        """The diagrams that are there and undamaged."""

        def look_up(connection: sqlite3.Connection) -> dict[bytes, dict[int, Diagram]]:
            found = {}
            for key in keys:
                row = connection.execute(_SELECT, (key,)).fetchone()
                diagram = None if row is None else _decode(key, row[0], dimensions)
                if diagram is not None:
                    found[key] = diagram
            return found

        return self._in_transaction(look_up)

    def write(self, diagrams: Mapping[bytes, dict[int, Diagram]], dimensions: list[int]) -> None:
        """Add diagrams: all of them or, if the process is killed, none."""
        rows = [(key, _encode(key, diagram, dimensions)) for key, diagram in diagrams.items()]
        self._in_transaction(lambda connection: connection.executemany(_INSERT, rows))

    def _in_transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return self._attempt(work)
        except sqlite3.OperationalError:
            raise  # locked for a minute, a full disk: nothing that a new file would mend
        except sqlite3.DatabaseError:  # no database, or a malformed one
            for path in (self.path, self.path.with_name(f"{self.path.name}-journal")):
                path.unlink(missing_ok=True)
            return self._attempt(work)

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = sqlite3.connect(self.path, timeout=_PATIENCE_SECONDS)
        with closing(connection), connection:
            connection.execute(_CREATE)
            return work(connection)


def _encode(key: bytes, diagram: Mapping[int, Diagram], dimensions: list[int]) -> bytes:
    counts = np.array([len(diagram[k]) for k in dimensions], dtype="<i8")
    bars = np.concatenate([diagram[k] for k in dimensions]).astype("<f8")
    content = counts.tobytes() + bars.tobytes()
    return hashlib.sha256(key + content).digest() + content


def _decode(key: bytes, value: Any, dimensions: list[int]) -> dict[int, Diagram] | None:
    """The diagram, or None if a bit of it has changed."""
    if not isinstance(value, bytes):
        return None
    digest, content = value[:_DIGEST_BYTES], value[_DIGEST_BYTES:]
    if hashlib.sha256(key + content).digest() != digest:
        return None
    n = len(dimensions)
    counts = np.frombuffer(content, dtype="<i8", count=n)
    bars = np.frombuffer(content, dtype="<f8", offset=8 * n).reshape(-1, 2).astype(np.float64)
    return dict(zip(dimensions, np.split(bars, np.cumsum(counts)[:-1]), strict=True))

"""A progress bar for whatever takes longer than two seconds: on stderr, and silent in logs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")
_PATIENCE_SECONDS = 2.0


class ProgressBar:
    """Counts steps, and shows itself once two seconds have gone by and stderr is a terminal.

    Parameters
    ----------
    description : str
        What is being done, for the reader of the terminal.
    total : int or None
        Number of steps, if known.

    Examples
    --------
    >>> with ProgressBar("persistence diagrams", total=2) as progress:
    ...     progress.advance(2)
    """

    def __init__(self, description: str, total: int | None) -> None:
        self._description = description
        self._total = total
        self._done = 0
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressBar:
        self._start, self._done = time.monotonic(), 0
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def advance(self, steps: int = 1) -> None:
        """Count `steps` more as done."""
        self._done += steps
        if self._bar is None and time.monotonic() - self._start > _PATIENCE_SECONDS:
            console = Console(stderr=True)
            # rich calls any stream a terminal where FORCE_COLOR is set, as in most CI logs
            terminal = sys.stderr is not None and sys.stderr.isatty()
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=console,
                transient=True,
                disable=not (terminal or console.is_jupyter),
            )
            self._task = self._bar.add_task(self._description, total=self._total)
            self._bar.start()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items, counting them in a :class:`ProgressBar`."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    with ProgressBar(description, total) as progress:
        for item in items:
            yield item
            progress.advance()

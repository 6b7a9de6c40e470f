"""Ctrl-C, told apart from what libraries make of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def from_the_keyboard() -> Iterator[list[int]]:
    """List the interrupts by Ctrl-C, while they interrupt as ever."""
    interrupts: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()  # no other gets signals
    if not (callable(before) and in_main_thread):
        yield interrupts
        return
    handler = before

    def note(number: int, frame: Any) -> None:
        try:
            handler(number, frame)
        except KeyboardInterrupt:
            interrupts.append(number)
            raise

    signal.signal(signal.SIGINT, note)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)

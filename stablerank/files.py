"""Writing files so that a kill or Ctrl-C never leaves half of one."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def write_atomically(path: str | os.PathLike[str], *, text: bool = False) -> Iterator[IO[Any]]:
    """Open a temporary neighbour of `path` and put it in its place once all went well.

    Parameters
    ----------
    path : path-like
        Where the file shall stand; missing folders are made. A file that stands there keeps its
        permissions, and a symbolic link goes on pointing to the file that is written.
    text : bool, default=False
        Text in UTF-8 instead of bytes.

    Yields
    ------
    file
        Open for writing. If the block raises, or the process is killed, `path` is as it was.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name[:32]}.{secrets.token_hex(8)}")
    # The system applies the umask to 0o666: asking for it would change it for all threads.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, flags, 0o666)
    try:
        with os.fdopen(
            descriptor, "w" if text else "wb", encoding="utf-8" if text else None
        ) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.is_file():
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

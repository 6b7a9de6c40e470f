"""write_atomically: at every moment `path` holds the old file or the new one, whole."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stablerank import files
from stablerank.files import write_atomically

posix = pytest.mark.skipif(os.name != "posix", reason="permissions and signals of POSIX")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_file_stands_there_after_the_block_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "model.bin"
    with write_atomically(path) as file:
        file.write(b"\x00\r\n\xff")
        assert not path.exists()
    assert path.read_bytes() == b"\x00\r\n\xff"
    assert os.listdir(path.parent) == ["model.bin"]


def test_text_is_utf_8(tmp_path: Path) -> None:
    with write_atomically(str(tmp_path / "a.json"), text=True) as file:
        file.write("Čech ≤ ε")
    assert (tmp_path / "a.json").read_bytes() == "Čech ≤ ε".encode()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_everything_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def write_half(target: Path) -> None:
        with write_atomically(target) as file:
            file.write(b"half")
            file.flush()
            raise error

    for target in (path, tmp_path / "b"):
        with pytest.raises(error):
            write_half(target)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


@posix
def test_a_kill_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    script = (
        "import os, runpy, signal, sys\n"
        "write_atomically = runpy.run_path(sys.argv[1])['write_atomically']\n"
        "with write_atomically(sys.argv[2]) as file:\n"
        "    file.write(b'half'); file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # The module alone: the package takes long to import.
    command = [sys.executable, "-c", script, str(files.__file__), str(path)]
    done = subprocess.run(command, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


def test_readers_see_the_old_or_the_new_file_whole(tmp_path: Path) -> None:
    path, sizes = tmp_path / "a", (1_000, 50_000)
    path.write_bytes(b"x" * 1000)
    stop, seen = threading.Event(), set()

    def read() -> None:
        while not stop.is_set():
            seen.add(len(path.read_bytes()))

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(1000):
        with write_atomically(path) as file:
            for _ in range(sizes[i % 2] // 1000):
                file.write(b"x" * 1000)
                file.flush()
        if i > 20 and len(seen) == 2:
            break
    stop.set()
    reader.join()
    assert seen <= set(sizes)
    assert len(seen) == 2


@posix
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with write_atomically(tmp_path / "a") as file:
            file.write(b"a")
            assert os.umask(umask) == umask  # nobody changed it meanwhile
        (tmp_path / "b").write_bytes(b"b")
    finally:
        os.umask(before)
    assert mode(tmp_path / "a") == mode(tmp_path / "b") == 0o666 & ~umask


@posix
def test_a_private_file_stays_private(tmp_path: Path) -> None:
    # Its mode used to become 0o644.
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    path.chmod(0o600)
    with write_atomically(path) as file:
        file.write(b"new")
    assert mode(path) == 0o600


@posix
def test_a_link_goes_on_pointing_to_the_file(tmp_path: Path) -> None:
    # The link itself used to be replaced, and the file it points to stayed old.
    path, link = tmp_path / "folder" / "a", tmp_path / "link"
    path.parent.mkdir()
    path.write_bytes(b"old")
    link.symlink_to(path)
    with write_atomically(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"


def test_long_names(tmp_path: Path) -> None:
    # A temporary name of 255 characters and some more used to be refused by the system.
    path = tmp_path / ("é" * 120)
    with write_atomically(path) as file:
        file.write(b"a")
    assert path.read_bytes() == b"a"


def test_a_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"), write_atomically(tmp_path / "folder") as file:
        file.write(b"a")
    assert os.listdir(tmp_path) == ["folder"]

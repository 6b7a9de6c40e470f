"""Convert the cell outlines that the geomstats wheel ships into ``cells.npz``, once.

    pip download geomstats==2.8.0 --no-deps
    python datasets/make_cells.py geomstats-2.8.0-py3-none-any.whl

In the source one line is one point, "x y", and an empty line ends a cell; the two files of labels
have one line a cell. Coordinates are integers, so the file keeps them as int16 without loss. The
same arrays give the same bytes everywhere: nothing is compressed, and no clock is read.
"""

from __future__ import annotations

import argparse
import hashlib
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = "geomstats/datasets/data/cells/"
SOURCE_SHA256 = {
    "cells.txt": "76d7ead0f619a93d9c6b026f6e1eada81b5fbc8f54c45f3a48c71babc2dc3918",
    "cell_lines.txt": "cfae6e57367ac429d969627ae3eb539b7e464b95e900360a194da779c5b43ffa",
    "treatments.txt": "3144c1415cc82f74844bfbb23bee70e1e9908ba49e754788c9c3f20b4e67b329",
}


def main() -> None:
    """Read the wheel named on the command line and write cells.npz beside this script."""
    parser = argparse.ArgumentParser(description="Convert geomstats' cell outlines to cells.npz.")
    parser.add_argument("wheel", type=Path, help="geomstats-2.8.0-py3-none-any.whl")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("cells.npz"))
    arguments = parser.parse_args()

    content = npz_bytes(parse_cells(**read_wheel(arguments.wheel)))
    arguments.output.write_bytes(content)
    print(arguments.output, len(content), "bytes, sha256", hashlib.sha256(content).hexdigest())


def read_wheel(wheel: Path) -> dict[str, str]:
    """Return the three text files of the wheel by their stem, after checking their sha256."""
    texts = {}
    with zipfile.ZipFile(wheel) as archive:
        for name, expected in SOURCE_SHA256.items():
            content = archive.read(FOLDER + name)
            found = hashlib.sha256(content).hexdigest()
            if found != expected:
                raise ValueError(
                    f"{FOLDER}{name} in {wheel} has sha256 {found}, but that of geomstats 2.8.0 "
                    f"has {expected}: another release, or a damaged download."
                )
            texts[Path(name).stem] = content.decode("ascii")
    return texts


def parse_cells(cells: str, cell_lines: str, treatments: str) -> dict[str, NDArray[Any]]:
    """Turn the three texts into flat points, offsets and labels; cell i is [offset i, i + 1)."""
    outlines = [
        np.array([[int(value) for value in line.split()] for line in block.split("\n")], np.int16)
        for block in cells.strip("\n").split("\n\n")
    ]
    cell_line = np.array(cell_lines.split())
    treatment = np.array(treatments.split())
    if not len(outlines) == len(cell_line) == len(treatment):
        raise ValueError(
            f"{len(outlines)} outlines, {len(cell_line)} cell lines and {len(treatment)} "
            "treatments: expected one of each for every cell."
        )
    return {
        "points": np.concatenate(outlines),
        "offsets": np.cumsum([0] + [len(outline) for outline in outlines], dtype=np.int64),
        "cell_line": cell_line,
        "treatment": treatment,
    }


def npz_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Write arrays as an npz: stored, dated 1980, in the given order, hence always equal."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # zipfile writes 0 on Windows and 3 elsewhere
            content = BytesIO()
            little_endian = array.astype(array.dtype.newbyteorder("<"))
            np.lib.format.write_array(content, little_endian, version=(1, 0), allow_pickle=False)
            archive.writestr(entry, content.getvalue())
    return buffer.getvalue()


if __name__ == "__main__":
    main()

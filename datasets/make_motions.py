"""Convert the BasicMotions series that the aeon wheel ships into ``motions.npz``, once.

    pip download aeon==1.6.0 --no-deps
    python datasets/make_motions.py aeon-1.6.0-py3-none-any.whl

In the source one line is one recording: six channels of a hundred numbers, and its label, with
colons between them. No number has more than six decimals, so the file keeps millionths as int32
without loss. The same arrays give the same bytes everywhere.
"""

from __future__ import annotations

import argparse
import hashlib
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from make_cells import npz_bytes
from numpy.typing import NDArray

FOLDER = "aeon/datasets/data/BasicMotions/"
SOURCE_SHA256 = {
    "BasicMotions_TRAIN.ts": "8dc43cc6306cb679c888c01e26f91772ac4441a916da43bac8b79734a538b9d6",
    "BasicMotions_TEST.ts": "79213102bc6fca1a398ad98ce1185dff0208fa3d1465e687f48288946b0ff8dc",
}


def main() -> None:
    """Read the wheel named on the command line and write motions.npz beside this script."""
    parser = argparse.ArgumentParser(description="Convert aeon's BasicMotions to motions.npz.")
    parser.add_argument("wheel", type=Path, help="aeon-1.6.0-py3-none-any.whl")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("motions.npz"))
    arguments = parser.parse_args()

    content = npz_bytes(join_parts(*read_wheel(arguments.wheel)))
    arguments.output.write_bytes(content)
    print(arguments.output, len(content), "bytes, sha256", hashlib.sha256(content).hexdigest())


def read_wheel(wheel: Path) -> tuple[str, str]:
    """The texts of the training and the test part, after checking their sha256."""
    texts = []
    with zipfile.ZipFile(wheel) as archive:
        for name, expected in SOURCE_SHA256.items():
            content = archive.read(FOLDER + name)
            found = hashlib.sha256(content).hexdigest()
            if found != expected:
                raise ValueError(
                    f"{FOLDER}{name} in {wheel} has sha256 {found}, but that of aeon 1.6.0 has "
                    f"{expected}: another release, or a damaged download."
                )
            texts.append(content.decode("ascii"))
    return texts[0], texts[1]


def join_parts(train: str, test: str) -> dict[str, NDArray[Any]]:
    """Turn the two texts into one array of series, (n, times, channels), and their labels."""
    parts = [parse_series(text) for text in (train, test)]
    return {
        "millionths": np.concatenate([series for series, _ in parts]),
        "motion": np.concatenate([labels for _, labels in parts]),
        "test": np.repeat([False, True], [len(labels) for _, labels in parts]),
    }


def parse_series(text: str) -> tuple[NDArray[np.int32], NDArray[np.str_]]:
    """The series behind ``@data``, in millionths, shape (n, times, channels), and their labels."""
    series, labels = [], []
    for line in text.split("@data\n")[1].strip().split("\n"):
        *channels, label = line.split(":")
        values = [[Decimal(value) * 1_000_000 for value in row.split(",")] for row in channels]
        if any(value != int(value) for row in values for value in row):
            raise ValueError(f"Recording {len(series)} has numbers of more than six decimals.")
        series.append(np.array(values, dtype=np.int32).T)
        labels.append(label.lower())
    return np.stack(series), np.array(labels)


if __name__ == "__main__":
    main()

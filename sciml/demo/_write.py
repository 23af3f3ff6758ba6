"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sciml.dsl import DataError


def check_folder(folder: Path) -> None:
    """Raises `DataError` where `folder` is something else, or could not be written."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"--output {folder} is a file: name a folder")
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise DataError(f"--output {folder} cannot be made: {place} cannot be written to")


def write_all(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Writes files into a folder: all are complete before the first one is moved to its place.

    Returns their paths. Other files in the folder are left alone.
    """
    there = folder.exists()
    beside = folder if there else folder.absolute().parent
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=beside, prefix=".sciml-demo-") as scratch:
        fresh = Path(scratch) / "complete"
        fresh.mkdir()
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        if there:
            for name in files:
                os.replace(fresh / name, folder / name)
        else:
            fresh.rename(folder)
    return [folder / name for name in files]

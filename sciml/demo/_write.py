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
    """Writes files into a folder: all are complete beside it before the first one is moved there.

    Returns their paths. Other files in the folder are left alone.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        fresh = Path(scratch) / folder.name
        fresh.mkdir()
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        if not folder.exists():
            fresh.rename(folder)
        else:
            for name in files:
                os.replace(fresh / name, folder / name)
    return [folder / name for name in files]

"""Where an equation was written: file and line, or notebook cell."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import types
from pathlib import Path

_PACKAGE = tuple({str(Path(__file__).parent), str(Path(__file__).resolve().parent)})
_INTERNAL = tuple(
    str(folder) + os.sep for p in _PACKAGE for folder in (p, Path(p).parent / "sciml")
)
_WRAPPERS = ("beartype", "equinox", "jaxtyping")  # type checkers, and what calls an `__init__`


@dataclasses.dataclass(frozen=True)
class Origin:
    """A place in the user's code. `cell` is the number of a notebook cell, or None."""

    file: str
    line: int
    cell: int | None = None

    def __str__(self) -> str:
        if self.cell is not None:
            return f"cell {self.cell}, line {self.line}"
        return f"{self.file}:{self.line}"


def caller() -> Origin:
    """The innermost line outside this package on the stack."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _internal(frame):
        frame = frame.f_back
    file = frame.f_code.co_filename
    return Origin(_shorten(file), frame.f_lineno, _cell(file))


def _internal(frame: types.FrameType) -> bool:
    """Whether a frame is this package's, or one that is wrapped around it."""
    file, module = frame.f_code.co_filename, frame.f_globals.get("__name__", "")
    checked = file.startswith("<@beartype") or module.split(".")[0] in _WRAPPERS
    return checked or file.startswith(_INTERNAL)


def _cell(file: str) -> int | None:
    """The number of the running cell, where the code was written in a notebook."""
    if not re.search(r"ipykernel_\d+|<ipython-input-", file):
        return None
    if numbered := re.match(r"<ipython-input-(\d+)-", file):
        return int(numbered[1])
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return None if shell is None else shell.execution_count


def _shorten(file: str) -> str:
    """The path relative to the working directory, where the file lies below it."""
    try:
        here = os.getcwd() + os.sep
    except OSError:  # the directory is gone
        return file
    return file.removeprefix(here)

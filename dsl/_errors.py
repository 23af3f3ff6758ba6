"""Errors: what is wrong, where it was written, and one cure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


class SciMLError(Exception):
    """Base of every error that this package raises."""


class DeclarationError(SciMLError, ValueError):
    """A symbol, equation or system cannot be declared this way."""


class ShapeError(SciMLError, ValueError):
    """Array shapes in an expression do not fit together."""


class DataError(SciMLError, ValueError):
    """Data given to the package are not of the expected form."""


class SolveError(SciMLError, RuntimeError):
    """A solve failed at run time; the message names the unknown that went wrong."""


class FitError(SciMLError, RuntimeError):
    """A fit could not be started or produced no finite loss."""


class ModelWarning(UserWarning):
    """A system can be solved, but perhaps not as it was meant."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """One mistake in a system, with all that a reader needs to mend it.

    Fields: `summary`, one sentence in the user's symbols; `equation`, as written, with `where`,
    the place it was declared; `culprit`, the smallest expression at fault; `expected` and
    `received`; likely `causes`; one `cure`.
    """

    summary: str
    equation: str = ""
    where: str = ""
    culprit: str = ""
    expected: str = ""
    received: str = ""
    causes: Sequence[str] = ()
    cure: str = ""

    def __str__(self) -> str:
        lines = [self.summary]
        if self.equation:
            lines.append(f"    {self.equation}")
        if self.where:
            lines.append(f"    written at {self.where}")
        for label in ("culprit", "expected", "received"):
            if text := getattr(self, label):
                lines.append(f"  {label}: {text}")
        if self.causes:
            lines.append("  perhaps: " + "; or ".join(self.causes))
        if self.cure:
            lines.append(f"  cure: {self.cure}")
        return "\n".join(lines)


class ModelError(SciMLError, ValueError):
    """A system has faults; all that were found are listed in `faults`."""

    def __init__(self, faults: Sequence[Fault], system: str = "") -> None:
        self.faults = tuple(faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        name = f" in system {system!r}" if system else ""
        texts = [f"{count}{name}"]
        for number, fault in enumerate(self.faults, 1):
            first, *rest = str(fault).split("\n")
            texts.append("\n".join([f"{number}. {first}", *("   " + line for line in rest)]))
        super().__init__("\n\n".join(texts))

"""Complex numbers: in equations of complex unknowns, and where every part of them can be taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy
from sympy.core.function import AppliedUndef

from .._complex import complex_unknowns, split_complex
from .._errors import DeclarationError, Fault
from .._show import name_of, text
from .._symbols import is_complex
from .._system import System
from .describe import listed, place, shown


def complex_faults(system: System) -> list[Fault]:
    """Faults of complex numbers; none, where all unknowns and numbers are real."""
    unknowns = complex_unknowns(system)
    if not unknowns and not system.survey.has_imaginary:
        return []
    faults = [*_equations(system), *_values(system)]
    if faults or not unknowns:
        return faults
    try:
        split_complex(system)
    except DeclarationError as error:
        what, _, cure = str(error).partition("; ")
        return [Fault(what, where=str(system.origin), cure=cure)]
    return []


def _equations(system: System) -> Iterator[Fault]:
    """The imaginary unit among real unknowns alone."""
    for equation in (*system.equations, *system.boundary):
        found = equation.lhs.atoms(AppliedUndef) | equation.rhs.atoms(AppliedUndef)
        if not (is_complex(equation.lhs - equation.rhs) and found):
            continue
        if any(map(is_complex, found)):
            continue
        first = sorted(map(name_of, found))[0]
        yield Fault(
            "The imaginary unit stands in this equation, and all of its unknowns are real.",
            **place(system, equation),
            culprit="I",
            causes=[f"{listed(sorted(found, key=name_of))} was to be complex"],
            cure=f'declare it so, sm.unknown("{first}", ..., complex=True)',
        )


def _values(system: System) -> Iterator[Fault]:
    """Complex values of what is real."""
    real = {name_of(u) for u in system.survey.unknowns if not is_complex(u)}
    for key, value in system.initial.items():
        inner = key.expr if isinstance(key, sympy.Derivative) else key
        if name_of(inner) in real and _has_imaginary(value):
            yield Fault(
                f"The initial value of {name_of(key)} is complex, and {name_of(inner)} is real.",
                **place(system, ("initial", key)),
                expected="a real value",
                received=shown(value),
                cure=f'declare sm.unknown("{name_of(inner)}", ..., complex=True)',
            )
    for key, value in system.observed.items():
        if isinstance(key, AppliedUndef) and not is_complex(key) and is_complex(value):
            yield Fault(
                f"{text(key)} is real, and is defined by something complex.",
                **place(system, ("observed", key)),
                cure=f'declare sm.unknown("{name_of(key)}", ..., complex=True), or take '
                "sympy.re of the expression",
            )


def _has_imaginary(value: Any) -> bool:
    """Whether an expression holds the imaginary unit; plain numbers are looked at elsewhere."""
    return isinstance(value, sympy.Expr) and not value.is_number and is_complex(value)

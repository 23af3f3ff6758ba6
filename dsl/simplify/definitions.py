"""Explicit algebraic equations are definitions: they move from `equations` to `observed`."""

from __future__ import annotations

import graphlib
from typing import Any

from sympy.core.function import AppliedUndef

from .._equations import Equation
from .._errors import Fault, ModelError
from .._system import System


def extract_definitions(system: System) -> System:
    """Moves ``z = expression`` to `observed` if z is never differentiated.

    So does ``expression = z``, if there is no derivative in it: ``D(x) = z`` is an equation for x.

    Raises `ModelError` where such definitions depend on each other in a circle.
    """
    defined = {i: z for z, i in system.survey.definitions.items() if i is not None}
    definitions: dict[Any, Any] = dict(system.observed)
    origins: dict[Any, Equation] = {}
    kept = []
    for i, equation in enumerate(system.equations):
        if i in defined:
            z = defined[i]
            definitions[z] = equation.rhs if equation.lhs == z else equation.lhs
            origins[z] = equation
        else:
            kept.append(equation)
    if not definitions:
        return system
    _refuse_circles(system, definitions, origins)
    return system.replace(equations=kept, observed=definitions)


def _refuse_circles(system: System, definitions: dict, origins: dict) -> None:
    graph = {k: v.atoms(AppliedUndef) & definitions.keys() for k, v in definitions.items()}
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        circle = error.args[1][::-1]  # each is followed by what its definition depends on
        equation = next((origins[s] for s in circle if s in origins), None)
        raise ModelError(
            [
                Fault(
                    f"The definitions of {', '.join(str(s) for s in circle[:-1])} depend on "
                    "each other in a circle.",
                    equation=str(equation or ""),
                    where=str(equation.origin) if equation else "",
                    received=" -> ".join(str(s) for s in circle),
                    causes=["they are simultaneous algebraic equations"],
                    cure="solve them by hand for one of these, and define the others from it",
                )
            ],
            system.name,
        ) from None

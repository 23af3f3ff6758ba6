"""Initial values: one for each state, numbers or expressions of parameters."""

from __future__ import annotations

from typing import Any

import sympy
from sympy.core.function import AppliedUndef

from .._errors import Fault
from .._show import name_of, text
from .._symbols import t
from .._system import System
from .describe import listed, place
from .match import Match, highest
from .numeric import expression_fault, is_expression, number_fault


def condition_faults(system: System, match: Match) -> list[Fault]:
    """Faults of initial values: surplus ones, and those that are no proper value."""
    states = {name_of(s): s for s in system.survey.states}
    unknowns = {name_of(u): u for u in system.survey.unknowns}
    faults = []
    for key, value in system.initial.items():
        name = name_of(key)
        state = states.get(name)
        unknown = _unknown_of(unknowns, key if state is None else state)
        if unknown is None:
            continue  # no symbol of the system: reported with the names
        if state is None or unknown in match.definitions:
            faults.append(_surplus(system, match, key, unknown))
            continue
        fault = _improper(system, key, value, unknown)
        if fault is not None:
            faults.append(fault)
    return faults


def _unknown_of(unknowns: dict[str, Any], key: Any) -> Any:
    """The unknown that a key is about; None if it is none of the system's."""
    inner = key.expr if isinstance(key, sympy.Derivative) else key
    return unknowns.get(name_of(inner))


def _surplus(system: System, match: Match, key: Any, unknown: Any) -> Fault:
    name, where = name_of(key), place(system, ("initial", key))
    if unknown in match.definitions:
        i = match.definitions[unknown]
        definition = system.equations[i] if i is not None else None
        rule = definition or f"{text(unknown)} = {text(system.observed[unknown])}"
        written = f", written at {definition.origin}" if definition else ""
        return Fault(
            f"{name} takes no initial value: it follows from the other unknowns.",
            **where,
            expected="initial values of the unknowns that have a derivative",
            received=f"{name}, given by {rule}{written}",
            cure="remove it from initial",
        )
    order = match.orders.get(unknown, 0)
    if not order:
        return Fault(
            f"{name} takes no initial value: no equation has its derivative.",
            **where,
            expected="initial values of the unknowns that have a derivative",
            received=name,
            causes=[f"D({text(unknown)}) is missing from its equation"],
            cure=f"write its equation as Eq(D({text(unknown)}), ...), or remove it from initial",
        )
    rates = [text(sympy.Derivative(unknown, (t, n)) if n else unknown) for n in range(order)]
    return Fault(
        f"{name} takes no initial value: the equations determine it.",
        **where,
        expected=f"initial values of {listed(rates)}, as {text(unknown)} is of order {order}",
        received=name,
        causes=[
            f"the equation was meant to be of a higher order than {text(_top(unknown, match))}"
        ],
        cure="remove it from initial",
    )


def _top(unknown: Any, match: Match) -> Any:
    return highest(unknown, match.orders)


def _improper(system: System, key: Any, value: Any, unknown: Any) -> Fault | None:
    where, what = place(system, ("initial", key)), f"The initial value of {name_of(key)}"
    shape = getattr(unknown, "shape", ())
    if not is_expression(value):
        bounds = (
            getattr(unknown, "bounds", None) if unknown == key or key == text(unknown) else None
        )
        return number_fault(what, value, shape, finite=True, bounds=bounds, where=where)
    symbols = sorted(value.atoms(AppliedUndef), key=name_of)
    if symbols:
        return Fault(
            f"{what} depends on {listed(symbols)}.",
            **where,
            culprit=listed(symbols),
            expected="a number, an array, or an expression of parameters",
            received=text(value),
            causes=["the unknowns have no values before the start"],
            cure="write it in parameters that the other initial values are given by as well",
        )
    if value.has(t):
        return Fault(
            f"{what} depends on time.",
            **where,
            culprit="t",
            expected="a number, an array, or an expression of parameters",
            received=text(value),
            causes=["its value at the start is wanted"],
            cure="put the starting time into it",
        )
    return expression_fault(what, value, shape, where=where)

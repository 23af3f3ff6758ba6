"""Initial values: one for each state, numbers or expressions of parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy
from sympy.core.function import AppliedUndef

from .._errors import Fault
from .._show import name_of, text
from .._symbols import is_complex, t
from .._system import System
from .describe import listed, place
from .match import Match
from .numeric import expression_fault, is_expression, number_fault, sound


def condition_faults(system: System, match: Match) -> list[Fault]:
    """Faults of initial values: surplus ones, and those that are no proper value."""
    unknowns = {name_of(u): u for u in system.survey.unknowns}
    states = {name_of(s): u for u in unknowns.values() for s in match.states(u)}
    faults = []
    for key, value in system.initial.items():
        name = name_of(key)
        if name in states:
            if fault := _improper(system, key, value, states[name]):
                faults.append(fault)
        elif unknown := _unknown_of(unknowns, key):
            faults.append(_surplus(system, match, key, unknown))
    return faults  # what is no symbol of the system is reported with the names


def _unknown_of(unknowns: dict[str, Any], key: Any) -> Any:
    """The unknown that a key is about; None if it is none of the system's."""
    return unknowns.get(name_of(key.expr if isinstance(key, sympy.Derivative) else key))


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
    return Fault(
        f"{name} takes no initial value: the equations determine it.",
        **where,
        expected=f"initial values of {listed(match.states(unknown))} for an order of {order}",
        received=name,
        causes=[f"the equation was meant to be of a higher order than {text(match.top(unknown))}"],
        cure="remove it from initial",
    )


def _improper(system: System, key: Any, value: Any, unknown: Any) -> Fault | None:
    shape = getattr(unknown, "shape", ())
    bounds = getattr(unknown, "bounds", None) if name_of(key) == name_of(unknown) else None
    if sound(value, shape, bounds):
        return None
    where, what = place(system, ("initial", key)), f"The initial value of {name_of(key)}"
    if is_complex(unknown) and not is_expression(value):
        return _complex_fault(what, value, shape, where)
    if not is_expression(value):
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
            cure="give both through a parameter, sm.parameter(...), that stands in both",
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


def _complex_fault(what: str, value: Any, shape: tuple, where: dict[str, str]) -> Fault | None:
    """The first thing that is wrong with a part of a complex number or array."""
    parts = [value]
    if isinstance(value, sympy.Basic):
        parts = [sympy.re(value), sympy.im(value)]
    elif np.iscomplexobj(value):
        parts = [np.real(value), np.imag(value)]
    faults = (
        number_fault(what, part, shape, finite=True, bounds=None, where=where) for part in parts
    )
    return next((fault for fault in faults if fault is not None), None)

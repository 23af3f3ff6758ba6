"""Completeness: what a solve needs beyond a sound system."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from .._errors import Fault
from .._show import name_of
from .._system import System
from .describe import place, shown
from .match import match


def check_complete(
    system: System, *, given_initial: Set[str] = frozenset(), given_values: Set[str] = frozenset()
) -> list[Fault]:
    """The initial values and parameter values that are still missing, one fault for each.

    Arguments: `system`; `given_initial` and `given_values`, the names of what the call supplies
    beside the system, as ``name_of`` writes them ("x", "D(x)", "k").
    Returns the faults, to be raised together as a `ModelError`; none if the system can be solved.

    >>> import sciml as sm
    >>> from sciml.dsl.check.complete import check_complete
    >>> x, k = sm.unknown("x"), sm.parameter("k")
    >>> system = sm.System(sm.Eq(sm.D(x), -k * x), initial={x: 1})
    >>> [fault.summary for fault in check_complete(system)]
    ['The parameter k has no value.']
    """
    initial = {name_of(key) for key in system.initial} | given_initial
    values = {name_of(key) for key in system.values} | given_values
    matched = match(system)
    faults = [
        _initial(system, unknown, name)  # of an algebraic unknown it is a guess, 0 if not given
        for unknown in system.survey.unknowns
        for name in map(name_of, matched.states(unknown))
        if name not in initial and unknown not in matched.algebraic
    ]
    for symbol in system.parameters:
        if symbol.name not in values and getattr(symbol, "value", None) is None:
            faults.append(_value(system, symbol))
    return faults


def _initial(system: System, unknown: Any, name: str) -> Fault:
    kind, shape = "unknown" if name == name_of(unknown) else "rate", getattr(unknown, "shape", ())
    return Fault(
        f"The {kind} {name} has no initial value.",
        **place(system, system.survey.unknowns[unknown]),
        expected=f"the value of {name} at the start{_of_shape(shape)}",
        cure=f"give it in the system, initial={{{name}: ...}}, or in the call, "
        f"solve(system, initial={{{name}: ...}}, ...)",
    )


def _value(system: System, symbol: Any) -> Fault:
    name, guess = symbol.name, getattr(symbol, "guess", None)
    causes = [] if guess is None else [f"its guess of {shown(guess)} is for fit alone"]
    return Fault(
        f"The parameter {name} has no value.",
        **place(system, system.survey.parameters[symbol]),
        expected=f"a value of {name}{_of_shape(getattr(symbol, 'shape', ()))}",
        causes=causes,
        cure=f"give it in the system, values={{{name}: ...}}, or in the call, "
        f"solve(system, values={{{name}: ...}}, ...); or estimate it from data with fit",
    )


def _of_shape(shape: tuple[int, ...]) -> str:
    return f", of shape {shape}" if shape else ""

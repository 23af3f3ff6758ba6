"""Completeness: what a solve needs beyond a sound system."""

from __future__ import annotations

from collections.abc import Set

from .._errors import Fault
from .._show import name_of
from .._system import System
from .describe import place


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
    states = [(s, name_of(s)) for s in system.survey.states]
    faults = [_initial(system, s, name) for s, name in states if name not in initial]
    for symbol in system.parameters:
        if symbol.name not in values and getattr(symbol, "value", None) is None:
            faults.append(_value(system, symbol))
    return faults


def _initial(system: System, state: object, name: str) -> Fault:
    unknown = state if state in system.survey.unknowns else state.expr  # type: ignore[attr-defined]
    summary = f"The unknown {name} has no initial value."
    if unknown is not state:
        summary = f"The rate {name} has no initial value."
    return Fault(
        summary,
        **place(system, system.survey.unknowns[unknown]),
        expected=f"the value of {name} at the start"
        + (f", shape {unknown.shape}" if getattr(unknown, "shape", ()) else ""),  # type: ignore[attr-defined]
        cure=f"give it in the system, initial={{{name}: ...}}, or in the call, "
        f"solve(system, initial={{{name}: ...}}, ...)",
    )


def _value(system: System, symbol: object) -> Fault:
    name, guess = symbol.name, getattr(symbol, "guess", None)  # type: ignore[attr-defined]
    causes = [] if guess is None else [f"it has a guess, {guess:g}, which is where fit starts"]
    return Fault(
        f"The parameter {name} has no value.",
        **place(system, system.survey.parameters[symbol]),  # type: ignore[index]
        expected=f"a value of {name}"
        + (f", shape {symbol.shape}" if getattr(symbol, "shape", ()) else ""),  # type: ignore[attr-defined]
        causes=causes,
        cure=f"give it in the system, values={{{name}: ...}}, or in the call, "
        f"solve(system, values={{{name}: ...}}, ...); or estimate it from data with fit",
    )

"""Parameter values: numbers within bounds, or expressions that depend on no circle."""

from __future__ import annotations

from typing import Any

import sympy
from sympy.core.function import AppliedUndef

from .._errors import Fault
from .._show import name_of, text
from .._symbols import t
from .._system import System
from .circles import circles
from .describe import listed, place
from .numeric import (
    Misfit,
    bounds_fault,
    expression_fault,
    is_expression,
    number_fault,
    numbers,
    sound,
)


def value_faults(system: System) -> list[Fault]:
    """Faults of values, of declared defaults and of guesses."""
    given = {name_of(key): key for key in system.values}
    parameters = system.survey.parameters
    dependent = {}
    faults: list[Fault | None] = []
    for symbol, where in parameters.items():
        key = given.get(symbol.name)
        if key is None:
            faults.append(_declared(system, symbol, "value", where))
        elif is_expression(system.values[key]):
            dependent[symbol] = key
        else:
            faults.append(_number(system, symbol, key))
        faults.append(_declared(system, symbol, "guess", where))
    for unknown, where in system.survey.unknowns.items():
        faults.append(_declared(system, unknown, "guess", where))
    faults += [_improper(system, symbol, key) for symbol, key in dependent.items()]
    closed = circles(_graph(system, dependent))
    faults += [_circle(system, dependent, circle) for circle in closed]
    faults += [] if closed else _out_of_bounds(system, dependent, given)
    return [fault for fault in faults if fault is not None]


def _number(system: System, symbol: Any, key: Any) -> Fault | None:
    shape, bounds = getattr(symbol, "shape", ()), getattr(symbol, "bounds", None)
    if sound(system.values[key], shape, bounds):
        return None
    return number_fault(
        f"The value of {symbol.name}",
        system.values[key],
        shape,
        finite=False,
        bounds=bounds,
        where=place(system, ("values", key)),
    )


def _declared(system: System, symbol: Any, what: str, where: Any) -> Fault | None:
    """The default value or the guess that a symbol was declared with."""
    value = getattr(symbol, what, None)
    shape, bounds = getattr(symbol, "shape", ()), getattr(symbol, "bounds", None)
    if value is None or sound(value, shape, bounds):
        return None
    return number_fault(
        f"The {what} that {name_of(symbol)} was declared with",
        value,
        shape,
        finite=False,
        bounds=bounds,
        where=place(system, where),
    )


def _improper(system: System, symbol: Any, key: Any) -> Fault | None:
    value, where = system.values[key], place(system, ("values", key))
    what = f"The value of {symbol.name}"
    varying = sorted(value.atoms(AppliedUndef), key=name_of) or [t]
    if value.has(t):
        return Fault(
            f"{what} depends on {listed(varying)}.",
            **where,
            culprit=listed(varying),
            expected="a number, an array, or an expression of other parameters",
            received=text(value),
            causes=["it varies in time: it is an unknown that follows from the others"],
            cure=f'declare {symbol.name} = sm.unknown("{symbol.name}"), and write '
            f"Eq({symbol.name}, {text(value)})",
        )
    return expression_fault(what, value, getattr(symbol, "shape", ()), where=where)


def _graph(system: System, dependent: dict[Any, Any]) -> dict[Any, list[Any]]:
    """For each parameter whose value is an expression, the others of that kind in it."""
    by_name = {symbol.name: symbol for symbol in dependent}
    graph = {}
    for symbol, key in dependent.items():
        names = sorted(s.name for s in system.values[key].free_symbols)
        graph[symbol] = [by_name[name] for name in names if name in by_name]
    return graph


def _circle(system: System, dependent: dict[Any, Any], circle: list[Any]) -> Fault:
    summary = f"The values of {listed(circle[:-1])} depend on each other in a circle."
    if len(circle) == 2:
        summary = f"The value of {circle[0].name} depends on itself."
    return Fault(
        summary,
        **place(system, ("values", dependent[circle[0]])),
        received=" -> ".join(symbol.name for symbol in circle),
        causes=["a name in one of the expressions is wrong"],
        cure="give it a number" if len(circle) == 2 else "give one of them a number",
    )


def _out_of_bounds(
    system: System, dependent: dict[Any, Any], given: dict[str, Any]
) -> list[Fault | None]:
    """Values that are expressions, where all that they depend on is a number."""
    bounded = [s for s in dependent if getattr(s, "bounds", None) and not getattr(s, "shape", ())]
    if not bounded:
        return []
    known = {}
    for symbol in system.survey.parameters:
        value = system.values[given[symbol.name]] if symbol.name in given else None
        value = getattr(symbol, "value", None) if value is None else value
        if is_expression(value):
            known[symbol.name] = value
        elif value is not None and not getattr(symbol, "shape", ()):
            number = numbers(value)
            if not isinstance(number, Misfit) and not number.shape:
                known[symbol.name] = sympy.Float(float(number))
    faults = []
    for symbol in bounded:
        key, result = dependent[symbol], _resolved(dependent[symbol], system, known)
        if result is not None:
            where = place(system, ("values", key))
            what = f"The value of {symbol.name}"
            faults.append(bounds_fault(what, result, symbol.bounds, where=where))
    return faults


def _resolved(key: Any, system: System, known: dict[str, Any]) -> Any:
    """The number that an expression comes to; None where it cannot be told."""
    value = system.values[key]
    for _ in range(len(known) + 1):
        names = {s: known[s.name] for s in value.free_symbols if s.name in known}
        if not names:
            break
        value = value.xreplace(names)
    number = numbers(value)
    return None if isinstance(number, Misfit) else number

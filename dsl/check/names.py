"""Names: every symbol declared, each name for one thing, each entry for a symbol of the system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy
from sympy.core.function import AppliedUndef

from .._coordinates import Coordinate
from .._equations import Equation
from .._errors import Fault
from .._neural import Neural
from .._show import name_of
from .._symbols import Parameter, t
from .._system import System
from .describe import entry, kind, listed, nearest, place

_METADATA = ("value", "shape", "unit", "bounds", "guess", "description", "numbers")


def name_faults(system: System) -> list[Fault]:
    """Faults of names: undeclared, used for two things, or given for nothing."""
    table = _table(system)
    return [
        *_undeclared(system, table),
        *(fault for things in table.values() for fault in _clashes(system, things)),
        *_not_of_time(system),
        *_twice_given(system),
        *_initial_keys(system, table),
        *_value_keys(system, table),
        *_observed_keys(system, table),
    ]


def _table(system: System) -> dict[str, dict[Any, Any]]:
    """For each name, what it stands for, and where that is first named."""
    survey = system.survey
    observed = {k: ("observed", k) for k in system.observed if isinstance(k, sympy.Symbol)}
    table: dict[str, dict[Any, Any]] = {}
    for found in (survey.unknowns, survey.parameters, survey.networks, survey.drivers, observed):
        for thing, where in found.items():
            table.setdefault(_name(thing), {})[thing] = where
    return table


def _name(thing: Any) -> str:
    return thing.func.__name__ if isinstance(thing, AppliedUndef) else thing.name


def _undeclared(system: System, table: Mapping) -> list[Fault]:
    coordinates = {a for u in system.survey.unknowns for a in u.args if a != t}
    coordinates |= {s for rate in system.survey.other_rates for s in rate.variables}
    known = [*table, *(k for k in system.observed if isinstance(k, str)), "t"]
    faults = []
    for symbol, where in system.survey.undeclared.items():
        if symbol not in system.observed and symbol not in coordinates:
            faults.append(_undeclared_fault(system, symbol, where, table, known))
    return faults


def _undeclared_fault(
    system: System, symbol: sympy.Symbol, where: Any, table: Mapping, known: list[str]
) -> Fault:
    name, summary = symbol.name, f"{symbol.name} is not declared: it is a plain sympy symbol."
    near = nearest(name, known)
    expected = "symbols made by sm.unknown or sm.parameter, or a value for the symbol"
    causes = ["it was made with sympy.symbols, and no value was given for it"]
    cure = f'declare it, {name} = sm.parameter("{name}"), or give values={{{name}: ...}}'
    if name == t.name:
        summary = "t is another symbol of the name t, not the time."
        expected, causes = "the time of this package, sm.t, which is sympy.Symbol('t')", []
        cure = "import t from sciml, and use it everywhere"
    elif name in table:
        meant = kind(next(iter(table[name])))
        causes = [f"the system has {meant} of this name, but this is another symbol"]
        cure = f"use the one that was declared as {meant}"
    elif name in system.observed:
        causes = ["observed gives it by its name alone"]
        cure = f"give the symbol itself as the key, observed={{{name}: ...}}"
    elif near is not None:
        causes.insert(0, f"{near} was meant")
        cure = f"use {near}; or {cure}"
    return Fault(
        summary,
        **place(system, where),
        culprit=name,
        expected=expected,
        causes=causes,
        cure=cure,
    )


def _clashes(system: System, things: Mapping[Any, Any]) -> list[Fault]:
    """Two symbols of one name; different metadata make them different."""
    (first, place_first), *others = things.items()
    name = _name(first)
    faults = []
    for other, where in others:
        one, two = _difference(first, other)
        origin = place(system, place_first)
        faults.append(
            Fault(
                f"The name {name} stands for two things: {one}, and {two}.",
                **place(system, where),
                expected="one thing of this name",
                received=f"{one} in {origin['equation']}, written at {origin['where']}",
                causes=["it was declared twice, in two cells or in two functions"],
                cure="declare it once and use that symbol in every equation, or rename one",
            )
        )
    return faults


def _difference(first: Any, other: Any) -> tuple[str, str]:
    """What the two things are; where both are of a kind, how they were declared differently."""
    if kind(first) != kind(other):
        return kind(first), kind(other)
    unlike = [k for k in _METADATA if getattr(first, k, None) != getattr(other, k, None)]
    if unlike:
        return tuple(f"{kind(s)} with {_settings(s, unlike)}" for s in (first, other))  # type: ignore
    if isinstance(first, AppliedUndef) and first.args != other.args:
        return tuple(f"{kind(s)} of {listed(s.args)}" for s in (first, other))  # type: ignore
    if isinstance(first, Neural):
        return kind(first), f"{kind(other)} with another module"
    return kind(first), f"{kind(other)} with other assumptions"


def _settings(symbol: Any, keys: list[str]) -> str:
    given = {k: getattr(symbol, k, None) for k in keys}
    empty = [k for k, v in given.items() if v in (None, (), "")]
    words = [f"no {k}" for k in empty]
    return ", ".join(words + [f"{k}={v!r}" for k, v in given.items() if k not in empty])


def _not_of_time(system: System) -> list[Fault]:
    faults = []
    for unknown, where in system.survey.unknowns.items():
        if unknown.args == (t,) or not isinstance(where, Equation):
            continue
        if all(a == t or isinstance(a, Coordinate) for a in unknown.args):
            continue
        name, given = unknown.func.__name__, ", ".join(name_of(a) for a in unknown.args)
        if any(not isinstance(a, sympy.Symbol) or isinstance(a, Parameter) for a in unknown.args):
            summary = f"{name}({given}) calls {name}, which is not declared as a function."
            causes = ["it was made with sympy.Function, and applied to unknowns or parameters"]
            cure = f'declare it, {name} = sm.neural("{name}", module) or sm.forcing("{name}", ...)'
        elif system.survey.other_rates:
            continue  # the partial derivatives are reported
        elif {a.name for a in unknown.args} == {t.name}:
            summary = f"{name} is a function of another symbol of the name t."
            causes = ["the t in it was made by sympy.symbols, with assumptions"]
            cure = "import t from sciml, and use it everywhere"
        else:
            summary = f"{name} is a function of {listed(unknown.args)}, not of time alone."
            causes = ["it is a field, and its coordinates were made by sympy.symbols"]
            cure = "declare them by sm.coordinate(...), and their domain in the system"
        faults.append(
            Fault(
                summary,
                **place(system, where),
                culprit=f"{name}({given})",
                expected="unknowns that are functions of t, and of coordinates",
                causes=causes,
                cure=cure,
            )
        )
    return faults


def _twice_given(system: System) -> list[Fault]:
    faults = []
    for field in ("initial", "values", "observed"):
        seen: dict[str, Any] = {}
        for key in getattr(system, field):
            name = name_of(key)
            if name in seen:
                faults.append(
                    Fault(
                        f"{name} is given twice in {field}.",
                        **place(system, (field, key)),
                        received=f"this one, and {entry(system, field, seen[name])}",
                        causes=["once by its symbol and once by its name"],
                        cure="remove one of the two",
                    )
                )
            seen.setdefault(name, key)
    return faults


def _initial_keys(system: System, table: Mapping) -> list[Fault]:
    states = [name_of(s) for s in system.survey.states]
    known = {*states, *(name_of(u) for u in system.survey.unknowns)}
    faults = []
    for key in system.initial:
        name = name_of(key)
        if name in known or (isinstance(key, sympy.Derivative) and name_of(key.expr) in known):
            continue  # what is surplus there is reported with the conditions
        things = table.get(name, {})
        if things or isinstance(key, Parameter):
            thing = next(iter(things), key)
            cure = "remove it; the module in sm.neural holds the weights"
            if isinstance(thing, sympy.Symbol):
                cure = f"move it to values={{{name}: ...}}"
            fault = _key_fault(system, "initial", key, f"{name} is {kind(thing)}", states, cure)
        else:
            fault = _absent(system, "initial", key, states)
        faults.append(fault)
    return faults


def _value_keys(system: System, table: Mapping) -> list[Fault]:
    parameters = [p.name for p in system.survey.parameters]
    known = set(parameters)
    states = {name_of(s) for s in system.survey.states}
    faults = []
    for key in system.values:
        name = name_of(key)
        if name in known:
            continue
        things = table.get(name, {})
        if things or name in states or isinstance(key, (AppliedUndef, sympy.Derivative)):
            thing = next(iter(things), key)
            what, cure = kind(thing), "remove it; the module in sm.neural holds the weights"
            if isinstance(thing, AppliedUndef):
                cure = f"move it to initial={{{name}: ...}}, or declare {name} with sm.parameter"
            elif isinstance(key, sympy.Derivative) or name in states:
                what, cure = "a rate", f"move it to initial={{{name}: ...}}, or remove it"
            what = f"{name} is {what}"
            faults.append(_key_fault(system, "values", key, what, parameters, cure))
        else:
            faults.append(_absent(system, "values", key, parameters))
    return faults


_TAKES = {"initial": "unknowns and their rates", "values": "parameters"}


def _key_fault(
    system: System, field: str, key: Any, what: str, known: list[str], cure: str
) -> Fault:
    return Fault(
        f"{what}: it has no place in {field}.",
        **place(system, (field, key)),
        expected=f"{_TAKES[field]}: {listed(known) or 'there are none'}",
        received=name_of(key),
        cure=cure,
    )


def _absent(system: System, field: str, key: Any, known: list[str]) -> Fault:
    name = name_of(key)
    if not isinstance(key, (str, sympy.Symbol, AppliedUndef, sympy.Derivative)):
        cure = "give the symbol itself, a whole array at once"
        return _key_fault(system, field, key, f"{name} is an expression, not a symbol", known, cure)
    near = nearest(name, known)
    causes = [f"{near} was meant"] if near else []
    causes.append("it was dropped from the equations")
    return Fault(
        f"{name} is given in {field}, but the system does not name it.",
        **place(system, (field, key)),
        expected=f"{_TAKES[field]}: {listed(known) or 'there are none'}",
        received=name,
        causes=causes,
        cure="correct the name, or remove the entry",
    )


def _observed_keys(system: System, table: Mapping) -> list[Fault]:
    faults = []
    for key in system.observed:
        name = name_of(key)
        if isinstance(key, (Parameter, sympy.Symbol)) and key in system.survey.parameters:
            what, cure = f"{name} is a parameter", "observe it under another name"
        elif not isinstance(key, (str, sympy.Symbol, AppliedUndef)):
            what = f"{name} is an expression, not a symbol"
            cure = f'give it a name, observed={{"name": {name}}}'
        elif isinstance(key, str) and name in table:
            what = f"{name} is {kind(next(iter(table[name])))} of the system"
            cure = "observe it under another name, or give the symbol itself as the key"
        else:
            continue
        faults.append(
            Fault(
                f"{what}: it cannot be defined in observed.",
                **place(system, ("observed", key)),
                expected="a new name or symbol, and the expression that it stands for",
                received=name,
                cure=cure,
            )
        )
    return faults

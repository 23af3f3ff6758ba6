"""As many equations as unknowns, and each equation for one of them."""

from __future__ import annotations

from typing import Any

import sympy
from sympy.core.function import AppliedUndef

from .._errors import Fault
from .._show import name_of, text
from .._symbols import t
from .._system import System
from .circles import circles
from .describe import counted, listed, place
from .match import Match


def balance_faults(system: System, match: Match) -> list[Fault]:
    """Faults in the number of equations, and in what each of them determines."""
    if system.survey.other_rates:  # what the other equations determine cannot be told
        return [_other_rate(system, rate) for rate in system.survey.other_rates]
    undeclared = set(system.survey.undeclared) - set(system.observed)
    faults = [] if undeclared else [_idle(system, i) for i in match.idle]
    faults += [_twice(system, match, i) for i in match.twice]
    faults += [_rated(system, match, unknown) for unknown in match.rated]
    faults += [_surplus(system, match, i) for i in match.surplus]
    algebraic, open_ones = _algebraic(system, match)
    faults += algebraic
    faults += [_circle(system, match, circle) for circle in circles(_graph(system, match))]
    faults += [_missing(system, match, unknown) for unknown in open_ones]
    return faults


def empty_fault(system: System) -> Fault:
    """The fault of a system without equations."""
    return Fault(
        "The system has no equations.",
        where=str(system.origin),
        expected="at least one equation, System(Eq(D(x), ...), ...)",
        received="none",
        causes=["the list of equations is empty"],
        cure="give one equation for each unknown",
    )


def _count(system: System) -> str:
    found = [name_of(u) for u in system.survey.functions if u not in system.observed]
    unknowns = list(dict.fromkeys(found))
    equations = counted(len(system.equations), "equation")
    return f"{equations} for {counted(len(unknowns), 'unknown')}: {listed(unknowns)}"


def _idle(system: System, i: int) -> Fault:
    return Fault(
        "This equation names no unknown: it determines nothing.",
        **place(system, system.equations[i]),
        expected="an equation for an unknown, a function of time",
        received=_count(system),
        causes=[
            "a quantity in it was declared with sm.parameter, and should be an unknown",
            "its unknowns cancelled out",
            "it sets a parameter",
        ],
        cure="declare what it determines with sm.unknown; set a parameter in System(values=...)",
    )


def _missing_names(system: System, match: Match) -> list[Any]:
    """Unknowns without an equation; one with the name of another is reported for its name."""
    missing = set(match.missing)
    settled = {name_of(u) for u in system.survey.unknowns if u not in missing}
    return [unknown for unknown in match.missing if name_of(unknown) not in settled]


def _missing(system: System, match: Match, unknown: Any) -> Fault:
    name, top = text(unknown), text(match.top(unknown))
    if unknown in match.orders:
        causes = [f"its equation was forgotten, and {top} only stands in others"]
        cure = f"add Eq({top}, ...)"
    else:
        causes = [
            "its equation was forgotten",
            f"{name} is a constant: declare it with sm.parameter",
            f"{name} is a known input: declare it with sm.forcing",
        ]
        cure = f"add Eq(D({name}), ...), or Eq({name}, ...) if it follows from the other unknowns"
    return Fault(
        f"The unknown {name} has no equation.",
        **place(system, system.survey.unknowns[unknown]),
        expected="one equation for each unknown",
        received=_count(system),
        causes=causes,
        cure=cure,
    )


def _twice(system: System, match: Match, i: int) -> Fault:
    thing, first = match.twice[i]
    if first is None:
        other = f"observed={{{name_of(thing)}: {text(system.observed[thing])}}}"
    else:
        other = f"{system.equations[first]}, written at {system.equations[first].origin}"
    causes = ["one of them is left over from an earlier version"]
    if match.missing:
        causes.insert(0, f"it was meant for {listed(match.missing)}, still without an equation")
    return Fault(
        f"{text(thing)} is determined twice.",
        **place(system, system.equations[i]),
        expected=f"one equation for {text(thing)}",
        received=f"this one, and {other}",
        causes=causes,
        cure="remove one of the two, or write it for another unknown",
    )


def _rated(system: System, match: Match, unknown: Any) -> Fault:
    defining = match.definitions[unknown]
    where = ("observed", unknown) if defining is None else system.equations[defining]
    top = match.top(unknown)
    user = next(e for e, r in zip(system.equations, system.survey.rates, strict=True) if top in r)
    return Fault(
        f"{text(unknown)} is given by an expression, but {text(top)} stands in an equation.",
        **place(system, where),
        culprit=f"{text(top)} in {user}, written at {user.origin}",
        expected=f"{text(unknown)} given by an expression and never differentiated, "
        "or given by its rate",
        causes=["the rate of a quantity that follows from the others was wanted"],
        cure=f"write the expression itself inside D(...) instead of {text(top)}: "
        "the derivative is then carried out",
    )


def _graph(system: System, match: Match) -> dict[Any, list[Any]]:
    """For each quantity that an expression defines, the others of that kind in it."""
    defined = {**match.definitions, **dict.fromkeys(system.observed)}
    if not defined:
        return {}
    graph = {}
    for symbol, i in defined.items():
        if i is None:
            found = system.observed[symbol].atoms(AppliedUndef, sympy.Symbol)
        else:
            found = system.survey.mentions[i] - {symbol}
            if system.observed:
                equation = system.equations[i]
                found = found | equation.lhs.free_symbols | equation.rhs.free_symbols
        graph[symbol] = sorted((s for s in found if s in defined), key=name_of)
    return graph


def _circle(system: System, match: Match, circle: list[Any]) -> Fault:
    first = match.definitions.get(circle[0])
    where = ("observed", circle[0]) if first is None else system.equations[first]
    summary = f"The definitions of {listed(circle[:-1])} depend on each other in a circle."
    if len(circle) == 2:
        summary = f"The definition of {name_of(circle[0])} depends on itself."
    return Fault(
        summary,
        **place(system, where),
        expected="definitions that can be computed one after the other",
        received=" -> ".join(name_of(symbol) for symbol in circle),
        causes=["they are simultaneous algebraic equations"],
        cure=_CIRCLE if first is not None else _OBSERVED_CIRCLE,
    )


_CIRCLE = (
    "write one of them as Eq(0, right - left): it is then solved at run time, with the others in it"
)
_OBSERVED_CIRCLE = "solve them by hand for one of these, and define the others from it"


def _surplus(system: System, match: Match, i: int) -> Fault:
    tops = match.tops[i]
    owners = dict.fromkeys(match.owner[top] for top in tops if top in match.owner)
    others = [f"{system.equations[j]} ({system.equations[j].origin})" for j in owners]
    return Fault(
        f"This equation is one too many: other equations determine {listed(tops)} already.",
        **place(system, system.equations[i]),
        expected="one equation for each highest derivative",
        received="; ".join(others),
        causes=["it follows from the others", "it should hold the derivative of another unknown"],
        cure="remove one of these equations, or write it for another unknown",
    )


def _algebraic(system: System, match: Match) -> tuple[list[Fault], list[Any]]:
    """Faults of equations without a highest derivative, and the unknowns that stay open."""
    open_ones = _missing_names(system, match)
    faults, higher = [], 0
    for i, unknown in match.implicit.items():
        if unknown is not None:
            fault = _explicit_but_for_rates(system, match, i)
        elif match.reached[i]:
            fault = _overdetermined(system, match, i)
        elif open_ones:
            fault, higher = _higher_index(system, match, i, open_ones), higher + 1
        elif system.survey.rates[i]:
            fault = _lower(system, match, i)
        else:
            fault = _constraint(system, i)
        faults += [] if fault is None else [fault]
    if system.survey.noises and match.algebraic:
        faults.append(_noise(system, match))
    return faults, open_ones if higher < len(open_ones) else []


def _explicit_but_for_rates(system: System, match: Match, i: int) -> Fault | None:
    """``D(x) = z`` below the highest derivative of x: z follows from x, and needs no solving."""
    equation, unknown = system.equations[i], match.implicit[i]
    if system.survey.rates[i] and unknown in (equation.lhs, equation.rhs):
        return _lower(system, match, i)
    return None


def _overdetermined(system: System, match: Match, i: int) -> Fault:
    unknowns = match.reached[i]
    owners = dict.fromkeys(match.algebraic[u] for u in unknowns if u in match.algebraic)
    others = [f"{system.equations[j]} ({system.equations[j].origin})" for j in owners]
    return Fault(
        f"This equation is one too many: other equations determine {listed(unknowns)} already.",
        **place(system, system.equations[i]),
        expected="one algebraic equation for each unknown without a rate",
        received="; ".join(others),
        causes=["it follows from the others", "another unknown is missing in it"],
        cure="remove one of these equations, or write it for another unknown",
    )


def _higher_index(system: System, match: Match, i: int, open_ones: list[Any]) -> Fault:
    what = _between(system, i)
    names = listed(open_ones)
    return Fault(
        f"This equation is a constraint {what} alone, and {names} has no equation: the system is "
        "of higher index.",
        **place(system, system.equations[i]),
        expected=f"an algebraic equation in which {names} stands",
        received=f"one {what}, determined by other equations",
        causes=[
            f"it fixes {names} through the rates of the others",
            f"the equation of {names} was forgotten",
        ],
        cure=f"differentiate it by hand until {names} stands in it, or use coordinates that "
        "always obey it; the index is not reduced yet",
    )


def _between(system: System, i: int) -> str:
    mentions = system.survey.mentions[i]
    names = [u for u in system.survey.unknowns if u in mentions]
    return f"on {listed(names)}" if len(names) == 1 else f"between {listed(names)}"


def _constraint(system: System, i: int) -> Fault:
    return Fault(
        f"This equation is a constraint {_between(system, i)}, which others determine.",
        **place(system, system.equations[i]),
        expected="a differential equation, Eq(D(x), ...), or an algebraic equation for an unknown "
        "without a rate",
        received=f"one too many: {_count(system)}",
        causes=["it is a quantity that the other equations conserve"],
        cure="remove it if it follows from the others, or use coordinates that always obey it",
    )


def _noise(system: System, match: Match) -> Fault:
    unknown, i = next(iter(match.algebraic.items()))
    return Fault(
        f"An algebraic equation, for {text(unknown)}, stands beside equations with noise.",
        **place(system, system.equations[i]),
        expected=f"a definition, Eq({text(unknown)}, ...), or equations without Brownian motions",
        received=f"the noise of {listed(system.survey.noises)}",
        cure=f"solve it by hand for {text(unknown)}",
    )


def _lower(system: System, match: Match, i: int) -> Fault:
    """An equation with rates, but with no highest one: ``D(x) = y`` beside ``D(x, 2) = -x``."""
    equation, unknown = system.equations[i], match.implicit[i]
    rates = sorted(system.survey.rates[i], key=name_of)
    tops = list(dict.fromkeys(match.top(rate.expr) for rate in rates))
    owner = next((match.owner[top] for top in tops if top in match.owner), None)
    received = listed(rates)
    if owner is not None:
        other = system.equations[owner]
        received += f", while {other}, written at {other.origin}, is of a higher order"
    cure = "remove one of the two equations, or write this one for another unknown"
    if unknown is not None:
        cure = f"write what it defines on the left, Eq({text(unknown)}, ...)"
    return Fault(
        f"This equation does not hold the highest derivative, {listed(tops)}.",
        **place(system, equation),
        culprit=listed(rates),
        expected=f"an equation for {listed(tops)}, or a definition, Eq(z, ...)",
        received=received,
        causes=["the orders of the two equations are mixed up"],
        cure=cure,
    )


def _other_rate(system: System, rate: sympy.Derivative) -> Fault:
    where = place(system, system.survey.other_rates[rate])
    others = [s for s in rate.variables if s != t]
    if not others:
        return Fault(
            f"{text(rate)} is the rate of an expression, left as it is.",
            **where,
            culprit=text(rate),
            expected="rates of unknowns",
            causes=["it was written with sympy.Derivative or diff(..., evaluate=False)"],
            cure=f"write sm.D({text(rate.expr)}), or call .doit(): the derivative is carried out",
        )
    twin = next((s for s in others if s.name == t.name), None)
    if twin is not None:
        return Fault(
            f"{text(rate)} is a derivative by another symbol of the name t.",
            **where,
            culprit=text(rate),
            expected="the time of this package, sm.t, which is sympy.Symbol('t')",
            received="a symbol t that was declared with other assumptions",
            cure="import t from sciml, and use it everywhere",
        )
    causes = [f"{listed(others)} was made by sympy.symbols, and is no coordinate"]
    cure = f'declare it, {others[0]} = sm.coordinate("{others[0]}"), and its domain'
    if strange := [s for s in others if s not in rate.expr.args]:
        causes = [f"{text(rate.expr)} is not a function of {listed(strange)}"]
        cure = f"write D({text(rate.expr)}) for the rate in time"
    return Fault(
        f"{text(rate)} is a derivative by {listed(others)}, not by time.",
        **where,
        culprit=text(rate),
        expected="derivatives by time, D(x) or D(x, 2), and by coordinates",
        received="a derivative by a plain symbol",
        causes=causes,
        cure=cure,
    )

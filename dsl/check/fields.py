"""Fields: domains, boundary conditions, well-posedness; before anything is put on a grid."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import sympy
from sympy.core.function import AppliedUndef

from .._boundary import Conditions, sort_conditions, spatial_orders
from .._coordinates import At, Coordinate, at, is_field
from .._equations import Equation
from .._errors import Fault, ModelWarning
from .._matching import maximum_matching
from .._show import name_of, number, text
from .._split import slope_by
from .._symbols import is_complex, t
from .._system import System
from .describe import counted, listed, place
from .names import name_faults


def field_faults(system: System) -> list[Fault]:
    """Faults of a system of fields; initial values that break conditions are warned of."""
    faults = [*name_faults(system), *_domains(system), *_equations(system)]
    if faults:
        return faults
    conditions = sort_conditions(system)
    faults = [_misplaced(system, condition) for condition in conditions.misplaced]
    faults += _periodic(system, conditions)
    faults += _numbers(system, conditions)
    faults += _signs(system)
    if not faults:
        _warn_of_initial(system, conditions)
        _warn_of_corners(system, conditions)
    return faults


# -- domains and equations -------------------------------------------------------------------------


def _domains(system: System) -> Iterator[Fault]:
    for s, where in system.survey.coordinates.items():
        if s not in system.domain:
            yield Fault(
                f"The coordinate {s} has no domain.",
                **place(system, where),
                expected=f"where {s} goes, domain={{{s}: (0, 1)}}",
                cure=f"give it in the system, domain={{{s}: (low, high)}}",
            )
    for s in system.domain:
        if s not in system.survey.coordinates:
            yield Fault(
                f"{s} is given in domain, but no field is a function of it.",
                where=str(system.origin),
                received=f"domain={{{s}: ...}}",
                causes=["the field was declared without it", "it was declared twice"],
                cure=f"declare the field with it, sm.unknown(name, t, {s}), or remove it",
            )


def _equations(system: System) -> Iterator[Fault]:
    """Each unknown has an equation, and each equation an unknown."""
    unknowns = [u for u in system.survey.unknowns if u not in system.observed]
    found = []
    for equation in system.equations:
        inside = equation.lhs.atoms(AppliedUndef) | equation.rhs.atoms(AppliedUndef)
        found.append([u for u in unknowns if u in inside])
    owners = maximum_matching(found, unknowns)
    count = f"{counted(len(found), 'equation')} for {counted(len(unknowns), 'unknown')}"
    for i in (i for i, owner in enumerate(owners) if owner is None):
        yield Fault(
            "This equation is one too many: others determine its unknowns already.",
            **place(system, system.equations[i]),
            expected="one equation for each unknown",
            received=count,
            causes=["it is a condition at an end of the domain"],
            cure="remove it, or move it to boundary=[...]",
        )
    for u in (u for u in unknowns if u not in owners):
        yield Fault(
            f"The unknown {text(u)} has no equation.",
            **place(system, system.survey.unknowns[u]),
            expected="one equation for each unknown",
            received=count,
            cure=f"add Eq(D({text(u)}, t), ...)",
        )


# -- conditions ------------------------------------------------------------------------------------


def _misplaced(system: System, condition: Equation) -> Fault:
    taken = condition.lhs.atoms(At) | condition.rhs.atoms(At)
    ends = "; ".join(
        f"{s} = {number(low)} and {s} = {number(high)}" for s, (low, high) in system.domain.items()
    )
    return Fault(
        "This condition is at no end of the domain."
        if taken
        else "This condition says nowhere where it holds.",
        **place(system, condition),
        culprit=", ".join(sorted(text(e) for e in taken)),
        expected=f"a place at one end: {ends}",
        causes=["the domain and the condition do not agree"],
        cure="write u.at(s=...) or sm.at(D(u, s), s=...) with an end of the domain",
    )


def _periodic(system: System, conditions: Conditions) -> Iterator[Fault]:
    """A coordinate is periodic for all fields, or for none; and then has no other conditions."""
    for s in system.coordinates:
        ring = [u for u, found in conditions.periodic.items() if s in found]
        others = [u for u in system.fields if s in u.args and u not in ring]
        low, high = system.domain[s]
        if ring and others:
            yield Fault(
                f"{listed(ring)} is periodic in {s}, and {listed(others)} is not.",
                where=str(system.origin),
                expected="all fields periodic along a coordinate, or none",
                cure=f"add Eq({name_of(others[0])}.at({s}={low}), "
                f"{name_of(others[0])}.at({s}={high}))",
            )
        extra = [*conditions.ends.get((s, 0), ()), *conditions.ends.get((s, 1), ())]
        for condition, u in extra if ring else ():
            yield Fault(
                f"{s} is periodic: there is no end at which this condition could hold.",
                **place(system, condition),
                expected=f"no further conditions on {name_of(u)} along {s}",
                cure="remove it, or remove the periodic condition",
            )


def _numbers(system: System, conditions: Conditions) -> Iterator[Fault]:
    """As many conditions as the derivatives ask for."""
    for (u, s), order in spatial_orders(system).items():
        if s in conditions.periodic.get(u, ()):
            continue
        counts = _counted_by_half(u, conditions) if is_complex(u) else conditions.count(u)
        given = [counts.get((s, end), 0) for end in (0, 1)]
        name, low, high = name_of(u), *map(number, system.domain[s])
        wanted = [order // 2] * 2 if order % 2 == 0 else _of_waves(system, u, s, order)
        expected = None
        if wanted is not None and given != wanted:
            expected = f"{wanted[0]} at {s}={low} and {wanted[1]} at {s}={high}"
            if order % 2:
                expected += f": waves come from {s}={(low, high)[wanted[1] > wanted[0]]}"
        elif order % 2 and order > 1 and (sum(given) != order or min(given) < order // 2):
            expected = f"{order} in all, at least {order // 2} at each end"
        elif order == 1 and max(given) > 1:
            expected = "at most one at each end"
        if expected is None:
            continue
        few, many = sum(given) < order, sum(given) > order
        lacks = [a - b for a, b in zip(wanted or [0, 0], given, strict=True)]
        where = place(system, system.survey.unknowns[u])
        cure = "give one condition less at the end with more, and one more at the other"
        if few:
            cure = "add to boundary what is known there, such as "
            cure += f"Eq({name}.at({s}={(low, high)[lacks[1] > lacks[0]]}), 0)"
        elif many:
            cure = "remove what follows from the others"
        what = f"too {'few' if few else 'many'}" if few or many else "not the right"
        yield Fault(
            f"{name} has {what} conditions along {s}, where its equation holds a derivative of "
            f"order {order}.",
            **where,
            expected=expected,
            received=f"{given[0]} at {s}={low} and {given[1]} at {s}={high}",
            cure=cure,
        )


def _of_waves(system: System, u: Any, s: Coordinate, order: int) -> list[int] | None:
    """How many conditions each end takes for a derivative of odd order: one more where waves enter.

    By the sign of its coefficient beside the rate; None where that is not known, or of order 1.
    """
    rate, top = sympy.Derivative(u, t), sympy.Derivative(u, (s, order))
    for equation in system.equations if order > 1 else ():
        rest: Any = equation.rhs - equation.lhs
        if not rest.has(rate) or not rest.has(top):
            continue
        slope = (slope_by(rest, top) / -slope_by(rest, rate)).subs(_values(system))
        if slope.is_number and slope.is_real and slope != 0:
            less = order // 2
            upwards = slope * (-1) ** ((order + 1) // 2) > 0
            return [less + 1, less] if upwards else [less, less + 1]
    return None


def _counted_by_half(u: Any, conditions: Conditions) -> dict[Any, int]:
    """The conditions of a complex field at each end: two of its parts are one."""
    counts: dict[Any, int] = {}
    for end, found in conditions.ends.items():
        halves = [1 if _is_real(c) else 2 for c, symbol in found if symbol == u]
        counts |= {end: sum(halves) // 2} if halves else {}
    return counts


def _is_real(condition: Equation) -> bool:
    return not is_complex(condition.lhs) and not is_complex(condition.rhs)


# -- signs -----------------------------------------------------------------------------------------


def _signs(system: System) -> Iterator[Fault]:
    """Diffusion that runs backwards: short waves would grow without bound."""
    values = _values(system)
    orders = spatial_orders(system)
    for equation in system.equations:
        rest = equation.rhs - equation.lhs
        for rate in [r for r in rest.atoms(sympy.Derivative) if r.variables == (t,)]:
            for s in (s for s in rate.expr.args if isinstance(s, Coordinate)):
                order = orders.get((rate.expr, s), 0)
                if order < 2 or order % 2:
                    continue
                top = sympy.Derivative(rate.expr, (s, order))
                slope = (slope_by(rest, top) / -slope_by(rest, rate)).subs(values)
                slope = sympy.re(slope) if slope.is_number else slope
                good = 1 if order % 4 == 2 else -1
                if slope.is_number and slope.is_real and slope * good < 0:
                    yield Fault(
                        f"{name_of(rate.expr)} is ill-posed: short waves along {s} grow without "
                        "bound, the faster the shorter.",
                        **place(system, equation),
                        culprit=text(top),
                        expected=f"a {'positive' if good > 0 else 'negative'} coefficient of "
                        f"{text(top)} beside {text(rate)}",
                        received=number(slope),
                        causes=["a sign was lost", "the equation is solved backwards in time"],
                        cure="change the sign of the term, or of the time",
                    )


def _values(system: System) -> dict[Any, Any]:
    """The numbers that parameters have in the system."""
    by_name = {p.name: p for p in system.parameters}
    declared = {p: getattr(p, "value", None) for p in by_name.values()}
    given = {by_name.get(name_of(k), k): v for k, v in system.values.items()}
    found = {**declared, **given}
    return {p: v for p, v in found.items() if isinstance(v, sympy.Expr | int | float)}


# -- initial values --------------------------------------------------------------------------------


def _warn_of_initial(system: System, conditions: Conditions) -> None:
    """Initial values at the ends that are not what the conditions say there."""
    given = {name_of(k): v for k, v in system.initial.items()}
    values = _values(system)
    start = {u: sympy.sympify(given[name_of(u)]) for u in system.fields
             if isinstance(given.get(name_of(u)), sympy.Expr | int | float)}  # fmt: skip
    for found in conditions.ends.values():
        for condition, _ in found:
            residual = condition.lhs - condition.rhs
            fields = {u for u in residual.atoms(AppliedUndef) if is_field(u)}
            if not fields <= set(start) or not _is_timed(residual):
                continue
            left = _started(residual, start).subs(values).subs(t, 0)
            if left.is_number and left.is_finite and abs(complex(left)) > 1e-8:
                warnings.warn(
                    f"the initial values break the condition {condition}, written at "
                    f"{condition.origin}, by {abs(complex(left)):.3g} at t = 0: the solution "
                    "jumps there, and converges slowly near it",
                    ModelWarning,
                    stacklevel=2,
                )


def _warn_of_corners(system: System, conditions: Conditions) -> None:
    """Values at two ends that differ in the corner where these meet."""
    values = _values(system)
    given: list[tuple[Any, Coordinate, Any, Any, Equation]] = []
    for (s, number_), found in conditions.ends.items():
        for condition, u in found:
            place_ = system.domain[s][number_]
            value = _value_of(condition, at(u, **{s.name: place_}))
            if value is not None:
                given.append((u, s, sympy.sympify(place_), value.subs(values), condition))
    for i, (u, s, here, value, condition) in enumerate(given):
        for other, c, there, another, second in given[:i]:
            if other != u or c == s:
                continue
            gap = value.subs(c, there) - another.subs(s, here)
            free = {x: low for x, (low, _) in system.domain.items()}
            apart = [gap.subs(free).subs(t, time) for time in (0, sympy.Rational(3, 7))]
            if not all(a.is_number and a.is_finite for a in apart):
                continue
            worst = max(apart, key=abs)
            if abs(float(worst)) > 1e-8:
                warnings.warn(
                    f"the conditions {second} and {condition}, written at {second.origin} and "
                    f"{condition.origin}, differ by {float(worst):.3g} in the corner {c} = "
                    f"{there}, {s} = {here}: the solution jumps there, and converges slowly near "
                    "it",
                    ModelWarning,
                    stacklevel=2,
                )


def _value_of(condition: Equation, field: Any) -> Any:
    """What a condition says that the field is at its end, if it says only that."""
    residual = condition.lhs - condition.rhs
    slope = slope_by(residual, field)
    if not slope.is_number or slope == 0:
        return None
    value = sympy.expand(field - residual / slope)
    return None if value.atoms(AppliedUndef) else value


def _is_timed(residual: sympy.Expr) -> bool:
    """Whether only the fields and plain functions of time stand in a condition."""
    return not any(t in d.variables for d in residual.atoms(sympy.Derivative))


def _started(e: Any, start: dict[Any, Any]) -> Any:
    """An expression with the initial values in place of the fields."""
    if isinstance(e, At):
        return _started(e.expression, start).subs(e.coordinate, e.place)
    if e in start:
        return start[e]
    if isinstance(e, sympy.Derivative):
        return _started(e.expr, start).diff(*e.variables)
    return e.func(*(_started(a, start) for a in e.args)) if e.args else e

"""Conditions that are equations of their own: the values at that end become a field on it.

A condition that is linear in the value at its end is solved for it in symbols. One that is not,
one with a rate, as of a wall that stores heat, and one with derivatives along the end is an
equation for a field there, with one coordinate less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import sympy

from .._boundary import End, sort_conditions
from .._coordinates import At, Coordinate, at, is_field
from .._equations import Equation
from .._errors import DeclarationError
from .._show import name_of
from .._symbols import t, unknown
from .._system import System


def with_edges(system: System) -> System:
    """The same system, in which every condition is linear in the values at its end."""
    conditions = sort_conditions(system)
    edges = {}
    for end, found in conditions.ends.items():
        for condition, u in found:
            if _is_own(system, condition, end):
                _refuse_two(edges, u, end, condition)
                edges[u, end] = condition
    if not edges:
        return system
    equations, boundary = list(system.equations), list(system.boundary)
    initial = dict(system.initial)
    start = {name_of(k): (k, v) for k, v in system.initial.items()}
    for (u, end), condition in edges.items():
        edge = Edge(system, u, end)
        own = edge.equation(condition)
        equations.append(own)
        value = Equation(edge.there(u), edge.field, condition.origin)
        boundary[boundary.index(condition)] = value
        boundary += edge.conditions(own)
        for rate in range(_rates(own, edge.field)):
            key = sympy.Derivative(u, (t, rate)) if rate else u
            if name_of(key) in start:
                target = sympy.Derivative(edge.field, (t, rate)) if rate else edge.field
                initial[target] = edge.start(start[name_of(key)][1])
    return System(
        *equations,
        initial=initial,
        values=system.values,
        observed=system.observed,
        name=system.name,
        origin=system.origin,
        calculus=system.calculus,
        domain=system.domain,
        boundary=boundary,
    )


class Edge:
    """The end of a coordinate, and the field that a field is there."""

    def __init__(self, system: System, u: Any, end: End) -> None:
        self.system, self.u = system, u
        self.coordinate, self.number = end
        self.place = sympy.sympify(system.domain[end[0]][end[1]])
        others = [s for s in u.args if s != self.coordinate]
        name = f"{u.func.__name__}_{end[0]}_{'end' if end[1] else 'start'}"
        self.field = unknown(name, *others, unit=getattr(u, "unit", None))

    def there(self, e: Any) -> Any:
        """An expression at this end."""
        return at(e, **{self.coordinate.name: self.place})

    def equation(self, condition: Equation) -> Equation:
        """The condition, as an equation of the field at the end."""
        return Equation(self._on(condition.lhs), self._on(condition.rhs), condition.origin)

    def _on(self, e: Any) -> Any:
        if isinstance(e, At) and e.coordinate == self.coordinate:
            return self._held(e.expression)
        return e.func(*map(self._on, e.args)) if e.args and not is_field(e) else e

    def _held(self, e: Any) -> Any:
        """What stands under the condition's place, of the field at the end where that is it."""
        if e == self.u:
            return self.field
        if e == self.coordinate:
            return self.place
        if isinstance(e, sympy.Derivative):
            along = self.coordinate not in e.variables
            bare = along and e.expr == self.u
            return sympy.Derivative(self.field, *e.variable_count) if bare else self.there(e)
        if is_field(e):
            return self.there(e)
        return e.func(*map(self._held, e.args)) if e.args else e

    def conditions(self, own: Equation) -> Iterator[Equation]:
        """What the field's conditions along other coordinates are at this end, where it needs them.

        Raises `DeclarationError` where they hold derivatives across the end.
        """
        found = own.lhs.atoms(sympy.Derivative) | own.rhs.atoms(sympy.Derivative)
        for s in (s for s in self.field.args if isinstance(s, Coordinate)):
            if not any(d.expr == self.field and s in d.variables for d in found):
                continue
            for condition in self.system.boundary:
                taken = condition.lhs.atoms(At) | condition.rhs.atoms(At)
                if {e.coordinate for e in taken} != {s} or not _holds(condition, self.u):
                    continue
                left = self._in_corner(condition.lhs, condition)
                right = self._in_corner(condition.rhs, condition)
                yield Equation(left, right, condition.origin)

    def _in_corner(self, e: Any, condition: Equation) -> Any:
        if isinstance(e, At):
            inside = self._held(e.expression)
            if inside.has(self.coordinate) or inside.atoms(At):
                raise DeclarationError(
                    f"{condition}, written at {condition.origin}, meets a condition with "
                    f"derivatives along {e.coordinate} at {self.coordinate} = {self.place}, and "
                    f"does not say what holds in that corner: it may hold {self.u} and its "
                    f"derivatives by {e.coordinate} alone"
                )
            return at(inside, **{e.coordinate.name: e.place})
        if e == self.coordinate:
            return self.place
        return e.func(*(self._in_corner(a, condition) for a in e.args)) if e.args else e

    def start(self, value: Any) -> Any:
        """The field's initial value at this end."""
        if isinstance(value, sympy.Expr):
            return value.subs(self.coordinate, self.place)
        array = np.asarray(value)
        own = [s for s in self.u.args if isinstance(s, Coordinate)]
        if array.ndim != len(own):
            return value
        return np.take(array, -self.number, axis=own.index(self.coordinate))


def _holds(condition: Equation, u: Any) -> bool:
    """Whether a condition holds a field."""
    return condition.lhs.has(u) or condition.rhs.has(u)


def _rates(own: Equation, field: Any) -> int:
    """How many initial values a field needs: one as a guess, where there is no rate of it."""
    found = own.lhs.atoms(sympy.Derivative) | own.rhs.atoms(sympy.Derivative)
    counts = [sum(v == t for v in d.variables) for d in found if d.expr == field]
    return max([1, *counts])


def _is_own(system: System, condition: Equation, end: End) -> bool:
    """Whether a condition is more than a linear one of values and derivatives across the end."""
    residual = condition.lhs - condition.rhs
    marks: dict[Any, Any] = {}
    bare = _marked(residual, None, end[0], marks)
    if any(_is_along(e, end[0]) for e in marks):
        return True
    slopes = [bare.diff(mark) for mark in marks.values()]
    return any(slope.has(*marks.values()) for slope in slopes)


def _marked(e: Any, below: Any, s: Coordinate, marks: dict[Any, Any]) -> Any:
    """Fields and their derivatives at an end, as symbols."""
    if isinstance(e, At):
        return _marked(e.expression, e, s, marks)
    if below is not None and (is_field(e) or isinstance(e, sympy.Derivative)):
        if not any(is_field(u) for u in {e, *e.atoms(sympy.Function)}):
            return e
        key = e if below.coordinate == s else at(e, **{below.coordinate.name: below.place})
        return marks.setdefault(key, sympy.Dummy("mark", real=True))
    return e.func(*(_marked(a, below, s, marks) for a in e.args)) if e.args else e


def _is_along(e: Any, s: Coordinate) -> bool:
    """Whether something is a rate, or a derivative along the end of a coordinate."""
    return isinstance(e, sympy.Derivative) and any(v != s for v in e.variables)


def _refuse_two(edges: Mapping[Any, Equation], u: Any, end: End, condition: Equation) -> None:
    if (u, end) in edges:
        raise DeclarationError(
            f"{edges[u, end]} and {condition}, written at {condition.origin}, are both for {u} at "
            f"the same end, and not linear in its value there: one of them may be"
        )

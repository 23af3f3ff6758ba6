"""Staggered grids: which fields lie in the middles between the nodes, found from the equations.

A first derivative between neighbours reaches half as far as one over two steps, and couples all
nodes: pressures between velocities, the electric field between the magnetic one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sympy
from sympy.core.function import AppliedUndef

from .._boundary import Conditions
from .._coordinates import At, Coordinate, is_field
from .._equations import Equation
from .._errors import DeclarationError
from .._integral import Integral
from .._split import slope_by
from .._system import System
from .grid import Axis

Middles = frozenset[tuple[Any, Coordinate]]  # a field, and a coordinate between whose nodes it is
_Link = tuple[int, Any, Any, int]  # how strong it is, two fields, and 1 if they lie apart


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Staggered:
    """Central differences on a staggered grid: some fields lie in the middles between the nodes.

    Where an odd derivative of one field drives another, both lie half a step apart, and it is the
    difference of neighbours: a quarter of the error of central differences over two steps (1/24
    for 1/6 of h^2; of order 4 a seventh, 3/640 for 1/30 of h^4), and no wave of the length of two
    steps that nothing sees. Which fields lie in the middles of which coordinates follows from the
    terms that are linear; between two such sets of fields, those with conditions at the ends have
    the nodes. So acoustics, Maxwell's equations (the grid of Yee) and viscous flow (marker and
    cell) fall into place. What a term needs elsewhere than it lies is interpolated. ``sol[u]`` is
    at the nodes for every field. Where fields drive each other in waves that nothing damps, between
    ends, this is done without being asked: there central differences let waves grow.

    Arguments
      middles: of each field the coordinates in whose middles it lies, ``{p: x}`` or
        ``{p: (x, y)}``; other fields are at the nodes. Found from the equations, if not given.

    >>> import sciml as sm
    >>> x = sm.coordinate("x")
    >>> p, v = sm.unknown("p", sm.t, x), sm.unknown("v", sm.t, x)
    >>> walls = [sm.Eq(v.at(x=0), 0), sm.Eq(v.at(x=1), 0)]
    >>> sound = sm.Eq(sm.D(v, sm.t), -sm.D(p, x)), sm.Eq(sm.D(p, sm.t), -sm.D(v, x))
    >>> tube = sm.System(*sound, domain={x: (0, 1)}, boundary=walls, initial={p: x, v: 0})
    >>> model = sm.compile(tube, grid={x: 65}, scheme=sm.Staggered())
    >>> {u.name: u.shape for u in model.states}
    {'v': (63,), 'p': (64,)}

    Sources: Yee, Numerical solution of initial boundary value problems involving Maxwell's
    equations in isotropic media (1966); Harlow, Welch, Numerical calculation of time-dependent
    viscous incompressible flow of fluid with free surface (1965).
    """

    middles: Mapping[Any, Any] | None = None

    def __repr__(self) -> str:
        given = {str(u): str(s) for u, s in (self.middles or {}).items()}
        return f"Staggered({given if self.middles is not None else ''})"


def find_middles(
    system: System,
    owners: Sequence[Any],
    axes: Mapping[Coordinate, Axis],
    conditions: Conditions,
    scheme: Any,
) -> Middles:
    """The fields that lie in the middles of coordinates.

    Where `Staggered` is asked for; and without being asked where fields drive each other in waves
    that nothing damps, between ends: there central differences let waves grow. `owners` are the
    unknowns that each equation is for.
    Raises `DeclarationError` where middles are given of what is no field, or no coordinate of it.
    """
    asked = isinstance(scheme, Staggered)
    if scheme is not None and not asked:
        return frozenset()
    if asked and scheme.middles is not None:
        return _given(system, scheme.middles)
    found: set[tuple[Any, Coordinate]] = set()
    for s, axis in axes.items():
        if not asked and (axis.periodic or axis.spectral or conditions.joined):
            continue
        own = [u for u in system.fields if s in u.args]
        for group in _groups(own, _links(system, owners, s)):
            if asked or all(_only_driven(system, owners, u, s) for u in group):
                found |= {(u, s) for u in _between(group, own, s, conditions)}
    return frozenset(found)


def _only_driven(system: System, owners: Sequence[Any], u: Any, s: Coordinate) -> bool:
    """Whether a field has a rate, of order one, and no derivative of its own along a coordinate."""
    equation = _equation_for(system, owners, u)
    rated = system.survey.orders.get(u, 0) == 1
    return equation is not None and rated and not _own_orders(equation, u, s)


def is_undamped(system: System, owners: Sequence[Any], u: Any, s: Coordinate) -> bool:
    """Whether a field moves along a coordinate and nothing damps it: no even derivative of its own.

    One with a second rate is a wave.
    """
    equation = _equation_for(system, owners, u)
    if equation is None or max(_count(equation.lhs, s), _count(equation.rhs, s)) == 0:
        return False
    return system.survey.orders.get(u, 0) > 1 or all(n % 2 for n in _own_orders(equation, u, s))


def _equation_for(system: System, owners: Sequence[Any], u: Any) -> Equation | None:
    found = (e for e, owner in zip(system.equations, owners, strict=True) if owner == u)
    return next(found, None)


def _own_orders(equation: Equation, u: Any, s: Coordinate) -> set[int]:
    """The orders of the derivatives of a field by a coordinate in its own equation."""
    found = equation.lhs.atoms(sympy.Derivative) | equation.rhs.atoms(sympy.Derivative)
    return {_count(e, s) for e in found if s in e.variables and e.has(u)}


def _count(e: Any, s: Coordinate) -> int:
    """How often derivatives are taken by a coordinate, those inside of others counted too."""
    if isinstance(e, sympy.Derivative):
        return e.variables.count(s) + _count(e.expr, s)
    return max((_count(a, s) for a in e.args), default=0)


def _given(system: System, middles: Mapping[Any, Any]) -> Middles:
    found = set()
    for u, given in middles.items():
        for s in given if isinstance(given, tuple | list | set) else (given,):
            if u not in system.fields or s not in u.args or not isinstance(s, Coordinate):
                known = ", ".join(str(field) for field in system.fields)
                raise DeclarationError(
                    f"Staggered: {u} is given the middles of {s}; give fields and coordinates of "
                    f"theirs, {{u: x}}: the fields are {known}"
                )
            found.add((u, s))
    return frozenset(found)


def _links(system: System, owners: Sequence[Any], s: Coordinate) -> list[_Link]:
    """What the equations say of two fields along a coordinate, the strongest first.

    Of the terms that are linear in fields; those with more derivatives count first.
    """
    links: dict[_Link, None] = {}
    for equation, owner in zip(system.equations, owners, strict=True):
        if owner is None or not is_field(owner) or s not in owner.args:
            continue
        rest = equation.rhs - equation.lhs
        for e in _linear(rest):
            other, *more = {u for u in e.atoms(AppliedUndef) if is_field(u)}
            if not more and other != owner and s in other.args:
                total = sum(_count(e, c) for c in other.args if isinstance(c, Coordinate))
                links[total, owner, other, _count(e, s) % 2] = None
    return sorted(links, key=lambda link: -link[0])


def _linear(rest: Any) -> Iterator[Any]:
    """The derivatives of fields, and fields, whose factors hold no field."""
    yield from (e for e in _parts(rest) if _is_linear(rest, e))


def _is_linear(expression: Any, e: Any) -> bool:
    factor = slope_by(expression, e)
    return factor != 0 and not any(is_field(u) for u in factor.atoms(AppliedUndef))


def _parts(e: Any) -> list[Any]:
    """Derivatives of what is linear in one field, and fields outside of derivatives."""
    if isinstance(e, At | Integral):
        return []
    if isinstance(e, AppliedUndef):
        return [e] if is_field(e) else []
    if isinstance(e, sympy.Derivative):
        inside = _parts(e.expr)
        alone = len(inside) == 1 and _is_linear(e.expr, inside[0])
        return [e] if alone else []
    return list(dict.fromkeys(part for a in e.args for part in _parts(a)))


def _groups(fields: Iterable[Any], links: Iterable[_Link]) -> list[dict[Any, int]]:
    """Fields that are linked, each with the side on which it lies; links that disagree are left."""
    groups = [{u: 0} for u in fields]
    for _, one, other, apart in links:
        first = next(group for group in groups if one in group)
        second = next(group for group in groups if other in group)
        if first is second:
            continue
        turn = (first[one] + second[other] + apart) % 2
        first |= {u: (side + turn) % 2 for u, side in second.items()}
        groups.remove(second)
    return groups


def _between(
    group: Mapping[Any, int], order: Sequence[Any], s: Coordinate, conditions: Conditions
) -> list[Any]:
    """The fields of a group that lie in the middles: those with fewer conditions at the ends."""
    sides = [[u for u in order if group.get(u) == side] for side in (0, 1)]
    if not all(sides):
        return []

    def held(fields: Sequence[Any]) -> float:
        counts = [conditions.count(u) for u in fields]
        return sum(bool(c.get((s, end))) for c in counts for end in (0, 1)) / len(fields)

    first = 0 if order.index(sides[0][0]) < order.index(sides[1][0]) else 1
    return min((sides[1 - first], sides[first]), key=held)

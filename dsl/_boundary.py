"""Boundary conditions: at which end each is, and for which field; and what is periodic."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import sympy

from ._coordinates import At, Coordinate, is_field
from ._equations import Equation
from ._system import System

End = tuple[Coordinate, int]  # 0 for the lower one, 1 for the upper one


@dataclasses.dataclass(frozen=True, eq=False)
class Conditions:
    """The conditions of a system, sorted.

    Fields: `ends`, for each end of a coordinate its conditions and the fields that they are for;
    `periodic`, the coordinates of which each field is periodic; `joined`, the ends that conditions
    hold together, where domains meet; `misplaced`, conditions that are at no end, at both of a
    coordinate, or in a corner.
    """

    ends: Mapping[End, list[tuple[Equation, Any]]]
    periodic: Mapping[Any, set[Coordinate]]
    joined: list[set[End]]
    misplaced: list[Equation]

    def count(self, field: Any) -> dict[End, int]:
        """How many conditions each end has for a field."""
        counts: Counter[End] = Counter()
        for end, conditions in self.ends.items():
            counts[end] += sum(symbol == field for _, symbol in conditions)
        return {end: n for end, n in counts.items() if n}


def sort_conditions(system: System) -> Conditions:
    """Sorts the boundary conditions of a system."""
    places: dict[int, frozenset[End]] = {}
    periodic: dict[Any, set[Coordinate]] = {u: set() for u in system.fields}
    misplaced = []
    for i, condition in enumerate(system.boundary):
        pair = _periodic(system, condition)
        if pair is not None:
            periodic.setdefault(pair[0], set()).add(pair[1])
            continue
        taken = condition.lhs.atoms(At) | condition.rhs.atoms(At)
        found = {(e.coordinate, _end(system, e)) for e in taken}
        outer = frozenset((s, end) for s, end in found if end is not None)
        corner = any(e.expression.atoms(At) for e in taken)
        both = len({s for s, _ in outer}) < len(outer)
        if not outer or corner or both or len(outer) < len(found):
            misplaced.append(condition)
            continue
        places[i] = outer
    joined = _joined(places.values())
    orders = spatial_orders(system)
    ends: dict[End, list[tuple[Equation, Any]]] = {}
    for group in joined:
        conditions = [system.boundary[i] for i, outer in places.items() if outer <= group]
        for condition, u, end in _assigned(system, orders, group, conditions):
            ends.setdefault(end, []).append((condition, u))
    return Conditions(ends, periodic, [group for group in joined if len(group) > 1], misplaced)


def _joined(places: Iterable[frozenset[End]]) -> list[set[End]]:
    """The ends that conditions hold together."""
    groups: list[set[End]] = []
    for outer in places:
        met = [group for group in groups if group & outer]
        groups = [group for group in groups if group not in met]
        groups.append(set(outer).union(*met))
    return groups


def _periodic(system: System, condition: Equation) -> tuple[Any, Coordinate] | None:
    """The field and coordinate of ``u.at(s=0) = u.at(s=1)``, which may also be of derivatives."""
    left, right = condition.lhs, condition.rhs
    if not (isinstance(left, At) and isinstance(right, At)):
        return None
    both = left.expression == right.expression and left.coordinate == right.coordinate
    if not both or {_end(system, left), _end(system, right)} != {0, 1}:
        return None
    inside = left.expression
    inside = inside.expr if isinstance(inside, sympy.Derivative) else inside
    return (inside, left.coordinate) if getattr(inside, "args", ()) else None


def _end(system: System, e: At) -> int | None:
    """The end of the domain at which an expression is taken."""
    if e.coordinate not in system.domain or not e.place.is_number:
        return None
    low, high = (float(end) for end in system.domain[e.coordinate])
    for number, end in enumerate((low, high)):
        if abs(float(e.place) - end) < 1e-9 * (high - low):
            return number
    return None


def _assigned(
    system: System, orders: Mapping[Any, int], ends: set[End], conditions: list[Equation]
) -> list[tuple[Equation, Any, End]]:
    """The field that each condition is for, and its end there.

    The one with the fewest so far, by its order.
    """
    given: Counter[tuple[Any, End]] = Counter()
    found: dict[int, tuple[Any, End]] = {}
    mentioned = {i: _mentioned(system, c, ends) for i, c in enumerate(conditions)}
    for i in sorted(mentioned, key=lambda i: len(mentioned[i])):
        if not mentioned[i]:
            continue
        load = {
            (u, end): given[u, end] / max(orders.get((u, end[0]), 1), 1) for u, end in mentioned[i]
        }
        chosen = min(mentioned[i], key=lambda each: load[each])
        found[i] = chosen
        given[chosen] += 1
    return [(condition, *found[i]) for i, condition in enumerate(conditions) if i in found]


def _mentioned(system: System, condition: Equation, ends: set[End]) -> list[tuple[Any, End]]:
    """The fields that a condition holds at ends, and which."""
    taken = condition.lhs.atoms(At) | condition.rhs.atoms(At)
    inside = {
        (u, e.coordinate)
        for e in taken
        for u in e.expression.atoms(sympy.Function)
        if is_field(u) and e.coordinate in u.args
    }
    order = sorted(ends, key=lambda end: (list(system.coordinates).index(end[0]), end[1]))
    return [(u, end) for u in system.fields for end in order if (u, end[0]) in inside]


def spatial_orders(system: System) -> dict[tuple[Any, Coordinate], int]:
    """The highest order of the derivatives of each field by each coordinate."""
    orders: dict[tuple[Any, Coordinate], int] = {}
    for equation in system.equations:
        for side in (equation.lhs, equation.rhs):
            _note_orders(side, {}, orders)
    return orders


def _note_orders(e: Any, above: dict[Any, int], orders: dict[tuple[Any, Coordinate], int]) -> None:
    if isinstance(e, sympy.Derivative):
        above = dict(above)
        counts: Any = e.variable_count
        for symbol, count in counts:
            above[symbol] = above.get(symbol, 0) + int(count)
        _note_orders(e.expr, above, orders)
        return
    if is_field(e):
        for s in e.args:
            if isinstance(s, Coordinate):
                orders[e, s] = max(orders.get((e, s), 0), above.get(s, 0))
        return
    for a in getattr(e, "args", ()):
        _note_orders(a, above, orders)

"""Which equation determines which unknown: what the families of checks have in common."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import sympy
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from sympy.core.function import AppliedUndef

from .._equations import Equation
from .._errors import ShapeError
from .._matching import maximum_matching
from .._nodes import Index, shape_of
from .._symbols import t
from .._system import System

Top = Any  # the highest derivative of an unknown; the unknown itself where it is algebraic


@dataclasses.dataclass(frozen=True, eq=False)
class Match:
    """Equations and unknowns, matched; equations are given by their place in the system.

    Fields
      definitions: for each unknown that an explicit equation or `observed` defines, the place of
        that equation (None for `observed`).
      orders: the order of each other unknown that is differentiated.
      highest: its derivative of that order.
      tops: for each equation that is no definition, the highest derivatives in it, in order.
      owner: for each highest derivative, the equation that determines it.
      rated: those of `definitions` whose derivative the other equations use.
      elements: for the highest derivative of an array, the equations of its elements.
      twice: equations of something that another one, also given, determines already.
      surplus: equations with highest derivatives that others determine already.
      implicit: for each algebraic equation the unknown that it determines, or None.
      reached: for each algebraic equation the algebraic unknowns in it, definitions written out.
      missing: unknowns without an equation.
      idle: equations without any unknown.
    """

    definitions: dict[Any, int | None]
    orders: dict[Any, int]
    highest: dict[Any, Top]
    tops: dict[int, list[Top]]
    rated: list[Any] = dataclasses.field(default_factory=list)
    owner: dict[Top, int] = dataclasses.field(default_factory=dict)
    elements: dict[Top, list[int]] = dataclasses.field(default_factory=dict)
    twice: dict[int, tuple[Any, int | None]] = dataclasses.field(default_factory=dict)
    surplus: list[int] = dataclasses.field(default_factory=list)
    implicit: dict[int, Any] = dataclasses.field(default_factory=dict)
    reached: dict[int, list[Any]] = dataclasses.field(default_factory=dict)
    missing: list[Any] = dataclasses.field(default_factory=list)
    idle: list[int] = dataclasses.field(default_factory=list)

    def top(self, unknown: Any) -> Top:
        """The highest derivative of an unknown; itself, if it has none."""
        return self.highest.get(unknown, unknown)

    @functools.cached_property
    def algebraic(self) -> dict[Any, int]:
        """For each algebraic unknown, the equation that determines it."""
        return {unknown: i for i, unknown in self.implicit.items() if unknown is not None}

    def states(self, unknown: Any) -> list[Any]:
        """What of an unknown takes an initial value: itself and its rates below the highest.

        That of an algebraic unknown is a guess.
        """
        order = self.orders.get(unknown, 0)
        if unknown in self.algebraic:
            return [unknown]
        if unknown in self.definitions or not order:
            return []
        return [unknown, *(sympy.Derivative(unknown, (t, n)) for n in range(1, order))]


def match(system: System) -> Match:
    """Matches the equations of a system to the unknowns that they determine."""
    survey = system.survey
    definitions = dict(survey.definitions)
    defining = set(definitions.values())
    rest = [i for i in range(len(system.equations)) if i not in defining]
    orders: dict[Any, int] = {}
    highest: dict[Any, Top] = {}
    for i in rest:
        for rate in survey.rates[i]:
            order = int(rate.derivative_count)
            if order > orders.get(rate.expr, 0):
                orders[rate.expr], highest[rate.expr] = order, rate
    tops = {i: _tops(survey.rates[i], highest) for i in rest}
    result = Match(definitions, orders, highest, tops)
    _find_rated(system, result)
    coupled, algebraic = _single(system, result)
    _match_coupled(result, coupled)
    _match_algebraic(system, result, algebraic)
    _close_coupled(system, result, coupled)
    solved = {*definitions, *result.implicit.values()}
    for unknown in survey.functions:
        if unknown not in solved and result.top(unknown) not in result.owner:
            result.missing.append(unknown)
    _find_bare(system, result)
    return result


def element_of(equation: Equation, top: Top) -> bool:
    """Whether an equation gives one element (or slice) of a highest derivative: ``D(u)[0] = 1``."""
    sides = (equation.lhs, equation.rhs)
    return any(isinstance(side, Index) and side.args[0] == top for side in sides)


def _tops(rates: set[Any], highest: dict[Any, Top]) -> list[Top]:
    found = [rate for rate in rates if highest[rate.expr] == rate]
    return sorted(found, key=lambda rate: rate.expr.func.__name__) if len(found) > 1 else found


def _find_rated(system: System, result: Match) -> None:
    """Explicit equations ``z = ...`` though D(z) is used elsewhere: z counts as defined."""
    alone = {tops[0] for tops in result.tops.values() if len(tops) == 1}
    for i in [i for i, tops in result.tops.items() if not tops]:
        equation, sides = system.equations[i], system.survey.sides[i]
        for side, others in ((equation.lhs, sides[1]), (equation.rhs, sides[0])):
            explicit = side in result.orders and side not in others
            if explicit and result.top(side) not in alone:
                if side not in result.definitions:
                    result.definitions[side] = i
                    del result.tops[i]
                break
    differentiated = [unknown for unknown in result.definitions if unknown in result.orders]
    hidden = {result.top(unknown): unknown for unknown in differentiated}
    hidden = {top: unknown for top, unknown in hidden.items() if top not in alone}
    result.rated.extend(hidden.values())
    if hidden:
        for i, tops in result.tops.items():
            result.tops[i] = [top for top in tops if top not in hidden]


def _single(system: System, result: Match) -> tuple[list[int], list[int]]:
    """Matches equations with one highest derivative; returns the coupled and the algebraic ones."""
    coupled, algebraic = [], []
    for i, tops in result.tops.items():
        if len(tops) > 1:
            coupled.append(i)
        elif not tops:
            (algebraic if system.survey.mentions[i] else result.idle).append(i)
        elif element_of(system.equations[i], tops[0]):
            result.elements.setdefault(tops[0], []).append(i)
        elif tops[0] in result.owner:
            result.twice[i] = tops[0], result.owner[tops[0]]
        else:
            result.owner[tops[0]] = i
    for top, places in result.elements.items():
        result.owner.setdefault(top, places[0])
    for unknown in result.definitions:
        top = result.top(unknown)
        if top in result.owner:
            result.twice[result.owner[top]] = unknown, None
    return coupled, algebraic


def _find_bare(system: System, result: Match) -> None:
    """Algebraic equations ``x = ...`` that leave nothing open, and x is determined already."""
    for i in [i for i, unknown in result.implicit.items() if unknown is None]:
        equation = system.equations[i]
        for side in (equation.lhs, equation.rhs):
            if not isinstance(side, AppliedUndef):
                continue
            top = result.top(side)
            if top in result.owner and result.missing:
                continue  # a constraint on a state: of higher index, not an equation too many
            if side in result.definitions or top in result.owner:
                first = result.definitions.get(side, result.owner.get(top))
                result.twice[i] = side, first
                del result.implicit[i]
                break


def _match_coupled(result: Match, coupled: list[int]) -> None:
    tops = [result.tops[i] for i in coupled]
    columns = list(dict.fromkeys(h for row in tops for h in row if h not in result.owner))
    matched = maximum_matching(tops, columns)
    for i, top in zip(coupled, matched, strict=True):
        if top is None:
            result.surplus.append(i)
        else:
            result.owner[top] = i


def _close_coupled(system: System, result: Match, coupled: list[int]) -> None:
    """Constraints on unknowns of which the equations give combinations of rates alone.

    ``D(x) + D(y) = 1`` leaves a combination of x and y open, which ``0 = x - 2*y`` fixes.
    """
    joint = _groups([result.tops[i] for i in coupled])
    rows = [i for i, unknown in result.implicit.items() if unknown is None]
    columns = [top for top in joint if top not in result.owner]
    if not rows or not columns:
        return
    held = [
        {joint[top] for u in _reached(system, result, system.survey.mentions[i])
         if (top := result.top(u)) in joint}
        for i in rows
    ]  # fmt: skip
    matched = maximum_matching(
        [[c for c in columns if joint[c] in groups] for groups in held], columns
    )
    for i, top in zip(rows, matched, strict=True):
        if top is not None:
            result.owner[top] = i
            del result.implicit[i]


def _groups(tops: list[list[Top]]) -> dict[Top, int]:
    """A number for each derivative: the same for those that equations join."""
    place = {top: j for j, top in enumerate(dict.fromkeys(h for row in tops for h in row))}
    pairs = [(place[row[0]], place[h]) for row in tops for h in row]
    if not pairs:
        return {}
    links = csr_array((np.ones(len(pairs)), tuple(np.array(pairs, int).T)), shape=(len(place),) * 2)
    _, label = connected_components(links, directed=False)
    return {top: int(label[j]) for top, j in place.items()}


def _match_algebraic(system: System, result: Match, algebraic: list[int]) -> None:
    """Matches algebraic equations to unknowns without a rate, of their shape where that is told."""
    survey = system.survey
    known = {*result.definitions, *survey.orders}
    columns = [u for u in survey.functions if u not in known] if algebraic else []
    rank = {unknown: k for k, unknown in enumerate(columns)}
    for i in algebraic:
        reached = _reached(system, result, survey.mentions[i]) & rank.keys()
        result.reached[i] = sorted(reached, key=rank.__getitem__)
    rows = [result.reached[i] for i in algebraic]
    fitting = rows
    if survey.has_arrays:
        shapes = [_shape(system.equations[i]) for i in algebraic]
        fitting = [
            row if shape is None else [u for u in row if shape_of(u) == shape]
            for row, shape in zip(rows, shapes, strict=True)
        ]
    matched = maximum_matching(fitting, columns)
    if None in matched and survey.has_arrays:  # the fault is then perhaps one of shapes
        matched = maximum_matching(rows, columns)
    result.implicit.update(zip(algebraic, matched, strict=True))


def _reached(system: System, result: Match, mentions: set[Any]) -> set[Any]:
    """The unknowns in an equation, and in the definitions of what stands in it."""
    found, pending = set(), list(mentions)
    while pending:
        unknown = pending.pop()
        if unknown not in found:
            found.add(unknown)
            if unknown in result.definitions:
                pending.extend(_inside(system, unknown, result.definitions[unknown]))
    return found


def _inside(system: System, unknown: Any, i: int | None) -> set[Any]:
    """The unknowns in a definition; not those of which it holds the rate alone."""
    if i is not None and not system.survey.rates[i]:
        return system.survey.mentions[i]
    equation = None if i is None else system.equations[i]
    sides = [system.observed[unknown]] if equation is None else [equation.lhs, equation.rhs]
    found: set[Any] = set()
    pending: list[Any] = [*sides]
    while pending:
        item = pending.pop()
        if isinstance(item, AppliedUndef):
            found.add(item)
        elif not isinstance(item, sympy.Derivative):
            pending.extend(item.args)
    return found


def _shape(equation: Equation) -> tuple[int, ...] | None:
    """The shape of an equation; None where its parts do not broadcast, which is reported."""
    try:
        return np.broadcast_shapes(shape_of(equation.lhs), shape_of(equation.rhs))
    except (ShapeError, ValueError):
        return None

"""Expressions of stencils in pieces: the inside from the states themselves, and strips at the ends.

Values beyond the ends of a domain are in arrays that hold the state and more. To copy a large state
into such an array costs more than all stencils; strips of a few nodes do not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sympy

from .._boundary import Conditions
from .._coordinates import Coordinate
from .._nodes import Pad, Static, Update, in_shape
from .._symbols import t
from .evaluate import Spans
from .extend import Placed, Stretch
from .grid import Axis, Span

_FAR = 16  # nodes, beyond which it is no stencil, but a value or a sum along the coordinate


@dataclasses.dataclass(frozen=True)
class Reach:
    """How far stencils reach along a coordinate, and where they need states alone."""

    before: int
    behind: int
    inside: Span


Strip = tuple[Spans, Stretch]  # nodes, and those that are looked at for them


def find_reaches(
    spans: Spans,
    axes: Mapping[Coordinate, Axis],
    look: Callable[[Spans, Callable[[Placed, Spans], None]], None],
) -> dict[Coordinate, Reach] | None:
    """How far an expression reaches from the nodes; None where it reaches over all of an axis.

    `look` evaluates it on some nodes, and tells of each field that it looks at, and where.
    """
    middle = {s: Span(m := (x.first + x.last) // 2, m + 1) for s, x in spans.items()}
    seen: list[tuple[Placed, Spans]] = []
    look(middle, lambda placed, at: seen.append((placed, dict(at))))
    if any(not set(at) <= set(spans) for _, at in seen):
        return None
    found = {}
    for s, x in spans.items():
        before = behind = 0
        first, last = x.first, x.last
        for placed, at in ((placed, at) for placed, at in seen if s in at):
            down, up = middle[s].first - at[s].first, at[s].last - middle[s].last
            before, behind = max(before, down), max(behind, up)
            known = placed.spans[s]
            first, last = max(first, known.first + down), min(last, known.last - up)
        if max(before, behind) > _FAR or axes[s].spectral:
            return None
        found[s] = Reach(before, behind, Span(first, last))
    return found


def find_strips(
    spans: Spans,
    axes: Mapping[Coordinate, Axis],
    conditions: Conditions,
    order: int,
    reaches: Mapping[Coordinate, Reach],
) -> list[Strip]:
    """The nodes beside those inside; none, where the grid is too small for that."""
    strips: list[Strip] = []
    left = dict(spans)
    for s, reach in reaches.items():
        whole, inside, axis = spans[s], reach.inside, axes[s]
        margin = _margin(conditions, s, order)
        lower, upper = Span(whole.first, inside.first), Span(inside.last, whole.last)
        for end, strip in enumerate((lower, upper)):
            first, last = strip.first - reach.before, strip.last + reach.behind
            if not axis.periodic:
                first = min(first, axis.size - margin) if end else 0
                last = axis.size if end else max(last, margin)
            if inside.size < 1 or last - first > axis.size or (not axis.periodic and first < 0):
                return []
            if strip.size:
                strips.append(({**left, s: strip}, Stretch(s, Span(first, last))))
        left[s] = inside
    return strips


def together(
    spans: Spans,
    reaches: Mapping[Coordinate, Reach],
    strips: Sequence[Strip],
    evaluate: Callable[[Spans, Stretch | None], Any],
) -> Any:
    """The expression on all nodes: the part inside, framed by the strips."""
    inside = {s: reach.inside for s, reach in reaches.items()}
    widths = tuple((inside[s].first - x.first, x.last - inside[s].last) for s, x in spans.items())
    total: Any = Pad(in_shape(evaluate(inside, None), _sizes(inside)), Static(widths))
    for at, stretch in strips:
        s, first = stretch.coordinate, stretch.span.first
        own = {**at, s: Span(at[s].first - first, at[s].last - first)}
        starts = tuple(at[c].first - x.first for c, x in spans.items())
        total = Update(total, in_shape(evaluate(own, stretch), _sizes(at)), Static(starts))
    return total


def rates_apart(e: Any) -> tuple[Any, Any]:
    """The terms of a sum that hold rates, and the others."""
    terms = sympy.Add.make_args(e)
    rates = [term for term in terms if any(t in d.variables for d in term.atoms(sympy.Derivative))]
    return sympy.Add(*rates), sympy.Add(*(term for term in terms if term not in rates))


def _sizes(spans: Spans) -> tuple[int, ...]:
    return tuple(x.size for x in spans.values())


def _margin(conditions: Conditions, s: Coordinate, order: int) -> int:
    """How many nodes the conditions at an end of a coordinate look at, and what goes on from it."""
    highest = 0
    for end in (0, 1):
        for condition, _ in conditions.ends.get((s, end), ()):
            found = condition.lhs.atoms(sympy.Derivative) | condition.rhs.atoms(sympy.Derivative)
            highest = max([highest, *(d.variables.count(s) for d in found)])
    return order + highest + 4

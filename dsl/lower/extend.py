"""Fields beyond their state: values at the ends from the conditions there, and outside of them.

The state of a field holds the nodes at which its equation does. Where a condition is given at an
end, the value there follows from it and from the nodes inside; nodes beyond an end, which stencils
reach, continue the field by a polynomial. So every stencil is a slice of one array.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import sympy

from .._boundary import Conditions, End
from .._coordinates import Coordinate
from .._equations import Equation
from .._errors import DeclarationError
from .._nodes import Pad, Static, Update, in_shape, shape_of
from .._split import slope_by, zero_of
from .._symbols import unknown
from .blocks import block, cut, joined, weighed
from .evaluate import AtEnd, Evaluator, Spans
from .grid import Axis, Span
from .staggered import Middles


@dataclasses.dataclass(frozen=True, eq=False)
class Placed:
    """A field on the grid: the nodes of its state, and how many conditions each end has for it."""

    symbol: Any
    state: Any
    coordinates: tuple[Coordinate, ...]
    spans: Mapping[Coordinate, Span]
    conditions: Mapping[End, int]

    def beyond(self, end: End) -> int:
        """How many nodes beyond an end conditions give: all but the one there, if it is a node."""
        return max(self.conditions.get(end, 0) - (not self.spans[end[0]].half), 0)


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Some nodes of one coordinate, beyond which nothing is looked at."""

    coordinate: Coordinate
    span: Span

    @property
    def name(self) -> str:
        """In the names of arrays."""
        return f"{self.coordinate}{self.span.first}to{self.span.last}".replace("-", "m")

    def axes(self, axes: Mapping[Coordinate, Axis]) -> dict[Coordinate, Axis]:
        """The axes, of which one is shorter."""
        return {**axes, self.coordinate: axes[self.coordinate].stretch(self.span)}

    def placed(self, placed: Placed, axes: Mapping[Coordinate, Axis]) -> Placed:
        """The part of a field that lies there; nodes are counted from the first one."""
        s = self.coordinate
        if s not in placed.coordinates:
            return placed
        axis, old, first = axes[s], placed.spans[s], self.span.first
        low, high = max(first, old.first), min(self.span.last, old.last)
        state = self._cut(placed, s, low - old.first, high - old.first)
        if axis.periodic:  # what lies beyond one end is what lies before the other
            n, low, high = axis.size, first, self.span.last
            before = self._cut(placed, s, n + min(first, 0), n)
            behind = self._cut(placed, s, 0, max(high - n, 0))
            state = joined([before, state, behind], placed.coordinates.index(s))
        spans = {**placed.spans, s: Span(low - first, high - first)}
        return dataclasses.replace(placed, state=state, spans=spans)

    def _cut(self, placed: Placed, s: Coordinate, first: int, last: int) -> Any:
        return cut(placed.state, placed.coordinates.index(s), first, last) if last > first else None


def middles_of(fields: Mapping[Any, Placed]) -> Middles:
    """The fields that lie between the nodes of a coordinate, and which."""
    return frozenset(
        (u, s) for u, placed in fields.items() for s, x in placed.spans.items() if x.half
    )


class Extension:
    """The fields on all nodes, and on `halo` more beyond the ends of each coordinate.

    `definitions` says what the arrays are that it names: expressions would be trees of enormous
    size, if each array stood in them wherever it is used. `groups` are coordinates in the order in
    which they are gone through, those together whose ends conditions join; `closing` says from how
    many nodes the fields go on beyond the ends of a coordinate.
    """

    def __init__(
        self,
        fields: Mapping[Any, Placed],
        axes: Mapping[Coordinate, Axis],
        conditions: Conditions,
        order: int,
        halo: Mapping[Coordinate, int],
        stretch: Stretch | None = None,
        closing: Mapping[Coordinate, int] | None = None,
    ) -> None:
        self.stretch, self.order, self.closing = stretch, order, closing or {}
        self.axes = axes if stretch is None else stretch.axes(axes)
        self.source = axes
        self.definitions: dict[Any, sympy.Expr] = {}
        self.ends = {(s, end): found for (s, end), found in conditions.ends.items()
                     if not self.axes[s].cut[end]}  # fmt: skip
        self.joined = conditions.joined
        beyond = [(s, p.beyond((s, e))) for p in fields.values() for s, e in p.conditions
                  if not axes[s].spectral]  # fmt: skip
        self.halo = {s: max([halo.get(s, 0), *(n for c, n in beyond if c == s)]) for s in axes}
        self.fields = {u: self._stretched(placed) for u, placed in fields.items()}
        self.groups = _groups(axes, self.joined)
        self.middles = middles_of(fields)

    def leaf(self, symbol: Any, spans: Spans) -> sympy.Expr:
        """The values of a field on a stretch of nodes."""
        placed = self.placed(symbol, tuple(spans))
        if all(spans[s] == placed.spans[s] for s in placed.coordinates):
            return placed.state
        if all(_within(spans[s], placed.spans[s]) for s in placed.coordinates):
            both = [(spans[s], placed.spans[s].first) for s in placed.coordinates]
            return block(placed.state, [(x.first - start, x.last - start) for x, start in both])
        whole = self.whole[symbol] if symbol in self.fields else self._table(placed)
        return self._block(whole, spans)

    def named(self, base: str, array: sympy.Expr) -> sympy.Expr:
        """A symbol for an array, which `definitions` then says what it is."""
        if not shape_of(array):
            return array
        for symbol, definition in self.definitions.items():
            if definition == array:
                return symbol
        reach = "".join(str(n) for n in self.halo.values())
        where = "" if self.stretch is None else f"_{self.stretch.name}"
        name = f"{base}{where}_{reach}_{len(self.definitions)}"
        symbol = unknown(name, shape=shape_of(array))
        self.definitions[symbol] = array
        return symbol

    def placed(self, symbol: Any, coordinates: tuple[Coordinate, ...]) -> Placed:
        """A field; or a parameter with a value at each node, as a field without conditions."""
        if symbol in self.fields:
            return self.fields[symbol]
        spans = {s: Span(0, self.source[s].size) for s in coordinates}
        return self._stretched(Placed(symbol, symbol, coordinates, spans, {}))

    def _stretched(self, placed: Placed) -> Placed:
        """The part of a field on the stretch: an array by itself, and so is its derivative."""
        if self.stretch is None:
            return placed
        found = self.stretch.placed(placed, self.source)
        if found.state == placed.state:
            return placed
        return dataclasses.replace(found, state=self.named(_name(placed), found.state))

    @functools.cached_property
    def whole(self) -> dict[Any, sympy.Expr]:
        """Every field on all nodes and beyond, one coordinate after the other."""
        arrays = {u: self._padded(placed) for u, placed in self.fields.items()}
        for group in self.groups:
            single = [ends for s in group if not self.axes[s].periodic for ends in self._apart(s)]
            together = [ends for ends in self.joined if any(s in group for s, _ in ends)]
            apart = [ends for ends in single if not any(ends <= each for each in together)]
            for ends in (*apart, *together):
                arrays |= self._closed(arrays, sorted(ends, key=self._place))
            for s in group:
                beyond = self._wrapped if self.axes[s].periodic else self._continued
                for placed in self._along(s):
                    arrays[placed.symbol] = beyond(arrays[placed.symbol], placed, s)
        return arrays

    def _apart(self, s: Coordinate) -> list[set[End]]:
        """The ends of a coordinate; together, if one polynomial goes through all nodes."""
        ends = [(s, end) for end in (0, 1) if not self.axes[s].cut[end]]
        return [set(ends)] if self.axes[s].spectral else [{end} for end in ends]

    def _along(self, s: Coordinate) -> list[Placed]:
        """The fields that are functions of a coordinate."""
        return [placed for placed in self.fields.values() if s in placed.coordinates]

    def _place(self, end: End) -> tuple[int, int]:
        """For the order of ends."""
        return list(self.axes).index(end[0]), end[1]

    def _table(self, placed: Placed) -> sympy.Expr:
        array = self._padded(placed)
        for s in placed.coordinates:
            step = self._wrapped if self.axes[s].periodic else self._continued
            array = step(array, placed, s)
        return array

    # -- blocks --------------------------------------------------------------------------------

    def _padded(self, placed: Placed) -> sympy.Expr:
        widths = tuple(
            (x.first - (whole := self._all(s, x.half)).first, whole.last - x.last)
            for s, x in placed.spans.items()
        )
        if not any(map(any, widths)):
            return placed.state
        return self.named(_name(placed), Pad(placed.state, Static(widths)))

    def _block(self, array: sympy.Expr, spans: Spans) -> sympy.Expr:
        starts = {s: self._all(s, x.half).first for s, x in spans.items()}
        return block(array, [(x.first - starts[s], x.last - starts[s]) for s, x in spans.items()])

    def _all(self, s: Coordinate, half: bool) -> Span:
        """The nodes of an array, or middles: all that there are, and the halo beyond the ends."""
        axis, halo = self.axes[s], self.halo[s]
        before, behind = (0 if there else halo for there in axis.cut)
        return Span(-before, axis.count(half) + behind, half)

    def _range(self, placed: Placed, s: Coordinate, index: int) -> dict[Coordinate, Span]:
        """A layer of one node: all of what is known already of the other coordinates."""
        order = {c: i for i, group in enumerate(self.groups) for c in group}
        spans = {}
        for c, x in placed.spans.items():
            spans[c] = self._all(c, x.half) if order[c] < order[s] else x
        return {**spans, s: Span(index, index + 1, placed.spans[s].half)}

    def _set(self, placed: Placed, array: sympy.Expr, layer: Any, spans: Spans) -> sympy.Expr:
        layer = in_shape(layer, tuple(x.size for x in spans.values()))
        starts = tuple(x.first - self._all(s, x.half).first for s, x in spans.items())
        return self.named(_name(placed), Update(array, layer, Static(starts)))

    # -- what lies beyond ----------------------------------------------------------------------

    def _wrapped(self, array: sympy.Expr, placed: Placed, s: Coordinate) -> sympy.Expr:
        n, halo = self.axes[s].size, self.halo[s]
        if not halo:
            return array
        if halo > n:
            raise DeclarationError(
                f"grid of {s}: {n} nodes are too few for stencils that reach over {halo} neighbours"
            )
        spans = self._range(placed, s, 0)
        for inside, outside in ((Span(n - halo, n), -halo), (Span(0, halo), n)):
            half = spans[s].half
            layer = self._block(array, {**spans, s: dataclasses.replace(inside, half=half)})
            beyond = Span(outside, outside + halo, half)
            array = self._set(placed, array, layer, {**spans, s: beyond})
        return array

    def _continued(self, array: sympy.Expr, placed: Placed, s: Coordinate) -> sympy.Expr:
        """Nodes beyond the ends, by the polynomial through those near them."""
        axis, x = self.axes[s], placed.spans[s]
        nodes = axis.count(x.half)
        count = min(self.closing.get(s, self.order + 2), nodes)
        for end, inwards in ((0, 1), (1, -1)):
            if axis.cut[end]:
                continue
            here = 0 if end == 0 else nodes - 1
            known = placed.beyond((s, end))
            near = [here + inwards * (k - known) for k in range(count)]
            for distance in range(known + 1, self.halo[s] + 1):
                index = here - inwards * distance
                found = axis.weights(index + x.shift, [i + x.shift for i in near], 0)
                layers = [self._block(array, self._range(placed, s, i)) for i in near]
                spans = self._range(placed, s, index)
                array = self._set(placed, array, weighed(found, layers), spans)
        return array

    def _closed(self, arrays: Mapping[Any, Any], ends: Sequence[End]) -> dict[Any, sympy.Expr]:
        """Values at an end, or at several that are joined, from the conditions there."""
        open_ones: dict[tuple[Any, Coordinate, int], Any] = {}
        for s, end in ends:
            for placed in self._along(s):
                for k in range(placed.conditions.get((s, end), 0)):
                    index = self._end_node(s, end, k, half=placed.spans[s].half)
                    shape = tuple(x.size for x in self._range(placed, s, index).values())
                    name = f"{placed.symbol.func.__name__}_{s}_{'end' if end else 'start'}"
                    name += f"_{k}" if k else ""
                    open_ones[placed.symbol, s, index] = unknown(name, shape=shape)
        if not open_ones:
            return {}

        def leaf(symbol: Any, spans: Spans) -> sympy.Expr:
            for s, _ in ends:
                key = symbol, s, spans[s].first if s in spans else 0
                if s in spans and key in open_ones:
                    return open_ones[key]
            if symbol in arrays:
                return self._block(arrays[symbol], spans)
            return self.leaf(symbol, spans)

        residuals, conditions = [], []
        for s, end in ends:
            for condition, symbol in self.ends.get((s, end), ()):
                placed = self.fields[symbol]
                here = {c: self._at_end(c, e) for c, e in ends} | {s: self._at_end(s, end)}
                made = Evaluator(
                    placed.coordinates, self.axes, self.order, leaf, ends=here, middles=self.middles
                )
                node = self._end_node(s, end, 0)
                spans = {**self._range(placed, s, node), s: Span(node, node + 1)}
                residuals.append(made(condition.lhs, spans) - made(condition.rhs, spans))
                conditions.append(condition)
        values = _solved(residuals, list(open_ones.values()), conditions)
        result = dict(arrays)
        for (symbol, s, index), value in zip(open_ones, values, strict=True):
            placed = self.fields[symbol]
            spans = self._range(placed, s, index)
            result[symbol] = self._set(placed, result[symbol], value, spans)
        return result

    def _at_end(self, s: Coordinate, end: int) -> AtEnd:
        counts = [p.conditions.get((s, e), 0) for p in self._along(s) for e in (0, 1)]
        unknown = max(counts) if self.axes[s].spectral else 0
        return AtEnd(functools.partial(self._beyond, s, end), 1 - 2 * end, unknown)

    def _end_node(self, s: Coordinate, end: int, beyond: int, *, half: bool = False) -> int:
        """The node at an end, or the one so many beyond it; inside, where there are none beyond.

        Of a field in the middles the first one beyond the end.
        """
        if self.axes[s].spectral:
            beyond = -beyond
        return self.axes[s].size - 1 + beyond if end else -beyond - half

    def _beyond(self, s: Coordinate, end: int, symbol: Any) -> int:
        """How many nodes beyond an end conditions give."""
        placed = self.fields.get(symbol)
        return placed.beyond((s, end)) if placed else 0


def _within(span: Span, known: Span) -> bool:
    return span.half == known.half and known.first <= span.first and span.last <= known.last


def _groups(axes: Mapping[Coordinate, Axis], joined: Sequence[set[End]]) -> list[list[Coordinate]]:
    """The coordinates in their order, those together whose ends conditions join."""
    groups: list[list[Coordinate]] = []
    for s in axes:
        met = [{c for c, _ in ends} for ends in joined]
        together = set().union({s}, *(found for found in met if s in found))
        near = [group for group in groups if together & set(group)]
        groups = [group for group in groups if group not in near]
        groups.append([*(c for group in near for c in group), s])
    return groups


def _solved(
    residuals: Sequence[Any], symbols: Sequence[Any], conditions: Sequence[Equation]
) -> list[sympy.Expr]:
    """Where the residuals vanish, which are linear in the symbols."""
    matrix = sympy.Matrix([[slope_by(r, z) for z in symbols] for r in residuals])
    if matrix.has(*symbols):
        told = "; ".join(str(condition) for condition in conditions)
        raise DeclarationError(f"{told}: these conditions are not linear in the values at the end")
    none = {z: zero_of(z) for z in symbols}
    right = [-r.xreplace(none) for r in residuals]
    if len(symbols) == 1:
        return [right[0] / slope_by(residuals[0], symbols[0])]
    return list(matrix.adjugate() * sympy.Matrix(right) / matrix.det())


def _name(placed: Placed) -> str:
    symbol = placed.symbol
    return symbol.name if isinstance(symbol, sympy.Symbol) else symbol.func.__name__

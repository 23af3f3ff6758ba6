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

import numpy as np
import sympy

from .._boundary import End
from .._coordinates import Coordinate
from .._equations import Equation
from .._errors import DeclarationError
from .._nodes import ConstantArray, Pad, Static, Update, shape_of
from .._split import slope_by
from .._symbols import unknown
from .evaluate import Evaluator, Spans, block, weighed
from .grid import Axis, Span

Ends = Mapping[End, Sequence[tuple[Equation, Any]]]  # conditions, and the fields they are for


@dataclasses.dataclass(frozen=True, eq=False)
class Placed:
    """A field on the grid: the nodes of its state, and how many conditions each end has for it."""

    symbol: Any
    state: Any
    coordinates: tuple[Coordinate, ...]
    spans: Mapping[Coordinate, Span]
    conditions: Mapping[End, int]


class Extension:
    """The fields on all nodes, and on `halo` more beyond the ends of each coordinate.

    `definitions` says what the arrays are that it names: expressions would be trees of enormous
    size, if each array stood in them wherever it is used. `extra` collects the conditions that are
    not linear in the value at their end, and the algebraic unknowns that stand for it.
    """

    def __init__(
        self,
        fields: Mapping[Any, Placed],
        axes: Mapping[Coordinate, Axis],
        ends: Ends,
        order: int,
        halo: Mapping[Coordinate, int],
    ) -> None:
        self.fields, self.axes, self.ends, self.order = fields, axes, ends, order
        self.halo = {s: halo.get(s, 0) for s in axes}
        self.definitions: dict[Any, sympy.Expr] = {}
        self.extra: dict[Any, tuple[Equation, sympy.Expr, Any, Spans]] = {}

    def leaf(self, symbol: Any, spans: Spans) -> sympy.Expr:
        """The values of a field on a stretch of nodes."""
        placed = self.placed(symbol, tuple(spans))
        if all(spans[s] == placed.spans[s] for s in placed.coordinates):
            return placed.state
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
        name = f"{base}_{reach}_{len(self.definitions)}"
        symbol = unknown(name, shape=shape_of(array))
        self.definitions[symbol] = array
        return symbol

    def placed(self, symbol: Any, coordinates: tuple[Coordinate, ...]) -> Placed:
        """A field; or a parameter with a value at each node, as a field without conditions."""
        if symbol in self.fields:
            return self.fields[symbol]
        spans = {s: Span(0, self.axes[s].size) for s in coordinates}
        return Placed(symbol, symbol, coordinates, spans, {})

    @functools.cached_property
    def whole(self) -> dict[Any, sympy.Expr]:
        """Every field on all nodes and beyond, one coordinate after the other."""
        arrays = {u: self._padded(placed) for u, placed in self.fields.items()}
        for s in self.axes:
            here = [p for p in self.fields.values() if s in p.coordinates]
            if self.axes[s].periodic:
                arrays |= {p.symbol: self._wrapped(arrays[p.symbol], p, s) for p in here}
                continue
            for end in (0, 1):
                arrays |= self._closed(arrays, here, s, end)
            for placed in here:
                arrays[placed.symbol] = self._continued(arrays[placed.symbol], placed, s)
        return arrays

    def _table(self, placed: Placed) -> sympy.Expr:
        array = self._padded(placed)
        for s in placed.coordinates:
            step = self._wrapped if self.axes[s].periodic else self._continued
            array = step(array, placed, s)
        return array

    # -- blocks --------------------------------------------------------------------------------

    def _padded(self, placed: Placed) -> sympy.Expr:
        widths = tuple(
            (placed.spans[s].first + self.halo[s],
             self.axes[s].size + self.halo[s] - placed.spans[s].last)
            for s in placed.coordinates
        )  # fmt: skip
        if not any(map(any, widths)):
            return placed.state
        return self.named(_name(placed), Pad(placed.state, Static(widths)))

    def _block(self, array: sympy.Expr, spans: Spans) -> sympy.Expr:
        ranges = [(x.first + self.halo[s], x.last + self.halo[s]) for s, x in spans.items()]
        return block(array, ranges)

    def _range(self, placed: Placed, s: Coordinate, index: int) -> dict[Coordinate, Span]:
        """A layer of one node: all of what is known already of the other coordinates."""
        order = list(self.axes)
        spans = {}
        for c in placed.coordinates:
            whole = Span(-self.halo[c], self.axes[c].size + self.halo[c])
            known = order.index(c) < order.index(s)
            spans[c] = whole if known else placed.spans[c]
        spans[s] = Span(index, index + 1)
        return spans

    def _set(self, placed: Placed, array: sympy.Expr, layer: Any, spans: Spans) -> sympy.Expr:
        shape = tuple(x.size for x in spans.values())
        if shape_of(layer) != shape:
            layer = layer + ConstantArray(np.zeros(shape))
        starts = tuple(x.first + self.halo[s] for s, x in spans.items())
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
            layer = self._block(array, {**spans, s: inside})
            array = self._set(placed, array, layer, {**spans, s: Span(outside, outside + halo)})
        return array

    def _continued(self, array: sympy.Expr, placed: Placed, s: Coordinate) -> sympy.Expr:
        """Nodes beyond the ends, by the polynomial through those near them."""
        axis = self.axes[s]
        count = min(self.order + 2, axis.size)
        for end, inwards in ((0, 1), (1, -1)):
            here = 0 if end == 0 else axis.size - 1
            known = max(placed.conditions.get((s, end), 0) - 1, 0)
            near = [here + inwards * (k - known) for k in range(count)]
            for distance in range(known + 1, self.halo[s] + 1):
                index = here - inwards * distance
                found = axis.weights(index, near, 0)
                layers = [self._block(array, self._range(placed, s, i)) for i in near]
                spans = self._range(placed, s, index)
                array = self._set(placed, array, weighed(found, layers), spans)
        return array

    def _closed(
        self, arrays: Mapping[Any, Any], here: Sequence[Placed], s: Coordinate, end: int
    ) -> dict[Any, sympy.Expr]:
        """Values at an end, from the conditions there."""
        axis, inwards = self.axes[s], 1 if end == 0 else -1
        node = 0 if end == 0 else axis.size - 1
        open_ones: dict[tuple[Any, int], Any] = {}
        for placed in here:
            for k in range(placed.conditions.get((s, end), 0)):
                index = node - inwards * k
                spans = self._range(placed, s, index)
                shape = tuple(x.size for x in spans.values())
                name = f"{placed.symbol.func.__name__}_{s}_{'end' if end else 'start'}"
                name += f"_{k}" if k else ""
                open_ones[placed.symbol, index] = unknown(name, shape=shape)
        if not open_ones:
            return {}

        def leaf(symbol: Any, spans: Spans) -> sympy.Expr:
            key = symbol, spans[s].first if s in spans else 0
            if key in open_ones:
                return open_ones[key]
            if symbol in arrays:
                return self._block(arrays[symbol], spans)
            return self.leaf(symbol, spans)

        def beyond(symbol: Any) -> int:
            placed = self.fields.get(symbol)
            return max(placed.conditions.get((s, end), 0) - 1, 0) if placed else 0

        residuals = []
        for condition, symbol in self.ends[s, end]:
            placed = self.fields[symbol]
            at_end = Evaluator(
                placed.coordinates, self.axes, self.order, leaf, end=(s, beyond, inwards)
            )
            spans = self._range(placed, s, node)
            residuals.append(at_end(condition.lhs, spans) - at_end(condition.rhs, spans))
        conditions = [condition for condition, _ in self.ends[s, end]]
        values = self._solved(s, residuals, open_ones, conditions)
        result = dict(arrays)
        for (symbol, index), value in values.items():
            placed = self.fields[symbol]
            spans = self._range(placed, s, index)
            result[symbol] = self._set(placed, result[symbol], value, spans)
        return result

    def _solved(
        self,
        s: Coordinate,
        residuals: list[Any],
        open_ones: Mapping[Any, Any],
        conditions: Sequence[Equation],
    ) -> dict[Any, sympy.Expr]:
        """Where the residuals vanish; algebraic unknowns, where they are not linear."""
        symbols = list(open_ones.values())
        matrix = sympy.Matrix([[slope_by(r, z) for z in symbols] for r in residuals])
        if matrix.has(*symbols):
            for key, r, condition in zip(open_ones, residuals, conditions, strict=True):
                spans = self._range(self.fields[key[0]], s, key[1])
                self.extra[open_ones[key]] = condition, r, key[0], spans
            return dict(open_ones)
        none = dict.fromkeys(symbols, sympy.S.Zero)
        right = [-r.xreplace(none) for r in residuals]
        if len(symbols) == 1:
            solved: list[Any] = [right[0] / slope_by(residuals[0], symbols[0])]
        else:
            solved = list(matrix.adjugate() * sympy.Matrix(right) / matrix.det())
        return dict(zip(open_ones, solved, strict=True))


def _name(placed: Placed) -> str:
    symbol = placed.symbol
    return symbol.name if isinstance(symbol, sympy.Symbol) else symbol.func.__name__

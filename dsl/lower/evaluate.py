"""Expressions of fields on a stretch of a grid: whole arrays, whose number does not depend on it.

A derivative is a sum of shifted slices. One of a flux, ``D(k * D(u, s), s)``, is the difference of
the flux in the middles between the nodes, so that what leaves one cell enters its neighbour.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import sympy
from sympy.core.function import AppliedUndef

from .._arrays import index
from .._coordinates import At, Coordinate, is_field
from .._errors import DeclarationError
from .._integral import Integral
from .._neural import Neural, NeuralCall
from .._nodes import (
    ArrayNode,
    ConstantArray,
    Cumulated,
    Fourier,
    Index,
    Pad,
    Static,
    Sum,
    shape_of,
)
from .._symbols import Parameter, t
from .blocks import as_number, contracted, cut, weighed
from .dispersion import biased_reach
from .grid import Axis, Span
from .staggered import Middles
from .upwind import KINDS, upwinded
from .volume import Law, Laws, sides
from .weights import weights

Spans = Mapping[Coordinate, Span]
Leaf = Callable[[Any, Spans], sympy.Expr]


def _unnamed(base: str, array: sympy.Expr) -> sympy.Expr:
    return array


@dataclasses.dataclass(frozen=True, eq=False)
class AtEnd:
    """An end of a coordinate, where values are looked for.

    Fields: `beyond`, how many nodes a field has beyond it; `inwards`, the direction; `unknown`,
    with one polynomial through all nodes, at how many near both ends values are looked for.
    """

    beyond: Callable[[Any], int]
    inwards: int
    unknown: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluator:
    """Expressions as arrays with an axis for each of `coordinates`, of length 1 where constant.

    `leaf` gives the values of a field at nodes; `order` is that of the schemes; `upwind` gives the
    scheme of a derivative that is taken from where things come, and their speed. `ends` says of
    which coordinates we are at an end. `laws` are the derivatives of fluxes that finite volumes
    take, and `fourier` those that are taken of Fourier's coefficients. `named` gives a symbol for
    an array, so that what is large stands in expressions only once. `middles` are the fields that
    lie between the nodes of a coordinate.
    """

    coordinates: tuple[Coordinate, ...]
    axes: Mapping[Coordinate, Axis]
    order: int
    leaf: Leaf
    upwind: Mapping[sympy.Derivative, tuple[str, sympy.Expr]] = dataclasses.field(
        default_factory=dict
    )
    ends: Mapping[Coordinate, AtEnd] = dataclasses.field(default_factory=dict)
    laws: Laws = dataclasses.field(default_factory=dict)
    named: Callable[[str, sympy.Expr], sympy.Expr] = _unnamed
    fourier: frozenset[sympy.Derivative] = frozenset()
    middles: Middles = frozenset()

    def __call__(self, e: Any, spans: Spans) -> Any:
        """The expression on a stretch of each coordinate."""
        if isinstance(e, Coordinate):
            return self._coordinate(e, spans)
        if isinstance(e, AppliedUndef):
            return self._field(e, spans) if is_field(e) else e
        if isinstance(e, Parameter) and e.shape:
            return self._table(e, spans)
        if isinstance(e, sympy.Derivative):
            return self._derivative(e, spans)
        if isinstance(e, At):
            return self._over(e.coordinate, e, spans, Evaluator._held)
        if isinstance(e, Integral):
            return self._over(e.coordinate, e, spans, Evaluator._integral)
        if isinstance(e, NeuralCall):
            network = e.network
            arguments = [self(a, spans) for a in e.operands]
            if any(shape_of(a) for a in arguments):
                network = Neural(network.name, network.module, True, network.trainable)
            return NeuralCall(network, *arguments)
        if isinstance(e, ArrayNode | ConstantArray) and e.has(AppliedUndef):
            raise DeclarationError(f"{e}: arrays of fields are not taken; write their components")
        if not e.args:
            return e
        return e.func(*(self(a, spans) for a in e.args))

    # -- leaves --------------------------------------------------------------------------------

    def _coordinate(self, symbol: Coordinate, spans: Spans) -> sympy.Expr:
        if symbol not in spans:
            raise DeclarationError(f"{symbol} stands where there is no such coordinate")
        return ConstantArray(self._along(symbol, self.axes[symbol].along(spans[symbol])))

    def _along(self, symbol: Coordinate, values: np.ndarray) -> np.ndarray:
        """Numbers along the axis of a coordinate."""
        shape = [1] * len(self.coordinates)
        shape[self.coordinates.index(symbol)] = len(values)
        return values.reshape(shape)

    def _field(self, u: Any, spans: Spans) -> sympy.Expr:
        own = [s for s in u.args if isinstance(s, Coordinate)]
        missing = [s.name for s in own if s not in spans]
        if missing:
            names = ", ".join(missing)
            raise DeclarationError(
                f"{u} is a function of {names}, and stands where there is no {names}: take it at a "
                f"place, {u}.at({missing[0]}=...)"
            )
        for s in own:
            if spans[s].half != ((u, s) in self.middles):
                if s in self.ends:
                    return self._at_end(u, s, 0, spans)
                return self._between(lambda shifted: self._field(u, shifted), s, spans)
        return self._aligned(self.leaf(u, {s: spans[s] for s in own}), own)

    def _between(self, value: Callable[[Spans], Any], s: Coordinate, spans: Spans) -> sympy.Expr:
        """Values in the middles, interpolated between the nodes; or the other way."""
        before, behind = _reach(self.order // 2, spans[s])
        source = spans[s].nodes(before, behind)
        values = value({**spans, s: source})
        return self._stencil(values, s, 0, spans[s], source, before)

    def _aligned(self, array: sympy.Expr, own: list[Coordinate]) -> sympy.Expr:
        """With an axis for each coordinate that there is."""
        if len(own) == len(self.coordinates):
            return array
        whole = ("slice", None, None, None)
        key = tuple(whole if s in own else None for s in self.coordinates)
        return Index(array, Static(key))

    def _table(self, parameter: Parameter, spans: Spans) -> sympy.Expr:
        """A parameter with the shape of the grid: its values at the nodes."""
        sizes = tuple(self.axes[s].of or self.axes[s].size for s in self.coordinates)
        if parameter.shape != sizes:
            raise DeclarationError(
                f"{parameter} has shape {parameter.shape}, and the grid here {sizes}: a "
                "coefficient has one value for each node, or is an expression of the coordinates"
            )
        for s in self.coordinates:
            if spans[s].half:
                return self._between(lambda shifted: self._table(parameter, shifted), s, spans)
        return self.leaf(parameter, {s: spans[s] for s in self.coordinates})

    # -- derivatives ---------------------------------------------------------------------------

    def _derivative(self, e: sympy.Derivative, spans: Spans) -> sympy.Expr:
        variables: Any = e.variable_count
        counts = {symbol: int(n) for symbol, n in variables}
        rate = counts.pop(t, 0)
        (s, n), *rest = counts.items() or [(None, 0)]
        inner = sympy.Derivative(e.expr, *rest) if rest else e.expr
        value = self(inner, spans) if s is None else self._along_axis(e, inner, s, n, spans)
        return value.diff(t, rate) if rate else value

    def _along_axis(
        self, e: sympy.Derivative, inner: Any, s: Any, n: int, spans: Spans
    ) -> sympy.Expr:
        if s not in spans:
            raise DeclarationError(f"{e}: a derivative by {s}, where there is no such coordinate")
        span, axis = spans[s], self.axes[s]
        if axis.spectral:
            return self._spectral(inner, s, n, spans)
        if s in self.ends:
            return self._at_end(inner, s, n, spans)
        kind, speed = self.upwind.get(e, ("central", sympy.S.Zero))
        if kind in KINDS and not span.half:
            reach = 3
            values = self(inner, {**spans, s: span.widened(reach, reach)})
            moved = {
                k: cut(values, self.coordinates.index(s), reach + k, reach + k + span.size)
                for k in range(-reach, reach + 1)
            }
            return upwinded(kind, moved, self(speed, spans), self._slope(s, span))
        if e in self.fourier:
            return self._fourier(inner, s, n, spans)
        if e in self.laws and not span.half:
            law = self.laws[e]
            return sympy.S.Zero if law is None else self._volumes(law, s, spans)
        if self._half(inner, s, n, span) != span.half:
            before, behind = _reach((n + self.order) // 2, span)
            source = span.nodes(before, behind)
        elif kind == "biased":
            before, behind = biased_reach(n, self.order, speed)
            source = span.widened(before, behind)
        else:
            before = (2 * ((n + 1) // 2) - 1 + self.order) // 2
            source = span.widened(before, before)
        if not axis.periodic and source.size > 2 * axis.size:
            raise DeclarationError(
                f"{e}: its stencil reaches over {source.size - span.size + 1} nodes, more than the "
                f"{axis.size} of {s}: take a finer grid or a lower order"
            )
        values = self(inner, {**spans, s: source})
        return self._stencil(values, s, n, span, source, before)

    def _half(self, inner: Any, s: Coordinate, n: int, span: Span) -> bool:
        """Whether the values for a derivative on a stretch are looked for in the middles."""
        if not any(c == s for _, c in self.middles):
            return not span.half and n == 1 and _differentiated(inner, s)
        own = self._lies(inner, s)
        return span.half == (n % 2 == 0) if own is None else own

    def _lies(self, e: Any, s: Coordinate) -> bool | None:
        """Whether values lie in the middles of a coordinate; None for those of both kinds."""
        if isinstance(e, AppliedUndef) and is_field(e):
            return (e, s) in self.middles if s in e.args else None
        if isinstance(e, At | Integral) and e.coordinate == s:
            return None
        if isinstance(e, sympy.Derivative):
            own = self._lies(e.expr, s)
            return own if own is None else own != (e.variables.count(s) % 2 == 1)
        found = {self._lies(a, s) for a in e.args} - {None}
        return found.pop() if len(found) == 1 else None

    def _spectral(self, inner: Any, s: Coordinate, n: int, spans: Spans) -> Any:
        """By the polynomial through all nodes; those where values are looked for, one by one."""
        axis = self.axes[s]
        matrix = axis.matrix(axis.along(spans[s]), n)
        apart = self.ends[s].unknown if s in self.ends else 0
        known = Span(apart, axis.size - apart)
        values = self(inner, {**spans, s: known})
        total = self._by_matrix(matrix[:, known.first : known.last], values, s)
        for i in (*range(apart), *range(known.last, axis.size)):
            value = self(inner, {**spans, s: Span(i, i + 1)})
            total = total + ConstantArray(self._along(s, matrix[:, i])) * value
        return total

    def _by_matrix(self, matrix: np.ndarray, values: Any, s: Coordinate) -> Any:
        """A matrix applied to the values at all nodes of a coordinate; to the same one, of all."""
        place = self.coordinates.index(s)
        if shape_of(values) and shape_of(values)[place] > 1:
            return contracted(matrix, values, place)
        sums = matrix.sum(axis=1)
        if np.allclose(sums, 0, atol=1e-6 * np.abs(matrix).max()):
            return sympy.S.Zero
        return ConstantArray(self._along(s, sums)) * values

    def _fourier(self, inner: Any, s: Coordinate, n: int, spans: Spans) -> sympy.Expr:
        """By the coefficients of Fourier; of products, without those that are aliased.

        The longest two thirds of the waves are kept of the factors and of the product (Orszag, On
        the elimination of aliasing in finite-difference schemes by filtering high-wavenumber
        components, 1971).
        """
        span, axis, place = spans[s], self.axes[s], self.coordinates.index(s)
        if not axis.periodic or axis.step is None or span.half:
            raise DeclarationError(
                f'scheme "fourier" is for periodic coordinates and even grids, which {s} is not'
            )
        if span.first < 0 or span.last > axis.size:
            raise DeclarationError(
                f'scheme "fourier" of a derivative by {s} inside of another scheme along {s}: take '
                '"fourier" for both'
            )
        waves = np.arange(axis.size // 2 + 1)
        kept = ConstantArray(self._along(s, np.where(3 * waves > axis.size, 0.0, 1.0)))

        def smooth(symbol: Any, at: Spans) -> sympy.Expr:
            found = self.leaf(symbol, at)
            if s not in at:
                return found
            own = list(at).index(s)
            mask = ConstantArray(np.moveaxis(kept.array.reshape(-1, *[1] * (len(at) - 1)), 0, own))
            return Fourier(found, mask, Static(own), Static(False))

        product = not isinstance(inner, AppliedUndef | sympy.Derivative)
        own = dataclasses.replace(self, leaf=smooth) if product else self
        values = own(inner, {**spans, s: Span(0, axis.size)})
        if not shape_of(values) or shape_of(values)[place] == 1:
            return sympy.S.Zero
        factors = (-1.0) ** (n // 2) * (2 * np.pi / axis.length * waves) ** n
        if n % 2 and axis.size % 2 == 0:
            factors[-1] = 0  # the highest wave has no derivative that the grid could hold
        if product:
            factors[3 * waves > axis.size] = 0
        table = ConstantArray(self._along(s, factors))
        result = Fourier(values, table, Static(place), Static(bool(n % 2)))
        return cut(result, place, span.first, span.last)

    def _stencil(
        self, values: sympy.Expr, s: Coordinate, n: int, span: Span, source: Span, before: int
    ) -> sympy.Expr:
        """The sum of shifted values with their weights."""
        place, axis = self.coordinates.index(s), self.axes[s]
        shape = shape_of(values)
        if not shape or shape[place] == 1 != source.size:
            return values if n == 0 else sympy.S.Zero
        count = source.size - span.size + 1
        shifted = [cut(values, place, k, k + span.size) for k in range(count)]
        if axis.step is not None:
            offset = (int(span.half) - int(source.half)) / 2
            found = weights(offset, np.arange(count) - float(before), n) / axis.step**n
            return weighed(found, shifted)
        places = axis.along(source)
        windows = np.lib.stride_tricks.sliding_window_view(places, count)
        found = weights(axis.along(span), windows, n)
        return self._weighed_along(s, found, shifted)

    def _weighed_along(self, s: Coordinate, found: np.ndarray, arrays: list) -> sympy.Expr:
        """The sum of arrays, with a weight of its own for each place along a coordinate."""
        return sympy.Add(
            *(
                ConstantArray(self._along(s, found[:, k])) * array
                for k, array in enumerate(arrays)
                if np.any(found[:, k])
            )
        )

    def _volumes(self, law: Law, s: Coordinate, spans: Spans) -> sympy.Expr:
        """The difference of the fluxes through both faces of each cell, over its width."""
        span, axis, place = spans[s], self.axes[s], self.coordinates.index(s)
        faces = Span(span.first - 1, span.last, half=True)
        near = Span(faces.first - 1, faces.last + 2)
        wanted = {law.field, *law.flux.atoms(AppliedUndef)}
        wanted |= {u for speed in law.speeds for u in speed.atoms(AppliedUndef)}
        fields = sorted((u for u in wanted if is_field(u)), key=str)
        marks = {u: sympy.Dummy(u.func.__name__, real=True) for u in fields}
        bare = dataclasses.replace(
            law,
            field=marks[law.field],
            flux=self(law.flux.xreplace(marks), {**spans, s: faces}),
            speeds=tuple(self(v.xreplace(marks), {**spans, s: faces}) for v in law.speeds),
        )
        both: tuple[dict, dict] = {}, {}
        for u, mark in marks.items():
            values = self(u, {**spans, s: near})
            cells = [cut(values, place, k, k + faces.size) for k in range(4)]
            for side, value in zip(both, sides(law.volumes.limiter, cells), strict=True):
                side[mark] = self.named(f"{u.func.__name__}_face", value)
        name = f"flux_{law.field.func.__name__}_{s}"
        through = self.named(name, bare.through(*both))
        width = np.diff(axis.along(faces))
        inverse = ConstantArray(self._along(s, 1 / width))
        if axis.step is not None:
            inverse = as_number(1 / axis.step)
        inverse = law.factor * inverse
        return inverse * (cut(through, place, 1, faces.size) - cut(through, place, 0, span.size))

    def _slope(self, s: Coordinate, span: Span) -> sympy.Expr:
        """The distance of nodes: how fast the coordinate grows with their number."""
        axis = self.axes[s]
        if axis.step is not None:
            return as_number(axis.step)
        reach = 3
        places = axis.along(span.widened(reach, reach))
        windows = np.lib.stride_tricks.sliding_window_view(places, 2 * reach + 1)
        return ConstantArray(
            self._along(s, windows @ weights(0.0, np.arange(-reach, reach + 1.0), 1))
        )

    def _at_end(self, inner: Any, s: Coordinate, n: int, spans: Spans) -> sympy.Expr:
        """A derivative at an end, from the nodes there."""
        beyond, inwards = self.ends[s].beyond, self.ends[s].inwards
        axis, here = self.axes[s], spans[s].first + spans[s].shift
        half = bool(self._lies(inner, s))
        shift = half / 2
        first = int(np.ceil(here - shift) if inwards > 0 else np.floor(here - shift))
        outside = min((beyond(u) for u in inner.atoms(AppliedUndef) if s in u.args), default=0)
        count = min(n + self.order + 1, axis.count(half))
        nodes = [first + inwards * (k - outside) for k in range(count)]
        found = axis.weights(here, [i + shift for i in nodes], n)
        return weighed(found, [self(inner, {**spans, s: Span(i, i + 1, half)}) for i in nodes])

    # -- places --------------------------------------------------------------------------------

    def _over(self, s: Coordinate, e: Any, spans: Spans, made: Callable[..., Any]) -> Any:
        """What is made along a coordinate that the expression itself need not have."""
        if s not in self.axes:
            raise DeclarationError(f"{e}: there is no coordinate {s}")
        if s in self.coordinates:
            return made(self, e, s, spans)
        together = tuple(c for c in self.axes if c in self.coordinates or c == s)
        value = made(dataclasses.replace(self, coordinates=together), e, s, spans)
        if not shape_of(value):
            return value
        key: list[Any] = [slice(None)] * len(together)
        key[together.index(s)] = 0
        return index(value, tuple(key))

    def _integral(self, e: Integral, s: Coordinate, spans: Spans) -> Any:
        """The sum of all nodes with their weights; or of the cells up to each node."""
        axis, place = self.axes[s], self.coordinates.index(s)
        low, high = float(axis.nodes[0]), float(axis.nodes[0]) + axis.length
        limits = [float(limit) for limit in e.limits if limit.is_number] or [low, high]
        if any(not low - 1e-9 <= x <= high + 1e-9 for x in limits):
            raise DeclarationError(
                f"{e}: its limits lie in the domain of {s}, from {low:g} to {high:g}"
            )
        if len(limits) == 1:
            return self._cumulative(e, s, spans)
        values = self(e.expression, {**spans, s: Span(0, axis.size)})
        found = self._along(s, axis.quadrature(limits[0], limits[1], self.order))
        summed = Sum(ConstantArray(found) * values, Static(place))
        whole = ("slice", None, None, None)
        return Index(summed, Static(tuple(None if c == s else whole for c in self.coordinates)))

    def _cumulative(self, e: Integral, s: Coordinate, spans: Spans) -> Any:
        axis, place, span = self.axes[s], self.coordinates.index(s), spans[s]
        if axis.periodic or span.half or not 0 <= span.first < span.last <= axis.size:
            raise DeclarationError(f"{e}: a cumulative integral is taken at the nodes of {s} alone")
        if axis.spectral:
            values = self(e.expression, {**spans, s: Span(0, axis.size)})
            start = axis.quadrature(axis.nodes[0], float(e.limits[0]), self.order)
            rows = [axis.quadrature(axis.nodes[0], x, self.order) - start for x in axis.along(span)]
            return self._by_matrix(np.array(rows), values, s)
        cells = Span(0, axis.size - 1, half=True)
        reach = self.order // 2
        source = cells.nodes(reach - 1, reach)
        values = self(e.expression, {**spans, s: source})
        windows = np.lib.stride_tricks.sliding_window_view(axis.along(source), 2 * reach)
        points, shares = np.polynomial.legendre.leggauss(reach + 1)
        middles, widths = axis.along(cells), np.diff(axis.along(Span(0, axis.size)))
        found = np.zeros(windows.shape)
        for x, w in zip(points, shares, strict=True):
            found += (w * widths / 2)[:, None] * weights(middles + x * widths / 2, windows, 0)
        near = [cut(values, place, k, k + cells.size) for k in range(2 * reach)]
        pieces = self._weighed_along(s, found, near)
        before = [(0, 0)] * len(self.coordinates)
        before[place] = (1, 0)
        total = Cumulated(Pad(pieces, Static(tuple(before))), Static(place))
        nodes, found = axis.near(e.limits[0], self.order + 2, e)
        around = [cut(total, place, i, i + 1) for i in range(nodes.first, nodes.last)]
        return cut(total, place, span.first, span.last) - weighed(found, around)

    def _held(self, e: At, s: Coordinate, spans: Spans) -> Any:
        """With a coordinate at its place: at a node, or between nodes by interpolation."""
        nodes, found = self.axes[s].near(e.place, self.order + 2, e)
        values = self(e.expression, {**spans, s: nodes})
        if nodes.size == 1 or not shape_of(values):
            return values
        along = self.coordinates.index(s)
        return weighed(found, [cut(values, along, k, k + 1) for k in range(nodes.size)])


def _reach(count: int, span: Span) -> tuple[int, int]:
    """How far so many on either side reach, of the nodes from middles, or the other way."""
    return (count - 1, count) if span.half else (count, count - 1)


def _differentiated(e: Any, s: Coordinate) -> bool:
    """Whether there is a derivative by a coordinate in an expression."""
    return any(s in d.variables for d in e.atoms(sympy.Derivative))

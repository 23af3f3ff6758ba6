"""The method of lines: a system of fields as a system of arrays on a grid."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import equinox as eqx
import numpy as np
import sympy
from sympy.core.function import AppliedUndef

from .._boundary import Conditions, sort_conditions
from .._coordinates import Coordinate, is_field
from .._errors import DeclarationError
from .._matching import maximum_matching
from .._nodes import in_shape, shape_of
from .._symbols import t, unknown
from .._system import System
from .blocks import contracted
from .edges import with_edges
from .evaluate import Evaluator, Leaf, Spans
from .extend import Extension, Placed, Stretch, middles_of
from .grid import Axis, Span, make_axes
from .pieces import find_reaches, find_strips, rates_apart, together
from .schemes import FOURIER, NOTHING, Scheme, Special, choose_schemes
from .spectral import Semilinear, split_linear
from .staggered import Middles

_METADATA = ("unit", "bounds", "guess", "description")


@dataclasses.dataclass(frozen=True, eq=False)
class Fields:
    """How the fields of a system lie on a grid, and any expression of them as an array.

    Fields: `system`, as it was declared; `axes`, with the nodes of each coordinate; `placed`, each
    field with the part of the grid that its state holds; `schemes`, for each derivative in words
    how it is computed; `closing`, from how many nodes the fields go on beyond the ends of a
    coordinate.
    """

    system: System
    axes: Mapping[Coordinate, Axis]
    placed: Mapping[Any, Placed]
    conditions: Conditions
    order: int
    schemes: Mapping[Any, str]
    closing: Mapping[Coordinate, int]
    extensions: dict[Any, Extension]  # by their reach; made where an expression needs them

    @property
    def definitions(self) -> dict[Any, sympy.Expr]:
        """What the arrays are that the expressions name."""
        found = (extension.definitions for extension in self.extensions.values())
        return {k: e for definitions in found for k, e in definitions.items()}

    @property
    def key(self) -> Hashable:
        """What makes two of them put expressions on the grid alike."""
        nodes = tuple((s.name, a.nodes.tobytes(), a.spectral) for s, a in self.axes.items())
        apart = sorted((str(u), s.name) for u, s in self.middles)
        closing = tuple(sorted((s.name, n) for s, n in self.closing.items()))
        return nodes, self.order, closing, str(self.system.boundary), str(apart)

    @functools.cached_property
    def middles(self) -> Middles:
        """The fields that lie between the nodes of a coordinate."""
        return middles_of(self.placed)

    def expression(self, e: Any) -> Any:
        """An expression of fields on all nodes, as one of the arrays that are solved for."""
        own = self.coordinates(e)
        if not own and not any(is_field(u) for u in e.atoms(AppliedUndef)):
            return e
        spans = {s: Span(0, self.axes[s].size) for s in own}
        return self.evaluated([(e, own, spans, NOTHING)])[0]

    def coordinates(self, e: Any) -> tuple[Coordinate, ...]:
        """The coordinates of an expression, in the order of the axes of its array."""
        return tuple(s for s in self.axes if s in _coordinates_of(e))

    def interpolation(self, s: Coordinate, places: Any) -> np.ndarray:
        """The matrix that takes values at the nodes of a coordinate to values at places.

        By the polynomial through the nearest nodes, of two orders more than the schemes.
        Raises `DeclarationError` for a place outside of the domain.
        """
        axis, wanted = self.axes[s], np.atleast_1d(np.asarray(places, float))
        low, high = axis.nodes[0], axis.nodes[0] + axis.length
        slack = 1e-9 * axis.length
        if not np.all((wanted >= low - slack) & (wanted <= high + slack)):
            raise DeclarationError(
                f"{s} = {places} is outside of its domain, which goes from {low:g} to {high:g}"
            )
        near, found = axis.interpolated(wanted, self.order + 2)
        matrix = np.zeros((len(wanted), axis.size))
        np.add.at(matrix, (np.arange(len(wanted))[:, None], near), found)
        return matrix

    def at_places(self, e: Any, places: Mapping[str, Any]) -> sympy.Expr:
        """An expression at several places of each coordinate; of others, at the nodes."""
        own, array = self.coordinates(e), self.expression(e)
        for axis, s in enumerate(own):
            wanted = places.get(s.name)
            nodes = self.axes[s].nodes
            if wanted is None or (np.shape(wanted) == nodes.shape and np.allclose(wanted, nodes)):
                continue
            array = contracted(self.interpolation(s, wanted), array, axis)
        return array

    def evaluated(
        self,
        wanted: Sequence[tuple[Any, tuple[Coordinate, ...], Spans, Special]],
        stretch: Stretch | None = None,
    ) -> list[sympy.Expr]:
        """Expressions on stretches of the grid; the stencils' reach is found by a first run."""
        axes = self.axes if stretch is None else stretch.axes(self.axes)
        reach: dict[Coordinate, int] = {}

        def seen(symbol: Any, spans: Spans) -> sympy.Expr:
            for s, x in spans.items():
                beyond = max(-x.first, x.last - axes[s].count(x.half), 0)
                reach[s] = max(reach.get(s, 0), beyond)
            return _seen(symbol, spans)

        for e, own, spans, special in wanted:
            self._evaluator(own, axes, seen, special, _shaped)(e, spans)
        key = stretch, tuple(sorted((s.name, n) for s, n in reach.items() if n))
        if key not in self.extensions:
            self.extensions[key] = Extension(
                self.placed, self.axes, self.conditions, self.order, reach, stretch, self.closing
            )
        extension = self.extensions[key]
        return [
            self._evaluator(own, axes, extension.leaf, special, extension.named)(e, spans)
            for e, own, spans, special in wanted
        ]

    def pieces(self, e: Any, own: tuple[Coordinate, ...], spans: Spans, special: Special) -> Any:
        """An expression in the plane or in space, in pieces; None where it is better as a whole."""
        if len(own) < 2 or self.conditions.joined or self.middles:
            return None
        known = Extension(self.placed, self.axes, self.conditions, self.order, {})

        def look(at: Spans, note: Callable[[Any, Spans], None]) -> None:
            def seen(symbol: Any, spans: Spans) -> sympy.Expr:
                note(known.placed(symbol, tuple(spans)), spans)
                return _seen(symbol, spans)

            self._evaluator(own, self.axes, seen, special, _shaped)(e, at)

        reaches = find_reaches(spans, self.axes, look)
        if reaches is None:
            return None
        strips = find_strips(spans, self.axes, self.conditions, self.order, reaches)
        if not strips:
            return None

        def evaluate(at: Spans, stretch: Stretch | None) -> Any:
            return self.evaluated([(e, own, at, special)], stretch)[0]

        return together(spans, reaches, strips, evaluate)

    def _evaluator(
        self,
        own: tuple[Coordinate, ...],
        axes: Mapping[Coordinate, Axis],
        leaf: Leaf,
        special: Special,
        named: Any,
    ) -> Evaluator:
        upwind, laws, fourier = special
        return Evaluator(
            own, axes, self.order, leaf, upwind, laws=laws, named=named, fourier=fourier,
            middles=self.middles,
        )  # fmt: skip

    @functools.cached_property
    def semilinear(self) -> Semilinear:
        """The rates, with the linear part that Fourier's coefficients make diagonal split off.

        Raises `DeclarationError` where the scheme of a derivative is not "fourier", and for systems
        that have no such coefficients.
        """
        others = [str(e) for e, words in self.schemes.items() if words != FOURIER]
        if others:
            raise DeclarationError(
                "exponential steps are taken of Fourier's coefficients, and the scheme of "
                f'{", ".join(others)} is another: give scheme="fourier"'
            )
        equations = dict(zip(_owners(self.system), self.system.equations, strict=True))
        return split_linear(equations, self.placed, self.axes)

    def state_values(self, symbol: Any, value: Any) -> Any:
        """A field's values on the nodes of its state, from an expression, a number or an array."""
        placed = self.placed[symbol.expr if isinstance(symbol, sympy.Derivative) else symbol]
        spans = [placed.spans[s] for s in placed.coordinates]
        shape = tuple(x.size for x in spans)
        if isinstance(value, sympy.Expr) and not value.is_number:
            return self.sampled(value, placed.spans)
        array: Any = value if eqx.is_array(value) else np.asarray(value, float)
        nodes = tuple(self.axes[s].size for s in placed.coordinates)
        if tuple(array.shape) == nodes:
            for place, s in enumerate(placed.coordinates):
                array = self._on_span(array, place, s, placed.spans[s])
            return array
        if array.shape not in ((), shape):
            raise DeclarationError(
                f"the initial value of {symbol} has shape {tuple(array.shape)}, and the grid "
                f"{nodes}: one value for each node"
            )
        return array

    def _on_span(self, array: Any, place: int, s: Coordinate, span: Span) -> Any:
        """Values at all nodes of one axis, on a stretch of it; interpolated for middles."""
        if not span.half:
            return array[(slice(None),) * place + (slice(span.first, span.last),)]
        near, found = self.axes[s].interpolated(self.axes[s].along(span), self.order + 2)
        shape = (len(found),) + (1,) * (array.ndim - place - 1)
        taken = [array[(slice(None),) * place + (near[:, k],)] for k in range(near.shape[1])]
        return sum(v * found[:, k].reshape(shape) for k, v in enumerate(taken))

    def sampled(self, value: sympy.Expr, spans: Spans) -> Any:
        """An expression of coordinates on a stretch of nodes: numbers, if it is of them alone."""
        own, shape = tuple(spans), tuple(x.size for x in spans.values())
        if value.free_symbols <= set(own) and not value.atoms(AppliedUndef):
            mesh = np.meshgrid(*(self.axes[s].along(spans[s]) for s in own), indexing="ij")
            numbers = sympy.lambdify(own, value, ["numpy", "scipy"])(*mesh)
            return np.broadcast_to(np.asarray(numbers, float), shape)
        found = Evaluator(own, self.axes, self.order, _refused)(value, spans)
        return in_shape(found, shape)


def _seen(symbol: Any, spans: Spans) -> sympy.Expr:
    """Stands for the values of a field in a first run."""
    return unknown("seen", shape=tuple(x.size for x in spans.values()))


def _shaped(base: str, array: sympy.Expr) -> sympy.Expr:
    """Stands for an array in the first run."""
    return unknown("seen", shape=shape_of(array)) if shape_of(array) else array


def _refused(symbol: Any, spans: Spans) -> sympy.Expr:
    raise DeclarationError(f"an initial value is an expression of coordinates, not of {symbol}")


def discretise(
    system: System,
    grid: Mapping[Any, Any],
    *,
    order: int = 4,
    scheme: Scheme = None,
) -> tuple[System, Fields]:
    """The system of arrays on a grid, and how the fields lie on it.

    What `compile` does with a system of fields, for who wants to see it or go on from there.
    Arguments: as for `compile`; the system has passed `check`.
    Returns the system, whose unknowns have the field's names and the shape of the nodes at which
    its equation holds; and the `Fields`, which turn any expression into an array.

    >>> import sciml as sm
    >>> s = sm.coordinate("s")
    >>> u = sm.unknown("u", sm.t, s)
    >>> heat = sm.Eq(sm.D(u, sm.t), sm.D(u, s, s))
    >>> ends = [sm.Eq(u.at(s=0), 0), sm.Eq(u.at(s=1), 1)]
    >>> rod = sm.System(heat, domain={s: (0, 1)}, boundary=ends, initial={u: s})
    >>> arrays, fields = sm.discretise(rod, {s: 9}, order=2)
    >>> arrays.unknowns[0].shape, fields.schemes
    ((7,), {Derivative(u, (s, 2)): 'central, order 2'})
    """
    if order not in (2, 4, 6, 8):
        raise DeclarationError(f"the order of finite differences is 2, 4, 6 or 8, not {order!r}")
    declared, system = system, with_edges(system)
    conditions = sort_conditions(system)
    periodic = {s: any(s in found for found in conditions.periodic.values())
                for s in system.coordinates}  # fmt: skip
    axes = make_axes(system, grid, periodic)
    owners = _owners(system)
    chosen = choose_schemes(system, owners, axes, conditions, scheme, order)
    placed = {u: _placed(u, axes, conditions.count(u), chosen.middles) for u in system.fields}
    fields = Fields(declared, axes, placed, conditions, order, chosen.words, chosen.closing, {})
    return _arrays(system, fields, owners, chosen.special), fields


def _placed(
    symbol: Any, axes: Mapping[Coordinate, Axis], counts: Mapping, middles: Middles
) -> Placed:
    own = tuple(s for s in axes if s in symbol.args)
    spans = {}
    for s in own:
        if (symbol, s) in middles:
            spans[s] = Span(0, axes[s].count(True), half=True)
            continue
        given = [counts.get((s, end), 0) for end in (0, 1)]
        taken = given if axes[s].spectral else [int(n > 0) for n in given]
        spans[s] = Span(taken[0], axes[s].size - taken[1])
        if spans[s].size < 1:
            raise DeclarationError(f"grid of {s}: no node is left inside of the ends for {symbol}")
    shape = tuple(x.size for x in spans.values())
    about = {key: getattr(symbol, key) for key in _METADATA}
    return Placed(symbol, unknown(symbol.func.__name__, shape=shape, **about), own, spans, counts)


def _arrays(system: System, fields: Fields, owners: Sequence[Any], special: Special) -> System:
    """The equations at the nodes of the states, and everything else that the system gives."""
    wanted, pieces = [], []
    for equation, owner in zip(system.equations, owners, strict=True):
        placed = fields.placed.get(owner)
        own, spans = ((), {}) if placed is None else (placed.coordinates, placed.spans)
        upwind, laws, fourier = special
        inside = owner in fields.system.fields  # and no condition at an end
        given = (upwind, laws.get(owner, {}), fourier) if inside else NOTHING
        for side in (equation.lhs, equation.rhs):
            rates, rest = rates_apart(side)
            piece = fields.pieces(rest, own, spans, given) if rest != 0 else None
            pieces.append(piece)
            wanted.append((side if piece is None else rates, own, spans, given))
    names = [k for k in system.observed if not is_field(k)]
    values = fields.evaluated(wanted)
    sides = (v if p is None else v + p for v, p in zip(values, pieces, strict=True))
    equations = [e.replace(lhs=next(sides), rhs=next(sides)) for e in system.equations]
    initial = {}
    for key, value in system.initial.items():
        symbol = _field_of(system, key)
        if symbol is None:
            initial[key] = value
            continue
        state: Any = fields.placed[symbol].state
        rate = key.derivative_count if isinstance(key, sympy.Derivative) else 0
        target = sympy.Derivative(state, (t, rate)) if rate else state
        initial[target] = fields.state_values(symbol, value)
    observed = {k: fields.expression(system.observed[k]) for k in names}
    observed |= fields.definitions
    return System(
        *equations,
        initial=initial,
        values=system.values,
        observed=observed,
        name=system.name,
        origin=system.origin,
        calculus=system.calculus,
    )


def _field_of(system: System, key: Any) -> Any:
    """The field that an initial value is of."""
    inner = key.expr if isinstance(key, sympy.Derivative) else key
    by_name = {u.func.__name__: u for u in system.fields}
    if isinstance(inner, str):
        return by_name.get(inner)
    return inner if inner in system.fields else None


def _owners(system: System) -> list[Any]:
    """The unknown that each equation is for: the one whose rate it holds, or else any other."""
    candidates = []
    for i, equation in enumerate(system.equations):
        rates = [u for u in system.survey.unknowns if u in {r.expr for r in system.survey.rates[i]}]
        found = equation.lhs.atoms(AppliedUndef) | equation.rhs.atoms(AppliedUndef)
        candidates.append(rates or [u for u in system.survey.unknowns if u in found])
    return maximum_matching(candidates, list(system.survey.unknowns))


def _coordinates_of(e: Any) -> set[Coordinate]:
    """The coordinates on which an expression depends; not those at which it is taken."""
    return {s for s in e.free_symbols if isinstance(s, Coordinate)}

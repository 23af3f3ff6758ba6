"""Periodic fields in Fourier's coefficients: the linear part, diagonal there, split off."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import sympy
from sympy.core.function import AppliedUndef

from .._coordinates import Coordinate, is_field
from .._equations import Equation
from .._errors import DeclarationError
from .._show import name_of
from .._symbols import Parameter, t, unknown
from .evaluate import Evaluator, Spans
from .extend import Placed
from .grid import Axis, Span

Orders = tuple[int, ...]  # of a derivative by each of the coordinates of a field


@dataclasses.dataclass(frozen=True, eq=False)
class Semilinear:
    """The rates of periodic fields, ``D(u, t) = L u + N``, with L diagonal in their coefficients.

    Fields: `fields`, in the order in which they were declared; `linear`, of each field the
    coefficients of its own derivatives in its equation, which are constant in time; `beside`, for
    two fields those of derivatives of the second in the equation of the first, and of its own that
    vary with time; `fluxes`, for a field the arrays of which derivatives are taken (of order 0 too)
    and summed; `marks`, the arrays of derivatives that stand in them.
    """

    fields: tuple[Placed, ...]
    axes: Mapping[Coordinate, Axis]
    linear: Mapping[Any, Mapping[Orders, sympy.Expr]]
    beside: Mapping[tuple[Any, Any], Mapping[Orders, sympy.Expr]]
    fluxes: Mapping[Any, Mapping[Orders, sympy.Expr]]
    marks: Mapping[tuple[Any, Orders], Any]


def split_linear(
    equations: Mapping[Any, Equation],
    fields: Mapping[Any, Placed],
    axes: Mapping[Coordinate, Axis],
) -> Semilinear:
    """Takes the equation of each field apart, with all its derivatives by Fourier's coefficients.

    Raises `DeclarationError` for what has no such coefficients: coordinates that are not periodic,
    uneven grids, rates of higher order, unknowns that are no fields.
    """
    found = _Parts(fields, axes)
    for symbol, equation in equations.items():
        if symbol not in fields:
            raise DeclarationError(
                f"{name_of(symbol)} is no field: exponential steps in Fourier's coefficients are "
                f"for systems of periodic fields alone; take another solver. {equation}"
            )
        _refuse_ends(fields[symbol], axes)
        rest: Any = equation.rhs - equation.lhs
        rate = sympy.Derivative(symbol, t)
        factor = -rest.coeff(rate)
        left = sympy.expand(rest + factor * rate)
        if factor == 0 or _varies(factor) or any(t in d.variables for d in _derivatives(left)):
            raise DeclarationError(
                f"exponential steps need an equation for {rate} alone, with a constant factor, not "
                f"{equation}, written at {equation.origin}"
            )
        found.add(symbol, rest + factor * rate, _none(fields[symbol]), 1 / factor)
    return found.finished()


def _refuse_ends(placed: Placed, axes: Mapping[Coordinate, Axis]) -> None:
    for s in placed.coordinates:
        if not axes[s].periodic or axes[s].step is None:
            raise DeclarationError(
                f"exponential steps in Fourier's coefficients are for periodic coordinates and "
                f"even grids, which {s} of {placed.symbol.func.__name__} is not: take "
                'solver="stiff", or give ETDRK4 its linear part'
            )


class _Parts:
    """Collects the terms of equations."""

    def __init__(self, fields: Mapping[Any, Placed], axes: Mapping[Coordinate, Axis]) -> None:
        self.fields, self.axes = fields, axes
        self.linear: dict[Any, dict[Orders, Any]] = {u: {} for u in fields}
        self.beside: dict[tuple[Any, Any], dict[Orders, Any]] = {}
        self.raw: dict[Any, dict[Orders, Any]] = {u: {} for u in fields}

    def add(self, u: Any, e: Any, orders: Orders, scale: Any) -> None:
        """One term of the equation of u: the derivative of these orders, of it times a factor."""
        if e.is_Add:
            for term in e.args:
                self.add(u, term, orders, scale)
            return
        if e.is_Mul:
            fixed, moving = e.as_independent(*_moving(e))
            if fixed != 1:
                self.add(u, moving, orders, scale * fixed)
                return
        own = self.fields[u].coordinates
        if isinstance(e, sympy.Derivative) and set(e.variables) <= set(own):
            counts: dict[Any, int] = dict(e.variable_count)  # type: ignore[arg-type]
            more = tuple(n + int(counts.get(s, 0)) for n, s in zip(orders, own, strict=True))
            self.add(u, e.expr, more, scale)
            return
        if e in self.fields and self.fields[e].coordinates == own:
            constant = e == u and t not in scale.free_symbols
            where = self.linear[u] if constant else self.beside.setdefault((u, e), {})
        else:
            where = self.raw[u]
            scale = scale * e
        where[orders] = where.get(orders, 0) + scale

    def finished(self) -> Semilinear:
        """With the arrays of all that is not linear."""
        marks: dict[tuple[Any, Orders], Any] = {}
        fluxes: dict[Any, dict[Orders, Any]] = {}
        for u, found in self.raw.items():
            if found:
                fluxes[u] = {orders: self._array(u, e, marks) for orders, e in found.items()}
        placed = tuple(self.fields.values())
        return Semilinear(placed, self.axes, self.linear, self.beside, fluxes, marks)

    def _array(self, u: Any, e: Any, marks: dict[tuple[Any, Orders], Any]) -> Any:
        """An expression of fields on the nodes; derivatives of fields are arrays of their own."""
        stands: dict[Any, Any] = {}
        arrays: dict[Any, Any] = {v: placed.state for v, placed in self.fields.items()}
        for d in sorted(_derivatives(e), key=str):
            v: Any = d.expr
            if v not in self.fields:
                continue  # of an expression: taken with it
            counts: dict[Any, int] = dict(d.variable_count)  # type: ignore[arg-type]
            orders = tuple(int(counts.get(s, 0)) for s in self.fields[v].coordinates)
            name = f"D_{v.func.__name__}_" + "_".join(map(str, orders))
            array = marks.setdefault((v, orders), unknown(name, shape=self._shape(v)))
            stands[d] = unknown(name, *v.args)
            arrays[stands[d]] = array
        e = e.xreplace(stands)
        own = self.fields[u].coordinates
        spans = {s: Span(0, self.axes[s].size) for s in own}

        def leaf(symbol: Any, at: Spans) -> Any:
            if any(x != Span(0, self.axes[s].size) for s, x in at.items()):
                raise DeclarationError(
                    f"exponential steps: {symbol} stands where it is not taken at the nodes, in {e}"
                )
            return arrays.get(symbol, symbol)

        fourier = frozenset(_derivatives(e))
        return Evaluator(own, self.axes, 2, leaf, fourier=fourier)(e, spans)

    def _shape(self, v: Any) -> tuple[int, ...]:
        return tuple(self.axes[s].size for s in self.fields[v].coordinates)


def _none(placed: Placed) -> Orders:
    return (0,) * len(placed.coordinates)


def _derivatives(e: Any) -> set[Any]:
    return e.atoms(sympy.Derivative)


def _moving(e: Any) -> list[Any]:
    """What in an expression is not the same everywhere: fields, coordinates, values at nodes."""
    found = [u for u in e.atoms(AppliedUndef) if is_field(u)]
    found += [p for p in e.atoms(Parameter) if p.shape]
    return [*found, *e.atoms(Coordinate)]


def _varies(e: Any) -> bool:
    return bool(_moving(e)) or t in e.free_symbols

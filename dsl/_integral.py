"""Integrals over coordinates: of the whole domain, between limits, and cumulative ones."""

from __future__ import annotations

from typing import Any

import sympy

from ._arrays import as_expression
from ._coordinates import Coordinate
from ._errors import DeclarationError
from ._symbols import ArrayOperators, D, is_complex


class Integral(ArrayOperators, sympy.Expr):
    """The integral of an expression over a coordinate; the whole domain, if no limits are given."""

    is_commutative = True
    is_complex = True

    def __new__(cls, expression: sympy.Expr, symbol: Coordinate, *limits: sympy.Expr) -> Integral:
        return super().__new__(cls, expression, symbol, *limits)

    def _eval_is_real(self) -> bool | None:
        return None if is_complex(self) else True

    @property
    def expression(self) -> Any:
        """What is integrated."""
        return self.args[0]

    @property
    def coordinate(self) -> Coordinate:
        """The coordinate over which it is."""
        return self.args[1]  # type: ignore[return-value]

    @property
    def limits(self) -> tuple[Any, ...]:
        """The lower and the upper limit; none, for the whole domain."""
        return self.args[2:]

    @property
    def free_symbols(self) -> set[sympy.Basic]:
        inside = self.expression.free_symbols - {self.coordinate}
        return inside.union(*(limit.free_symbols for limit in self.limits))

    def _eval_derivative(self, symbol: sympy.Expr) -> sympy.Expr:
        if symbol == self.coordinate:
            return self.expression if symbol in self.limits[1:] else sympy.S.Zero
        return Integral(D(self.expression, symbol), *self.args[1:])  # type: ignore[arg-type]

    def _sympystr(self, printer: Any) -> str:
        inside, s = printer._print(self.expression), self.coordinate.name
        if not self.limits:
            return f"integral({inside}, {s})"
        low, high = map(printer._print, self.limits)
        return f"integral({inside}, ({s}, {low}, {high}))"

    def _latex(self, printer: Any) -> str:
        low, high = map(printer._print, self.limits) if self.limits else ("", "")
        s = printer._print(self.coordinate)
        return rf"\int_{{{low}}}^{{{high}}} {printer._print(self.expression)} \, d{s}"


def integral(expression: Any, *over: Any) -> sympy.Expr:
    """The integral of an expression over coordinates.

    Each of `over` is a coordinate, for its whole domain; or ``(s, low, high)`` with numbers; or
    ``(s, low, s)``, the integral up to each place.

    >>> import sciml as sm
    >>> s = sm.coordinate("s")
    >>> u = sm.unknown("u", sm.t, s)
    >>> sm.integral(u**2, s), sm.integral(u, (s, 0, s))
    (integral(u**2, s), integral(u, (s, 0, s)))
    """
    result = as_expression(expression)
    if not over:
        raise DeclarationError("integral: over which coordinate? integral(u, s)")
    for item in over:
        symbol, *limits = item if isinstance(item, tuple) else (item,)
        if not isinstance(symbol, Coordinate) or len(limits) not in (0, 2):
            raise DeclarationError(
                f"integral: a coordinate s or a tuple (s, low, high), not {item!r}"
            )
        low_and_high = [as_expression(limit) for limit in limits]
        if limits and not low_and_high[0].is_number:
            raise DeclarationError(f"integral: the lower limit is a number, not {limits[0]}")
        if limits and not (low_and_high[1].is_number or low_and_high[1] == symbol):
            raise DeclarationError(
                f"integral: the upper limit is a number or {symbol} itself, not {limits[1]}"
            )
        result = Integral(result, symbol, *low_and_high)
    return result

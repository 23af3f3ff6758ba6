"""Coordinates of space, and expressions at a place: ``u.at(s=0)``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import sympy

from ._arrays import as_expression
from ._errors import DeclarationError
from ._symbols import ArrayOperators, check_name, is_complex, t


class Coordinate(sympy.Symbol):
    """A direction of space: the fields are functions of it."""

    __slots__ = ("description", "unit")

    def __new__(
        cls, name: str, *, unit: str | None = None, description: str = "", **assumptions: Any
    ) -> Coordinate:
        self = sympy.Symbol.__xnew__(cls, name, **{"real": True, **assumptions})
        self.unit, self.description = unit, description
        return self

    def __getnewargs_ex__(self) -> tuple:
        return (self.name,), {"unit": self.unit, "description": self.description}

    def __setstate__(self, state: Any) -> None:
        pass  # everything travels in `__getnewargs_ex__`

    def __getstate__(self) -> None:
        return None


def coordinate(name: str, *, unit: str | None = None, description: str = "") -> Coordinate:
    """One coordinate of space, over which `System(domain=...)` says where it goes.

    >>> import sciml as sm
    >>> s = sm.coordinate("s")
    >>> sm.D(sm.unknown("u", sm.t, s), s, s)
    Derivative(u, (s, 2))
    """
    check_name(name)
    return Coordinate(name, unit=unit, description=description)


def coordinates(names: str | Iterable[str], **metadata: Any) -> tuple[Coordinate, ...]:
    """Several coordinates at once: ``x, y = coordinates("x y")``.

    >>> import sciml as sm
    >>> sm.coordinates("x y")
    (x, y)
    """
    found = re.split(r"[\s,]+", names.strip()) if isinstance(names, str) else list(names)
    return tuple(coordinate(name, **metadata) for name in found)


class At(ArrayOperators, sympy.Expr):
    """An expression where a coordinate has a given value."""

    is_commutative = True
    is_complex = True

    def __new__(cls, expression: sympy.Expr, symbol: Coordinate, place: sympy.Expr) -> At:
        return super().__new__(cls, expression, symbol, place)

    def _eval_is_real(self) -> bool | None:
        return None if is_complex(self) else True

    @property
    def expression(self) -> sympy.Expr:
        """What is taken there."""
        return self.args[0]  # type: ignore[return-value]

    @property
    def coordinate(self) -> Coordinate:
        """The coordinate that is held fixed."""
        return self.args[1]  # type: ignore[return-value]

    @property
    def place(self) -> sympy.Expr:
        """Its value."""
        return self.args[2]  # type: ignore[return-value]

    @property
    def free_symbols(self) -> set[sympy.Basic]:
        inside = self.expression.free_symbols - {self.coordinate}
        return inside | self.place.free_symbols

    def _eval_derivative(self, symbol: sympy.Expr) -> sympy.Expr:
        if symbol == self.coordinate:
            return sympy.S.Zero
        return at(self.expression.diff(symbol), **{self.coordinate.name: self.place})

    def _places(self) -> tuple[sympy.Expr, dict[Coordinate, sympy.Expr]]:
        """The bare expression, and all places at which it is taken."""
        inside, places = self.expression, {self.coordinate: self.place}
        while isinstance(inside, At):
            places[inside.coordinate] = inside.place
            inside = inside.expression
        return inside, places

    def _sympystr(self, printer: Any) -> str:
        inside, places = self._places()
        shown = printer._print(inside)
        if inside.is_Add or inside.is_Mul or inside.is_Pow:
            shown = f"({shown})"
        given = ", ".join(f"{s.name}={printer._print(v)}" for s, v in reversed(places.items()))
        return f"{shown}.at({given})"

    def _latex(self, printer: Any) -> str:
        inside, places = self._places()
        given = ", ".join(
            f"{printer._print(s)} = {printer._print(v)}" for s, v in reversed(places.items())
        )
        return rf"\left. {printer._print(inside)} \right|_{{{given}}}"


def at(expression: Any, **places: Any) -> sympy.Expr:
    """An expression at a place: ``at(D(u, s), s=0)``; of an unknown also ``u.at(s=0)``.

    Raises `DeclarationError` for a name that is no coordinate of the expression.

    >>> import sciml as sm
    >>> s = sm.coordinate("s")
    >>> u = sm.unknown("u", sm.t, s)
    >>> sm.at(sm.D(u, s) + u, s=0)
    u.at(s=0) + Derivative(u, s).at(s=0)
    """
    expression = as_expression(expression)
    known = {symbol.name: symbol for symbol in expression.atoms(Coordinate)}
    for name, place in places.items():
        if name not in known:
            if expression.is_number or not expression.free_symbols - {t}:
                continue  # the same everywhere
            listed = ", ".join(sorted(known)) or "none"
            raise DeclarationError(
                f"at({expression}, {name}=...): its coordinates are {listed}; t is no place"
            )
        expression = _placed(expression, known[name], as_expression(place))
    return expression


def _placed(expression: sympy.Expr, symbol: Coordinate, place: sympy.Expr) -> sympy.Expr:
    """Sums and products are taken apart, so that what does not vary stays outside."""
    if not expression.has(symbol):
        return expression
    if expression == symbol:
        return place
    if expression.is_Add or expression.is_Mul:
        terms: Any = expression.args
        return expression.func(*(_placed(a, symbol, place) for a in terms))
    return At(expression, symbol, place)


def is_field(expression: Any) -> bool:
    """Whether an unknown is a function of coordinates."""
    return any(isinstance(a, Coordinate) for a in getattr(expression, "args", ()))

"""Equations: two sides and the place where they were written."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import sympy

from ._arrays import as_expression
from ._errors import DeclarationError
from ._origin import Origin, caller
from ._show import latex, text


@dataclasses.dataclass(frozen=True, eq=False)
class Equation:
    """``lhs = rhs``, with its origin. Made by `Eq`.

    `written` is what the user wrote, where this is a part of it.
    """

    lhs: sympy.Expr
    rhs: sympy.Expr
    origin: Origin
    written: str = ""

    def __str__(self) -> str:
        return self.written or f"{text(self.lhs)} = {text(self.rhs)}"

    def __repr__(self) -> str:
        return f"Eq({text(self.lhs)}, {text(self.rhs)})"

    def _repr_latex_(self) -> str:
        return f"$${latex(self.lhs)} = {latex(self.rhs)}$$"

    def replace(self, *, lhs: Any = None, rhs: Any = None) -> Equation:
        """The same equation with a side rewritten; it keeps its origin."""
        return Equation(
            self.lhs if lhs is None else lhs,
            self.rhs if rhs is None else rhs,
            self.origin,
            self.written,
        )


def Eq(lhs: Any, rhs: Any = 0, *, origin: Origin | None = None) -> Equation:
    """The equation ``lhs = rhs`` (``lhs = 0`` if there is one side), and where it was written.

    Raises `DeclarationError` for a side that is not an expression.

    >>> import sciml as sm
    >>> x = sm.unknown("x")
    >>> sm.Eq(sm.D(x), -x)
    Eq(D(x), -x)
    """
    origin = caller() if origin is None else origin
    sides = []
    for side in (lhs, rhs):
        try:
            sides.append(as_expression(side))
        except DeclarationError as error:
            raise DeclarationError(f"Eq at {origin}: {error}") from None
        except (sympy.SympifyError, TypeError, ValueError):
            raise DeclarationError(
                f"Eq at {origin}: {side!r} is not an expression of symbols and numbers"
            ) from None
    return Equation(sides[0], sides[1], origin)


def as_equations(items: Iterable[Any]) -> tuple[Equation, ...]:
    """Equations out of a nest of `Eq`, sympy equations, matrices (equal to zero) and iterables."""
    found: list[Equation] = []
    for item in items:
        if isinstance(item, Equation):
            found.append(item)
        elif isinstance(item, sympy.Eq):
            found.append(Eq(item.lhs, item.rhs))
        elif isinstance(item, sympy.MatrixBase):
            found.extend(Eq(entry, 0) for entry in item)
        elif isinstance(item, Iterable) and not isinstance(item, (str, Mapping)):
            found.extend(as_equations(item))
        elif isinstance(item, (bool, sympy.logic.boolalg.BooleanAtom)):
            raise DeclarationError(
                f"an equation was evaluated to {item}: write sm.Eq(left, right), which keeps both "
                "sides as they are; neither == nor sympy.Eq does"
            )
        else:
            shown = text(item) if isinstance(item, sympy.Basic) else repr(item)
            raise DeclarationError(
                f"{shown} is not an equation: a System takes Eq(left, right), and lists of them"
            )
    return tuple(found)

"""Derivatives of odd order from the third on, between ends: differences biased to where waves come.

Central ones leave short waves undamped, and what closes them at the ends makes some grow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sympy
from sympy.core.function import AppliedUndef

from .._boundary import Conditions
from .._coordinates import Coordinate
from .._split import slope_by
from .._symbols import t
from .._system import System

# Beyond it, eigenvalues of the differences with what closes them have large positive real parts.
_HIGHEST = 7  # order of a biased difference


def dispersed(
    system: System,
    owners: Sequence[Any],
    orders: Mapping[Any, int],
    conditions: Conditions,
    asked: Callable[[sympy.Derivative], Any],
) -> dict[Any, tuple[str, sympy.Expr]]:
    """The derivatives that are biased, and to which side: the sign of the speed of their waves.

    Waves come from the end that has one condition more, as the sign of the coefficient asks for.
    Where the derivative is the highest of the field, and its coefficient of one sign everywhere.
    """
    found: dict[Any, tuple[str, sympy.Expr]] = {}
    for equation, owner in zip(system.equations, owners, strict=True):
        rest: Any = equation.rhs - equation.lhs
        for s in (s for s in getattr(owner, "args", ()) if isinstance(s, Coordinate)):
            n, counts = orders.get((owner, s), 0), conditions.count(owner)
            highest = sympy.Derivative(owner, (s, n))
            more = counts.get((s, 0), 0) - counts.get((s, 1), 0)
            if n < 3 or n % 2 == 0 or not more or asked(highest) == "central":
                continue
            coefficient = slope_by(rest, highest)
            if coefficient != 0 and _one_signed(coefficient):
                found[highest] = "biased", sympy.Integer(more)
    return found


def _one_signed(e: sympy.Expr) -> bool:
    """Whether an expression has the same sign at all places and times, or is a constant."""
    varies = e.atoms(AppliedUndef, Coordinate) or e.has(t)
    return not varies or bool(e.is_positive or e.is_negative)


def biased_order(order: int) -> int:
    """The order of a biased difference beside schemes of some order: by one higher."""
    return min(order + 1, _HIGHEST)


def biased_reach(n: int, order: int, speed: Any) -> tuple[int, int]:
    """The nodes before and behind in a biased difference for the derivative of an odd order n.

    One more on the side from which waves come, by the sign of their speed: the leading error is
    then a derivative of the next even order, which damps.

    >>> from sciml.dsl.lower.dispersion import biased_reach
    >>> biased_reach(3, 4, -1)
    (3, 4)
    """
    near = (n + biased_order(order)) // 2 - 1
    return (near + 1, near) if speed > 0 else (near, near + 1)

"""Open rates: highest derivatives that no equation gives by itself, and the equations they are in.

A simplified system writes ``D(x) = g + sum(c * D(y))`` where its equations hold a combination of
D(x) and D(y) alone; y is then fixed by an algebraic equation, and its rate is open.
"""

from __future__ import annotations

from typing import Any

import sympy

from ._symbols import t
from ._system import System


def open_rates(system: System) -> dict[Any, Any]:
    """The open rates of a simplified system, by the states that they are the rates of."""
    given = {e.lhs for e in system.equations}
    survey = system.survey
    return {
        state_below(top): top for u in survey.unknowns if (top := survey.highest.get(u)) is not None
        and top not in given
    }  # fmt: skip


def state_below(top: Any) -> Any:
    """The state that a highest derivative is the rate of."""
    order = int(top.derivative_count)
    return top.expr if order == 1 else sympy.Derivative(top.expr, (t, order - 1))


def open_parts(expression: Any, rates: Any) -> tuple[dict[Any, Any], Any]:
    """The coefficients of open rates in the right side of a simplified equation, and the rest."""
    coefficients: dict[Any, Any] = {}
    rest = []
    for term in sympy.Add.make_args(expression):
        held = [rate for rate in rates if term.has(rate)]
        if held:
            coefficients[held[0]] = coefficients.get(held[0], sympy.S.Zero) + term / held[0]
        else:
            rest.append(term)
    return coefficients, sympy.Add(*rest)

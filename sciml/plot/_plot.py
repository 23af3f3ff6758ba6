"""The verb `plot`."""

from __future__ import annotations

from typing import Any

from sciml.data import Series
from sciml.dsl import DeclarationError
from sciml.solvers import Solution
from sciml.train import Fit


def plot(result: Solution | Fit | Series, *expressions: Any, ax: Any = None) -> Any:
    """Draws a solution or a batch of series over time, or a fit with what it was trained on.

    Arguments: `result`, a `Solution`, a `Fit` or a `data.Series`; `expressions` of a solution to
    draw, or channels of the series, all if none is given; `ax`, matplotlib axes to draw in, those
    of a new figure if not given. Returns the axes. Raises `DeclarationError` for anything else, and
    for expressions of a fit.

    >>> import sciml as sm
    >>> x = sm.unknown("x", unit="m")
    >>> sol = sm.solve(sm.System(sm.Eq(sm.D(x), -x), initial={x: 1}), t=(0, 2))
    >>> sm.plot(sol, x, 2 * x).get_ylabel()
    ''
    >>> sm.plot(sol, x).get_ylabel()
    'm'
    """
    if isinstance(result, Solution | Series):
        return result.plot(*expressions, ax=ax)
    if not isinstance(result, Fit):
        raise DeclarationError(
            f"plot draws a Solution, a Fit or a Series, not {type(result).__name__}: solve the "
            "model first, plot(solve(system, t=(0, 10)))"
        )
    if expressions:
        raise DeclarationError(
            "plot draws a fit with what was measured; other expressions are drawn from its "
            "solution, plot(fitted.solve(t=(0, 10)), x + y)"
        )
    return result.plot(ax=ax)

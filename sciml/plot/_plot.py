"""The verb `plot`."""

from __future__ import annotations

from typing import Any

from sciml.data import Series
from sciml.dsl import DeclarationError
from sciml.solvers import Solution
from sciml.train import Fit, Surrogate


def plot(result: Solution | Fit | Series | Surrogate, *expressions: Any, ax: Any = None) -> Any:
    """Draws a solution or a batch of series over time, or a fit with what it was trained on.

    Arguments: `result`, a `Solution`, a `Fit`, a `data.Series`, or a `Surrogate`, which is drawn
    beside the solver for an unseen initial field; `expressions` of a solution to draw, channels of
    the series, all if none is given, or the field of a surrogate; `ax`, matplotlib axes to draw in,
    those of a new figure if not given. Returns the axes. Raises `DeclarationError` for anything
    else, and for expressions of a fit.

    >>> import sciml as sm
    >>> x = sm.unknown("x", unit="m")
    >>> sol = sm.solve(sm.System(sm.Eq(sm.D(x), -x), initial={x: 1}), t=(0, 2))
    >>> sm.plot(sol, x, 2 * x).get_ylabel()
    ''
    >>> sm.plot(sol, x).get_ylabel()
    'm'
    """
    if isinstance(result, Solution | Series | Surrogate):
        return result.plot(*expressions, ax=ax)
    if not isinstance(result, Fit):
        raise DeclarationError(
            f"plot draws a Solution, a Fit, a Series or a Surrogate, not {type(result).__name__}: "
            "solve the model first, plot(solve(system, t=(0, 10)))"
        )
    if expressions:
        raise DeclarationError(
            "plot draws a fit with what was measured; other expressions are drawn from its "
            "solution, plot(fitted.solve(t=(0, 10)), x + y)"
        )
    return result.plot(ax=ax)

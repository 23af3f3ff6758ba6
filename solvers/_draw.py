"""Pictures of solutions."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from sciml.dsl import SciMLError

_FINE = 500  # points of a smooth curve, where there is dense output


def axes(ax: Any = None) -> Any:
    """The given axes, or those of a new figure. Needs matplotlib, the extra `plot`."""
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise SciMLError("drawing needs matplotlib: pip install 'sciml-jax[plot]'") from None
    return plt.subplots(figsize=(6.4, 3.6), layout="constrained")[1]


def draw_solution(solution: Any, expressions: tuple, ax: Any) -> Any:
    """Curves over time, one for each element of each expression."""
    ax = axes(ax)
    model = solution.model
    wanted = expressions or tuple(s.symbol for s in model.states if not _is_rate(s.symbol))
    shown = solution
    if solution.interpolation is not None:
        first, last = solution.interpolation.t0, solution.interpolation.t1
        shown = solution(jnp.linspace(first, last, _FINE))
    for expression in wanted:
        values = np.asarray(shown[expression])
        name = _name(expression)
        if values.ndim == 0:
            values = np.full(shown.ts.shape, values)
        flat = values.reshape(len(values), -1)
        for column in range(flat.shape[1]):
            label = name if values.ndim == 1 else (f"{name}[{column}]" if column < 8 else None)
            ax.plot(np.asarray(shown.ts), flat[:, column], label=label)
    units = {getattr(model.expression(e), "unit", None) for e in wanted}
    if len(units) == 1 and (unit := units.pop()):
        ax.set_ylabel(unit)
    ax.set_xlabel("t")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _is_rate(symbol: Any) -> bool:
    return bool(getattr(symbol, "is_Derivative", False))


def _name(expression: Any) -> str:
    from sciml.dsl import expression_text

    return expression if isinstance(expression, str) else expression_text(expression)

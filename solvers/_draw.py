"""Pictures of solutions."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from sciml.dsl import SciMLError, expression_text

_FINE = 500  # points of a smooth curve, where there is dense output
_LABELS = 8  # elements of an array that are named


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
        first, last = (np.asarray(end) for end in solution.interval())
        shown = solution(jnp.linspace(np.max(first), np.min(last), _FINE))
    ts = np.asarray(shown.ts)
    for expression in wanted:
        values = np.asarray(shown[expression])
        if getattr(model.expression(expression), "name", None) in model.parameters:
            own = values.shape[ts.ndim - 1 :]
            values = np.broadcast_to(np.expand_dims(values, ts.ndim - 1), (*ts.shape, *own))
        _draw_elements(ax, ts, values, _name(expression))
    units = {getattr(model.expression(e), "unit", None) for e in wanted}
    if len(units) == 1 and (unit := units.pop()):
        ax.set_ylabel(unit)
    ax.set_xlabel("t")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _draw_elements(ax: Any, ts: np.ndarray, values: np.ndarray, name: str) -> None:
    """A colour for each element, and in it a curve for each member of a batch."""
    scalar = values.ndim == ts.ndim
    times = ts.reshape(-1, ts.shape[-1])
    curves = values.reshape(*times.shape, -1)
    for element in range(curves.shape[-1]):
        label = name if scalar else (f"{name}[{element}]" if element < _LABELS else None)
        (line,) = ax.plot(times[0], curves[0, :, element], label=label)
        for time, curve in zip(times[1:], curves[1:, :, element], strict=True):
            ax.plot(time, curve, color=line.get_color())


def _is_rate(symbol: Any) -> bool:
    return bool(getattr(symbol, "is_Derivative", False))


def _name(expression: Any) -> str:
    return expression if isinstance(expression, str) else expression_text(expression)

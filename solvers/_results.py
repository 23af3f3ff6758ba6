"""What went wrong in a solve, in the user's symbols."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffrax as dfx
import jax
import numpy as np
from jax.core import Tracer

from sciml.dsl import Fault, Model, ModelError, SolveError, check_complete, name_of


def is_traced(*trees: Any) -> bool:
    """Whether any leaf is a tracer: values are then not known yet."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(trees))


def refuse_missing(model: Model) -> None:
    """Raises `ModelError` for every value that is missing or not finite."""
    given = model.program.initial_expressions
    start = model.initial if is_traced(model.initial) else np.asarray(model.initial)
    initial = {s.name: s.name in given or _is_sound(start[s.slice]) for s in model.states}
    initial |= _complex(model, initial)
    values = {name: _is_sound(value) for name, value in model.parameters.items()}
    if all(initial.values()) and all(values.values()):
        return
    faults = check_complete(
        model.system, given_initial=_sound(initial), given_values=_sound(values)
    )
    declared = {name_of(key) for key in model.system.initial}
    for name in sorted(declared & (initial.keys() - _sound(initial))):
        faults.append(_unsound(f"initial value of {name}", "initial", name))
    missing = " ".join(fault.summary for fault in faults)
    for name in values.keys() - _sound(values):
        if f"The parameter {name} has no value." not in missing:
            faults.append(_unsound(f"value of {name}", "values", name))
    if faults:
        raise ModelError(faults, model.system.name)


def _complex(model: Model, initial: dict[str, bool]) -> dict[str, bool]:
    """Whether the initial values of complex unknowns are sound: both of their parts are."""
    parts = model.program.complex
    found: dict[str, bool] = {}
    for s in model.states if parts is not None else ():
        symbol = model.whole(s.name)
        found[symbol] = found.get(symbol, True) and initial[s.name]
    return found


def _sound(known: dict[str, bool]) -> set[str]:
    return {name for name, good in known.items() if good}


def _is_sound(value: Any) -> bool:
    return is_traced(value) or bool(np.all(np.isfinite(value)))


def _unsound(what: str, field: str, name: str) -> Fault:
    return Fault(
        f"The {what} is not finite.",
        expected="finite numbers",
        cure=f"give {field}={{{name}: ...}} numbers that are finite",
    )


def diagnose(
    model: Model,
    raw: dfx.Solution,
    last_t: Any,
    last_y: Any,
    *,
    implicit: bool = False,
    algebraic: Callable[[Model, Any, np.ndarray], str | None] = lambda *_: None,
) -> SolveError | None:
    """The error that a finished solve deserves, or None if it is good. Needs concrete values.

    `implicit` tells that the solver was made for stiff equations; `algebraic` finds what is wrong
    with algebraic equations.
    """
    time, state = float(last_t), np.asarray(last_y)
    good = raw.result == dfx.RESULTS.successful
    if bool(good) and np.all(np.isfinite(state)):
        return None
    steps = int(np.asarray(raw.stats["num_steps"]))
    start = float(np.asarray(raw.t0))
    reason, cure = _reason(model, time, state, elapsed=time - start, implicit=implicit)
    if said := algebraic(model, time, state):
        reason = said
        cure = f"end before t = {time:.6g}, or see whether the model has a solution beyond"
    head = f"the solve stopped at t = {time:.6g} after {steps} steps"
    if bool(raw.result == dfx.RESULTS.max_steps_reached):
        head += ", all that max_steps allows"
    elif not bool(good):
        head += f" ({str(dfx.RESULTS[raw.result]).split('. ')[0].rstrip('.')})"
    return SolveError(f"{head}: {reason}\n  cure: {cure}")


_NO_NUMBER = (
    "look for square roots, logarithms, powers and divisions whose argument leaves its range"
)
_LONG = (
    'if it is stiff, use solver="stiff"; if it is long or oscillates, raise max_steps; or loosen '
    "rtol and atol"
)
_LATE = "raise max_steps if it is long or oscillates; or loosen rtol and atol"
_SINGLE = "; in float32 stiff systems may stall: jax.config.update('jax_enable_x64', True)"


def _reason(
    model: Model, time: float, state: np.ndarray, *, elapsed: float, implicit: bool
) -> tuple[str, str]:
    """What happened there, to which unknown, by which equation; and what to do."""
    bad = _not_finite(model, state)
    if bad:
        return f"{_names(bad)} became infinite or not a number.{_equations(model, bad)}", (
            "take smaller steps, adaptive ones, or an earlier end"
        )
    rate = np.asarray(model.vector_field(time, jax.numpy.asarray(state)))
    if bad := _not_finite(model, rate):
        said = f"the rate of {_names(bad)} is infinite or not a number there."
        return said + _equations(model, bad), _NO_NUMBER
    rate = np.where(model.program.algebraic, 0.0, rate)  # residuals, there
    change = np.abs(rate) / (np.abs(state) + 1e-12 * (1 + np.max(np.abs(state))))
    worst = int(np.argmax(change))
    piece = next(p for p in model.states if p.slice.start <= worst < p.slice.stop)
    value, slope = state[worst], rate[worst]
    if value * slope > 0 and change[worst] * elapsed > _BLOWN_UP:
        said = f"{piece.name} grows without bound: it is {value:.6g}, with the rate {slope:.6g}."
        cure = f"end before t = {time:.6g}, or mend the equation" + _finer(model, piece)
        return said + _equations(model, [piece]), cure
    ahead = state + rate * 1e-6 * (elapsed or 1.0)
    if bad := _not_finite(model, np.asarray(model.vector_field(time, jax.numpy.asarray(ahead)))):
        said = f"the rate of {_names(bad)} is infinite or not a number just beyond."
        return said + _equations(model, bad), _NO_NUMBER
    said = f"{piece.name} changes fastest there: it is {value:.6g}, with the rate {slope:.6g}."
    return said, (_LATE if implicit else _LONG) + (_SINGLE if model.dtype == np.float32 else "")


_BLOWN_UP = 1e6  # growth rates times the time that has passed: a pole is near


def _finer(model: Model, piece: Any) -> str:
    """What helps a front of a field that central differences do not resolve."""
    for e, words in model.schemes.items():
        of_first = len(e.variables) == 1 and name_of(e.expr) == model.whole(piece.name)
        if of_first and words.startswith("central"):
            s = e.variables[0]
            return (
                f"; where a front is too steep for the grid, take more nodes of {s}, or "
                'scheme="weno"'
            )
    return ""


def _not_finite(model: Model, values: np.ndarray) -> list[Any]:
    return [p for p in model.states if not np.all(np.isfinite(values[p.slice]))]


def _names(pieces: list[Any]) -> str:
    names = [p.name for p in pieces]
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more


_MOST = 6


def _equations(model: Model, pieces: list[Any]) -> str:
    """The first equation that determines one of these unknowns, and where it was written."""
    unknowns = [getattr(p.symbol, "expr", p.symbol) for p in pieces]
    for equation in model.program.system.equations:
        if getattr(equation.lhs, "expr", None) in unknowns:
            text = str(_declared(model, equation))
            short = text if len(text) < 200 else f"{text[:200]} ..."
            return f"\n    {short}\n    written at {equation.origin}"
    return ""


def _declared(model: Model, equation: Any) -> Any:
    """An equation of fields as it was written, and not as it stands on the grid."""
    if model.program.fields is None:
        return equation
    found = [e for e in model.system.equations if e.origin == equation.origin]
    return found[0] if len(found) == 1 else equation

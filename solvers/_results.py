"""What went wrong in a solve, in the user's symbols."""

from __future__ import annotations

from typing import Any

import diffrax as dfx
import jax
import numpy as np

from sciml.dsl import Fault, Model, ModelError, SolveError


def is_traced(*trees: Any) -> bool:
    """Whether any leaf is a tracer: values are then not known yet."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees))


def refuse_missing(model: Model) -> None:
    """Raises `ModelError` for every value that is missing or not finite."""
    faults = []
    given = model.program.initial_expressions
    for piece in model.states:
        value = model.initial[piece.slice]
        if piece.name in given or is_traced(value) or np.all(np.isfinite(value)):
            continue
        faults.append(
            Fault(
                f"The initial value of {piece.name} is missing or not a number.",
                received=str(np.asarray(value).reshape(piece.shape)),
                cure=f"give it where the system is declared or solved: initial={{{piece.name}: ...}}",
            )
        )
    for name, value in model.parameters.items():
        if not is_traced(value) and not np.all(np.isfinite(value)):
            faults.append(
                Fault(
                    f"The parameter {name} has no value, or one that is not a number.",
                    received=str(np.asarray(value)),
                    cure=f"give it where the system is declared or solved: values={{{name}: ...}}",
                )
            )
    if faults:
        raise ModelError(faults, model.system.name)


def diagnose(model: Model, raw: dfx.Solution, last: tuple[Any, Any]) -> SolveError | None:
    """The error that a finished solve deserves, or None if it is good. Needs concrete values."""
    time, state = float(np.asarray(last[0])[-1]), np.asarray(last[1])[-1]
    good = raw.result == dfx.RESULTS.successful
    if bool(good) and np.all(np.isfinite(state)):
        return None
    steps = int(np.asarray(raw.stats["num_steps"]))
    where = "" if not np.isfinite(time) else f" at t = {time:.6g}"
    culprits = _culprits(model, time, state)
    stopped = f"the solve stopped{where} after {steps} steps"
    if bool(raw.result == dfx.RESULTS.max_steps_reached):
        reason = f"max_steps = {steps} was reached before the end; {culprits}"
        cure = (
            'if the solution blows up there, stop earlier; if it is stiff, use solver="stiff"; '
            "if it is long, raise max_steps; or loosen rtol and atol"
        )
    elif not np.all(np.isfinite(state)):
        reason = culprits
        cure = (
            "the model leaves the range in which its equations are defined, or grows without bound"
        )
    else:
        reason = f"{dfx.RESULTS[raw.result]} {culprits}"
        cure = "try another solver or tolerances; throw=False returns what was computed"
    return SolveError(f"{stopped}: {reason}.\n  cure: {cure}")


def _culprits(model: Model, time: float, state: np.ndarray) -> str:
    """The unknowns that are not finite, or the one that changes fastest for its size."""
    bad = [p.name for p in model.states if not np.all(np.isfinite(state[p.slice]))]
    if bad:
        return f"{', '.join(bad)} became infinite or not a number"
    if not np.isfinite(time):
        return "no step was accepted"
    rate = np.abs(np.asarray(model.vector_field(time, jax.numpy.asarray(state))))
    if not np.all(np.isfinite(rate)):
        names = [p.name for p in model.states if not np.all(np.isfinite(rate[p.slice]))]
        return f"the rate of {', '.join(names)} became infinite or not a number"
    speed = rate / (np.abs(state) + 1e-12 * (1 + np.max(np.abs(state))))
    worst = int(np.argmax(speed))
    piece = next(p for p in model.states if p.slice.start <= worst < p.slice.stop)
    return (
        f"{piece.name} changes fastest there: it is {state[worst]:.6g}, with the rate "
        f"{np.asarray(rate)[worst]:.6g}"
    )

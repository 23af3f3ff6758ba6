"""The verb `solve`: initial value problems of compiled models, on Diffrax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sciml.dsl import DeclarationError, Model, System, compile

from ._choose import choose_controller, choose_solver, choose_tolerances
from ._results import diagnose, is_traced, refuse_missing
from ._solution import Solution

_POINTS = 201  # saved times, where none are asked for
_DENSE = 10_000_000  # numbers that dense output may hold by default


def solve(
    system: System | Model,
    t: Any,
    *,
    initial: Mapping[Any, Any] | None = None,
    values: Mapping[Any, Any] | None = None,
    saveat: Any = None,
    solver: Any = None,
    rtol: float | None = None,
    atol: float | None = None,
    stepsize_controller: Any = None,
    dt0: Any = None,
    adjoint: Any = None,
    max_steps: int | None = 4096,
    throw: bool = True,
) -> Solution:
    """Solves a system (or a compiled model) from its initial values over ``t = (t0, t1)``.

    Arguments
      system: what to solve; a `System` is compiled first, once.
      t: (t0, t1), in the model's unit of time; t1 < t0 is refused.
      initial, values: initial values and parameters that replace the declared ones, by symbol or
        name; plain numbers or traced arrays.
      saveat: times to save at, or a ``diffrax.SaveAt``; by default 201 times, with dense output
        for small systems.
      solver: a Diffrax solver, "stiff", or None for the choice in ``solvers/_choose.py``.
      rtol, atol: tolerances of the step control; 1e-6 and 1e-8 in float64, 1e-4 and 1e-6 in
        float32 if not given.
      stepsize_controller, dt0, adjoint, max_steps: as in ``diffrax.diffeqsolve``.
      throw: whether a failed solve raises; otherwise `Solution.result` tells.

    Returns a `Solution`, indexed by any expression of the declared symbols.

    Raises `ModelError` for faults in the model, `SolveError` for a failure at run time, which
    names the unknown that went wrong.

    >>> import sciml as sm
    >>> x, k = sm.unknown("x"), sm.parameter("k", 0.5)
    >>> decay = sm.System(sm.Eq(sm.D(x), -k * x), initial={x: 1})
    >>> sol = sm.solve(decay, t=(0, 2))
    >>> round(float(sol[x][-1]), 4)
    0.3679
    """
    model = compile(system) if isinstance(system, System) else system
    if not isinstance(model, Model):
        raise DeclarationError(f"solve takes a System or a Model, not {type(system).__name__}")
    if initial or values:
        model = model.replace(initial=initial, values=values)
    refuse_missing(model)
    t0, t1 = interval(t, model.dtype)
    rtol, atol = choose_tolerances(rtol, atol, model.dtype)
    controller = choose_controller(stepsize_controller, solver, rtol, atol)
    solver = choose_solver(solver, rtol)
    if isinstance(controller, dfx.ConstantStepSize) and dt0 is None:
        raise DeclarationError("a constant step size needs the step: give dt0=...")
    if adjoint is None:
        adjoint = dfx.RecursiveCheckpointAdjoint()
    sub, dense = _saving(saveat, model, t0, t1, max_steps)
    raw = integrate(model, t0, t1, dt0, sub, dense, solver, controller, adjoint, max_steps)
    (last_t, saved_t), (last_y, saved_y) = raw.ts, raw.ys
    if not is_traced(raw.ts, raw.ys, raw.result):
        if throw and (error := diagnose(model, raw, (last_t, last_y))) is not None:
            raise error
        if saved_t is not None and sub.steps:
            saved = np.isfinite(saved_t)
            saved_t, saved_y = saved_t[saved], saved_y[saved]
    elif throw:
        bad = (raw.result != dfx.RESULTS.successful) | ~jnp.all(jnp.isfinite(last_y))
        message = (
            "the solve failed; run it without jit, vmap and grad to see which unknown went wrong"
        )
        last_y, saved_y = eqx.error_if((last_y, saved_y), bad, message)
    if saved_t is None:
        saved_t, saved_y = last_t, last_y
    return Solution(model, saved_t, saved_y, raw.interpolation, raw.stats, raw.result)


class Field(eqx.Module):
    """A compiled vector field for Diffrax; parameters and networks travel in `args`."""

    program: Any = eqx.field(static=True)

    def __call__(self, t: Any, y: Array, args: Any) -> Array:
        constants, networks = args
        return self.program.rhs(jnp.asarray(t, y.dtype), y, constants, networks)


@eqx.filter_jit
def integrate(
    model: Model,
    t0: Array,
    t1: Array,
    dt0: Any,
    sub: dfx.SubSaveAt,
    dense: bool,
    solver: dfx.AbstractSolver,
    controller: Any,
    adjoint: Any,
    max_steps: int | None,
) -> dfx.Solution:
    """One call of Diffrax, jitted; never raises: the result says how it went.

    The first entry of ``ts`` and ``ys`` is the last step, the second what `sub` asks for.
    """
    return dfx.diffeqsolve(
        dfx.ODETerm(Field(model.program)),
        solver,
        t0,
        t1,
        dt0,
        model.state(),
        args=model.constants(),
        saveat=dfx.SaveAt(subs=[dfx.SubSaveAt(t1=True), sub], dense=dense),
        stepsize_controller=controller,
        adjoint=adjoint,
        max_steps=max_steps,
        throw=False,
    )


def interval(t: Any, dtype: Any) -> tuple[Array, Array]:
    """Checked ends of an interval of time, as arrays."""
    try:
        t0, t1 = t
    except (TypeError, ValueError):
        raise DeclarationError(f"t is (t0, t1), the interval to solve over, not {t!r}") from None
    if not is_traced(t0, t1):
        t0, t1 = float(t0), float(t1)
        if not (np.isfinite(t0) and np.isfinite(t1)):
            raise DeclarationError(f"t = ({t0}, {t1}): both ends must be finite numbers")
        if t1 <= t0:
            raise DeclarationError(
                f"t = ({t0:g}, {t1:g}): the end must be after the start; to go back in time, "
                "replace t by -t in the equations"
            )
    return jnp.asarray(t0, dtype), jnp.asarray(t1, dtype)


def _saving(
    saveat: Any, model: Model, t0: Array, t1: Array, max_steps: int | None
) -> tuple[dfx.SubSaveAt, bool]:
    """What to save, and whether to keep dense output."""
    if saveat is None:
        stages = 10
        small = max_steps is not None and model.program.size * max_steps * stages <= _DENSE
        return dfx.SubSaveAt(ts=t0 + (t1 - t0) * _unit_grid(_POINTS, model.dtype)), small
    if isinstance(saveat, dfx.SaveAt):
        if not isinstance(saveat.subs, dfx.SubSaveAt | None):
            raise DeclarationError(
                "saveat: several SubSaveAt are not taken here; solve twice, or index"
            )
        return saveat.subs or dfx.SubSaveAt(t1=True), bool(saveat.dense)
    times = jnp.asarray(saveat, model.dtype)
    if not is_traced(times, t0, t1):
        if times.ndim != 1 or times.size == 0 or not np.all(np.isfinite(times)):
            raise DeclarationError("saveat is a list of finite times, or a diffrax.SaveAt")
        if np.any(np.diff(times) < 0):
            raise DeclarationError("saveat: the times must be in increasing order")
        if times[0] < t0 or times[-1] > t1:
            raise DeclarationError(
                f"saveat: times from {float(times[0]):g} to {float(times[-1]):g} lie outside "
                f"t = ({float(t0):g}, {float(t1):g})"
            )
    return dfx.SubSaveAt(ts=times), False


def _unit_grid(points: int, dtype: Any) -> Array:
    return jnp.asarray(np.linspace(0.0, 1.0, points), dtype)

"""The verb `solve`: initial value problems of compiled models, on Diffrax."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sciml.dsl import DeclarationError, Model, Scheme, System
from sciml.dsl.codegen.backwards import quick_backwards

from ._choose import (
    as_number,
    bounded,
    choose_adjoint,
    choose_controller,
    choose_solver,
    choose_tolerances,
    is_split,
    method_of,
    refuse_backsolve,
    refuse_costs_of_waves,
    wants_waves,
    with_loops_for,
    with_mass_of,
    with_tolerances_of,
)
from ._diffusion import LOCAL, solver_for_diffusion
from ._gauss_adjoint import GaussAdjoint
from ._initial import fold, needs, start
from ._noise import (
    choose_sde_controller,
    choose_sde_solver,
    draw_path,
    first_sde_step,
    is_stepwise,
    terms_and_args,
)
from ._on_nodes import OutputOnNodes, on_nodes, quiet_about_complex
from ._paths import with_controls
from ._results import diagnose, is_traced, refuse_missing
from ._reversible_adjoint import ReversibleAdjoint
from ._solution import Solution
from ._steady import compiled, steady
from ._step_limit import check_step
from .regularise._cost import unweighted
from .regularise._count import RULE
from .regularise._refuse import cost_key
from .regularise._run import diffeqsolve
from .stepping._chebyshev import RKC
from .stepping._exponential import with_equal_steps
from .stepping._first_step import first_stiff_step, is_ours
from .stepping._waves import SpectralRates, spectral_rates
from .stepping._written_out import written_out

_POINTS = 201  # saved times, where none are asked for
_DENSE = 10_000_000  # numbers that dense output may hold by default
_TRACED = "the solve failed; run it without jit, vmap and grad to see which unknown went wrong"


def solve(
    system: System | Model,
    t: Any = None,
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
    key: Any = None,
    controls: Mapping[Any, Any] | None = None,
    regularise: Any = None,
    noise: str = "refinable",
    progress: bool = False,
    grid: Mapping[Any, Any] | None = None,
    order: int = 4,
    scheme: Scheme = None,
) -> Solution:
    """Solves a system (or a compiled model) from its initial values over ``t = (t0, t1)``.

    Arguments
      system: what to solve; a `System` is compiled first, once.
      t: (t0, t1), in the model's unit of time; t1 < t0 is refused. Without it, a system that has
        no rates is solved as by `steady`.
      initial, values: initial values and parameters that replace the declared ones, by symbol or
        name; plain numbers or traced arrays.
      saveat: times to save at, or a ``diffrax.SaveAt``; by default 201 times, with dense output
        for small systems.
      solver: a Diffrax solver, "stiff", "auto", or None for the choice in
        ``solvers/_choose.py``; `Solution.method` tells which it was, and why.
      rtol, atol: tolerances of the step control; 1e-6 and 1e-8 in float64, 1e-4 and 1e-6 in
        float32 if not given.
      stepsize_controller, dt0, max_steps: as in ``diffrax.diffeqsolve``.
      adjoint: how derivatives go through the solve: "checkpointed" (if not given), "direct",
        "backsolve", "gauss", "forward", "reversible", or an adjoint of Diffrax; compared in the
        reference.
      throw: whether a failed solve raises; otherwise `Solution.result` tells.
      key: of jax.random, for the path of a system with noise, and for the time of a local cost.
      controls: the path of each control, by symbol or name: a pair of times and values, or what
        `path` made of them.
      regularise: a cost of the solve, of `solver_cost` or `taylor_cost`, or a tuple of several; it
        is then in ``sol.stats["cost"]``, to be added to a loss.
      noise: "refinable", where a key is one path whatever the steps are; or "stepwise", drawn step
        by step, where another `dt0` is another path: several times faster, for constant steps.
      progress: whether a bar shows how far the solve is.
      grid, order, scheme: of a system of fields, how it is put on a grid; as for `compile`.

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
    model = compiled(system, grid, order, scheme)
    for option, given in (("initial", initial), ("values", values)):
        if not isinstance(given, Mapping | None):
            kind = type(given).__name__
            raise DeclarationError(f"{option} is a mapping from symbols, {{x: 1.0}}, not a {kind}")
    if not (max_steps is None or (isinstance(max_steps, int) and max_steps > 0)):
        raise DeclarationError(f"max_steps is a positive whole number or None, not {max_steps!r}")
    if t is None:
        timed = {
            "saveat": saveat, "solver": solver, "stepsize_controller": stepsize_controller,
            "dt0": dt0, "adjoint": adjoint, "key": key, "controls": controls,
            "regularise": regularise, "progress": progress or None,
        }  # fmt: skip
        _refuse_timed(model, [name for name, given in timed.items() if given is not None])
        return steady(model, initial=initial, values=values, throw=throw)
    if initial or values:
        model = model.replace(initial=initial, values=values)
    model = with_controls(model, controls)
    refuse_missing(model)
    t0, t1 = interval(t, model.dtype)
    rtol, atol = choose_tolerances(rtol, atol, model.dtype)
    noisy = model.program.noise is not None
    given, many = solver, 0.0
    if noisy:
        solver = choose_sde_solver(solver, model)
        controller = choose_sde_controller(stepsize_controller, solver)
        if dt0 is None:
            dt0 = first_sde_step(t0, t1)
    else:
        asked = solver, stepsize_controller, dt0, adjoint, regularise
        if all(option is None for option in asked) and not any(model.program.algebraic):
            solver, many = solver_for_diffusion(model, t0, t1, rtol)
        local = LOCAL if many and isinstance(solver, RKC) else 1.0
        controller = choose_controller(stepsize_controller, solver, local * rtol, local * atol)
        solver = with_tolerances_of(choose_solver(solver, rtol, model), controller)
    adjoint = choose_adjoint(adjoint)
    refuse_backsolve(adjoint, solver)
    refuse_costs_of_waves(regularise, solver)
    solver = with_loops_for(solver, adjoint)
    step, dt0 = dt0, first_step(dt0, controller, model.dtype)
    check_step(model, solver, controller, dt0, (t0, t1))
    stepwise = is_stepwise(noise, controller, adjoint)
    driver = None
    if noisy:
        driver = draw_path(model, key, t0, t1, dt0, solver, stepwise=stepwise)
    what, dense = saving(saveat, model, t0, t1, adjoint, max_steps)
    if not (dense or what.steps):
        adjoint, max_steps = bounded(adjoint, max_steps, controller, (*t, step), model.dtype)
    traced = is_traced(model, t0 + t1, what, dt0, solver, controller)
    whole = what if traced else _with_last_step(what, adjoint)
    y0 = start(model, t0, throw=throw) if needs(model) else None
    key = cost_key(regularise, key, noisy=noisy)

    def run(solver: Any) -> dfx.Solution:
        return integrate(
            model, t0, t1, dt0, whole, dense, solver, controller, adjoint, max_steps, driver,
            regularise=unweighted(regularise), key=key, y0=y0, progress=progress,
        )  # fmt: skip

    raw, method = run(solver), method_of(given, solver, model, many)
    explicit = given is None and not noisy and y0 is None and not many
    if explicit and not traced and _used_up(raw) and isinstance(controller, dfx.PIDController):
        method = f"Switching, after {max_steps} steps of {type(solver).__name__} that were too few"
        raw = run(choose_solver("auto", rtol, model))
    implicit = is_ours(solver) or isinstance(solver, dfx.AbstractImplicitSolver)
    ts, ys = _saved(model, raw, whole is what, throw, steps=bool(what.steps), implicit=implicit)
    return Solution(model, ts, ys, raw.interpolation, raw.stats, raw.result, method)


def _refuse_timed(model: Model, given: list[str]) -> None:
    """Raises `DeclarationError` where an interval of time is missing."""
    if not all(model.program.algebraic) or model.program.couplings:
        raise DeclarationError(
            "the system has rates: give the interval, solve(system, t=(0, 1)), or take "
            "sm.steady(system) for the state in which they are zero"
        )
    if given:
        raise DeclarationError(f"{given[0]} is for a solve over an interval of time, t=(t0, t1)")


def _used_up(raw: dfx.Solution) -> bool:
    """Whether a solve ended for want of steps."""
    return bool(raw.result == dfx.RESULTS.max_steps_reached)


def _with_last_step(what: dfx.SubSaveAt, adjoint: dfx.AbstractAdjoint) -> dfx.SubSaveAt:
    """The same, with the last step saved after it: it tells how the solve went.

    Not with `BacksolveAdjoint`, which would integrate back over the empty interval between two
    equal times.
    """
    if what.t1 or what.steps or isinstance(adjoint, dfx.BacksolveAdjoint):
        return what
    return eqx.tree_at(lambda w: w.t1, what, True)


def _saved(
    model: Model, raw: dfx.Solution, asked: bool, throw: bool, *, steps: bool, implicit: bool
) -> tuple[Array, Array]:
    """What was asked for, out of what was saved, or an error; `asked` for the last row too?"""
    ts: Any = raw.ts
    ys: Any = raw.ys
    if is_traced(ts, ys, raw.result):
        if throw:  # where it went well, all rows were reached, but room may be left for more steps
            last = jnp.sum(jnp.isfinite(ts)) - 1 if steps else -1
            bad = (raw.result != dfx.RESULTS.successful) | ~jnp.all(jnp.isfinite(ys[last]))
            ys = eqx.error_if(ys, bad, _TRACED)
        return ts, ys
    reached = np.isfinite(ts)
    last = int(np.count_nonzero(reached)) - 1
    if throw:
        worst = _worst(model, raw, last)
        seen = np.max(np.abs(np.asarray(ys)[: last + 1]), axis=0, initial=0.0)

        def algebraic(model: Model, t: Any, y: np.ndarray) -> str | None:
            return fold(model, t, y, np.maximum(seen, np.abs(np.asarray(model.state()))))

        error = diagnose(model, raw, *worst, implicit=implicit, algebraic=algebraic)
        if error is not None:
            raise error
    if last < ts.size - 1:  # stopped early, or room was left for more steps
        reached[last] &= asked
        return jnp.asarray(np.asarray(ts)[reached]), jnp.asarray(np.asarray(ys)[reached])
    return (ts, ys) if asked else (ts[:-1], ys[:-1])


def _worst(model: Model, raw: dfx.Solution, last: int) -> tuple[Any, Any]:
    """The first saved time and state that are no numbers, or the last ones that were reached."""
    if last < 0:
        return raw.t0, model.state()
    ts, ys = np.asarray(raw.ts), np.asarray(raw.ys)
    finite = np.all(np.isfinite(ys[: last + 1]), axis=1)
    row = last if np.all(finite) else int(np.argmin(finite))
    return ts[row], ys[row]


class Field(eqx.Module):
    """A compiled vector field for Diffrax; parameters and networks travel in `args`."""

    program: Any = eqx.field(static=True)

    def __call__(self, t: Any, y: Array, args: Any) -> Array:
        constants, networks = args
        rates = self.program.rhs
        if self.program.fields is not None:
            rates = quick_backwards(rates)
        return rates(jnp.asarray(t, y.dtype), y, constants or (), networks)


def _spectral(t: Any, y: Array, rates: SpectralRates) -> Array:
    """The rates of Fourier's coefficients."""
    return rates(t, y)


def _nothing(t: Any, y: Array, args: Any) -> Array:
    """The explicit part of a system that is solved implicitly."""
    return jnp.zeros_like(y)


@eqx.filter_jit
def integrate(
    model: Model,
    t0: Array,
    t1: Array,
    dt0: Any,
    what: dfx.SubSaveAt,
    dense: bool,
    solver: dfx.AbstractSolver,
    controller: Any,
    adjoint: Any,
    max_steps: int | None,
    driver: dfx.AbstractPath | None = None,
    regularise: Any = None,
    key: Any = None,
    y0: Array | None = None,
    progress: bool = False,
) -> dfx.Solution:
    """One call of Diffrax, jitted; never raises: the result says how it went."""
    if driver is None:
        constants, networks = model.constants()
        args = (constants or None, networks)  # diffrax 0.7's BacksolveAdjoint takes no empty tuple
        terms: Any = dfx.ODETerm(Field(model.program))
        if is_split(solver):
            terms = dfx.MultiTerm(dfx.ODETerm(_nothing), terms)
    else:
        terms, args = terms_and_args(model, driver)
    start = model.state() if y0 is None else y0
    solver = with_mass_of(solver, model)
    if driver is None and not regularise and not model.networks:
        solver = written_out(
            solver, size=model.program.size, controller=controller, adjoint=adjoint
        )
    waves = None
    if wants_waves(solver):
        args, terms = spectral_rates(model), dfx.ODETerm(_spectral)
        waves, start = args.waves, args.waves.forward(start)
        controller, what = on_nodes(controller, what, waves)
        if isinstance(controller, dfx.ConstantStepSize):
            args, dt0 = with_equal_steps(args, t0, t1, dt0)
    chosen = dt0 is None and isinstance(controller, dfx.PIDController) and is_ours(solver)
    if chosen:
        dt0 = first_stiff_step(terms, t0, t1, start, args, controller, model.mass)
    with quiet_about_complex():
        raw = diffeqsolve(
            terms,
            solver,
            t0,
            t1,
            dt0,
            start,
            args,
            regularise=regularise,
            key=key,
            saveat=dfx.SaveAt(subs=what, dense=dense),
            stepsize_controller=controller,
            adjoint=adjoint,
            max_steps=max_steps,
            throw=False,
            progress=progress,
        )
    if waves is not None and dense:
        output = OutputOnNodes(raw.interpolation, waves)
        raw = dataclasses.replace(raw, interpolation=output)
    if not chosen or "num_evaluations" not in raw.stats:
        return raw
    taken = RULE + raw.stats["num_evaluations"]
    return dataclasses.replace(raw, stats={**raw.stats, "num_evaluations": taken})


def interval(t: Any, dtype: Any) -> tuple[Array, Array]:
    """Checked ends of an interval of time, as arrays."""
    try:
        t0, t1 = t
    except (TypeError, ValueError):
        raise DeclarationError(f"t is (t0, t1), the interval to solve over, not {t!r}") from None
    if not is_traced(t0, t1):
        t0, t1 = as_number("t0 in t = (t0, t1)", t0), as_number("t1 in t = (t0, t1)", t1)
        if not (np.isfinite(t0) and np.isfinite(t1)):
            raise DeclarationError(f"t = ({t0}, {t1}): both ends must be finite numbers")
        if t1 <= t0:
            raise DeclarationError(
                f"t = ({t0:g}, {t1:g}): the end must be after the start; to go back in time, "
                "replace t by -t in the equations"
            )
    return jnp.asarray(t0, dtype), jnp.asarray(t1, dtype)


def first_step(dt0: Any, controller: Any, dtype: Any) -> Array | None:
    """The first step as an array, so that another one compiles nothing again."""
    if dt0 is None:
        if isinstance(controller, dfx.ConstantStepSize):
            raise DeclarationError("a constant step size needs the step: give dt0=...")
        return None
    if isinstance(controller, dfx.StepTo):
        raise DeclarationError("diffrax.StepTo holds the steps already: leave dt0 away")
    if not is_traced(dt0) and not 0 < as_number("dt0", dt0) < np.inf:
        raise DeclarationError(f"dt0 = {dt0}: the first step is a positive number")
    return jnp.asarray(dt0, dtype)


def saving(
    saveat: Any, model: Model, t0: Array, t1: Array, adjoint: Any, max_steps: int | None
) -> tuple[dfx.SubSaveAt, bool]:
    """What to save, and whether to keep dense output."""
    if saveat is None:
        stages = 10
        small = max_steps is not None and model.program.size * max_steps * stages <= _DENSE
        without = dfx.BacksolveAdjoint | ReversibleAdjoint | GaussAdjoint
        small &= not isinstance(adjoint, without)
        return dfx.SubSaveAt(ts=t0 + (t1 - t0) * _unit_grid(_POINTS, model.dtype)), small
    if not isinstance(saveat, dfx.SaveAt):
        return dfx.SubSaveAt(ts=_times(saveat, t0, t1, model.dtype)), False
    what = dfx.SubSaveAt(t1=True) if saveat.subs is None else saveat.subs
    if not isinstance(what, dfx.SubSaveAt):
        raise DeclarationError("saveat: several SubSaveAt are not taken here; solve once for each")
    if what.fn is not _SAVE_STATE:
        raise DeclarationError("saveat: fn is not taken here; ask the solution, sol[x + y]")
    if saveat.solver_state or saveat.controller_state or saveat.made_jump:
        raise DeclarationError("saveat: the states of solver and controller are not kept here")
    if isinstance(adjoint, dfx.BacksolveAdjoint) and (saveat.dense or what.steps):
        raise DeclarationError(
            "BacksolveAdjoint keeps neither dense output nor steps: save at times, saveat=[...]"
        )
    if max_steps is None and (saveat.dense or what.steps):
        raise DeclarationError(
            "dense output and steps need a bound on the number of steps: give max_steps=..."
        )
    if what.ts is not None:
        times = _times(what.ts, t0, t1, model.dtype)
        what = eqx.tree_at(lambda w: w.ts, what, times)
    return what, bool(saveat.dense)


_SAVE_STATE = dfx.SubSaveAt(t1=True).fn


def _times(saveat: Any, t0: Array, t1: Array, dtype: Any) -> Array:
    """Checked times to save at."""
    if is_traced(saveat, t0, t1):
        return jnp.asarray(saveat, dtype)
    try:
        times = np.asarray(saveat, dtype)
    except (TypeError, ValueError):
        times = np.asarray(np.nan)
    if times.ndim != 1 or times.size == 0 or not np.all(np.isfinite(times)):
        raise DeclarationError(
            f"saveat is a list of finite times, [0, 0.5, 1], or a diffrax.SaveAt, not {saveat!r}"
        )
    if np.any(np.diff(times) < 0):
        raise DeclarationError("saveat: the times must be in increasing order")
    start, end = float(t0), float(t1)
    if times[0] < start or times[-1] > end:
        raise DeclarationError(
            f"saveat: times from {times[0]:g} to {times[-1]:g} lie outside t = ({start:g}, {end:g})"
        )
    return jnp.asarray(times)


def _unit_grid(points: int, dtype: Any) -> Array:
    return jnp.asarray(np.linspace(0.0, 1.0, points), dtype)

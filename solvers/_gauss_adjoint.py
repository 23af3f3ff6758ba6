"""Gradients by adjoint equations along the solution that was kept: stable where it is stiff."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import diffrax as dfx
import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jaxtyping import Array

from sciml.dsl import DeclarationError

from ._adjoint_equations import Backward
from ._kept_solution import Kept, rows_of
from .linear import StructuredSolver, transposed
from .regularise._count import uncounted
from .regularise._keep import count_of
from .regularise._watch import unwatched
from .stepping._exponential import ETDRK4
from .stepping._first_step import is_ours

_LOOP = functools.partial(eqxi.while_loop, kind="lax")
_SAVE_STATE = dfx.SubSaveAt(t1=True).fn


class GaussAdjoint(dfx.AbstractAdjoint):
    """Gradients by adjoint equations, with the solution kept and parameters by Gauss quadrature.

    With values saved at times t_i, whose cotangents are g_i, and J the Jacobian along the solution
    that the steps forth have left, from their dense output::

        lambda' = -J(t, y(t))^T lambda,   lambda jumps by g_i at t_i
        dL/dy0 = lambda(t0),   dL/dp = integral of lambda^T df/dp

    They are solved backwards by the solver that was used forwards, with the transposed structure of
    the Jacobian. The solution itself is not solved backwards, which is unstable where it is stiff;
    the parameters are no part of the equations, and cost a product by df/dp at a few points of each
    step. Algebraic equations are taken too: rows where the mass matrix is zero.

    The gradient is by initial values, parameters and networks, to the tolerance, and not that of
    the steps taken. Dense output is stored for `max_steps` steps: give as few as are needed.

    Arguments
      rtol, atol: of the adjoint equations, `atol` relative to the largest cotangent; those of the
        step control if not given. At constant steps the steps backwards are those forwards.
      points: of the quadrature, on each step; as many as the order of the solver asks for, if not
        given.
      throw: whether a gradient raises where the adjoint equations could not be solved; otherwise it
        is nan.

    Raises `DeclarationError` for events, dense output, steps, noise and unlimited steps.

    >>> import diffrax as dfx, jax, sciml as sm
    >>> x, k = sm.unknown("x"), sm.parameter("k", 0.5)
    >>> decay = sm.System(sm.Eq(sm.D(x), -k * x), initial={x: 1})
    >>> end = lambda v: sm.solve(decay, t=(0, 2), values={k: v}, adjoint="gauss")[x][-1]
    >>> round(float(jax.grad(end)(0.5)), 3)
    -0.736

    Source: Hindmarsh and others, SUNDIALS (2005), section 2.1, for the interpolated solution;
    Norcliffe, Deisenroth, Faster training of neural ODEs using Gauss-Legendre quadrature (2023),
    section 3, for the quadrature; Cao, Li, Petzold, Serban, Adjoint sensitivity analysis for
    differential-algebraic equations (2003), section 3, for algebraic equations.
    """

    rtol: float | None = eqx.field(default=None, static=True)
    atol: float | None = eqx.field(default=None, static=True)
    points: int | None = eqx.field(default=None, static=True)
    throw: bool = eqx.field(default=True, static=True)

    def __check_init__(self) -> None:
        for name in ("rtol", "atol", "points"):
            given = getattr(self, name)
            if given is not None and not given > 0:
                raise DeclarationError(f"{name} of the Gauss adjoint is positive, not {given!r}")

    def loop(
        self,
        *,
        args: Any,
        terms: Any,
        solver: Any,
        stepsize_controller: Any,
        event: Any,
        saveat: Any,
        t0: Any,
        t1: Any,
        dt0: Any,
        max_steps: Any,
        throw: Any,
        init_state: Any,
        passed_solver_state: Any,
        passed_controller_state: Any,
        progress_meter: Any,
    ) -> Any:
        """As Diffrax calls it, in place of its own loop."""
        _refuse(terms, solver, event, saveat, max_steps)
        if passed_solver_state or passed_controller_state:
            raise _refused(
                "takes up no earlier solve: leave solver_state and controller_state away"
            )
        t0, t1, dt0, saveat, stepsize_controller, solver = eqxi.nondifferentiable(
            (t0, t1, dt0, saveat, stepsize_controller, solver), msg=_NO_TIMES
        )
        y0, control = init_state.y, jax.lax.stop_gradient(init_state.controller_state)
        init_state = dataclasses.replace(
            init_state, y=None, solver_state=None, controller_state=control
        )
        final, stats = _solve(
            (y0, args, terms),
            loop=self._loop,
            fixed={
                "solver": solver,
                "stepsize_controller": stepsize_controller,
                "event": event,
                "saveat": saveat,
                "t0": t0,
                "t1": t1,
                "dt0": dt0,
                "max_steps": max_steps,
                "progress_meter": progress_meter,
            },
            init_state=init_state,
            adjoint=self,
        )
        ys = final.save_state.ys
        final = jax.tree.map(lambda a: jax.lax.stop_gradient(a) if eqx.is_array(a) else a, final)
        stats = {**stats, **count_of(final, solver, stepsize_controller)}
        return eqx.tree_at(lambda s: s.save_state.ys, final, ys), stats


@eqx.filter_custom_vjp
def _solve(y__args__terms: Any, *, loop: Any, fixed: Any, init_state: Any, adjoint: Any) -> Any:
    return _forth(y__args__terms, loop, fixed, init_state, dense=False)


@_solve.def_fwd
def _solve_forth(
    perturbed: Any, y__args__terms: Any, *, loop: Any, fixed: Any, init_state: Any, adjoint: Any
) -> Any:
    final, stats = _forth(y__args__terms, loop, fixed, init_state, dense=True)
    residuals = final.dense_ts, final.dense_infos, final.save_state.ts
    bare = dataclasses.replace(final, dense_ts=None, dense_infos=None, dense_save_index=None)
    return (bare, stats), residuals


def _forth(y__args__terms: Any, loop: Any, fixed: Any, init_state: Any, *, dense: bool) -> Any:
    """The loop of Diffrax, with dense output where the way back needs it."""
    y0, args, terms = y__args__terms
    solver, saveat, tnext = fixed["solver"], fixed["saveat"], init_state.tnext
    solver_state = solver.init(terms, fixed["t0"], tnext, y0, args)
    init_state = dataclasses.replace(init_state, y=y0, solver_state=solver_state)
    if dense:
        most = fixed["max_steps"]
        info = eqx.filter_eval_shape(
            solver.step, terms, fixed["t0"], tnext, y0, args, solver_state, init_state.made_jump
        )[2]
        full = lambda leaf: jnp.full((most, *leaf.shape), jnp.inf, leaf.dtype)  # noqa: E731
        init_state = dataclasses.replace(
            init_state,
            dense_ts=jnp.full(most + 1, jnp.inf, fixed["t0"].dtype),
            dense_infos=jax.tree.map(full, info),
            dense_save_index=0,
        )
        saveat = dfx.SaveAt(subs=saveat.subs, dense=True)
    final, stats = loop(
        **{**fixed, "saveat": saveat},
        args=args,
        terms=terms,
        init_state=init_state,
        inner_while_loop=_LOOP,
        outer_while_loop=_LOOP,
    )
    controller = uncounted(fixed["stepsize_controller"])
    if final.made_jump is not False and not _is_adaptive(controller):
        raise _refused(
            "takes jumps of the rate between adaptive steps alone, and here steps are given by "
            f"{type(controller).__name__}: take diffrax.ClipStepSizeController with jump_ts=..."
        )
    return final, stats


@_solve.def_bwd
def _solve_back(
    residuals: Any,
    cotangents: Any,
    perturbed: Any,
    y__args__terms: Any,
    *,
    loop: Any,
    fixed: Any,
    init_state: Any,
    adjoint: Any,
) -> Any:
    ends, infos, ts = residuals
    _, args, terms = y__args__terms
    params, static = eqx.partition((terms, args), (perturbed[2], perturbed[1]))
    solver = _backwards(adjoint, unwatched(fixed["solver"]))
    back = Backward(
        kept=Kept(ends, infos, solver.interpolation_cls),
        join=lambda params: eqx.combine(params, static),
        params=params,
        solver=solver,
        controller=_control(adjoint, uncounted(fixed["stepsize_controller"])),
        points=solver.order(None) // 2 + 1 if adjoint.points is None else adjoint.points,
        max_steps=fixed["max_steps"],
    )
    of_ys = jax.tree.map(
        lambda y, of: jnp.zeros_like(y) if of is None else of,
        init_state.save_state.ys,
        cotangents[0].save_state.ys,
    )
    rows, at_start = rows_of(ts, of_ys, fixed["t0"])
    largest = [jnp.max(jnp.abs(of)) for of in jax.tree.leaves(rows.of_ys)]
    unit = functools.reduce(jnp.maximum, largest)
    unit = jnp.where(unit == 0, 1, unit)  # equations are linear: tolerances are for their unit
    scaled = lambda by, tree: jax.tree.map(lambda a: a * by.astype(a.dtype), tree)  # noqa: E731
    rows = eqx.tree_at(lambda r: r.of_ys, rows, scaled(1 / unit, rows.of_ys))
    of_y, of_params, good = back.solve(rows, jax.tree.map(jnp.zeros_like, at_start))
    of_y, of_params = scaled(unit, (of_y, of_params))
    of_y = jax.tree.map(jnp.add, of_y, at_start)
    of_y, (of_terms, of_args) = _checked((of_y, of_params), good, adjoint.throw)
    return of_y, of_args, of_terms


def _backwards(adjoint: GaussAdjoint, solver: Any) -> Any:
    """The solver for the adjoint equations: with transposed structures, and their tolerances."""

    def fixed(part: Any) -> Any:
        if isinstance(part, StructuredSolver):
            return StructuredSolver(transposed(part.structure))
        if not _is_stepper(part):
            return part
        if part.structure is not None:
            part = dataclasses.replace(part, structure=transposed(part.structure))
        names = {field.name for field in dataclasses.fields(part)}
        given = {"rtol": adjoint.rtol, "atol": adjoint.atol}
        given = {name: g for name, g in given.items() if name in names and g is not None}
        return dataclasses.replace(part, **given)

    special = lambda part: isinstance(part, StructuredSolver) or _is_stepper(part)  # noqa: E731
    return jax.tree.map(fixed, solver, is_leaf=special)


def _is_stepper(part: Any) -> bool:
    return isinstance(part, dfx.AbstractSolver) and is_ours(part)


def _control(adjoint: GaussAdjoint, controller: Any) -> Any:
    """The step control of the adjoint equations; None, for the steps that were taken forwards."""
    given = {"rtol": adjoint.rtol, "atol": adjoint.atol}
    given = {name: g for name, g in given.items() if g is not None}
    if _is_adaptive(controller):
        return dataclasses.replace(_plain(controller), **given)
    if given:
        raise _refused(
            f"takes the steps of {type(controller).__name__} backwards too, without tolerances: "
            "leave rtol and atol away, or take diffrax.PIDController"
        )
    return None


def _plain(controller: Any) -> Any:
    """The controller without times at which steps have to end."""
    clipped = isinstance(controller, dfx.ClipStepSizeController)
    return controller.controller if clipped else controller


def _is_adaptive(controller: Any) -> bool:
    return isinstance(_plain(controller), dfx.PIDController)


def _checked(result: Any, good: Array, throw: bool) -> Any:
    """The gradients, where the adjoint equations were solved."""
    for leaf in jax.tree.leaves(result):
        good = good & jnp.all(jnp.isfinite(leaf))
    if throw:
        return eqx.error_if(result, ~good, _FAILED)
    return jax.tree.map(lambda a: jnp.where(good, a, jnp.nan), result)


_FAILED = (
    "the adjoint equations could not be solved: max_steps were too few on the way back, or their "
    'Jacobian is singular. Take adjoint="checkpointed", a larger max_steps, or '
    "sm.GaussAdjoint(rtol=...) with a looser tolerance"
)
_NO_TIMES = (
    "the Gauss adjoint has no gradient by times (t0, t1, dt0, those of saveat and of the "
    'controller), nor by what a solver holds: take adjoint="checkpointed"'
)


def _refuse(terms: Any, solver: Any, event: Any, saveat: Any, max_steps: Any) -> None:
    """Raises `DeclarationError` for what the way back cannot carry."""
    what = saveat.subs
    plain = isinstance(what, dfx.SubSaveAt) and what.fn is _SAVE_STATE
    inner = getattr(terms, "term", terms)  # Diffrax wraps it, for the direction of time
    for fault, why in (
        (
            not isinstance(inner, dfx.ODETerm),
            "takes ordinary differential equations of one term, without noise",
        ),
        (
            isinstance(solver, ETDRK4),
            "does not know the transpose of the linear part that ETDRK4 was given",
        ),
        (
            not _is_diagonal(solver),
            "takes a mass matrix that is diagonal: rates in combinations have no adjoint here",
        ),
        (event is not None, "has no gradient of the time of an event"),
        (saveat.dense, "returns no dense output: save at times"),
        (not plain, "saves states alone: solve without fn and several SubSaveAt"),
        (plain and what.steps, "has no gradient of steps, whose times are no one's: save at times"),
        (
            saveat.solver_state or saveat.controller_state or saveat.made_jump,
            "has no gradient of the states of solver and controller",
        ),
        (max_steps is None, "keeps dense output, for which it needs a bound: give max_steps=..."),
    ):
        if fault:
            raise _refused(why)


def _is_diagonal(solver: Any) -> bool:
    while isinstance(solver, dfx.AbstractWrappedSolver):
        solver = solver.solver
    mass = getattr(solver, "mass", None)
    return mass is None or getattr(mass, "ndim", None) == 1


def _refused(why: str) -> DeclarationError:
    return DeclarationError(f'the Gauss adjoint {why}; or take adjoint="checkpointed"')

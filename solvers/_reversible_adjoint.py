"""Gradients by taking the steps back: memory that does not depend on their number."""

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

from ._reversible import as_reversible, minus, plus
from ._saved_rows import Rows, Saved
from ._step_back import step_back

_LOOP = functools.partial(eqxi.while_loop, kind="lax")
_SAVE_STATE = dfx.SubSaveAt(t1=True).fn


class ReversibleAdjoint(dfx.AbstractAdjoint):
    """Exact gradients of the steps taken, which are found again from the last state backwards.

    A solver that is not reversible is wrapped in `Reversible`; ``diffrax.ReversibleHeun`` and
    `StormerVerlet` are as they are. Memory holds a few states, whatever the number of steps; where
    steps are adapted, it holds the time of each too, 8 bytes for each of `max_steps`.

    The gradient is by initial values, parameters and networks, and equals that of
    ``diffrax.RecursiveCheckpointAdjoint`` through the same steps up to rounding, which the way back
    magnifies: by 1/coupling a step, and by exp(k T) where a solution decays as exp(-k t) over a
    time T. It is checked: the way back has to end at the initial state.

    Arguments: `coupling`, of `Reversible`; `throw`, whether a gradient raises where the way back
    misses the initial state by more than the square root of rounding; otherwise it is nan.

    Raises `DeclarationError` for events, dense output, jumps and solvers that cannot be taken back.

    >>> import diffrax as dfx, jax, sciml as sm
    >>> x, k = sm.unknown("x"), sm.parameter("k", 0.5)
    >>> decay = sm.System(sm.Eq(sm.D(x), -k * x), initial={x: 1})
    >>> end = lambda v: sm.solve(decay, t=(0, 2), values={k: v}, adjoint="reversible")[x][-1]
    >>> round(float(jax.grad(end)(0.5)), 3)
    -0.736

    Source: McCallum and Foster, Efficient, accurate and stable gradients for neural ODEs (2024),
    arXiv:2410.11648, the backward pass.
    """

    coupling: float = eqx.field(default=0.999, static=True)
    throw: bool = eqx.field(default=True, static=True)

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
        _refuse(terms, event, saveat, stepsize_controller, max_steps)
        if passed_solver_state or passed_controller_state:
            raise _refused(
                "takes up no earlier solve: leave solver_state and controller_state away"
            )
        t0, t1, dt0, saveat, stepsize_controller = eqxi.nondifferentiable(
            (t0, t1, dt0, saveat, stepsize_controller), msg=_NO_TIMES
        )
        y0, controller_state = init_state.y, jax.lax.stop_gradient(init_state.controller_state)
        init_state = dataclasses.replace(
            init_state, y=None, solver_state=None, controller_state=controller_state
        )
        final, stats = _solve(
            (y0, args, terms),
            loop=self._loop,
            fixed={
                "solver": as_reversible(solver, coupling=self.coupling),
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
            throw=self.throw,
        )
        ys = final.save_state.ys
        final = jax.tree.map(lambda a: jax.lax.stop_gradient(a) if eqx.is_array(a) else a, final)
        return eqx.tree_at(lambda s: s.save_state.ys, final, ys), stats


@eqx.filter_custom_vjp
def _solve(y__args__terms: Any, *, loop: Any, fixed: Any, init_state: Any, throw: Any) -> Any:
    return _forth(y__args__terms, loop, fixed, init_state)[0]


@_solve.def_fwd
def _solve_forth(
    perturbed: Any, y__args__terms: Any, *, loop: Any, fixed: Any, init_state: Any, throw: Any
) -> Any:
    (final, stats), times = _forth(y__args__terms, loop, fixed, init_state)
    counted = lambda number: jnp.asarray(number).astype(jnp.int32)  # noqa: E731
    saved, steps = final.save_state, counted(final.num_accepted_steps)
    rows = Rows(counted(saved.save_index), counted(saved.saveat_ts_index))
    return (final, stats), (final.y, final.solver_state, steps, rows, times)


def _forth(y__args__terms: Any, loop: Any, fixed: Any, init_state: Any) -> tuple[Any, Any]:
    """The loop of Diffrax, and the ends of the steps where they do not follow from their number."""
    y0, args, terms = y__args__terms
    solver, saveat = fixed["solver"], fixed["saveat"]
    solver_state = solver.init(terms, fixed["t0"], init_state.tnext, y0, args)
    init_state = dataclasses.replace(init_state, y=y0, solver_state=solver_state)
    recorded = not isinstance(fixed["stepsize_controller"], dfx.ConstantStepSize | dfx.StepTo)
    if recorded:
        ends = jnp.full(fixed["max_steps"], jnp.inf, fixed["t0"].dtype)
        nothing = jnp.zeros((fixed["max_steps"], 0), ends.dtype)
        buffer = dataclasses.replace(init_state.save_state, ts=ends, ys=nothing)
        init_state = dataclasses.replace(init_state, save_state=(init_state.save_state, buffer))
        every = dfx.SubSaveAt(steps=True, fn=lambda t, y, args: nothing[0])
        saveat = dfx.SaveAt(subs=(saveat.subs, every))
    final, stats = loop(
        **{**fixed, "saveat": saveat},
        args=args,
        terms=terms,
        init_state=init_state,
        inner_while_loop=_LOOP,
        outer_while_loop=_LOOP,
    )
    if final.made_jump is not False:  # known at once, where no controller tells of jumps
        raise _refused("takes no jumps of the rate, behind which its steps back would begin")
    if not recorded:
        return (final, stats), None
    asked, every = final.save_state
    return (dataclasses.replace(final, save_state=asked), stats), every.ts


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
    throw: Any,
) -> Any:
    y1, state1, steps, rows, times = residuals
    y0, args, terms = y__args__terms
    params, static = eqx.partition((terms, args), (perturbed[2], perturbed[1]))
    join = lambda params: eqx.combine(params, static)  # noqa: E731
    solver, saved = fixed["solver"], _saved(fixed["saveat"].subs, cotangents, init_state)
    at = functools.partial(_time, fixed, init_state, times)

    def step(carry: tuple) -> tuple:
        number, rows, y, state, of_y, of_state, of_params = carry
        number = jnp.maximum(number - 1, 0)  # below 0 where a batch has members with more steps
        start, end = at(number), at(number + 1)
        y, state, dense, pull = step_back(solver, join, params, start, end, y, state)
        if saved.what.steps:
            of_row, rows = saved.after(number, rows)
            of_y = plus(of_y, of_row)

        def interpolate(dense: Any, time: Array) -> Any:
            return solver.interpolation_cls(t0=start, t1=end, **dense).evaluate(time)

        of_dense, rows = saved.within(number, start, interpolate, dense, rows)
        of_y, of_state, more = pull((of_y, of_state, of_dense))
        return number, rows, y, state, of_y, of_state, plus(of_params, more)

    of_y, rows = saved.at_the_end(steps, rows)
    zeros = jax.tree.map(jnp.zeros_like, (state1, params))
    carry = (steps, rows, y1, state1, of_y, *zeros)
    carry = jax.lax.while_loop(lambda carry: carry[0] > 0, step, carry)
    _, _, found, _, of_y, of_state, of_params = carry

    def init(y: Any, params: Any) -> Any:
        terms, args = join(params)
        return solver.init(terms, fixed["t0"], init_state.tnext, y, args)

    of_start, more = jax.vjp(init, y0, params)[1](of_state)
    of_y = plus(plus(of_y, of_start), saved.at_the_start(steps))
    result = _checked((of_y, plus(of_params, more)), found, y0, y1, throw)
    of_y, (of_terms, of_args) = result
    return of_y, of_args, of_terms


def _saved(what: dfx.SubSaveAt, cotangents: Any, init_state: Any) -> Saved:
    of_ys, ys = cotangents[0].save_state.ys, init_state.save_state.ys
    known = lambda y, of: jnp.zeros_like(y) if of is None else of  # noqa: E731
    return Saved(what, jax.tree.map(known, ys, of_ys))


def _time(fixed: Any, init_state: Any, times: Array | None, number: Array) -> Array:
    """When a step begins, by its number from 0; the end, for the number of steps."""
    t0, t1, controller = fixed["t0"], fixed["t1"], fixed["stepsize_controller"]
    if isinstance(controller, dfx.StepTo):
        return controller.ts[number]
    if times is not None:
        return jnp.where(number == 0, t0, times[number - 1])
    _, count, *_ = init_state.controller_state  # as ConstantStepSize spaces them after the first
    time = t0 + (t1 - t0) * (number.astype(t0.dtype) / count.astype(t0.dtype))
    time = jnp.where(number == 1, init_state.tnext, jnp.where(number == 0, t0, time))
    return jnp.where(number >= jnp.maximum(count, 2), t1, jnp.minimum(time, t1))


def _checked(result: Any, found: Any, y0: Any, y1: Any, throw: bool) -> Any:
    """The gradients, where the way back ended where the way forth began."""
    largest = lambda tree: functools.reduce(  # noqa: E731
        jnp.maximum, [jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)]
    )
    size = jnp.maximum(largest(y0), largest(y1))
    off = largest(minus(found, y0))
    missed = (off > jnp.sqrt(jnp.finfo(off.dtype).eps) * size) & jnp.isfinite(size)
    if throw:
        return eqx.error_if(result, missed, _MISSED)
    return jax.tree.map(lambda a: jnp.where(missed, jnp.nan, a), result)


_MISSED = (
    "the reversible adjoint did not find back to the initial state, so that the gradient would be "
    "wrong: rounding is magnified by 1/coupling in each step, and where the solution decays. Take "
    'adjoint="checkpointed", fewer steps, a shorter interval, or a coupling closer to 1, '
    "sm.ReversibleAdjoint(coupling=1 - 1/steps)"
)
_NO_TIMES = (
    "the reversible adjoint has no gradient by times (t0, t1, dt0, those of saveat and of the "
    'controller): take adjoint="checkpointed"'
)


def _refuse(terms: Any, event: Any, saveat: Any, controller: Any, max_steps: Any) -> None:
    """Raises `DeclarationError` for what the way back cannot carry."""
    what = saveat.subs
    plain = isinstance(what, dfx.SubSaveAt) and what.fn is _SAVE_STATE
    stored = not isinstance(controller, dfx.ConstantStepSize | dfx.StepTo)
    unsafe = lambda leaf: isinstance(leaf, dfx.UnsafeBrownianPath)  # noqa: E731
    for fault, why in (
        (event is not None, "has no gradient of the time of an event"),
        (saveat.dense, "keeps no dense output, which holds every step: save at times"),
        (not plain, "saves states alone: solve without fn and several SubSaveAt"),
        (
            saveat.solver_state or saveat.controller_state or saveat.made_jump,
            "has no gradient of the states of solver and controller",
        ),
        (
            stored and max_steps is None,
            "stores the times of adaptive steps, for which it needs a bound: give max_steps=...",
        ),
        (
            any(map(unsafe, jax.tree.leaves(terms, is_leaf=unsafe))),
            "cannot draw an UnsafeBrownianPath again: take diffrax.VirtualBrownianTree",
        ),
    ):
        if fault:
            raise _refused(why)


def _refused(why: str) -> DeclarationError:
    return DeclarationError(f'the reversible adjoint {why}; or take adjoint="checkpointed"')

"""Diffrax's `diffeqsolve`, with costs of the solve and a count of evaluations."""

from __future__ import annotations

import dataclasses
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._choose import choose_adjoint
from .._reversible import as_reversible
from .._reversible_adjoint import ReversibleAdjoint
from ..stepping._switching import SwitchingState
from ._cost import SolverCost, read_costs, unweighted
from ._count import Counts, counted, counts_itself, local_evaluations, num_evaluations
from ._keep import Ends, ends_of, with_states, with_time, without_states, without_time
from ._local import as_differentiable, further_step, has_first_stage, has_rule, with_tolerances
from ._refuse import COUNTING, RECORDING, cost_key, refuse_cost, scale_of, steps_scale
from ._watch import Sample, Total, Watched, entry


def diffeqsolve(
    terms: Any,
    solver: dfx.AbstractSolver,
    t0: Any,
    t1: Any,
    dt0: Any,
    y0: Any,
    args: Any = None,
    *,
    regularise: Any = None,
    key: Any = None,
    saveat: dfx.SaveAt | None = None,
    stepsize_controller: dfx.AbstractStepSizeController | None = None,
    adjoint: Any = None,
    max_steps: int | None = 4096,
    throw: bool = True,
    progress: bool = False,
) -> dfx.Solution:
    """Diffrax's ``diffeqsolve``, with costs of the solve in ``stats``: for terms written by hand.

    ``stats["cost"]`` is the cost (several: a tuple). ``stats["num_evaluations"]`` counts the
    evaluations of the rates (with noise, of the drift) exactly: rejected steps, iterations of our
    steppers, the choice of the first step and the further step of a local cost included; not
    products with the Jacobian, nor higher derivatives by `taylor_cost`, and not at all for implicit
    solvers of Diffrax, which iterate, and Diffrax does not say how often. States and steps are
    those of Diffrax to the last bit, and so is their gradient.

    Arguments
      terms, solver, t0, t1, dt0, y0, args, saveat, stepsize_controller, max_steps, throw: as in
        Diffrax.
      regularise: of `solver_cost` or `taylor_cost`, or a tuple of several; none if not given.
      key: of jax.random, for local costs; another one in each step of training.
      adjoint: as in Diffrax, or by name, as for `solve`.
      progress: whether a bar shows how far the solve is.

    Returns Diffrax's ``Solution``.

    Raises `DeclarationError` for a cost that the solver or the adjoint cannot carry.

    >>> import diffrax as dfx, jax.numpy as jnp, sciml as sm
    >>> control = dfx.PIDController(rtol=1e-3, atol=1e-6)
    >>> options = dict(stepsize_controller=control, regularise=sm.solver_cost("error"))
    >>> term, y0 = dfx.ODETerm(lambda t, y, args: -y), jnp.ones(3)
    >>> sol = sm.diffeqsolve(term, dfx.Tsit5(), 0.0, 1.0, 0.1, y0, **options)
    >>> int(sol.stats["num_evaluations"]), bool(0 < sol.stats["cost"] < 1)
    (13, True)
    """
    costs = read_costs(unweighted(regularise))
    adjoint = choose_adjoint(adjoint)
    saveat = dfx.SaveAt(t1=True) if saveat is None else saveat
    controller = dfx.ConstantStepSize() if stepsize_controller is None else stepsize_controller
    for cost in costs:
        refuse_cost(cost, terms, solver, controller, adjoint, saveat)
    key = cost_key(costs, key)
    raw, values = _run(
        terms, solver, t0, t1, dt0, y0, args, costs, key, saveat, controller, adjoint, max_steps,
        throw, progress,
    )  # fmt: skip
    if not costs:
        return raw
    cost = values[0] if isinstance(regularise, SolverCost) else values
    return dataclasses.replace(raw, stats={**raw.stats, "cost": cost})


@eqx.filter_jit
def _run(
    terms: Any,
    solver: Any,
    t0: Any,
    t1: Any,
    dt0: Any,
    y0: Any,
    args: Any,
    costs: tuple[SolverCost, ...],
    key: Any,
    saveat: dfx.SaveAt,
    controller: Any,
    adjoint: Any,
    max_steps: int | None,
    throw: bool,
    progress: bool,
) -> tuple[dfx.Solution, tuple]:
    """The solution with its counts, and the value of each cost."""
    start, end = _interval(t0, t1)
    # inside of a solve, Diffrax counts time so that it grows
    direction = jnp.where(start < end, 1, -1).astype(start.dtype)
    totals = {
        str(place): Total(cost, scale_of(cost, controller))
        for place, cost in enumerate(costs)
        if cost.where == "global"
    }
    samples = _samples(costs, key, start * direction, end * direction)
    records, counts = isinstance(adjoint, RECORDING), isinstance(adjoint, COUNTING)
    probes = {**totals, **samples} if records else {}
    tells = counts and counts_itself(solver)
    watched = Watched(solver, probes, tells) if probes or tells else solver
    control = counted(controller) if counts else controller
    raw = dfx.diffeqsolve(
        terms,
        watched,
        t0,
        t1,
        dt0,
        y0,
        args,
        saveat=with_states(saveat) if records else with_time(saveat, samples, direction),
        stepsize_controller=control,
        adjoint=_plain_backwards(adjoint, solver, controller),
        max_steps=max_steps,
        throw=throw,
        progress_meter=dfx.TqdmProgressMeter() if progress else dfx.NoProgressMeter(),
    )
    ends = ends_of(raw, watched, control) if records else None
    if ends is None:
        raw, seen = without_time(raw, saveat, samples, direction)
    else:
        raw, seen = without_states(raw, saveat, ends), ends.seen
    scale = steps_scale(controller)
    able = as_differentiable(with_tolerances(solver, scale), adjoint)
    steps = {
        name: further_step(
            terms, able, args, sample=_real(seen[name], direction), end=end, scale=scale
        )
        for name in samples
    }
    values = tuple(
        totals[str(place)].value(seen[str(place)])
        if cost.where == "global"
        else entry(cost, solver, steps[cost.sampling], scale_of(cost, controller))[0]
        for place, cost in enumerate(costs)
    )
    ruled, reused = has_rule(terms, scale), has_first_stage(terms, solver)
    further = [
        local_evaluations(solver, step.state, ruled=ruled, reused=reused) for step in steps.values()
    ]
    taken, told = _taken(raw, ends, solver, adjoint), _switches(ends)
    if taken is not None:
        told["num_evaluations"] = sum(further, taken)
    return dataclasses.replace(raw, stats={**raw.stats, **told}), values


def _switches(ends: Ends | None) -> dict[str, Any]:
    """What a solver that switches has counted."""
    if ends is None or not isinstance(ends.solver, SwitchingState):
        return {}
    state = ends.solver
    return {"num_implicit_steps": state.implicit_steps, "num_switches": state.switches}


def _interval(t0: Any, t1: Any) -> tuple[Array, Array]:
    """The ends in one floating type."""
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.result_type(t0, t1, 1.0)
    return jnp.asarray(t0, dtype), jnp.asarray(t1, dtype)


def _samples(
    costs: tuple[SolverCost, ...], key: Any, start: Array, end: Array
) -> dict[str, Sample]:
    """A sample for each way of sampling that the local costs ask for."""
    samples = {}
    for sampling in {cost.sampling: None for cost in costs if cost.where == "local"}:
        time = None
        if sampling == "uniform":
            time = start + jax.random.uniform(key, (), start.dtype) * (end - start)
        samples[sampling] = Sample(key, jax.lax.stop_gradient(time))
    return samples


def _real(sample: tuple, direction: Array) -> tuple:
    """The time, state and step size of a sample, in the time of the equations."""
    _, time, y, size = sample
    return time * direction.astype(time.dtype), y, size


def _plain_backwards(adjoint: Any, solver: Any, controller: Any) -> Any:
    """The adjoint, so that what is solved backwards is not watched."""
    if not isinstance(adjoint, dfx.BacksolveAdjoint):
        return adjoint
    plain = {"solver": solver, "stepsize_controller": controller}
    return dfx.BacksolveAdjoint(**{**plain, **adjoint.kwargs})


def _taken(raw: dfx.Solution, ends: Ends | None, solver: Any, adjoint: Any) -> Any:
    """The number of evaluations in the solve itself, or None where it cannot be told."""
    if ends is not None:
        return num_evaluations(solver, raw.stats["num_steps"], ends.solver, ends.counts)
    if isinstance(adjoint, ReversibleAdjoint):
        solver = as_reversible(solver, coupling=adjoint.coupling)
        return num_evaluations(solver, raw.stats["num_steps"], None, Counts())
    return raw.stats.get("num_evaluations")  # of `GaussAdjoint`

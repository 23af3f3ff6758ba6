"""Where along a trajectory a model is hard to solve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sciml.dsl import DeclarationError, Model, System

from .._choose import (
    choose_controller,
    choose_solver,
    choose_tolerances,
    with_tolerances_of,
)
from .._noise import (
    choose_sde_controller,
    choose_sde_solver,
    draw_path,
    first_sde_step,
    terms_and_args,
)
from .._solve import Field, first_step, interval, solve
from ._estimates import Scale, Step, error_size, stability, stiffness, tableau_of, twin_stages
from ._local import with_tolerances
from ._refuse import steps_scale


class Difficulty(eqx.Module):
    """What each accepted step of a solve met: returned by `solver_difficulty`.

    Fields: `ts`, the time at the start of each step; `sizes`, of the steps; `errors`, their error
    estimates in units of the tolerance, below 1; `stiffness`, in units of the length of the
    interval of stability (of an implicit method: in 1/time): where it times the size of a step is
    about 1, stability limits the step, and no tolerance does. `errors` or `stiffness` is None where
    the solver has no such estimate.
    """

    ts: Float[Array, " step"]
    sizes: Float[Array, " step"]
    errors: Float[Array, " step"] | None
    stiffness: Float[Array, " step"] | None

    def plot(self, axes: Any = None) -> Any:
        """Draws step sizes, errors and stiffness over time, one below the other; returns the axes.

        Arguments: `axes`, as many as there are quantities, of a new figure if not given.
        """
        from ._draw import draw_difficulty

        return draw_difficulty(self, axes)


def solver_difficulty(
    system: System | Model,
    t: Any,
    *,
    initial: Mapping[Any, Any] | None = None,
    values: Mapping[Any, Any] | None = None,
    solver: Any = None,
    rtol: float | None = None,
    atol: float | None = None,
    stepsize_controller: Any = None,
    dt0: Any = None,
    max_steps: int = 4096,
    key: Any = None,
    controls: Mapping[Any, Any] | None = None,
) -> Difficulty:
    """Where a model is hard to solve: step sizes, error estimates and stiffness along its solution.

    The system is solved, and each accepted step taken once more, all at once, to see what
    `solver_cost` adds up.

    Arguments: as for `solve`; one solve, not a batch.

    Returns a `Difficulty`, to be drawn by its `plot`.

    Raises what `solve` raises, and `DeclarationError` for a solver that tells nothing of its steps.

    >>> import sciml as sm
    >>> x = sm.unknown("x")
    >>> decay = sm.System(sm.Eq(sm.D(x), -7 * x), initial={x: 1})
    >>> hard = sm.solver_difficulty(decay, t=(0, 1))
    >>> bool((hard.errors < 1).all()), round(float(hard.stiffness[1]), 1)
    (True, 2.0)
    """
    sol = solve(
        system,
        t,
        initial=initial,
        values=values,
        saveat=dfx.SaveAt(t0=True, steps=True),
        solver=solver,
        rtol=rtol,
        atol=atol,
        stepsize_controller=stepsize_controller,
        dt0=dt0,
        max_steps=max_steps,
        key=key,
        controls=controls,
    )
    model = sol.model
    t0, t1 = interval(t, model.dtype)
    tolerances = choose_tolerances(rtol, atol, model.dtype)
    if model.program.noise is None:
        controller = choose_controller(stepsize_controller, solver, *tolerances)
        solver = with_tolerances_of(choose_solver(solver, tolerances[0], model), controller)
        terms, args = dfx.ODETerm(Field(model.program)), model.constants()
    else:
        solver = choose_sde_solver(solver, model)
        controller = choose_sde_controller(stepsize_controller, solver)
        step = first_step(first_sde_step(t0, t1) if dt0 is None else dt0, controller, model.dtype)
        assert step is not None
        terms, args = terms_and_args(model, draw_path(model, key, t0, t1, step, solver))
    scale = steps_scale(controller)
    if scale.rtol is None:
        scale = Scale(*tolerances)
    return _taken_again(terms, with_tolerances(solver, scale), sol.ts, sol.ys, args, scale)


@eqx.filter_jit
def _taken_again(
    terms: Any, solver: Any, ts: Array, ys: Array, args: Any, scale: Scale
) -> Difficulty:
    """Each step from one saved state to the next, and its estimates."""
    tableau = tableau_of(solver)
    pair = None if tableau is None else twin_stages(tableau)
    stages = isinstance(terms, dfx.ODETerm) and pair is not None
    estimates = isinstance(solver, dfx.AbstractAdaptiveSolver)
    if not (stages or estimates):
        raise DeclarationError(
            f"{type(solver).__name__} tells nothing of its steps: it neither estimates its error "
            "nor has two stages at one time. Take diffrax.Tsit5(), or with noise diffrax.SPaRK()"
        )

    def again(t0: Array, t1: Array, y0: Array) -> tuple[Array | None, Array | None]:
        state = solver.init(terms, t0, t1, y0, args)
        y1, error, dense, _, _ = solver.step(terms, t0, t1, y0, args, state, made_jump=False)
        step = Step(terms, t0, t1, y0, y1, args, error, dense)
        size = error_size(step, scale)[0] if estimates else None
        return size, stiffness(step, tableau)[0] if stages else None  # type: ignore[arg-type]

    errors, stiff = jax.vmap(again)(ts[:-1], ts[1:], ys[:-1])
    if stages and np.isfinite(length := stability(tableau)):  # type: ignore[arg-type]
        stiff = stiff / length  # type: ignore[operator]
    return Difficulty(ts[:-1], jnp.diff(ts), errors, stiff)

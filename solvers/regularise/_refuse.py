"""Which costs go with which solvers and adjoints, and what would."""

from __future__ import annotations

from typing import Any

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np

from sciml.dsl import DeclarationError

from .._gauss_adjoint import GaussAdjoint
from ._cost import SolverCost, read_costs
from ._estimates import Scale, stability, tableau_of, twin_stages
from ._local import has_rule

DISCRETE = (dfx.RecursiveCheckpointAdjoint, dfx.DirectAdjoint, dfx.ForwardMode)
RECORDING = (*DISCRETE, dfx.BacksolveAdjoint)  # that return what the solver's state holds
COUNTING = (*RECORDING, GaussAdjoint)  # that return at least how often rates were evaluated
_DISCRETE_NAMES = 'adjoint="checkpointed", "direct" or "forward"'


def refuse_cost(
    cost: SolverCost, terms: Any, solver: Any, controller: Any, adjoint: Any, saveat: Any
) -> None:
    """Raises `DeclarationError` where a cost cannot be had, or would have no gradient."""
    if cost.kind == "taylor":
        _refuse_taylor(cost, terms, solver)
    elif cost.kind == "stiffness":
        _refuse_stiffness(cost, terms, solver)
    else:
        _refuse_error(cost, solver, controller)
    if cost.where == "global":
        _refuse_adjoint(cost, adjoint)
    else:
        _refuse_sampling(cost, terms, controller, adjoint, saveat)


def scale_of(cost: SolverCost, controller: Any) -> Scale:
    """What errors are measured by."""
    if cost.kind not in ("error", "error_squared") or not cost.scaled:
        return Scale()
    if cost.rtol is not None:
        return Scale(cost.rtol, cost.atol)
    return steps_scale(controller)


def steps_scale(controller: Any) -> Scale:
    """The tolerances and norm of the step control, if it has any."""
    if isinstance(controller, dfx.AbstractAdaptiveStepSizeController):
        return Scale(controller.rtol, controller.atol, controller.norm)
    return Scale()


def cost_key(regularise: Any, key: Any, *, noisy: bool = False) -> Any:
    """The key, if a cost draws a time at random; if it also draws noise, one that follows from it.

    Raises `DeclarationError` where there is none.
    """
    local = next((cost for cost in read_costs(regularise) if cost.where == "local"), None)
    if local is None:
        return None
    is_key = isinstance(key, jax.Array) and (
        jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.dtype == jnp.uint32
    )
    if not is_key:
        raise DeclarationError(
            f"{local.named} draws a time at random: give key=jax.random.key(0), another one in "
            "each step of training"
        )
    return jax.random.fold_in(key, 1) if noisy else key


def _refuse_error(cost: SolverCost, solver: Any, controller: Any) -> None:
    name = type(solver).__name__
    if not isinstance(solver, dfx.AbstractAdaptiveSolver):
        raise DeclarationError(
            f"{cost.named}: {name} does not estimate its error. Take diffrax.Tsit5() (stiff: "
            "diffrax.Kvaerno5(), with noise: diffrax.SPaRK()), or "
            f"diffrax.HalfSolver(diffrax.{name}()), which estimates it at three times the cost"
        )
    if cost.scaled and scale_of(cost, controller).rtol is None:
        raise DeclarationError(
            f"{cost.named} is in units of the tolerance, and {type(controller).__name__} has none: "
            "give rtol= and atol= to solver_cost, or scaled=False, or take "
            "stepsize_controller=diffrax.PIDController(rtol=1e-6, atol=1e-8)"
        )


def _refuse_stiffness(cost: SolverCost, terms: Any, solver: Any) -> None:
    name, tableau = type(solver).__name__, tableau_of(solver)
    if not isinstance(terms, dfx.ODETerm):
        raise DeclarationError(
            f"{cost.named} compares two stages of an ordinary differential equation, and with "
            f"noise, controls or several terms ({type(terms).__name__}) there are none: take "
            'kind="error"'
        )
    pair = None if tableau is None else twin_stages(tableau)
    if tableau is None or pair is None:
        why = "keeps no stages" if tableau is None else "has no two stages at one time"
        raise DeclarationError(
            f"{cost.named} compares two stages at one time, and {name} {why}: take "
            'diffrax.Tsit5(), Dopri5() or Dopri8(), or kind="error"'
        )
    if cost.scaled and not np.isfinite(stability(tableau)):
        raise DeclarationError(
            f"{cost.named} is in units of the interval of stability, and that of {name} has no "
            "end: its steps are not limited by stiffness. Take scaled=False, for stiffness in "
            '1/time, or kind="error", or diffrax.Tsit5()'
        )


def _refuse_taylor(cost: SolverCost, terms: Any, solver: Any) -> None:
    if isinstance(terms, dfx.ODETerm) and tableau_of(solver) is not None:
        return
    raise DeclarationError(
        f"{cost.named} needs an ordinary differential equation and the stages of a Runge-Kutta "
        f"method, not {type(terms).__name__} and {type(solver).__name__}: take diffrax.Tsit5(), "
        "or sm.solver_cost()"
    )


def _refuse_adjoint(cost: SolverCost, adjoint: Any) -> None:
    if isinstance(adjoint, DISCRETE):
        return
    local = "" if cost.kind == "taylor" else ', or where="local"'
    raise DeclarationError(
        f"{cost.named} is a sum over the steps of the solver, and {type(adjoint).__name__} carries "
        "no gradient through them but that of the saved states: it would be zero. Take "
        f"{_DISCRETE_NAMES}{local}"
    )


def _refuse_sampling(
    cost: SolverCost, terms: Any, controller: Any, adjoint: Any, saveat: Any
) -> None:
    name = type(adjoint).__name__
    if isinstance(adjoint, RECORDING):
        return
    if isinstance(adjoint, dfx.ImplicitAdjoint):
        raise DeclarationError(
            f"{cost.named} is of the way to the end, and {name} is for steady states, whatever the "
            f"way there: take {_DISCRETE_NAMES}"
        )
    if cost.sampling == "steps" or not has_rule(terms, steps_scale(controller)):
        raise DeclarationError(
            f"{cost.named} needs a step that was taken, and {name} does not tell: take "
            f'sampling="uniform" and adaptive steps without noise, or {_DISCRETE_NAMES}'
        )
    if not isinstance(saveat.subs, dfx.SubSaveAt) or saveat.subs.steps:
        raise DeclarationError(
            f"{cost.named} saves one more time, which goes with {name} if times are saved, "
            f"saveat=diffrax.SaveAt(ts=...); or take {_DISCRETE_NAMES}"
        )

"""How often a solve evaluates the rates, exactly: rejected steps and all."""

from __future__ import annotations

from typing import Any, NamedTuple

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .._reversible import Reversible
from .._symplectic import StormerVerlet
from ..stepping._rosenbrock import AbstractRosenbrock

# Solvers that are no Runge-Kutta methods: evaluations of the rates (with noise, of the drift).
_STEPS = {
    dfx.Euler: 1,
    dfx.EulerHeun: 1,
    dfx.ItoMilstein: 1,
    dfx.StratonovichMilstein: 1,
    StormerVerlet: 3,
}


class Evaluations(NamedTuple):
    """In each attempted step; and on top, where the last rate cannot be used again."""

    step: int
    fresh: int = 0


def evaluations(solver: Any) -> Evaluations | None:
    """How often a solver evaluates the rates; None if that depends on the numbers.

    Implicit solvers iterate, and Diffrax does not say how often.
    """
    if isinstance(solver, dfx.AbstractImplicitSolver):
        return None
    if isinstance(solver, AbstractRosenbrock):  # products by the Jacobian are not among them
        reused = int(solver.tableau.last)
        return Evaluations(solver.tableau.stages - reused, reused)
    if isinstance(solver, dfx.HalfSolver | Reversible):
        inner = evaluations(solver.solver)
        if inner is None:
            return None
        if isinstance(solver, Reversible):  # a step forth and one back, both from nothing
            return Evaluations(2 * (inner.step + inner.fresh))
        return Evaluations(
            3 * inner.step, 2 * inner.fresh
        )  # the second half goes on from the first
    if isinstance(solver, dfx.AbstractERK) and isinstance(solver.tableau, dfx.ButcherTableau):
        stages, reused = solver.tableau.num_stages, int(solver.tableau.fsal)
        return Evaluations(stages - reused, reused)
    if isinstance(solver, dfx.AbstractSRK):
        without = solver.tableau.ignore_stage_f
        skipped = 0 if without is None else int(np.sum(without))
        return Evaluations(len(solver.tableau.b_sol) - skipped)
    steps = _STEPS.get(type(solver))
    return None if steps is None else Evaluations(steps)


class AbstractCounted(dfx.AbstractStepSizeController):
    """A step size controller that also counts evaluations beside those of every step.

    Its state is that of the controller; whether the next attempt starts afresh, without a rate of
    the step before; how many attempts did; and how many evaluations the choice of the first step
    took.
    """

    controller: eqx.AbstractVar[dfx.AbstractStepSizeController]

    def wrap(self, direction: Any) -> Any:
        return eqx.tree_at(lambda c: c.controller, self, self.controller.wrap(direction))

    def init(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: Any,
        dt0: Any,
        args: Any,
        func: Any,
        error_order: Any,
    ) -> tuple[Any, Any]:
        asked = []

        def seen(*given: Any) -> Any:
            asked.append(given)
            return func(*given)

        t1, state = self.controller.init(terms, t0, t1, y0, dt0, args, seen, error_order)
        fresh, none = jnp.ones((), bool), jnp.zeros((), jnp.int32)
        return t1, (state, fresh, none, none + (_RULE if asked else 0))

    def adapt_step_size(
        self,
        t0: Any,
        t1: Any,
        y0: Any,
        y1_candidate: Any,
        args: Any,
        y_error: Any,
        error_order: Any,
        controller_state: Any,
    ) -> tuple:
        state, fresh, count, first = controller_state
        keep, t0, t1, jumped, state, result = self.controller.adapt_step_size(
            t0, t1, y0, y1_candidate, args, y_error, error_order, state
        )
        count = count + fresh.astype(count.dtype)
        fresh = jnp.where(keep, jnp.asarray(jumped), fresh)
        return keep, t0, t1, jumped, (state, fresh, count, first), result


class CountedSteps(AbstractCounted):
    """A controller that does not adapt steps to errors, with counts."""

    controller: dfx.AbstractStepSizeController


class CountedErrors(AbstractCounted, dfx.AbstractAdaptiveStepSizeController):
    """A controller that adapts steps to errors, with counts."""

    controller: dfx.AbstractAdaptiveStepSizeController

    @property
    def rtol(self) -> Any:  # type: ignore[override]
        return self.controller.rtol

    @property
    def atol(self) -> Any:  # type: ignore[override]
        return self.controller.atol

    @property
    def norm(self) -> Any:  # type: ignore[override]
        return self.controller.norm


_RULE = 2  # evaluations of Hairer's rule for the first step


def counted(controller: Any) -> Any:
    """The controller with counts, unless it neither rejects steps nor passes jumps."""
    if isinstance(controller, dfx.ConstantStepSize | dfx.StepTo):
        return controller
    adaptive = isinstance(controller, dfx.AbstractAdaptiveStepSizeController)
    return (CountedErrors if adaptive else CountedSteps)(controller)  # type: ignore[call-arg]


def num_evaluations(solver: Any, stats: dict[str, Any], controller_state: Any) -> Any:
    """Evaluations of the rates in a solve, or None where they cannot be told.

    `controller_state` is that of `AbstractCounted`, or None for steps that are never rejected.
    """
    each = evaluations(solver)
    if each is None:
        return None
    fresh, first = (1, 0) if controller_state is None else controller_state[2:]
    begun = 1 if type(solver) is StormerVerlet else 0
    return stats["num_steps"] * each.step + fresh * each.fresh + first + begun


def local_evaluations(solver: Any, *, ruled: bool, reused: bool) -> int | None:
    """Evaluations of the rates in the further step of a local cost.

    The rule for its size takes two, of which the first serves as the first stage, if it can.
    """
    each = evaluations(solver)
    if each is None:
        return None
    return (_RULE if ruled else int(reused)) + each.step + (0 if reused else each.fresh)

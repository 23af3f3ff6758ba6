"""How often a solve evaluates the rates, exactly: rejected steps and all."""

from __future__ import annotations

from typing import Any, NamedTuple

import diffrax as dfx
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .._reversible import Reversible
from .._symplectic import StormerVerlet
from ..stepping._bdf import BDF
from ..stepping._chebyshev import RKC
from ..stepping._exponential import ETDRK4
from ..stepping._radau import Radau5
from ..stepping._rosenbrock import AbstractRosenbrock
from ..stepping._switching import Switching
from ..stepping._written_out import WrittenOut

# Solvers that are no Runge-Kutta methods: evaluations of the rates (with noise, of the drift).
_STEPS = {
    dfx.Euler: 1,
    dfx.EulerHeun: 1,
    dfx.ItoMilstein: 1,
    dfx.StratonovichMilstein: 1,
    StormerVerlet: 3,
}
_COUNTING = BDF, Radau5, RKC, Switching  # whose state holds the number of evaluations up to there


class Evaluations(NamedTuple):
    """In each attempted step; and on top, where the last rate cannot be used again."""

    step: int
    fresh: int = 0


def evaluations(solver: Any) -> Evaluations | None:
    """How often a solver evaluates the rates; None if that depends on the numbers.

    Implicit solvers iterate, and Diffrax does not say how often; some of ours do (`counts_itself`).
    """
    if isinstance(solver, dfx.AbstractImplicitSolver):
        return None
    if isinstance(solver, dfx.HalfSolver | Reversible):
        inner = evaluations(solver.solver)
        if inner is None:
            return None
        if isinstance(solver, Reversible):  # a step forth and one back, both from nothing
            return Evaluations(2 * (inner.step + inner.fresh))
        return Evaluations(
            3 * inner.step, 2 * inner.fresh
        )  # the second half goes on from the first
    if isinstance(solver, WrittenOut):
        return evaluations(solver.method)
    if isinstance(solver, AbstractRosenbrock):  # products by the Jacobian are not among them
        reused = int(solver.tableau.last)
        return Evaluations(solver.tableau.stages - reused, reused)
    if isinstance(solver, ETDRK4):
        return Evaluations(4, 1)
    if isinstance(solver, dfx.AbstractERK) and isinstance(solver.tableau, dfx.ButcherTableau):
        stages, reused = solver.tableau.num_stages, int(solver.tableau.fsal)
        return Evaluations(stages - reused, reused)
    if isinstance(solver, dfx.AbstractSRK):
        without = solver.tableau.ignore_stage_f
        skipped = 0 if without is None else int(np.sum(without))
        return Evaluations(len(solver.tableau.b_sol) - skipped)
    steps = _STEPS.get(type(solver))
    return None if steps is None else Evaluations(steps)


def counts_itself(solver: Any) -> bool:
    """Whether the state of a solver holds the number of evaluations up to there."""
    return type(solver) in _COUNTING  # no instances: Diffrax takes a wrapper for what it wraps


class Attempt(NamedTuple):
    """What `Watched` returns as the error of a step, for `AbstractCounted` to take apart.

    Diffrax throws the state of rejected attempts away, and passes this on.
    """

    error: Any
    evaluations: Array  # floating, as Diffrax looks for what is no number


class Counts(NamedTuple):
    """What is counted beside the evaluations of every step; as it is at steps all accepted."""

    fresh: Any = True  # whether the next attempt starts without a rate of the step before
    starts: Any = 1  # attempts that did
    first: Any = 0  # evaluations for the choice of the first step
    lost: Any = 0  # evaluations in rejected attempts, of solvers that count themselves


class AbstractCounted(dfx.AbstractStepSizeController):
    """A step size controller whose state is that of the controller, and `Counts`."""

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
        return t1, (state, Counts(fresh, none, none + (RULE if asked else 0), none))

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
        state, (fresh, starts, first, lost) = controller_state
        taken = None
        if isinstance(y_error, Attempt):
            y_error, taken = y_error
        keep, t0, t1, jumped, state, result = self.controller.adapt_step_size(
            t0, t1, y0, y1_candidate, args, y_error, error_order, state
        )
        starts = starts + fresh.astype(starts.dtype)
        fresh = jnp.where(keep, jnp.asarray(jumped), fresh)
        if taken is not None:
            lost = lost + jnp.where(keep, 0, taken.astype(lost.dtype))
        return keep, t0, t1, jumped, (state, Counts(fresh, starts, first, lost)), result


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


RULE = 2  # evaluations of Hairer's rule for the first step


def counted(controller: Any) -> Any:
    """The controller with counts, unless it has them or neither rejects steps nor passes jumps."""
    if isinstance(controller, dfx.ConstantStepSize | dfx.StepTo | AbstractCounted):
        return controller
    adaptive = isinstance(controller, dfx.AbstractAdaptiveStepSizeController)
    return (CountedErrors if adaptive else CountedSteps)(controller)  # type: ignore[call-arg]


def uncounted(controller: Any) -> Any:
    """The controller without counts."""
    return controller.controller if isinstance(controller, AbstractCounted) else controller


def num_evaluations(solver: Any, num_steps: Any, state: Any, counts: Counts) -> Any:
    """Evaluations of the rates in a solve, or None where they cannot be told.

    `state` is that of the solver at the end.
    """
    if counts_itself(solver):
        return state.evaluations + counts.lost + counts.first
    each = evaluations(solver)
    if each is None:
        return None
    begun = 1 if type(solver) is StormerVerlet else 0
    return num_steps * each.step + counts.starts * each.fresh + counts.first + begun


def local_evaluations(solver: Any, state: Any, *, ruled: bool, reused: bool) -> Any:
    """Evaluations of the rates in the further step of a local cost; `state`, that after it.

    The rule for its size takes two, of which the first serves as the first stage, if it can.
    """
    if counts_itself(solver):
        return (RULE if ruled else 0) + state.evaluations
    each = evaluations(solver)
    if each is None:
        return None
    return (RULE if ruled else int(reused)) + each.step + (0 if reused else each.fresh)

"""A solver that takes note of its steps, and otherwise steps as it did."""

from __future__ import annotations

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._cost import SolverCost
from ._count import Attempt
from ._estimates import Scale, Step, error_size, stability, stiffness, tableau_of
from ._taylor import taylor_size


def entry(cost: SolverCost, solver: Any, step: Step, scale: Scale) -> tuple[Array, Array]:
    """What one step adds to a cost, and whether it counts."""
    if cost.kind == "taylor":
        size = taylor_size(step, solver, cost.order)
        sound = jnp.isfinite(size)
    elif cost.kind == "stiffness":
        tableau = tableau_of(solver)
        assert tableau is not None
        size, sound = stiffness(step, tableau)
        if cost.scaled:
            size = size / stability(tableau)
        if cost.reduce == "sum":
            size = size * step.size.astype(size.dtype)
    else:
        size, sound = error_size(step, scale)
        size = size**2 if cost.kind == "error_squared" else size * step.size
    return jnp.where(sound, size, jnp.zeros_like(size)), sound


class Total(eqx.Module):
    """Adds up a global cost over the accepted steps."""

    cost: SolverCost = eqx.field(static=True)
    scale: Scale

    def init(self, t0: Any, y0: Any) -> Any:
        zero = jnp.zeros((), jnp.finfo(jnp.result_type(*jax.tree.leaves(y0))).dtype)
        return zero, jnp.zeros((), jnp.int32)

    def update(self, solver: Any, step: Step, state: Any) -> Any:
        total, count = state
        size, counts = entry(self.cost, solver, step, self.scale)
        if self.cost.reduce == "max":
            total = jnp.maximum(total, size)
        else:
            total = total + size
        return total, count + counts.astype(count.dtype)

    def value(self, state: Any) -> Array:
        total, count = state
        if self.cost.reduce == "mean":
            return total / jnp.maximum(count, 1).astype(total.dtype)
        return total


class Sample(eqx.Module):
    """Keeps the state at one time, for a local cost: ``(count, time, state, step size)``.

    With a `time`, the state there; without, that at the start of one of the accepted steps, each
    of which is kept with the probability 1/n when it is the n-th.
    """

    key: Any
    time: Any = None

    def init(self, t0: Any, y0: Any) -> Any:
        time = t0 if self.time is None else self.time.astype(t0.dtype)
        return jnp.zeros((), jnp.int32), time, y0, jnp.zeros_like(t0)

    def update(self, solver: Any, step: Step, state: Any) -> Any:
        count, time, y, size = state
        count = count + 1
        t0, t1, y0, dense = jax.lax.stop_gradient((step.t0, step.t1, step.y0, step.dense))
        if self.time is None:
            drawn = jax.random.uniform(jax.random.fold_in(self.key, count), (), size.dtype)
            keep = drawn * count.astype(size.dtype) < 1
            time, there = jnp.where(keep, t0, time), y0
        else:
            keep = (t0 <= time) & (time < t1)
            between = solver.interpolation_cls(t0=t0, t1=t1, **dense)
            there = jax.lax.cond(keep, lambda: between.evaluate(time), lambda: y)
        y = jax.tree.map(lambda new, old: jnp.where(keep, new, old), there, y)
        return count, time, y, jnp.where(keep, t1 - t0, size)


class Watched(dfx.AbstractWrappedSolver):
    """A solver whose state also holds what its probes, `Total` and `Sample`, have seen.

    Diffrax keeps the state of accepted steps alone; of others, one that `counts` its evaluations
    tells their number beside the error. What Diffrax asks of a solver is passed on; by
    `AbstractWrappedSolver`, also what kind of solver it is.
    """

    solver: dfx.AbstractSolver
    probes: dict[str, Total | Sample]
    counts: bool = eqx.field(static=True, default=False)

    @property
    def term_structure(self) -> Any:
        return self.solver.term_structure

    @property
    def interpolation_cls(self) -> Any:
        return self.solver.interpolation_cls

    @property
    def term_compatible_contr_kwargs(self) -> Any:
        return self.solver.term_compatible_contr_kwargs

    @property
    def scan_kind(self) -> Any:
        return self.solver.scan_kind  # type: ignore[attr-defined]

    @property
    def root_finder(self) -> Any:
        return self.solver.root_finder  # type: ignore[attr-defined]

    @property
    def root_find_max_steps(self) -> Any:
        return self.solver.root_find_max_steps  # type: ignore[attr-defined]

    @property
    def tableau(self) -> Any:
        return self.solver.tableau  # type: ignore[attr-defined]

    @property
    def calculate_jacobian(self) -> Any:
        return self.solver.calculate_jacobian  # type: ignore[attr-defined]

    @property
    def minimal_levy_area(self) -> Any:
        return self.solver.minimal_levy_area  # type: ignore[attr-defined]

    def order(self, terms: Any) -> Any:
        return self.solver.order(terms)

    def strong_order(self, terms: Any) -> Any:
        return self.solver.strong_order(terms)

    def error_order(self, terms: Any) -> Any:
        return self.solver.error_order(terms)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        seen = {name: probe.init(t0, y0) for name, probe in self.probes.items()}
        return self.solver.init(terms, t0, t1, y0, args), seen

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> tuple:
        before, seen = solver_state
        y1, error, dense, state, result = self.solver.step(
            terms, t0, t1, y0, args, before, made_jump
        )
        step = Step(terms, t0, t1, y0, y1, args, error, dense)
        seen = {
            name: probe.update(self.solver, step, seen[name]) for name, probe in self.probes.items()
        }
        if self.counts:
            taken: Any = state.evaluations - before.evaluations
            error = Attempt(error, taken.astype(jnp.float32))
        return y1, error, dense, (state, seen), result

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return self.solver.func(terms, t0, y0, args)


def unwatched(solver: Any) -> Any:
    """The solver without `Watched`."""
    return solver.solver if type(solver) is Watched else solver

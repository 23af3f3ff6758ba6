"""The adjoint equations of a solution that was kept, solved backwards; quadrature on the way.

With ``M y' = f(t, y, p)``, and values saved at times t_i whose cotangents are g_i::

    M lambda' = -J(t, y(t))^T lambda,   M lambda jumps by g_i at t_i,   J = df/dy
    dL/dy0 = M lambda(t0),   dL/dp = integral of lambda^T df/dp

In ``tau = t_i - t``, the time since the last jump, which no rounding of t can make coarse. Where M
is zero, f holds as an equation, and what a cotangent asks of its unknowns is passed on by it::

    mu = -J_aa^-T g_a,   M lambda_d jumps by g_d + J_ad^T mu,   dL/dp by mu^T df_a/dp

and lambda_a solves ``J_aa^T lambda_a = -J_da^T lambda_d``, as everywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ._kept_solution import Kept, Rows, rates
from ._reversible import plus
from .linear import AbstractStructure, Transposed
from .stepping._common import flat, structure_of
from .stepping._first_step import first_stiff_step, is_ours


class Carry(eqx.Module):
    """What is carried from step to step, backwards."""

    passed: Array  # tau, the time since the last jump
    step: Array  # the length that is asked for next
    adjoint: Any  # lambda
    solver_state: Any
    control: Any
    jump: Array  # whether the step begins behind a jump
    of_params: Any
    count: Array  # of steps since the last jump
    good: Array


@dataclasses.dataclass(frozen=True)
class Backward:
    """The adjoint equations of a solution, and how they are solved.

    `solver` knows the transposed structure; `controller` is None for the steps that were taken
    forwards; `join` makes terms and args of `params`, by which is differentiated.
    """

    kept: Kept
    join: Callable[[Any], tuple[Any, Any]]
    params: Any
    solver: Any
    controller: Any
    points: int
    max_steps: int

    @property
    def stepper(self) -> Any:
        """The solver, or the one that it wraps."""
        stepper = self.solver
        while isinstance(stepper, dfx.AbstractWrappedSolver):
            stepper = stepper.solver
        return stepper

    @property
    def mass(self) -> Any:
        """The diagonal of M; None, if it is the identity."""
        return getattr(self.stepper, "mass", None)

    def term(self, origin: Array) -> dfx.ODETerm:
        """The equations in tau, which begins at `origin`."""
        terms, args = self.join(self.params)

        def field(passed: Any, adjoint: Any, _: Any) -> Any:
            t = origin - passed
            return jax.vjp(lambda y: rates(terms, args, t, y), self.kept.at(t))[1](adjoint)[0]

        return dfx.ODETerm(field)

    def solve(self, rows: Rows, of_y: Any) -> tuple[Any, Any, Array]:
        """The cotangents of the initial state and of the parameters, and whether all went well."""
        adjoint = jax.tree.map(jnp.zeros_like, of_y)
        passed = jnp.zeros_like(rows.start)
        term = self.term(rows.start)
        order = self.solver.error_order(term)
        control = None
        if self.controller is not None:
            control = self.controller.init(
                term, passed, passed + 1, adjoint, passed + 1, None, self.solver.func, order
            )[1]
        carry = Carry(
            passed=passed,
            step=passed,
            adjoint=adjoint,
            solver_state=self.solver.init(term, passed, passed + 1, adjoint, None),
            control=jax.tree.map(jnp.asarray, control),
            jump=jnp.asarray(False),
            of_params=jax.tree.map(jnp.zeros_like, self.params),
            count=jnp.zeros((), jnp.int32),
            good=jnp.asarray(True),
        )
        carry, _ = jax.lax.scan(
            lambda carry, row: (self._segment(carry, *row), None),
            carry,
            (rows.ts, rows.of_ys, rows.jump, rows.stop),
            reverse=True,
        )
        found = carry.adjoint if self.mass is None else self._weighed(carry.adjoint)
        return found, carry.of_params, carry.good

    def _weighed(self, adjoint: Any) -> Any:
        vector, unflat = flat(adjoint)
        return unflat(self.mass * vector)

    # -- from jump to jump ------------------------------------------------------------------------

    def _segment(self, carry: Carry, t: Array, of_y: Any, jump: Array, stop: Array) -> Carry:
        """From a saved time to the next jump before it; nothing, where no value was asked for."""
        origin = jnp.where(jump, t, stop)  # also where a time was not reached
        end = origin - stop
        term = self.term(origin)
        carry = jax.lax.cond(
            jump, lambda: self._jumped(carry, term, origin, end, of_y), lambda: carry
        )

        def unfinished(carry: Carry) -> Array:
            return jump & (carry.passed < end) & (carry.count < self.max_steps) & carry.good

        carry = jax.lax.while_loop(
            unfinished, lambda carry: self._advanced(carry, term, origin, end), carry
        )
        arrived = ~jump | (carry.passed >= end)
        return dataclasses.replace(carry, good=carry.good & arrived)

    def _jumped(self, carry: Carry, term: Any, origin: Array, end: Array, of_y: Any) -> Carry:
        adjoint, of_params = plus(carry.adjoint, of_y), carry.of_params
        if self.mass is not None:
            adjoint, more = self._passed_on(origin, carry.adjoint, of_y)
            of_params = plus(of_params, more)
        step = carry.step
        if self.controller is not None:
            begun = lambda: self._first_step(term, end, adjoint)  # noqa: E731
            # stiff equations have a transient behind each jump; other steps go on as they were
            step = (
                begun() if is_ours(self.stepper) else jax.lax.cond(step == 0, begun, lambda: step)
            )
        return dataclasses.replace(
            carry,
            passed=jnp.zeros_like(carry.passed),
            step=step,
            adjoint=adjoint,
            jump=jnp.asarray(True),
            of_params=of_params,
            count=jnp.zeros_like(carry.count),
        )

    def _first_step(self, term: Any, end: Array, adjoint: Any) -> Array:
        start = jnp.zeros_like(end)
        if is_ours(self.stepper):
            vector, unflat = flat(adjoint)
            plain = dfx.ODETerm(lambda s, v, _: flat(term.vf(s, unflat(v), None))[0])
            return first_stiff_step(plain, start, end, vector, None, self.controller, self.mass)
        order = self.solver.error_order(term)
        first, _ = self.controller.init(
            term, start, end, adjoint, None, None, self.solver.func, order
        )
        return first.astype(end.dtype)

    def _passed_on(self, t: Array, adjoint: Any, of_y: Any) -> tuple[Any, Any]:
        """The jump where there are algebraic equations, and what parameters have in it."""
        state, unflat = flat(self.kept.at(t))
        terms, args = self.join(self.params)
        f = lambda y: flat(rates(terms, args, t, unflat(y)))[0]  # noqa: E731
        algebraic = self.mass == 0
        mass = jnp.where(algebraic, 1, self.mass)
        solve = _algebraic_solve(self.stepper.structure, f, state, algebraic)
        pull = lambda x: jax.vjp(f, state)[1](x)[0]  # noqa: E731
        given = flat(of_y)[0]
        mu = -solve(jnp.where(algebraic, given, 0))
        moved = flat(adjoint)[0] + (given + pull(mu)) / mass
        differential = jnp.where(algebraic, 0, moved)
        dependent = -solve(jnp.where(algebraic, pull(differential), 0))
        of_params = self._quadrature(
            t[None], jax.tree.map(lambda x: x[None], unflat(state)),
            jax.tree.map(lambda x: x[None], unflat(mu)),
        )  # fmt: skip
        return unflat(differential + dependent), of_params

    # -- step by step -----------------------------------------------------------------------------

    def _advanced(self, carry: Carry, term: Any, origin: Array, end: Array) -> Carry:
        """One attempt of a step."""
        asked = carry.step
        if self.controller is None:
            asked = self.kept.back(origin, carry.passed)
        last = carry.passed + 1.0001 * asked >= end  # no splinters
        then = jnp.where(last, end, carry.passed + asked)
        found, error, dense, solver_state, result = self.solver.step(
            term, carry.passed, then, carry.adjoint, None, carry.solver_state, carry.jump
        )
        keep, asked, control, fine = self._controlled(carry, term, asked, then, found, error)
        good = carry.good & fine & (~keep | (result == dfx.RESULTS.successful))
        output = self.solver.interpolation_cls(t0=carry.passed, t1=then, **dense)
        more = lambda: self._integral(carry, origin, then, output)  # noqa: E731
        of_params = jax.lax.cond(keep, more, lambda: carry.of_params)
        new = lambda one, other: jax.tree.map(lambda a, b: jnp.where(keep, a, b), one, other)  # noqa: E731
        return Carry(
            passed=jnp.where(keep, then, carry.passed),
            step=asked,
            adjoint=new(found, carry.adjoint),
            solver_state=new(solver_state, carry.solver_state),
            control=control,
            jump=carry.jump & ~keep,
            of_params=of_params,
            count=carry.count + 1,
            good=good,
        )

    def _controlled(
        self, carry: Carry, term: Any, asked: Array, then: Array, found: Any, error: Any
    ) -> tuple:
        """Whether to keep a step, how long the next should be, and how the controller fares."""
        if self.controller is None:
            return jnp.asarray(True), asked, carry.control, jnp.asarray(True)
        error = jax.tree.map(lambda e: jnp.where(jnp.isnan(e), jnp.inf, e), error)
        keep, begin, after, _, control, result = self.controller.adapt_step_size(
            carry.passed, then, carry.adjoint, found, None, error,
            self.solver.error_order(term), carry.control,
        )  # fmt: skip
        # a step that was cut at a jump tells nothing against the length that was asked for
        length = jnp.where(keep, jnp.maximum(after - begin, asked), after - begin)
        length = jnp.where(keep & (then < carry.passed + asked), length, after - begin)
        control = jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype), control, carry.control)
        return jnp.asarray(keep), length, control, result == dfx.RESULTS.successful

    def _integral(self, carry: Carry, origin: Array, then: Array, output: Any) -> Any:
        """The integral of ``lambda^T df/dp`` over a step, piece by piece.

        Each step that was taken forwards is a piece of its own: steps backwards can be longer than
        what the rates of the parameters vary in.
        """
        nodes, weights = (jnp.asarray(part, origin.dtype) for part in _rule(self.points))

        def more(at: tuple) -> Any:
            return at[0] < then

        def add(at: tuple) -> tuple:
            begin, place, of_params = at
            end = jnp.where(place > 0, jnp.minimum(then, origin - self.kept.ts[place]), then)
            size = jnp.maximum(end - begin, 0)
            passed = begin + size * nodes
            ys = jax.vmap(lambda s: self.kept.within(place, origin - s))(passed)
            adjoints = jax.tree.map(
                lambda a: a * (size * weights).astype(a.dtype).reshape(-1, *[1] * (a.ndim - 1)),
                jax.vmap(output.evaluate)(passed),
            )
            piece = self._quadrature(origin - passed, ys, adjoints)
            return jnp.maximum(begin, end), place - 1, plus(of_params, piece)

        first = self.kept.place(origin - carry.passed)
        begin = carry.passed, first, carry.of_params
        return jax.lax.while_loop(more, add, begin)[2]

    def _quadrature(self, ts: Array, ys: Any, adjoints: Any) -> Any:
        """The sum of ``lambda^T df/dp`` over points; the weights are in lambda."""

        def at_points(params: Any) -> Any:
            terms, args = self.join(params)
            return jax.vmap(lambda t, y: rates(terms, args, t, y))(ts, ys)

        return jax.vjp(at_points, self.params)[1](adjoints)[0]


def _algebraic_solve(
    structure: AbstractStructure | None, f: Callable, y: Array, algebraic: Array
) -> Callable[[Array], Array]:
    """The solution of ``J_aa^T x = b``; that of `b` where a rate stands, not an equation."""
    if isinstance(structure, Transposed):
        structure = structure.structure
    known = structure_of(structure, y.size)

    def alone(z: Array) -> Array:
        return jnp.where(algebraic, f(jnp.where(algebraic, z, y)), z)

    factors = known.factor(known.jacobian(alone, y))
    return lambda b: known.solve_transposed(factors, b)


def _rule(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss and Legendre between 0 and 1."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    return (nodes + 1) / 2, weights / 2

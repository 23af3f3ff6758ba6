"""The step of a reversible solver, taken back, and its pullback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffrax as dfx
import jax

from ._reversible import Reversible, minus, plus
from ._symplectic import StormerVerlet


def step_back(
    solver: dfx.AbstractSolver, join: Callable, params: Any, t0: Any, t1: Any, y1: Any, state1: Any
) -> tuple[Any, Any, Any, Callable]:
    """What was before a step, its dense output, and the pullback of the step.

    The pullback takes cotangents of the state, the solver's state and the dense output to those of
    the states before it and of `params`, of which `join` makes the terms and their arguments.
    """
    if isinstance(solver, Reversible):
        return _reversible_back(solver, join, params, t0, t1, y1, state1)
    terms, args = join(params)
    y0, state0 = _BACK[type(solver)](solver, terms, t0, t1, y1, args, state1)

    def step(y0: Any, state0: Any, params: Any) -> tuple:
        terms, args = join(params)
        y1, _, dense, state1, _ = solver.step(terms, t0, t1, y0, args, state0, False)
        return y1, state1, dense

    (_, _, dense), pull = jax.vjp(step, y0, state0, params)
    return y0, state0, dense, pull


def _reversible_back(
    solver: Reversible, join: Callable, params: Any, t0: Any, t1: Any, y1: Any, z1: Any
) -> tuple[Any, Any, Any, Callable]:
    """The increments of the way back are those of the step, so that they are evaluated once."""
    c = solver.coupling

    def alone(t0: Any, t1: Any, y0: Any, params: Any) -> tuple:
        terms, args = join(params)
        y1, _, dense, _, _ = solver.alone(terms, t0, t1, y0, args)
        return y1, dense

    back, pull_back = jax.vjp(lambda y, p: alone(t1, t0, y, p)[0], y1, params)
    z0 = jax.tree.map(lambda z, y, b: z + (b - y), z1, y1, back)
    (forth, dense), pull_forth = jax.vjp(lambda z, p: alone(t0, t1, z, p), z0, params)
    y0 = jax.tree.map(lambda y, z, f: z + (y - f) / c, y1, z0, forth)

    def pull(cotangents: tuple) -> tuple:
        of_y1, of_z1, of_dense = cotangents
        through_back, params_back = pull_back(jax.tree.map(lambda a: -a, of_z1))
        of_y1 = plus(plus(of_y1, of_z1), through_back)
        through_forth, params_forth = pull_forth((of_y1, of_dense["dense"]))
        of_y0 = jax.tree.map(lambda a, gap: c * a + gap, of_y1, of_dense["gap"])
        of_z0 = jax.tree.map(lambda a, b, f: a - b + f, of_z1, of_y0, through_forth)
        return of_y0, of_z0, plus(params_back, params_forth)

    return y0, z0, {"dense": dense, "gap": minus(y0, z0)}, pull


def _heun_back(solver: Any, terms: Any, t0: Any, t1: Any, y1: Any, args: Any, state1: Any) -> tuple:
    """Source: Kidger et al., Efficient and accurate gradients for neural SDEs (2021)."""
    z1, rate1 = state1
    control = terms.contr(t0, t1)
    after = terms.prod(rate1, control)
    z0 = jax.tree.map(lambda y, z, f: 2 * y - z - f, y1, z1, after)
    rate0 = terms.vf(t0, z0, args)
    y0 = jax.tree.map(lambda y, f, g: y - (f + g) / 2, y1, after, terms.prod(rate0, control))
    return y0, (z0, rate0)


def _verlet_back(
    solver: Any, terms: Any, t0: Any, t1: Any, y1: Any, args: Any, state1: Any
) -> tuple:
    y0, _, _, rate0, _ = solver.step(terms, t1, t0, y1, args, state1, False)
    return y0, rate0


_BACK = {dfx.ReversibleHeun: _heun_back, StormerVerlet: _verlet_back}

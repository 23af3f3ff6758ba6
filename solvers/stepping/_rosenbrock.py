"""Rosenbrock methods: implicit stages that cost one linear solve each, and no iteration."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..linear._mass import Mass, shifted, weighed
from ..linear._structure import AbstractStructure, linear_solve
from ._common import as_one_kernel, combined, field_of, flat, part_of_step, structure_of, summed
from ._tableaus import RODAS5P, ROSENBROCK23, RosenbrockTableau

_FEW = 32  # unknowns, up to which stages are written out


class RosenbrockOutput(dfx.AbstractLocalInterpolation):
    """Dense output of a Rosenbrock method, from its stages."""

    t0: Any
    t1: Any
    y0: Any
    y1: Any
    inner: Any  # D_1, D_2, ... of `RosenbrockTableau`, a leading axis

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Any:
        if t1 is not None:
            return jax.tree.map(jnp.subtract, self.evaluate(t1), self.evaluate(t0))
        s = part_of_step(self, t0)

        def one(y0: Array, y1: Array, inner: Array) -> Array:
            part = s.astype(y0.dtype)
            bulge = jnp.zeros_like(y0)
            for piece in inner[::-1]:
                bulge = piece + part * bulge
            return (1 - part) * y0 + part * (y1 + (1 - part) * bulge)

        return jax.tree.map(one, self.y0, self.y1, self.inner)


class AbstractRosenbrock(dfx.AbstractAdaptiveSolver):
    """A Rosenbrock method by its tableau."""

    tableau: eqx.AbstractClassVar[RosenbrockTableau]
    structure: eqx.AbstractVar[AbstractStructure | None]
    mass: eqx.AbstractVar[Mass]

    term_structure: ClassVar = dfx.ODETerm
    interpolation_cls: ClassVar[Callable[..., dfx.AbstractLocalInterpolation]] = RosenbrockOutput

    def order(self, terms: Any) -> int:
        return self.tableau.order

    def error_order(self, terms: Any) -> int:
        return self.tableau.error_order

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        if not self.tableau.last:
            return None
        y, unflat = flat(y0)
        return unflat(field_of(terms, args, unflat)(t0, y))

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> tuple:
        y, unflat = flat(y0)
        structure = structure_of(self.structure, y.size)
        f = field_of(terms, args, unflat)
        known = flat(solver_state)[0] if self.tableau.last else None
        one = functools.partial(_step, self.tableau, structure, f)
        run = as_one_kernel(one) if structure.in_one_kernel else one
        y1, error, inner, rate = run(self.mass, t0, t1, y, known, made_jump)
        dense = {"y0": y0, "y1": unflat(y1), "inner": jax.vmap(unflat)(inner)}
        state = unflat(rate) if self.tableau.last else None
        return unflat(y1), unflat(error), dense, state, dfx.RESULTS.successful


def _step(
    tableau: RosenbrockTableau,
    structure: AbstractStructure,
    f: Callable[[Any, Array], Array],
    mass: Mass,
    t0: Any,
    t1: Any,
    y: Array,
    known: Array | None,
    made_jump: Any,
) -> tuple[Array, Array, Array, Array]:
    """The state at `t1`, the error, the pieces of dense output, and the rate of the last stage.

    `known` is the rate at the start, unless there is a jump.
    """
    step = jnp.asarray(t1 - t0, y.dtype)
    matrix = shifted(
        structure, structure.jacobian(lambda z: f(t0, z), y), 1 / (tableau.gamma * step), mass
    )
    factors = structure.factor(matrix)
    _, drift = jax.jvp(lambda t: f(t, y), (t0,), (jnp.ones_like(t0),))
    rows = tableau.rows

    def stage(inner: Array, pulled: Array, c: Any, d: Any) -> tuple[Array, Array]:
        rate = f(t0 + jnp.asarray(c, t0.dtype) * (t1 - t0), y + inner)
        right = rate + jnp.asarray(d, y.dtype) * step * drift + weighed(mass, pulled / step)
        return linear_solve(structure, matrix, factors, right), rate

    first = f(t0, y) if known is None else jnp.where(made_jump, f(t0, y), known)
    u = linear_solve(structure, matrix, factors, first + tableau.d[0] * step * drift)
    if structure.size <= _FEW:  # written out: compiled longer, and several times as fast
        stages, rate = _written_out(rows, stage, u)
    else:
        stages, rate = _looped(rows, stage, u)
    weights = jnp.asarray((tableau.m, tableau.e, *tableau.dense), y.dtype)
    sums = jnp.stack([combined(row, stages) for row in weights])
    y1, error = y + sums[0], sums[1]
    # so that the controller takes a shorter step: of two infinities it would make no number
    lost = ~(jnp.all(jnp.isfinite(y1)) & jnp.all(jnp.isfinite(error)))
    y1, error = jnp.where(lost, jnp.nan, y1), jnp.where(lost, jnp.inf, error)
    return y1, error, sums[2:], rate


def _written_out(
    rows: tuple[np.ndarray, ...], stage: Callable[..., tuple[Array, Array]], u: Array
) -> tuple[Array, Array]:
    """All stages from the first one, one after another, and the rate of the last."""
    stages, rate = [u], u
    for a, coupling, c, d in zip(*rows, strict=True):
        u, rate = stage(summed(a, stages), summed(coupling, stages), c, d)
        stages.append(u)
    return jnp.stack(stages), rate


def _looped(
    rows: tuple[np.ndarray, ...], stage: Callable[..., tuple[Array, Array]], u: Array
) -> tuple[Array, Array]:
    """The same, compiled once for all stages."""

    def step(stages: Array, row: tuple) -> tuple[Array, Array]:
        a, coupling, c, d, place = row
        own, rate = stage(combined(a, stages), combined(coupling, stages), c, d)
        return jax.lax.dynamic_update_index_in_dim(stages, own, place, 0), rate

    count = len(rows[0])
    stages = jnp.zeros((count + 1, u.size), u.dtype).at[0].set(u)
    floats = tuple(jnp.asarray(row, u.dtype) for row in rows)
    stages, rates = jax.lax.scan(step, stages, (*floats, jnp.arange(1, count + 1)))
    return stages, rates[-1]


class Rodas5P(AbstractRosenbrock):
    """Rosenbrock method of order 5(4), stiffly accurate, for stiff equations and index-1 DAEs.

    Eight stages, one Jacobian and one LU factorisation in a step; L-stable; dense output of order
    4; its order does not fall on problems of the Prothero-Robinson kind.

    Arguments
      structure: of the Jacobian; dense, if not given. `sciml.solve` finds it from the equations.
      mass: a constant mass matrix M, ``M y' = f``, which may be singular: its diagonal, zero for
        algebraic equations, or all of it; the identity, if not given.

    >>> import diffrax as dfx, jax.numpy as jnp, sciml as sm
    >>> term = dfx.ODETerm(lambda t, y, args: -1e6 * (y - jnp.cos(t)))
    >>> control = dfx.PIDController(rtol=1e-6, atol=1e-6)
    >>> y0, options = jnp.ones(1), dict(stepsize_controller=control)
    >>> sol = dfx.diffeqsolve(term, sm.Rodas5P(), 0.0, 1.0, None, y0, **options)
    >>> round(float(sol.ys[0, 0]), 4), int(sol.stats["num_steps"]) < 30
    (0.5403, True)

    Source: Steinebach, Construction of Rosenbrock-Wanner method Rodas5P and numerical benchmarks
    within the Julia Differential Equations package (2023), table 2.
    """

    structure: AbstractStructure | None = eqx.field(static=True, default=None)
    mass: Mass = None
    tableau: ClassVar[RosenbrockTableau] = RODAS5P


class Rosenbrock23(AbstractRosenbrock):
    """Rosenbrock method of order 2(3), for stiff equations at loose tolerances.

    Three stages, of which the last is the first of the next step; L-stable; dense output of order
    2. Arguments as for `Rodas5P`.

    >>> import diffrax as dfx, jax.numpy as jnp, sciml as sm
    >>> term = dfx.ODETerm(lambda t, y, args: -1e6 * (y - jnp.cos(t)))
    >>> control = dfx.PIDController(rtol=1e-3, atol=1e-3)
    >>> y0, options = jnp.ones(1), dict(stepsize_controller=control)
    >>> sol = dfx.diffeqsolve(term, sm.Rosenbrock23(), 0.0, 1.0, None, y0, **options)
    >>> round(float(sol.ys[0, 0]), 3)
    0.54

    Source: Shampine, Reichelt, The MATLAB ODE suite (1997), section 3.1.
    """

    structure: AbstractStructure | None = eqx.field(static=True, default=None)
    mass: Mass = None
    tableau: ClassVar[RosenbrockTableau] = ROSENBROCK23

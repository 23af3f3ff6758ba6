"""Radau IIA of order 5: an implicit Runge-Kutta method for high accuracy on stiff equations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..linear._mass import Mass
from ..linear._structure import AbstractStructure
from ._collocation import (
    COEFFICIENTS,
    INVERSE,
    NODES,
    REAL,
    Kept,
    Setting,
    nothing_kept,
    stages,
)
from ._common import ATOL, RTOL, PolynomialOutput, field_of, flat, structure_of

_NEARLY = 0.1  # factors of a step that differs by less than this part converge as well
_SLOPE = COEFFICIENTS[0]  # of the polynomial through the stages, at its beginning
# Coefficients of s ... s^4 in the polynomial whose slope is 1 at 0, and 0 at each node.
_BUMP = np.polynomial.polynomial.polyint(np.poly(NODES)[::-1])[1:] / -np.prod(NODES)


class RadauState(eqx.Module):
    """What a step leaves for the next."""

    first: Array  # whether there was no step before
    step: Array
    z: Array  # increments of the stages
    slope: Array  # of the polynomial through them, at its end
    kept: Kept
    evaluations: Array  # of the rates, up to here


class Radau5(dfx.AbstractAdaptiveSolver):
    """Radau IIA of order 5, for stiff equations and index-1 DAEs at high accuracy.

    Three implicit stages by simplified Newton iteration, one real and one complex linear system of
    the size of the state in each; Jacobian and factors are kept while they serve. L-stable, stiffly
    accurate; embedded error estimate of order 3. On stiff problems whose solution varies slowly in
    a direction of strong damping, the order that is seen can fall towards that of the stages, 3.

    Dense output is the collocation polynomial, plus the bump which gives it the right slope at the
    beginning of the step too: its local error is of order 5, so that it converges as the steps do,
    or with order 4 for unknowns that are algebraic, or nearly so. The stages are differentiated by
    the implicit function theorem. A step in which the iteration fails has an error of infinity: a
    controller takes a shorter one, and at constant steps the solve ends there.

    Arguments
      structure: of the Jacobian; dense, if not given. `sciml.solve` finds it from the equations.
      mass: as for `Rodas5P`.
      rtol, atol: those of the controller, for the iteration: Diffrax does not tell a solver;
        1e-6 and 1e-8, if not given.

    >>> import diffrax as dfx, jax.numpy as jnp, sciml as sm
    >>> term = dfx.ODETerm(lambda t, y, args: -1e6 * (y - jnp.cos(t)))
    >>> control = dfx.PIDController(rtol=1e-6, atol=1e-6)
    >>> y0, options = jnp.ones(1), dict(stepsize_controller=control)
    >>> sol = dfx.diffeqsolve(term, sm.Radau5(), 0.0, 1.0, None, y0, **options)
    >>> round(float(sol.ys[0, 0]), 4), int(sol.stats["num_steps"]) < 30
    (0.5403, True)

    Source: Hairer, Wanner, Solving Ordinary Differential Equations II (1996), section IV.8.
    """

    structure: AbstractStructure | None = eqx.field(static=True, default=None)
    mass: Mass = None
    rtol: float | None = eqx.field(static=True, default=None)
    atol: float | None = eqx.field(static=True, default=None)

    term_structure: ClassVar = dfx.ODETerm
    interpolation_cls: ClassVar[Callable[..., dfx.AbstractLocalInterpolation]] = PolynomialOutput

    def order(self, terms: Any) -> int:
        return 5

    def error_order(self, terms: Any) -> int:
        return 4  # of the local error of the embedded method

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> RadauState:
        y, unflat = flat(y0)
        if not jnp.issubdtype(y.dtype, jnp.floating):
            raise ValueError(
                f"Radau5 takes states of real numbers, not {y.dtype}: split complex unknowns into "
                "their real and imaginary parts"
            )
        t0 = jnp.asarray(t0)
        field = field_of(terms, args, unflat)
        kept = nothing_kept(self._setting(y), field, t0, y)
        zeros = jnp.zeros((3, y.size), y.dtype)
        none = jnp.zeros((), jnp.int32)
        return RadauState(jnp.asarray(True), jnp.ones_like(t0), zeros, zeros[0], kept, none)

    def step(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: Any,
        args: Any,
        solver_state: RadauState,
        made_jump: Any,
    ) -> tuple:
        y, unflat = flat(y0)
        t0, h = jnp.asarray(t0), jnp.asarray(t1 - t0)
        # What the field closes over becomes a part of it, which `stages` can differentiate.
        f = eqx.filter_closure_convert(field_of(terms, args, unflat), t0, y)
        setting, first = self._setting(y), solver_state.first | made_jump
        before = _before(solver_state, first, h, setting)
        z, kept, found, taken = stages(
            f, t0, h, y, setting.mass, setting=_constant(setting), **before
        )
        rate = jax.lax.cond(first, lambda: f(t0, y), lambda: setting.weighed(solver_state.slope))
        step = h.astype(y.dtype)
        shrunk = first | (h < solver_state.step)
        parts, fixed = _constant(((f, t0, y, z, rate, step, kept), setting))
        error = _error(*parts, setting=fixed, twice=shrunk)
        # The second filtering takes a rate where the first error leads, which can be no number:
        # from that a controller would make no shorter step, but none.
        error = jnp.where(found & jnp.all(jnp.isfinite(error)), error, jnp.inf)
        slope = jnp.asarray(INVERSE[-1], y.dtype) @ z / step
        bump = _bump(
            f, t0, y, z, rate, step, kept, setting=setting, first=first, before=solver_state.slope
        )
        dense = {"coefficients": jax.vmap(unflat)(_polynomial(y, z, bump))}
        begun, again = first.astype(jnp.int32), shrunk.astype(jnp.int32)
        taken = solver_state.evaluations + taken + begun + again
        state = RadauState(jnp.zeros_like(first), h, _constant(z), slope, kept, taken)
        # Of account where the step is kept all the same: at constant steps.
        results: Any = dfx.RESULTS
        result = results.where(found, results.successful, results.nonlinear_divergence)
        return unflat(y + z[-1]), unflat(error), dense, state, result

    def _setting(self, y: Array) -> Setting:
        rtol = RTOL if self.rtol is None else self.rtol
        atol = ATOL if self.atol is None else self.atol
        mass = jax.tree.map(lambda m: jnp.asarray(m, y.dtype), self.mass)
        return Setting(structure_of(self.structure, y.size), mass, rtol, atol)


def _constant(tree: Any) -> Any:
    """The same, without derivatives."""
    return jax.tree.map(lambda x: jax.lax.stop_gradient(x) if eqx.is_array(x) else x, tree)


def _before(state: RadauState, first: Array, h: Array, setting: Setting) -> dict[str, Any]:
    """Where to begin, and what is still of use, after the step before.

    A controller that accepts a step never asks for a shorter one, so a shorter one means that an
    attempt from here has failed, of which a solver is told nothing; H&W (8.5) for the beginning.
    """
    h, before, z = _constant((h, state.step, state.z))
    s = (1 + jnp.asarray(NODES, h.dtype) * (h / before)).astype(z.dtype)
    powers = jnp.stack([s, s**2, s**3], axis=1)
    start = powers @ (jnp.asarray(COEFFICIENTS, z.dtype) @ z) - z[-1:]
    kept = _constant(state.kept)
    fresh = first | ~kept.good | (h < 0.99 * before)
    far = jnp.abs(h.astype(z.dtype) / kept.step - 1) > _NEARLY
    start = jnp.where(first, jnp.zeros_like(start), start)
    return {"start": start, "kept": kept, "fresh": fresh, "refactor": far}


def _error(
    f: Callable,
    t: Array,
    y: Array,
    z: Array,
    rate: Array,
    step: Array,
    kept: Kept,
    *,
    setting: Setting,
    twice: Array,
) -> Array:
    """The embedded estimate of order 3, filtered by the real factor: once (H&W (8.19)) or twice."""
    solve, real = setting.structure.solve, kept.real
    slope = setting.weighed(jnp.asarray(_SLOPE, y.dtype) @ z / step)
    error = solve(real, rate - slope)
    # H&W (8.20): what is left of a stiff transient that the first step passes over.
    return jax.lax.cond(twice, lambda: solve(real, f(t, y + error) - slope), lambda: error)


def _bump(
    f: Callable,
    t: Array,
    y: Array,
    z: Array,
    rate: Array,
    step: Array,
    kept: Kept,
    *,
    setting: Setting,
    first: Array,
    before: Array,
) -> Array:
    """How much steeper the solution begins than the collocation polynomial, times the step.

    The slope at the beginning is that at the end of the step before. A first step takes the rate,
    filtered as the error is, or else a stiff transient would throw it far off.
    """
    slope = jnp.asarray(_SLOPE, y.dtype) @ z / step
    structure, factors = setting.structure, jax.lax.stop_gradient(kept.real)

    def filtered() -> Array:
        def matrix(x: Array) -> Array:
            _, moved = jax.jvp(lambda v: f(t, v), (y,), (x,))
            return setting.weighed(REAL / step * x) - moved

        return REAL * jax.lax.custom_linear_solve(
            matrix,
            rate - setting.weighed(slope),
            lambda _, r: structure.solve(factors, r),
            lambda _, r: structure.solve_transposed(factors, r),
        )

    return jax.lax.cond(first, filtered, lambda: step * (before - slope))


def _polynomial(y: Array, z: Array, bump: Array) -> Array:
    """Coefficients of the dense output, from that of 1 to that of s^4."""
    through = jnp.asarray(COEFFICIENTS, z.dtype) @ z
    through = jnp.concatenate([through, jnp.zeros_like(through[:1])])
    bent = through + jnp.asarray(_BUMP, z.dtype)[:, None] * bump[None]
    return jnp.concatenate([y[None], bent])

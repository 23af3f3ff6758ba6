"""Explicit steps where the equations are not stiff, implicit ones where they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..linear._structure import AbstractStructure
from ..regularise._estimates import Step, stability, stiffness
from ._common import PolynomialOutput, field_of, flat, structure_of
from ._rosenbrock import Rodas5P
from ._tableaus import RODAS5P

# Of the interval of stability: where steps count as stiff, or as not. At tight tolerances explicit
# steps on stiff equations stay at .56 of it: errors of what is damped hold them back before.
_STIFF, _SOFT = 0.5, 0.3
_LONG = 10, 5  # so many steps in a row, before it is switched to implicit, or back
# Evaluations in a step: of the first stages, the explicit one is known, as the last of the step
# before; the implicit step is followed by one for that.
_EXPLICIT, _IMPLICIT = dfx.Tsit5.tableau.num_stages - 1, RODAS5P.stages + 1
_NODES = np.linspace(0, 1, 5)
_FITTED = np.linalg.inv(_NODES[:, None] ** np.arange(5))


class SwitchingState(eqx.Module):
    """Which method is in use, how long there has been reason to leave it, and steps of each."""

    implicit: Array
    reasons: Array
    first: Any  # the rate at the beginning of the step
    implicit_steps: Array
    switches: Array
    evaluations: Array  # of the rates, up to here


class Switching(dfx.AbstractAdaptiveSolver):
    """`diffrax.Tsit5` where equations are not stiff, `Rodas5P` where they are.

    It goes over to the implicit method after ten steps in a row that are longer than half of what
    the explicit one's stability allows, by the estimate that its stages give; and back after five
    steps that it could have taken too, by a norm of the Jacobian. Both have order 5 and dense
    output of degree 4.

    Arguments: those of `Rodas5P`.

    >>> import diffrax as dfx, jax.numpy as jnp, sciml as sm
    >>> term = dfx.ODETerm(lambda t, y, args: -1e4 * (y - jnp.cos(t)))
    >>> control = dfx.PIDController(rtol=1e-6, atol=1e-6)
    >>> y0, options = jnp.ones(1), dict(stepsize_controller=control)
    >>> sol = dfx.diffeqsolve(term, sm.Switching(), 0.0, 1.0, None, y0, **options)
    >>> round(float(sol.ys[0, 0]), 4), int(sol.stats["num_steps"]) < 100
    (0.5404, True)

    Source: Hairer, Wanner, Solving Ordinary Differential Equations II (1996), section IV.2
    (equation 2.27); Petzold, Automatic selection of methods for solving stiff and nonstiff systems
    (1983).
    """

    structure: AbstractStructure | None = eqx.field(static=True, default=None)

    term_structure: ClassVar = dfx.ODETerm
    interpolation_cls: ClassVar[Callable[..., dfx.AbstractLocalInterpolation]] = PolynomialOutput

    def order(self, terms: Any) -> int:
        return 5

    def error_order(self, terms: Any) -> int:
        return 5

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> SwitchingState:
        none = jnp.zeros((), jnp.int32)
        return SwitchingState(none > 0, none, terms.vf(t0, y0, args), none, none, none + 1)

    def step(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: Any,
        args: Any,
        solver_state: SwitchingState,
        made_jump: Any,
    ) -> tuple:
        state, size = solver_state, jnp.abs(t1 - t0)
        length = stability(dfx.Tsit5.tableau)

        def explicit() -> tuple:
            method: Any = dfx.Tsit5()
            kept = made_jump, state.first
            y1, error, dense, (_, first), _ = method.step(terms, t0, t1, y0, args, kept, made_jump)
            step = Step(terms, t0, t1, y0, y1, args, error, dense)
            rate, _ = stiffness(step, method.tableau)
            reason = size * rate.astype(size.dtype) > _STIFF * length
            return y1, error, _quartic(method, t0, t1, dense), first, reason

        def implicit() -> tuple:
            method = Rodas5P(structure=self.structure)
            y1, error, dense, _, _ = method.step(terms, t0, t1, y0, args, None, made_jump)
            reason = size * self._norm(terms, t0, y0, args) < _SOFT * length
            return y1, error, _quartic(method, t0, t1, dense), terms.vf(t1, y1, args), reason

        y1, error, quartic, first, reason = jax.lax.cond(state.implicit, implicit, explicit)
        reasons = jnp.where(reason, state.reasons + 1, 0)
        enough = reasons >= jnp.where(state.implicit, _LONG[1], _LONG[0])
        fresh = jnp.asarray(made_jump, jnp.int32)
        taken = state.evaluations + jnp.where(state.implicit, _IMPLICIT, _EXPLICIT + fresh)
        left = SwitchingState(
            state.implicit ^ enough,
            jnp.where(enough, 0, reasons).astype(jnp.int32),
            first,
            state.implicit_steps + state.implicit.astype(jnp.int32),
            state.switches + enough.astype(jnp.int32),
            taken,
        )
        return y1, error, {"coefficients": quartic}, left, dfx.RESULTS.successful

    def _norm(self, terms: Any, t: Any, y: Any, args: Any) -> Array:
        """The largest sum of a row of the Jacobian, which no eigenvalue exceeds."""
        vector, unflat = flat(y)
        structure = structure_of(self.structure, vector.size)
        f = field_of(terms, args, unflat)
        matrix = structure.jacobian(lambda z: f(t, z), vector)
        sums = structure.apply(jax.tree.map(jnp.abs, matrix), jnp.ones_like(vector))
        return jax.lax.stop_gradient(jnp.max(sums)).astype(jnp.asarray(t).dtype)


def _quartic(method: Any, t0: Any, t1: Any, dense: Any) -> Any:
    """The coefficients of dense output that has degree 4, as that of both methods has."""
    output = method.interpolation_cls(t0=t0, t1=t1, **dense)
    samples = [output.evaluate(t0 + s * (t1 - t0)) for s in _NODES]
    return jax.tree.map(
        lambda *rows: jnp.tensordot(jnp.asarray(_FITTED, rows[0].dtype), jnp.stack(rows), 1),
        *samples,
    )

"""Explicit Runge-Kutta methods of Diffrax with their stages written out, for small states."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import diffrax as dfx
import jax.numpy as jnp
from jaxtyping import Array

from ._common import as_one_kernel, field_of, flat, summed

_FEW = 16  # unknowns, up to which stages are written out: compiled longer, and run faster
_KNOWN = (
    dfx.Bosh3, dfx.Dopri5, dfx.Dopri8, dfx.Heun, dfx.Midpoint, dfx.Ralston, dfx.Tsit5,
)  # fmt: skip
# None of which jumps, after which a rate would have to be taken again.
_CONTROLLERS = dfx.PIDController, dfx.ConstantStepSize
_ADJOINTS = dfx.RecursiveCheckpointAdjoint, dfx.DirectAdjoint, dfx.ForwardMode


class WrittenOut(dfx.AbstractAdaptiveSolver):
    """A method of Diffrax, of the same steps to rounding, without the loop over its stages.

    Diffrax keeps the stages in one array and adds them up as a product with a matrix. As sums, of
    many small solves at once (`jax.vmap`), all of a step are a few passes over memory, and a single
    solve is one kernel.
    """

    method: dfx.AbstractERK

    term_structure: ClassVar = dfx.ODETerm

    @property
    def interpolation_cls(self) -> Callable[..., dfx.AbstractLocalInterpolation]:
        return _Output(self.method.interpolation_cls)

    def order(self, terms: Any) -> Any:
        return self.method.order(terms)

    def error_order(self, terms: Any) -> Any:
        return self.method.error_order(terms)

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        y, unflat = flat(y0)
        return field_of(terms, args, unflat)(t0, y) if self._tableau.fsal else None

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> tuple:
        y, unflat = flat(y0)
        f, tableau = field_of(terms, args, unflat), self._tableau

        def one(t0: Any, t1: Any, y: Array, known: Array | None) -> tuple:
            step = jnp.asarray(t1 - t0, y.dtype)
            stages, last = [f(t0, y) if known is None else known], y
            for row, c in zip(tableau.a_lower, tableau.c, strict=True):
                last = y + step * summed(row, stages)
                stages.append(f(t0 + jnp.asarray(c, t0.dtype) * (t1 - t0), last))
            y1 = last if tableau.ssal else y + step * summed(tableau.b_sol, stages)
            error = step * summed(tableau.b_error, stages)
            return y1, error, tuple(step * stage for stage in stages), stages[-1]

        y1, error, stages, rate = as_one_kernel(one)(t0, t1, y, solver_state)
        dense = {"y0": y0, "y1": unflat(y1), "k": stages}
        state = rate if tableau.fsal else None
        return unflat(y1), unflat(error), dense, state, dfx.RESULTS.successful

    @property
    def _tableau(self) -> Any:
        return self.method.tableau


@dataclasses.dataclass(frozen=True)
class _Output:
    """Makes the dense output of a step; two of the same method are equal, as Diffrax compiles."""

    of: Callable[..., dfx.AbstractLocalInterpolation]

    def __call__(self, *, t0: Any, t1: Any, y0: Any, y1: Any, k: tuple) -> Any:
        return _OfStages(t0, t1, y0, y1, k, self.of)


class _OfStages(dfx.AbstractLocalInterpolation):
    """The dense output of Diffrax's method, whose stages are put together only when it is used."""

    t0: Any
    t1: Any
    y0: Any
    y1: Any
    k: tuple
    of: Callable[..., dfx.AbstractLocalInterpolation]

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Any:
        stages = jnp.stack(self.k)
        output = self.of(t0=self.t0, t1=self.t1, y0=self.y0, y1=self.y1, k=stages)
        return output.evaluate(t0, t1, left)


def written_out(solver: Any, *, size: int, controller: Any, adjoint: Any) -> Any:
    """A solver with its stages written out, where that is worth it, or the solver itself.

    For states of few unknowns, whose steps nothing looks into: `regularise` and some adjoints do.
    """
    able = type(solver) in _KNOWN and solver.scan_kind is None
    plain = type(controller) in _CONTROLLERS and type(adjoint) in _ADJOINTS
    return WrittenOut(solver) if able and plain and size <= _FEW else solver

"""Steps that can be taken back: any explicit Runge-Kutta method, made reversible."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp

from sciml.dsl import DeclarationError

from ._symplectic import StormerVerlet

REVERSIBLE = (dfx.ReversibleHeun, StormerVerlet)  # as they are
_WRAPPED = (dfx.AbstractERK, dfx.Euler, dfx.EulerHeun)


class Reversible(dfx.AbstractWrappedSolver):
    """An explicit Runge-Kutta method, made algebraically reversible.

    With P(h, y) the increment of the method over a step h, and a second state z that starts as y::

        y1 = c y + (1 - c) z + P(h, z),  z1 = z - P(-h, y1)

    From (y1, z1) both are found again exactly, up to rounding, so that gradients need no stored
    states: `ReversibleAdjoint`. Of the order of the method, at twice its evaluations; steps are
    adapted by its own error estimate. With noise, of Stratonovich.

    Each step back magnifies rounding by 1/c, and each step forward damps the difference of y and z
    by c. Where a solution decays as exp(-k t), the difference grows if h k > 1 - c: take small
    steps there, or another adjoint.

    Arguments: `solver`, an explicit Runge-Kutta method of Diffrax; `coupling`, the number c,
    0 < c <= 1, best within a few multiples of 1/steps of 1.

    Raises `DeclarationError` for a method that is not explicit, and for other couplings.

    >>> import diffrax as dfx, sciml as sm
    >>> x = sm.unknown("x")
    >>> decay = sm.System(sm.Eq(sm.D(x), -x), initial={x: 1})
    >>> sol = sm.solve(decay, t=(0, 1), solver=sm.Reversible(dfx.Tsit5()), saveat=[1.0])
    >>> round(float(sol[x][0]), 4)
    0.3679

    Source: McCallum and Foster, Efficient, accurate and stable gradients for neural ODEs (2024),
    arXiv:2410.11648, the forward and backward pass.
    """

    solver: dfx.AbstractSolver
    coupling: float = eqx.field(default=0.999, static=True)

    def __check_init__(self) -> None:
        _refuse_solver(self.solver)
        if not 0 < self.coupling <= 1:
            raise DeclarationError(f"coupling is above 0 and at most 1, not {self.coupling}")

    @property
    def term_structure(self) -> Any:
        return self.solver.term_structure

    @property
    def term_compatible_contr_kwargs(self) -> Any:
        return self.solver.term_compatible_contr_kwargs

    @property
    def interpolation_cls(self) -> Any:
        return Between(self.solver.interpolation_cls, self.coupling)

    @property
    def scan_kind(self) -> Any:  # which Diffrax sets, by the adjoint, in a Runge-Kutta method
        return self.solver.scan_kind  # type: ignore[attr-defined]

    def order(self, terms: Any) -> Any:
        return self.solver.order(terms)

    def strong_order(self, terms: Any) -> Any:
        return self.solver.strong_order(terms)

    def error_order(self, terms: Any) -> Any:
        return self.solver.error_order(terms)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        if isinstance(self.solver, dfx.AbstractItoSolver) and _is_noisy(terms):
            raise DeclarationError(
                f"{type(self.solver).__name__} is of Ito, and its steps backwards are not: take "
                "diffrax.Heun(), and convert the system by to_stratonovich if its noise is not "
                "additive"
            )
        return y0

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> tuple:
        c, z0 = self.coupling, solver_state
        forth, error, dense, _, result = self.alone(terms, t0, t1, z0, args)
        y1 = jax.tree.map(lambda y, z, f: c * (y - z) + f, y0, z0, forth)
        back = self.alone(terms, t1, t0, y1, args)[0]
        z1 = jax.tree.map(lambda z, y, b: z - (b - y), z0, y1, back)
        gap = minus(y0, z0)
        if error is not None:  # what the step adds to the gap, which may grow, is an error too
            sizes = lambda e, y, z, g: jnp.abs(e) + jnp.abs(y - z - c * g)  # noqa: E731
            error = jax.tree.map(sizes, error, y1, z1, gap)
        return y1, error, {"dense": dense, "gap": gap}, z1, result

    def alone(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> tuple:
        """A step of the wrapped method, from nothing but the state."""
        state = self.solver.init(terms, t0, t1, y0, args)
        return self.solver.step(terms, t0, t1, y0, args, state, made_jump=False)

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return self.solver.func(terms, t0, y0, args)


@dataclasses.dataclass(frozen=True)
class Between:
    """Makes the interpolation over a step out of that of the wrapped method, which starts at z."""

    wrapped: Callable
    coupling: float

    def __call__(self, *, t0: Any, t1: Any, dense: Any, gap: Any) -> dfx.AbstractLocalInterpolation:
        return _Interpolation(t0, t1, self.wrapped(t0=t0, t1=t1, **dense), gap, self.coupling)


class _Interpolation(dfx.AbstractLocalInterpolation):
    """``y = z + (1 - (1 - c) s) gap`` with s from 0 to 1, which meets y at both ends."""

    t0: Any
    t1: Any
    wrapped: dfx.AbstractLocalInterpolation
    gap: Any
    coupling: float = eqx.field(static=True)

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Any:
        if t1 is not None:
            return minus(self.evaluate(t1), self.evaluate(t0))
        part = (t0 - self.t0) / (self.t1 - self.t0)
        share = 1 - (1 - self.coupling) * part
        return jax.tree.map(
            lambda z, gap: z + share.astype(gap.dtype) * gap, self.wrapped.evaluate(t0), self.gap
        )


def as_reversible(solver: dfx.AbstractSolver, *, coupling: float) -> dfx.AbstractSolver:
    """The solver, or `Reversible` around it.

    Raises `DeclarationError` for one whose steps cannot be taken back.
    """
    if type(solver) in (Reversible, *REVERSIBLE):
        return solver
    return Reversible(solver, coupling)


def _refuse_solver(solver: dfx.AbstractSolver) -> None:
    name = type(solver).__name__
    if type(solver) in (Reversible, *REVERSIBLE):
        raise DeclarationError(f"{name} is reversible as it is: give it alone, without Reversible")
    if isinstance(solver, dfx.AbstractImplicitSolver):
        why = "its stages are solved to a tolerance only, so that no step can be taken back exactly"
    elif isinstance(solver, dfx.AbstractWrappedSolver):
        why = "it wraps another solver and keeps a state beside the solution"
    elif not isinstance(solver, _WRAPPED):
        why = "it is no explicit Runge-Kutta method"
    else:
        return
    raise DeclarationError(
        f"the steps of {name} cannot be taken back: {why}. Take diffrax.Tsit5() or another "
        "explicit method (with noise diffrax.ReversibleHeun() or diffrax.Heun(), of Stratonovich), "
        'or adjoint="checkpointed"'
    )


def _is_noisy(terms: Any) -> bool:
    is_path = lambda leaf: isinstance(leaf, dfx.AbstractBrownianPath)  # noqa: E731
    return any(map(is_path, jax.tree.leaves(terms, is_leaf=is_path)))


def plus(one: Any, other: Any) -> Any:
    """The sum of two pytrees."""
    return jax.tree.map(lambda a, b: a + b, one, other)


def minus(one: Any, other: Any) -> Any:
    """The difference of two pytrees."""
    return jax.tree.map(lambda a, b: a - b, one, other)

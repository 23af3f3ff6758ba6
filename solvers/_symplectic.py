"""Solvers that preserve the structure of Hamiltonian systems, at constant steps."""

from __future__ import annotations

from typing import Any, ClassVar

import diffrax as dfx
import jax.numpy as jnp
import optimistix as optx

_INTERPOLATION = dfx.ThirdOrderHermitePolynomialInterpolation


class StormerVerlet(dfx.AbstractSolver):
    """The Störmer-Verlet method, for energies that are a sum ``T(p) + V(q)``.

    A half kick, a drift and a half kick, with h the step::

        p' = p + h/2 f_p(q),  q1 = q + h f_q(p'),  p1 = p' + h/2 f_p(q1)

    Explicit, of order 2, symplectic and reversible: the energy does not drift. Where the rate of q
    depends on q too, or that of p on p, it is neither; take `ImplicitMidpoint` there.

    Arguments: `positions`, how many of the first elements of the state are positions q; the others
    are momenta p.

    >>> import sciml as sm
    >>> q, p = sm.unknowns("q p")
    >>> swing = sm.System(sm.Eq(sm.D(q), p), sm.Eq(sm.D(p), -q), initial={q: 1, p: 0})
    >>> sol = sm.solve(swing, t=(0, 100), solver=sm.StormerVerlet(1), dt0=0.1)
    >>> bool(abs(sol[(p**2 + q**2) / 2] - 0.5).max() < 2e-3)
    True

    Source: Hairer, Lubich, Wanner, Geometric numerical integration (2006), section I.1.4.
    """

    positions: int

    term_structure: ClassVar = dfx.ODETerm
    interpolation_cls: ClassVar = _INTERPOLATION.from_k

    def order(self, terms: Any) -> int:
        return 2

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> tuple:
        n, h = self.positions, t1 - t0
        q, p = y0[:n], y0[n:]
        p = p + h / 2 * solver_state[n:]
        middle = terms.vf(t0 + h / 2, jnp.concatenate([q, p]), args)
        q = q + h * middle[:n]
        p = p + h / 2 * terms.vf(t1, jnp.concatenate([q, p]), args)[n:]
        y1 = jnp.concatenate([q, p])
        rate = terms.vf(t1, y1, args)
        dense = {"y0": y0, "y1": y1, "k": h * jnp.stack([solver_state, rate])}
        return y1, None, dense, rate, dfx.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)


class ImplicitMidpoint(dfx.AbstractSolver):
    """The implicit midpoint rule: symplectic for every energy.

    ``y1 = y + h f(t + h/2, (y + y1)/2)``

    Of order 2 and reversible; quadratic invariants are kept to rounding.

    Arguments: `root_finder`, of Optimistix, for the equation of a step (Newton's method, as
    accurate as the floating type allows, if not given); `root_find_max_steps`.

    >>> import sciml as sm
    >>> q, p = sm.unknowns("q p")
    >>> swing = sm.System(sm.Eq(sm.D(q), p), sm.Eq(sm.D(p), -q), initial={q: 1, p: 0})
    >>> sol = sm.solve(swing, t=(0, 100), solver=sm.ImplicitMidpoint(), dt0=0.1)
    >>> bool(abs(sol[q][-1] ** 2 + sol[p][-1] ** 2 - 1) < 1e-4)
    True

    Source: Hairer, Lubich, Wanner, Geometric numerical integration (2006), section I.1.4.
    """

    root_finder: optx.AbstractRootFinder | None = None
    root_find_max_steps: int = 20

    term_structure: ClassVar = dfx.ODETerm
    interpolation_cls: ClassVar = _INTERPOLATION.from_k

    def order(self, terms: Any) -> int:
        return 2

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> tuple:
        h = t1 - t0

        def residual(k: Any, given: Any) -> Any:
            t0, h, y0, args = given
            return h * terms.vf(t0 + h / 2, y0 + k / 2, args) - k

        finder = self.root_finder
        if finder is None:
            small = max(1e-10, 100 * float(jnp.finfo(y0.dtype).eps))
            finder = optx.Newton(rtol=small, atol=small)
        found = optx.root_find(
            residual,
            finder,
            h * solver_state,
            (t0, h, y0, args),
            throw=False,
            max_steps=self.root_find_max_steps,
        )
        y1 = y0 + found.value
        rate = terms.vf(t1, y1, args)
        dense = {"y0": y0, "y1": y1, "k": h * jnp.stack([solver_state, rate])}
        return y1, None, dense, rate, dfx.RESULTS.promote(found.result)

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)

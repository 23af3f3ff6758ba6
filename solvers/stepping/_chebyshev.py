"""Runge-Kutta-Chebyshev: explicit steps as long as a diffusion asks for, without linear algebra."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import diffrax as dfx
import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ._common import as_one_kernel, as_own_kernels, field_of, flat
from ._stages import Field, Stage, last_stage

_DAMPING = 2 / 13
_AGE = 25  # steps, after which the spectral radius is estimated anew
_SAFETY = 1.2  # of the estimate
_CLOSE, _TURNS = 0.01, 50  # of its iteration


class ChebyshevState(eqx.Module):
    """What a step leaves for the next."""

    first: Array  # whether there was no step before
    rate: Array  # at the end of the step
    radius: Array  # of the Jacobian
    vector: Array  # that it stretches most
    age: Array  # steps since they were found
    evaluations: Array  # of the rates, up to here


class RKC(dfx.AbstractAdaptiveSolver):
    """Runge-Kutta-Chebyshev method of order 2, explicit, for large diffusive systems.

    For a Jacobian whose eigenvalues lie near the negative real axis, as of diffusion and mild
    reactions on a fine grid. A step takes as many stages s as its size h needs,
    ``0.65 s^2 >= h r`` for the spectral radius r: the cost grows with the root of the stiffness. A
    few states of memory, no Jacobian, no linear solve. For real stiffness (fast reactions) take
    `BDF`, and for errors far below 1e-5, too. Dense output is the cubic of Hermite.

    Arguments
      radius: an upper bound of r, in 1 / time; if not given, it is estimated from products of the
        Jacobian with a vector, every 25 steps.
      most: stages of a step; longer steps are refused.
      scan_kind: of the loop over the stages: "checkpointed" (reverse mode; if not given), "bounded"
        (both modes) or "lax" (forward mode). `sciml.solve` chooses it by the adjoint.

    >>> import diffrax as dfx, jax.numpy as jnp, sciml as sm
    >>> term = dfx.ODETerm(lambda t, y, args: 1e4 * (jnp.roll(y, 1) - 2 * y + jnp.roll(y, -1)))
    >>> control, y0 = dfx.PIDController(rtol=1e-4, atol=1e-4), jnp.zeros(64).at[0].set(64.0)
    >>> sol = dfx.diffeqsolve(term, sm.RKC(), 0.0, 1.0, 1e-4, y0, stepsize_controller=control)
    >>> bool(jnp.allclose(sol.ys[0], 1.0, atol=1e-3))
    True

    Source: Sommeijer, Shampine, Verwer, RKC: an explicit solver for parabolic PDEs, J. Comput.
    Appl. Math. 88 (1998), (2.2) to (2.9).
    """

    radius: float | None = None
    most: int = eqx.field(static=True, default=500)
    scan_kind: Literal["lax", "checkpointed", "bounded"] | None = eqx.field(
        static=True, default=None
    )

    term_structure: ClassVar = dfx.ODETerm
    interpolation_cls: ClassVar[Callable[..., dfx.AbstractLocalInterpolation]] = (
        dfx.ThirdOrderHermitePolynomialInterpolation
    )

    def order(self, terms: Any) -> int:
        return 2

    def error_order(self, terms: Any) -> int:
        return 3  # of the local error

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> ChebyshevState:
        y, _ = flat(y0)
        none, zero = jnp.zeros((), jnp.finfo(y.dtype).dtype), jnp.zeros((), jnp.int32)
        return ChebyshevState(
            jnp.asarray(True), jnp.zeros_like(y), none, jnp.zeros_like(y), zero, zero
        )

    def step(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: Any,
        args: Any,
        solver_state: ChebyshevState,
        made_jump: Any,
    ) -> tuple:
        y, unflat = flat(y0)
        f = field_of(terms, args, unflat)
        span = t1 - t0
        first = solver_state.first | made_jump
        rate = jax.lax.cond(first, lambda: f(t0, y), lambda: solver_state.rate)
        radius, vector, age = _stretch(self, f, solver_state, first, t0, y)
        h = span.astype(radius.dtype)
        wanted = 1 + jnp.floor(jnp.sqrt(1 + 1.54 * h * radius))
        feasible = wanted <= self.most  # not so for one that is not a number, either
        stages = jnp.where(feasible, wanted, 2).astype(jnp.int32)
        table = as_one_kernel(functools.partial(_coefficients, self.most))(stages, h)

        def stage(field: Field, n: Any, before: Array, now: Array) -> Array:
            start, one, two, own, begin, part = table[n + 2].astype(y.dtype)
            forward = field(t0 + part.real.astype(span.dtype) * span, now)
            return start * y + one * now + two * before + own * forward + begin * rate

        now = y + table[1, 3].astype(y.dtype) * rate
        y1 = self._last(stage, f, stages - 1, y, now)
        rate1 = f(t1, y1)
        step = h.astype(y.dtype)
        error = 0.8 * (y - y1) + 0.4 * step * (rate + rate1)
        error = jnp.where(feasible, error, jnp.inf)
        dense = {
            "y0": y0, "y1": unflat(y1), "k0": unflat(step * rate), "k1": unflat(step * rate1),
        }  # fmt: skip
        taken = solver_state.evaluations + stages + first.astype(jnp.int32)
        state = ChebyshevState(jnp.zeros_like(first), rate1, radius, vector, age, taken)
        return unflat(y1), unflat(error), dense, state, dfx.RESULTS.successful

    def _last(self, stage: Stage, field: Field, count: Array, y: Array, now: Array) -> Array:
        """The state after the stages, of which the first is given."""
        if self.scan_kind in (None, "checkpointed"):
            return last_stage(stage, field, count, self.most - 1, y, now)

        def more(carry: tuple) -> Array:
            return carry[0] < count

        def further(carry: tuple) -> tuple:
            n, before, now = carry
            return n + 1, now, stage(as_own_kernels(field), n, before, now)

        limit = None if self.scan_kind == "lax" else self.most
        begun = jnp.zeros_like(count), y, now
        return eqxi.while_loop(more, further, begun, kind=self.scan_kind, max_steps=limit)[2]


def _coefficients(most: int, stages: Array, h: Array) -> Array:
    """Of each stage the weights of the first state, the last, the one before, of h f there and at
    the start, and the part of the step at which the last one is; row 1 has the first stage's."""
    s = stages.astype(h.dtype)
    small = _DAMPING / s**2
    w0, square = 1 + small, small * (2 + small)  # w0^2 - 1, to all digits
    angle = s * jnp.log1p(small + jnp.sqrt(square))
    sinh, cosh = jnp.sinh(angle), jnp.cosh(angle)
    w1 = sinh * square / (cosh * s * jnp.sqrt(square) - w0 * sinh)
    b = 1 / (2 * w0) ** 2
    begun = b * w1  # also the time of the first stage
    one, none = jnp.ones_like(h), jnp.zeros_like(h)
    table = jnp.zeros((most + 2, 6), h.dtype).at[:, 1].set(one).at[1, 3].set(begun * h)
    start = jnp.full_like(stages, 2), table, (w0, one), (one, none), (none, none), (b, b)

    def row(carry: tuple) -> tuple:
        n, table, t, dt, ddt, b, (c, c_before) = carry
        values = 2 * w0 * t[0] - t[1]
        slopes = 2 * w0 * dt[0] - dt[1] + 2 * t[0]
        bends = 2 * w0 * ddt[0] - ddt[1] + 4 * dt[0]
        new = bends / slopes**2
        mu, nu, own = 2 * new * w0 / b[0], -new / b[1], 2 * new * w1 / b[0]
        back = -(1 - b[0] * t[0]) * own
        weights = jnp.stack([1 - mu - nu, mu, nu, own * h, back * h, c])
        table = jax.lax.dynamic_update_slice_in_dim(table, weights[None], n, 0)
        time = mu * c + nu * c_before + own + back
        return (
            n + 1, table, (values, t[0]), (slopes, dt[0]), (bends, ddt[0]), (new, b[0]), (time, c)
        )  # fmt: skip

    done = jax.lax.while_loop(lambda carry: carry[0] <= stages, row, (*start, (begun, none)))
    return jax.lax.stop_gradient(done[1])


def _stretch(
    setting: RKC,
    f: Callable[[Any, Array], Array],
    state: ChebyshevState,
    first: Array,
    t: Any,
    y: Array,
) -> tuple[Array, Array, Array]:
    """A bound of the spectral radius of the Jacobian, what it stretches most, and their age."""
    if setting.radius is not None:
        radius = jnp.asarray(setting.radius, state.radius.dtype)
        return radius, state.vector, state.age
    y = jax.lax.stop_gradient(y)

    def found() -> tuple[Array, Array, Array]:
        _, product = jax.linearize(lambda z: f(t, z), y)
        # anything, but no eigenvector, as what is smooth or alternates may be
        fresh = jax.random.normal(jax.random.key(0), y.shape, y.dtype)
        known = state.vector != 0
        start = _unit(jnp.where(first | ~jnp.any(known), fresh, state.vector))

        def unfinished(carry: tuple) -> Array:
            count, _, size, before = carry
            return (count < _TURNS) & ((count < 2) | (jnp.abs(size - before) > _CLOSE * size))

        def stretched(carry: tuple) -> tuple:
            count, vector, size, _ = carry
            new = product(vector)
            return count + 1, _unit(new), _length(new), size

        none = jnp.zeros_like(state.radius)
        begun = jnp.zeros((), jnp.int32), start, none, none
        _, vector, size, before = jax.lax.while_loop(unfinished, stretched, begun)
        return _SAFETY * jnp.maximum(size, before), vector, jnp.zeros_like(state.age)

    old = first | (state.age >= _AGE)
    kept = state.radius, state.vector, state.age + 1
    return jax.lax.stop_gradient(jax.lax.cond(old, found, lambda: kept))


def _length(x: Array) -> Array:
    return jnp.sqrt(jnp.vdot(x, x).real)


def _unit(x: Array) -> Array:
    size = _length(x)
    return x / jnp.where(size == 0, 1.0, size).astype(x.dtype)

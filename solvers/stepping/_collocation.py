"""The stages of Radau IIA of order 5: found by Newton's method, differentiated as what they solve.

The increments z of the three stages solve ``f(t + c_i h, y + z_i) = M sum_j w_ij z_j / h``, where w
is the inverse of the matrix of the method; its rows differentiate the polynomial of degree 3
through 0 and the stages, at the nodes c.
Source: Hairer, Wanner, Solving Ordinary Differential Equations II (1996), section IV.8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg
import jax.scipy.sparse.linalg
import numpy as np
from jaxtyping import Array

from ..linear._dense import Dense
from ..linear._mass import Mass, embedded, weighed
from ..linear._structure import AbstractStructure
from ._common import blank

NODES = np.array([(4 - np.sqrt(6)) / 10, (4 + np.sqrt(6)) / 10, 1.0])
_DEGREES = np.arange(1, 4)
# Coefficients of s, s^2, s^3 in the polynomial through 0 and the stages, from the stages.
COEFFICIENTS = np.linalg.inv(NODES[:, None] ** _DEGREES)
INVERSE = (_DEGREES * NODES[:, None] ** (_DEGREES - 1)) @ COEFFICIENTS

_VALUES, _VECTORS = np.linalg.eig(INVERSE.astype(complex))
_ORDER = np.argsort(-np.imag(_VALUES))[[1, 0]]  # the real one; of the complex ones, the upper
REAL, COMPLEX = float(np.real(_VALUES[_ORDER[0]])), complex(_VALUES[_ORDER[1]])
_TO = np.linalg.inv(_VECTORS)[_ORDER]
_FROM = (_VECTORS[:, _ORDER] * np.array([1.0, 2.0])).T  # twice the real part stands for a pair

_MOST_ITERATIONS = 8, 16  # with an old Jacobian, and with a new one
_DIVERGES = 0.99  # a rate of convergence at which to give up; H&W, at (8.10)
_KEEP = 1e-3  # a rate at which the Jacobian is good for the next step as well; H&W, section IV.8


class Setting(eqx.Module):
    """What does not change from step to step."""

    structure: AbstractStructure = eqx.field(static=True)
    mass: Mass
    rtol: float
    atol: float

    def weighed(self, x: Array) -> Array:
        """The mass matrix times a vector, or times several."""
        return weighed(self.mass, x) if x.ndim == 1 else jax.vmap(self.weighed)(x)

    def replaced(self, mass: Mass) -> Setting:
        """The same with another mass matrix."""
        return Setting(self.structure, mass, self.rtol, self.atol)

    def norm(self, z: Array, y: Array) -> Array:
        """The root mean square of increments in units of the tolerance."""
        scale = self.atol + self.rtol * jnp.abs(y)
        return jnp.sqrt(jnp.mean((z / scale[None]) ** 2))


class Kept(eqx.Module):
    """A Jacobian, the factors of the two systems made from it, and how well they did."""

    jacobian: Any
    real: Any
    complex: Any
    step: Array  # of the factors
    eta: Array  # theta / (1 - theta) of the last iteration; H&W (8.10)
    good: Array  # whether the Jacobian may serve the next step


def nothing_kept(setting: Setting, f: Callable, t: Array, y: Array) -> Kept:
    """A place for what will be kept."""
    one = jnp.ones((), y.dtype)

    def make() -> Any:
        jacobian = setting.structure.jacobian(lambda z: f(t, z), y)
        return jacobian, *_factors(setting, jacobian, one)

    jacobian, real, other = blank(make)
    return Kept(jacobian, real, other, one, one, jnp.asarray(False))


def _factors(setting: Setting, jacobian: Any, h: Array) -> tuple[Any, Any]:
    """The factors of the real and of the complex system of the simplified Newton iteration."""
    structure, kind = setting.structure, _complex_of(h.dtype)
    mass = embedded(structure, setting.mass, h.dtype)

    def factored(scale: Array) -> Any:
        return structure.factor(
            jax.tree.map(
                lambda m, a: scale * m.astype(scale.dtype) - a.astype(scale.dtype), mass, jacobian
            )
        )

    return factored(REAL / h), factored(jnp.asarray(COMPLEX, kind) / h.astype(kind))


def _complex_of(dtype: Any) -> Any:
    return np.result_type(dtype, np.complex64)


def residual(f: Callable, t: Array, h: Array, y: Array, z: Array, setting: Setting) -> Array:
    """What the stages make zero: rates, less the slopes of the polynomial through the stages."""
    times = t + jnp.asarray(NODES, h.dtype) * h
    slopes = jnp.asarray(INVERSE, y.dtype) @ z / h.astype(y.dtype)
    return jax.vmap(f)(times, y[None] + z) - setting.weighed(slopes)


def _correction(setting: Setting, kept: Kept, r: Array, transposed: bool = False) -> Array:
    """The simplified Newton matrix's inverse, or its transpose, times a residual (H&W (8.7))."""
    structure, kind = setting.structure, _complex_of(r.dtype)
    solve = structure.solve_transposed if transposed else structure.solve
    to, back = (_FROM, _TO) if transposed else (_TO, _FROM)
    first = solve(kept.real, jnp.asarray(to[0].real, r.dtype) @ r)
    second = solve(kept.complex, jnp.asarray(to[1], kind) @ r.astype(kind))
    pair = jnp.asarray(back[1], kind)[:, None] * second[None]
    return -(jnp.asarray(back[0].real, r.dtype)[:, None] * first[None] + pair.real)


class _Iteration(eqx.Module):
    count: Array
    z: Array
    size: Array  # of the last correction
    eta: Array
    rate: Array
    done: Array
    failed: Array


def _newton(
    f: Callable,
    t: Array,
    h: Array,
    y: Array,
    *,
    start: Array,
    kept: Kept,
    most: Array,
    setting: Setting,
) -> _Iteration:
    """Simplified Newton iteration from `start`, `most` times; it stops as in H&W (8.10), (8.11)."""
    # As tight as the error of a step demands, and as rounding allows.
    limit = max(10 * float(jnp.finfo(y.dtype).eps) / setting.rtol, min(0.03, setting.rtol**0.5))

    def body(at: _Iteration) -> _Iteration:
        change = _correction(setting, kept, residual(f, t, h, y, at.z, setting))
        size, begun = setting.norm(change, y), at.count > 0
        rate = jnp.where(begun, size / at.size, at.rate)
        eta = jnp.where(begun, rate / (1 - rate), at.eta)
        left = (most - 1 - at.count).astype(y.dtype)
        slow = (at.count > 1) & (rate**left / (1 - rate) * size > limit)  # the first rate misleads
        diverges = begun & (rate >= _DIVERGES)
        done = ((eta * size <= limit) & ~diverges) | (size == 0)
        failed = ~done & (slow | diverges | ~jnp.isfinite(size))
        return _Iteration(at.count + 1, at.z - change, size, eta, rate, done, failed)

    def going(at: _Iteration) -> Array:
        return ~at.done & ~at.failed & (at.count < most)

    eta = jnp.maximum(kept.eta, jnp.finfo(y.dtype).eps) ** 0.8
    zero, false = jnp.zeros((), y.dtype), jnp.asarray(False)
    begin = _Iteration(jnp.asarray(0), start, zero, eta, zero, false, false)
    return jax.lax.while_loop(going, body, begin)


@eqx.filter_custom_jvp
def stages(
    f: Callable,
    t: Array,
    h: Array,
    y: Array,
    mass: Mass,
    *,
    setting: Setting,
    kept: Kept,
    start: Array,
    fresh: Array,
    refactor: Array,
) -> tuple[Array, Kept, Array, Array]:
    """The increments of the stages, what to keep, whether they were found (else zeros), and after
    how many evaluations.

    Arguments: `f`, rates of a vector, without variables of its surroundings; `mass`, that of the
    setting, for derivatives; `start`, where to begin; `fresh`, whether the kept Jacobian is no use;
    `refactor`, whether its factors are not. An iteration that fails with an old Jacobian is begun
    again with a new one.
    """
    step = h.astype(y.dtype)

    def renew(fresh: Array, refactor: Array, kept: Kept) -> Kept:
        jacobian = jax.lax.cond(
            fresh,
            lambda: setting.structure.jacobian(lambda x: f(t, x), y),
            lambda: kept.jacobian,
        )
        real, other, of = jax.lax.cond(
            fresh | refactor,
            lambda: (*_factors(setting, jacobian, step), step),
            lambda: (kept.real, kept.complex, kept.step),
        )
        return Kept(jacobian, real, other, of, kept.eta, kept.good)

    def attempt(carry: Any) -> Any:
        fresh, refactor, kept, (_, _, taken), _ = carry
        kept = renew(fresh, refactor, kept)
        most = jnp.where(fresh, _MOST_ITERATIONS[1], _MOST_ITERATIONS[0])
        end = _newton(f, t, h, y, start=start, kept=kept, most=most, setting=setting)
        good = (end.rate < _KEEP) | (end.count <= 2)
        # What diverged says nothing of the next iteration, which it would let stop at once.
        eta = jnp.where(end.done, end.eta, jnp.ones_like(end.eta))
        kept = Kept(kept.jacobian, kept.real, kept.complex, kept.step, eta, good)
        last = end.done | fresh
        z = jnp.where(end.done, end.z, jnp.zeros_like(end.z))
        taken = taken + (len(NODES) * end.count).astype(taken.dtype)
        return jnp.asarray(True), refactor, kept, (z, end.done, taken), last

    false, none = jnp.asarray(False), jnp.zeros((), jnp.int32)
    begin = (fresh, refactor, kept, (jnp.zeros_like(start), false, none), false)
    _, _, kept, (z, found, taken), _ = jax.lax.while_loop(lambda c: ~c[-1], attempt, begin)
    return z, kept, found, taken


@stages.def_jvp
def _stages_jvp(primals: tuple, tangents: tuple, *, setting: Setting, **options: Any) -> Any:
    """The implicit function theorem: iterations are not differentiated."""
    z, kept, *others = stages(*primals, setting=setting, **options)
    _, change = eqx.filter_jvp(
        lambda f, t, h, y, mass: residual(f, t, h, y, z, setting.replaced(mass)), primals, tangents
    )
    dz = _solve_stages(*primals[:4], z=z, b=-change, kept=kept, setting=setting)
    return (z, kept, *others), (dz, jax.tree.map(lambda _: None, kept), None, None)


def _solve_stages(
    f: Callable, t: Array, h: Array, y: Array, *, z: Array, b: Array, kept: Kept, setting: Setting
) -> Array:
    """The solution of the system of the three stages, with the Jacobian of each."""
    structure, step = setting.structure, h.astype(y.dtype)
    times = t + jnp.asarray(NODES, h.dtype) * h

    def jacobian(t: Array, x: Array) -> Any:
        return structure.jacobian(lambda v: f(t, v), x)

    jacobians = jax.vmap(jacobian)(times, y[None] + z)

    def apply(x: Array) -> Array:
        slopes = jnp.asarray(INVERSE, y.dtype) @ x / step
        return jax.vmap(structure.apply)(jacobians, x) - setting.weighed(slopes)

    if isinstance(structure, Dense):
        matrix = jax.jacfwd(lambda v: apply(v.reshape(z.shape)).ravel())(jnp.zeros(z.size, z.dtype))
        factors = jax.lax.stop_gradient(jax.scipy.linalg.lu_factor(matrix))
        return jax.lax.custom_linear_solve(
            apply,
            b,
            lambda _, r: jax.scipy.linalg.lu_solve(factors, r.ravel()).reshape(r.shape),
            lambda _, r: jax.scipy.linalg.lu_solve(factors, r.ravel(), trans=1).reshape(r.shape),
        )
    kept = jax.lax.stop_gradient(kept)
    return jax.lax.custom_linear_solve(
        apply,
        b,
        lambda a, r: _iterated(a, r, lambda x: -_correction(setting, kept, x)),
        lambda a, r: _iterated(a, r, lambda x: -_correction(setting, kept, x, transposed=True)),
    )


def _iterated(apply: Callable, b: Array, nearly: Callable[[Array], Array]) -> Array:
    """The solution of ``A x = b`` to rounding, by GMRES with an inverse that is nearly right."""
    tight = 100 * float(jnp.finfo(b.dtype).eps)
    x, _ = jax.scipy.sparse.linalg.gmres(
        apply, b, M=nearly, tol=tight, restart=12, maxiter=4, solve_method="incremental"
    )
    return x

"""Backward differentiation formulas of orders 1 to 5, with steps and factors that are kept."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..linear._krylov import Krylov
from ..linear._mass import Mass, rates, shifted, weighed
from ..linear._structure import AbstractStructure, solved_linearly
from ._common import (
    ATOL,
    RTOL,
    as_one_kernel,
    blank,
    combined,
    field_of,
    flat,
    replaced,
    structure_of,
)

_MOST = 5
_ROWS = np.arange(_MOST + 3)

# Shampine and Reichelt, The MATLAB ODE suite (1997), section 2.
_KAPPA = np.array([0, -0.1850, -1 / 9, -0.0823, -0.0415, 0])
_GAMMA = np.concatenate([[0], np.cumsum(1 / np.arange(1, _MOST + 1))])
_ALPHA = (1 - _KAPPA) * _GAMMA
_ERROR = np.append(_KAPPA * _GAMMA + 1 / np.arange(1, _MOST + 2), np.inf)  # and of order 6: none

_ITERATIONS = 4
# What is left of an iteration, in tolerances; more where products with the Jacobian are dear. With
# .2 for all, the transistor amplifier at 1e-8 takes far more steps: noise keeps the order low.
_CLOSE, _CLOSE_ITERATIVE = 0.03, 0.2
_NEAR = 0.5  # of that, in a linear solve that iterates
_KEEP = 0.2  # relative change of h / alpha, up to which factors are kept
_AGE = 20  # steps, after which they are made anew
_GROW = 1.2  # the least factor by which steps grow
_SAFETY = 0.9  # of diffrax.PIDController
_RULE = 2  # the order of the error that the controller is told of


class BDFOutput(dfx.AbstractLocalInterpolation):
    """Dense output of a backward differentiation formula: the polynomial through the last steps."""

    t0: Any
    t1: Any
    differences: Any  # backward differences at t1, a leading axis
    order: Any
    step: Any

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Any:
        if t1 is not None:
            return jax.tree.map(jnp.subtract, self.evaluate(t1), self.evaluate(t0))
        h = jnp.where(self.step == 0, 1.0, self.step)
        index = jnp.arange(_MOST, dtype=h.dtype)
        weights = jnp.cumprod((t0 - self.t1 + h * index) / (h * (1 + index)))
        inside = jnp.arange(1, _MOST + 1, dtype=self.order.dtype) <= self.order
        weights = jnp.where(inside, weights, 0.0)

        def one(differences: Array) -> Array:
            own = weights.astype(differences.dtype)
            return differences[0] + jnp.tensordot(own, differences[1:], 1)

        return jax.tree.map(one, self.differences)


class BDFState(eqx.Module):
    """What a step leaves for the next."""

    differences: Array  # backward differences, scaled to `step`; shape (8, size)
    order: Array
    step: Array
    equal: Array  # steps of this size and order
    factors: Any
    scale: Array  # h / alpha of the factors; 0 for none
    age: Array  # steps since they were made
    rate: Array  # of convergence of the iteration
    evaluations: Array  # of the rates, up to here


class BDF(dfx.AbstractAdaptiveSolver):
    """Backward differentiation formulas of orders 1 to 5, for large stiff systems and DAEs.

    Numerical differentiation formulas in backward differences at quasi-constant step size; order
    and step are chosen together. A step costs a few evaluations and linear solves; the Jacobian and
    its factors are kept over many. The iteration is differentiated by the implicit function
    theorem. Dense output is the formula's own polynomial, of its order.

    The step that is wanted reaches ``diffrax.PIDController`` through the size of the error, which
    is told so that its default coefficients ask for that step: give both the same tolerances.

    Arguments
      structure: of the Jacobian; dense, if not given. `sciml.solve` finds it from the equations.
      mass: as for `Rodas5P`.
      rtol, atol: those of the controller; 1e-6 and 1e-8, if not given.

    >>> import diffrax as dfx, jax.numpy as jnp, sciml as sm
    >>> term = dfx.ODETerm(lambda t, y, args: -1e6 * (y - jnp.cos(t)))
    >>> control = dfx.PIDController(rtol=1e-6, atol=1e-8)
    >>> y0, options = jnp.ones(1), dict(stepsize_controller=control)
    >>> sol = dfx.diffeqsolve(term, sm.BDF(), 0.0, 1.0, None, y0, **options)
    >>> round(float(sol.ys[0, 0]), 4)
    0.5403

    Source: Shampine, Reichelt, The MATLAB ODE suite (1997), section 2; the iteration is stopped as
    in Hindmarsh and others, SUNDIALS (2005), section 2.1.
    """

    structure: AbstractStructure | None = eqx.field(static=True, default=None)
    mass: Mass = None
    rtol: float | None = eqx.field(static=True, default=None)
    atol: float | None = eqx.field(static=True, default=None)

    term_structure: ClassVar = dfx.ODETerm
    interpolation_cls: ClassVar[Callable[..., dfx.AbstractLocalInterpolation]] = BDFOutput

    def order(self, terms: Any) -> int:
        return _MOST

    def error_order(self, terms: Any) -> int:
        return _RULE

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> BDFState:
        y, unflat = flat(y0)
        structure = structure_of(self.structure, y.size)
        f = field_of(terms, args, unflat)

        def made() -> Any:
            jacobian = structure.jacobian(lambda z: f(t0, z), y)
            return _factors(structure, shifted(structure, jacobian, jnp.ones((), y.dtype)))

        return _begun(self, f, t0, y, blank(made), jnp.zeros((), jnp.int32))

    def step(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: Any,
        args: Any,
        solver_state: BDFState,
        made_jump: Any,
    ) -> tuple:
        y, unflat = flat(y0)
        structure = structure_of(self.structure, y.size)
        f = field_of(terms, args, unflat)

        state = _begun_again(self, f, solver_state, t0, y, made_jump)
        attempt = functools.partial(_attempt, self, structure, f)
        run = as_one_kernel(attempt) if structure.in_one_kernel else attempt
        y1, error, used, order, state = run(state, t0, t1, y)
        degree = order.astype(y.dtype)  # diffrax fills what is not yet there with infinity
        dense = {"differences": jax.vmap(unflat)(used), "order": degree, "step": t1 - t0}
        return unflat(y1), unflat(error), dense, state, dfx.RESULTS.successful


def _factors(structure: AbstractStructure, matrix: Any) -> Any:
    """What is kept of a matrix: its factors, or those of what is near it."""
    return (structure.near if isinstance(structure, Krylov) else structure).factor(matrix)


def _begun(
    setting: BDF,
    f: Callable[[Any, Array], Array],
    t0: Any,
    y: Array,
    none: Any,
    evaluations: Array,
) -> BDFState:
    """The state before the first step: of order 1, scaled to a step of 1, without factors."""
    rate = rates(setting.mass, f(t0, y))
    differences = jnp.zeros((_MOST + 3, y.size), y.dtype).at[0].set(y).at[1].set(rate)
    one, zero = jnp.ones((), jnp.int32), jnp.zeros((), y.dtype)
    time = jnp.ones_like(jnp.asarray(t0))
    return BDFState(differences, one, time, 0 * one, none, zero, 0 * one, zero + 1, evaluations + 1)


def _begun_again(
    setting: BDF, f: Callable[[Any, Array], Array], state: BDFState, t0: Any, y: Array, jump: Any
) -> BDFState:
    """The state, or after a jump one as before the first step; factors are never copied."""
    going = dataclasses.replace(state, factors=None)
    chosen = jax.lax.cond(
        jump, lambda: _begun(setting, f, t0, y, None, state.evaluations), lambda: going
    )
    return dataclasses.replace(chosen, factors=state.factors)


def _attempt(
    setting: BDF,
    structure: AbstractStructure,
    f: Callable[[Any, Array], Array],
    state: BDFState,
    t0: Any,
    t1: Any,
    y: Array,
) -> tuple:
    """The state at `t1`, the error for the controller, differences there, order, what is left."""
    h = t1 - t0
    ratio = h / state.step
    same = jnp.abs(ratio - 1) < 1e-7  # times are rounded
    differences = _rescaled_if(
        structure.in_one_kernel, ~same, state.differences, state.order, ratio.astype(y.dtype)
    )
    equal = jnp.where(same, state.equal, 0)
    k = state.order
    c = (h / jnp.asarray(_ALPHA, h.dtype)[k]).astype(y.dtype)
    guess, psi = _predicted(differences, k)
    rtol = RTOL if setting.rtol is None else setting.rtol
    atol = ATOL if setting.atol is None else setting.atol
    weights = atol + rtol * jnp.maximum(jnp.abs(guess), jnp.abs(y))
    units = weights, 1 / weights
    change, (good, kept) = _corrected(setting, structure, f, state, t1, guess, psi, c, units)
    y1 = guess + change
    error = jnp.asarray(_ERROR, y.dtype)[k] * _norm(change * units[1], structure.in_one_kernel)
    good = good & jnp.isfinite(error)
    used = _advanced(differences, k, change)
    order, factor = _chosen(structure.in_one_kernel, used, k, equal, error, units[1])
    factor = jnp.where(good, factor, 0.5)
    told = (_SAFETY / factor) ** _RULE  # the controller's factor is then `factor`
    told = jnp.where(good & (error < 1), jnp.minimum(told, 0.99), jnp.maximum(told, 1.01))
    span = atol + rtol * jnp.maximum(jnp.abs(y), jnp.abs(y1))
    told = jnp.where(jnp.all(jnp.isfinite(y1)), told, jnp.inf)
    left = BDFState(used, order, h, jnp.where(order == k, equal + 1, 0).astype(jnp.int32), *kept)
    return y1, jax.lax.stop_gradient(told * span), used[: _MOST + 1], k, left


def _corrected(
    setting: BDF,
    structure: AbstractStructure,
    f: Callable[[Any, Array], Array],
    state: BDFState,
    t1: Any,
    guess: Array,
    psi: Array,
    c: Array,
    units: tuple[Array, Array],
) -> tuple:
    """The change d from the guess, ``M (psi + d) = c f(t1, guess + d)``, by modified Newton.

    With factors from before, if they are recent and of nearly the same step, and else or where
    these fail with new ones; `units` are the weights of the unknowns and their inverses. Returns
    whether it converged, and what is to be kept.
    """
    inverse = 1 / c

    def residual(change: Array) -> Array:
        return f(t1, guess + change) - weighed(setting.mass, psi + change) * inverse

    def made(change: Array) -> Any:
        jacobian = structure.jacobian(lambda z: f(t1, guess + z), change)
        return shifted(structure, jacobian, inverse, setting.mass)

    if isinstance(structure, Krylov):
        close, small = _CLOSE_ITERATIVE, _NEAR * _CLOSE_ITERATIVE * inverse
        _, product = jax.linearize(lambda d: -residual(d), jnp.zeros_like(guess))

        def solved(factors: Any, scale: Array, b: Array) -> Array:
            return structure.solve_near(product, factors, b, units=units, small=small)
    else:
        close = _CLOSE

        def solved(factors: Any, scale: Array, b: Array) -> Array:
            return 2 / (1 + scale / c) * structure.solve(factors, b)  # factors of another step

    def iterated(factors: Any, scale: Array, rate: Array) -> tuple:
        """Newton iteration: whether it converged, the change, evaluations, rate of convergence."""

        def unfinished(carry: tuple) -> Any:
            count, _, _, _, done, lost = carry
            return (count < _ITERATIONS) & ~done & ~lost

        def better(carry: tuple) -> tuple:
            count, change, before, rate, _, _ = carry
            move = solved(factors, scale, residual(change))
            size = _norm(move * units[1], structure.in_one_kernel)
            seen = jnp.where(count == 0, rate, jnp.maximum(0.3 * rate, size / before))
            done = size * jnp.minimum(1.0, seen) < close
            lost = ~jnp.isfinite(size) | ((count > 0) & (size > 2 * before))
            return count + 1, change + move, size, seen, done, lost

        none = jnp.zeros((), jnp.int32)
        start = none, jnp.zeros_like(guess), jnp.ones_like(c), rate, none > 0, none > 0
        count, change, _, rate, done, lost = jax.lax.while_loop(unfinished, better, start)
        return done & ~lost, change, count, rate

    def fresh() -> tuple:
        factors = _factors(structure, made(jnp.zeros_like(guess)))
        return factors, *iterated(factors, c, jnp.ones_like(c))

    def found() -> tuple:
        apart = jnp.abs(c / jnp.where(state.scale == 0, 1, state.scale) - 1)
        usable = (state.scale != 0) & (apart < _KEEP) & (state.age < _AGE)
        none = jnp.zeros((), bool), jnp.zeros_like(guess), jnp.zeros((), jnp.int32), state.rate
        first = replaced(usable, lambda: iterated(state.factors, state.scale, state.rate), none)
        again = ~first[0]
        factors, good, change, count, rate = replaced(again, fresh, (state.factors, *first))
        scale = jnp.where(again, c, state.scale)
        age = jnp.where(again, 0, state.age + 1).astype(jnp.int32)
        taken = state.evaluations + first[2] + jnp.where(again, count, 0)
        return change, (good, (factors, scale, age, rate, taken))

    change, kept = jax.tree.map(jax.lax.stop_gradient, found())

    def tangent_solve(linear: Callable[[Array], Array], b: Array) -> Array:
        matrix = made(change)
        return -solved_linearly(structure, matrix, structure.factor(matrix), b)

    start = jnp.zeros_like(guess)
    return jax.lax.custom_root(residual, start, lambda _, __: change, tangent_solve), kept


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _rescaled_if(
    in_kernel: bool, other: Array, differences: Array, order: Array, ratio: Array
) -> Array:
    """Backward differences for a step that is `ratio` times as large, if it is another."""

    def rescaled() -> Array:
        return _rescaled(in_kernel, differences, order, ratio)

    return replaced(other, rescaled, differences)


@_rescaled_if.defjvp
def _rescaled_derivative(in_kernel: bool, primals: Any, tangents: Any) -> Any:
    def either(other: Array, differences: Array, order: Array, ratio: Array) -> Array:
        return jax.lax.cond(
            other, lambda: _rescaled(False, differences, order, ratio), lambda: differences
        )

    return jax.jvp(either, primals, tangents)


def _rescaled(in_kernel: bool, differences: Array, order: Array, ratio: Array) -> Array:
    """Backward differences for a step that is `ratio` times as large."""
    index = np.arange(1, _MOST + 1)
    i, j = index[:, None], index[None]
    back = np.cumprod((i - 1 - j) / i, axis=0)
    there = [jnp.ones(_MOST, ratio.dtype)]
    for n in index.tolist():
        there.append(there[-1] * ((n - 1 - ratio * jnp.asarray(index, ratio.dtype)) / n))
    inner = jnp.sum(jnp.stack(there[1:])[:, :, None] * jnp.asarray(back, ratio.dtype)[None], axis=1)
    inside = jnp.arange(1, _MOST + 1, dtype=order.dtype) <= order
    both = jnp.where(inside[:, None] & inside[None], inner, jnp.eye(_MOST, dtype=ratio.dtype))
    rows = differences[1 : _MOST + 1]
    if in_kernel:  # where there are no products of matrices
        moved = jnp.stack([combined(column, rows) for column in both.T])
    else:
        moved = both.T @ rows
    return differences.at[1 : _MOST + 1].set(moved)


@jax.custom_jvp
def _predicted(differences: Array, order: Array) -> tuple[Array, Array]:
    """The state extrapolated by a step, and its known part in the formula: loops over rows."""

    def summed(n: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        guess, past = sums
        return guess + differences[n], past + _table(_GAMMA, differences)[n] * differences[n]

    start = differences[0], jnp.zeros_like(differences[0])
    guess, past = jax.lax.fori_loop(jnp.ones_like(order), order + 1, summed, start)
    return guess, past / _table(_ALPHA, past)[order]


@_predicted.defjvp
def _predicted_derivative(primals: Any, tangents: Any) -> Any:
    (differences, order), (moved, _) = primals, tangents
    inside = (jnp.asarray(_ROWS, order.dtype) <= order).astype(moved.dtype)
    gamma = jnp.pad(_table(_GAMMA, moved), (0, 2)) / _table(_ALPHA, moved)[order]
    return _predicted(differences, order), (inside @ moved, (inside * gamma) @ moved)


@jax.custom_jvp
def _advanced(differences: Array, order: Array, change: Array) -> Array:
    """Backward differences at the end of a step of an order, from the change to its guess."""

    def summed(n: Array, rows: Array) -> Array:
        place = order - n
        return rows.at[place].set(rows[place] + rows[place + 1])

    rows = differences.at[order + 2].set(change - differences[order + 1])
    rows = rows.at[order + 1].set(change)
    return jax.lax.fori_loop(jnp.zeros_like(order), order + 1, summed, rows)


@_advanced.defjvp
def _advanced_derivative(primals: Any, tangents: Any) -> Any:
    (differences, order, change), (moved, _, turned) = primals, tangents
    sums = _table(_SUMS, change)[order]
    return _advanced(differences, order, change), sums @ jnp.append(moved, turned[None], axis=0)


def _sums_of(order: int) -> np.ndarray:
    """The rows of `_advanced` as sums of the differences before, and of the change."""
    sums = np.eye(_MOST + 3, _MOST + 4)
    sums[order + 2] = -np.eye(_MOST + 4)[order + 1]
    sums[order + 1 : order + 3, -1] = 1
    sums[order + 1, order + 1] = 0
    for n in range(order, -1, -1):
        sums[n] += sums[n + 1]
    return sums


_SUMS = np.stack([_sums_of(order) for order in range(_MOST + 1)])


def _chosen(
    in_kernel: bool, used: Array, order: Array, equal: Array, error: Array, inverse: Array
) -> tuple[Array, Array]:
    """The next order, and the factor of the step: after enough equal steps those that go far."""
    constants = jnp.asarray(_ERROR, used.dtype)

    def factor(other: Any, error: Array) -> Array:
        return jnp.where(error == 0, 10.0, error) ** (-1 / (other + 1).astype(error.dtype))

    def of(other: Array, row: Array) -> Array:
        return factor(other, constants[other] * _norm(used[row] * inverse, in_kernel))

    here = factor(order, error)
    down = jnp.where(order > 1, of(jnp.maximum(order - 1, 1), order), 0.0)
    up = jnp.where(order < _MOST, of(jnp.minimum(order + 1, _MOST), order + 2), 0.0)
    most = jnp.maximum(jnp.maximum(down, here), up)
    change = jnp.where(down == most, -1, jnp.where(here == most, 0, 1)).astype(jnp.int32)
    may = (equal + 1 > order) & (error < 1)
    wanted = _SAFETY * most
    grown = may & ((wanted >= _GROW) | (change < 0))
    chosen = jnp.where(grown, order + change, order).astype(jnp.int32)
    good = jnp.where(grown, jnp.clip(wanted, 1.0, 10.0), 1.0)
    bad = jnp.clip(_SAFETY * here, 0.2, 0.85)
    return chosen, jnp.where(error < 1, good, bad)


def _table(values: Any, like: Array) -> Array:
    return jnp.asarray(values, like.dtype)


def _norm(x: Array, in_kernel: bool) -> Array:
    """The root of the mean square. XLA leaves long sums to a library, from a kernel it cannot."""
    x = jax.lax.stop_gradient(x)
    if not in_kernel:
        return jnp.sqrt(jnp.vdot(x, x).real / x.size)
    squares = jnp.square(jnp.abs(x))
    zero = jnp.zeros((), squares.dtype)
    total = jax.lax.reduce(squares, zero, lambda a, b: jnp.maximum(a + b, 0.0), (0,))
    return jnp.sqrt(total / jnp.asarray(x.size, total.dtype))

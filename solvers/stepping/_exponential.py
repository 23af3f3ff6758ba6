"""Exponential time differencing: the linear part of a semilinear equation solved exactly."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from ._common import blank, direction, field_of, flat
from ._phi import phi_of_matrix, phi_of_numbers
from ._waves import SpectralRates, scaled, times


class Weights(eqx.Module):
    """What the stages and the end of a step of one size multiply by."""

    step: Array
    half: Array  # exp(z / 2)
    whole: Array  # exp(z)
    second: Array  # h phi_1(z / 2) / 2
    third: Array  # h phi_2(z / 2)
    fourth: Array  # 2 h phi_2(z)
    short: Array  # h phi_1(z)
    begin: Array  # h (phi_1 - 3 phi_2 + 4 phi_3)
    middle: Array  # h (2 phi_2 - 4 phi_3)
    end: Array  # h (4 phi_3 - phi_2)


class EtdState(eqx.Module):
    """What a step leaves for the next."""

    first: Array  # whether there was no step before
    rate: Array  # of the nonlinear part, at the end
    weights: Weights | None  # of its size; none, where all are of one


def with_equal_steps(rates: SpectralRates, t0: Any, t1: Any, dt0: Any) -> tuple[SpectralRates, Any]:
    """Rates with the weights of steps of one size, which is at most `dt0` and meets the end."""
    count = jnp.maximum(jnp.ceil((t1 - t0) / dt0 * (1 - 1e-9)), 1)
    step = (t1 - t0) / count
    return dataclasses.replace(rates, weights=_weights(rates.diagonal, step)), step


class Parts(NamedTuple):
    """The linear part, as a diagonal or a matrix, and the rest, of a vector made of the state."""

    linear: Array
    nonlinear: Callable[[Any, Array], Array]
    forward: Callable[[Any], Array]
    backward: Callable[[Array], Any]
    weights: Weights | None  # of steps that are all of one size


class ETDRK4(dfx.AbstractAdaptiveSolver):
    """Exponential Runge-Kutta method of order 4(3) for ``y' = L y + N(t, y)``, stiff in L.

    With z = h L, and N_i the nonlinear part at the stages::

        a = e^(z/2) y + h/2 phi_1(z/2) N_1
        b = a + h phi_2(z/2) (N_2 - N_1)
        c = e^z y + h phi_1 N_1 + 2 h phi_2 (N_3 - N_1)
        y1 = e^z y + h (phi_1 - 3 phi_2 + 4 phi_3) N_1 + h (2 phi_2 - 4 phi_3) (N_2 + N_3)
                   + h (4 phi_3 - phi_2) N_4

    The end is that of Cox and Matthews; the stages are those of Krogstad, which lose less order
    where N excites what L damps fast: to 3, not to 2. Steps are as long as N demands, for all of L.
    The embedded method of order 3 gives the last weight to N at the end of the step, which is the
    first stage of the next: four evaluations in a step. Functions of L are computed anew when the
    step size changes, and kept while it does not: constant steps are cheapest. Dense output is the
    cubic of Hermite: its local error is of order 4, so that it converges as the steps do.

    Of a system of periodic fields with scheme "fourier", L is split off from the equations: what is
    linear in a field and its derivatives is diagonal in Fourier's coefficients, in which the steps
    are then taken, products without the waves that would be aliased (the 2/3 rule). Constant steps
    are then all of one size, at most `dt0`, that meets the end.

    Arguments
      linear: L; the diagonal, real or complex, in the shape of the state (spectral methods); or a
        matrix, for a state that is a small vector. The term that is solved is all of the right
        side, L y included. Not needed for fields with scheme "fourier".

    >>> import diffrax as dfx, jax.numpy as jnp, sciml as sm
    >>> rates = jnp.array([-1.0, -1e4])
    >>> term = dfx.ODETerm(lambda t, y, args: rates * y + jnp.sin(y[0]))
    >>> sol = dfx.diffeqsolve(term, sm.ETDRK4(rates), 0.0, 1.0, 0.1, jnp.ones(2))
    >>> round(float(sol.ys[0, 0]), 4)
    0.8707

    Sources: Cox, Matthews, Exponential time differencing for stiff systems (2002), (29), for the
    end; Krogstad, Generalized integrating factor methods for stiff PDEs (2005), (51), for the
    stages; Hochbruck, Ostermann, Explicit exponential Runge-Kutta methods for semilinear parabolic
    problems (2005), section 5, for the orders; Whalen, Brio, Moloney, Exponential time-differencing
    with embedded Runge-Kutta adaptive step control (2015), for embedding by the next step's first
    stage.
    """

    linear: Any = None

    term_structure: ClassVar = dfx.ODETerm
    interpolation_cls: ClassVar[Callable[..., dfx.AbstractLocalInterpolation]] = (
        dfx.ThirdOrderHermitePolynomialInterpolation
    )

    def order(self, terms: Any) -> int:
        return 4

    def error_order(self, terms: Any) -> int:
        return 4  # of the local error of the embedded method

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> EtdState:
        parts = self._parts(terms, y0, args)
        rate = blank(lambda: parts.forward(y0))
        if parts.weights is not None:
            return EtdState(jnp.asarray(True), rate, None)
        weights = blank(lambda: _weights(parts.linear, jnp.ones_like(jnp.asarray(t0))))
        return EtdState(jnp.asarray(True), rate, weights)

    def step(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: Any,
        args: Any,
        solver_state: EtdState,
        made_jump: Any,
    ) -> tuple:
        linear, nonlinear, forward, backward, fixed = self._parts(terms, y0, args)
        y, t0, t1 = forward(y0), jnp.asarray(t0), jnp.asarray(t1)
        first, middle = solver_state.first | made_jump, t0 + (t1 - t0) / 2
        w = _renewed(solver_state, linear, t0, t1) if fixed is None else fixed
        n1 = jax.lax.cond(first, lambda: nonlinear(t0, y), lambda: solver_state.rate)
        a = times(w.half, y) + times(w.second, n1)
        n2 = nonlinear(middle, a)
        n3 = nonlinear(middle, a + times(w.third, n2 - n1))
        whole = times(w.whole, y)
        n4 = nonlinear(t1, whole + times(w.short, n1) + times(w.fourth, n3 - n1))
        y1 = whole + times(w.begin, n1) + times(w.middle, n2 + n3) + times(w.end, n4)
        n5 = nonlinear(t1, y1)
        step = (t1 - t0).astype(y.real.dtype)
        dense = {
            "y0": y0,
            "y1": backward(y1),
            "k0": backward(scaled(step, times(linear, y) + n1)),
            "k1": backward(scaled(step, times(linear, y1) + n5)),
        }
        error = backward(times(w.end, n4 - n5))
        state = EtdState(jnp.zeros_like(first), n5, w if fixed is None else None)
        return backward(y1), error, dense, state, dfx.RESULTS.successful

    def _parts(self, terms: Any, y0: Any, args: Any) -> Parts:
        """The linear part and the rest, in the direction in which time is gone through."""
        if self.linear is not None:
            linear, f = self._linear(terms, y0), field_of(terms, args, flat(y0)[1])

            def rest(t: Any, y: Array) -> Array:
                return f(t, y) - times(linear, y)

            return Parts(linear, rest, lambda y: flat(y)[0], flat(y0)[1], None)
        if not isinstance(args, SpectralRates):
            raise ValueError("ETDRK4 needs the linear part of the equations: give it, linear=...")
        sign = direction(terms)

        def nonlinear(t: Any, z: Array) -> Array:
            return scaled(jnp.asarray(sign, z.real.dtype), args.nonlinear(t, z))

        diagonal = jnp.asarray(sign, args.diagonal.dtype) * args.diagonal
        return Parts(diagonal, nonlinear, lambda z: z, lambda z: z, args.weights)

    def _linear(self, terms: Any, y0: Any) -> Array:
        """L as a vector or a matrix, in the direction in which time is gone through."""
        y, _ = flat(y0)
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(self.linear)]
        if shapes == [jnp.shape(leaf) for leaf in jax.tree.leaves(y0)]:
            linear = ravel_pytree(self.linear)[0]
        elif shapes == [(y.size, y.size)]:
            linear = jnp.asarray(jax.tree.leaves(self.linear)[0])
        else:
            raise ValueError(
                f"linear has shape {shapes}: expected that of the state, for a diagonal, or "
                f"({y.size}, {y.size}) for a matrix"
            )
        real = not jnp.issubdtype(y.dtype, jnp.complexfloating)
        if real and jnp.issubdtype(linear.dtype, jnp.complexfloating):
            raise ValueError("linear is complex, but the state is real: give a complex state")
        kind = linear.dtype if jnp.issubdtype(linear.dtype, jnp.complexfloating) else _real(y.dtype)
        return jnp.asarray(direction(terms), kind) * linear.astype(kind)


def _real(dtype: Any) -> Any:
    return jnp.finfo(dtype).dtype


def _renewed(state: EtdState, linear: Array, t0: Array, t1: Array) -> Any:
    """The weights of a step; the old ones where it differs by no more than the rounding of t."""
    assert state.weights is not None
    rounding = 4 * jnp.finfo(t1.dtype).eps * jnp.maximum(jnp.abs(t0), jnp.abs(t1))
    same = jnp.abs(t1 - t0 - state.weights.step) <= rounding
    return jax.lax.cond(
        same & ~state.first,
        lambda: state.weights,
        lambda: _weights(linear, t1 - t0),
    )


def _weights(linear: Array, step: Array) -> Weights:
    """The weights for a step of this size."""
    of = phi_of_matrix if linear.ndim == 2 else phi_of_numbers
    h = step.astype(linear.dtype)
    half, half1, half2, _ = of(h / 2 * linear)
    whole, phi1, phi2, phi3 = of(h * linear)
    return Weights(
        step,
        half,
        whole,
        h / 2 * half1,
        h * half2,
        2 * h * phi2,
        h * phi1,
        h * (phi1 - 3 * phi2 + 4 * phi3),
        h * (2 * phi2 - 4 * phi3),
        h * (4 * phi3 - phi2),
    )

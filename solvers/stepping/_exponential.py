"""Exponential time differencing: the linear part of a semilinear equation solved exactly."""

from __future__ import annotations

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
from ._waves import SpectralRates, Waves


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
    weights: Weights
    place: Array | None  # the state in Fourier's coefficients


class Parts(NamedTuple):
    """The linear part, as a diagonal or a matrix, and the rest, of a vector made of the state."""

    linear: Array
    nonlinear: Callable[[Any, Array], Array]
    forward: Callable[[Any], Array]
    backward: Callable[[Array], Any]
    waves: Waves | None


class EtdOutput(dfx.AbstractLocalInterpolation):
    """The cubic of Hermite; of Fourier's coefficients, it is taken back where it is evaluated."""

    t0: Any
    t1: Any
    y0: Any
    y1: Any
    k0: Any
    k1: Any
    waves: Waves | None

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Any:
        ends = {"y0": self.y0, "y1": self.y1, "k0": self.k0, "k1": self.k1}
        cubic = dfx.ThirdOrderHermitePolynomialInterpolation(t0=self.t0, t1=self.t1, **ends)
        value = cubic.evaluate(t0, t1, left)
        return value if self.waves is None else self.waves.backward(value)


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
    are then taken, products without the waves that would be aliased (the 2/3 rule).

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
    problems (2005), section 5, for the orders; Kassam, Trefethen, Fourth-order time-stepping for
    stiff PDEs (2005), section 3, for phi; Whalen, Brio, Moloney, Exponential time-differencing with
    embedded Runge-Kutta adaptive step control (2015), for embedding by the next step's first stage.
    """

    linear: Any = None

    term_structure: ClassVar = dfx.ODETerm
    interpolation_cls: ClassVar[Callable[..., dfx.AbstractLocalInterpolation]] = EtdOutput

    def order(self, terms: Any) -> int:
        return 4

    def error_order(self, terms: Any) -> int:
        return 4  # of the local error of the embedded method

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> EtdState:
        parts = self._parts(terms, y0, args)
        z = blank(lambda: parts.forward(y0))
        weights = blank(lambda: _weights(parts.linear, jnp.ones_like(jnp.asarray(t0))))
        return EtdState(jnp.asarray(True), z, weights, None if parts.waves is None else z)

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
        linear, nonlinear, forward, backward, waves = self._parts(terms, y0, args)
        t0, t1 = jnp.asarray(t0), jnp.asarray(t1)
        first, middle = solver_state.first | made_jump, t0 + (t1 - t0) / 2
        w = _renewed(solver_state, linear, t0, t1)
        if waves is None:
            z = forward(y0)
        else:
            z = jax.lax.cond(first, lambda: forward(y0), lambda: solver_state.place)
        n1 = jax.lax.cond(first, lambda: nonlinear(t0, z), lambda: solver_state.rate)
        a = _times(w.half, z) + _times(w.second, n1)
        n2 = nonlinear(middle, a)
        n3 = nonlinear(middle, a + _times(w.third, n2 - n1))
        whole = _times(w.whole, z)
        n4 = nonlinear(t1, whole + _times(w.short, n1) + _times(w.fourth, n3 - n1))
        z1 = whole + _times(w.begin, n1) + _times(w.middle, n2 + n3) + _times(w.end, n4)
        n5 = nonlinear(t1, z1)
        step = (t1 - t0).astype(z.real.dtype)
        y1, kept = backward(z1), backward if waves is None else lambda value: value
        dense = {
            "y0": y0 if waves is None else z,
            "y1": y1 if waves is None else z1,
            "k0": kept(_scaled(step, _times(linear, z) + n1)),
            "k1": kept(_scaled(step, _times(linear, z1) + n5)),
            "waves": waves,
        }
        error = backward(_times(w.end, n4 - n5))
        state = EtdState(jnp.zeros_like(first), n5, w, None if waves is None else z1)
        return y1, error, dense, state, dfx.RESULTS.successful

    def _parts(self, terms: Any, y0: Any, args: Any) -> Parts:
        """The linear part and the rest, in the direction in which time is gone through."""
        y, unflat = flat(y0)
        if self.linear is None:
            raise ValueError("ETDRK4 needs the linear part of the equations: give it, linear=...")
        if isinstance(self.linear, SpectralRates):
            rates, sign = self.linear, direction(terms)

            def rest(t: Any, z: Array) -> Array:
                return _scaled(jnp.asarray(sign, y.dtype), rates.nonlinear(t, z))

            diagonal = rates.diagonal(y.dtype)
            linear = jnp.asarray(sign, diagonal.dtype) * diagonal
            waves = rates.waves
            return Parts(linear, rest, waves.forward, waves.backward, waves)
        linear, f = self._linear(terms, y0), field_of(terms, args, unflat)

        def nonlinear(t: Any, y: Array) -> Array:
            return f(t, y) - _times(linear, y)

        return Parts(linear, nonlinear, lambda y: flat(y)[0], unflat, None)

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


def _times(linear: Array, y: Array) -> Array:
    """The product of a diagonal or a matrix and a vector."""
    if linear.ndim == 1 and linear.dtype == y.real.dtype:
        return _scaled(linear, y)
    linear = linear.astype(y.dtype)
    return linear @ y if linear.ndim == 2 else linear * y


def _scaled(numbers: Array, y: Array) -> Array:
    """The product with real numbers, of complex ones too."""
    if not jnp.issubdtype(y.dtype, jnp.complexfloating):
        return numbers * y
    return jax.lax.complex(numbers * y.real, numbers * y.imag)


def _renewed(state: EtdState, linear: Array, t0: Array, t1: Array) -> Weights:
    """The weights of a step; the old ones where it differs by no more than the rounding of t."""
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

r"""The memory of scaled Legendre polynomials (HiPPO-LegS).

.. math:: \dot c = \frac1t\,(A c + B u)

Source: Gu, Dao, Ermon, Rudra and Ré, "HiPPO: recurrent memory with optimal polynomial projections"
(2020), theorem 2 and proposition 3.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from sciml.dsl import DataError, DeclarationError, Eq, Model, System, constant, matmul, shape_of, t
from sciml.solvers import Solution, solve

from ._driven import check_series, driven, interpolated, single, symbols


def hippo_legs(count: int) -> tuple[np.ndarray, np.ndarray]:
    r"""The matrices A and B of the memory of scaled Legendre polynomials.

    .. math::

       A_{nk} = -\begin{cases} \sqrt{(2n+1)(2k+1)} & n > k \\ n+1 & n = k \\ 0 & n < k \end{cases},
       \qquad B_n = \sqrt{2n+1}

    Arguments: `count`, how many polynomials. Returns A, shape (count, count), and B, (count,).
    Source: Gu et al. (2020), theorem 2.

    >>> import sciml as sm
    >>> sm.nn.hippo_legs(2)[0].round(3).tolist()
    [[-1.0, 0.0], [-1.732, -2.0]]
    """
    numbers = np.arange(count)
    root = np.sqrt(2.0 * numbers + 1)
    return np.tril(-np.outer(root, root), -1) - np.diag(numbers + 1.0) + 0.0, root


def legendre_memory(state: Any, given: Any, *, name: str = "legs") -> System:
    r"""Declares the memory of scaled Legendre polynomials of an input, from t > 0 on.

    .. math:: \dot c = \frac1t\,(A c + B u)

    At any time the polynomial :math:`\sum_n c_n \sqrt{2n+1}\,P_n(2s/t - 1)` is the best one of its
    degree, in the mean over the past, of the input at the times s in (0, t).

    Arguments
      state: an unknown c of shape (N,), the coefficients.
      given: an unknown u, a scalar, which another equation gives.
      name: of the system.

    Returns the `System`, which starts at 0. Raises `DeclarationError` for what is no such unknown.
    Source: Gu et al. (2020), theorem 2.

    >>> import sciml as sm
    >>> c, u = sm.unknown("c", shape=8), sm.unknown("u")
    >>> sm.nn.legendre_memory(c, u).unknowns
    (c, u)
    """
    (state,) = symbols(state, "state")
    given, shape = single(given, "given"), shape_of(state)
    if len(shape) != 1:
        raise DeclarationError(
            f"state: {state} has shape {shape}; declare a vector, sm.unknown('{state}', shape=32)"
        )
    matrix, column = hippo_legs(*shape)
    rate = (matmul(constant(matrix, "A"), state) + constant(column, "B") * given) / t
    return System(Eq(state.diff(t), rate), initial={state: 0.0}, name=name)


class LegendreMemory(eqx.Module):
    r"""The memory of scaled Legendre polynomials of a series: its past in N numbers.

    Called, it takes a step of the bilinear rule for each entry; equal steps need no length, as the
    memory does not depend on the unit of time:

    .. math::

       \Bigl(I - \frac{A}{2(k+1)}\Bigr) c_{k+1} = \Bigl(I + \frac{A}{2k}\Bigr) c_k
       + \frac{B}{2} \Bigl(\frac{u_k}{k} + \frac{u_{k+1}}{k+1}\Bigr)

    Arguments: as for `legendre_memory`. Fields: `model`, which has nothing to train; `system`.
    Raises `DeclarationError` for what is no such unknown, and `ShapeError` for a series that does
    not fit the input.
    Source: Gu et al. (2020), proposition 3 and appendix B.3.

    >>> import jax.numpy as jnp, sciml as sm
    >>> c, u = sm.unknown("c", shape=8), sm.unknown("u")
    >>> memory = sm.nn.LegendreMemory(c, u)
    >>> coefficients = memory(jnp.linspace(0, 1, 100)[:, None])
    >>> round(float(memory.reconstruct(coefficients[-1], jnp.array([0.5]))[0]), 1)
    0.5
    """

    model: Model
    inputs: tuple[Any, ...] = eqx.field(static=True)

    def __init__(self, state: Any, given: Any, *, name: str = "legs") -> None:
        self.inputs = symbols(given, "given")
        self.model = driven(legendre_memory(state, given, name=name), self.inputs)

    def __call__(self, series: Float[Array, "time 1"]) -> Float[Array, "time coefficient"]:
        """The coefficients after each entry of a series, the first of which is held as it is."""
        check_series(series, self.inputs)
        dtype = self.model.dtype
        matrix, column = (jnp.asarray(a, dtype) for a in hippo_legs(self.model.program.size))
        identity, inputs = jnp.eye(len(matrix), dtype=dtype), series[:, 0].astype(dtype)

        def step(c: Array, given: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            k, old, new = given
            known = c + matrix @ c / (2 * k) + 0.5 * column * (old / k + new / (k + 1))
            triangular = identity - matrix / (2 * (k + 1))
            after = jax.scipy.linalg.solve_triangular(triangular, known, lower=True)
            return after, after

        first = inputs[0] * identity[0]
        numbers = jnp.arange(1, len(inputs)).astype(dtype)
        rest = jax.lax.scan(step, first, (numbers, inputs[:-1], inputs[1:]))[1]
        return jnp.concatenate([first[None], rest])

    def reconstruct(
        self, coefficients: Float[Array, " coefficient"], parts: Float[Array, " point"]
    ) -> Float[Array, " point"]:
        """What the input was, at parts of the time that has gone by, from 0 to 1."""
        count = len(coefficients)
        place = 2 * parts - 1
        values = [jnp.ones_like(place), place]
        for n in range(1, count - 1):
            values.append(((2 * n + 1) * place * values[n] - n * values[n - 1]) / (n + 1))
        root = jnp.asarray(hippo_legs(count)[1], coefficients.dtype)
        return (root * coefficients) @ jnp.stack(values[:count])

    def solve(
        self, times: Float[Array, " time"], series: Float[Array, "time 1"], **options: Any
    ) -> Solution:
        """The solution at the times by an ODE solver, the series linear between them.

        The memory begins at the first time, above 0, as if the input had been constant until then.
        `options` are those of `solve`. Raises `DataError` where it is not above 0.
        """
        check_series(series, self.inputs, times)
        if not isinstance(times, Tracer) and not times[0] > 0:
            raise DataError(f"the memory begins after t = 0; the first time is {float(times[0])}")
        (piece,) = self.model.states
        first = series[0, 0] * jnp.eye(1, piece.size, dtype=series.dtype)[0]
        model = interpolated(self.model, times, series).replace(initial={piece.symbol: first})
        return solve(model, (times[0], times[-1]), **{"saveat": times, **options})

    @property
    def system(self) -> System:
        """What was declared, with the series as the equation of the input."""
        return self.model.system

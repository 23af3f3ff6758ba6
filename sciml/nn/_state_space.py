r"""Linear state-space blocks.

.. math:: \dot x = A x + B u, \qquad y = C x + E u

Source: Gu, Goel and Ré, "Efficiently modeling long sequences with structured state spaces" (2022),
equations 1 (the system), 3 (its bilinear discretisation), 4 and 5 (the convolution).
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sciml.dsl import DeclarationError, Eq, Model, System, matmul, parameter, shape_of, t
from sciml.solvers import Solution, solve

from ._driven import check_series, driven, interpolated, march, single, symbols
from ._legendre import hippo_legs


def linear_state_space(
    state: Any, given: Any, output: Any, *, name: str = "ssm", key: Array
) -> System:
    r"""Declares a linear state-space block, whose input something else determines.

    .. math:: \dot x = A x + B u, \qquad y = C x + E u

    A, B, C and E are parameters; A and B begin as the HiPPO-LegS matrices, so that the state holds
    what was seen, C as random numbers of the size :math:`1/\sqrt N`, and E as 1.

    Arguments
      state: an unknown x of shape (N,).
      given: an unknown u, a scalar, which another equation gives.
      output: an unknown y, a scalar.
      name: what the names of the parameters begin with.
      key: of the random numbers in C.

    Returns the `System`, which starts at 0. Raises `DeclarationError` for what is no such unknown.
    Source: Gu, Goel and Ré (2022), equations 1 and 2.

    >>> import jax, sciml as sm
    >>> x, (u, y) = sm.unknown("x", shape=8), sm.unknowns("u y")
    >>> system = sm.nn.linear_state_space(x, u, y, key=jax.random.key(0))
    >>> sorted(p.name for p in system.parameters)
    ['ssm_A', 'ssm_B', 'ssm_C', 'ssm_E']
    """
    (state,) = symbols(state, "state")
    given, output = single(given, "given"), single(output, "output")
    shape = shape_of(state)
    if len(shape) != 1:
        raise DeclarationError(
            f"state: {state} has shape {shape}; declare a vector, sm.unknown('{state}', shape=32)"
        )
    matrix, column = hippo_legs(*shape)
    row = np.asarray(jax.random.normal(key, shape)) / np.sqrt(shape[0])
    a, b, c, e = (
        parameter(f"{name}_{role}", value.tolist())
        for role, value in (("A", matrix), ("B", column), ("C", row), ("E", np.ones(())))
    )
    return System(
        Eq(state.diff(t), matmul(a, state) + b * given),
        Eq(output, matmul(c, state) + e * given),
        initial={state: 0.0},
        name=name,
    )


class LinearStateSpace(eqx.Module):
    r"""A linear state-space block that a series drives, in steps of a length that is learned.

    Called, it goes through the series step by step; `convolve` gives the same numbers at once.

    .. math::

       x_k = \bar A x_{k-1} + \bar B u_k, \quad y_k = C x_k + E u_k, \quad
       \bar A = (I - \tfrac\Delta2 A)^{-1} (I + \tfrac\Delta2 A), \quad
       \bar B = (I - \tfrac\Delta2 A)^{-1} \Delta B

    Arguments: `dt`, where the step Δ begins; the others as for `linear_state_space`. Fields:
    `model` and `log_dt`, which are trained; `system`. A block has one input and one output;
    several channels are several blocks, whose leaves may be stacked and mapped over.
    Raises `DeclarationError` for what is no such unknown, and `ShapeError` for a series that does
    not fit the input.
    Source: Gu, Goel and Ré (2022), equations 3 to 5.

    >>> import jax, jax.numpy as jnp, sciml as sm
    >>> x, (u, y) = sm.unknown("x", shape=8), sm.unknowns("u y")
    >>> block = sm.nn.LinearStateSpace(x, u, y, dt=0.05, key=jax.random.key(0))
    >>> series = jnp.ones((20, 1))
    >>> bool(jnp.allclose(block(series), block.convolve(series), atol=1e-4))
    True
    """

    model: Model
    log_dt: Float[Array, ""]
    inputs: tuple[Any, ...] = eqx.field(static=True)
    name: str = eqx.field(static=True)

    def __init__(
        self,
        state: Any,
        given: Any,
        output: Any,
        *,
        dt: float = 0.01,
        name: str = "ssm",
        key: Array,
    ) -> None:
        if not dt > 0:
            raise DeclarationError(f"dt = {dt}: the step is positive")
        self.inputs, self.name = symbols(given, "given"), name
        system = linear_state_space(state, given, output, name=name, key=key)
        self.model = driven(system, self.inputs)
        self.log_dt = jnp.asarray(np.log(dt), self.model.dtype)

    def __call__(self, series: Float[Array, "time 1"]) -> Float[Array, "time 1"]:
        """The outputs at each entry of a series, step by step."""
        check_series(series, self.inputs)
        matrix, column = self.discretised()
        row, direct = self._matrix("C"), self._matrix("E")

        def step(x: Array, _: Array, u: Array) -> Array:
            return matrix @ x + column * u

        states = march(step, self.model.state(), jnp.zeros_like(series[:, 0]), series)
        return states @ row[:, None] + direct * series

    def convolve(self, series: Float[Array, "time 1"]) -> Float[Array, "time 1"]:
        """The outputs from the state 0 at each entry of a series, as one convolution."""
        check_series(series, self.inputs)
        kernel, count = self.kernel(len(series)), 2 * len(series)
        transformed = jnp.fft.rfft(kernel, count) * jnp.fft.rfft(series[:, 0], count)
        outputs = jnp.fft.irfft(transformed, count)[: len(series)]
        return outputs[:, None] + self._matrix("E") * series

    def kernel(self, count: int) -> Float[Array, " time"]:
        r"""The answer to an impulse, :math:`C \bar A^k \bar B` for k below a `count`."""
        matrix, column = self.discretised()

        def power(x: Array, _: None) -> tuple[Array, Array]:
            return matrix @ x, x

        return jax.lax.scan(power, column, None, length=count)[1] @ self._matrix("C")

    def discretised(self) -> tuple[Float[Array, "state state"], Float[Array, " state"]]:
        """The matrices of a step: those that multiply the state and the input."""
        dt, matrix = jnp.exp(self.log_dt), self._matrix("A")
        half, identity = 0.5 * dt * matrix, jnp.eye(len(matrix), dtype=matrix.dtype)
        both = jnp.concatenate([identity + half, dt * self._matrix("B")[:, None]], axis=1)
        solved = jnp.linalg.solve(identity - half, both)
        return solved[:, :-1], solved[:, -1]

    def solve(
        self, times: Float[Array, " time"], series: Float[Array, "time 1"], **options: Any
    ) -> Solution:
        """The solution at the times by an ODE solver, the series linear between them.

        `options` are those of `solve`.
        """
        check_series(series, self.inputs, times)
        model = interpolated(self.model, times, series)
        return solve(model, (times[0], times[-1]), **{"saveat": times, **options})

    @property
    def system(self) -> System:
        """What was declared, with the series as the equation of the input."""
        return self.model.system

    def _matrix(self, role: str) -> Array:
        return self.model.parameters[f"{self.name}_{role}"]

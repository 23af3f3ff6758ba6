"""The compiled graph of an array model does not depend on the length of its arrays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import sympy

import sciml as sm
from sciml import D

from . import counting
from .timing import Row


def equations(size: int) -> int:
    """Equations in the jaxpr of a nonlinear reaction and diffusion on a ring."""
    u = sm.unknown("u", shape=size)
    k = sm.parameter("k", 0.1)
    flow = k * (sm.roll(u, 1) - 2 * u + sm.roll(u, -1))
    model = sm.compile(sm.System(sm.Eq(D(u), flow + u - u**3 + sympy.sin(u) * sm.mean(u))))
    state = jax.ShapeDtypeStruct((size,), jnp.zeros(()).dtype)
    return counting.equations(lambda y: model.vector_field(0.0, y), state)


def run() -> list[Row]:
    """The row of this figure."""
    small, large = equations(10), equations(1_000_000)
    measured = f"{small} and {large}"
    return [Row("jaxpr equations of an array model, n = 10 and 1 000 000", "equal", measured)]

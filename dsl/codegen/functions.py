"""Functions that jax has not, or not accurately enough, for the generated code."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array, Float

_NODES = 32  # of the quadrature: exact to rounding up to |z| = 40 and order 20
LARGEST_ORDER = 20
_NEAR, _FAR = 2.0, 40.0


def bessel_j(order: int, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The Bessel function J of a whole order from 0 to 20, for every real argument.

    ``jax.scipy.special.bessel_jn`` is wrong from about 40 on, and not a number at 0. Here: the
    power series near 0, Bessel's integral (DLMF 10.9.1) by the midpoint rule, which converges
    geometrically, and Hankel's expansion (DLMF 10.17.3) for large arguments.
    """
    size = jnp.abs(z)
    near, far = size < _NEAR, size > _FAR
    result = jnp.where(
        near,
        _series(order, jnp.where(near, z, 1.0)),
        _integral(order, jnp.where(near | far, 1.0, z)),
    )
    sign = jnp.where(z < 0, -1.0, 1.0) if order % 2 else 1.0
    return jnp.where(far, sign * _expansion(order, jnp.where(far, size, _FAR)), result)


def _series(order: int, z: Array) -> Array:
    square = -((z / 2) ** 2)
    value = jnp.zeros_like(z)
    for k in range(14, -1, -1):
        value = value * square + 1 / (math.factorial(k) * math.factorial(order + k))
    return (z / 2) ** order * value


def _integral(order: int, z: Array) -> Array:
    angle = (np.arange(_NODES) + 0.5) * (np.pi / 2 / _NODES)
    shape = (*(1,) * jnp.ndim(z), _NODES)
    sine = jnp.asarray(np.sin(angle), z.dtype).reshape(shape)
    wave, weight = (jnp.sin, np.sin) if order % 2 else (jnp.cos, np.cos)
    weights = jnp.asarray(weight(order * angle), z.dtype).reshape(shape)
    return jnp.mean(weights * wave(z[..., None] * sine), axis=-1)


def _expansion(order: int, z: Array) -> Array:
    below, value = _hankel(0, z), _hankel(1, z)
    if order == 0:
        return below
    for n in range(1, order):  # stable upwards, as the order is below the argument
        below, value = value, 2 * n / z * value - below
    return value


def _hankel(order: int, z: Array) -> Array:
    """Orders 0 and 1: ``sqrt(2/(pi z)) (P cos(c) - Q sin(c))``, c = z - (order/2 + 1/4) pi."""
    term = jnp.ones_like(z)
    sums = [jnp.ones_like(z), jnp.zeros_like(z)]
    for k in range(1, 16):
        term = term * ((4 * order**2 - (2 * k - 1) ** 2) / (8 * k)) / z
        sums[k % 2] = sums[k % 2] + (-1) ** (k // 2) * term
    phase = z - (order / 2 + 0.25) * math.pi
    return jnp.sqrt(2 / (math.pi * z)) * (sums[0] * jnp.cos(phase) - sums[1] * jnp.sin(phase))


def flat(array: Float[Array, "..."]) -> Float[Array, " size"]:
    """An array as a vector, apart from what made it.

    Where parts of an array are replaced and it is then a vector, XLA makes one loop of both, and
    copies the array before, twice.
    """
    with set_xla_metadata(inlineable="false"):
        return jax.jit(jnp.ravel)(array)

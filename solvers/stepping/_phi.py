"""Functions of the exponential family, of numbers and of matrices, without cancellation.

phi_0(z) = exp(z) and ``phi_k(z) = (phi_{k-1}(z) - 1/(k-1)!) / z``, so that phi_k(0) = 1/k!.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import jax.scipy.linalg
from jaxtyping import Array

_TERMS = 17  # of the series of phi_3, to rounding for |z| < 1: the next one is 1 / 20!
_SQUARINGS = 60  # of a matrix exponential: enough for a norm of 1e18


def phi_of_numbers(z: Array) -> list[Array]:
    """phi_0 to phi_3 of each number: by the recursion; near 0, where it cancels, by the series."""
    near = jnp.abs(z) < 1
    away = _recursion(jnp.where(near, jnp.ones_like(z), z))
    small = jnp.where(near, z, jnp.zeros_like(z))
    series = jnp.full_like(z, 1 / math.factorial(_TERMS + 2))
    for k in reversed(range(_TERMS - 1)):
        series = series * small + 1 / math.factorial(k + 3)
    inner = [series]
    for k in (2, 1, 0):
        inner.insert(0, small * inner[0] + 1 / math.factorial(k))
    return [jnp.where(near, one, other) for one, other in zip(inner, away, strict=True)]


def _recursion(z: Array) -> list[Array]:
    values = [jnp.exp(z)]
    for inverse in (1.0, 1.0, 0.5):
        values.append((values[-1] - inverse) / z)
    return values


def phi_of_matrix(z: Array) -> list[Array]:
    """phi_0 to phi_3 of a matrix, as blocks of one exponential.

    Source: Sidje, Expokit: a software package for computing matrix exponentials (1998), theorem 1.
    """
    n = z.shape[0]
    blocks = jnp.zeros((4, n, 4, n), z.dtype).at[0, :, 0].set(z)
    for k in range(3):
        blocks = blocks.at[k, :, k + 1].set(jnp.eye(n, dtype=z.dtype))
    whole = jax.scipy.linalg.expm(blocks.reshape(4 * n, 4 * n), max_squarings=_SQUARINGS)
    return [whole[:n, k * n : (k + 1) * n] for k in range(4)]

"""Functions of the exponential family, of numbers and of matrices, without cancellation.

phi_0(z) = exp(z) and ``phi_k(z) = (phi_{k-1}(z) - 1/(k-1)!) / z``, so that phi_k(0) = 1/k!.
"""

from __future__ import annotations

import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
from jaxtyping import Array

# On a circle of radius 2 about z, |z| < 1, all points are at least 1 away from 0, where the
# recursion cancels; 32 points give the mean to rounding, the functions being entire.
_CIRCLE = 2 * np.exp(2j * np.pi * (np.arange(32) + 0.5) / 32)
_SQUARINGS = 60  # of a matrix exponential: enough for a norm of 1e18


def phi_of_numbers(z: Array) -> list[Array]:
    """phi_0 to phi_3 of each number: by the recursion, or near 0 as a mean over a circle.

    Source: Kassam, Trefethen, Fourth-order time-stepping for stiff PDEs (2005), (3.1).
    """
    near = jnp.abs(z) < 1
    away = _recursion(jnp.where(near, jnp.ones_like(z), z))
    kind = np.result_type(z.dtype, np.complex64)
    points = jnp.where(near, z, jnp.zeros_like(z)).astype(kind)[None]
    circle = jnp.asarray(_CIRCLE, kind).reshape(-1, *(1,) * z.ndim)
    mean = [jnp.mean(value, axis=0) for value in _recursion(points + circle)]
    if not jnp.issubdtype(z.dtype, jnp.complexfloating):
        mean = [value.real for value in mean]
    return [jnp.where(near, inner, outer) for inner, outer in zip(mean, away, strict=True)]


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

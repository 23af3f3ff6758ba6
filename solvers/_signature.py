r"""Signatures of paths.

.. math:: S^k(x) = \int_{0<s_1<\dots<s_k<T} dx_{s_1} \otimes \dots \otimes dx_{s_k}

Source: Chen (1958) for the product; Kidger and Lyons, "Signatory: differentiable computations of
the signature and logsignature transforms" (2021), section 4.1, for its order of multiplication.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sciml.dsl import DataError, DeclarationError


def signature(
    path: Float[Array, "time channel"], *, depth: int, running: bool = False
) -> tuple[Float[Array, "..."], ...]:
    r"""The signature of a path that is linear between its points, up to a depth.

    .. math:: S^k = \int_{s_1<\dots<s_k} dx_{s_1} \otimes \dots \otimes dx_{s_k}, \qquad S^0 = 1

    Exact: by Chen's identity it is the product of the signatures
    :math:`\exp(\Delta x) = \sum_k \Delta x^{\otimes k} / k!` of the pieces.

    Arguments
      path: points, shape (time, channel). Time itself, where it matters, is a channel.
      depth: how many levels, 1 or more.
      running: whether all parts of the path from its first point on are taken.

    Returns the levels 0 to `depth`, level k with k axes of length channel; before them, if
    `running`, one of time. Raises `DeclarationError` for no such depth, `DataError` for a path that
    has no points.
    Source: Kidger and Lyons (2021), equation 4.

    >>> import jax.numpy as jnp, sciml as sm
    >>> levels = sm.signature(jnp.array([[0.0, 0.0], [1.0, 2.0]]), depth=2)
    >>> levels[2].tolist()
    [[0.5, 1.0], [1.0, 2.0]]
    """
    if depth < 1:
        raise DeclarationError(f"depth = {depth}: a signature has 1 level or more")
    if path.ndim != 2 or path.size == 0:
        raise DataError(f"a path has the shape (time, channel), not {path.shape}")
    channels = path.shape[1]
    levels = tuple(jnp.zeros((channels**k,), path.dtype) for k in range(1, depth + 1))
    start = (jnp.ones((1,), path.dtype), *levels)

    def step(levels: tuple, change: Array) -> tuple[tuple, tuple | None]:
        after = _extended(levels, change)
        return after, after if running else None

    end, seen = jax.lax.scan(step, start, jnp.diff(path, axis=0))
    if seen is not None:
        end = tuple(jnp.concatenate([a[None], b]) for a, b in zip(start, seen, strict=True))
    batch = path.shape[:1] if running else ()
    return tuple(jnp.reshape(level, batch + (channels,) * k) for k, level in enumerate(end))


def _extended(levels: tuple[Array, ...], change: Array) -> tuple[Array, ...]:
    """The (flat) signature of a path and a straight piece after it, in Horner's order."""
    after = [levels[0]]
    for k in range(1, len(levels)):
        sum_ = levels[0]
        for j in range(1, k + 1):
            sum_ = levels[j] + jnp.ravel(sum_[:, None] * (change / (k - j + 1))[None])
        after.append(sum_)
    return tuple(after)

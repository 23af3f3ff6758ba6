"""A random end of the interval, for training."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from sciml.dsl import DeclarationError

from .._results import is_traced


def steer(t: Any, *, width: Any, key: Array) -> tuple[Array, Array]:
    """The interval with a random end, drawn anew in each step of training.

    ``t1' = t1 + U(-width, width)``

    A solution that is right wherever it ends comes to rest, and is easier to solve. Only for maps
    to the end of the interval: what is compared with data at given times is not to be moved.

    Arguments: `t`, (t0, t1); `width`, less than t1 - t0, in the same unit (published: half of it);
    `key`, of jax.random.

    Returns (t0, t1'). Raises `DeclarationError` for a width that is no positive number below the
    length.

    >>> import jax, sciml as sm
    >>> t0, t1 = sm.steer((0, 1), width=0.5, key=jax.random.key(0))
    >>> bool(0.5 <= t1 < 1.5)
    True

    Source: Ghosh, Behl, Dupont, Torr, Namboodiri, STEER: simple temporal regularization for neural
    ODEs (2020), arXiv:2006.10711.
    """
    t0, t1 = t
    if not is_traced(t0, t1, width) and not 0 < width < t1 - t0:
        raise DeclarationError(
            f"steer((t0, t1) = ({t0}, {t1}), width={width}): the width is a positive number, less "
            "than t1 - t0, so that the end stays after the start"
        )
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.result_type(t0, t1, width, 1.0)
    t0, t1, width = (jnp.asarray(number, dtype) for number in (t0, t1, width))
    return t0, t1 + width * jax.random.uniform(key, (), dtype, minval=-1, maxval=1)
